//! Execution that can be undone.

use super::{Bank, Command, Program};
use crate::types::{Bug, GroupId};
use std::sync::atomic::Ordering::Relaxed;

/// Whose state an attempt may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The counters of one group.
    Group(GroupId),
    /// All counters and the reserve.
    Whole,
}

/// Why an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It came to a counter of another group.
    OtherGroup,
    /// It came to a bound, and the reserve is out of reach or cannot help.
    Bound,
}

/// A counter as it was before a step.
#[derive(Clone, Copy, Debug, Default)]
struct Saved {
    counter: u32,
    value: u64,
    changes: u64,
}

/// One execution and its undo log; a transfer has two steps, a program up to eight.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    bank: &'a Bank,
    scope: Scope,
    log: [Saved; Program::MAX_STEPS],
    steps: usize,
    /// The reserve as it was, for an attempt that may touch it.
    reserve: Option<u64>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(bank: &'a Bank, scope: Scope) -> Self {
        let reserve = (scope == Scope::Whole).then(|| bank.reserve.load(Relaxed));
        Self { bank, scope, log: [Saved::default(); Program::MAX_STEPS], steps: 0, reserve }
    }

    /// Executes; the value written last.
    pub(super) fn run(&mut self, command: &Command) -> Result<u64, Failure> {
        match *command {
            Command::Read { .. } => unreachable!("a read is no change"),
            Command::Add { counter, amount } => self.step(counter, i128::from(amount)),
            Command::Transfer { from, to, amount } => {
                self.step(from, -i128::from(amount))?;
                self.step(to, i128::from(amount))
            }
            Command::Program(program) => self.run_program(&program),
        }
    }

    /// Restores every word that was changed, the last change first.
    pub(super) fn undo(self) {
        for saved in self.log[..self.steps].iter().rev() {
            let counter = &self.bank.counters[saved.counter as usize];
            counter.value.store(saved.value, Relaxed);
            if !Bug::UndoForgetsState.is_planted() {
                counter.changes.store(saved.changes, Relaxed);
            }
        }
        if let Some(reserve) = self.reserve {
            self.bank.reserve.store(reserve, Relaxed);
        }
    }

    fn run_program(&mut self, program: &Program) -> Result<u64, Failure> {
        let counters = u64::from(self.bank.settings.counters);
        let (mut counter, mut value) = (program.start(), 0);
        for &amount in program.amounts() {
            value = self.step(counter, i128::from(amount))?;
            let next = (u64::from(counter) + 1 + value % 8) % counters;
            counter = u32::try_from(next).expect("below the number of counters");
        }
        Ok(value)
    }

    /// Adds `amount` to a counter; its new value.
    fn step(&mut self, index: u32, amount: i128) -> Result<u64, Failure> {
        if let Scope::Group(group) = self.scope
            && self.bank.group(index) != group
        {
            return Err(Failure::OtherGroup);
        }
        let counter = &self.bank.counters[index as usize];
        let (value, changes) = (counter.value.load(Relaxed), counter.changes.load(Relaxed));
        let wanted = i128::from(value) + amount;
        let next = wanted.clamp(0, i128::from(self.bank.settings.bound));
        if next != wanted {
            self.use_reserve(wanted - next)?;
        }
        let next = u64::try_from(next).expect("between zero and the bound");
        self.log[self.steps] = Saved { counter: index, value, changes };
        self.steps += 1;
        self.bank.preserve(index, self.scope);
        counter.value.store(next, Relaxed);
        counter.changes.store(changes + 1, Relaxed);
        Ok(next)
    }

    /// Puts `excess` into the reserve, or takes from it what is below zero.
    fn use_reserve(&self, excess: i128) -> Result<(), Failure> {
        if self.scope != Scope::Whole {
            return Err(Failure::Bound);
        }
        let reserve = i128::from(self.bank.reserve.load(Relaxed)) + excess;
        let limit = 2 * i128::from(self.bank.settings.reserve);
        if !(0..=limit).contains(&reserve) {
            return Err(Failure::Bound);
        }
        let reserve = u64::try_from(reserve).expect("at most 2^62");
        self.bank.reserve.store(reserve, Relaxed);
        Ok(())
    }
}
