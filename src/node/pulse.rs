//! Whether a thread moves: the time of its last duty cycle, for whoever watches it from outside.
//!
//! A thread that has nothing to do begins a cycle at least each `Waiter::LONGEST_PARK`
//! (`crate::sync`), so one that is silent for much longer hangs in its work or gets no processor.

use crate::types::Time;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};

/// One thread's: it alone writes, a store a cycle to a line of its own.
#[derive(Debug, Default)]
pub(super) struct Pulse(CachePadded<AtomicU64>);

impl Pulse {
    /// A duty cycle begins.
    #[inline]
    pub(super) fn beat(&self, now: Time) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// When the last one began; `None` before the first.
    pub(super) fn last(&self) -> Option<Time> {
        let last = self.0.load(Ordering::Relaxed);
        (last > 0).then_some(Time(last))
    }
}
