//! How a protocol role meets the world.

use crate::types::{Address, Incarnation, NodeId, RingId, Time};
use crate::wire::Message;

/// Where a role sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Every acceptor and learner of the ring, by its multicast group.
    Ring(RingId),
    /// One node; the host knows its address.
    Node(NodeId),
    /// One node among those that hear at an address of their own: clients.
    Address(Address),
}

/// Who sent a message, as its checked header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The ring it concerns.
    pub ring: RingId,
    /// The sender.
    pub sender: NodeId,
    /// The sender's life.
    pub incarnation: Incarnation,
    /// Where to answer a sender that is no node of the cluster.
    pub from: Address,
}

/// Takes what a role sends. A message may be lost: for want of a buffer as on the network.
pub trait Outbox {
    /// Sends `message` about `ring`.
    fn send(&mut self, to: Destination, ring: RingId, message: &Message<'_>);
}

/// A state machine of the protocol. Inputs are bounded steps; nothing waits inside.
pub trait Role {
    /// A message that was addressed to this role.
    fn on_message(
        &mut self,
        envelope: &Envelope,
        message: &Message<'_>,
        now: Time,
        out: &mut impl Outbox,
    );

    /// The end of a duty cycle: what was gathered leaves (batches, decisions, 2Bs, repairs).
    fn on_cycle_end(&mut self, now: Time, out: &mut impl Outbox);

    /// [`Role::next_timeout`] has come.
    fn on_timeout(&mut self, now: Time, out: &mut impl Outbox);

    /// When this role wants [`Role::on_timeout`] next.
    fn next_timeout(&self) -> Option<Time>;
}
