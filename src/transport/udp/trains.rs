//! The trains of one thread that are being filled, and the slots of memory that they are filled in.
//!
//! Which slot, and where in it; the bytes, and when a slot is free again, are the transport's.

use super::train::{Limits, Train};
use super::{Effective, MAX_SEND};
use crate::transport::Target;
use crate::types::Address;
use std::ops::Range;

/// Trains that can be open or on their way at once.
pub(in crate::transport) const SLOTS: u16 = 32;
/// Bytes of a slot's memory: a train, and a line so that the slots' fronts fall into different
/// cache sets.
pub(in crate::transport) const SLOT_BYTES: usize = 64 * 1024 + 64;
const _: () = assert!(MAX_SEND <= SLOT_BYTES);

/// What is being filled, and what is free.
#[derive(Debug)]
pub(in crate::transport) struct Trains {
    limits: Limits,
    slots: Box<[Slot]>,
    /// Slots to use, the warmest on top.
    free: Vec<u16>,
    /// Slots whose train is being filled, in the order of their first datagram.
    open: Vec<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    target: Target,
    train: Train,
}

/// Where a datagram goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Placed {
    /// Into this slot at the end of `gap`, which is to be zeroed.
    Behind { slot: u16, gap: Range<u32> },
    /// Its target's train is full and no longer open: it must leave, then ask again.
    Full(u16),
    /// No slot is free.
    NoSlot,
    /// It is too long for any.
    TooLong,
}

impl Trains {
    pub(in crate::transport) fn new(effective: &Effective) -> Self {
        let train = Train { stride: 0, count: 0, end: 0 };
        let slot = Slot { target: Target::Address(Address::NONE), train };
        Self {
            limits: Limits::new(effective.segment_limit, MAX_SEND, effective.gso),
            slots: vec![slot; SLOTS.into()].into(),
            free: (0..SLOTS).rev().collect(),
            open: Vec::with_capacity(SLOTS.into()),
        }
    }

    /// A place for a datagram of `length` bytes to `target`.
    pub(in crate::transport) fn place(&mut self, target: Target, length: u32) -> Placed {
        if length > self.limits.segment {
            return Placed::TooLong;
        }
        // The newest first: runs of datagrams to one target are the rule.
        let open =
            self.open.iter().rposition(|slot| self.slots[usize::from(*slot)].target == target);
        if let Some(position) = open {
            let slot = self.open[position];
            let train = &mut self.slots[usize::from(slot)].train;
            let Some(start) = train.place(length, &self.limits) else {
                self.open.remove(position);
                return Placed::Full(slot);
            };
            let gap = train.end..start;
            train.extend(start, length);
            return Placed::Behind { slot, gap };
        }
        let Some(slot) = self.free.pop() else { return Placed::NoSlot };
        let train = Train::start(length, &self.limits);
        self.slots[usize::from(slot)] = Slot { target, train };
        self.open.push(slot);
        Placed::Behind { slot, gap: 0..0 }
    }

    /// Whether a train is being filled.
    pub(in crate::transport) const fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The open trains, oldest first.
    pub(in crate::transport) fn open(&self) -> &[u16] {
        &self.open
    }

    /// All open trains are on their way.
    pub(in crate::transport) fn close(&mut self) {
        self.open.clear();
    }

    /// The slot's bytes are nobody's any more.
    pub(in crate::transport) fn release(&mut self, slot: u16) {
        debug_assert!(!self.free.contains(&slot) && !self.open.contains(&slot));
        self.free.push(slot);
    }

    /// The network card cannot do trains after all.
    pub(in crate::transport) fn forbid(&mut self) {
        self.limits.segments = 1;
    }

    /// Where the train of `slot` goes, and how it is laid out.
    pub(in crate::transport) fn get(&self, slot: u16) -> (Target, Train) {
        let Slot { target, train } = self.slots[usize::from(slot)];
        (target, train)
    }

    pub(in crate::transport) const fn limits(&self) -> &Limits {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::RingId;

    #[test]
    fn a_full_train_leaves_before_its_target_gets_another() {
        let effective = Effective { segment_limit: 9_000, gso: true, ..Effective::default() };
        let mut trains = Trains::new(&effective);
        let (a, b) = (Target::Group(RingId(0)), Target::Group(RingId(1)));
        assert_eq!(trains.place(a, 100), Placed::Behind { slot: 0, gap: 0..0 });
        assert_eq!(trains.place(b, 9_000), Placed::Behind { slot: 1, gap: 0..0 });
        assert_eq!(trains.place(a, 50), Placed::Behind { slot: 0, gap: 100..112 });
        assert_eq!(trains.place(a, 113), Placed::Full(0));
        assert_eq!(trains.get(0).1.count, 2);
        assert_eq!(trains.place(a, 113), Placed::Behind { slot: 2, gap: 0..0 });
        assert_eq!(trains.open(), [1, 2]);
        assert_eq!(trains.place(a, 9_001), Placed::TooLong);
        trains.close();
        trains.release(0);
        trains.forbid();
        assert_eq!(trains.place(b, 7), Placed::Behind { slot: 0, gap: 0..0 });
        assert_eq!(trains.place(b, 7), Placed::Full(0));
        let slots = (0..)
            .take_while(|ring| trains.place(Target::Group(RingId(*ring)), 1) != Placed::NoSlot);
        assert_eq!(slots.count(), usize::from(SLOTS) - 3);
    }
}
