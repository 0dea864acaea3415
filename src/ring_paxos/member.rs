//! One acceptor of one ring, with all that it may have to be: ring member, spare, candidate,
//! coordinator. The one type that simulator and host drive.
//!
//! This file dispatches; what happens is in `acceptor`, `votes`, `repair`, `trim`, `admission`, `birth`,
//! `lives`, `vouch`, `election`, `epoch` and `coordinator`.

use super::acceptor::Acceptor;
use super::coordinator::Coordinator;
use super::election::Election;
use super::repair::RepairBudget;
use super::window::Window;
use super::{Counters, Destination, Envelope, Instance, Log, Outbox, RingConfig, Role};
use crate::types::{Ballot, Incarnation, NodeId, Slot, Time};
use crate::wire::{DecidedRanges, Layout, MAX_DATAGRAM, Message, Range, Redirect};
use std::hash::{Hash, Hasher};

/// What an acceptor remembers of its former lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// There was none: the ring starts for the first time.
    Fresh,
    /// There may have been one: it neither promises nor votes until all acceptors say the same of
    /// themselves, or it is re-admitted.
    Newborn,
    /// There was one and it is lost: it neither promises nor votes until it is re-admitted.
    Amnesiac,
    /// All of it comes back by [`Member::restore`].
    Restored,
}

/// One acceptor of one ring.
#[derive(Clone, Debug)]
pub struct Member<L> {
    pub(super) config: RingConfig,
    pub(super) me: NodeId,
    pub(super) index: usize,
    pub(super) incarnation: Incarnation,
    pub(super) log: L,
    pub(super) window: Window,
    pub(super) acceptor: Acceptor,
    pub(super) election: Election,
    pub(super) repair: RepairBudget,
    pub(super) coordinator: Coordinator,
    pub(super) counters: Counters,
    pub(super) scratch: Box<[u8]>,
    /// Ranges of an answer while they are gathered: repairs allocate nothing.
    pub(super) ranges: Vec<Range>,
}

impl<L: Log> Member<L> {
    /// Acceptor `me` in its life `incarnation`. `seed` spreads the time-outs of candidates.
    ///
    /// # Panics
    /// If `me` is not an acceptor of the ring, or the log's capacity is not a power of two.
    #[must_use]
    pub fn new(
        config: RingConfig,
        (me, incarnation): (NodeId, Incarnation),
        memory: Memory,
        log: L,
        seed: u64,
        now: Time,
    ) -> Self {
        let index = config.index(me).expect("a member is one of the ring's acceptors");
        assert!(config.batch_limit > 0 && config.batch_limit <= config.room.batch());
        Self {
            me,
            index,
            incarnation,
            log,
            window: Window::new(config.instances),
            acceptor: Acceptor::new(&config, memory),
            election: Election::new(&config, index, memory, seed, now),
            repair: RepairBudget::new(&config, now),
            coordinator: Coordinator::new(&config),
            counters: Counters::default(),
            scratch: vec![0; MAX_DATAGRAM].into_boxed_slice(),
            ranges: Vec::with_capacity(DecidedRanges::MOST),
            config,
        }
    }

    /// The log has persisted more: what waited for it leaves.
    pub fn on_persisted(&mut self, now: Time, out: &mut impl Outbox) {
        self.release_persisted(now, out);
        self.settle(now, out);
    }

    /// Its log, for the driver that completes writes.
    pub const fn log_mut(&mut self) -> &mut L {
        &mut self.log
    }

    /// Its log.
    #[must_use]
    pub const fn log(&self) -> &L {
        &self.log
    }

    /// Its ring.
    #[must_use]
    pub const fn config(&self) -> &RingConfig {
        &self.config
    }

    /// Whether it coordinates: Phase 1 of its ballot is complete, and it knows of no higher one.
    #[must_use]
    pub const fn is_coordinator(&self) -> bool {
        self.coordinator.is_leading()
    }

    /// Whether it has a place in the ring of the ballot that it follows: its votes are waited for.
    #[must_use]
    pub const fn is_in_ring(&self) -> bool {
        self.acceptor.position.is_some() || self.coordinator.is_leading()
    }

    /// Whether it has lost its memory and is not re-admitted yet.
    #[must_use]
    pub const fn is_inert(&self) -> bool {
        self.acceptor.is_inert
    }

