//! When a replica asks for a checkpoint or a digest point: ordered markers at which every replica makes
//! one.

use super::Checkpoints;
use crate::types::Time;
use crate::wire::{Command, Control, ControlKind};
use std::time::Duration;

/// Instances that a checkpoint is not worth its marker for.
const LEAST: u64 = 8;
/// The least time between two markers.
const PAUSE: Duration = Duration::from_millis(5);

/// Who asks for markers.
#[derive(Debug)]
struct Asker {
    groups: usize,
    /// Its life.
    client: u64,
    number: u64,
}

impl Asker {
    fn ask(&mut self, kind: ControlKind, multicast: impl FnOnce(&Command<'_>)) {
        self.number += 1;
        let mut control = Control::new(kind);
        (control.client, control.number) = (self.client, self.number);
        multicast(&control.command(self.groups));
    }
}

/// Asks once an interval while something is ordered, and sooner when the logs fill or another replica
/// lacks one. The replica of rank r waits r + 1 intervals for a marker of another one, so that one
/// alone asks while it lives.
#[derive(Debug)]
pub struct CheckpointTimer {
    asker: Asker,
    ranks: u32,
    interval: Duration,
    /// Instances after which the interval is not waited for.
    enough: u64,
    due: Time,
    not_before: Time,
    /// Cuts that were made when it looked last.
    cuts: u64,
}

impl CheckpointTimer {
    /// Of the replica of rank `rank`, of `groups` groups; `client` is its life. A marker is due when
    /// `enough` instances of a ring are in no checkpoint, or after `interval`; `None` if that is
    /// zero.
    #[must_use]
    pub fn new(
        interval: Duration,
        enough: u64,
        rank: usize,
        groups: usize,
        client: u64,
    ) -> Option<Self> {
        let ranks = u32::try_from(rank).ok()? + 1;
        let timer = Self {
            asker: Asker { groups, client, number: 0 },
            ranks,
            interval: interval * ranks,
            enough: (enough / 2).saturating_mul(u64::from(ranks) + 1),
            due: Time::ZERO,
            not_before: Time::ZERO,
            cuts: 0,
        };
        (!interval.is_zero()).then_some(timer)
    }

    /// Asks by `multicast` if it is time to.
    pub fn look(
        &mut self,
        checkpoints: &Checkpoints,
        now: Time,
        multicast: impl FnOnce(&Command<'_>),
    ) {
        let cuts = checkpoints.cuts();
        if cuts != self.cuts || self.due == Time::ZERO {
            self.cuts = cuts;
            self.due = now + self.interval;
        }
        let moved = checkpoints.moved();
        let is_late = now >= self.due;
        let is_due =
            is_late && moved >= LEAST || moved >= self.enough.max(LEAST) || checkpoints.is_wanted();
        if is_late {
            self.due = now + self.interval;
        }
        if !is_due || now < self.not_before || checkpoints.is_busy() {
            return;
        }
        self.not_before = now + PAUSE * self.ranks;
        self.asker.ask(ControlKind::Checkpoint, multicast);
    }

    /// When it wants to look again.
    #[must_use]
    pub const fn next_timeout(&self) -> Time {
        self.due
    }
}

/// Asks at most once an interval, and only while the state changes. The replica of rank r waits
/// r + 1 intervals for a point of another one, so that one alone asks while it lives.
#[derive(Debug)]
pub struct DigestTimer {
    asker: Asker,
    rank: usize,
    interval: Duration,
    due: Time,
    /// Points that were taken when it looked last.
    taken: u64,
}

impl DigestTimer {
    /// Of the replica of rank `rank`; `client` is its life. None if the interval is zero.
    #[must_use]
    pub fn new(interval: Duration, rank: usize, groups: usize, client: u64) -> Option<Self> {
        let ranks = u32::try_from(rank).ok()? + 1;
        let due = Time::ZERO;
        let interval = interval * ranks;
        let asker = Asker { groups, client, number: 0 };
        let timer = Self { asker, rank, interval, due, taken: 0 };
        (!interval.is_zero()).then_some(timer)
    }

    /// Asks by `multicast` if it is time to. So many points were `taken` at this replica, and its
    /// state `has_changed` since the last of them.
    pub fn look(
        &mut self,
        (taken, has_changed): (u64, bool),
        now: Time,
        multicast: impl FnOnce(&Command<'_>),
    ) {
        if now < self.due {
            return;
        }
        let is_first = self.due == Time::ZERO;
        self.due = now + self.interval;
        // The first replica asks as a rule: there the points that come are its own.
        let is_taken = self.rank > 0 && std::mem::replace(&mut self.taken, taken) != taken;
        if is_first || is_taken || !has_changed {
            return;
        }
        self.asker.ask(ControlKind::Digest, multicast);
    }

    /// When it wants to look again.
    #[must_use]
    pub const fn next_timeout(&self) -> Time {
        self.due
    }
}
