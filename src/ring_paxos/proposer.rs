//! Whom a proposer sends to, and under what number.

use crate::types::{Ballot, NodeId, RingId};

/// One ring as its proposers know it: a guess at the coordinator, corrected by whoever knows better.
#[derive(Clone, Debug)]
pub struct Proposer {
    acceptors: Vec<NodeId>,
    target: usize,
    /// The highest ballot heard of.
    ballot: Ballot,
    number: u64,
}

impl Proposer {
    /// A proposer of `ring` over its `acceptors`: the ring's first coordinator is tried first.
    ///
    /// # Panics
    /// If there are no acceptors.
    #[must_use]
    pub fn new(ring: RingId, acceptors: Vec<NodeId>) -> Self {
        assert!(!acceptors.is_empty(), "a ring has acceptors");
        let target = usize::from(ring.0) % acceptors.len();
        Self { acceptors, target, ballot: Ballot::ZERO, number: 0 }
    }

    /// The number of the next proposal, from 1: with sender and life its name.
    pub const fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// An acceptor was told a proposal and knows of a coordinator.
    pub fn on_redirect(&mut self, ballot: Ballot) {
        self.follow(ballot);
    }

    /// A coordinator lives.
    pub fn on_heartbeat(&mut self, ballot: Ballot) {
        self.follow(ballot);
    }

    /// Nothing was heard of what was proposed for a while: another acceptor is tried.
    pub fn on_silence(&mut self) {
        self.target = (self.target + 1) % self.acceptors.len();
    }

    /// Where to send proposals.
    #[must_use]
    pub fn target(&self) -> NodeId {
        self.acceptors[self.target]
    }

    fn follow(&mut self, ballot: Ballot) {
        if ballot < self.ballot {
            return;
        }
        if let Some(index) = self.acceptors.iter().position(|node| *node == ballot.node) {
            self.ballot = ballot;
            self.target = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Incarnation;

    #[test]
    fn a_proposer_follows_the_highest_ballot_and_tries_others_in_silence() {
        let mut proposer = Proposer::new(RingId(4), vec![NodeId(7), NodeId(8), NodeId(9)]);
        assert_eq!(proposer.target(), NodeId(8));
        proposer.on_silence();
        assert_eq!(proposer.target(), NodeId(9));
        proposer.on_redirect(Ballot::new(3, NodeId(7), Incarnation(1)));
        proposer.on_heartbeat(Ballot::new(2, NodeId(9), Incarnation(1)));
        assert_eq!(proposer.target(), NodeId(7));
        proposer.on_redirect(Ballot::new(4, NodeId(1), Incarnation(1)));
        assert_eq!(proposer.target(), NodeId(7), "no acceptor of the ring");
        assert_eq!((proposer.next_number(), proposer.next_number()), (1, 2));
    }
}
