//! A bank of bounded counters: the service whose check must execute.
//!
//! Which counters a [`Command::Program`] touches depends on what it finds in them, so nobody can say
//! without executing whether it stays in one partition and within all bounds. Its optimistic
//! execution is an attempt that keeps an undo log: it stops at the first counter of another group or
//! at the first bound, and restores every word that it changed, the number of changes of a counter
//! (its physical state) included.
//!
//! The bank has one reserve, which takes what overflows a counter and lends what one lacks. It
//! belongs to no group: only a holder of the whole may touch it. So a bound that is hit in parallel
//! mode is a structural failure, and the same command, executed again with all workers parked, goes
//! through by the reserve or is refused.

mod attempt;
mod command;
mod snapshot;
#[cfg(test)]
mod tests;

pub use command::{Command, Outcome, Program};

use super::{
    Access, Context, Cuts, GroupMap, Lease, Optimistic, PartitionedService, RestoreError, Swept,
    Verdict,
};
use crate::types::{Digest, GroupId, GroupSet, MAX_GROUPS};
use attempt::{Attempt, Failure, Scope};
use snapshot::Blocks;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use thiserror::Error;

/// The immutable settings of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// K, the number of partitions: 1 to 64.
    pub groups: usize,
    /// How many counters there are; counter c belongs to group floor(c * K / counters).
    pub counters: u32,
    /// The greatest value of a counter.
    pub bound: u64,
    /// Every counter's first value, at most the bound.
    pub initial: u64,
    /// What the reserve holds at first; it holds at most twice that.
    pub reserve: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { groups: 1, counters: 1 << 16, bound: 1 << 20, initial: 1 << 19, reserve: 1 << 30 }
    }
}

/// A setting that makes no bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// K is 0 or too large.
    #[error("groups is {0}, but must be 1 to {MAX_GROUPS}")]
    Groups(usize),
    /// No counters.
    #[error("counters is 0, but must be at least 1")]
    Counters,
    /// Values could pass 2^62, where sums of a program might overflow.
    #[error("the bound or the reserve is above 2^62")]
    TooLarge,
    /// Counters would begin above their bound.
    #[error("the initial value is above the bound")]
    Initial,
}

/// One counter.
#[derive(Debug, Default)]
struct Counter {
    value: AtomicU64,
    /// How often it was changed: state that a reply does not show, but a digest does.
    changes: AtomicU64,
}

/// The bank. Counters are written under a lease of their group or of the whole.
#[derive(Debug)]
pub struct Bank {
    settings: Settings,
    counters: Box<[Counter]>,
    /// Touched under a lease of the whole only.
    reserve: AtomicU64,
    blocks: Blocks,
    cuts: Cuts<u32>,
}

impl Bank {
    /// A bank in its first state.
    ///
    /// # Errors
    /// The first setting that makes no bank.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let Settings { groups, counters, bound, initial, reserve } = settings;
        if !(1..=MAX_GROUPS).contains(&groups) {
            return Err(SettingsError::Groups(groups));
        }
        if counters == 0 {
            return Err(SettingsError::Counters);
        }
        if bound > 1 << 62 || reserve > 1 << 61 {
            return Err(SettingsError::TooLarge);
        }
        if initial > bound {
            return Err(SettingsError::Initial);
        }
        let counter = |_| Counter { value: AtomicU64::new(initial), changes: AtomicU64::new(0) };
        let counters = (0..counters).map(counter).collect();
        let (blocks, cuts) = (Blocks::new(settings.counters), Cuts::new(groups));
        Ok(Self { settings, counters, reserve: AtomicU64::new(reserve), blocks, cuts })
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The group of a counter; the last group's for counters that are not there.
    #[inline]
    #[must_use]
    pub fn group(&self, counter: u32) -> GroupId {
        let Settings { groups, counters, .. } = self.settings;
        let scaled = u64::from(counter) * groups as u64 / u64::from(counters);
        GroupId::new(usize::try_from(scaled).map_or(groups - 1, |group| group.min(groups - 1)))
    }

    fn is_valid(&self, command: &Command) -> bool {
        let exists = |counter: u32| counter < self.settings.counters;
        match *command {
            Command::Read { counter } | Command::Add { counter, .. } => exists(counter),
            Command::Transfer { from, to, amount } => {
                exists(from) && exists(to) && from != to && i64::try_from(amount).is_ok()
            }
            Command::Program(program) => exists(program.start()),
        }
    }

