//! The way back of an acceptor that has lost its memory (rule 6), and values that come as repairs.
//!
//! It stores what it hears but says nothing: not what it promised, for it does not know, and no
//! vote. A coordinator re-admits it at a ballot that it began after it had been asked, and in which
//! every other acceptor promised or declared that it has no memory either: then no candidate is
//! left, at whatever ballot, that could complete with a promise that was forgotten. (The rule's
//! f + 1 promises are all others when there are three acceptors. Of five, a candidate may hold the
//! forgotten promise and get the missing ones later from those that were not asked.) Once it has
//! accepted at that ballot everything above the trim mark that the ballot inherited, it knows all
//! that its former life helped to decide, and is an acceptor like the others.

use super::member::Member;
use super::{Destination, Envelope, Instance, Log, Outbox, Record};
use crate::types::{Ballot, Incarnation, NodeId, Time};
use crate::wire::{Admission, Message, Repair, RepairRequest, Wanted, WantedRange, WantedRanges};

/// Runs of missing instances in one request.
const RANGES: usize = 16;
/// Instances that one request asks for: what the answering side may send at once.
const ASKED: u32 = 12;
/// The longest pause between two ballots for the sake of re-admission, in election time-outs.
const LONGEST_PAUSE: u32 = 64;

/// An acceptor without memory, as its coordinator knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Petition {
    node: NodeId,
    /// The life in which it remembers nothing.
    life: Incarnation,
    /// This coordinator's last ballot that began after it had asked; zero before that.
    ballot: Ballot,
    /// `ballot` re-admits it.
    is_granted: bool,
}

impl Petition {
    /// A ballot begins: it may re-admit only those that have asked before.
    pub(super) const fn begin(&mut self, ballot: Ballot) {
        self.ballot = ballot;
        self.is_granted = false;
    }
}

impl<L: Log> Member<L> {
    /// An acceptor without memory asks to be re-admitted, or is.
    pub(super) fn on_admission(
        &mut self,
        envelope: &Envelope,
        admission: &Admission,
        now: Time,
        out: &mut impl Outbox,
    ) {
        if self.acceptor.is_inert {
            self.on_grant(envelope, admission, now, out);
            return;
        }
        let Some(index) = self.config.index(envelope.sender) else { return };
        self.election.seen = self.election.seen.max(admission.ballot);
        if self.coordinator.is_idle() || envelope.incarnation != admission.life {
            return;
        }
        self.note_amnesia(index, admission.ballot);
        let (node, life) = (envelope.sender, admission.life);
        let petitions = &mut self.coordinator.admissions;
        if !petitions.iter().any(|known| (known.node, known.life) == (node, life)) {
            petitions.retain(|known| known.node != node);
            petitions.push(Petition { node, life, ballot: Ballot::ZERO, is_granted: false });
        }
        if self.coordinator.is_leading() {
            self.admit(node, now, out);
        } else {
            self.check_promises(now, out);
        }
    }

    /// Grants the admission if this ballot can; otherwise begins one that may.
    fn admit(&mut self, node: NodeId, now: Time, out: &mut impl Outbox) {
        let petition = self.coordinator.admissions.iter().find(|known| known.node == node);
        if let Some(petition) = petition.filter(|petition| petition.is_granted).copied() {
            self.send_grant(&petition, out);
            return;
        }
        let coordinator = &mut self.coordinator;
        let is_member = self.acceptor.layout.position(node).is_some();
        let pause =
            if is_member { self.config.election_timeout / 8 } else { coordinator.admission_pause };
        if now >= coordinator.fresh_at && now.since(coordinator.stood_at) >= pause {
            let longest = self.config.election_timeout * LONGEST_PAUSE;
            coordinator.admission_pause = (coordinator.admission_pause * 2).min(longest);
            self.stand(now, out);
        }
    }

    /// Phase 1 is complete: decides who is re-admitted by its ballot.
    pub(super) fn grant_petitions(&mut self) {
        let ballot = self.coordinator.ballot;
        for place in 0..self.coordinator.admissions.len() {
            let petition = self.coordinator.admissions[place];
            let index = self.config.index(petition.node).expect("only acceptors are heard");
            if petition.ballot == ballot && self.has_answer_of_all_but(index) {
                self.coordinator.admissions[place].is_granted = true;
                self.coordinator.admission_pause = self.config.election_timeout;
                self.counters.admissions += 1;
            }
        }
    }

