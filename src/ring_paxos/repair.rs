//! Answers to who lacks an instance: the 2A again, a decision, or that it is forgotten.
//!
//! Two askers of one instance within a millisecond are answered by one multicast. Repairs take at
//! most a quarter of what the ring carries, and a floor when it carries little.

use super::member::Member;
use super::votes::extend;
use super::{Destination, Envelope, Instance, Log, Outbox, RingConfig};
use crate::types::{NodeId, Time};
use crate::wire::{
    Accept, DecidedRanges, Decision, Layout, Message, Range, Repair, RepairRequest, Trimmed, Value,
    Wanted,
};
use std::time::Duration;

/// Two askers within this time are answered together.
const TOGETHER: Duration = Duration::from_millis(1);
/// Repairs saved up while none was asked for: less than a stock socket buffer keeps.
const BURST_BYTES: usize = 96 * 1024;
/// Bytes that a repair takes beside its payload.
const REPAIR_OVERHEAD: usize = 256;

/// A token bucket in bytes.
#[derive(Clone, Debug)]
pub(super) struct RepairBudget {
    bytes: usize,
    rate: usize,
    filled_at: Time,
}

impl RepairBudget {
    pub(super) const fn new(config: &RingConfig, now: Time) -> Self {
        Self { bytes: BURST_BYTES, rate: config.repair_rate, filled_at: now }
    }

    /// The ring carried `value`: a quarter of it may be repairs.
    #[inline]
    pub(super) fn earn(&mut self, value: &Value<'_>) {
        self.bytes = (self.bytes + value.bytes().len() / 4).min(BURST_BYTES);
    }

    fn spend(&mut self, length: usize, now: Time) -> bool {
        let millis = usize::try_from(now.since(self.filled_at).as_micros()).unwrap_or(usize::MAX);
        let earned = millis.saturating_mul(self.rate) / 1000;
        if earned > 0 {
            self.filled_at = now;
            self.bytes = self.bytes.saturating_add(earned).min(BURST_BYTES);
        }
        let length = length + REPAIR_OVERHEAD;
        let is_covered = self.bytes >= length;
        if is_covered {
            self.bytes -= length;
        }
        is_covered
    }
}

impl<L: Log> Member<L> {
    /// A learner or acceptor asks for what it lacks; the coordinator asks for votes.
    pub(super) fn on_repair_request(
        &mut self,
        envelope: &Envelope,
        request: &RepairRequest<'_>,
        now: Time,
        out: &mut impl Outbox,
    ) {
        if envelope.sender == self.acceptor.current.node {
            self.answer_coordinator(request, out);
            return;
        }
        let mut is_trimmed = false;
        let mut decisions = std::mem::take(&mut self.ranges);
        decisions.clear();
        for wanted in request.wanted.iter() {
            is_trimmed |= wanted.first <= self.window.trim() && wanted.count > 0;
            let first = wanted.first.max(self.window.trim().next());
            let end = wanted.first.0.saturating_add(u64::from(wanted.count));
            for instance in first.0..end.min(self.window.highest().0 + 1) {
                if wanted.wanted == Wanted::Decision as u32 {
                    self.gather_decision(Instance(instance), &mut decisions);
                } else if !self.repair(Instance(instance), envelope.sender, now, out) {
                    break;
                }
            }
        }
        if is_trimmed {
            self.counters.trimmed += 1;
            let trimmed = Trimmed { trim: self.window.trim() };
            self.answer(envelope, &Message::Trimmed(trimmed), out);
        }
        if !decisions.is_empty() {
            // Whoever hears it takes the mark for one of that ballot. What is known of a later one, for
            // a candidate is told it, may have other values than this one had accepted.
            let decision = Decision {
                ballot: self.acceptor.current,
                decided: self.decided_at_current(),
                trim: self.window.trim(),
                ranges: DecidedRanges::new(&decisions),
            };
            self.answer(envelope, &Message::Decision(decision), out);
        }
        self.ranges = decisions;
    }

    fn gather_decision(&self, instance: Instance, decisions: &mut Vec<Range>) {
        if decisions.len() < DecidedRanges::MOST
            && let Some(entry) = self.window.entry(instance)
            && entry.chosen != crate::types::ValueId::NONE
        {
            extend(decisions, instance, entry.chosen);
        }
    }

    /// Sends what is held of `instance`. Says whether there is budget for more.
    fn repair(
        &mut self,
        instance: Instance,
        asker: NodeId,
        now: Time,
        out: &mut impl Outbox,
    ) -> bool {
        let Some(entry) = self.window.entry_mut(instance).filter(|entry| entry.is_accepted())
        else {
            return true;
        };
        let is_recent = now.since(entry.asked_at) < TOGETHER && entry.asked_at != Time::ZERO;
        if is_recent && entry.asked_by == NodeId::ALL {
            return true; // a multicast is on its way
        }
        let is_shared = is_recent && entry.asked_by != asker;
        if !self.repair.spend(entry.held.length(), now) {
            self.counters.repairs_refused += 1;
            return false;
        }
        entry.asked_at = now;
        entry.asked_by = if is_shared { NodeId::ALL } else { asker };
        let to = if is_shared {
            self.counters.repairs_multicast += 1;
            Destination::Ring(self.config.ring)
        } else {
            Destination::Node(asker)
        };
        self.counters.repairs += 1;
        self.send_repair(instance, to, out);
        true
    }

    fn send_repair(&self, instance: Instance, to: Destination, out: &mut impl Outbox) {
        let entry = self.window.entry(instance).expect("what is repaired is held");
        // In a new life it may have heard of no ring yet. Nobody looks for one in a repair, but a
        // datagram without is none.
        let has_heard = !self.acceptor.layout.members().is_empty();
        let layout = if has_heard { self.acceptor.layout } else { Layout::new(&[self.me]) };
        let accept = Accept {
            instance,
            ballot: entry.ballot,
            id: entry.id,
            layout,
            decided: self.acceptor.known.0,
            trim: self.window.trim(),
            decisions: DecidedRanges::new(&[]),
            value: self.window.value(instance).expect("what is repaired is held"),
        };
        let repair = Repair { is_decided: entry.is_decided(), accept };
        self.send(to, &Message::Repair(repair), out);
    }
}
