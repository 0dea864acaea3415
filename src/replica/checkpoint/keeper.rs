//! The checkpoints of a replica: one under way, one complete. Shared by its workers.
//!
//! Workers meet the locks at a marker and once a mebibyte of state, never for a command. The frames
//! of a checkpoint that another one has replaced are filled again: to give them back to the kernel
//! would keep a worker from its commands for 10 ms with ten million keys.
#![expect(clippy::disallowed_types, reason = "a lock a mebibyte, which is not the data path")]

use super::Checkpoint;
use super::frame::{Frame, Kind, START};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard};
use crate::types::{GroupId, Slot};
use crossbeam_utils::CachePadded;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, PoisonError};

/// A frame of the service leaves when it has so many bytes.
const FRAME: usize = 1 << 20;
/// What one holds: a sweep may give out a lot at once.
const FRAME_ROOM: usize = FRAME + FRAME / 16;

/// Where a replica's checkpoints are made and kept.
#[derive(Debug)]
pub struct Checkpoints {
    groups: usize,
    is_on: AtomicBool,
    /// Whether a complete one must be confirmed, when it is on disk.
    is_confirmed: AtomicBool,
    /// Cuts made: written by an executor while the workers are parked.
    cuts: AtomicU64,
    /// Workers that have not given out all of theirs; whoever counts it down to 0 puts it together.
    open: AtomicUsize,
    /// Instances that each worker has passed since its cut.
    moved: Box<[CachePadded<AtomicU64>]>,
    /// Instances between the cut of the last complete one and the last cut.
    aged: AtomicU64,
    /// Instances after which the acceptors have forgotten what follows a checkpoint.
    stale: AtomicU64,
    /// The cut that the last complete one was made at.
    latest_cut: AtomicU64,
    /// Somebody waits for a checkpoint of this cut or a later one; 0: nobody does.
    wanted: AtomicU64,
    /// Complete checkpoints so far.
    completed: AtomicU64,
    /// Their last one's slot, plus 1.
    slot: AtomicU64,
    pieces: Mutex<Vec<Vec<u8>>>,
    /// Frames of a former checkpoint.
    spare: Mutex<Vec<Vec<u8>>>,
    /// Complete, but not confirmed.
    pending: Mutex<Option<Arc<Checkpoint>>>,
    latest: Mutex<Option<Arc<Checkpoint>>>,
}

impl Checkpoints {
    pub(in crate::replica) fn new(groups: usize) -> Self {
        Self {
            groups,
            is_on: AtomicBool::new(false),
            is_confirmed: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            moved: (0..groups).map(|_| CachePadded::default()).collect(),
            aged: AtomicU64::new(0),
            stale: AtomicU64::new(u64::MAX),
            latest_cut: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            slot: AtomicU64::new(0),
            pieces: Mutex::default(),
            spare: Mutex::default(),
            pending: Mutex::default(),
            latest: Mutex::default(),
        }
    }

    /// From now on markers make checkpoints. They count as soon as they are complete or, if somebody
    /// `confirms`, once [`Checkpoints::confirm`] was called. One that is more than `log` instances
    /// old is of no use to others, for no log holds more. Before the workers run.
    pub fn turn_on(&self, confirms: bool, log: u64) {
        self.is_confirmed.store(confirms, Relaxed);
        self.stale.store(log, Relaxed);
        self.is_on.store(true, Release);
    }

