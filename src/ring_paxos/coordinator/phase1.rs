//! Phase 1: promises of f + 1 acceptors, and from them the past that the new ballot repeats
//! (rules 5 and 6).

use super::promisers::Answer;
use super::{Coordinator, Phase};
use crate::ring_paxos::member::Member;
use crate::ring_paxos::window::Held;
use crate::ring_paxos::{Destination, Envelope, Instance, Log, Outbox};
use crate::types::{Ballot, Bug, Incarnation, NodeId, Slot, Time, ValueId};
use crate::wire::{Layout, MAX_RING, Message, Prepare, Promise, PromiseRecord, Value};

/// Phase 1 under way.
#[derive(Clone, Debug, Hash)]
pub(super) struct Preparing {
    /// By acceptor.
    pub(super) answers: Vec<Answer>,
    /// How often those that are missing were asked since f + 1 had promised, where more are waited for.
    pub(super) rounds: Option<u32>,
}

impl Preparing {
    /// How many acceptors have promised completely, this one not counted.
    pub(super) fn complete(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_complete).count()
    }

    /// How many acceptors are known to have no memory.
    fn inert(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_inert).count()
    }
}

impl<L: Log> Member<L> {
    /// Begins a ballot of its own.
    pub(in crate::ring_paxos) fn stand(&mut self, now: Time, out: &mut impl Outbox) {
        debug_assert!(self.has_vote(), "without memory nobody stands");
        self.retire();
        let highest = self.ballot().max(self.coordinator.ballot);
        let ballot = highest.above(self.me, self.incarnation);
        let first = self.first_open();
        let known = self.config.acceptors.iter().map(|node| self.acceptor.lives.number_of(*node));
        let answers = known.map(|number| Answer::awaited(first, number)).collect();
        self.coordinator.phase = Phase::Preparing(Box::new(Preparing { answers, rounds: None }));
        self.coordinator.ballot = ballot;
        self.coordinator.stood_at = now;
        for petition in &mut self.coordinator.admissions {
            petition.begin(ballot);
        }
        self.counters.candidacies += 1;
        self.promise(ballot);
        self.election.hear(ballot, now);
        self.prepare_again(out);
        self.check_promises(now, out);
    }

    /// Asks whoever has not promised completely. While more than a quorum is waited for, those that
    /// have promised must hear that this candidate is alive, and say again who vouches for them.
    pub(in crate::ring_paxos) fn prepare_again(&self, out: &mut impl Outbox) {
        let Phase::Preparing(preparing) = &self.coordinator.phase else { return };
        let ballot = self.coordinator.ballot;
        for (index, answer) in preparing.answers.iter().enumerate() {
            let is_asked = !answer.is_complete || preparing.rounds.is_some();
            if index != self.index && is_asked {
                let nothing = self.window.highest().next();
                let first = if answer.is_complete { nothing } else { answer.asked };
                self.send_prepare(index, Prepare { ballot, first }, out);
            }
        }
    }

    pub(super) fn send_prepare(&self, index: usize, prepare: Prepare, out: &mut impl Outbox) {
        let to = Destination::Node(self.config.acceptors[index]);
        self.send(to, &Message::Prepare(prepare), out);
    }

