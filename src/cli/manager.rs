//! What the service manager hears of `psmr node`: readiness, one line of status, the end, and the
//! pings of its watchdog. Without NOTIFY_SOCKET in the environment there is none, and it hears nothing.
//!
//! A ping says that every thread of acceptors and workers moved lately. A thread that hangs, or
//! that gets no processor, thus has the process restarted, and no other circumstance does: a cluster
//! without a quorum and a replica that fetches its state move.

use super::complain;
use crate::types::Time;
use sd_notify::NotifyState;
use std::time::Duration;

/// Pings in the time after which the manager gives up.
const PINGS: u32 = 4;

/// The service manager.
#[derive(Debug)]
pub(super) struct Manager {
    watchdog: Option<Watchdog>,
    /// Whether it was told that a thread hangs.
    is_alarmed: bool,
    /// The status while nothing hangs.
    status: String,
    /// It could not be told something, which is said once.
    is_deaf: bool,
}

impl Manager {
    /// As NOTIFY_SOCKET and WATCHDOG_USEC say.
    pub(super) fn of_environment() -> Self {
        let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        let watchdog = limit.map(|limit| Watchdog { limit, pinged: None });
        Self { watchdog, is_alarmed: false, status: String::new(), is_deaf: false }
    }

    /// Every node serves.
    pub(super) fn on_ready(&mut self, ids: &[String]) {
        self.status = format!("serves {}", ids.join(", "));
        self.tell(&[NotifyState::Ready, NotifyState::Status(&self.status.clone())]);
    }

    /// One node has ended by itself; the others of the process go on.
    pub(super) fn on_ended(&mut self, id: &str) {
        self.status = format!("{id} has failed, see the log; {}", self.status);
        self.tell(&[NotifyState::Status(&self.status.clone())]);
    }

    /// The nodes drain and end.
    pub(super) fn on_stop(&mut self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("drains")]);
    }

    /// Pings if it is time and all threads move. `most_silent` is the one of them that has not for
    /// the longest.
    pub(super) fn look(&mut self, most_silent: Option<(&str, Duration)>, now: Time) {
        let Some(watchdog) = &mut self.watchdog else { return };
        let (name, silence) = most_silent.unwrap_or_default();
        let (is_due, hangs) = (watchdog.is_due(silence, now), watchdog.is_long(silence));
        if is_due {
            self.tell(&[NotifyState::Watchdog]);
        }
        if hangs != self.is_alarmed {
            self.is_alarmed = hangs;
            let alarm = format!("thread {name} hangs for {silence:.0?}; no pings until it moves");
            let status = if hangs { alarm } else { self.status.clone() };
            self.tell(&[NotifyState::Status(&status)]);
        }
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        let Err(error) = sd_notify::notify(states) else { return };
        if !std::mem::replace(&mut self.is_deaf, true) {
            complain(&format!(
                "NOTIFY_SOCKET: the service manager cannot be told anything ({error}): unset it, or \
                 start the node by its unit"
            ));
        }
    }
}

/// When to ping.
#[derive(Debug)]
struct Watchdog {
    /// After that long without a ping the process is killed.
    limit: Duration,
    pinged: Option<Time>,
}

impl Watchdog {
    /// Whether a thread that has not moved for `silence` hangs. Half of the limit: what is left of
    /// it, the manager waits.
    fn is_long(&self, silence: Duration) -> bool {
        silence > self.limit / 2
    }

    /// Whether a ping is to be sent at `now`; it is, then.
    fn is_due(&mut self, silence: Duration, now: Time) -> bool {
        let is_time = self.pinged.is_none_or(|at| now.since(at) >= self.limit / PINGS);
        let is_due = is_time && !self.is_long(silence);
        if is_due {
            self.pinged = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_come_in_time_while_threads_move_and_stop_while_one_does_not() {
        const SECOND: Duration = Duration::from_secs(1);
        let mut watchdog = Watchdog { limit: 8 * SECOND, pinged: None };
        let mut pings = |silences: &[u32], from: u32| -> Vec<u32> {
            let due = |(at, silence): (u32, &u32)| {
                watchdog.is_due(SECOND * *silence, Time(1) + SECOND * at).then_some(at)
            };
            (from..).zip(silences).filter_map(due).collect()
        };
        assert_eq!(pings(&[0, 0, 1, 0, 2, 3], 0), [0, 2, 4]);
        assert_eq!(pings(&[4, 5, 6, 7], 6), [6], "half of the limit is no hang yet");
        assert_eq!(pings(&[8, 9, 0, 0, 0], 10), [12, 14], "it moves again");
    }
}