    /// Every word of its state.
    fn words(&self) -> impl Iterator<Item = &AtomicU64> {
        let counters = self.counters.iter().flat_map(|counter| [&counter.value, &counter.changes]);
        std::iter::once(&self.reserve).chain(counters)
    }

    /// Carries out a change as an attempt in `scope`.
    fn attempt(&self, command: &Command, scope: Scope) -> Result<Outcome, Failure> {
        let mut attempt = Attempt::new(self, scope);
        let result = attempt.run(command);
        match result {
            Ok(value) => Ok(Outcome::Value(value)),
            Err(failure) => {
                attempt.undo();
                Err(failure)
            }
        }
    }

    fn read(&self, counter: u32) -> Outcome {
        Outcome::Value(self.counters[counter as usize].value.load(Relaxed))
    }

    fn decode(&self, command: &[u8]) -> Option<Command> {
        Command::decode(command).filter(|command| self.is_valid(command))
    }
}

impl GroupMap for Bank {
    fn groups(&self) -> usize {
        self.settings.groups
    }

    fn conservative(&self, command: &[u8]) -> GroupSet {
        match self.decode(command) {
            Some(Command::Read { counter }) => GroupSet::one(self.group(counter)),
            Some(_) => GroupSet::all(self.settings.groups),
            None => GroupSet::one(GroupId::new(0)),
        }
    }

    fn optimistic(&self, command: &[u8]) -> GroupSet {
        match self.decode(command) {
            Some(Command::Read { counter } | Command::Add { counter, .. }) => {
                GroupSet::one(self.group(counter))
            }
            Some(Command::Transfer { from, to, .. }) if self.group(from) == self.group(to) => {
                GroupSet::one(self.group(from))
            }
            Some(Command::Transfer { .. }) => GroupSet::all(self.settings.groups),
            Some(Command::Program(program)) => GroupSet::one(self.group(program.start())),
            None => GroupSet::one(GroupId::new(0)),
        }
    }

    fn is_read(&self, command: &[u8]) -> bool {
        matches!(Command::decode(command), Some(Command::Read { .. }))
    }
}

impl PartitionedService for Bank {
    const MAX_WRITE_REPLY: usize = Outcome::MAX_LENGTH;

    fn execute(
        &self,
        lease: &mut Lease<'_>,
        _context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) {
        let outcome = match self.decode(command) {
            None => Outcome::Invalid,
            Some(Command::Read { counter }) => {
                debug_assert!(lease.covers(self.group(counter)));
                self.read(counter)
            }
            Some(change) => {
                assert!(lease.is_whole(), "a change is attempted or owns the whole");
                self.attempt(&change, Scope::Whole).unwrap_or(Outcome::Refused)
            }
        };
        outcome.encode(reply);
    }

    fn digest(&self, _lease: &mut Lease<'_>) -> Digest {
        let mix = |hash: u64, word: &AtomicU64| {
            let mixed = (hash ^ word.load(Relaxed)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            mixed.rotate_left(29) ^ mixed >> 32
        };
        Digest(self.words().fold(0x9e37_79b9_7f4a_7c15, mix))
    }

    fn cut(&self, lease: &mut Lease<'_>) {
        assert!(lease.is_whole(), "a cut is made where all workers have met");
        self.make_cut();
    }

    fn sweep(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        budget: usize,
        sink: &mut Vec<u8>,
    ) -> Swept {
        assert!(lease.covers(group), "{group:?} is not covered by {:?}", lease.access());
        self.sweep_blocks(group, budget, sink)
    }

    fn restore(&self, _lease: &mut Lease<'_>, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.read_snapshot(snapshot)
    }
}

impl Optimistic for Bank {
    fn try_execute(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) -> Verdict {
        assert!(lease.covers(group), "{group:?} is not covered by {:?}", lease.access());
        debug_assert!(
            !matches!(lease.access(), Access::Groups(_)),
            "attempts run in parallel mode"
        );
        let Some(typed) = self.decode(command) else {
            self.execute(lease, context, command, reply);
            return Verdict::Pass;
        };
        let outcome = match typed {
            Command::Read { counter } if self.group(counter) != group => Err(Failure::OtherGroup),
            Command::Read { counter } => Ok(self.read(counter)),
            change => self.attempt(&change, Scope::Group(group)),
        };
        match outcome {
            Ok(outcome) => {
                outcome.encode(reply);
                Verdict::Pass
            }
            Err(Failure::OtherGroup) => Verdict::FailBounds,
            Err(Failure::Bound) => Verdict::FailStructure,
        }
    }
}
