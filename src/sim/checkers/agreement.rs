//! Agreement: a value id names one value for ever, an instance decides one id for ever, and every
//! learner delivers exactly the decided values of a ring, in order, each at its slot.
//!
//! Decisions are read off the network, so that this checker needs nobody's word: it keeps the
//! sequence that follows from them and holds each learner's deliveries against it.

use super::Violations;
use crate::multi_ring::RingPosition;
use crate::types::{Instance, RingId, Slot, ValueId};
use std::collections::BTreeMap;

const NAME: &str = "agreement";

/// What a value amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) struct ValueSeen {
    /// How many slots it takes.
    pub(in crate::sim) slots: u64,
    /// The hash of its bytes, if it is a batch, which is what learners deliver.
    pub(in crate::sim) batch: Option<u64>,
}

/// The checker, for all rings.
#[derive(Debug)]
pub(in crate::sim) struct Agreement {
    rings: Vec<Ring>,
    /// How many batches each learner has delivered of each ring.
    cursors: Vec<Vec<usize>>,
}

#[derive(Clone, Debug, Default)]
struct Ring {
    values: BTreeMap<ValueId, ValueSeen>,
    /// The decided id of instance i + 1.
    decided: Vec<Option<ValueId>>,
    /// How many instances from the first on are decided and known.
    frontier: usize,
    /// The first slot behind them.
    slot: u64,
    /// Their batches: slot and hash.
    batches: Vec<(u64, u64)>,
    /// What the first learner to come so far delivered.
    delivered: Vec<(u64, u64)>,
}

impl Agreement {
    /// For `rings` rings and `learners` learners, each numbered by the caller.
    pub(in crate::sim) fn new(rings: usize, learners: usize) -> Self {
        Self { rings: vec![Ring::default(); rings], cursors: vec![vec![0; rings]; learners] }
    }

    /// Somebody sent a value under its id.
    pub(in crate::sim) fn on_value(
        &mut self,
        ring: RingId,
        id: ValueId,
        value: ValueSeen,
        violations: &mut Violations,
    ) {
        let state = &mut self.rings[usize::from(ring.0)];
        let known = *state.values.entry(id).or_insert(value);
        if known != value {
            violations.report(NAME, || {
                format!("ring {ring}: {id:?} names two values: {known:?} and {value:?}")
            });
        }
    }

    /// Somebody said that `instance` decided `id`.
    pub(in crate::sim) fn on_decided(
        &mut self,
        ring: RingId,
        instance: Instance,
        id: ValueId,
        violations: &mut Violations,
    ) {
        let state = &mut self.rings[usize::from(ring.0)];
        let index = usize::try_from(instance.0 - 1).expect("instances start at 1");
        if state.decided.len() <= index {
            state.decided.resize(index + 1, None);
        }
        let known = *state.decided[index].get_or_insert(id);
        if known != id {
            violations.report(NAME, || {
                format!("ring {ring}: instance {instance} decided {known:?} and {id:?}")
            });
        }
        state.advance();
    }

    /// Learner `learner` delivered a batch.
    pub(in crate::sim) fn on_delivered(
        &mut self,
        learner: usize,
        (ring, slot): (RingId, Slot),
        hash: u64,
        violations: &mut Violations,
    ) {
        let state = &mut self.rings[usize::from(ring.0)];
        let cursor = &mut self.cursors[learner][usize::from(ring.0)];
        let delivery = (slot.0, hash);
        if *cursor == state.delivered.len() {
            state.delivered.push(delivery);
        }
        let others = state.delivered[*cursor];
        let decided = state.batches.get(*cursor).copied().unwrap_or(others);
        for (expected, whose) in [(others, "another learner's"), (decided, "the decided")] {
            if expected != delivery {
                violations.report(NAME, || {
                    format!(
                        "ring {ring}: learner {learner} delivered batch {cursor} at slot {slot} \
                         ({hash:016x}), {whose} is at slot {} ({:016x})",
                        expected.0, expected.1
                    )
                });
            }
        }
        *cursor += 1;
    }

