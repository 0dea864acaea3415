//! The slot positions of the rings of one process, for reactive skips (PROTOCOL 2).

use crate::types::{RingId, Slot};
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};

/// One cache line a ring, written by its coordinator's thread alone.
///
/// Relaxed: a position is a hint. A late one delays a skip, a wrong one cannot happen.
#[derive(Debug)]
pub(super) struct Positions(Box<[CachePadded<AtomicU64>]>);

impl Positions {
    pub(super) fn new(rings: usize) -> Self {
        Self((0..rings).map(|_| CachePadded::default()).collect())
    }

    /// Called by `ring`'s coordinator.
    pub(super) fn publish(&self, ring: RingId, slot: Slot) {
        let cell = &self.0[usize::from(ring.0)];
        // A write takes the line from its readers: only when there is news.
        if cell.load(Ordering::Relaxed) != slot.0 {
            cell.store(slot.0, Ordering::Relaxed);
        }
    }

    /// Every ring's position but `ring`'s.
    pub(super) fn others(&self, ring: RingId) -> impl Iterator<Item = Slot> {
        let own = usize::from(ring.0);
        let others = self.0.iter().enumerate().filter(move |(other, _)| *other != own);
        others.map(|(_, cell)| Slot(cell.load(Ordering::Relaxed)))
    }
}
