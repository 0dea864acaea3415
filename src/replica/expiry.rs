//! When a replica takes the clients of sessions for dead: an ordered command then closes these.
//!
//! A look goes through the tables four times a time-out, a few places a millisecond, and compares
//! what changes with whatever a client does: commands pay nothing for it, and no clock decides at a
//! worker. A look that finds a session unchanged counts only if this replica is not behind: if the
//! marker that it had ordered at the look before has come to all of its workers. So between the first
//! and the last but one of a row of such looks nothing of the session was ordered anywhere, however
//! long a replica was cut off, stood still or lagged.

use crate::types::{SessionId, Time};
use crate::wire::{Command, Control, ControlKind};
use std::time::Duration;

/// Looks a time-out.
const LOOKS: u32 = 4;
/// Places a step.
const STEP: usize = 256;

/// What a look saw of a place.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    session: SessionId,
    activity: u64,
    /// Looks in a row that counted and found the same.
    still: u32,
}

/// Expires sessions. The replica of rank r waits for r halves of the time-out longer, so that one
/// alone does it while it lives.
#[derive(Debug)]
pub struct SessionTimer {
    groups: usize,
    client: u64,
    /// Looks that count before a session expires.
    patience: u32,
    interval: Duration,
    due: Time,
    seen: Box<[Seen]>,
    /// Where the look goes on; behind the last place: it is over.
    next: usize,
    /// Whether this look counts.
    counts: bool,
    /// Whether it found an open session.
    is_used: bool,
    /// The marker that was sent at its end.
    marker: u64,
}

impl SessionTimer {
    /// Of the replica of rank `rank` with tables of `places`; `client` is its life. None if the
    /// time-out is zero.
    #[must_use]
    pub fn new(
        timeout: Duration,
        (rank, groups): (usize, usize),
        places: usize,
        client: u64,
    ) -> Option<Self> {
        let rank = u32::try_from(rank).expect("at most 32 replicas");
        let timer = Self {
            groups,
            client,
            patience: LOOKS + 1 + rank * LOOKS / 2,
            interval: timeout / LOOKS,
            due: Time::ZERO,
            seen: vec![Seen::default(); places].into(),
            next: places,
            counts: false,
            is_used: false,
            marker: 0,
        };
        (!timeout.is_zero()).then_some(timer)
    }

    /// The life that names its markers.
    #[must_use]
    pub const fn life(&self) -> u64 {
        self.client
    }

    /// Takes a step. `has_passed` says whether all workers of the replica have come to a marker of
    /// this number, `activity` what stands in a place, and a word that changes with everything that
    /// its client does.
    pub fn look(
        &mut self,
        has_passed: impl FnOnce(u64) -> bool,
        activity: impl Fn(usize) -> Option<(SessionId, u64)>,
        now: Time,
        mut multicast: impl FnMut(&Command<'_>),
    ) {
        if self.next == self.seen.len() {
            if now < self.due {
                return;
            }
            self.due = now + self.interval;
            self.counts = self.marker > 0 && has_passed(self.marker);
            self.is_used = false;
            self.next = 0;
        }
        let end = (self.next + STEP).min(self.seen.len());
        for place in self.next..end {
            if let Some(session) = self.see(place, activity(place)) {
                self.expire(session, 0, &mut multicast);
            }
        }
        self.next = end;
        if end == self.seen.len() && self.is_used {
            self.marker += 1;
            self.expire(SessionId(0), self.marker, &mut multicast);
        }
    }

    /// When it wants to take another step.
    #[must_use]
    pub const fn next_timeout(&self) -> Time {
        if self.next < self.seen.len() { Time::ZERO } else { self.due }
    }

    /// The session that has been silent for too long.
    fn see(&mut self, place: usize, found: Option<(SessionId, u64)>) -> Option<SessionId> {
        let seen = &mut self.seen[place];
        let (session, activity) = found.unwrap_or_default();
        if (seen.session, seen.activity) != (session, activity) {
            *seen = Seen { session, activity, still: 0 };
        } else if self.counts {
            seen.still = seen.still.saturating_add(1);
        }
        self.is_used |= found.is_some();
        // Asked for at every look until it is gone.
        (found.is_some() && seen.still >= self.patience).then_some(session)
    }

    fn expire(&self, session: SessionId, number: u64, multicast: &mut impl FnMut(&Command<'_>)) {
        let mut control = Control::new(ControlKind::Expire);
        (control.session, control.client, control.number) = (session, self.client, number);
        multicast(&control.command(self.groups));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const SECOND: u64 = 1_000_000_000;

    /// Looks at second `at` at one session, where so many markers have passed; the marker that was
    /// sent, and whether it was expired.
    fn look(timer: &mut SessionTimer, passed: u64, at: u64, activity: u64) -> (u64, bool) {
        let (marker, expired) = (Cell::new(0), Cell::new(false));
        let found = |place| (place == 1).then_some((SessionId(18), activity));
        let has_passed = |number| number <= passed;
        timer.look(has_passed, found, Time(at * SECOND), |command| {
            let (kind, control) = Control::decode(command.payload).expect("a control command");
            assert_eq!((kind, control.client), (ControlKind::Expire, 7));
            match control.session {
                SessionId(0) => marker.set(control.number),
                session => expired.set(session == SessionId(18)),
            }
        });
        (marker.get(), expired.get())
    }

    fn timer(rank: usize) -> SessionTimer {
        let timer = SessionTimer::new(Duration::from_secs(4), (rank, 2), 4, 7);
        timer.expect("a time-out above zero")
    }

    /// The second at which the session expires, if its markers come through.
    fn expires(rank: usize, activity: impl Fn(u64) -> u64) -> Option<u64> {
        let (mut timer, mut passed) = (timer(rank), 0);
        (1..60).find(|&second| {
            let (marker, is_expired) = look(&mut timer, passed, second, activity(second));
            passed = marker;
            is_expired
        })
    }

    #[test]
    fn a_session_at_which_nothing_changes_for_a_time_out_expires_and_the_next_replica_waits_longer()
    {
        assert_eq!(expires(0, |_| 5), Some(6));
        assert_eq!(expires(1, |_| 5), Some(8));
        assert_eq!(expires(0, |second| second.min(10)), Some(15), "counted from the last change");
        assert_eq!(expires(0, |second| second / 4), None, "alive");
    }

    #[test]
    fn a_replica_that_is_behind_expires_nothing() {
        let mut timer = timer(0);
        for second in 1..20 {
            let (marker, is_expired) = look(&mut timer, 0, second, 5);
            assert!(!is_expired && marker == second);
        }
    }

    #[test]
    fn without_sessions_or_without_a_time_out_nothing_is_ordered() {
        let mut timer = timer(0);
        for second in 1..20 {
            let nothing = |_: &Command<'_>| unreachable!("no session");
            timer.look(|_| true, |_| None, Time(second * SECOND), nothing);
        }
        assert!(SessionTimer::new(Duration::ZERO, (0, 2), 4, 7).is_none());
    }
}