    /// `node` promises: whatever it had lost, it is an acceptor again.
    pub(super) fn forget_petition(&mut self, node: NodeId) {
        self.coordinator.admissions.retain(|petition| petition.node != node);
    }

    /// Tells those that are re-admitted.
    pub(super) fn send_grants(&self, out: &mut impl Outbox) {
        for petition in self.coordinator.admissions.iter().filter(|petition| petition.is_granted) {
            self.send_grant(petition, out);
        }
    }

    fn send_grant(&self, petition: &Petition, out: &mut impl Outbox) {
        let Petition { node, life, ballot, .. } = *petition;
        let grant = Admission { ballot, life, last: self.coordinator.inherited };
        self.send(Destination::Node(node), &Message::Admission(grant), out);
    }

    /// A coordinator grants what this member, without memory, has asked for.
    fn on_grant(
        &mut self,
        envelope: &Envelope,
        grant: &Admission,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Admission { ballot, life, last } = *grant;
        let is_mine = life == self.incarnation && ballot.node == envelope.sender;
        if !is_mine || ballot < self.acceptor.promised {
            return;
        }
        self.promise(ballot);
        self.election.hear(ballot, now);
        self.acceptor.grant = Some((ballot, last));
        self.follow_grant(out);
    }

    /// Whether the grant is earned; if not, asks for what is missing.
    pub(super) fn follow_grant(&mut self, out: &mut impl Outbox) {
        let Some((ballot, last)) = self.acceptor.grant else { return };
        if !self.acceptor.is_inert || ballot != self.acceptor.promised {
            return;
        }
        let persisted = self.log.persisted();
        let mut missing: Vec<WantedRange> = Vec::new();
        let mut asked = 0;
        let mut is_earned = last <= self.window.end();
        for instance in self.window.trim().next().0..=last.0.min(self.window.end().0) {
            let instance = Instance(instance);
            let entry = self.window.entry(instance);
            let is_held = entry.is_some_and(|entry| entry.is_accepted() && entry.ballot == ballot);
            if is_held {
                is_earned &= entry.is_some_and(|entry| entry.lsn <= persisted);
                continue;
            }
            is_earned = false;
            if asked == ASKED || !note(&mut missing, instance) {
                break;
            }
            self.acceptor.awaited = instance;
            asked += 1;
        }
        if is_earned && !self.acceptor.lives.are_settled() {
            return; // Its next life could be taken for one of those before.
        }
        if is_earned && self.is_promise_persisted() {
            self.acceptor.is_inert = false;
            self.acceptor.birth = None;
            self.acceptor.grant = None;
            self.acceptor.lives.vouch();
            // It need not know what is below the mark; its next life may not say that nothing was
            // accepted there.
            self.log_trim();
            // Until this is persistent, another life would ask to be admitted again: late, not wrong.
            self.log.append(&Record::Admitted);
        } else if !missing.is_empty() {
            let wanted = WantedRanges::new(&missing);
            let request = Message::RepairRequest(RepairRequest { wanted });
            self.send(Destination::Node(ballot.node), &request, out);
        }
    }

    /// The 2A again, from whoever holds it. An acceptor takes it as the 2A if it is of the ballot
    /// that it follows.
    pub(super) fn on_repair(&mut self, repair: &Repair<'_>, out: &mut impl Outbox) {
        let accept = &repair.accept;
        let is_current = accept.ballot == self.acceptor.current
            && accept.ballot >= self.acceptor.promised
            && accept.ballot.node != self.me;
        if !is_current || self.is_oversized(&accept.value) {
            return;
        }
        self.accept(accept.instance, accept.ballot, accept.id, &accept.value, out);
        if repair.is_decided
            && let Some(entry) = self.window.entry_mut(accept.instance)
        {
            entry.chosen = accept.id;
            self.advance_known();
        }
        // The last of what was asked for is here: the rest by one request, not one a repair.
        if self.acceptor.is_inert && accept.instance >= self.acceptor.awaited {
            self.follow_grant(out);
        }
    }
}

/// Adds `instance` to the runs; `false` if there is no room for another run.
fn note(missing: &mut Vec<WantedRange>, instance: Instance) -> bool {
    if let Some(last) = missing.last_mut()
        && instance.0 == last.first.0 + u64::from(last.count)
    {
        last.count += 1;
        return true;
    }
    let has_room = missing.len() < RANGES;
    if has_room {
        let wanted = Wanted::Both as u32;
        missing.push(WantedRange { first: instance, count: 1, wanted });
    }
    has_room
}
