//! How a replica whose next instances are forgotten everywhere comes back (PROTOCOL 5).
//!
//! The first worker that hears so says it to all. Each stands still between two polls; when all do,
//! the worker of group 0 fetches the last checkpoint of another replica and puts it in place, and
//! then each takes up its own part and goes on behind it by repairs. Until it has passed what was
//! decided when it came back, it answers nobody and multicasts nothing again.
#![expect(clippy::disallowed_types, reason = "a lock a recovery, which is not the data path")]

use super::checkpoint::Checkpoint;
use super::transfer::{Fetch, Fetched, Fetching};
use super::{PsmrWorker, Shared, WorkerOutbox};
use crate::mem::Pool;
use crate::multi_ring::Subscription;
use crate::service::Optimistic;
use crate::types::{Bug, GroupSet, NodeId, ReplicaSet, Slot, Time};
use crate::wire::{CheckpointPiece, CheckpointRequest};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

/// The workers run.
const RUNNING: u32 = 0;
/// They stand still, or will before their next poll; a checkpoint is fetched.
const FETCHING: u32 = 1;
/// The checkpoint is in place: each worker takes up its part.
const RESTORING: u32 = 2;

/// Where a replica is with its recovery. Shared by its workers.
#[derive(Debug)]
pub struct Recovery {
    phase: AtomicU32,
    /// The workers that stand still.
    halted: AtomicU64,
    /// How often the replica has come back.
    count: AtomicU64,
    /// What it comes back with.
    checkpoint: Mutex<Option<Arc<Checkpoint>>>,
    /// The slot of the checkpoint that was taken over last, plus 1.
    restored: AtomicU64,
    /// For whoever watches: who is asked, plus 1, bytes that are here, and bytes of all of it.
    fetching: [AtomicU64; 3],
}

impl Recovery {
    pub(super) const fn new() -> Self {
        Self {
            phase: AtomicU32::new(RUNNING),
            halted: AtomicU64::new(0),
            count: AtomicU64::new(0),
            checkpoint: Mutex::new(None),
            restored: AtomicU64::new(0),
            fetching: [const { AtomicU64::new(0) }; 3],
        }
    }

    /// Whether the replica lacks its state.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.phase.load(Relaxed) != RUNNING
    }

    /// How often it has come back by another replica's checkpoint.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The slot of the checkpoint that it went on from last, own or not; `None`: it began with none.
    #[must_use]
    pub fn restored(&self) -> Option<Slot> {
        self.restored.load(Relaxed).checked_sub(1).map(Slot)
    }

    pub(super) fn note_restored(&self, slot: Slot) {
        self.restored.store(slot.0 + 1, Relaxed);
    }

    /// How far a checkpoint is on its way here, while one is.
    #[must_use]
    pub fn fetching(&self) -> Option<Fetching> {
        let [from, bytes, length] = self.fetching.each_ref().map(|word| word.load(Relaxed));
        let from = NodeId(u16::try_from(from.checked_sub(1)?).ok()?);
        Some(Fetching { from: Some(from), bytes, length })
    }

    fn note_fetching(&self, fetching: Fetching) {
        let Fetching { from, bytes, length } = fetching;
        let from = from.map_or(0, |node| u64::from(node.0) + 1);
        for (word, value) in self.fetching.iter().zip([from, bytes, length]) {
            word.store(value, Relaxed);
        }
    }

    fn keep(&self, checkpoint: Option<Arc<Checkpoint>>) {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = checkpoint;
    }

    fn checkpoint(&self) -> Option<Arc<Checkpoint>> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the worker of group 0 fetches.
#[derive(Debug, Default)]
pub(super) struct Recoverer {
    /// Who may have a checkpoint: the first workers of the other replicas.
    peers: Vec<NodeId>,
    fetch: Option<Fetch>,
    /// The peer that is asked first: another one after a checkpoint that was not sound.
    first: usize,
    /// The checkpoint that it came back with last, which may not be on the disk yet.
    known: Option<Slot>,
}

