//! When a replica asks for a digest point: an ordered marker at which every replica digests its
//! state, so that equal positions show equal digests or one of them is wrong.

use super::board::Board;
use crate::replica::{CheckpointTimer, SessionTimer};
use crate::types::Time;
use crate::wire::{Command, Control, ControlKind};
use std::time::Duration;

/// What the first thread of a replica has ordered now and then.
#[derive(Debug, Default)]
pub(super) struct Markers {
    pub(super) digests: Option<DigestTimer>,
    pub(super) sessions: Option<SessionTimer>,
    pub(super) checkpoints: Option<CheckpointTimer>,
}

/// Asks at most once an interval, and only while the state changes. The replica of rank r waits
/// r + 1 intervals for a point of another one, so that one alone asks while it lives.
#[derive(Debug)]
pub(super) struct DigestTimer {
    groups: usize,
    client: u64,
    rank: usize,
    interval: Duration,
    due: Time,
    /// Points that were taken when it looked last.
    taken: u64,
    number: u64,
}

impl DigestTimer {
    /// Of the replica of rank `rank`; `client` is its life. None if the interval is zero.
    pub(super) fn new(interval: Duration, rank: usize, groups: usize, client: u64) -> Option<Self> {
        let ranks = u32::try_from(rank).ok()? + 1;
        let due = Time::ZERO;
        let interval = interval * ranks;
        let timer = Self { groups, client, rank, interval, due, taken: 0, number: 0 };
        (!interval.is_zero()).then_some(timer)
    }

    /// Asks by `multicast` if it is time to.
    pub(super) fn look(&mut self, board: &Board, now: Time, multicast: impl FnOnce(&Command<'_>)) {
        if now < self.due {
            return;
        }
        let is_first = self.due == Time::ZERO;
        self.due = now + self.interval;
        let taken = board.taken();
        // The first replica asks as a rule: there the points that come are its own.
        let is_taken = self.rank > 0 && std::mem::replace(&mut self.taken, taken) != taken;
        if is_first || is_taken || !board.has_changed() {
            return;
        }
        self.number += 1;
        let mut control = Control::new(ControlKind::Digest);
        (control.client, control.number) = (self.client, self.number);
        multicast(&control.command(self.groups));
    }
}
