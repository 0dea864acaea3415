//! When a replica stops itself: agreement is broken, its state is not that of the others, or its
//! workers wait for each other for ever.
//!
//! Looked at a few times a limit, off the path of commands. A rendezvous is late only while its
//! workers, and those that these wait for in turn, have what they need: a worker without a decided
//! instance to go on with is a matter of its ring, and a ring without a quorum is a legal outage.

use super::board::Board;
use crate::config::Unspoken;
use crate::sync::RendezvousState;
use crate::types::{GroupSet, Instance, RingId, Slot, Time};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Why a node stopped itself.
#[derive(Debug, Error)]
pub enum Halt {
    /// A learner heard two decisions of one instance.
    #[error(
        "two values were decided for instance {instance} of ring {ring}: agreement is broken, and \
         the replica stops before it goes on; keep every acceptor's data directory: see `Two values \
         decided` in docs/OPERATIONS.md"
    )]
    Conflict {
        /// The ring.
        ring: RingId,
        /// The first such instance.
        instance: Instance,
    },
    /// More than half of the replicas have one and the same other state.
    #[error(
        "the replicas' states differ at slot {slot} of the ring of all groups: {found}; more than \
         half agree, so this one is wrong and stops; its checkpoint is put aside, and the next start \
         fetches that of another replica: see `The replicas' states differ` in docs/OPERATIONS.md"
    )]
    Outvoted {
        /// Where.
        slot: Slot,
        /// The digest that each of them has there.
        found: String,
    },
    /// The replicas' states differ, and none is that of more than half.
    #[error(
        "the replicas' states differ at slot {slot} of the ring of all groups: {found}; no state is \
         that of more than half, so all of these stop, and none starts again before somebody has \
         said which one is right; {kept}: see `The replicas' states differ` in docs/OPERATIONS.md"
    )]
    Divided {
        /// Where.
        slot: Slot,
        /// The digest that each of them has there.
        found: String,
        /// Whether its state is in its last checkpoint.
        kept: Kept,
    },
    /// The same, and its directory does not say so.
    #[error(
        "the replicas' states differ at slot {slot} of the ring of all groups: {found}; no state is \
         that of more than half, so all of these stop; {path} could not be told ({source}): do not \
         start it again before somebody has said which one is right: see `The replicas' states \
         differ` in docs/OPERATIONS.md"
    )]
    Unsaid {
        /// Where.
        slot: Slot,
        /// The digest that each of them has there.
        found: String,
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its node is no member any more.
    #[error(
        "removed from the cluster: epoch {epoch} begins without it; its data are of no use to \
         anybody else"
    )]
    Removed {
        /// The epoch in which it is none.
        epoch: u32,
    },
    /// The cluster speaks a wire version that is not spoken here.
    #[error(transparent)]
    Unspoken(#[from] Unspoken),
    /// Workers waited for each other for too long.
    #[error(
        "the workers {set:?} have been in one rendezvous for {open:?}, at slot {slot} of the ring of \
         all groups, although nothing that they need is undecided: {state}; if a command may take this \
         long, raise rendezvous_timeout in [execution]; else start it again: see `A rendezvous without \
         end` in docs/OPERATIONS.md"
    )]
    Rendezvous {
        /// Who was to meet.
        set: GroupSet,
        /// For how long they had all they needed.
        open: Duration,
        /// Where what they met for stands.
        slot: Slot,
        /// Who stood where.
        state: RendezvousState,
    },
}

/// The slot of a checkpoint that has all that a replica has answered, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept(pub Option<Slot>);

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(slot) => write!(f, "its checkpoint at slot {slot} has its state"),
            None => f.write_str("its last checkpoint is older, and needs what the acceptors have"),
        }
    }
}

/// Looks a limit.
const LOOKS: u32 = 8;

/// Times the rendezvous of the workers of one thread.
#[derive(Debug)]
pub(super) struct Watchdog {
    limit: Duration,
    looked: Time,
    watches: Box<[Watch]>,
}

/// The rendezvous that one worker is in.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    since: Time,
    /// How long it had no excuse.
    open: Duration,
}

