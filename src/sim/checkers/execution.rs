//! Execution: on every replica the commands that change the state of a group come in one order.
//!
//! Digests are compared when replicas stand at an equal position, which is mostly the end; this
//! checker sees at once where two replicas went different ways.

use super::Violations;
use crate::service::Context;
use crate::types::GroupId;

const NAME: &str = "execution";

/// The checker.
#[derive(Debug)]
pub(in crate::sim) struct Executions {
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    /// What the first replica to come so far executed: the command and the hash of its reply.
    sequence: Vec<(Context, u64)>,
    /// How far each replica is; none that has begun elsewhere in the order and executed nothing
    /// since.
    cursors: Vec<Option<usize>>,
}

impl Executions {
    /// For `replicas` replicas of `groups` groups.
    pub(in crate::sim) fn new(replicas: usize, groups: usize) -> Self {
        let group = Group { sequence: Vec::new(), cursors: vec![Some(0); replicas] };
        Self { groups: vec![group; groups] }
    }

    /// `replica` executed a command that may change the state of `group`.
    pub(in crate::sim) fn on_executed(
        &mut self,
        (replica, group): (usize, GroupId),
        context: &Context,
        reply: u64,
        violations: &mut Violations,
    ) {
        let Group { sequence, cursors } = &mut self.groups[group.index()];
        let here = || sequence.iter().rposition(|(known, _)| known == context);
        let cursor = cursors[replica].or_else(here).unwrap_or(sequence.len());
        if cursor == sequence.len() {
            sequence.push((*context, reply));
        }
        let (expected, expected_reply) = sequence[cursor];
        if (expected, expected_reply) != (*context, reply) {
            violations.report(NAME, || {
                format!(
                    "replica {replica}, group {}: change {cursor} is {context:?} with reply \
                     {reply:016x}, another replica's is {expected:?} with {expected_reply:016x}",
                    group.index()
                )
            });
        }
        cursors[replica] = Some(cursor + 1);
    }

    /// `replica` has begun elsewhere in the order.
    pub(in crate::sim) fn on_jump(&mut self, replica: usize) {
        self.groups.iter_mut().for_each(|group| group.cursors[replica] = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Sequence, SessionId};

    fn execute(executions: &[(usize, usize, u64)]) -> bool {
        let (mut checker, mut violations) = (Executions::new(2, 3), Violations::default());
        for &(replica, group, sequence) in executions {
            let context = Context { session: SessionId(1), sequence: Sequence(sequence) };
            let group = GroupId::new(group);
            checker.on_executed((replica, group), &context, 0, &mut violations);
        }
        violations.is_empty()
    }

    #[test]
    fn only_the_order_within_a_group_counts() {
        assert!(execute(&[(0, 1, 1), (0, 2, 2), (0, 1, 3), (1, 2, 2), (1, 1, 1), (1, 1, 3)]));
        assert!(!execute(&[(0, 1, 1), (0, 1, 3), (1, 1, 3), (1, 1, 1)]));
    }
}
