//! At most once: a replica executes a command that changes state once, all replicas answer it
//! alike, none that was acknowledged is missing in the end, and none is executed of which its client
//! was told that it is not.

use super::Violations;
use crate::service::Context;
use std::collections::BTreeMap;

const NAME: &str = "at-most-once";

/// The checker.
#[derive(Debug)]
pub(in crate::sim) struct AtMostOnce {
    replicas: usize,
    /// Bit r: replica r has taken up a checkpoint, so that it need not execute everything itself.
    restored: u32,
    commands: BTreeMap<(u64, u64), Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Bit r: replica r has executed it.
    executed: u32,
    /// The hash of the reply that the first execution came to, and whose it was.
    reply: Option<(u64, usize)>,
    is_acknowledged: bool,
    is_refused: bool,
}

impl AtMostOnce {
    /// For `replicas` replicas, at most 32.
    pub(in crate::sim) fn new(replicas: usize) -> Self {
        assert!(replicas <= 32, "one bit a replica");
        Self { replicas, restored: 0, commands: BTreeMap::new() }
    }

    /// `replica` executed a command that changes state, and came to a reply of this hash.
    pub(in crate::sim) fn on_executed(
        &mut self,
        replica: usize,
        context: &Context,
        reply: u64,
        violations: &mut Violations,
    ) {
        let seen = self.seen(context);
        if seen.executed >> replica & 1 == 1 {
            violations.report(NAME, || format!("replica {replica} executed {context:?} twice"));
        }
        if seen.is_refused {
            violations.report(NAME, || {
                format!("replica {replica} executed {context:?}, which was said not to be applied")
            });
        }
        seen.executed |= 1 << replica;
        let (first, other) = *seen.reply.get_or_insert((reply, replica));
        if first != reply {
            violations.report(NAME, || {
                format!("replicas {other} and {replica} executed {context:?} differently")
            });
        }
    }

    /// `replica` has begun elsewhere in the order: what it executed is to be executed again, or not.
    pub(in crate::sim) fn on_jump(&mut self, replica: usize) {
        self.restored |= 1 << replica;
        for seen in self.commands.values_mut() {
            seen.executed &= !(1 << replica);
        }
    }

    /// A client holds the answer to a command that changes state: it must not get lost any more.
    pub(in crate::sim) fn on_acknowledged(
        &mut self,
        context: &Context,
        reply: u64,
        violations: &mut Violations,
    ) {
        let seen = self.seen(context);
        seen.is_acknowledged = true;
        match seen.reply {
            None => violations.report(NAME, || {
                format!("{context:?} was acknowledged before anybody executed it")
            }),
            Some((first, replica)) if first != reply => violations.report(NAME, || {
                format!("{context:?} was not answered as replica {replica} executed it")
            }),
            Some(_) => {}
        }
    }

    /// A client was told that a command that changes state was not executed, nor will be.
    pub(in crate::sim) fn on_refused(&mut self, context: &Context, violations: &mut Violations) {
        let seen = self.seen(context);
        seen.is_refused = true;
        if let Some((_, replica)) = seen.reply {
            violations.report(NAME, || {
                format!("replica {replica} had executed {context:?}, said not to be applied")
            });
        }
    }

    /// The end of a run that healed: every live replica has executed what was acknowledged.
    pub(in crate::sim) fn finish(&self, is_live: impl Fn(usize) -> bool, out: &mut Violations) {
        for (command, seen) in &self.commands {
            let has = |r: usize| (seen.executed | self.restored) >> r & 1 == 1;
            let missing = (0..self.replicas).find(|&r| is_live(r) && !has(r));
            if let Some(replica) = missing.filter(|_| seen.is_acknowledged) {
                out.report(NAME, || {
                    format!("{command:?} was acknowledged, but replica {replica} never executed it")
                });
            }
        }
    }

    fn seen(&mut self, context: &Context) -> &mut Seen {
        self.commands.entry((context.session.0, context.sequence.0)).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Sequence, SessionId};

    fn context(sequence: u64) -> Context {
        Context { session: SessionId(1), sequence: Sequence(sequence) }
    }

    #[test]
    fn one_execution_a_replica_with_one_reply_is_right() {
        let (mut checker, mut violations) = (AtMostOnce::new(2), Violations::default());
        for replica in 0..2 {
            checker.on_executed(replica, &context(1), 5, &mut violations);
        }
        checker.on_acknowledged(&context(1), 5, &mut violations);
        checker.finish(|_| true, &mut violations);
        assert!(violations.is_empty());
    }

    #[test]
    fn a_second_execution_and_a_second_reply_are_seen() {
        let (mut checker, mut violations) = (AtMostOnce::new(2), Violations::default());
        checker.on_executed(0, &context(1), 5, &mut violations);
        checker.on_executed(0, &context(1), 5, &mut violations);
        assert!(!violations.is_empty());
        let (mut checker, mut violations) = (AtMostOnce::new(2), Violations::default());
        checker.on_executed(0, &context(1), 5, &mut violations);
        checker.on_executed(1, &context(1), 6, &mut violations);
        assert!(!violations.is_empty());
    }

    #[test]
    fn an_answer_that_nobody_came_to_is_seen() {
        let (mut checker, mut violations) = (AtMostOnce::new(2), Violations::default());
        checker.on_acknowledged(&context(1), 5, &mut violations);
        assert!(!violations.is_empty());
        let (mut checker, mut violations) = (AtMostOnce::new(2), Violations::default());
        checker.on_executed(0, &context(1), 5, &mut violations);
        checker.on_acknowledged(&context(1), 6, &mut violations);
        assert!(!violations.is_empty());
    }

    #[test]
    fn what_was_said_not_to_be_applied_must_be_executed_by_nobody_before_or_after() {
        let (mut checker, mut violations) = (AtMostOnce::new(2), Violations::default());
        checker.on_refused(&context(1), &mut violations);
        checker.on_executed(0, &context(2), 5, &mut violations);
        assert!(violations.is_empty());
        checker.on_executed(0, &context(1), 5, &mut violations);
        assert!(!violations.is_empty());
        let (mut checker, mut violations) = (AtMostOnce::new(2), Violations::default());
        checker.on_executed(0, &context(1), 5, &mut violations);
        checker.on_refused(&context(1), &mut violations);
        assert!(!violations.is_empty());
    }

    #[test]
    fn an_acknowledged_command_must_be_executed_by_all_that_live() {
        let (mut checker, mut violations) = (AtMostOnce::new(2), Violations::default());
        checker.on_executed(0, &context(1), 5, &mut violations);
        checker.finish(|_| true, &mut violations);
        assert!(violations.is_empty(), "nobody was told that it is done");
        checker.on_acknowledged(&context(1), 5, &mut violations);
        checker.finish(|replica| replica == 0, &mut violations);
        assert!(violations.is_empty(), "replica 1 is dead");
        checker.finish(|_| true, &mut violations);
        assert!(!violations.is_empty());
    }
}
