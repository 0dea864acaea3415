//! Datagrams that were dropped before any role saw them, by reason.

use crate::wire::DecodeError;

/// One counter a [`DecodeError`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounters([u64; DecodeError::ALL.len()]);

impl DropCounters {
    pub(super) fn count(&mut self, reason: DecodeError) {
        self.0[reason.index()] += 1;
    }

    /// Each reason that occurred, with how often.
    pub fn iter(&self) -> impl Iterator<Item = (DecodeError, u64)> {
        DecodeError::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}
