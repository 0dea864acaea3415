//! The open proposal of each ring, where it goes, and how much of what was sent may be unanswered.

use super::flow::Flow;
use crate::ring_paxos::{Destination, Outbox, Proposer};
use crate::types::{Ballot, NodeId, RingId, Time};
use crate::wire::{Command, MAX_BATCH, Message, Propose, Writer};

#[derive(Debug)]
struct Ring {
    proposer: Proposer,
    open: Vec<u8>,
    /// When something was last heard of what the ring ordered.
    heard: Time,
    /// Somebody said who coordinates, and nothing was sent there since.
    is_redirected: bool,
    /// Since when proposals go where they go.
    turned_at: Time,
    /// Somebody named another coordinator: what left since `turned_at` went astray.
    has_strays: bool,
    flow: Flow,
}

/// One open proposal a ring.
#[derive(Debug)]
pub(super) struct Rings(Vec<Ring>);

impl Rings {
    pub(super) fn new(count: usize, commands: usize, acceptors: &[NodeId], now: Time) -> Self {
        let ring = |ring| Ring {
            proposer: Proposer::new(RingId(ring), acceptors.to_vec()),
            open: Vec::with_capacity(MAX_BATCH),
            heard: now,
            is_redirected: false,
            turned_at: now,
            has_strays: false,
            flow: Flow::new(commands),
        };
        Self((0u16..).take(count).map(ring).collect())
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
        let length = command.encoded_length();
        let Ring { proposer, open, .. } = &mut self.0[usize::from(ring.0)];
        if open.len() + length > MAX_BATCH {
            propose(ring, proposer, open, out);
        }
        let at = open.len();
        open.resize(at + length, 0);
        command.encode(&mut Writer::new(&mut open[at..]));
        proposer.upcoming_number()
    }

    /// What of `ring` may be unanswered.
    #[inline]
    pub(super) fn flow(&mut self, ring: RingId) -> &mut Flow {
        &mut self.0[usize::from(ring.0)].flow
    }

    /// The flows of all rings.
    pub(super) fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.0.iter().map(|ring| &ring.flow)
    }

    /// How many rings there are.
    pub(super) const fn count(&self) -> usize {
        self.0.len()
    }

    /// Sends what is open.
    pub(super) fn flush(&mut self, out: &mut impl Outbox) {
        for (ring, Ring { proposer, open, .. }) in (0u16..).map(RingId).zip(&mut self.0) {
            if !open.is_empty() {
                propose(ring, proposer, open, out);
            }
        }
    }

    /// A command that went to `ring` was answered.
    #[inline]
    pub(super) fn on_answer(&mut self, ring: RingId, now: Time) {
        self.0[usize::from(ring.0)].heard = now;
    }

    /// A command that went to `ring` has no answer: perhaps its coordinator is gone.
    pub(super) fn on_overdue(&mut self, ring: RingId, now: Time, patience: std::time::Duration) {
        let ring = &mut self.0[usize::from(ring.0)];
        // What was sent again a moment ago is the first that goes to whom was named.
        let is_redirected = std::mem::take(&mut ring.is_redirected);
        if now.since(ring.heard) >= patience && !is_redirected {
            ring.proposer.on_silence();
            (ring.heard, ring.turned_at) = (now, now);
        }
    }

    /// Says whether commands went astray.
    pub(super) fn on_redirect(&mut self, ring: RingId, ballot: Ballot) -> bool {
        let Some(ring) = self.0.get_mut(usize::from(ring.0)) else { return false };
        ring.is_redirected = true;
        ring.turn(|proposer| proposer.on_redirect(ballot))
    }

    /// Says whether commands went astray.
    pub(super) fn on_heartbeat(&mut self, ring: RingId, ballot: Ballot) -> bool {
        let Some(ring) = self.0.get_mut(usize::from(ring.0)) else { return false };
        ring.turn(|proposer| proposer.on_heartbeat(ballot))
    }

    /// Whether a command that was sent to `ring` then went to an acceptor that turned it away, or
    /// may have.
    pub(super) fn is_astray(&self, ring: RingId, sent: Time) -> bool {
        let ring = &self.0[usize::from(ring.0)];
        ring.has_strays && sent >= ring.turned_at
    }

    /// What went astray was sent again.
    pub(super) fn on_strays_sent(&mut self, now: Time) {
        for ring in self.0.iter_mut().filter(|ring| ring.has_strays) {
            (ring.has_strays, ring.turned_at) = (false, now);
        }
    }
}

impl Ring {
    fn turn(&mut self, follow: impl FnOnce(&mut Proposer)) -> bool {
        let before = self.proposer.target();
        follow(&mut self.proposer);
        self.has_strays |= self.proposer.target() != before;
        self.has_strays
    }
}

fn propose(ring: RingId, proposer: &mut Proposer, open: &mut Vec<u8>, out: &mut impl Outbox) {
    let message = Message::Propose(Propose { number: proposer.next_number(), commands: open });
    out.send(Destination::Node(proposer.target()), ring, &message);
    open.clear();
}
