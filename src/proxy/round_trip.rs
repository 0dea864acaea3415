//! How long an answer takes, and from that how long to wait for one before the command is sent
//! again: the estimator of RFC 6298 with a lower floor, as TCP's second is an age in a cluster.

use std::time::Duration;

/// The shortest wait: above what a scheduler takes from a thread on a busy machine.
const LEAST: Duration = Duration::from_millis(25);

/// The round trips of one ring's commands.
#[derive(Debug)]
pub(super) struct RoundTrip {
    smoothed: Duration,
    deviation: Duration,
    timeout: Duration,
    longest: Duration,
}

impl RoundTrip {
    /// Waits `longest` until something was measured, and never longer at a first attempt.
    pub(super) const fn new(longest: Duration) -> Self {
        Self { smoothed: Duration::ZERO, deviation: Duration::ZERO, timeout: longest, longest }
    }

    /// How long to wait for an answer at a first attempt.
    #[inline]
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The answer to a command that was sent once took as long. (Of one that was sent twice nobody
    /// knows which copy was answered.)
    pub(super) fn on_answer(&mut self, took: Duration) {
        if self.smoothed.is_zero() {
            (self.smoothed, self.deviation) = (took, took / 2);
        } else {
            self.deviation = (self.deviation * 3 + self.smoothed.abs_diff(took)) / 4;
            self.smoothed = (self.smoothed * 7 + took) / 8;
        }
        // A command whose check failed takes twice as long as one that passed: no reason to send it
        // again, so the bound is no tighter than four round trips.
        let wait = (self.smoothed + 4 * self.deviation).max(4 * self.smoothed);
        self.timeout = wait.max(LEAST).min(self.longest);
    }

    /// Nothing came in time. Until the next measurement the wait is longer: it may have been too
    /// short for what the ring does now.
    pub(super) fn on_silence(&mut self) {
        self.timeout = (self.timeout * 2).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_wait_follows_what_answers_took_between_the_floor_and_the_longest() {
        let mut trip = RoundTrip::new(300 * MS);
        assert_eq!(trip.timeout(), 300 * MS);
        (0..50).for_each(|_| trip.on_answer(MS / 10));
        assert_eq!(trip.timeout(), LEAST);
        (0..50).for_each(|_| trip.on_answer(20 * MS));
        assert!((79 * MS..90 * MS).contains(&trip.timeout()), "{:?}", trip.timeout());
        (0..50).for_each(|n| trip.on_answer(if n % 2 == 0 { 20 * MS } else { 60 * MS }));
        assert!(trip.timeout() > 110 * MS, "answers that vary are waited for longer");
        (0..50).for_each(|_| trip.on_answer(900 * MS));
        assert_eq!(trip.timeout(), 300 * MS);
    }

    #[test]
    fn silence_lengthens_the_wait_until_an_answer_shows_what_is_right() {
        let mut trip = RoundTrip::new(300 * MS);
        trip.on_answer(MS);
        trip.on_silence();
        assert_eq!(trip.timeout(), 2 * LEAST);
        (0..9).for_each(|_| trip.on_silence());
        assert_eq!(trip.timeout(), 300 * MS);
        trip.on_answer(MS);
        assert_eq!(trip.timeout(), LEAST);
    }
}
