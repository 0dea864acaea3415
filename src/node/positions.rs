//! The slot positions of the rings, as far as this process knows, for reactive skips (PROTOCOL 2).
//!
//! A ring whose coordinator lives here is known at once; of the others the acceptors that live here
//! see every 2A, so no message of its own is needed between the coordinators of several hosts.

use crate::sync::Waker;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::types::{RingId, Slot};
use crossbeam_utils::CachePadded;

/// One cache line a ring, written where the ring goes ahead first.
///
/// Relaxed: a position is a hint. A late one delays a skip, a wrong one cannot happen.
#[derive(Debug)]
pub(super) struct Positions {
    rings: Box<[CachePadded<AtomicU64>]>,
    /// The ordering threads: a coordinator of an idle ring sleeps while others go ahead.
    orderers: Vec<Waker>,
}

impl Positions {
    pub(super) fn new(rings: usize, orderers: Vec<Waker>) -> Self {
        Self { rings: (0..rings).map(|_| CachePadded::default()).collect(), orderers }
    }

    /// Some member of `ring` knows that it has come to `slot`. Wakes the ordering threads that sleep.
    #[inline]
    pub(super) fn publish(&self, ring: RingId, slot: Slot) {
        let cell = &self.rings[usize::from(ring.0)];
        // A write takes the line from its readers: only when there is news.
        if cell.load(Ordering::Relaxed) >= slot.0 {
            return;
        }
        cell.fetch_max(slot.0, Ordering::Relaxed);
        // Alone, this thread hosts all coordinators.
        if self.orderers.len() > 1 {
            fence(Ordering::SeqCst);
            self.orderers.iter().for_each(Waker::wake_after_fence);
        }
    }

    /// Every ring's position but `ring`'s.
    pub(super) fn others(&self, ring: RingId) -> impl Iterator<Item = Slot> {
        let own = usize::from(ring.0);
        let others = self.rings.iter().enumerate().filter(move |(other, _)| *other != own);
        others.map(|(_, cell)| Slot(cell.load(Ordering::Relaxed)))
    }
}

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;
    use crate::sync::model::explore;
    use loom::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_coordinator_that_sleeps_hears_how_far_another_ring_is_whoever_says_it_first() {
        explore(|| {
            let waker = Waker::of_current_thread();
            let positions = Arc::new(Positions::new(2, vec![waker.clone(), waker.clone()]));
            let members = [0, 1].map(|_| {
                let positions = Arc::clone(&positions);
                loom::thread::spawn(move || positions.publish(RingId(1), Slot(5)))
            });
            // As an agent waits.
            let has_news = || positions.others(RingId(0)).any(|slot| slot == Slot(5));
            while !has_news() {
                waker.announce();
                if !has_news() {
                    waker.park(Duration::MAX);
                }
                waker.retract();
            }
            members.into_iter().for_each(|member| member.join().expect("it does not panic"));
        });
    }
}