impl Watchdog {
    /// For a thread of `workers` workers; a limit of zero is none.
    pub(super) fn new(limit: Duration, workers: usize) -> Self {
        Self { limit, looked: Time::ZERO, watches: vec![Watch::default(); workers].into() }
    }

    /// A look, if it is time for one, at what each worker of the thread waits for: the first set
    /// whose rendezvous is overdue, and for how long it has been open. A process that stood still
    /// has waited for no longer than one look.
    pub(super) fn look(
        &mut self,
        board: &Board,
        waiting: impl Iterator<Item = Option<(Time, GroupSet)>>,
        now: Time,
    ) -> Option<(GroupSet, Duration)> {
        let passed = now.since(self.looked);
        if self.limit.is_zero() || passed < self.limit / LOOKS {
            return None;
        }
        self.looked = now;
        let counted = passed.min(2 * self.limit / LOOKS);
        let mut overdue = None;
        for (watch, waiting) in self.watches.iter_mut().zip(waiting) {
            let Some((since, set)) = waiting else {
                *watch = Watch::default();
                continue;
            };
            if watch.since != since {
                *watch = Watch { since, open: Duration::ZERO };
            } else if !board.lacks_a_decision(set) {
                watch.open += counted;
            }
            if watch.open >= self.limit {
                overdue = overdue.or(Some((set, watch.open)));
            }
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::super::board::Stand;
    use super::*;
    use crate::types::GroupId;

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks of worker 0, which meets `set` since `since`, a second apart.
    fn looks(
        dog: &mut Watchdog,
        board: &Board,
        (since, set): (u64, GroupSet),
        seconds: std::ops::Range<u64>,
    ) -> Option<u64> {
        seconds.into_iter().find(|second| {
            let now = Time::ZERO + SECOND * u32::try_from(*second).expect("small");
            dog.look(board, [Some((Time(since), set))].into_iter(), now).is_some()
        })
    }

    #[test]
    fn a_rendezvous_is_overdue_only_when_its_workers_lacked_nothing_for_the_whole_limit() {
        let (board, set) = (Board::new(3), GroupSet::all(2));
        let mut dog = Watchdog::new(8 * SECOND, 1);
        assert_eq!(looks(&mut dog, &board, (1, set), 1..100), Some(9));
        // Another rendezvous has a time of its own.
        assert_eq!(looks(&mut dog, &board, (2, set), 100..105), None);
        // A worker of the set waits for its ring: that is no fault of the replica.
        board.stand(1, Stand::Starving);
        assert_eq!(looks(&mut dog, &board, (2, set), 105..200), None);
        board.stand(1, Stand::Going);
        assert_eq!(looks(&mut dog, &board, (2, set), 200..300), Some(203));
    }

    #[test]
    fn who_waits_for_a_worker_that_waits_for_a_starving_one_has_its_excuse() {
        let board = Board::new(3);
        let pair = GroupSet::all(2);
        let other = GroupSet::one(GroupId::new(1)).union(GroupSet::one(GroupId::new(2)));
        board.stand(1, Stand::Meeting(other));
        board.stand(2, Stand::Starving);
        let mut dog = Watchdog::new(8 * SECOND, 1);
        assert_eq!(looks(&mut dog, &board, (1, pair), 1..100), None);
        // One outside of what is waited for may starve as it likes.
        board.stand(1, Stand::Going);
        assert_eq!(looks(&mut dog, &board, (1, pair), 100..200), Some(107));
    }

    #[test]
    fn a_process_that_stood_still_has_not_waited() {
        let (board, set) = (Board::new(2), GroupSet::all(2));
        let mut dog = Watchdog::new(8 * SECOND, 1);
        let mut look = |second: u32| {
            dog.look(&board, [Some((Time(1), set))].into_iter(), Time::ZERO + SECOND * second)
        };
        assert_eq!((look(1), look(1000), look(2000), look(3000)), (None, None, None, None));
        assert!(look(4000).is_some(), "two seconds each");
        let mut never = Watchdog::new(Duration::ZERO, 1);
        assert_eq!(looks(&mut never, &board, (1, set), 1..100), None);
    }
}
