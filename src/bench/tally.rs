//! What became of the commands in the window: by operation, by result, by safety check.

use super::Histogram;
use crate::proxy::{Completion, Outcome};
use crate::service::{btree, counters};
use crate::wire::Reply;

/// What a command was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Reads one key or counter.
    Read,
    /// Replaces a value.
    Update,
    /// Adds a key.
    Insert,
    /// Removes a key.
    Delete,
    /// Reads the keys of a range.
    Range,
    /// A command of the null service.
    Null,
    /// A program of the bank of counters.
    Program,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// By its number; `None` for no kind's.
    #[must_use]
    pub const fn from_index(index: u64) -> Option<Self> {
        Some(match index {
            0 => Self::Read,
            1 => Self::Update,
            2 => Self::Insert,
            3 => Self::Delete,
            4 => Self::Range,
            5 => Self::Null,
            6 => Self::Program,
            _ => return None,
        })
    }
}

/// Counts and latencies of one generator, or of all of them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By [`Kind`]: those that took effect or found what they sought, and the others (missing,
    /// exists, refused by a bound).
    pub results: [[u64; 2]; Kind::COUNT],
    /// Latencies of commands that no check was made for, nanoseconds.
    pub unchecked: Histogram,
    /// Latencies of commands whose safety check passed.
    pub passed: Histogram,
    /// Latencies of commands whose safety check failed, from the first attempt on.
    pub failed: Histogram,
    /// Checks that failed for structure.
    pub failed_structure: u64,
    /// Checks that failed for bounds.
    pub failed_bounds: u64,
    /// The longest time in the window in which nothing was acknowledged, nanoseconds.
    pub silence_ns: u64,
    /// Commands given up without an answer, in the window or not.
    pub unknown: u64,
    /// Commands that the cluster refused to apply, in the window or not.
    pub not_applied: u64,
    /// Replies that the service does not give to such a command, in the window or not.
    pub unexpected: u64,
}

impl Tally {
    /// Commands that were answered in the window.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.results.iter().flatten().sum()
    }

    /// Adds another generator's.
    pub fn merge(&mut self, other: &Self) {
        let results = self.results.iter_mut().flatten();
        for (mine, theirs) in results.zip(other.results.iter().flatten()) {
            *mine += theirs;
        }
        self.unchecked.merge(&other.unchecked);
        self.passed.merge(&other.passed);
        self.failed.merge(&other.failed);
        self.failed_structure += other.failed_structure;
        self.failed_bounds += other.failed_bounds;
        self.silence_ns = self.silence_ns.max(other.silence_ns);
        self.unknown += other.unknown;
        self.not_applied += other.not_applied;
        self.unexpected += other.unexpected;
    }

    /// Counts a completion inside the window.
    #[inline]
    pub fn record(&mut self, kind: Kind, completion: &Completion<'_>, latency_ns: u64) {
        let Some(class) = self.classify(kind, completion) else { return };
        self.results[kind as usize][class as usize] += 1;
        let flags = completion.flags;
        const FAILED: u32 = Reply::RETRIED | Reply::FAILED_STRUCTURE | Reply::FAILED_BOUNDS;
        let histogram = if flags & FAILED != 0 {
            self.failed_bounds += u64::from(flags & Reply::FAILED_BOUNDS != 0);
            self.failed_structure += u64::from(flags & Reply::FAILED_BOUNDS == 0);
            &mut self.failed
        } else if flags & Reply::CHECKED != 0 {
            &mut self.passed
        } else {
            &mut self.unchecked
        };
        histogram.record(latency_ns);
    }

    /// Counts a completion outside the window: only what must never happen.
    #[inline]
    pub fn record_outside(&mut self, kind: Kind, completion: &Completion<'_>) {
        let _ = self.classify(kind, completion);
    }

    #[inline]
    fn classify(&mut self, kind: Kind, completion: &Completion<'_>) -> Option<Class> {
        let class = match completion.outcome {
            Outcome::Done => classify(kind, completion.payload),
            Outcome::Unknown => {
                self.unknown += 1;
                return None;
            }
            Outcome::NotApplied(_) => {
                self.not_applied += 1;
                return None;
            }
        };
        self.unexpected += u64::from(class.is_none());
        class
    }
}

