//! Cuts and snapshots of a bank: blocks of counters, each saved before it first changes after a cut
//! or swept by the worker of its group. Blocks that straddle groups are few: the cut saves them, and
//! the reserve.
//!
//! ```text
//! head          2^32 - 1, number of counters, reserve
//! block         its number; value and changes of each of its counters
//! ```

use super::attempt::Scope;
use super::{Access, Bank, RestoreError, Swept};
use crate::types::GroupId;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Counters of a block: four cache lines.
const BLOCK: u32 = 16;
const HEAD: u64 = u32::MAX as u64;

/// Which cut has which block as it was.
#[derive(Debug)]
pub(super) struct Blocks {
    cut: AtomicU32,
    known: Box<[AtomicU32]>,
}

impl Blocks {
    pub(super) fn new(counters: u32) -> Self {
        let known = (0..counters.div_ceil(BLOCK)).map(|_| AtomicU32::new(0)).collect();
        Self { cut: AtomicU32::new(0), known }
    }
}

impl Bank {
    /// Makes sure that the last cut has the block of `counter` as it is, before it changes.
    #[inline]
    pub(super) fn preserve(&self, counter: u32, scope: Scope) {
        let block = counter / BLOCK;
        if self.blocks.known[block as usize].load(Relaxed) != self.blocks.cut.load(Relaxed) {
            let access = match scope {
                Scope::Group(group) => Access::Keys(group),
                Scope::Whole => Access::Whole,
            };
            self.cuts.save(access, |saved| self.put_block(block, saved));
        }
    }

    pub(super) fn make_cut(&self) {
        self.cuts.begin(|group| self.first_block(group));
        let cut = self.blocks.cut.load(Relaxed).wrapping_add(1);
        self.blocks.cut.store(cut, Relaxed);
        self.cuts.save(Access::Whole, |saved| {
            let reserve = self.reserve.load(Relaxed);
            for word in [HEAD, self.settings.counters.into(), reserve] {
                saved.extend_from_slice(&word.to_le_bytes());
            }
        });
        for group in (1..self.settings.groups).map(GroupId::new) {
            let first = self.first_counter(group).min(self.settings.counters - 1);
            self.preserve(first, Scope::Whole);
        }
    }

    pub(super) fn sweep_blocks(&self, group: GroupId, budget: usize, sink: &mut Vec<u8>) -> Swept {
        let next = group.index() + 1;
        let end = if next == self.settings.groups {
            u32::try_from(self.blocks.known.len()).expect("fewer blocks than counters")
        } else {
            self.first_block(GroupId::new(next))
        };
        self.cuts.sweep(group, sink, |block, sink| {
            for _ in 0..budget {
                if *block >= end {
                    return Swept::Done;
                }
                let known = self.blocks.known[*block as usize].load(Relaxed);
                if known != self.blocks.cut.load(Relaxed) {
                    self.put_block(*block, sink);
                }
                *block += 1;
            }
            Swept::More
        })
    }

    pub(super) fn read_snapshot(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let mut source = snapshot.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        let blocks = self.blocks.known.len();
        let words = 3 + blocks + 2 * self.counters.len();
        let mut seen = vec![false; blocks];
        let mut has_head = false;
        self.cuts.abandon();
        while let Some(word) = source.next() {
            if word == HEAD && !has_head {
                let (Some(found), Some(reserve)) = (source.next(), source.next()) else {
                    return Err(RestoreError::Malformed);
                };
                let expected = self.settings.counters.into();
                if found != expected {
                    return Err(RestoreError::Setting { setting: "counters", found, expected });
                }
                self.reserve.store(reserve, Relaxed);
                has_head = true;
                continue;
            }
            let block = u32::try_from(word).map_err(|_| RestoreError::Malformed)?;
            let is_new = seen.get_mut(block as usize).filter(|seen| !**seen);
            *is_new.ok_or(RestoreError::Malformed)? = true;
            for word in self.words_of(block) {
                word.store(source.next().ok_or(RestoreError::Malformed)?, Relaxed);
            }
        }
        let is_whole = has_head && seen.iter().all(|seen| *seen) && snapshot.len() == 8 * words;
        if is_whole { Ok(()) } else { Err(RestoreError::Malformed) }
    }

    /// The first block of which no counter belongs to a group before `group`.
    fn first_block(&self, group: GroupId) -> u32 {
        let first = self.first_counter(group);
        first.div_ceil(BLOCK)
    }

    fn first_counter(&self, group: GroupId) -> u32 {
        let (group, groups) = (group.index() as u64, self.settings.groups as u64);
        let first = (group * u64::from(self.settings.counters)).div_ceil(groups);
        u32::try_from(first).expect("at most the number of counters")
    }

    fn put_block(&self, block: u32, sink: &mut Vec<u8>) {
        sink.extend_from_slice(&u64::from(block).to_le_bytes());
        for word in self.words_of(block) {
            sink.extend_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        self.blocks.known[block as usize].store(self.blocks.cut.load(Relaxed), Relaxed);
    }

    fn words_of(&self, block: u32) -> impl Iterator<Item = &AtomicU64> {
        let first = (block * BLOCK) as usize;
        let end = (first + BLOCK as usize).min(self.counters.len());
        self.counters[first..end].iter().flat_map(|counter| [&counter.value, &counter.changes])
    }
}
