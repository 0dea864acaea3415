//! The end of the log, where only what lets it be forgotten has room.
//!
//! A ring that forgets nothing before it is in checkpoints could fill its log so that the marker of
//! the next checkpoint has no room, or the skips by which this ring reaches the marker of another:
//! all would wait for ever. So the end is a reserve for these two. Each instance of it waits twice
//! as long as the one before, since both can be asked for without end while the marker, or what
//! follows from it, is lost or on its way: 32 instances last for some 20 s where the rest of the log
//! may last for milliseconds. While fewer replicas are heard than must have a checkpoint, nothing
//! would help, and nothing is taken. Commands are refused meanwhile, as by any full log.
//!
//! A skip is due at every look, a marker comes once in ten milliseconds: what waits longest would
//! always lose, and the reserve be all skips. So a marker that was turned away has the next instance.

use crate::ring_paxos::member::Member;
use crate::ring_paxos::{Log, Retention};
use crate::types::Time;
use std::time::Duration;

/// The share of the log that is reserve: an eighth.
const SHARE: u64 = 8;
/// How long the first instance of the reserve waits after any other one of it.
const FIRST_WAIT: Duration = Duration::from_micros(20);
/// The longest wait is so many doublings of that: 1.3 s.
const DOUBLINGS: u64 = 16;
/// How long a marker that was turned away is waited for: it is proposed again before that, if not
/// many are lost.
const PRECEDENCE: Duration = Duration::from_millis(500);

impl<L: Log> Member<L> {
    /// Whether the next instance is of the reserve and, now, not for a proposal: it is for vital
    /// ones alone.
    #[inline]
    pub(super) fn is_reserved_for_others(&mut self, now: Time, is_vital: bool) -> bool {
        let Some(place) = self.place_in_reserve() else { return false };
        let is_reserved = !is_vital || !self.is_open(place, now);
        if is_vital {
            self.coordinator.vital_until = if is_reserved { now + PRECEDENCE } else { Time::ZERO };
        }
        is_reserved
    }

    /// The same for a skip.
    #[inline]
    pub(super) fn is_reserved_for_skips(&self, now: Time) -> bool {
        let is_awaited = now < self.coordinator.vital_until;
        self.place_in_reserve().is_some_and(|place| is_awaited || !self.is_open(place, now))
    }

    /// Whether `place` of the reserve may be taken now.
    fn is_open(&self, place: u64, now: Time) -> bool {
        let wait = FIRST_WAIT * (1 << place.min(DOUBLINGS));
        self.acceptor.positions.can_trim && now >= self.coordinator.reserve_at + wait
    }

    /// The next instance is taken.
    #[inline]
    pub(super) fn note_taken(&mut self, now: Time) {
        if self.place_in_reserve().is_some() {
            self.coordinator.reserve_at = now;
        }
    }

    /// How many instances of the reserve are taken, if those before it are.
    #[inline]
    fn place_in_reserve(&self) -> Option<u64> {
        if self.config.retention == Retention::Applied {
            return None; // Who applies needs no marker.
        }
        let reserve = self.config.instances as u64 / SHARE;
        let first = self.window.end().0 + 1 - reserve;
        self.coordinator.next.0.checked_sub(first)
    }
}
