//! The open proposal of each ring, where it goes, and how much of what was sent may be unanswered.

use super::config::ProxyConfig;
use super::flow::Flow;
use super::parts::Parts;
use super::round_trip::RoundTrip;
use crate::ring_paxos::{Destination, OpenProposal, Outbox, Proposer};
use crate::types::{Ballot, NodeId, RingId, Time};
use crate::wire::{
    COMMAND_HEADER_LENGTH, Chunk, Command, CommandHeader, MAX_BATCH, Message, Propose, Room, Writer,
};
use std::time::Duration;

#[derive(Debug)]
struct Ring {
    proposal: OpenProposal,
    /// When something was last heard of what the ring ordered.
    heard: Time,
    /// When somebody is asked next who coordinates, since nothing is answered.
    ask_at: Option<Time>,
    /// Since when proposals go where they go.
    turned_at: Time,
    /// Somebody named another coordinator: what left since `turned_at` went astray.
    has_strays: bool,
    flow: Flow,
    parts: Parts,
    round_trip: RoundTrip,
    /// When the wait for an answer was lengthened.
    lengthened: Time,
}

/// One open proposal a ring.
#[derive(Debug)]
pub(super) struct Rings {
    rings: Vec<Ring>,
    pub(super) room: Room,
}

impl Rings {
    pub(super) fn new(count: usize, config: &ProxyConfig, now: Time) -> Self {
        let commands = config.sessions * config.window;
        let proposer = |ring| Proposer::new(ring, config.acceptors.clone());
        let ring = |ring| Ring {
            proposal: OpenProposal::new(ring, proposer(ring), config.room),
            heard: now,
            ask_at: None,
            turned_at: now,
            has_strays: false,
            flow: Flow::new(commands),
            parts: Parts::new(config.room),
            round_trip: RoundTrip::new(config.attempt_timeout),
            lengthened: now,
        };
        let rings = (0u16..).take(count).map(RingId).map(ring).collect();
        Self { rings, room: config.room }
    }

    /// The rings have other acceptors from now on.
    pub(super) fn take_up(&mut self, acceptors: &[NodeId]) {
        for ring in &mut self.rings {
            ring.turn(|proposer| proposer.take_up(acceptors.to_vec()));
        }
    }

    /// Whether a command of this payload travels in parts.
    #[inline]
    pub(super) const fn is_long(&self, payload: &[u8]) -> bool {
        payload.len() > self.room.command()
    }

    /// Appends a command to its ring's proposal; a full one leaves first. Returns the number of the
    /// proposal that it will leave in.
    #[inline]
    pub(super) fn push(
        &mut self,
        ring: RingId,
        command: &Command<'_>,
        out: &mut impl Outbox,
    ) -> u64 {
        let proposal = &mut self.rings[usize::from(ring.0)].proposal;
        command.encode(&mut Writer::new(proposal.reserve(command.encoded_length(), out)));
        proposal.number()
    }

    /// What of `ring` may be unanswered.
    #[inline]
    pub(super) fn flow(&mut self, ring: RingId) -> &mut Flow {
        &mut self.rings[usize::from(ring.0)].flow
    }

    /// The long commands on their way to `ring`.
    #[inline]
    pub(super) fn parts(&mut self, ring: RingId) -> &mut Parts {
        &mut self.rings[usize::from(ring.0)].parts
    }

    /// When something held, or a part, may leave.
    pub(super) fn next_timeouts(&self) -> impl Iterator<Item = Time> {
        self.rings
            .iter()
            .flat_map(|ring| [ring.flow.next_timeout(), ring.parts.next_timeout()])
            .flatten()
    }

    /// How long an answer of `ring` is waited for at a first attempt.
    #[inline]
    pub(super) fn timeout(&self, ring: RingId) -> Duration {
        self.rings[usize::from(ring.0)].round_trip.timeout()
    }

    /// The shortest of these waits.
    pub(super) fn shortest_timeout(&self) -> Duration {
        let timeouts = self.rings.iter().map(|ring| ring.round_trip.timeout());
        timeouts.min().expect("at least one ring")
    }

    /// `count` numbers of `ring`'s proposals that follow each other; the first of them.
    pub(super) fn take_numbers(&mut self, ring: RingId, count: u64) -> u64 {
        self.rings[usize::from(ring.0)].proposal.proposer_mut().take_numbers(count)
    }

