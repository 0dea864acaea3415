//! Where a thread answers whoever asks for its node's state, and those it does not talk to.

use super::DropCounters;
use super::board::{self, Board};
use super::census::Registrar;
use super::post::Post;
use crate::config::Node;
use crate::host::usage::Usage;
use crate::ring_paxos::{Destination, Outbox};
use crate::transport::{ReceiveCounters, Transmit, TransmitCounters};
use crate::types::{Address, RingId, Time};
use crate::wire::{
    self, DecodeError, Fact, Facts, Kind, Message, Room, StatusPage, StatusRequest, TAG_LENGTH,
    Topic, claimed,
};
use std::sync::Arc;
use std::time::Duration;

/// Strangers hear why they are not heard, but not more often than this.
const MISMATCH_PAUSE: Duration = Duration::from_millis(5);
/// How old the figure of resident memory may be.
const USAGE_AGE: Duration = Duration::from_millis(500);
/// Facts of an answer beyond its page limit are none of this version's.
const PAGE_FACTS: usize = (Room::LEAST.body() - StatusPage::FIXED_LENGTH) / size_of::<Fact>();

/// The desk of one thread.
#[derive(Debug)]
pub(super) struct Desk {
    board: Arc<Board>,
    pub(super) drops: DropCounters,
    /// The node that its thread is of.
    node: String,
    /// The epoch in which that node came.
    since: u32,
    pub(super) registrar: Registrar,
    facts: Vec<Fact>,
    mismatch_at: Time,
    usage_at: Time,
    resident_bytes: u64,
    /// Losses of its thread's network that the board knows.
    lost: [u64; 4],
}

impl Desk {
    pub(super) fn new(board: Arc<Board>, registrar: Registrar, (node, since): (&str, u32)) -> Self {
        Self {
            board,
            node: node.to_owned(),
            since,
            registrar,
            drops: DropCounters::default(),
            facts: Vec::with_capacity(256),
            mismatch_at: Time::ZERO,
            usage_at: Time::ZERO,
            resident_bytes: 0,
            lost: [0; 4],
        }
    }

    /// The name of its node.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// The number of its node, if that is one of `nodes` still: another one may have its name.
    pub(super) fn number_in(&self, nodes: &[Node]) -> Option<u16> {
        let mut nodes = nodes.iter();
        nodes.find(|node| node.id == self.node && node.since == self.since).map(|node| node.number)
    }

    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    /// A message of `from` that nobody here reads.
    pub(super) fn drop(&mut self, reason: DecodeError, from: Address) {
        self.drops.count(reason);
        self.board.count_drop(reason, from);
    }

    /// A datagram that cannot be read, and why. A client or asker that may not talk to us is told
    /// so, by the header of an empty message: never more bytes than it sent.
    #[cold]
    pub(super) fn refuse<T: Transmit>(
        &mut self,
        (reason, datagram): (DecodeError, &[u8]),
        from: Address,
        now: Time,
        out: &mut Post<'_, T>,
    ) {
        self.drop(reason, from);
        if self.registrar.on_refused((reason, datagram), from, now, out) {
            return;
        }
        let is_mismatch = matches!(
            reason,
            DecodeError::Version
                | DecodeError::Cluster
                | DecodeError::Configuration
                | DecodeError::Epoch
                | DecodeError::Unsigned
                | DecodeError::Signed
                | DecodeError::Forged
        );
        let Some((header, Kind::Propose | Kind::StatusRequest)) = claimed(datagram) else { return };
        let is_long = datagram.len() >= Message::Mismatch.encoded_length() + TAG_LENGTH;
        if is_mismatch && is_long && now >= self.mismatch_at {
            self.mismatch_at = now + MISMATCH_PAUSE;
            let to = Destination::Address(header.reply_to(from));
            out.send(to, RingId(0), &Message::Mismatch);
        }
    }

    /// Starts to gather facts; [`Desk::answer`] sends them.
    pub(super) fn gather(
        &mut self,
        role: u64,
        (received, sent): (ReceiveCounters, TransmitCounters),
        (epoch, version): (u32, u8),
        now: Time,
    ) -> &mut Vec<Fact> {
        if self.usage_at == Time::ZERO || now.since(self.usage_at) > USAGE_AGE {
            self.usage_at = now;
            self.resident_bytes = Usage::now().resident_bytes;
        }
        self.facts.clear();
        let process = [u64::from(epoch), self.resident_bytes, role];
        self.facts.push(Fact::new(Topic::Process, 0, process));
        let newest = self.registrar.newest_wire();
        let spoken = [version, wire::OLDEST, newest].map(u64::from);
        self.facts.push(Fact::new(Topic::Wire, 0, spoken));
        board::network_facts(losses(received, sent), &mut self.facts);
        self.board.facts(&mut self.facts);
        &mut self.facts
    }

    /// Tells the board what the network of this thread has lost.
    pub(super) fn publish_losses(&mut self, received: ReceiveCounters, sent: TransmitCounters) {
        let counts = losses(received, sent);
        let more = std::array::from_fn(|index| counts[index].saturating_sub(self.lost[index]));
        self.lost = counts;
        self.board.count_network(more);
    }

    /// The page that `request` asks for, of what was gathered.
    pub(super) fn answer<T: Transmit>(
        &self,
        request: &StatusRequest<'_>,
        from: Address,
        out: &mut Post<'_, T>,
    ) {
        let size = request.facts().min(PAGE_FACTS);
        let Some(pages) = self
            .facts
            .len()
            .checked_div(size)
            .map(|whole| whole + usize::from(whole * size < self.facts.len()))
        else {
            return; // No room for a single fact: nothing that may be answered.
        };
        let page = usize::try_from(request.page).unwrap_or(usize::MAX);
        let Some(facts) = self.facts.chunks(size).nth(page) else { return };
        let count = |n: usize| u32::try_from(n).expect("few pages");
        let page = StatusPage {
            number: request.number,
            page: request.page,
            pages: count(pages),
            facts: Facts::of(facts),
        };
        out.send(Destination::Address(from), RingId(0), &Message::StatusPage(page));
    }
}

/// Datagrams that a thread's network has lost, in the order of the board.
const fn losses(received: ReceiveCounters, sent: TransmitCounters) -> [u64; 4] {
    [received.buffer_drops, received.no_buffers, received.dropped, sent.lost]
}