    /// Learner `learner` goes on at `position`; at the beginning of a ring that it does not name.
    pub(in crate::sim) fn on_jump(&mut self, learner: usize, position: &[RingPosition]) {
        self.cursors[learner].fill(0);
        for at in position {
            let ring = usize::from(at.ring.0);
            let delivered = &self.rings[ring].delivered;
            let before = delivered.partition_point(|(slot, _)| *slot < at.slot.0);
            self.cursors[learner][ring] = before;
        }
    }

    /// The end of a run: what was delivered before its decision was seen is compared now.
    pub(in crate::sim) fn finish(&self, violations: &mut Violations) {
        for (number, ring) in self.rings.iter().enumerate() {
            let pairs = ring.delivered.iter().zip(&ring.batches);
            if let Some((delivered, decided)) = pairs.clone().find(|(a, b)| a != b) {
                violations.report(NAME, || {
                    format!("ring {number}: delivered {delivered:?}, decided {decided:?}")
                });
            }
        }
    }

    /// How many instances of `ring` are decided without a gap.
    pub(in crate::sim) fn decided(&self, ring: usize) -> usize {
        self.rings[ring].frontier
    }
}

impl Ring {
    fn advance(&mut self) {
        while let Some(Some(id)) = self.decided.get(self.frontier)
            && let Some(value) = self.values.get(id)
        {
            if let Some(hash) = value.batch {
                self.batches.push((self.slot, hash));
            }
            self.slot += value.slots;
            self.frontier += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};

    const RING: RingId = RingId(0);

    fn id(n: u64) -> ValueId {
        ValueId::new(NodeId(1), Incarnation(5), n)
    }

    /// Instances 1 to 3: a batch, SKIP(10), a batch.
    fn decided() -> (Agreement, Violations) {
        let (mut agreement, mut violations) = (Agreement::new(1, 2), Violations::default());
        for (n, slots, batch) in [(1, 1, Some(11)), (2, 10, None), (3, 1, Some(33))] {
            agreement.on_value(RING, id(n), ValueSeen { slots, batch }, &mut violations);
            agreement.on_decided(RING, Instance(n), id(n), &mut violations);
        }
        assert_eq!(agreement.decided(0), 3);
        (agreement, violations)
    }

    fn deliver(deliveries: &[(usize, u64, u64)]) -> Violations {
        let (mut agreement, mut violations) = decided();
        for &(learner, slot, hash) in deliveries {
            agreement.on_delivered(learner, (RING, Slot(slot)), hash, &mut violations);
        }
        agreement.finish(&mut violations);
        violations
    }

    #[test]
    fn learners_that_deliver_what_was_decided_agree() {
        assert!(deliver(&[(0, 0, 11), (1, 0, 11), (1, 11, 33), (0, 11, 33)]).is_empty());
    }

    #[test]
    fn another_value_another_slot_and_a_missing_batch_are_seen() {
        for bad in [[(0, 0, 11), (0, 11, 34)], [(0, 0, 11), (0, 2, 33)], [(0, 11, 33), (1, 0, 11)]]
        {
            assert!(!deliver(&bad).is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn two_decisions_of_an_instance_and_two_values_of_an_id_are_seen() {
        let (mut agreement, mut violations) = decided();
        agreement.on_decided(RING, Instance(2), id(9), &mut violations);
        assert_eq!(violations.into_vec().len(), 1);
        let (mut agreement, mut violations) = decided();
        agreement.on_value(RING, id(1), ValueSeen { slots: 1, batch: Some(12) }, &mut violations);
        assert_eq!(violations.into_vec().len(), 1);
    }

    #[test]
    fn a_delivery_before_its_decision_was_seen_is_compared_at_the_end() {
        let (mut agreement, mut violations) = (Agreement::new(1, 1), Violations::default());
        agreement.on_delivered(0, (RING, Slot(0)), 12, &mut violations);
        agreement.on_decided(RING, Instance(1), id(1), &mut violations);
        let value = ValueSeen { slots: 1, batch: Some(11) };
        agreement.on_value(RING, id(1), value, &mut violations);
        agreement.on_decided(RING, Instance(1), id(1), &mut violations);
        assert!(violations.is_empty());
        agreement.finish(&mut violations);
        assert!(!violations.is_empty());
    }
}
