//! From messages to datagrams: addresses, headers, trains of replies and of proposals.

use super::Book;
use crate::ring_paxos::{Destination, Outbox};
use crate::transport::{Target, Transmit};
use crate::types::{KeyNumber, NodeId, RingId};
use crate::wire::{Gate, HEADER_LENGTH, Header, Message, Writer};

/// What one role needs to send: its name, its life, and the transmitting half of its thread.
#[derive(Debug)]
pub(super) struct Post<'a, T> {
    pub(super) me: NodeId,
    pub(super) gate: &'a mut Gate,
    pub(super) book: &'a Book,
    pub(super) transmit: &'a mut T,
}

impl<T: Transmit> Post<'_, T> {
    fn write(&mut self, target: Target, node: NodeId, ring: RingId, message: &Message<'_>) {
        debug_assert!(
            message.kind().since() <= self.gate.identity().version,
            "the cluster does not speak {message:?}"
        );
        let length = message.encoded_length() + self.gate.tag_length();
        let Some(datagram) = self.transmit.reserve(target, length) else {
            return; // Counted as lost by the transport; the protocol repeats what matters.
        };
        message.encode(&mut Writer::new(&mut datagram[HEADER_LENGTH..]));
        let header = Header {
            kind: message.kind() as u8,
            ring,
            sender: self.me,
            target: node,
            ..Header::default()
        };
        let key = match target {
            Target::Address(address) => address.key(),
            Target::Group(_) => KeyNumber::NODES,
        };
        self.gate.seal(header, key, datagram);
    }
}

impl<T: Transmit> Outbox for Post<'_, T> {
    fn send(&mut self, to: Destination, ring: RingId, message: &Message<'_>) {
        let (target, node) = match to {
            Destination::Ring(group) => (Target::Group(group), NodeId::ALL),
            Destination::Node(node) => (Target::Address(self.book.address(node)), node),
            Destination::Address(address) => (Target::Address(address), NodeId::ALL),
        };
        self.write(target, node, ring, message);
    }
}
