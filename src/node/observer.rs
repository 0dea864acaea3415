//! The boards of the nodes of a process, for whoever watches them from outside: on a thread of its
//! own, without a word to theirs.

use super::board::Board;
use crate::ring_paxos::{Holder, Log, Member, Memory, Obstacle};
use crate::types::{Address, Time};
use crate::wire::{DecodeError, Fact};
use crossbeam_utils::CachePadded;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nodes that are watched.
#[derive(Clone, Debug)]
pub struct Observer(Vec<(String, Arc<Board>)>);

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFigures {
    /// False once it has ended though its process lives.
    pub is_up: bool,
    /// What it answers to a request for its status, but for its rings and its process.
    pub facts: Vec<Fact>,
    /// Of an acceptor, by ring.
    pub rings: Vec<RingFigures>,
    /// Of a replica, by ring: instances that it has heard are decided and that its slowest worker has
    /// not applied.
    pub lags: BTreeMap<u64, u64>,
    /// Datagrams that it has dropped, by reason.
    pub drops: Vec<Dropped>,
    /// Of a replica that has begun.
    pub replica: Option<ReplicaFigures>,
}

/// Datagrams that were dropped for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The reason.
    pub reason: DecodeError,
    /// How many of them.
    pub count: u64,
    /// Where the last of them came from.
    pub from: Address,
}

/// What a replica says of its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaFigures {
    /// What it needs next is forgotten by the acceptors.
    pub is_lost: bool,
    /// It answers nobody, since it catches up.
    pub is_muted: bool,
    /// The first slot of the ring of all groups that its slowest worker has not applied.
    pub position: u64,
    /// Its checkpoints.
    pub state: StateFigures,
    /// Their file.
    pub kept: KeptFigures,
}

impl Observer {
    pub(super) const fn new(nodes: Vec<(String, Arc<Board>)>) -> Self {
        Self(nodes)
    }

    /// Each node as of now: its id and its figures.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, NodeFigures)> {
        self.0.iter().map(|(id, board)| (id.as_str(), board.figures()))
    }
}

macro_rules! figures {
    (
        $(#[$of:meta])* $figures:ident, $line:ident, $words:ident:
        $($(#[$doc:meta])* $field:ident,)*
    ) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $figures {
            $($(#[$doc])* pub $field: u64,)*
        }

        /// The same on the board: one thread alone writes.
        #[derive(Debug, Default)]
        pub(super) struct $line(CachePadded<$words>);

        #[derive(Debug, Default)]
        struct $words {
            $($field: AtomicU64,)*
        }

        impl $line {
            pub(super) fn store(&self, figures: &$figures) {
                $(self.0.$field.store(figures.$field, Ordering::Relaxed);)*
            }

            pub(super) fn load(&self) -> $figures {
                $figures { $($field: self.0.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

figures! {
    /// What a replica says of its checkpoints.
    StateFigures, StateLine, StateWords:
    /// The slot of the last complete one, plus 1; 0: there is none.
    checkpoint,
    /// How many were completed in this life.
    completed,
    /// How often it came back by another replica's.
    transfers,
    /// The slot of the one that it went on from last, plus 1; 0: it has begun with none.
    restored,
    /// While it fetches one: the number of the worker that is asked, plus 1.
    source,
    /// Bytes of it that are here.
    fetched,
    /// Bytes of all of it, once that is known.
    length,
}

figures! {
    /// What a replica says of the file of its checkpoints.
    KeptFigures, KeptLine, KeptWords:
    /// Checkpoints that were written.
    saves,
    /// Those that could not be.
    failures,
    /// The error of the operating system at the last one; 0: it was written.
    error,
    /// What writing the last one that was written took.
    nanoseconds,
    /// How many bytes it has.
    bytes,
    /// 1 if the file was damaged at the start.
    damaged,
}

figures! {
    /// What an acceptor says of one ring.
    RingFigures, RingLine, RingWords:
    /// The last instance up to which it knows that all are decided.
    decided,
    /// The last instance that is forgotten.
    trim,
    /// The first slot behind what is decided.
    slot,
    /// The round of the highest ballot that it knows.
    round,
    /// The number of the node whose ballot that is.
    leader,
    /// 1 while it coordinates.
    coordinates,
    /// 1 while it has a vote.
    votes,
    /// What it began with: 1 if its memory was lost, 2 if it found nothing that tells of a former
    /// life.
    began,
    /// Instances of its log that are free.
    free,
    /// What keeps the ring from ordering: 1 a quorum that does not answer; a log that is almost full
    /// because 2 too few replicas are heard of, 3 a learner is slow, 4 a checkpoint is waited for; 5 a
    /// learner that is as far behind as it may be.
    obstacle,
    /// Of 3 to 5: the number of the learner.
    holder,
    /// Instances that it decided as coordinator.
    instances,
    /// Times that it became coordinator.
    take_overs,
    /// Times that it stopped being coordinator or candidate.
    step_downs,
    /// Instances that it sent as repair.
    repairs,
    /// 2As that it sent again.
    resends,
    /// Proposals that reached it as coordinator.
    proposals,
    /// Proposals refused because log, queue or window was full.
    refused_full,
    /// Proposals refused for want of f + 1 acceptors with memory.
    refused_no_quorum,
    /// Acceptors without memory that it re-admitted.
    admissions,
    /// Reports of learners that the ring does not have.
    unknown_learners,
    /// 1 if its log was found to be a copy of earlier days.
    old_copies,
}

impl RingFigures {
    /// Of `member`, which began with `memory`.
    pub(super) fn of<L: Log>(member: &Member<L>, memory: Memory, now: Time) -> Self {
        let counters = member.counters();
        let (obstacle, holder) = match member.obstacle(now) {
            None => (0, 0),
            Some(Obstacle::NoQuorum) => (1, 0),
            Some(Obstacle::LogFull(Holder::TooFew)) => (2, 0),
            Some(Obstacle::LogFull(Holder::Applies(learner))) => (3, learner),
            Some(Obstacle::LogFull(Holder::Checkpoint(learner))) => (4, learner),
            Some(Obstacle::FarAhead(learner)) => (5, learner),
        };
        Self {
            decided: member.decided().0,
            trim: member.trim().0,
            slot: member.heard_slot().0,
            round: member.ballot().round.into(),
            leader: member.ballot().node.0.into(),
            coordinates: member.is_coordinator().into(),
            votes: member.has_vote().into(),
            began: match memory {
                Memory::Amnesiac => 1,
                Memory::Newborn => 2,
                Memory::Fresh | Memory::Restored => 0,
            },
            free: member.free_instances(),
            obstacle,
            holder,
            instances: counters.instances,
            take_overs: counters.take_overs,
            step_downs: counters.step_downs,
            repairs: counters.repairs,
            resends: counters.resends,
            proposals: counters.proposals,
            refused_full: counters.refused_full,
            refused_no_quorum: counters.refused_no_quorum,
            admissions: counters.admissions,
            unknown_learners: counters.unknown_learners,
            old_copies: counters.old_copies,
        }
    }
}
