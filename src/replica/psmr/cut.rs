//! A worker's part in checkpoints: its own state at the marker, the sweep behind it, and the way
//! back (PROTOCOL 5).
//!
//! All workers meet at a marker; its executor makes the cut of the service. Each worker, as soon as
//! it is past the marker and before anything else, writes down its position, its sessions and its
//! incomplete commands; from then on it sweeps its partition of the service, a few pieces a value,
//! where no rendezvous is open.

use super::{Cycle, Phase, PsmrWorker};
use crate::mem::Pool;
use crate::multi_ring::{RingPosition, Subscription};
use crate::replica::checkpoint::{Checkpoint, Checkpoints, Kind, START};
use crate::replica::words::{Source, Words, require};
use crate::replica::{Shared, WorkerOutbox};
use crate::service::{Lease, Optimistic, RestoreError, Swept};
use crate::types::{Bug, GroupId, Instance, RingId, Slot};

/// Rings of one worker.
pub(super) const MAX_RINGS: usize = 2;

/// Where a worker is with a checkpoint.
#[derive(Debug, Default)]
pub(super) enum Cut {
    /// None is under way.
    #[default]
    None,
    /// It is just past the marker at this slot; nothing may happen before its state is written.
    Due(Slot),
    /// It sweeps; the frame that it fills.
    Sweeping(Vec<u8>),
}

impl<S: Optimistic> PsmrWorker<S> {
    /// A marker, at its executor: makes the cut, unless a checkpoint is under way.
    pub(super) fn cut_service(&self, cycle: &Cycle<'_, S, impl WorkerOutbox>) {
        if cycle.shared.checkpoints().begin() {
            cycle.shared.service().cut(&mut Lease::mint(crate::service::Access::Whole));
        }
    }

    /// Past a marker: if it made a cut, this worker's state is due.
    pub(super) fn pass_marker(&mut self, shared: &Shared<S>) {
        let cuts = shared.checkpoints().cuts();
        if cuts != self.cuts {
            self.cuts = cuts;
            self.cut = Cut::Due(self.at.slot);
        }
    }

    /// Whether the host must call [`PsmrWorker::keep_checkpoints`] before the worker goes on.
    #[inline]
    pub(super) fn is_cut_due(&self) -> bool {
        let is_due = matches!(self.cut, Cut::Due(_));
        // The planted bug: a worker goes on past the marker for a while.
        let goes_on = || self.config.me.index() % 2 == 1 && !self.counters.values.is_multiple_of(8);
        is_due && !(Bug::CutsAtDifferentSlots.is_planted() && goes_on())
    }

    /// Sweeps a little, if a checkpoint is under way.
    #[cold]
    pub(super) fn sweep(&mut self, shared: &Shared<S>) {
        debug_assert!(matches!(self.phase, Phase::Ready), "parked workers do not sweep");
        let Cut::Sweeping(frame) = &mut self.cut else { return };
        let me = self.config.me;
        let mut lease = Lease::mint(self.access);
        let swept = shared.service().sweep(&mut lease, me, self.config.sweep, frame);
        let is_done = swept == Swept::Done;
        if Checkpoints::is_full(frame) || is_done {
            let next = if is_done { Vec::new() } else { shared.checkpoints().frame() };
            let frame = std::mem::replace(frame, next);
            shared.checkpoints().push(Kind::Service, me, frame);
        }
        if is_done {
            self.cut = Cut::None;
            shared.checkpoints().end_of_worker();
        }
    }

    /// After each poll: writes down the state that is due at a marker, and lets the learners know
    /// what the last complete checkpoint has.
    #[inline]
    pub fn keep_checkpoints(&mut self, subscription: &mut Subscription) {
        if self.is_cut_due() {
            self.write_state(subscription.position().collect());
        }
        let completed = self.shared.checkpoints().completed();
        if completed != self.completed {
            self.completed = completed;
            self.server.on_completed(self.shared.checkpoints());
            if let Some(latest) = self.shared.checkpoints().latest() {
                subscription.set_checkpointed(latest.position(self.config.me));
            }
        }
    }

    /// Now and then: tells how many instances the last cut lacks, for the timer of markers.
    pub fn note_progress(&self, subscription: &Subscription) {
        let passed = subscription.position().zip(self.cut_at);
        let moved = passed.map(|(at, cut)| at.next.0.saturating_sub(cut.0)).max();
        self.shared.checkpoints().note_moved(self.config.me, moved.unwrap_or_default());
    }

