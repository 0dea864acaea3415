//! Proposals become batches: gathered in the window where they will be accepted, end to end, never
//! looked into (rule 9).

use crate::ring_paxos::member::Member;
use crate::ring_paxos::window::Held;
use crate::ring_paxos::{Envelope, Instance, Log, Outbox, RingConfig};
use crate::types::{Ballot, Bug, Incarnation, NodeId, Time};
use crate::wire::{Message, Propose, Redirect, Refusal, Refused, Taken};

/// Names of proposals that are remembered, for each instance of the log, and at most. Powers of two.
const NAMES_AN_INSTANCE: usize = 64;
const NAMES: usize = 4_096;
/// Skips in flight at most.
const SKIPS: u32 = 2;

/// A proposal's name, and where it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Name {
    sender: NodeId,
    incarnation: Incarnation,
    number: u64,
    instance: Instance,
}

/// Proposals that stand in undecided instances: one place a name, the later one wins. A duplicate
/// that is not recognised costs an instance's bytes, not correctness: it dies at the replicas.
#[derive(Clone, Debug, Hash)]
pub(super) struct Names(Box<[Name]>);

impl Names {
    pub(super) fn new(config: &RingConfig) -> Self {
        let names = (config.instances * NAMES_AN_INSTANCE).min(NAMES);
        Self(vec![Name::default(); names].into_boxed_slice())
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(Name::default());
    }

    /// The instance that the proposal stands in, if it was seen before.
    #[inline]
    fn find(&self, envelope: &Envelope, number: u64) -> Option<Instance> {
        let name = &self.0[self.place(envelope, number)];
        let is_same = (name.sender, name.incarnation, name.number)
            == (envelope.sender, envelope.incarnation, number);
        (is_same && name.instance > Instance(0)).then_some(name.instance)
    }

    #[inline]
    fn insert(&mut self, envelope: &Envelope, number: u64, instance: Instance) {
        let Envelope { sender, incarnation, .. } = *envelope;
        let place = self.place(envelope, number);
        self.0[place] = Name { sender, incarnation, number, instance };
    }

    /// Numbers of one proposer follow each other, so its recent ones never collide.
    #[inline]
    fn place(&self, envelope: &Envelope, number: u64) -> usize {
        let start = envelope.incarnation.0 ^ u64::from(envelope.sender.0) << 32;
        #[expect(clippy::cast_possible_truncation, reason = "masked to the number of places")]
        let place = start.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number) as usize;
        place & (self.0.len() - 1)
    }
}

impl<L: Log> Member<L> {
    /// Commands to be ordered.
    #[inline]
    pub(in crate::ring_paxos) fn on_propose(
        &mut self,
        envelope: &Envelope,
        propose: &Propose<'_>,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Propose { number, is_confirmed, is_vital, commands } = *propose;
        if !self.coordinator.is_leading() {
            self.turn_away(envelope, number, now, out);
            return;
        }
        if commands.is_empty() {
            // A proposer that has heard nothing for a while asks who coordinates.
            let ballot = self.coordinator.ballot;
            return self.answer(envelope, &Message::Redirect(Redirect { ballot }), out);
        }
        self.counters.proposals += 1;
        if commands.len() > self.config.room.batch() {
            self.counters.refused_too_large += 1;
            self.refuse(envelope, number, Refusal::TooLarge, out);
            return;
        }
        let standing = self.coordinator.names.find(envelope, number);
        if standing.is_some_and(|instance| instance > self.coordinator.decided) {
            self.counters.duplicates += 1;
            if is_confirmed {
                self.answer(envelope, &Message::Taken(Taken { number }), out);
            }
            return;
        }
        if self.coordinator.open + commands.len() > self.config.batch_limit.max(commands.len()) {
            self.seal();
        }
        // Who joins an open batch takes nothing.
        let is_reserved = self.coordinator.open == 0 && self.is_reserved_for_others(now, is_vital);
        let Some(at) = self.room(commands.len()).filter(|_| !is_reserved) else {
            self.counters.refused_full += 1;
            self.refuse(envelope, number, Refusal::Full, out);
            return;
        };
        let instance = self.coordinator.next;
        self.window.slot_mut(instance)[at..at + commands.len()].copy_from_slice(commands);
        if at == 0 {
            self.coordinator.open_since = now;
            self.note_taken(now);
        }
        self.coordinator.open = at + commands.len();
        self.coordinator.names.insert(envelope, number, instance);
        if is_confirmed {
            self.answer(envelope, &Message::Taken(Taken { number }), out);
        }
        if self.coordinator.open >= self.config.batch_limit {
            self.seal();
        }
    }

