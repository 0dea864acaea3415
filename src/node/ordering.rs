//! The agent that orders: acceptors (and coordinators) of one or several rings on one thread.
//!
//! A datagram of a ring is opened once and shown to every member of that ring that lives here; an
//! acceptor copies what it accepts, so the buffer goes back at once. The multi-ring skip policy
//! runs here too: the positions of all rings of the process are one cache line each.

use super::agent::Agent;
use super::post::Post;
use super::{Book, DropCounters, Positions};
use crate::mem::{Frame, Pool};
use crate::multi_ring::SkipPolicy;
use crate::ring_paxos::{Counters, Envelope, Log, Member, Role};
use crate::sync::Waker;
use crate::transport::{Endpoint, Receive, ReceiveCounters, Transmit, TransmitCounters};
use crate::types::{NodeId, RingId, Time};
use crate::wire::{self, Header, Identity, Message};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// One acceptor of one ring, with what it needs to send.
#[derive(Debug)]
pub(super) struct Hosted<L: Log> {
    pub(super) ring: RingId,
    pub(super) node: NodeId,
    pub(super) member: Member<L>,
    pub(super) skips: SkipPolicy,
    counter: u64,
}

impl<L: Log> Hosted<L> {
    pub(super) fn new(ring: RingId, node: NodeId, member: Member<L>, skips: SkipPolicy) -> Self {
        Self { ring, node, member, skips, counter: 0 }
    }

    /// Whether a datagram with this header is for this acceptor.
    fn is_meant(&self, header: &Header) -> bool {
        self.ring == header.ring && (header.target == NodeId::ALL || header.target == self.node)
    }

    fn with_post<'a, T: Transmit>(
        &'a mut self,
        identity: &'a Identity,
        book: &'a Book,
        transmit: &'a mut T,
    ) -> (&'a mut Member<L>, Post<'a, T>) {
        let Self { node, member, counter, .. } = self;
        (member, Post { me: *node, identity, book, counter, transmit })
    }
}

/// Acceptors of one or several rings on one thread.
#[derive(Debug)]
pub(super) struct OrderingAgent<E, L: Log> {
    endpoint: E,
    identity: Identity,
    book: Arc<Book>,
    positions: Arc<Positions>,
    hosted: Vec<Hosted<L>>,
    frames: Vec<Frame>,
    drops: DropCounters,
}

/// What an ordering agent counted.
#[derive(Clone, Debug)]
pub struct OrderingFigures {
    /// Per hosted acceptor: its ring and its counters.
    pub members: Vec<(RingId, Counters)>,
    /// The receiving half.
    pub received: ReceiveCounters,
    /// The sending half.
    pub sent: TransmitCounters,
    /// Datagrams dropped, by reason.
    pub drops: DropCounters,
}

impl<E: Endpoint, L: Log> OrderingAgent<E, L> {
    pub(super) fn new(
        endpoint: E,
        identity: Identity,
        book: Arc<Book>,
        positions: Arc<Positions>,
        hosted: Vec<Hosted<L>>,
    ) -> Self {
        let frames = Vec::with_capacity(super::FRAMES);
        let drops = DropCounters::default();
        Self { endpoint, identity, book, positions, hosted, frames, drops }
    }

    pub(super) fn figures(&mut self) -> OrderingFigures {
        let (receive, transmit) = self.endpoint.split();
        OrderingFigures {
            members: self.hosted.iter().map(|h| (h.ring, h.member.counters())).collect(),
            received: receive.counters(),
            sent: transmit.counters(),
            drops: self.drops,
        }
    }

    fn receive(&mut self, now: Time) -> usize {
        let (receive, transmit) = self.endpoint.split();
        receive.poll(now, &mut self.frames);
        let count = self.frames.len();
        for frame in self.frames.drain(..) {
            let opened = wire::open(&self.identity, receive.bytes(&frame))
                .and_then(|(header, body)| Ok((header, Message::decode(header.kind, body)?)));
            match opened {
                Ok((header, message)) => {
                    let envelope = Envelope {
                        ring: header.ring,
                        sender: header.sender,
                        incarnation: header.incarnation,
                        from: frame.from,
                    };
                    for hosted in self.hosted.iter_mut().filter(|h| h.is_meant(&header)) {
                        let (member, mut out) =
                            hosted.with_post(&self.identity, &self.book, transmit);
                        member.on_message(&envelope, &message, now, &mut out);
                    }
                }
                Err(reason) => self.drops.count(reason),
            }
            receive.release(frame);
        }
        count
    }

    /// Lets every ring follow the furthest one: at each coordinator that lives here.
    fn skip(&mut self, now: Time) -> u32 {
        let mut skipped = 0;
        for index in 0..self.hosted.len() {
            let hosted = &mut self.hosted[index];
            if !hosted.member.is_coordinator() {
                continue;
            }
            let own = hosted.member.slot();
            self.positions.publish(hosted.ring, own);
            for slot in self.positions.others(hosted.ring) {
                hosted.skips.on_position(slot, now);
            }
            if let Some(slots) = hosted.skips.due(own, now) {
                let (_, transmit) = self.endpoint.split();
                let (member, mut out) = hosted.with_post(&self.identity, &self.book, transmit);
                skipped += u32::from(member.skip(slots, now, &mut out));
            }
        }
        skipped
    }
}

impl<E: Endpoint, L: Log> Agent for OrderingAgent<E, L> {
    fn do_work(&mut self, now: Time) -> io::Result<u32> {
        let mut work = u32::try_from(self.receive(now)).expect("bounded by FRAMES");
        let (_, transmit) = self.endpoint.split();
        for hosted in &mut self.hosted {
            let (member, mut out) = hosted.with_post(&self.identity, &self.book, transmit);
            if member.next_timeout().is_some_and(|due| due <= now) {
                member.on_timeout(now, &mut out);
                work += 1;
            }
        }
        work += self.skip(now);
        let (_, transmit) = self.endpoint.split();
        for hosted in &mut self.hosted {
            let (member, mut out) = hosted.with_post(&self.identity, &self.book, transmit);
            member.on_cycle_end(now, &mut out);
        }
        transmit.flush()?;
        Ok(work)
    }

    fn next_timeout(&self) -> Option<Time> {
        let members = self.hosted.iter().filter_map(|hosted| hosted.member.next_timeout());
        let coordinators = self.hosted.iter().filter(|hosted| hosted.member.is_coordinator());
        members.chain(coordinators.filter_map(|hosted| hosted.skips.next_timeout())).min()
    }

    fn park(&mut self, timeout: Duration) -> io::Result<()> {
        self.endpoint.park(timeout)
    }

    fn waker(&self) -> Waker {
        self.endpoint.waker()
    }
}