    /// Proposes one part of a long command, and asks for a confirmation.
    pub(super) fn propose_part(
        &self,
        ring: RingId,
        number: u64,
        header: &CommandHeader,
        (chunk, bytes): (Chunk, &[u8]),
        out: &mut impl Outbox,
    ) {
        let mut proposal = [0; MAX_BATCH];
        let length = size_of::<Chunk>() + bytes.len();
        let mut writer = Writer::new(&mut proposal[..COMMAND_HEADER_LENGTH + length]);
        let length = u16::try_from(length).expect("a part fits a batch");
        writer.pod(&CommandHeader { length, ..*header });
        writer.pod(&chunk);
        writer.bytes(bytes);
        let commands = &proposal[..COMMAND_HEADER_LENGTH + usize::from(length)];
        let message =
            Message::Propose(Propose { number, is_confirmed: true, is_vital: false, commands });
        let target = self.rings[usize::from(ring.0)].proposal.proposer().target();
        out.send(Destination::Node(target), ring, &message);
    }

    /// How many rings there are.
    pub(super) const fn count(&self) -> usize {
        self.rings.len()
    }

    /// Sends what is open.
    pub(super) fn flush(&mut self, out: &mut impl Outbox) {
        for ring in &mut self.rings {
            ring.proposal.flush(out);
        }
    }

    /// Something that went to `ring` was answered; the time at which it left, if it left once. One
    /// answer a cycle is measured: the first, which came with the oldest command.
    #[inline]
    pub(super) fn on_answer(&mut self, ring: RingId, now: Time, sent: Option<Time>) {
        let ring = &mut self.rings[usize::from(ring.0)];
        if ring.heard < now {
            ring.heard = now;
            ring.ask_at = None;
            if let Some(sent) = sent {
                ring.round_trip.on_answer(now.since(sent));
            }
        }
    }

    /// A command that went to `ring` was not answered in time. Of many that were lost at once the
    /// first lengthens the wait.
    pub(super) fn on_silence(&mut self, ring: RingId, now: Time) {
        let ring = &mut self.rings[usize::from(ring.0)];
        if now.since(ring.lengthened) >= ring.round_trip.timeout() {
            ring.lengthened = now;
            ring.round_trip.on_silence();
        }
    }

    /// A command that went to `ring` has no answer: perhaps its coordinator is gone. Until
    /// something is heard of what the ring orders, others are asked.
    pub(super) fn on_overdue(&mut self, ring: RingId, now: Time, patience: Duration) {
        let ring = &mut self.rings[usize::from(ring.0)];
        if now.since(ring.heard) >= patience {
            ring.ask_at.get_or_insert(now);
        }
    }

    /// Asks who coordinates the rings of which nothing is heard, one acceptor each `interval`: a
    /// take-over is heard of long before what was sent to the dead one is sent again, and costs one
    /// small datagram, not every command once more.
    pub(super) fn ask(&mut self, now: Time, interval: Duration, out: &mut impl Outbox) {
        for (ring, id) in self.rings.iter_mut().zip((0u16..).map(RingId)) {
            if ring.ask_at.is_none_or(|at| now < at) {
                continue;
            }
            ring.ask_at = Some(now + interval);
            let whom = ring.proposal.proposer_mut().on_silence();
            let question =
                Propose { number: 0, is_confirmed: false, is_vital: false, commands: &[] };
            out.send(Destination::Node(whom), id, &Message::Propose(question));
        }
    }

    /// Says whether commands went astray.
    pub(super) fn on_redirect(&mut self, ring: RingId, ballot: Ballot) -> bool {
        let Some(ring) = self.rings.get_mut(usize::from(ring.0)) else { return false };
        ring.turn(|proposer| proposer.on_redirect(ballot))
    }

    /// Says whether commands went astray.
    pub(super) fn on_heartbeat(&mut self, ring: RingId, ballot: Ballot) -> bool {
        let Some(ring) = self.rings.get_mut(usize::from(ring.0)) else { return false };
        ring.turn(|proposer| proposer.on_heartbeat(ballot))
    }

    /// Whether a command that was sent to `ring` then went to an acceptor that turned it away, or
    /// may have.
    pub(super) fn is_astray(&self, ring: RingId, sent: Time) -> bool {
        let ring = &self.rings[usize::from(ring.0)];
        ring.has_strays && sent >= ring.turned_at
    }

    /// Whether anything went astray.
    pub(super) fn has_strays(&self) -> bool {
        self.rings.iter().any(|ring| ring.has_strays)
    }

    /// What went astray was sent again.
    pub(super) fn on_strays_sent(&mut self, now: Time) {
        for ring in self.rings.iter_mut().filter(|ring| ring.has_strays) {
            (ring.has_strays, ring.turned_at) = (false, now);
        }
    }
}

impl Ring {
    fn turn(&mut self, follow: impl FnOnce(&mut Proposer)) -> bool {
        let before = self.proposal.proposer().target();
        follow(self.proposal.proposer_mut());
        self.has_strays |= self.proposal.proposer().target() != before;
        self.has_strays
    }
}
