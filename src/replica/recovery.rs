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
use crate::sync::atomic::{AtomicU32, AtomicU64, Mutex};
use crate::types::{Bug, GroupSet, NodeId, ReplicaSet, Slot, Time};
use crate::wire::{CheckpointPiece, CheckpointRequest};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, PoisonError};

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
    pub(super) fn new() -> Self {
        Self {
            phase: AtomicU32::new(RUNNING),
            halted: AtomicU64::new(0),
            count: AtomicU64::new(0),
            checkpoint: Mutex::new(None),
            restored: AtomicU64::new(0),
            fetching: Default::default(),
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

    /// What the workers do now.
    #[inline]
    fn phase(&self) -> u32 {
        // Acquire: pairs with the Release of whoever moved on.
        self.phase.load(Acquire)
    }

    /// Whether worker `me` stands still.
    fn is_halted(&self, me: GroupSet) -> bool {
        self.halted.load(Relaxed) & me.to_bits() != 0
    }

    /// The replica lacks its state.
    fn stop(&self) {
        // Only who finds the replica running stops it: a late worker must not undo what came after
        // the phase that it saw.
        let _ = self.phase.compare_exchange(RUNNING, FETCHING, Relaxed, Relaxed);
    }

    /// Worker `me` stands still from now on.
    fn halt(&self, me: GroupSet) {
        // Release: what this worker did is seen by whoever restores.
        self.halted.fetch_or(me.to_bits(), AcqRel);
    }

    /// Whether `all` stand still: the state is the caller's alone.
    fn is_alone(&self, all: GroupSet) -> bool {
        // Acquire: pairs with the Release of the workers that have halted.
        self.halted.load(Acquire) == all.to_bits()
    }

    /// The state of `checkpoint` is in place; each worker takes up its part.
    fn share(&self, checkpoint: Arc<Checkpoint>) {
        self.keep(Some(checkpoint));
        self.count.fetch_add(1, Relaxed);
        // Release: whoever sees it (Acquire) sees the state in place.
        self.phase.store(RESTORING, Release);
    }

    /// Worker `me`, which has stood still, goes on. The last one ends the recovery.
    fn go_on(&self, me: GroupSet) {
        // Release: the last to go on is seen by all to have been.
        if self.halted.fetch_and(!me.to_bits(), AcqRel) == me.to_bits() {
            self.keep(None);
            self.phase.store(RUNNING, Release);
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
        let phase = self.shared.recovery().phase();
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
        let me = GroupSet::one(self.config.me);
        let is_halted = recovery.is_halted(me);
        match phase {
            RESTORING if is_halted => {
                // What is not sound for this worker leaves it without its state: the replica fetches
                // another one.
                let checkpoint = recovery.checkpoint();
                let _ = checkpoint.map(|checkpoint| self.restore(&checkpoint, subscription, pool));
                self.is_muted = true;
                let lacks_more = subscription.needs_state_transfer().is_some();
                recovery.go_on(me);
                lacks_more
            }
            RESTORING => subscription.needs_state_transfer().is_some(),
            _ => {
                recovery.stop();
                if !is_halted {
                    self.is_muted = true;
                    subscription.await_checkpoint();
                    recovery.halt(me);
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
        if !shared.recovery().is_alone(self.all) || !fetch.is_complete() {
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
        shared.checkpoints().take_over(Arc::clone(&checkpoint));
        shared.recovery().note_fetching(Fetching::default());
        shared.recovery().share(checkpoint);
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

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::super::checkpoint::{Frame, Kind, START};
    use super::super::words::Words;
    use super::*;
    use crate::sync::model::{Plain, Turns, explore};
    use crate::types::GroupId;
    use loom::thread;

    const WORKERS: usize = 2;

    /// A checkpoint of one worker.
    fn checkpoint() -> Arc<Checkpoint> {
        let mut pieces = Vec::new();
        for (kind, words) in [(Kind::Worker, &[8, 1, 0, 1, 8][..]), (Kind::Sessions, &[])] {
            let mut frame = vec![0; START];
            Words(&mut frame).all(words.iter().copied());
            Frame::seal(kind, GroupId::new(0), &mut frame);
            pieces.push(frame);
        }
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        pieces.push(Checkpoint::end(2, length));
        Arc::new(Checkpoint::new(pieces, 1).expect("it is whole"))
    }

    /// A replica: how often its state, a piece a worker, was replaced, and whether a piece lacks
    /// something.
    struct Replica {
        recovery: Recovery,
        pieces: [Plain<(u64, bool)>; WORKERS],
        turns: Turns,
    }

    impl Replica {
        /// What [`PsmrWorker::stands_by`] does, in its order.
        fn stands_by(&self, index: usize, fetched: &Arc<Checkpoint>) -> bool {
            let (recovery, piece) = (&self.recovery, &self.pieces[index]);
            let me = GroupSet::one(GroupId::new(index));
            self.turns.take();
            let phase = recovery.phase();
            let is_halted = recovery.is_halted(me);
            let lacks_state = || piece.get().1;
            match phase {
                RUNNING if !lacks_state() => false,
                RESTORING if is_halted => {
                    let lacks_more = lacks_state();
                    assert!(recovery.checkpoint().is_some());
                    recovery.go_on(me);
                    lacks_more
                }
                RESTORING => lacks_state(),
                _ => {
                    recovery.stop();
                    if !is_halted {
                        recovery.halt(me);
                    }
                    if index == 0 && recovery.is_alone(GroupSet::all(WORKERS)) {
                        for piece in &self.pieces {
                            piece.set((piece.get().0 + 1, false));
                        }
                        recovery.share(Arc::clone(fetched));
                    }
                    true
                }
            }
        }

        /// A worker, until the state was replaced `times` times. Worker 1 finds that it lacks its own
        /// at the start and after each but the last.
        fn work(&self, index: usize, times: u64, fetched: &Arc<Checkpoint>) {
            loop {
                if self.stands_by(index, fetched) {
                    thread::yield_now();
                    continue;
                }
                let (replaced, _) = self.pieces[index].get();
                if replaced == times {
                    return;
                }
                self.pieces[index].set((replaced, index == 1));
                thread::yield_now();
            }
        }
    }

    fn come_back(times: u64) {
        let fetched = checkpoint();
        explore(move || {
            let (recovery, pieces) = (Recovery::new(), Default::default());
            let replica = Replica { recovery, pieces, turns: Turns::default() };
            let replica = loom::sync::Arc::new(replica);
            let other = loom::sync::Arc::clone(&replica);
            let shared = Arc::clone(&fetched);
            let other = thread::spawn(move || other.work(1, times, &shared));
            replica.work(0, times, &fetched);
            other.join().expect("it does not panic");
            assert!(!replica.recovery.is_under_way() && replica.recovery.checkpoint().is_none());
            assert_eq!(replica.recovery.count(), times);
        });
    }

    #[test]
    fn the_state_is_replaced_while_all_stand_still_and_all_see_the_new_one() {
        come_back(1);
    }

    #[test]
    fn who_lacks_its_state_again_stops_all_again() {
        come_back(2);
    }
}
