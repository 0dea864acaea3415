//! How long nothing leaves after a refusal: twice as long with each, until an answer.

use crate::types::Time;
use std::time::Duration;

const FIRST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_millis(20);

/// When something may leave again.
#[derive(Debug)]
pub(super) struct Pause {
    until: Time,
    next: Duration,
}

impl Pause {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self { until: Time::ZERO, next: FIRST }
    }

    /// Its end, which may lie in the past.
    pub(super) const fn until(&self) -> Time {
        self.until
    }

    /// Whether something may leave at `now`.
    #[inline]
    pub(super) fn is_over(&self, now: Time) -> bool {
        now >= self.until
    }

    /// The receiver has refused.
    pub(super) fn on_refused(&mut self, now: Time) {
        self.until = now + self.next;
        self.next = (self.next * 2).min(LONGEST);
    }

    /// The receiver has taken something: the next pause is a short one.
    #[inline]
    pub(super) const fn on_answer(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_anew_with_an_answer() {
        let mut pause = Pause::new();
        let mut now = Time::ZERO;
        let mut refuse = |pause: &mut Pause| {
            pause.on_refused(now);
            let length = pause.until().since(now);
            now = pause.until();
            assert!(pause.is_over(now));
            length
        };
        assert_eq!([refuse(&mut pause), refuse(&mut pause)], [FIRST, 2 * FIRST]);
        assert!((0..9).map(|_| refuse(&mut pause)).all(|length| length <= LONGEST));
        assert_eq!(refuse(&mut pause), LONGEST);
        pause.on_answer();
        assert_eq!(refuse(&mut pause), FIRST);
    }
}