    /// Whether markers make checkpoints.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Cuts made so far.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Relaxed)
    }

    /// Complete checkpoints so far.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed.load(Acquire)
    }

    /// The most instances of a ring that some worker has passed since the last cut.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved.iter().map(|moved| moved.load(Relaxed)).max().unwrap_or_default()
    }

    /// Another replica asks for a checkpoint at `first` or later. Whether there is one that may be of
    /// use to it; if not, one is asked for.
    pub(in crate::replica) fn serves(&self, first: Slot) -> bool {
        let age = self.aged.load(Relaxed).saturating_add(self.moved());
        let is_fresh = age <= self.stale.load(Relaxed);
        // What was cut after the first request is of use however long it took to make: whoever
        // asks keeps what is ordered meanwhile.
        let wanted = self.wanted.load(Relaxed);
        let is_made = wanted > 0 && self.latest_cut.load(Relaxed) >= wanted;
        let serves = (is_fresh || is_made) && self.slot().is_some_and(|slot| slot >= first);
        if serves {
            self.wanted.store(0, Relaxed);
        } else if wanted == 0 || is_made {
            self.want();
        }
        serves
    }

    /// Somebody waits for one that is begun from now on.
    pub fn want(&self) {
        self.wanted.store(self.cuts() + 1, Relaxed);
    }

    /// Whether somebody waits for one that was not begun yet.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.cuts() < self.wanted.load(Relaxed)
    }

    /// Whether one is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.open.load(Relaxed) > 0 || lock(&self.pending).is_some()
    }

    /// The slot of the last complete one, if there is one.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        self.slot.load(Relaxed).checked_sub(1).map(Slot)
    }

    /// The last complete one.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Checkpoint>> {
        lock(&self.latest).clone()
    }

    /// One that waits to be confirmed.
    #[must_use]
    pub fn pending(&self) -> Option<Arc<Checkpoint>> {
        lock(&self.pending).clone()
    }

    /// `checkpoint` is where it must be. If another one has taken its place meanwhile, that one is
    /// to be confirmed.
    pub fn confirm(&self, checkpoint: &Arc<Checkpoint>) {
        let mut pending = lock(&self.pending);
        let confirmed = pending.take_if(|pending| Arc::ptr_eq(pending, checkpoint));
        // Before the next one may begin: what is said of this one's age is of its own cut.
        let former = confirmed.and_then(|confirmed| self.replace(confirmed));
        drop(pending);
        former.into_iter().for_each(|former| self.release(former));
    }

    /// Takes over a checkpoint of another replica, which is to be confirmed like an own one.
    pub fn take_over(&self, checkpoint: Arc<Checkpoint>) {
        if self.is_confirmed.load(Relaxed) {
            *lock(&self.pending) = Some(Arc::clone(&checkpoint));
        } else {
            self.publish(checkpoint);
        }
    }

    /// Takes over a checkpoint that is where it must be: of a former life, too.
    pub fn publish(&self, checkpoint: Arc<Checkpoint>) {
        self.replace(checkpoint).into_iter().for_each(|former| self.release(former));
    }

    /// `checkpoint` is the last complete one; the one before it.
    fn replace(&self, checkpoint: Arc<Checkpoint>) -> Option<Arc<Checkpoint>> {
        self.slot.store(checkpoint.slot().0 + 1, Relaxed);
        self.aged.store(0, Relaxed);
        self.latest_cut.store(self.cuts(), Relaxed);
        let former = lock(&self.latest).replace(checkpoint);
        // Release: who sees the count (Acquire) finds the checkpoint.
        self.completed.fetch_add(1, Release);
        former
    }

    /// Who held a checkpoint needs it no more.
    pub(in crate::replica) fn release(&self, checkpoint: Arc<Checkpoint>) {
        if let Ok(checkpoint) = Arc::try_unwrap(checkpoint) {
            self.recycle(checkpoint.into_pieces());
        }
    }

    fn recycle(&self, mut pieces: Vec<Vec<u8>>) {
        pieces.retain(|piece| piece.capacity() == FRAME_ROOM);
        let mut spare = lock(&self.spare);
        if spare.is_empty() {
            *spare = pieces;
        }
    }

    /// An empty frame for the service's state, its [`START`] bytes apart.
    pub(in crate::replica) fn frame(&self) -> Vec<u8> {
        let mut frame = lock(&self.spare).pop().unwrap_or_else(|| Vec::with_capacity(FRAME_ROOM));
        frame.clear();
        frame.resize(START, 0);
        frame
    }

    /// Whether a frame of the service is to be pushed.
    pub(in crate::replica) const fn is_full(frame: &[u8]) -> bool {
        frame.len() >= FRAME
    }

    /// Begins one, at a marker, of the whole's holder. Not while one is under way: then the marker
    /// passes without effect at this replica.
    pub(in crate::replica) fn begin(&self) -> bool {
        let is_free = self.is_on.load(Acquire)
            && self.open.load(Acquire) == 0
            && lock(&self.pending).is_none();
        if is_free {
            self.open.store(self.groups, Relaxed);
            self.cuts.store(self.cuts() + 1, Relaxed);
            self.aged.store(self.aged.load(Relaxed).saturating_add(self.moved()), Relaxed);
        }
        is_free
    }

    /// The worker of `group` has passed so many instances since its cut.
    pub(in crate::replica) fn note_moved(&self, group: GroupId, moved: u64) {
        self.moved[group.index()].store(moved, Relaxed);
    }

    /// Drops what is under way: the state is replaced, while no worker runs.
    pub(in crate::replica) fn abandon(&self) {
        self.recycle(std::mem::take(&mut *lock(&self.pieces)));
        self.open.store(0, Release);
    }

    /// A frame of `group`'s worker: [`START`] bytes to be written, then the body.
    pub(in crate::replica) fn push(&self, kind: Kind, group: GroupId, mut frame: Vec<u8>) {
        Frame::seal(kind, group, &mut frame);
        lock(&self.pieces).push(frame);
    }

    /// A worker has given out all of its own.
    pub(in crate::replica) fn end_of_worker(&self) {
        if self.open.fetch_sub(1, AcqRel) > 1 {
            return;
        }
        let mut pieces = std::mem::take(&mut *lock(&self.pieces));
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        pieces.push(Checkpoint::end(pieces.len() as u64, length));
        let checkpoint = Checkpoint::of_own(pieces, self.groups).expect("made by this replica");
        let checkpoint = Arc::new(checkpoint);
        if self.is_confirmed.load(Relaxed) {
            *lock(&self.pending) = Some(checkpoint);
        } else {
            self.publish(checkpoint);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;
    use crate::replica::words::Words;
    use crate::sync::model::{Turns, explore};
    use crate::types::GroupSet;
    use loom::thread;

    /// Worker `group` gives out its part of a checkpoint at slot 8, as a worker does.
    fn give_out(checkpoints: &Checkpoints, group: usize) {
        let group = GroupId::new(group);
        let mut frame = vec![0; START];
        // Its slot, then one ring: its number, instance and slot.
        Words(&mut frame).all([8, 1, 0, 1, 8]);
        checkpoints.push(Kind::Worker, group, frame);
        checkpoints.push(Kind::Sessions, group, vec![0; START]);
        checkpoints.push(Kind::Service, group, checkpoints.frame());
        checkpoints.end_of_worker();
    }

    fn begun(groups: usize, confirms: bool) -> Checkpoints {
        let checkpoints = Checkpoints::new(groups);
        checkpoints.turn_on(confirms, 100);
        checkpoints.note_moved(GroupId::new(0), 30);
        assert!(checkpoints.begin());
        checkpoints.note_moved(GroupId::new(0), 7);
        checkpoints
    }

    #[test]
    fn the_last_worker_puts_the_checkpoint_together_and_who_sees_the_count_finds_it() {
        explore(|| {
            let shared = loom::sync::Arc::new((begun(2, false), Turns::default()));
            let workers = [0, 1].map(|group| {
                let shared = loom::sync::Arc::clone(&shared);
                thread::spawn(move || {
                    shared.1.take();
                    give_out(&shared.0, group);
                })
            });
            let (checkpoints, turns) = &*shared;
            turns.take();
            if checkpoints.completed() == 1 {
                assert_eq!(checkpoints.slot(), Some(Slot(8)));
                let latest = checkpoints.latest().expect("it was counted");
                let groups = latest.frames().fold(GroupSet::EMPTY, |groups, frame| {
                    groups.union(GroupSet::one(frame.group))
                });
                assert_eq!(groups, GroupSet::all(2));
            }
            workers.into_iter().for_each(|worker| worker.join().expect("it does not panic"));
            assert_eq!((checkpoints.completed(), checkpoints.is_busy()), (1, false));
        });
    }

    #[test]
    fn a_checkpoint_that_is_confirmed_while_the_next_begins_is_none_of_the_next_cut() {
        explore(|| {
            let checkpoints = loom::sync::Arc::new(begun(1, true));
            give_out(&checkpoints, 0);
            let pending = checkpoints.pending().expect("nobody has confirmed it");
            let keeper = {
                let checkpoints = loom::sync::Arc::clone(&checkpoints);
                thread::spawn(move || checkpoints.confirm(&pending))
            };
            let has_begun = checkpoints.begin();
            keeper.join().expect("it does not panic");
            assert_eq!(checkpoints.cuts(), 1 + u64::from(has_begun));
            assert_eq!(checkpoints.latest_cut.load(Relaxed), 1);
            // Between the cuts there were 7 instances.
            assert_eq!(checkpoints.aged.load(Relaxed), if has_begun { 7 } else { 0 });
        });
    }
}
