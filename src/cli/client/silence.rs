//! When a cluster that does not answer is worth a line, and when it answers again.

use crate::types::Time;
use std::time::Duration;

/// So long a load hears nothing before it says so: more than a coordinator's change takes.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing was answered for so long.
    Silent(Duration),
    /// An answer came, after so long.
    Answers(Duration),
}

/// Whether a cluster answers, as somebody sees who looks now and then.
#[derive(Debug)]
pub(super) struct Silence {
    /// The last answer, or the begin.
    heard_at: Time,
    has_heard: bool,
    is_told: bool,
}

impl Silence {
    /// From `now` on answers are waited for.
    pub(super) const fn new(now: Time) -> Self {
        Self { heard_at: now, has_heard: false, is_told: false }
    }

    /// The last answer came at `answered_at`; zero: there was none.
    pub(super) fn look(&mut self, answered_at: Time, now: Time) -> Option<News> {
        if answered_at > self.heard_at {
            let after = answered_at.since(self.heard_at);
            self.heard_at = answered_at;
            self.has_heard = true;
            return std::mem::take(&mut self.is_told).then_some(News::Answers(after));
        }
        let silent = now.since(self.heard_at);
        if silent < PATIENCE || std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        Some(News::Silent(silent))
    }

    /// Whether any answer ever came.
    pub(super) const fn has_heard(&self) -> bool {
        self.has_heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Time {
        Time(milliseconds * 1_000_000)
    }

    #[test]
    fn a_silence_is_told_once_and_so_is_its_end() {
        let mut silence = Silence::new(at(1000));
        assert_eq!(silence.look(Time::ZERO, at(2400)), None);
        let told = News::Silent(Duration::from_millis(1500));
        assert_eq!(silence.look(Time::ZERO, at(2500)), Some(told));
        assert_eq!(silence.look(Time::ZERO, at(9000)), None);
        assert!(!silence.has_heard());
        let told = News::Answers(Duration::from_secs(9));
        assert_eq!(silence.look(at(10_000), at(10_001)), Some(told));
        assert_eq!(silence.look(at(10_500), at(10_501)), None);
        assert!(silence.has_heard());
        let told = News::Silent(Duration::from_millis(1600));
        assert_eq!(silence.look(at(10_500), at(12_100)), Some(told));
    }

    #[test]
    fn a_cluster_that_answers_is_no_news() {
        let mut silence = Silence::new(at(0));
        let news = (1..100).filter_map(|n| silence.look(at(n * 500), at(n * 500 + 400)));
        assert_eq!(news.count(), 0);
    }
}