    /// 1B, one page.
    pub(in crate::ring_paxos) fn on_promise(
        &mut self,
        envelope: &Envelope,
        promise: &Promise<'_>,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Some(index) = self.config.index(envelope.sender) else { return };
        let (first, has_number) = (self.first_open(), self.config.former_lives.are_kept());
        let Phase::Preparing(preparing) = &mut self.coordinator.phase else { return };
        let answer = &mut preparing.answers[index];
        if promise.ballot != self.coordinator.ballot
            || !answer.is_by(envelope.incarnation, first, has_number)
        {
            return;
        }
        let is_expected =
            promise.first == answer.asked && !answer.is_complete && promise.pages <= 64;
        if !is_expected {
            return;
        }
        answer.pages |= 1 << promise.page;
        let is_whole = answer.pages.count_ones() == promise.pages;
        let is_last = promise.last == Promise::INFINITY;
        if is_whole {
            answer.is_complete = is_last;
            answer.is_inert = false;
            answer.pages = 0;
            answer.asked = if is_last { answer.asked } else { promise.last.next() };
        }
        self.acceptor.known = self.acceptor.known.max((promise.known, promise.slot));
        if !Bug::NoopOverTrimmed.is_planted() {
            self.trim_to(promise.trim);
        }
        for record in promise.records.iter() {
            self.adopt(&record);
        }
        if is_whole && is_last {
            self.forget_petition(envelope.sender);
        } else if is_whole {
            let prepare = Prepare { ballot: promise.ballot, first: promise.last.next() };
            self.send_prepare(index, prepare, out);
        }
        self.check_promises(now, out);
    }

    /// A promiser accepted this. The value of the highest ballot is kept, with its id and ballot: it
    /// was proposed there, so to hold it is as good as to have accepted it.
    fn adopt(&mut self, record: &PromiseRecord<'_>) {
        let PromiseRecord { instance, ballot, id, ref value } = *record;
        if self.is_oversized(value) {
            self.counters.malformed += 1;
            return;
        }
        let Some(entry) = self.window.claim(instance) else {
            // Below the trim mark; above it nothing can be, or its sender would have trimmed more.
            self.counters.outside += u64::from(instance > self.window.trim());
            return;
        };
        let is_newer = ballot > entry.ballot && !Bug::PhaseOneAnyValue.is_planted();
        if !entry.is_accepted() || is_newer {
            self.window.accept(instance, (ballot, id), value);
            self.await_members(instance, value);
        }
    }

    /// Leads as soon as f + 1 have promised, this one included, whose logs are not in doubt.
    pub(in crate::ring_paxos) fn check_promises(&mut self, now: Time, out: &mut impl Outbox) {
        let is_persisted = self.is_promise_persisted();
        let Phase::Preparing(preparing) = &mut self.coordinator.phase else { return };
        let is_quorum = preparing.complete() + 1 >= self.config.quorum();
        if !is_quorum || !is_persisted {
            preparing.rounds = None;
            return;
        }
        let needs_others = self.needs_others(out);
        let Phase::Preparing(preparing) = &self.coordinator.phase else { return };
        // A re-admission needs an answer of everyone: worth a little patience.
        let age = now.since(self.coordinator.stood_at);
        let waits_for_all = !self.coordinator.admissions.is_empty()
            && !self.has_answer_of_all_but(self.index)
            && age < self.config.election_timeout / 4;
        if !waits_for_all && !needs_others {
            let layout = self.lay_ring(preparing);
            self.lead(&layout, now, out);
        }
    }

    /// Whether every acceptor but `index` and this one has answered: promised, or declared that it
    /// has no memory.
    pub(in crate::ring_paxos) fn has_answer_of_all_but(&self, index: usize) -> bool {
        let Phase::Preparing(preparing) = &self.coordinator.phase else { return false };
        let mut answers = preparing.answers.iter().enumerate();
        answers.all(|(i, answer)| {
            i == index || i == self.index || answer.is_complete || answer.is_inert
        })
    }

    /// Whether so many acceptors are silent or without memory that no ballot can be had.
    pub(super) fn lacks_quorum(&self, now: Time) -> bool {
        let Phase::Preparing(preparing) = &self.coordinator.phase else {
            return !self.has_vote() && self.election.is_silent(now);
        };
        let is_late = now.since(self.coordinator.stood_at) >= self.config.election_timeout;
        (is_late && preparing.rounds.is_none())
            || self.config.acceptors.len() - preparing.inert() < self.config.quorum()
    }

