//! The deterministic merge: which ring's instance comes next.
//!
//! Every ring is a sequence of slots: a value takes one, a no-op one, SKIP(n) n. The merge visits
//! slots by rising (slot div M, ring index), so what it delivers is ordered by these two, whatever
//! arrives when. A slot without a value leaves no trace; so a skip is passed over by one addition
//! to its ring's slot counter as soon as its instance is reached, however long it is and however
//! many other rings skip beside it. The rest of a skip is thus how far a ring's counter is ahead:
//! the counters alone are the merge's position.
//!
//! A value costs a compare while its ring leads, and a look at all rings when the lead changes.

use crate::types::{Bug, Slot};

/// What the next instance of a ring is to the merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A value: one slot, delivered.
    Value,
    /// This many slots without a value: SKIP(n), or a no-op as 1.
    Skip(u64),
}

/// One ring's counter: the slot of its next instance, split by M.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Lane {
    /// Slot div M: the lane's rank.
    turn: u64,
    /// Slot mod M.
    within: u64,
}

/// Merges rings, which it knows by their index.
#[derive(Clone, Debug, Hash)]
pub struct Merge {
    m: u64,
    lanes: Box<[Lane]>,
    /// The lane with the least (turn, index), while its turn is at most `bound`.
    lead: usize,
    bound: u64,
}

impl Merge {
    /// A merge of `rings` rings, M slots of each in turn, from the first slot on.
    ///
    /// # Panics
    /// If there is no ring or M is 0.
    #[must_use]
    pub fn new(rings: usize, m: u64) -> Self {
        assert!(rings > 0 && m > 0, "a merge has a ring, and M is at least 1");
        let lanes = vec![Lane::default(); rings].into_boxed_slice();
        let mut merge = Self { m, lanes, lead: 0, bound: 0 };
        merge.choose();
        merge
    }

    /// Moves on to the next value: its ring and slot. `take` hands over the next instance of a
    /// ring, or `None` if that is not decided yet: then everything waits for it.
    #[inline]
    pub fn advance(
        &mut self,
        mut take: impl FnMut(usize) -> Option<Turn>,
    ) -> Option<(usize, Slot)> {
        if Bug::MergeByArrival.is_planted() {
            return self.advance_by_arrival(take);
        }
        loop {
            if self.lanes[self.lead].turn > self.bound {
                self.choose();
            }
            let lead = self.lead;
            match take(lead)? {
                Turn::Value => {
                    let slot = self.slot(lead);
                    self.pass_one(lead);
                    return Some((lead, slot));
                }
                Turn::Skip(slots) => self.pass(lead, slots),
            }
        }
    }

    /// The slot of a ring's next instance.
    #[must_use]
    pub fn slot(&self, ring: usize) -> Slot {
        let lane = &self.lanes[ring];
        Slot(lane.turn.saturating_mul(self.m).saturating_add(lane.within))
    }

    /// Goes on with `slot` for the next instance of `ring`.
    pub fn resume(&mut self, ring: usize, slot: Slot) {
        self.lanes[ring] = Lane { turn: slot.0 / self.m, within: slot.0 % self.m };
        self.choose();
    }

    fn pass_one(&mut self, ring: usize) {
        let lane = &mut self.lanes[ring];
        lane.within += 1;
        if lane.within == self.m {
            *lane = Lane { turn: lane.turn.saturating_add(1), within: 0 };
        }
    }

    fn pass(&mut self, ring: usize, slots: u64) {
        if slots == 1 || Bug::SkipNotCounted.is_planted() {
            return self.pass_one(ring);
        }
        // 2^64 slots are centuries; a ring that claims them stays behind the last.
        let slot = self.slot(ring).0.saturating_add(slots);
        self.lanes[ring] = Lane { turn: slot / self.m, within: slot % self.m };
    }

    /// Finds the lane that leads and the last turn in which it still does if no other moves.
    fn choose(&mut self) {
        let mut lead = 0;
        for (ring, lane) in self.lanes.iter().enumerate() {
            if lane.turn < self.lanes[lead].turn {
                lead = ring;
            }
        }
        // Lanes below the lead are at a later turn, or they would lead: the subtraction is safe.
        let below = self.lanes[..lead].iter().map(|lane| lane.turn - 1);
        let above = self.lanes[lead + 1..].iter().map(|lane| lane.turn);
        self.bound = below.chain(above).min().unwrap_or(u64::MAX);
        self.lead = lead;
    }

    /// The planted bug: whichever ring has something goes first.
    fn advance_by_arrival(
        &mut self,
        mut take: impl FnMut(usize) -> Option<Turn>,
    ) -> Option<(usize, Slot)> {
        for ring in 0..self.lanes.len() {
            while let Some(turn) = take(ring) {
                let slot = self.slot(ring);
                match turn {
                    Turn::Value => {
                        self.pass_one(ring);
                        return Some((ring, slot));
                    }
                    Turn::Skip(slots) => self.pass(ring, slots),
                }
            }
        }
        None
    }
}
