//! How a simulated replica takes digest points and compares them with those of others, as the
//! threads of a real one do.

use crate::replica::{DigestTimer, Divergence, Witnesses};
use crate::types::{Digest, Slot, Time};
use crate::wire::{Command, DigestPoint, DigestVote};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// What the workers of one replica tell each other of digest points.
#[derive(Debug)]
pub(super) struct Found {
    /// Those that a marker of their slot may change yet.
    points: RefCell<VecDeque<DigestPoint>>,
    taken: Cell<u64>,
    /// Commands that were executed when the last was taken.
    executed: Cell<u64>,
    workers: Box<[Standing]>,
}

/// How far a worker is.
#[derive(Debug, Default)]
struct Standing {
    /// In the ring of all groups.
    slot: Cell<u64>,
    executed: Cell<u64>,
}

impl Found {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            points: RefCell::default(),
            taken: Cell::new(0),
            executed: Cell::new(0),
            workers: (0..workers).map(|_| Standing::default()).collect(),
        }
    }

    /// A worker stands before `slot`, and has executed so many commands.
    pub(super) fn publish(&self, worker: usize, slot: Slot, executed: u64) {
        self.workers[worker].slot.set(slot.0);
        self.workers[worker].executed.set(executed);
    }

    /// Of several digests in one slot the last stands.
    pub(super) fn push(&self, slot: Slot, digest: Digest) {
        let mut points = self.points.borrow_mut();
        points.retain(|point| point.slot != slot);
        points.push_back(DigestPoint { slot, digest });
        self.taken.set(self.taken.get() + 1);
        self.executed.set(self.executed());
    }

    fn executed(&self) -> u64 {
        self.workers.iter().map(|worker| worker.executed.get()).sum()
    }

    /// Nothing more is said of what was found.
    fn forget(&self) {
        self.points.borrow_mut().clear();
    }

    /// The next point whose slot every worker has left.
    fn settled(&self) -> Option<DigestPoint> {
        let position = self.workers.iter().map(|worker| worker.slot.get()).min()?;
        let mut points = self.points.borrow_mut();
        if points.front()?.slot.0 < position { points.pop_front() } else { None }
    }
}

/// The comparison, by the first worker.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) timer: Option<DigestTimer>,
    pub(super) witnesses: Witnesses,
    pub(super) groups: usize,
}

impl Comparison {
    /// Asks for points, and votes.
    pub(super) fn look(
        &mut self,
        found: &Found,
        is_muted: bool,
        now: Time,
        mut multicast: impl FnMut(&Command<'_>),
    ) {
        if let Some(timer) = &mut self.timer {
            let is_due = self.witnesses.is_disputed();
            let has_changed = is_due || found.executed() != found.executed.get();
            timer.look((found.taken.get(), has_changed), now, &mut multicast);
        }
        while let Some(point) = found.settled() {
            self.witnesses.find(point);
        }
        if is_muted {
            found.forget();
            return self.witnesses.forget();
        }
        let groups = self.groups;
        self.witnesses.look(now, |vote| multicast(&vote.command(groups)));
    }

    /// Votes have come in the order: says whether the replica would stop.
    pub(super) fn count(&mut self, votes: &mut Vec<DigestVote>, now: Time) -> Option<Divergence> {
        votes.drain(..).filter_map(|vote| self.witnesses.on_vote(&vote, now)).last()
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        let timer = self.timer.as_ref().map(DigestTimer::next_timeout);
        timer.into_iter().chain(self.witnesses.next_timeout()).min()
    }
}