    /// The highest ballot that it knows.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        self.acceptor.promised.max(self.election.seen)
    }

    /// The ring of the last ballot whose coordinator it heard. Meaningless before the first.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.acceptor.layout
    }

    /// At the coordinator, the first slot that no proposed instance takes; elsewhere, the first
    /// that no instance known as decided takes.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        if self.coordinator.is_leading() {
            self.coordinator.slot_next
        } else {
            self.acceptor.known.1
        }
    }

    /// The first slot that no instance takes which this member has heard of, proposed or decided:
    /// where its ring stands, for the skips of other rings. A hint: it may be late.
    #[must_use]
    pub fn heard_slot(&self) -> Slot {
        let acceptor = &self.acceptor;
        let slot = acceptor.heard.max(acceptor.known).1;
        if self.coordinator.is_leading() { slot.max(self.coordinator.slot_next) } else { slot }
    }

    /// Every instance up to here is decided.
    #[must_use]
    pub fn decided(&self) -> Instance {
        if self.coordinator.is_leading() {
            self.coordinator.decided
        } else {
            self.acceptor.decided.max(self.window.trim())
        }
    }

    /// Every instance up to here is forgotten.
    #[must_use]
    pub const fn trim(&self) -> Instance {
        self.window.trim()
    }

    /// What it has counted.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Sends, and holds every message to the limit of a datagram.
    pub(super) fn send(&self, to: Destination, message: &Message<'_>, out: &mut impl Outbox) {
        debug_assert!(
            message.encoded_length() <= self.config.room.datagram(),
            "{message:?} is too long"
        );
        out.send(to, self.config.ring, message);
    }

    /// Answers whoever sent `envelope`, node of the cluster or client.
    pub(super) fn answer(&self, envelope: &Envelope, message: &Message<'_>, out: &mut impl Outbox) {
        let to = if self.config.index(envelope.sender).is_some()
            || envelope.from == crate::types::Address::NONE
        {
            Destination::Node(envelope.sender)
        } else {
            Destination::Address(envelope.from)
        };
        self.send(to, message, out);
    }

    /// Tells a sender of ballot `stale` that a higher one is promised; says it seldom.
    pub(super) fn on_stale(&mut self, envelope: &Envelope, now: Time, out: &mut impl Outbox) {
        self.counters.stale += 1;
        if now < self.election.rebuke_at {
            return;
        }
        self.election.rebuke_at = now + self.config.heartbeat;
        let ballot = self.acceptor.promised;
        self.answer(envelope, &Message::Redirect(Redirect { ballot }), out);
    }
}

impl<L: Log> Role for Member<L> {
    fn on_message(
        &mut self,
        envelope: &Envelope,
        message: &Message<'_>,
        now: Time,
        out: &mut impl Outbox,
    ) {
        // A multicast loops back to its sender.
        if envelope.sender == self.me || envelope.ring != self.config.ring {
            return;
        }
        self.coordinator.note_heard(self.config.index(envelope.sender), now);
        match message {
            Message::Accept(accept) => self.on_accept(envelope, accept, now, out),
            Message::Accepted(accepted) => self.on_accepted(accepted, out),
            Message::Propose(propose) => self.on_propose(envelope, propose, now, out),
            Message::Decision(decision) => self.on_decision(envelope, decision, now, out),
            Message::Heartbeat(heartbeat) => self.on_heartbeat(envelope, heartbeat, now, out),
            Message::Position(position) => self.on_position(position, now, out),
            Message::RepairRequest(request) => self.on_repair_request(envelope, request, now, out),
            Message::Prepare(prepare) => self.on_prepare(envelope, prepare, now, out),
            Message::Promise(promise) => self.on_promise(envelope, promise, now, out),
            Message::Redirect(redirect) => self.on_redirect(redirect.ballot, now),
            Message::Admission(admission) => self.on_admission(envelope, admission, now, out),
            Message::Repair(repair) => self.on_repair(repair, out),
            Message::Newborn(newborn) => self.on_newborn(envelope, newborn, now, out),
            Message::Recall(recall) => self.on_recall(envelope, recall, now, out),
            Message::Recollection(recollection) => {
                self.on_recollection(envelope, recollection, now, out);
            }
            Message::KnownLives(lives) => self.on_known_lives(envelope, lives, now, out),
            Message::Vouch(vouch) => self.on_vouch(envelope, vouch, now, out),
            Message::Reconfigure(next) => self.on_reconfigure(envelope, next, now, out),
            Message::Trimmed(_)
            | Message::Beacon(_)
            | Message::Refused(_)
            | Message::Taken(_)
            | Message::Replies(_)
            | Message::StatusRequest(_)
            | Message::StatusPage(_)
            | Message::CheckpointRequest(_)
            | Message::CheckpointPiece(_)
            | Message::MembersRequest(_)
            | Message::Members(_)
            | Message::Mismatch => {}
        }
    }

    fn on_cycle_end(&mut self, now: Time, out: &mut impl Outbox) {
        self.flush_votes(out);
        self.settle(now, out);
        self.note_members();
    }

    fn on_timeout(&mut self, now: Time, out: &mut impl Outbox) {
        self.on_election_timeout(now, out);
        if self.coordinator.is_leading() {
            self.on_coordinator_timeout(now, out);
        }
        self.settle(now, out);
        self.flush_votes(out);
    }

    fn next_timeout(&self) -> Option<Time> {
        let mut next = self.election.tick_at;
        if self.coordinator.is_leading() {
            next = next.min(self.coordinator_timeout());
        }
        Some(next)
    }
}

/// All that decides what it does next, for whoever must know two states for the same one: not what
/// it has counted, nor how much it may still repair.
impl<L: Hash> Hash for Member<L> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Named one by one: a new field has to say whether it counts.
        let Self {
            config: _,
            me,
            index: _,
            incarnation,
            log,
            window,
            acceptor,
            election,
            repair: _,
            coordinator,
            counters: _,
            scratch: _,
            ranges: _,
        } = self;
        (me, incarnation, log, window, acceptor, election, coordinator).hash(state);
    }
}
