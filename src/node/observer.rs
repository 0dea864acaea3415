//! The boards of the nodes of a process, for whoever watches them from outside: on a thread of its
//! own, without a word to theirs.

use super::board::Board;
use crate::ring_paxos::{Log, Member};
use crate::wire::Fact;
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

macro_rules! ring_figures {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// What an acceptor says of one ring.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct RingFigures {
            $($(#[$doc])* pub $field: u64,)*
        }

        /// The same on the board: the acceptor's thread alone writes.
        #[derive(Debug, Default)]
        pub(super) struct RingLine(CachePadded<RingWords>);

        #[derive(Debug, Default)]
        struct RingWords {
            $($field: AtomicU64,)*
        }

        impl RingLine {
            pub(super) fn store(&self, figures: &RingFigures) {
                $(self.0.$field.store(figures.$field, Ordering::Relaxed);)*
            }

            pub(super) fn load(&self) -> RingFigures {
                RingFigures { $($field: self.0.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

ring_figures! {
    /// The last instance up to which it knows that all are decided.
    decided,
    /// The last instance that is forgotten.
    trim,
    /// The first slot behind what is decided.
    slot,
    /// The round of the highest ballot that it knows.
    round,
    /// 1 while it coordinates.
    coordinates,
    /// 1 while it has a vote.
    votes,
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
}

impl RingFigures {
    pub(super) fn of<L: Log>(member: &Member<L>) -> Self {
        let counters = member.counters();
        Self {
            decided: member.decided().0,
            trim: member.trim().0,
            slot: member.heard_slot().0,
            round: member.ballot().round.into(),
            coordinates: member.is_coordinator().into(),
            votes: (!member.is_inert()).into(),
            instances: counters.instances,
            take_overs: counters.take_overs,
            step_downs: counters.step_downs,
            repairs: counters.repairs,
            resends: counters.resends,
            proposals: counters.proposals,
            refused_full: counters.refused_full,
            refused_no_quorum: counters.refused_no_quorum,
            admissions: counters.admissions,
        }
    }
}