/// Which column of [`Tally::results`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Took effect, or found what it sought.
    Hit,
    /// Did not, as the service rightly said.
    Miss,
}

/// `None`: not an answer to such a command.
#[inline]
fn classify(kind: Kind, payload: &[u8]) -> Option<Class> {
    use btree::Outcome::{Exists, Missing, Ok, Value};
    match kind {
        Kind::Null => (payload.len() == 8).then_some(Class::Hit),
        Kind::Range => payload.first().filter(|_| payload.len() % 16 == 5).map(|_| Class::Hit),
        Kind::Program => match counters::Outcome::decode(payload)? {
            counters::Outcome::Value(_) => Some(Class::Hit),
            counters::Outcome::Refused => Some(Class::Miss),
            counters::Outcome::Invalid => None,
        },
        // A bank's read answers with a value as well, but with a code of its own.
        Kind::Read if payload.len() == 9 => Some(Class::Hit),
        _ => match (kind, btree::Outcome::decode(payload)?) {
            (Kind::Read, Value(_)) | (Kind::Update | Kind::Insert | Kind::Delete, Ok) => {
                Some(Class::Hit)
            }
            (Kind::Read | Kind::Update | Kind::Delete, Missing) | (Kind::Insert, Exists) => {
                Some(Class::Miss)
            }
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Sequence, SessionId, Time};

    fn completion(outcome: Outcome, payload: &[u8], flags: u32) -> Completion<'_> {
        let (session, sequence, submitted) = (SessionId(1), Sequence(1), Time(0));
        Completion { tag: 0, session, sequence, outcome, payload, submitted, flags }
    }

    #[test]
    fn results_are_told_by_operation_and_checks_by_flags() {
        let mut tally = Tally::default();
        let value = [3, 0, 0, 0, 0, 0, 0, 0, 0];
        tally.record(Kind::Read, &completion(Outcome::Done, &value, 0), 10);
        tally.record(Kind::Read, &completion(Outcome::Done, &[2], 0), 10);
        let passed = completion(Outcome::Done, &[0], Reply::CHECKED);
        tally.record(Kind::Insert, &passed, 20);
        let failed = Reply::RETRIED | Reply::FAILED_STRUCTURE;
        tally.record(Kind::Insert, &completion(Outcome::Done, &[1], failed), 40);
        let failed = Reply::RETRIED | Reply::FAILED_BOUNDS;
        tally.record(Kind::Delete, &completion(Outcome::Done, &[0], failed), 40);
        let mut sum = Tally::default();
        sum.merge(&tally);
        assert_eq!(sum.results[..4], [[1, 1], [0, 0], [1, 1], [1, 0]]);
        assert_eq!((sum.commands(), sum.passed.count(), sum.failed.count()), (5, 1, 2));
        assert_eq!((sum.failed_structure, sum.failed_bounds), (1, 1));
        assert_eq!((sum.unchecked.count(), sum.unexpected), (2, 0));
    }

    #[test]
    fn what_must_never_happen_counts_outside_the_window_too() {
        let mut tally = Tally::default();
        tally.record_outside(Kind::Insert, &completion(Outcome::Unknown, &[], 0));
        tally.record_outside(Kind::Insert, &completion(Outcome::Done, &[5], 0));
        tally.record_outside(Kind::Insert, &completion(Outcome::Done, &[0], 0));
        tally.record(Kind::Null, &completion(Outcome::Done, &[0], 0), 1);
        assert_eq!((tally.unknown, tally.unexpected, tally.commands()), (1, 2, 0));
    }
}