impl<S: Optimistic> PsmrWorker<S> {
    /// Tells the worker of group 0 whom to ask for checkpoints: the workers of group 0 of the other
    /// replicas.
    pub fn set_peers(&mut self, peers: Vec<NodeId>) {
        self.recoverer.peers = peers;
    }

    /// Another epoch has begun, with these `replicas`; `peers` as in [`PsmrWorker::set_peers`].
    ///
    /// # Panics
    /// If this replica is not one of them.
    pub fn take_up(&mut self, replicas: ReplicaSet, peers: Vec<NodeId>) {
        self.config.replicas = replicas;
        self.config.check();
        self.set_peers(peers);
    }

    /// This life of the replica follows another one, or joins others: it answers nobody before it
    /// has passed what is decided now.
    pub const fn join(&mut self) {
        self.is_muted = true;
    }

    /// Whether it answers nobody, since it catches up.
    #[must_use]
    pub const fn is_muted(&self) -> bool {
        self.is_muted
    }

    /// Before each poll: whether the worker must not be polled, for its replica lacks its state.
    #[inline]
    pub fn stands_by(
        &mut self,
        subscription: &mut Subscription,
        pool: &mut impl Pool,
        now: Time,
        out: &mut impl WorkerOutbox,
    ) -> bool {
        if self.is_muted && subscription.has_caught_up() {
            self.is_muted = false;
        }
        // Acquire: pairs with the Release of whoever moved on.
        let phase = self.shared.recovery().phase.load(Acquire);
        if phase == RUNNING && subscription.needs_state_transfer().is_none() {
            return false;
        }
        self.recover(phase, subscription, pool, now, out)
    }

    #[cold]
    fn recover(
        &mut self,
        phase: u32,
        subscription: &mut Subscription,
        pool: &mut impl Pool,
        now: Time,
        out: &mut impl WorkerOutbox,
    ) -> bool {
        let shared = Arc::clone(&self.shared);
        let recovery = shared.recovery();
        let me = GroupSet::one(self.config.me).to_bits();
        let is_halted = recovery.halted.load(Relaxed) & me != 0;
        match phase {
            RESTORING if is_halted => {
                // What is not sound for this worker leaves it without its state: the replica fetches
                // another one.
                let checkpoint = recovery.checkpoint();
                let _ = checkpoint.map(|checkpoint| self.restore(&checkpoint, subscription, pool));
                self.is_muted = true;
                let lacks_more = subscription.needs_state_transfer().is_some();
                // Release: the last to go on is seen by all to have been.
                if recovery.halted.fetch_and(!me, AcqRel) == me {
                    recovery.keep(None);
                    recovery.phase.store(RUNNING, Release);
                }
                lacks_more
            }
            RESTORING => subscription.needs_state_transfer().is_some(),
            _ => {
                // Only who finds the replica running stops it: a late worker must not undo what
                // came after the phase that it saw.
                let _ = recovery.phase.compare_exchange(RUNNING, FETCHING, Relaxed, Relaxed);
                if !is_halted {
                    self.is_muted = true;
                    subscription.await_checkpoint();
                    // Release: what this worker did is seen by whoever restores.
                    recovery.halted.fetch_or(me, AcqRel);
                }
                if self.config.me.index() == 0 {
                    self.fetch(&shared, now, out);
                }
                true
            }
        }
    }

