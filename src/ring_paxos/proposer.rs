//! The proposer's side: whom to send proposals to, and under which number.
//!
//! It follows the coordinator by heartbeats and redirects. On silence it asks the other acceptors in
//! turn, by proposals without a command: each of them either coordinates or says who does. Proposals
//! go to the last coordinator until a higher ballot is heard of: another acceptor would only turn
//! them away. What was not answered is proposed again, by its owner, under its old number:
//! duplicates die at the coordinator or at the replicas.

use crate::types::{Ballot, NodeId, RingId};

/// Where one ring's proposals go.
#[derive(Clone, Debug)]
pub struct Proposer {
    acceptors: Vec<NodeId>,
    ballot: Ballot,
    target: usize,
    /// Who was asked last who coordinates.
    asked: usize,
    number: u64,
}

impl Proposer {
    /// A proposer for `ring`, whose acceptors stand in the order of the configuration.
    ///
    /// # Panics
    /// If there is no acceptor.
    #[must_use]
    pub fn new(ring: RingId, acceptors: Vec<NodeId>) -> Self {
        assert!(!acceptors.is_empty(), "a ring has acceptors");
        let first = usize::from(ring.0) % acceptors.len();
        Self { acceptors, ballot: Ballot::ZERO, target: first, asked: first, number: 0 }
    }

    /// The ring has other acceptors from now on.
    ///
    /// # Panics
    /// If there is none.
    pub fn take_up(&mut self, acceptors: Vec<NodeId>) {
        assert!(!acceptors.is_empty(), "a ring has acceptors");
        let target = self.target();
        self.asked = 0;
        self.target = acceptors.iter().position(|node| *node == target).unwrap_or(0);
        self.acceptors = acceptors;
    }

    /// A number that no proposal of this life has had.
    pub const fn next_number(&mut self) -> u64 {
        self.take_numbers(1)
    }

    /// The first of `count` such numbers that follow each other.
    pub const fn take_numbers(&mut self, count: u64) -> u64 {
        let first = self.number + 1;
        self.number += count;
        first
    }

    /// An acceptor does not coordinate, and this is the highest ballot that it knows.
    pub fn on_redirect(&mut self, ballot: Ballot) {
        self.follow(ballot);
    }

    /// The coordinator of `ballot` lives.
    pub fn on_heartbeat(&mut self, ballot: Ballot) {
        self.follow(ballot);
    }

    /// No answer from the target for too long: whom to ask who coordinates now.
    pub fn on_silence(&mut self) -> NodeId {
        self.asked = (self.asked + 1) % self.acceptors.len();
        if self.asked == self.target {
            self.asked = (self.asked + 1) % self.acceptors.len();
        }
        self.acceptors[self.asked]
    }

    /// Whom to send to.
    #[must_use]
    pub fn target(&self) -> NodeId {
        self.acceptors[self.target]
    }

    /// The highest ballot heard of.
    #[must_use]
    pub const fn ballot(&self) -> Ballot {
        self.ballot
    }

    fn follow(&mut self, ballot: Ballot) {
        if ballot == Ballot::ZERO || ballot < self.ballot {
            return;
        }
        self.ballot = ballot;
        if let Some(target) = self.acceptors.iter().position(|node| *node == ballot.node) {
            self.target = target;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Incarnation;

    fn ballot(round: u32, node: u16) -> Ballot {
        Ballot::new(round, NodeId(node), Incarnation(1))
    }

    #[test]
    fn a_proposer_starts_at_the_rings_first_coordinator_and_follows_the_highest_ballot() {
        let mut proposer = Proposer::new(RingId(4), vec![NodeId(10), NodeId(11), NodeId(12)]);
        assert_eq!(proposer.target(), NodeId(11));
        proposer.on_redirect(ballot(2, 12));
        assert_eq!(proposer.target(), NodeId(12));
        proposer.on_heartbeat(ballot(1, 11));
        assert_eq!(proposer.target(), NodeId(12));
        proposer.on_redirect(Ballot::ZERO);
        assert_eq!(proposer.target(), NodeId(12));
        assert_eq!((proposer.next_number(), proposer.next_number()), (1, 2));
    }

    #[test]
    fn a_proposer_that_is_sent_back_to_a_dead_coordinator_still_asks_every_acceptor() {
        let acceptors: Vec<NodeId> = (0..5).map(NodeId).collect();
        let mut proposer = Proposer::new(RingId(0), acceptors);
        let mut asked = Vec::new();
        for _ in 0..5 {
            proposer.on_redirect(ballot(1, 0));
            asked.push(proposer.on_silence().0);
            assert_eq!(proposer.target(), NodeId(0), "others would turn proposals away");
        }
        assert_eq!(asked, [1, 2, 3, 4, 1]);
        let mut alone = Proposer::new(RingId(0), vec![NodeId(7)]);
        assert_eq!(alone.on_silence(), NodeId(7));
    }
}
