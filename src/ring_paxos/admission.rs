//! The way back of an acceptor that has lost its memory (rule 6), and values that come as repairs.
//!
//! It stores what it hears but says nothing: not what it promised, for it does not know, and no
//! vote. A coordinator that began a ballot after it had asked grants admission: once it has accepted
//! at that ballot everything above the trim mark that the ballot inherited, no ballot of its former
//! life can be in its way, and it is an acceptor like the others.

use super::member::Member;
use super::{Destination, Envelope, Instance, Log, Outbox};
use crate::types::Time;
use crate::wire::{Admission, Message, Repair, RepairRequest, Wanted, WantedRange, WantedRanges};

/// Runs of missing instances in one request.
const RANGES: usize = 16;
/// Instances that one request asks for.
const ASKED: u32 = 32;

impl<L: Log> Member<L> {
    /// A coordinator grants what this member, without memory, has asked for.
    pub(super) fn on_grant(
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
        let mut is_earned = true;
        for instance in self.window.trim().next().0..=last.0 {
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
            asked += 1;
        }
        if is_earned && self.is_promise_persisted() {
            self.acceptor.is_inert = false;
            self.acceptor.grant = None;
        } else if !missing.is_empty() {
            let wanted = WantedRanges::new(&missing);
            let request = Message::RepairRequest(RepairRequest { wanted });
            self.send(Destination::Node(ballot.node), &request, out);
        }
    }

    /// The 2A again, from whoever holds it. An acceptor takes it as the 2A if it is of the ballot
    /// that it follows.
    pub(super) fn on_repair(
        &mut self,
        _envelope: &Envelope,
        repair: &Repair<'_>,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let accept = &repair.accept;
        let is_current = accept.ballot == self.acceptor.current
            && accept.ballot >= self.acceptor.promised
            && accept.ballot.node != self.me;
        if !is_current || super::acceptor::oversized(&accept.value) {
            return;
        }
        self.election.hear(accept.ballot, now);
        self.accept(accept.instance, accept.ballot, accept.id, &accept.value, out);
        if repair.is_decided
            && let Some(entry) = self.window.entry_mut(accept.instance)
        {
            entry.chosen = accept.id;
            self.advance_known();
        }
        if self.acceptor.is_inert {
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