    /// At the worker of group 0: asks for what is missing, and puts it in place once it is there.
    fn fetch(&mut self, shared: &Shared<S>, now: Time, out: &mut impl WorkerOutbox) {
        let Recoverer { peers, fetch, known, first } = &mut self.recoverer;
        if peers.is_empty() {
            return;
        }
        let known = shared.checkpoints().slot().max(*known);
        let new = || Fetch::new(self.config.room, known, *first, now);
        let fetch = fetch.get_or_insert_with(new);
        fetch.step(peers, now, |to, request| out.ask(to, request));
        shared.recovery().note_fetching(fetch.fetching());
        // Acquire: pairs with the Release of the workers that have halted.
        let is_alone = shared.recovery().halted.load(Acquire) == self.all.to_bits();
        if !is_alone || !fetch.is_complete() {
            return;
        }
        let fetched = self.recoverer.fetch.take().map(Fetch::into_bytes).unwrap_or_default();
        let checkpoint = Checkpoint::new(vec![fetched], self.config.groups);
        // What is not sound, or not of this cluster, is asked for again.
        let is_sound = |checkpoint: &Checkpoint| shared.restore(checkpoint).is_ok();
        let Some(checkpoint) = checkpoint.ok().filter(is_sound) else {
            self.recoverer.first += 1;
            return;
        };
        self.recoverer.known = Some(checkpoint.slot());
        let checkpoint = Arc::new(checkpoint);
        shared.recovery().keep(Some(Arc::clone(&checkpoint)));
        shared.checkpoints().take_over(checkpoint);
        shared.recovery().note_fetching(Fetching::default());
        shared.recovery().count.fetch_add(1, Relaxed);
        // Release: whoever sees it (Acquire) sees the state in place.
        shared.recovery().phase.store(RESTORING, Release);
    }

    /// At the worker of group 0: a piece has come.
    pub fn on_piece(&mut self, from: NodeId, piece: &CheckpointPiece<'_>, now: Time) -> Fetched {
        self.recoverer.fetch.as_mut().map_or(Fetched::Unwanted, |f| f.on_piece(from, piece, now))
    }

    /// At the worker of group 0: node `from` asks for pieces, which `send` takes. A request is much
    /// shorter than its answer: only the other replicas have one, each at the pace of who fetches.
    pub fn on_request(
        &mut self,
        (from, request): (NodeId, &CheckpointRequest),
        now: Time,
        send: impl FnMut(&CheckpointPiece<'_>),
    ) {
        if self.shared.recovery().is_under_way() {
            return;
        }
        let refused = if self.recoverer.peers.contains(&from) {
            self.server.answer(self.shared.checkpoints(), (from, request), now, send)
        } else {
            request.count
        };
        self.counters.pieces_refused += u64::from(refused);
    }

    /// When a fetch wants to ask again.
    pub(super) fn next_fetch(&self) -> Option<Time> {
        self.recoverer.fetch.as_ref().map(Fetch::next_timeout)
    }

    /// Whether a planted bug lets it answer while it catches up.
    pub(super) fn is_silent(&self) -> bool {
        self.is_muted && !Bug::RepliesWhileRecovering.is_planted()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuzz;
    use super::*;

    #[test]
    fn only_other_replicas_are_sent_pieces_and_as_many_as_they_may_ask_for() {
        let shared = fuzz::replica();
        let checkpoint = fuzz::take(&shared, Slot(9));
        let (mut worker, _) = fuzz::worker(&shared, 0);
        worker.set_peers(vec![NodeId(7), NodeId(9)]);
        let request =
            CheckpointRequest { slot: checkpoint.slot(), offset: 0, size: 8, count: u32::MAX };
        let mut ask = |from: u16, now: u64| {
            let mut pieces = 0;
            worker.on_request((NodeId(from), &request), Time(now), |_| pieces += 1);
            pieces
        };
        assert_eq!(ask(8, 1), 0, "it is no replica");
        let sent: u32 = (0..100).map(|_| ask(7, 1)).sum();
        assert!((12..=25).contains(&sent), "{sent} pieces at one moment");
        assert_eq!(ask(9, 1), 12, "the other one has its own share");
        assert_eq!(ask(7, 1_000_000_000), 12);
        assert!(worker.counters().pieces_refused > 1000);
    }
}