    /// f of those that promised, the next in order after this one; the coordinator is last.
    fn lay_ring(&self, preparing: &Preparing) -> Layout {
        let count = self.config.acceptors.len();
        let order = (1..count).map(|step| (self.index + step) % count);
        let promised = order.filter(|index| preparing.answers[*index].is_complete);
        let mut members = [NodeId(0); MAX_RING];
        let mut length = 0;
        for index in promised.take(self.config.quorum() - 1) {
            members[length] = self.config.acceptors[index];
            length += 1;
        }
        members[length] = self.me;
        Layout::new(&members[..=length])
    }

    /// Phase 1 is complete: what it found is proposed first, and no-ops where there is a hole.
    fn lead(&mut self, layout: &Layout, now: Time, out: &mut impl Outbox) {
        self.counters.take_overs += 1;
        let ballot = self.coordinator.ballot;
        self.acceptor.follow(ballot, layout, self.me);
        self.acceptor.lives.note_trim(self.window.trim());
        let (trim, highest) = (self.window.trim(), self.window.highest());
        for instance in trim.next().0..=highest.0 {
            let entry = self.window.claim(Instance(instance)).expect("at most the highest");
            if !entry.is_accepted() {
                self.counters.noops += 1;
                let id = self.next_id();
                self.window.accept(Instance(instance), (ballot, id), &Value::Noop);
            }
        }
        self.find_members();
        let slot_next = self.slot_behind(highest);
        self.grant_petitions();
        let coordinator = &mut self.coordinator;
        coordinator.phase = Phase::Leading;
        // All that is inherited goes around this ballot's ring, known as decided or not.
        coordinator.decided = trim;
        coordinator.sent = trim;
        coordinator.inherited = highest;
        coordinator.next = highest.next();
        coordinator.slot_next = slot_next;
        coordinator.heartbeat_at = now;
        coordinator.resend_at = Time::NEVER;
        coordinator.resend_after = self.config.resend;
        coordinator.heard.fill(now);
        self.send_grants(out);
        self.heartbeat_if_due(now, out);
        self.settle(now, out);
    }

    /// The first slot behind `last`, counted from the last place where slots are known.
    fn slot_behind(&self, last: Instance) -> Slot {
        let (known, mut slot) = self.acceptor.known;
        for instance in known.next().0..=last.0 {
            let held = self.window.entry(Instance(instance)).map_or(Held::Noop, |entry| entry.held);
            slot = slot.plus(held.slots());
        }
        slot
    }

    /// Ends candidacy or coordination. What was gathered and not sent is forgotten: its proposers
    /// will ask again.
    pub(in crate::ring_paxos) fn retire(&mut self) {
        if self.coordinator.is_leading() {
            if self.config.former_lives.are_kept() {
                self.acceptor.marked = self.acceptor.marked.max(self.coordinator.decided);
            }
            let (sent, next) = (self.coordinator.sent, self.coordinator.next);
            for instance in sent.next().0.max(self.coordinator.inherited.next().0)..=next.0 {
                if let Some(entry) = self.window.entry_mut(Instance(instance)) {
                    debug_assert!(
                        !entry.is_accepted() || Bug::is_any_planted(),
                        "what was not sent is not accepted"
                    );
                    entry.held = Held::Nothing;
                    entry.id = ValueId::NONE;
                }
            }
        }
        let Coordinator { phase, open, names, skips, flight_bytes, news, .. } =
            &mut self.coordinator;
        *phase = Phase::Idle;
        (*open, *skips, *flight_bytes) = (0, 0, 0);
        names.clear();
        news.clear();
    }

    /// Acceptor `index` answered the Prepare of `ballot`: it has no memory.
    pub(in crate::ring_paxos) fn note_amnesia(&mut self, index: usize, ballot: Ballot) {
        if let Phase::Preparing(preparing) = &mut self.coordinator.phase {
            preparing.answers[index].is_inert |= ballot == self.coordinator.ballot;
        }
    }

    /// A new name for a value.
    pub(super) fn next_id(&mut self) -> ValueId {
        self.coordinator.values += 1;
        let is_reused = Bug::IdReuse.is_planted();
        let life = if is_reused { Incarnation(0) } else { self.incarnation };
        ValueId::new(self.me, life, self.coordinator.values)
    }
}
