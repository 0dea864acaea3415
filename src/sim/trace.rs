//! What happened, as one number: two runs of a seed are the same run if their hashes are equal.

use crate::types::Time;
use std::fmt;

/// Hashes, and on request prints, everything that happens in a run.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines too if `keeps_lines`.
    pub(super) fn new(lines: Lines) -> Self {
        let lines = (lines == Lines::Kept).then(Vec::new);
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines }
    }

    /// Takes in one event: its time, its kind and whatever else tells it from others.
    #[inline]
    pub(super) fn record(&mut self, now: Time, kind: u64, detail: u64) {
        self.events += 1;
        for word in [now.0, kind, detail] {
            self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }

    /// Adds a line for the reader; costs nothing unless lines are kept.
    #[inline]
    pub(super) fn line(&mut self, now: Time, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{now:?} {}", line()));
        }
    }

    /// The hash of everything so far.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub(super) const fn events(&self) -> u64 {
        self.events
    }

    /// The lines kept.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// Whether a trace keeps its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Only the hash.
    Hashed,
    /// Every event as a line of text.
    Kept,
}

/// A short hash of bytes, for traces and checkers: FNV with a wide step.
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    }
    for byte in words.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^ hash >> 32
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} after {} events", self.hash, self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_every_field_and_on_the_order() {
        let hash = |events: &[(u64, u64, u64)]| {
            let mut trace = Trace::new(Lines::Hashed);
            events.iter().for_each(|&(now, kind, detail)| trace.record(Time(now), kind, detail));
            trace.hash()
        };
        let base = hash(&[(1, 2, 3), (4, 5, 6)]);
        assert_eq!(base, hash(&[(1, 2, 3), (4, 5, 6)]));
        for other in [[(4, 5, 6), (1, 2, 3)], [(1, 2, 3), (4, 5, 7)], [(0, 2, 3), (4, 5, 6)]] {
            assert_ne!(base, hash(&other));
        }
    }

    #[test]
    fn the_hash_of_bytes_sees_every_byte() {
        let bytes: Vec<u8> = (0..29).collect();
        for i in 0..bytes.len() {
            let mut other = bytes.clone();
            other[i] ^= 1;
            assert_ne!(hash_bytes(&bytes), hash_bytes(&other), "byte {i}");
        }
        assert_ne!(hash_bytes(&[0; 8]), hash_bytes(&[0; 9]));
    }
}
