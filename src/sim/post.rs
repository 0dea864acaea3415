//! From messages to datagrams on the simulated network: the same bytes as on a real one.

use super::checkers::Violations;
use super::members::Archive;
use super::tap::Tap;
use crate::ring_paxos::{Destination, Outbox};
use crate::types::{NodeId, RingId, Slot};
use crate::wire::{self, HEADER_LENGTH, Header, Identity, Message, Writer};
use std::rc::Rc;

/// A datagram that a host sends.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) to: Destination,
    pub(super) ring: RingId,
    pub(super) bytes: Rc<[u8]>,
}

/// What all hosts send through: one buffer to encode in, and the tap.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) tap: Tap,
    pub(super) violations: Violations,
    /// The epochs that there were.
    pub(super) archive: Archive,
    /// How far the coordinator of each ring is, where coordinators share a process's memory.
    pub(super) positions: Vec<Slot>,
    /// A position has moved since the scheduler looked.
    pub(super) has_moved: bool,
    scratch: Vec<u8>,
}

impl Office {
    pub(super) fn new(tap: Tap, archive: Archive, rings: usize) -> Self {
        Self {
            outgoing: Vec::new(),
            tap,
            violations: Violations::default(),
            archive,
            positions: vec![Slot(0); rings],
            has_moved: false,
            scratch: Vec::new(),
        }
    }
}

/// A role's way to the network: stamps what it sends with its name and its life.
#[derive(Debug)]
pub(super) struct Post<'a> {
    pub(super) me: NodeId,
    pub(super) identity: &'a Identity,
    pub(super) counter: &'a mut u64,
    pub(super) office: &'a mut Office,
}

impl Outbox for Post<'_> {
    fn send(&mut self, to: Destination, ring: RingId, message: &Message<'_>) {
        let Office { outgoing, tap, violations, scratch, .. } = &mut *self.office;
        tap.on_sent(ring, message, violations);
        scratch.resize(message.encoded_length(), 0);
        message.encode(&mut Writer::new(&mut scratch[HEADER_LENGTH..]));
        *self.counter += 1;
        let target = match to {
            Destination::Node(node) => node,
            Destination::Ring(_) | Destination::Address(_) => NodeId::ALL,
        };
        let header = Header {
            kind: message.kind() as u8,
            ring,
            counter: *self.counter,
            sender: self.me,
            target,
            ..Header::default()
        };
        wire::seal(self.identity, header, scratch);
        outgoing.push(Outgoing { to, ring, bytes: Rc::from(&scratch[..]) });
    }
}
