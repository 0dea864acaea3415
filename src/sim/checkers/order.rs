//! Order: subscribers of the same groups see one merged sequence, and it is the merge's: the least
//! (slot div M, ring) comes next (PROTOCOL 2).

use super::Violations;
use crate::multi_ring::RingPosition;
use crate::types::{RingId, Slot};

const NAME: &str = "order";

/// The checker, for K workers of each replica.
#[derive(Debug)]
pub(in crate::sim) struct Order {
    merge: u64,
    /// What the first replica to come so far delivered to worker i.
    sequences: Vec<Vec<(RingId, Slot)>>,
    /// How far worker i of replica r is, at r * workers + i.
    cursors: Vec<usize>,
}

impl Order {
    /// For `replicas` replicas of `workers` workers that merge `merge` (M) slots of a ring at once.
    pub(in crate::sim) fn new(replicas: usize, workers: usize, merge: u64) -> Self {
        let sequences = vec![Vec::new(); workers];
        Self { merge, sequences, cursors: vec![0; replicas * workers] }
    }

    /// Worker `worker` of `replica` goes on at `position`; at the beginning if that is empty.
    pub(in crate::sim) fn on_jump(
        &mut self,
        (replica, worker): (usize, usize),
        position: &[RingPosition],
    ) {
        let is_before = |(ring, slot): &(RingId, Slot)| {
            position.iter().any(|at| at.ring == *ring && *slot < at.slot)
        };
        let before = self.sequences[worker].partition_point(is_before);
        self.cursors[replica * self.sequences.len() + worker] = before;
    }

    /// Worker `worker` of `replica` delivered a batch.
    pub(in crate::sim) fn on_delivered(
        &mut self,
        (replica, worker): (usize, usize),
        delivery: (RingId, Slot),
        violations: &mut Violations,
    ) {
        let cursor = &mut self.cursors[replica * self.sequences.len() + worker];
        let sequence = &mut self.sequences[worker];
        if *cursor == sequence.len() {
            sequence.push(delivery);
        }
        let expected = sequence[*cursor];
        if expected != delivery {
            violations.report(NAME, || {
                format!(
                    "worker {worker} of replica {replica}: delivery {cursor} is {delivery:?}, \
                     another replica's is {expected:?}"
                )
            });
        }
        let key = |(ring, slot): (RingId, Slot)| (slot.0 / self.merge, ring, slot);
        if let Some(&previous) = cursor.checked_sub(1).and_then(|index| sequence.get(index))
            && key(previous) >= key(delivery)
        {
            violations.report(NAME, || {
                format!(
                    "worker {worker} of replica {replica}: {delivery:?} after {previous:?} is not \
                     the order of the merge"
                )
            });
        }
        *cursor += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliver(merge: u64, deliveries: &[(usize, u16, u64)]) -> bool {
        let (mut order, mut violations) = (Order::new(2, 1, merge), Violations::default());
        for &(replica, ring, slot) in deliveries {
            order.on_delivered((replica, 0), (RingId(ring), Slot(slot)), &mut violations);
        }
        violations.is_empty()
    }

    #[test]
    fn merged_sequences_of_two_replicas_agree() {
        assert!(deliver(1, &[(0, 0, 0), (0, 2, 0), (1, 0, 0), (0, 0, 1), (1, 2, 0), (1, 0, 1)]));
        assert!(deliver(4, &[(0, 0, 0), (0, 0, 3), (0, 2, 1), (0, 0, 4)]));
    }

    #[test]
    fn a_sequence_that_is_not_the_merge_or_not_the_others_is_seen() {
        assert!(!deliver(1, &[(0, 2, 0), (0, 0, 0)]), "the lower ring comes first");
        assert!(!deliver(4, &[(0, 2, 1), (0, 0, 3)]), "within one turn the lower ring comes first");
        assert!(!deliver(1, &[(0, 0, 0), (0, 0, 0)]), "no slot twice");
        assert!(!deliver(1, &[(0, 0, 0), (0, 2, 0), (1, 2, 0)]), "no batch left out");
    }
}
