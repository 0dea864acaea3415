//! Datagrams between the acceptors of a test, encoded as on a real wire.
#![allow(dead_code, reason = "each test program uses a part of it")]

use psmr::ring_paxos::{Destination, Outbox};
use psmr::types::{Ballot, Incarnation, Instance, NodeId, RingId, Slot};
use psmr::wire::{HEADER_LENGTH, Kind, MAX_DATAGRAM, Message, Promise, PromiseRecords, Writer};

/// One datagram on its way, or one that arrived outside the ring.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    pub(crate) life: Incarnation,
    /// Of the sender: a receiver in another one does not hear it.
    pub(crate) epoch: u32,
    pub(crate) to: NodeId,
    pub(crate) is_multicast: bool,
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::decode(self.kind as u8, &self.body).expect("members send what they can read")
    }
}

/// What a member sends in one step.
pub(crate) struct Outgoing {
    pub(super) from: NodeId,
    pub(super) life: Incarnation,
    pub(super) sent: Vec<Packet>,
}

impl Outbox for Outgoing {
    fn send(&mut self, to: Destination, ring: RingId, message: &Message<'_>) {
        assert_eq!(ring, RingId(0));
        assert!(message.encoded_length() <= MAX_DATAGRAM, "too long: {message:?}");
        let mut body = vec![0; message.encoded_length() - HEADER_LENGTH];
        message.encode(&mut Writer::new(&mut body));
        let (to, is_multicast) = match to {
            Destination::Ring(_) => (NodeId::ALL, true),
            Destination::Node(node) => (node, false),
            Destination::Address(address) => panic!("nobody lives at {address:?}"),
        };
        let (from, life) = (self.from, self.life);
        let kind = message.kind();
        self.sent.push(Packet { from, life, epoch: 0, to, is_multicast, kind, body });
    }
}

/// One of `pages` pages of a Promise for `ballot` that has accepted and forgotten nothing.
pub(crate) fn page_of_nothing(ballot: Ballot, page: u32, pages: u32) -> Promise<'static> {
    Promise {
        ballot,
        first: Instance(1),
        last: Promise::INFINITY,
        trim: Instance(0),
        known: Instance(0),
        slot: Slot(0),
        page,
        pages,
        records: PromiseRecords::new(&[]),
    }
}
