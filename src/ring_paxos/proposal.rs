//! A proposal that is being gathered: commands end to end, until they fill a datagram or the duty
//! cycle ends.
//!
//! Its owner writes the commands into the room that it gets; what they say is no matter here.

use super::{Destination, Outbox, Proposer};
use crate::types::RingId;
use crate::wire::{Message, Propose, Room};

/// The open proposal of one ring, and whom it goes to.
#[derive(Debug)]
pub struct OpenProposal {
    ring: RingId,
    proposer: Proposer,
    commands: Vec<u8>,
    /// The most bytes of commands.
    limit: usize,
    is_vital: bool,
    /// Taken with the first command: whoever takes numbers meanwhile does not change it.
    number: u64,
}

impl OpenProposal {
    /// Nothing yet, for `ring`, in datagrams of `room`.
    #[must_use]
    pub fn new(ring: RingId, proposer: Proposer, room: Room) -> Self {
        let limit = room.batch();
        Self {
            ring,
            proposer,
            commands: Vec::with_capacity(limit),
            limit,
            is_vital: false,
            number: 0,
        }
    }

    /// Room for a command of `length` bytes; a proposal that is too full for it leaves first.
    ///
    /// # Panics
    /// If no proposal is as long.
    #[inline]
    pub fn reserve(&mut self, length: usize, out: &mut impl Outbox) -> &mut [u8] {
        assert!(length <= self.limit, "a longer command travels in parts");
        if self.commands.len() + length > self.limit {
            self.flush(out);
        }
        if self.commands.is_empty() {
            self.number = self.proposer.next_number();
        }
        let at = self.commands.len();
        self.commands.resize(at + length, 0);
        &mut self.commands[at..]
    }

    /// The number that what was gathered last leaves under.
    #[inline]
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Sends what was gathered.
    pub fn flush(&mut self, out: &mut impl Outbox) {
        if self.commands.is_empty() {
            return;
        }
        let Self { number, is_vital, ref commands, .. } = *self;
        let propose = Propose { number, is_confirmed: false, is_vital, commands };
        let to = Destination::Node(self.proposer.target());
        out.send(to, self.ring, &Message::Propose(propose));
        self.commands.clear();
        self.is_vital = false;
    }

    /// What is gathered serves to make room in the logs.
    pub const fn set_vital(&mut self) {
        self.is_vital = true;
    }

    /// Whom it goes to.
    #[must_use]
    pub const fn proposer(&self) -> &Proposer {
        &self.proposer
    }

    /// Whom it goes to, for news of the coordinator.
    pub const fn proposer_mut(&mut self) -> &mut Proposer {
        &mut self.proposer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;
    use crate::wire::MAX_BATCH;

    /// Number and length of what was sent.
    #[derive(Default)]
    struct Sent(Vec<(u64, usize)>);

    impl Outbox for Sent {
        fn send(&mut self, to: Destination, ring: RingId, message: &Message<'_>) {
            assert_eq!((to, ring), (Destination::Node(NodeId(8)), RingId(1)));
            let Message::Propose(propose) = message else { panic!("{message:?}") };
            self.0.push((propose.number, propose.commands.len()));
        }
    }

    #[test]
    fn a_proposal_leaves_when_it_is_full_or_flushed_and_never_empty() {
        let proposer = Proposer::new(RingId(1), vec![NodeId(7), NodeId(8)]);
        let mut proposal = OpenProposal::new(RingId(1), proposer, Room::MOST);
        let mut out = Sent::default();
        proposal.flush(&mut out);
        for length in [MAX_BATCH / 2, MAX_BATCH - MAX_BATCH / 2] {
            assert_eq!(proposal.reserve(length, &mut out).len(), length);
            assert_eq!(proposal.number(), 1);
        }
        assert_eq!(proposal.proposer_mut().take_numbers(5), 2);
        assert_eq!(out.0, [], "exactly full");
        proposal.reserve(1, &mut out)[0] = 1;
        assert_eq!((&out.0[..], proposal.number()), (&[(1, MAX_BATCH)][..], 7));
        proposal.flush(&mut out);
        proposal.flush(&mut out);
        assert_eq!(out.0, [(1, MAX_BATCH), (7, 1)]);
    }
}
