//! What a replica proposes to the rings: an open proposal each.

use crate::ring_paxos::{OpenProposal, Outbox, Proposer};
use crate::types::{NodeId, RingId};
use crate::wire::{Command, Control, ControlKind, Message, Mode, Room, Writer};

/// The open proposal of each ring: commands that a replica multicasts again.
#[derive(Debug)]
pub struct Proposals(Box<[OpenProposal]>);

impl Proposals {
    /// One a ring, from ring 0 on; the last of several is g_all's. Datagrams are of `room`.
    #[must_use]
    pub fn new(proposers: impl IntoIterator<Item = Proposer>, room: Room) -> Self {
        let open = |(ring, proposer)| OpenProposal::new(RingId(ring), proposer, room);
        Self((0u16..).zip(proposers).map(open).collect())
    }

    /// What an acceptor of `ring` says about who coordinates it.
    pub fn on_answer(&mut self, ring: RingId, message: &Message<'_>) {
        let Some(proposal) = self.0.get_mut(usize::from(ring.0)) else { return };
        match message {
            Message::Redirect(redirect) => proposal.proposer_mut().on_redirect(redirect.ballot),
            Message::Heartbeat(beat) => proposal.proposer_mut().on_heartbeat(beat.ballot),
            _ => {} // Refused: the worker repeats by its own timer.
        }
    }

    /// The rings have other acceptors from now on.
    pub fn take_up(&mut self, acceptors: &[NodeId]) {
        for proposal in &mut self.0 {
            proposal.proposer_mut().take_up(acceptors.to_vec());
        }
    }

    /// Multicasts `command` to its groups: it joins the proposal of the ring that orders them.
    ///
    /// # Panics
    /// If it has no group, or one without a ring.
    pub fn multicast(&mut self, command: &Command<'_>, out: &mut impl Outbox) {
        let groups = self.0.len().saturating_sub(1).max(1);
        let ring = command.header.groups.ring(groups);
        let proposal = &mut self.0[usize::from(ring.0)];
        command.encode(&mut Writer::new(proposal.reserve(command.encoded_length(), out)));
        // Without the markers of checkpoints a full log stays full.
        if command.header.mode.has(Mode::SESSION)
            && let Some((ControlKind::Checkpoint, _)) = Control::decode(command.payload)
        {
            proposal.set_vital();
        }
    }

    /// Sends what is open.
    pub fn flush(&mut self, out: &mut impl Outbox) {
        for proposal in &mut self.0 {
            proposal.flush(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring_paxos::Destination;
    use crate::types::{Ballot, GroupId, GroupSet, Incarnation};
    use crate::wire::{CommandHeader, Redirect};

    #[derive(Default)]
    struct Sent(Vec<(Destination, RingId, usize)>);

    impl Outbox for Sent {
        fn send(&mut self, to: Destination, ring: RingId, message: &Message<'_>) {
            let Message::Propose(propose) = message else { panic!("{message:?}") };
            self.0.push((to, ring, propose.commands.len()));
        }
    }

    #[test]
    fn a_command_leaves_by_the_ring_of_its_groups_to_whom_that_ring_named() {
        let acceptors = || (10..13).map(NodeId).collect();
        let mut proposals =
            Proposals::new((0..3).map(|ring| Proposer::new(RingId(ring), acceptors())), Room::MOST);
        let mut out = Sent::default();
        let one = |group| GroupSet::one(GroupId::new(group));
        for groups in [one(0), one(1), one(1), GroupSet::all(2)] {
            let header = CommandHeader { groups, ..CommandHeader::default() };
            proposals.multicast(&Command { header, payload: &[] }, &mut out);
        }
        let ballot = Ballot::new(1, NodeId(10), Incarnation(1));
        proposals.on_answer(RingId(2), &Message::Redirect(Redirect { ballot }));
        proposals.on_answer(RingId(9), &Message::Redirect(Redirect { ballot }));
        proposals.flush(&mut out);
        proposals.flush(&mut out);
        let to = |node| Destination::Node(NodeId(node));
        assert_eq!(
            out.0,
            [(to(10), RingId(0), 32), (to(11), RingId(1), 64), (to(10), RingId(2), 32)]
        );
    }
}