    /// Proposes a skip of `slots` slots. `false`: not now, two are in flight or there is no room.
    pub fn skip(&mut self, slots: u64, now: Time, out: &mut impl Outbox) -> bool {
        if slots == 0 || !self.coordinator.is_leading() || self.coordinator.skips >= SKIPS {
            return false;
        }
        self.seal();
        if self.is_reserved_for_skips(now) || self.room(0).is_none() {
            return false;
        }
        self.note_taken(now);
        let instance = self.coordinator.next;
        self.coordinator.skips += 1;
        self.counters.skips += 1;
        self.gather(instance, Held::Skip(slots));
        self.settle(now, out);
        true
    }

    /// Proposes the members of the epoch after this one. `None`: there is no room.
    ///
    /// No learner is waited for, and the last instance of the log is kept for this: it may be what
    /// takes those away that the others wait for.
    pub(in crate::ring_paxos) fn propose_members(
        &mut self,
        (epoch, members): (u32, &[u8]),
        now: Time,
        out: &mut impl Outbox,
    ) -> Option<Instance> {
        self.seal();
        let instance = self.coordinator.next;
        self.window.claim(instance)?;
        self.note_taken(now);
        self.window.slot_mut(instance)[..members.len()].copy_from_slice(members);
        let length = u16::try_from(members.len()).expect("members fit a datagram");
        self.gather(instance, Held::Members(epoch, length));
        self.settle(now, out);
        Some(instance)
    }

    /// Closes the open batch: it waits for the window.
    pub(super) fn seal(&mut self) {
        let length = std::mem::take(&mut self.coordinator.open);
        if length > 0 {
            let length = u16::try_from(length).expect("a batch fits a datagram");
            self.gather(self.coordinator.next, Held::Batch(length));
        }
    }

    /// Gives `instance` its value, which stands in its slot, and a name.
    fn gather(&mut self, instance: Instance, held: Held) {
        let id = self.next_id();
        let entry = self.window.claim(instance).expect("there was room");
        debug_assert!(
            entry.held == Held::Nothing || Bug::is_any_planted(),
            "one value an instance"
        );
        entry.held = held;
        entry.ballot = Ballot::ZERO;
        entry.id = id;
        self.coordinator.next = instance.next();
        self.coordinator.slot_next = self.coordinator.slot_next.plus(held.slots());
    }

    /// Where in the open batch `length` more bytes begin, if anything may be gathered at all.
    fn room(&mut self, length: usize) -> Option<usize> {
        let coordinator = &self.coordinator;
        let instance = coordinator.next;
        let is_queued_up = instance.0 - coordinator.sent.0 > self.config.queue_limit
            && instance > coordinator.inherited.next();
        let slowest = if self.config.learners.is_empty() {
            coordinator.decided
        } else {
            self.acceptor.positions.slowest().unwrap_or_default().max(self.window.trim())
        };
        let is_far_ahead = instance.0 > slowest.0 + self.config.apply_bound;
        let is_kept = self.config.decides_members && instance >= self.window.end();
        if is_queued_up
            || is_far_ahead
            || is_kept
            || coordinator.open + length > self.config.room.batch()
        {
            return None;
        }
        let open = coordinator.open;
        self.window.claim(instance)?;
        Some(open)
    }

    /// Who is not the coordinator says who is, or that nobody can be.
    ///
    /// A ballot that is only promised is not named: its candidate would drop what it is sent, and
    /// the next attempt comes after a longer wait. Proposers ask again soon.
    pub(in crate::ring_paxos) fn turn_away(
        &mut self,
        envelope: &Envelope,
        number: u64,
        now: Time,
        out: &mut impl Outbox,
    ) {
        if self.lacks_quorum(now) {
            self.counters.refused_no_quorum += 1;
            self.refuse(envelope, number, Refusal::NoQuorum, out);
            return;
        }
        let ballot = self.acceptor.current;
        if ballot != Ballot::ZERO && ballot.node != self.me {
            self.counters.redirects += 1;
            self.answer(envelope, &Message::Redirect(Redirect { ballot }), out);
        }
    }

    fn refuse(&self, envelope: &Envelope, number: u64, refusal: Refusal, out: &mut impl Outbox) {
        self.answer(envelope, &Message::Refused(Refused { number, refusal }), out);
    }
}