    #[cold]
    fn write_state(&mut self, position: Vec<RingPosition>) {
        let Cut::Due(slot) = self.cut else { return };
        self.set_cut_at(&position);
        let mut frame = new_frame();
        let mut words = Words(&mut frame);
        words.put(slot.0);
        words.count(position.len());
        for RingPosition { ring, next, slot } in position {
            words.all([u64::from(ring.0), next.0, slot.0]);
        }
        // A worker between values has nothing of the last one left to do.
        let offset = self.offset;
        words.all([self.epoch, self.counters.values, offset as u64]);
        self.directory.write(&mut words);
        self.own_parts.write(&mut words);
        self.all_parts.write(&mut words);
        let me = self.config.me;
        self.shared.checkpoints().push(Kind::Worker, me, frame);
        let mut frame = new_frame();
        self.shared.table(me.index()).write(&mut Words(&mut frame));
        self.shared.checkpoints().push(Kind::Sessions, me, frame);
        self.cut = Cut::Sweeping(self.shared.checkpoints().frame());
    }

    /// Begins where `checkpoint` was cut; [`Shared::restore`] has been called. What was under way
    /// is forgotten.
    ///
    /// # Errors
    /// If the checkpoint is not of a worker with these settings and rings; its state is unspecified
    /// then, and it must not go on before another one was restored.
    pub fn restore(
        &mut self,
        checkpoint: &Checkpoint,
        subscription: &mut Subscription,
        pool: &mut impl Pool,
    ) -> Result<(), RestoreError> {
        let me = self.config.me;
        let place = checkpoint.position(me).iter().map(|at| at.ring);
        require(place.eq(subscription.position().map(|at| at.ring)))?;
        let of_me = |kind, group: GroupId| kind == Kind::Worker && group == me;
        let frame = checkpoint.frames().find(|frame| of_me(frame.kind, frame.group));
        let mut source = Source(frame.ok_or(RestoreError::Malformed)?.body);
        skip_place(&mut source)?;
        self.epoch = source.take()?;
        self.counters.values = source.take()?;
        let offset = source.number(1 << 16)?;
        self.directory.read(&mut source, self.shared.limits())?;
        self.own_parts.read(&mut source)?;
        self.all_parts.read(&mut source)?;
        source.end()?;
        require(self.counters.values > 0)?;
        (self.offset, self.length, self.warmed) = (0, 0, 0);
        self.resume_at = Some(offset);
        self.counters.values -= 1;
        self.phase = Phase::Ready;
        self.meeting = super::Meeting::default();
        self.retries.clear();
        self.cut = Cut::None;
        self.cuts = self.shared.checkpoints().cuts();
        let position = checkpoint.position(me);
        self.set_cut_at(position);
        subscription.resume(position, pool);
        Ok(())
    }
}

impl<S> PsmrWorker<S> {
    fn set_cut_at(&mut self, position: &[RingPosition]) {
        for (cut, at) in self.cut_at.iter_mut().zip(position) {
            *cut = at.next;
        }
    }
}

impl<S: Optimistic> Shared<S> {
    /// Takes over the state of `checkpoint`; each worker's own follows by [`PsmrWorker::restore`].
    /// No worker of the replica runs.
    ///
    /// # Errors
    /// If it is not a checkpoint of this service with these settings; the state is unspecified then.
    pub fn restore(&self, checkpoint: &Checkpoint) -> Result<(), RestoreError> {
        self.checkpoints().abandon();
        self.rendezvous().reset();
        let of_service = checkpoint.frames().filter(|frame| frame.kind == Kind::Service);
        let mut snapshot = Vec::with_capacity(of_service.map(|frame| frame.body.len()).sum());
        for frame in checkpoint.frames() {
            match frame.kind {
                Kind::Service => snapshot.extend_from_slice(frame.body),
                Kind::Sessions => {
                    let mut source = Source(frame.body);
                    self.table(frame.group.index()).read(&mut source)?;
                    source.end()?;
                }
                Kind::Worker | Kind::End => {}
            }
        }
        let mut lease = Lease::mint(crate::service::Access::Whole);
        self.service().restore(&mut lease, &snapshot)?;
        self.recovery().note_restored(checkpoint.slot());
        Ok(())
    }
}

fn new_frame() -> Vec<u8> {
    vec![0; START]
}

/// The marker's slot and the rings' positions in the frame of a worker.
pub(in crate::replica) fn read_place(
    body: &[u8],
) -> Result<(Slot, Vec<RingPosition>), RestoreError> {
    let mut source = Source(body);
    let slot = Slot(source.take()?);
    let count = source.number(MAX_RINGS)?;
    let mut ring = || {
        let ring = u16::try_from(source.take()?).map_err(|_| RestoreError::Malformed)?;
        let (next, slot) = (Instance(source.take()?), Slot(source.take()?));
        require(next > Instance(0))?;
        Ok(RingPosition { ring: RingId(ring), next, slot })
    };
    let rings = (0..count).map(|_| ring()).collect::<Result<_, _>>()?;
    Ok((slot, rings))
}

fn skip_place(source: &mut Source<'_>) -> Result<(), RestoreError> {
    source.take()?;
    let count = source.number(MAX_RINGS)?;
    (0..3 * count).try_for_each(|_| source.take().map(|_| ()))
}
