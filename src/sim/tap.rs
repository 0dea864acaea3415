//! Listens to everything that is sent and tells the agreement checker what it amounts to: which
//! value an id names, and which id an instance decided.

use super::checkers::{Agreement, ValueSeen, Violations};
use super::trace::hash_bytes;
use crate::types::{Ballot, Instance, RingId, ValueId};
use crate::wire::{Accept, DecidedRanges, Message, Value};
use std::collections::BTreeMap;

/// The tap on the network.
#[derive(Debug)]
pub(super) struct Tap {
    agreement: Agreement,
    /// Per ring and ballot: what its coordinator proposed and did not yet call decided.
    proposed: Vec<BTreeMap<Ballot, BTreeMap<Instance, ValueId>>>,
}

impl Tap {
    pub(super) fn new(agreement: Agreement, rings: usize) -> Self {
        Self { agreement, proposed: vec![BTreeMap::new(); rings] }
    }

    /// A role sent `message`; whether it arrives anywhere does not matter.
    pub(super) fn on_sent(&mut self, ring: RingId, message: &Message<'_>, out: &mut Violations) {
        match message {
            Message::Accept(accept) => {
                self.on_value(ring, accept.id, &accept.value, out);
                self.on_proposed(ring, accept, out);
                self.on_ranges(ring, &accept.decisions, out);
                self.on_mark(ring, accept.ballot, accept.decided, out);
            }
            Message::Repair(repair) => {
                let Accept { id, instance, value, decisions, .. } = &repair.accept;
                self.on_value(ring, *id, value, out);
                self.on_ranges(ring, decisions, out);
                if repair.is_decided {
                    self.agreement.on_decided(ring, *instance, *id, out);
                }
            }
            Message::Decision(decision) => {
                self.on_ranges(ring, &decision.ranges, out);
                self.on_mark(ring, decision.ballot, decision.decided, out);
            }
            Message::Heartbeat(heartbeat) => {
                self.on_mark(ring, heartbeat.ballot, heartbeat.decided, out);
            }
            Message::Promise(promise) => {
                for record in promise.records.iter() {
                    self.on_value(ring, record.id, &record.value, out);
                }
            }
            _ => {}
        }
    }

    pub(super) const fn agreement_mut(&mut self) -> &mut Agreement {
        &mut self.agreement
    }

    pub(super) const fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    fn on_value(&mut self, ring: RingId, id: ValueId, value: &Value<'_>, out: &mut Violations) {
        let batch = match value {
            Value::Batch(bytes) => Some(hash_bytes(bytes)),
            Value::Noop | Value::Skip(_) | Value::Members(..) => None,
        };
        self.agreement.on_value(ring, id, ValueSeen { slots: value.slots(), batch }, out);
    }

    fn on_ranges(&mut self, ring: RingId, ranges: &DecidedRanges<'_>, out: &mut Violations) {
        for (instance, id) in ranges.iter().flat_map(|range| range.iter()) {
            self.agreement.on_decided(ring, instance, id, out);
        }
    }

    fn on_proposed(&mut self, ring: RingId, accept: &Accept<'_>, out: &mut Violations) {
        let ballots = &mut self.proposed[usize::from(ring.0)];
        let proposals = ballots.entry(accept.ballot).or_default();
        let first = *proposals.entry(accept.instance).or_insert(accept.id);
        if first != accept.id {
            out.report("agreement", || {
                let Accept { instance, ballot, id, .. } = accept;
                format!(
                    "ring {ring}: ballot {ballot:?} proposes {first:?} and {id:?} in {instance}"
                )
            });
        }
    }

    /// The coordinator of `ballot` says that everything up to `decided` is decided: what it proposed
    /// at this ballot is what was decided.
    fn on_mark(&mut self, ring: RingId, ballot: Ballot, decided: Instance, out: &mut Violations) {
        let ballots = &mut self.proposed[usize::from(ring.0)];
        let Some(proposals) = ballots.get_mut(&ballot) else { return };
        while let Some(entry) = proposals.first_entry()
            && *entry.key() <= decided
        {
            let (instance, id) = entry.remove_entry();
            self.agreement.on_decided(ring, instance, id, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};
    use crate::wire::{Decision, Layout, Range};

    const RING: RingId = RingId(0);

    fn ballot(round: u32) -> Ballot {
        Ballot::new(round, NodeId(0), Incarnation(1))
    }

    fn id(counter: u64) -> ValueId {
        ValueId::new(NodeId(0), Incarnation(1), counter)
    }

    fn accept(round: u32, instance: u64, id: ValueId, decided: u64) -> Message<'static> {
        Message::Accept(Accept {
            instance: Instance(instance),
            ballot: ballot(round),
            id,
            layout: Layout::new(&[NodeId(0)]),
            decided: Instance(decided),
            trim: Instance(0),
            decisions: DecidedRanges::new(&[]),
            value: Value::Batch(b"value"),
        })
    }

    fn tap(messages: &[Message<'_>]) -> (Tap, bool) {
        let mut tap = Tap::new(Agreement::new(1, 1), 1);
        let mut violations = Violations::default();
        for message in messages {
            tap.on_sent(RING, message, &mut violations);
        }
        (tap, violations.is_empty())
    }

    #[test]
    fn a_mark_decides_what_its_own_ballot_proposed() {
        let messages = [accept(1, 1, id(1), 0), accept(2, 1, id(1), 0), accept(2, 2, id(2), 1)];
        let (tap, holds) = tap(&messages);
        assert!(holds);
        assert_eq!(tap.agreement().decided(0), 1);
    }

    #[test]
    fn two_proposals_of_one_ballot_in_one_instance_are_seen() {
        assert!(!tap(&[accept(1, 1, id(1), 0), accept(1, 1, id(2), 0)]).1);
        assert!(tap(&[accept(1, 1, id(1), 0), accept(2, 1, id(2), 0)]).1);
    }

    #[test]
    fn a_mark_against_an_earlier_decision_is_seen() {
        let ranges = [Range::one(Instance(1), id(1))];
        let decision = Message::Decision(Decision {
            ballot: ballot(1),
            decided: Instance(1),
            trim: Instance(0),
            ranges: DecidedRanges::new(&ranges),
        });
        assert!(!tap(&[decision, accept(2, 1, id(2), 0), accept(2, 2, id(3), 1)]).1);
    }
}
