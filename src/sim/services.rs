//! The services of the simulator's runs: how they are built, what is asked of them, and how their
//! answers become a history.

use super::checkers::{Outcome, Verb};
use super::plan::Plan;
use crate::service::Optimistic;
use crate::service::btree::{BTree, Command, Outcome as TreeOutcome, Pair, Settings};
use crate::service::counters::{Bank, Command as BankCommand, Program, Settings as BankSettings};
use crate::service::null::Null;
use crate::types::Random;
use std::fmt::Debug;

/// A service as the simulator needs it.
pub(super) trait SimService: Optimistic + Debug {
    /// Whether its check executes and undoes: every failed attempt is looked at.
    const UNDOES: bool = false;

    /// The state that every replica begins with.
    fn build(plan: &Plan) -> Self;

    /// The next command of a client.
    fn draw(plan: &Plan, random: &mut Random) -> Vec<u8>;

    /// The command and its answer as an operation on a map, if that is what it is.
    fn operation(command: &[u8], reply: Option<&[u8]>) -> Option<(u64, Verb, Outcome)> {
        let _ = (command, reply);
        None
    }

    /// The value of a key at the beginning.
    fn initial(plan: &Plan, key: u64) -> Option<u64> {
        let _ = (plan, key);
        None
    }

    /// Whether the state is well formed.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl SimService for BTree {
    fn build(plan: &Plan) -> Self {
        let settings = Settings {
            groups: plan.groups,
            key_space: 2 * plan.load.keys,
            capacity: plan.load.capacity,
            separators: plan.load.separators,
            minimum_percent: plan.load.minimum_percent,
            ..Settings::default()
        };
        let pair = |key| Pair { key, value: key };
        Self::load(settings, (0..plan.load.keys).map(|n| pair(2 * n)))
            .expect("settings of a plan hold")
    }

    fn draw(plan: &Plan, random: &mut Random) -> Vec<u8> {
        let kind = random.below(100);
        let key = random.below(2 * plan.load.keys);
        let value = random.next() >> 16;
        let command = if kind < plan.load.reads {
            Command::Read { key }
        } else if kind < plan.load.reads + plan.load.updates {
            Command::Update { key, value }
        } else if kind < plan.load.reads + plan.load.updates + plan.load.ranges {
            let limit = u32::try_from(1 + random.below(20)).expect("at most 20");
            Command::Range { from: key, to: key + random.below(plan.load.keys), limit }
        } else if random.chance(1, 2) {
            Command::Insert { key, value }
        } else {
            Command::Delete { key }
        };
        command.to_bytes()
    }

    fn operation(command: &[u8], reply: Option<&[u8]>) -> Option<(u64, Verb, Outcome)> {
        let command = Command::decode(command).expect("what a client drew");
        let (key, verb) = match command {
            Command::Read { key } => (key, Verb::Read),
            Command::Update { key, value } => (key, Verb::Update(value)),
            Command::Insert { key, value } => (key, Verb::Insert(value)),
            Command::Delete { key } => (key, Verb::Delete),
            Command::Range { from, to, limit } => {
                (from, Verb::Range { end: to, limit: u64::from(limit) })
            }
        };
        let outcome = match reply.map(TreeOutcome::decode) {
            None => Outcome::Unknown,
            Some(Some(TreeOutcome::Ok)) => Outcome::Ok,
            Some(Some(TreeOutcome::Exists)) => Outcome::Exists,
            Some(Some(TreeOutcome::Missing)) => Outcome::Missing,
            Some(Some(TreeOutcome::Value(value))) => Outcome::Value(value),
            Some(Some(TreeOutcome::Range(pairs))) => {
                Outcome::Range(pairs.iter().map(|pair| (pair.key, pair.value)).collect())
            }
            // A reply that is none of these fits no order of operations.
            Some(Some(TreeOutcome::Refused) | None) => Outcome::Range(vec![(key, u64::MAX)]),
        };
        Some((key, verb, outcome))
    }

    fn initial(plan: &Plan, key: u64) -> Option<u64> {
        (key.is_multiple_of(2) && key < 2 * plan.load.keys).then_some(key)
    }

    fn check(&self) -> Result<(), String> {
        self.check_invariants()
    }
}

impl SimService for Null {
    fn build(plan: &Plan) -> Self {
        Self::new(plan.groups)
    }

    fn draw(plan: &Plan, random: &mut Random) -> Vec<u8> {
        let dependent = 100 - plan.load.reads - plan.load.updates;
        let is_for_all = random.below(400) < dependent;
        let word = if is_for_all { Self::ALL } else { random.below(plan.load.keys) };
        let mut command = word.to_le_bytes().to_vec();
        // Ballast up to chunked commands, seldom.
        let ballast = if random.chance(1, 300) { random.below(100_000) } else { random.below(64) };
        command.resize(8 + usize::try_from(ballast).expect("small"), 7);
        command
    }
}

impl SimService for Bank {
    const UNDOES: bool = true;

    fn build(plan: &Plan) -> Self {
        let counters = u32::try_from(plan.load.keys).expect("few keys").min(100);
        let (bound, reserve) = (20, 10 * u64::from(counters));
        Self::new(BankSettings { groups: plan.groups, counters, bound, initial: 10, reserve })
            .expect("settings of a plan hold")
    }

    fn draw(plan: &Plan, random: &mut Random) -> Vec<u8> {
        let kind = random.below(100);
        let counters = plan.load.keys.min(100);
        let mut counter = || u32::try_from(random.below(counters)).expect("few keys");
        let (from, to) = (counter(), counter());
        let amount = i64::try_from(random.below(9)).expect("small") - 4;
        let command = if kind < plan.load.reads {
            BankCommand::Read { counter: from }
        } else if kind < plan.load.reads + plan.load.updates {
            BankCommand::Add { counter: from, amount }
        } else if random.chance(1, 8) {
            BankCommand::Transfer { from, to, amount: random.below(5) }
        } else {
            let mut step = || i32::try_from(random.below(9)).expect("small") - 4;
            let steps: Vec<_> = (0..5).map(|_| step()).collect();
            let length = 1 + usize::try_from(random.below(5)).expect("small");
            let program = Program::new(from, &steps[..length]);
            BankCommand::Program(program.expect("one to five steps"))
        };
        command.to_bytes()
    }
}
