//! Where a replica keeps its last checkpoint: a disk that is slow, and now and then refuses.
//!
//! A checkpoint counts once it is there. A process that ends while one is written leaves that one or
//! the one before, as a file that takes the place of another in one step does.

use super::plan::KeeperPlan;
use crate::replica::{Checkpoint, Checkpoints};
use crate::types::{Random, Time};
use std::sync::Arc;
use std::time::Duration;

/// How long it waits after a refusal.
const RETRY: Duration = Duration::from_millis(20);
/// How often it looks whether there is something to keep.
const LOOK: Duration = Duration::from_millis(5);

/// The keeper of one replica.
#[derive(Debug)]
pub(super) struct Keeper {
    plan: KeeperPlan,
    random: Random,
    look_at: Time,
    /// It was refused: not before.
    retry_at: Time,
    /// What is being written, and when it is done.
    writing: Option<(Arc<Checkpoint>, Time)>,
    kept: Option<Arc<Checkpoint>>,
}

impl Keeper {
    pub(super) const fn new(plan: KeeperPlan, random: Random) -> Self {
        Self { plan, random, look_at: Time::ZERO, retry_at: Time::ZERO, writing: None, kept: None }
    }

    /// A life begins with what the former one has left.
    pub(super) fn begin(&mut self, kept: Option<Arc<Checkpoint>>) {
        self.kept = kept;
    }

    /// Its disk refuses nothing more.
    pub(super) const fn heal(&mut self) {
        self.plan.failures = 0;
    }

    /// Takes up what waits to be kept, and confirms what is kept; what was refused is tried again.
    pub(super) fn run(&mut self, checkpoints: &Checkpoints, now: Time) {
        if let Some((checkpoint, _)) = self.writing.take_if(|(_, due)| *due <= now) {
            if self.random.chance(self.plan.failures, 100) {
                self.retry_at = now + RETRY;
            } else {
                checkpoints.confirm(&checkpoint);
                self.kept = Some(checkpoint);
            }
        }
        if self.writing.is_none() && now >= self.retry_at {
            self.look_at = now + LOOK;
            self.writing = checkpoints.pending().map(|pending| {
                (pending, now + Duration::from_nanos(self.random.below(self.plan.write_ns)))
            });
        }
    }

    pub(super) fn next_timeout(&self) -> Time {
        self.writing.as_ref().map_or(self.look_at.max(self.retry_at), |(_, due)| *due)
    }

    /// The process ends. Returns what is left.
    pub(super) fn crash(&mut self) -> Option<Arc<Checkpoint>> {
        match self.writing.take() {
            Some((checkpoint, _)) if self.random.chance(1, 2) => Some(checkpoint),
            _ => self.kept.take(),
        }
    }
}
