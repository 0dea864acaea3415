//! What the load of a client thread hears of its cluster, for whoever waits beside it.

use crate::types::{Address, Time};
use crate::wire::DecodeError;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Written by the client's thread alone. Relaxed atomics: each word stands for itself.
#[derive(Debug, Default)]
pub struct Contact {
    answered_at: AtomicU64,
    /// When an acceptor said last that there is no quorum.
    turned_away_at: AtomicU64,
    is_full: AtomicBool,
    mismatch: OnceLock<(DecodeError, Address)>,
}

impl Contact {
    /// A command was answered. One plain store: this is told of every command.
    #[inline]
    pub(super) fn note_answer(&self, now: Time) {
        self.answered_at.store(now.0, Ordering::Relaxed);
    }

    /// An acceptor said that there is no quorum.
    pub(super) fn note_no_quorum(&self, now: Time) {
        self.turned_away_at.store(now.0, Ordering::Relaxed);
    }

    /// Whether the cluster has no room for a session.
    pub(super) fn note_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// The node at `by` does not talk to this client.
    pub(super) fn note_mismatch(&self, reason: DecodeError, by: Address) {
        // The first says it: others say the same, or will once that one is mended.
        let _ = self.mismatch.set((reason, by));
    }

    /// When a command was answered last; [`Time::ZERO`]: none was.
    #[must_use]
    pub fn answered_at(&self) -> Time {
        Time(self.answered_at.load(Ordering::Relaxed))
    }

    /// Whether the last that was heard is that there is no quorum.
    #[must_use]
    pub fn lacks_quorum(&self) -> bool {
        self.turned_away_at.load(Ordering::Relaxed) > self.answered_at.load(Ordering::Relaxed)
    }

    /// Whether it waits for a session since the cluster has no room for one.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Who does not talk to this client, and why.
    #[must_use]
    pub fn mismatch(&self) -> Option<(DecodeError, Address)> {
        self.mismatch.get().copied()
    }
}
