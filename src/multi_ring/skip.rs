//! When a ring skips, and how far: the policy of its coordinator.
//!
//! A subscriber delivers nothing of a ring beyond the slot that the slowest of its rings has
//! reached. So a ring with nothing to say skips up to the highest position that it hears of any
//! ring, as soon as it hears of it; a ring that is busy itself does so only when it stays behind
//! for an interval, since its own values may close the gap.
//!
//! With a rate lambda the target also rises by lambda a second since that position was heard: the
//! cumulative rule, which is stable where a rule an interval is not, and which needs no common
//! start of time. Lambda 0, the default, is reactive only: rings fall silent when nobody orders
//! anything. A lost position heals because [`SkipPolicy::announcement`] repeats the own one, ever
//! more slowly but for ever.

use crate::types::{Slot, Time};
use std::time::Duration;

/// An announcement is repeated after this time at first, then after ever longer ones.
const FIRST_REPEAT: Duration = Duration::from_millis(1);
const LAST_REPEAT: Duration = Duration::from_millis(128);

/// A position of another ring.
#[derive(Clone, Copy, Debug)]
struct Heard {
    slot: Slot,
    at: Time,
}

/// What was announced last.
#[derive(Clone, Copy, Debug)]
struct Announced {
    slot: Slot,
    at: Time,
    repeat: Duration,
}

/// Decides the skips of one ring.
#[derive(Clone, Debug)]
pub struct SkipPolicy {
    lambda_per_s: u64,
    interval: Duration,
    /// M of the merge.
    m: u64,
    /// The position of another ring from which the target rises.
    highest: Option<Heard>,
    /// The own position when it was seen last, with what was skipped then.
    own: Slot,
    behind_since: Option<Time>,
    /// While own values may still close the gap.
    patient_until: Time,
    not_before: Time,
    announced: Option<Announced>,
}

impl SkipPolicy {
    /// The shortest time between two skips that serves one ring of a cluster on one host.
    pub const INTERVAL: Duration = Duration::from_micros(20);

    /// A policy with the papers' `lambda_per_s` (0: reactive only) and Delta.
    ///
    /// # Panics
    /// If the interval is zero.
    #[must_use]
    pub const fn new(lambda_per_s: u64, interval: Duration) -> Self {
        assert!(!interval.is_zero(), "skips need an interval");
        Self {
            lambda_per_s,
            interval,
            m: 1,
            highest: None,
            own: Slot(0),
            behind_since: None,
            patient_until: Time::ZERO,
            not_before: Time::ZERO,
            announced: None,
        }
    }

    /// The same for a merge that takes `m` (M) slots of a ring in a turn. A value in the middle of
    /// a turn waits until every ring before its own has gone through the whole turn, so positions
    /// count as if their turn were full.
    ///
    /// # Panics
    /// If M is zero.
    #[must_use]
    pub const fn in_turns_of(self, m: u64) -> Self {
        assert!(m > 0, "a turn has a slot");
        Self { m, ..self }
    }

    /// The coordinator of any other ring has proposed for all slots below `slot`. Late and repeated
    /// news change nothing: positions only rise. Nor does one that the target has passed: rings that
    /// follow each other's skips would lose the delay between them each time.
    pub fn on_position(&mut self, slot: Slot, now: Time) {
        let slot = Slot(slot.0.checked_next_multiple_of(self.m).unwrap_or(slot.0));
        if self.target(now).is_none_or(|target| slot > target) {
            self.highest = Some(Heard { slot, at: now });
        }
    }

    /// How many slots to skip now, if any. Asked once a duty cycle, after own values were
    /// proposed; `own` is the first slot that no proposed instance of this ring takes. At most two
    /// skips should be in flight: one that cannot be proposed is due again after the interval.
    pub fn due(&mut self, own: Slot, now: Time) -> Option<u64> {
        let is_busy = own > self.own;
        self.own = own;
        let lag = self.target(now)?.0.saturating_sub(own.0);
        if lag == 0 {
            self.behind_since = None;
            return None;
        }
        let since = *self.behind_since.get_or_insert(now);
        self.patient_until = if is_busy { since + self.interval } else { Time::ZERO };
        if now < self.not_before.max(self.patient_until) {
            return None;
        }
        self.not_before = now + self.interval;
        self.behind_since = None;
        // What is skipped is no sign of being busy.
        self.own = own.plus(lag);
        Some(lag)
    }

    /// Whether the other coordinators should hear of `own` now: it has moved, or was told long ago
    /// and may have been lost.
    pub fn announcement(&mut self, own: Slot, now: Time) -> Option<Slot> {
        let repeat = match self.announced {
            Some(last) if last.slot == own => {
                if now < last.at + last.repeat {
                    return None;
                }
                (last.repeat * 2).min(LAST_REPEAT)
            }
            _ => FIRST_REPEAT,
        };
        self.announced = Some(Announced { slot: own, at: now, repeat });
        Some(own)
    }

    /// When to ask again although nothing happened.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let repeat = self.announced.map(|last| last.at + last.repeat);
        let skip = self.highest.and_then(|highest| {
            if highest.slot > self.own {
                return Some(self.not_before.max(self.patient_until));
            }
            // When lambda alone will have passed the own position.
            let ahead = u128::from(self.own.0 - highest.slot.0) + 1;
            let wait_ns = (ahead * 1_000_000_000).div_ceil(u128::from(self.lambda_per_s.max(1)));
            let wait = Duration::from_nanos(u64::try_from(wait_ns).unwrap_or(u64::MAX));
            (self.lambda_per_s > 0).then(|| self.not_before.max(highest.at + wait))
        });
        [repeat, skip].into_iter().flatten().min()
    }

    /// The position that this ring should have reached.
    fn target(&self, now: Time) -> Option<Slot> {
        let highest = self.highest?;
        let waited_ns = now.since(highest.at).as_nanos();
        let ahead = u128::from(self.lambda_per_s) * waited_ns / 1_000_000_000;
        Some(highest.slot.plus(u64::try_from(ahead).unwrap_or(u64::MAX >> 1)))
    }
}
