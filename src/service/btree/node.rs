//! A node: a header line and blocks of 8 entries, laid out so that a search touches few lines.
//!
//! ```text
//! header   word 0: count, level, cut; word j: the first key of block j  one line up to 64 entries
//! block j  a line of 8 keys, a line of 8 values (of a leaf) or children (of an inner node)
//! ```
//! A search reads the header line, which names the block, then the block's key line and value line;
//! the two are fetched together. That is two cache misses in sequence and three lines a node, where
//! a binary search over 64 keys has three or four. Keys beyond the count are `u64::MAX`, so that the
//! loops over a line are free of branches; the count settles the case of a real key `u64::MAX`.
//!
//! Every word is a relaxed atomic, a plain move on x86: whoever may hold a lease on it, a race is
//! never undefined behaviour, and a [`super::BTree::warm`] that races with a writer reads a wrong
//! word at worst. Entry 0 of an inner node carries the node's own low bound, so that entries can
//! move between nodes as they are.

use super::races::IS_TRACED;
use crate::mem::{Line, WORDS_PER_LINE, prefetch};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

const PAD: u64 = u64::MAX;
/// Where in word 0 the level stands, 8 bits, and the cut, 24 bits.
const LEVEL_SHIFT: u32 = 32;
const CUT_SHIFT: u32 = 40;

/// How many lines a node takes, and how many of them are its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    header: usize,
    blocks: usize,
}

impl Layout {
    pub(super) const fn new(capacity: usize) -> Self {
        let blocks = capacity.div_ceil(WORDS_PER_LINE);
        // Word 0 is the count; block 0 needs no first key.
        Self { header: blocks.div_ceil(WORDS_PER_LINE), blocks }
    }

    pub(super) const fn lines(self) -> usize {
        self.header + 2 * self.blocks + IS_TRACED as usize
    }
}

/// One node's lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    lines: &'a [Line],
    header: usize,
}

/// Where a key is, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The entry's index.
    pub(super) index: usize,
    /// Whether the key is there.
    pub(super) is_found: bool,
}

impl<'a> Node<'a> {
    #[inline(always)]
    pub(super) const fn new(lines: &'a [Line], layout: Layout) -> Self {
        Self { lines, header: layout.header }
    }

    #[inline(always)]
    pub(super) fn count(self) -> usize {
        (self.meta().load(Relaxed) & 0xffff) as usize
    }

    /// 0 for a leaf, 1 for the parent of leaves.
    #[inline(always)]
    pub(super) fn level(self) -> u32 {
        (self.meta().load(Relaxed) >> LEVEL_SHIFT & 0xff) as u32
    }

    /// The last cut that has this node as it was, see [`super::snapshot`].
    #[inline(always)]
    pub(super) fn cut(self) -> u32 {
        (self.meta().load(Relaxed) >> CUT_SHIFT) as u32
    }

    /// Notes that the cut has it, or that it was not there.
    #[inline]
    pub(super) fn set_cut(self, cut: u32) {
        let rest = self.meta().load(Relaxed) & ((1 << CUT_SHIFT) - 1);
        self.meta().store(rest | u64::from(cut) << CUT_SHIFT, Relaxed);
    }

    /// An empty node of `level`.
    pub(super) fn reset(self, level: u32) {
        for line in &self.lines[..self.header] {
            line.0.iter().for_each(|word| word.store(PAD, Relaxed));
        }
        for keys in self.lines[self.header..].iter().step_by(2) {
            keys.0.iter().for_each(|word| word.store(PAD, Relaxed));
        }
        self.meta().store(u64::from(level) << LEVEL_SHIFT, Relaxed);
    }

    #[inline(always)]
    pub(super) fn key(self, index: usize) -> u64 {
        self.keys(index / WORDS_PER_LINE).0[index % WORDS_PER_LINE].load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn value(self, index: usize) -> u64 {
        self.values(index / WORDS_PER_LINE).0[index % WORDS_PER_LINE].load(Relaxed)
    }

    #[inline]
    pub(super) fn set_value(self, index: usize, value: u64) {
        self.values(index / WORDS_PER_LINE).0[index % WORDS_PER_LINE].store(value, Relaxed);
    }

    #[inline]
    pub(super) fn set_key(self, index: usize, key: u64) {
        let (block, word) = (index / WORDS_PER_LINE, index % WORDS_PER_LINE);
        self.keys(block).0[word].store(key, Relaxed);
        if word == 0 && block > 0 {
            self.first_key(block).store(key, Relaxed);
        }
    }

    /// The entry that `key` has or would get in this leaf.
    #[inline(always)]
    pub(super) fn find(self, key: u64) -> Slot {
        if key == PAD {
            return self.find_greatest();
        }
        // The last entry up to the key, if there is any.
        let index = self.last_up_to(key);
        let there = self.key(index);
        Slot { index: index + usize::from(there < key), is_found: there == key }
    }

    /// The entry of this inner node whose subtree has or would get `key`.
    #[inline(always)]
    pub(super) fn child_index(self, key: u64) -> usize {
        if key == PAD { self.count().saturating_sub(1) } else { self.last_up_to(key) }
    }

    /// The key of entry `index` + 1, if there is one, mostly without another line: the first key of
    /// the next block is in the header.
    #[inline(always)]
    pub(super) fn key_after(self, index: usize) -> Option<u64> {
        let next = index + 1;
        if next >= self.count() {
            return None;
        }
        Some(if next.is_multiple_of(WORDS_PER_LINE) {
            self.first_key(next / WORDS_PER_LINE).load(Relaxed)
        } else {
            self.key(next)
        })
    }

    /// The address of its first line.
    pub(super) fn address(self) -> usize {
        self.lines.as_ptr().addr()
    }

    /// Who touched this leaf; there only in builds that note it.
    pub(super) fn note(self) -> &'a AtomicU64 {
        &self.lines[self.lines.len() - 1].0[0]
    }

    /// Starts to fetch the header.
    #[inline(always)]
    pub(super) fn fetch_header(self) {
        prefetch(&self.lines[0]);
    }

    /// Starts to fetch the block of `key`, and with `to_the_end` all blocks behind it, as an insert
    /// or a delete will move them.
    #[inline(always)]
    pub(super) fn fetch_block(self, key: u64, to_the_end: bool) {
        let count = self.count();
        let block =
            if key == PAD { count.saturating_sub(1) / WORDS_PER_LINE } else { self.block_of(key) };
        let last = if to_the_end { count / WORDS_PER_LINE } else { block };
        let first = self.header + 2 * block;
        let end = (self.header + 2 * last + 2).min(self.lines.len());
        // Words that others write meanwhile may give a block beyond the last.
        self.lines.get(first..end).unwrap_or_default().iter().for_each(prefetch);
    }

    /// Adds an entry at `index`; those from there on move up.
    pub(super) fn insert_at(self, index: usize, key: u64, value: u64) {
        let count = self.count();
        assert!(index <= count, "entries are contiguous");
        let (mut key, mut value) = (key, value);
        let last = count / WORDS_PER_LINE;
        let mut word = index % WORDS_PER_LINE;
        for block in index / WORDS_PER_LINE..=last {
            let (keys, values) = (self.keys(block), self.values(block));
            let end = if block == last { count % WORDS_PER_LINE } else { WORDS_PER_LINE - 1 };
            while word <= end {
                key = exchange(&keys.0[word % WORDS_PER_LINE], key);
                value = exchange(&values.0[word % WORDS_PER_LINE], value);
                word += 1;
            }
            self.sample(block);
            word = 0;
        }
        self.set_count(count + 1);
    }

    /// Removes the entry at `index`; those after it move down.
    pub(super) fn remove_at(self, index: usize) {
        let count = self.count();
        assert!(index < count, "the entry is there");
        let (mut key, mut value) = (PAD, 0);
        let last = (count - 1) / WORDS_PER_LINE;
        let first = index / WORDS_PER_LINE;
        let mut end = (count - 1) % WORDS_PER_LINE;
        for block in (first..=last).rev() {
            let (keys, values) = (self.keys(block), self.values(block));
            let start = if block == first { index % WORDS_PER_LINE } else { 0 };
            for word in (start..=end).rev() {
                key = exchange(&keys.0[word % WORDS_PER_LINE], key);
                value = exchange(&values.0[word % WORDS_PER_LINE], value);
            }
            self.sample(block);
            end = WORDS_PER_LINE - 1;
        }
        self.set_count(count - 1);
    }

    /// Adds an entry behind the last one.
    #[inline]
    pub(super) fn push(self, key: u64, value: u64) {
        let count = self.count();
        self.set_value(count, value);
        self.set_key(count, key);
        self.set_count(count + 1);
    }

    /// Moves the entries from `index` on behind those of `target`.
    pub(super) fn move_tail(self, index: usize, target: Self) {
        for entry in index..self.count() {
            target.push(self.key(entry), self.value(entry));
        }
        self.truncate(index);
    }

    /// Moves the first `moved` entries behind those of `target`.
    pub(super) fn move_front(self, moved: usize, target: Self) {
        let count = self.count();
        assert!(moved <= count, "entries are there");
        for entry in 0..moved {
            target.push(self.key(entry), self.value(entry));
        }
        for entry in moved..count {
            self.set_value(entry - moved, self.value(entry));
            self.set_key(entry - moved, self.key(entry));
        }
        self.truncate(count - moved);
    }

    /// Moves the last `moved` entries before those of `target`.
    pub(super) fn move_back(self, moved: usize, target: Self) {
        let count = self.count();
        assert!(moved <= count, "entries are there");
        let there = target.count();
        for entry in (0..there).rev() {
            target.set_value(entry + moved, target.value(entry));
            target.set_key(entry + moved, target.key(entry));
        }
        for entry in 0..moved {
            let source = count - moved + entry;
            target.set_value(entry, self.value(source));
            target.set_key(entry, self.key(source));
        }
        target.set_count(there + moved);
        self.truncate(count - moved);
    }

    /// Whether keys ascend, samples repeat them, and pads follow them.
    pub(super) fn check_layout(self) -> Result<(), &'static str> {
        let slots = (self.lines.len() - self.header) / 2 * WORDS_PER_LINE;
        let count = self.count();
        if !(1..count).all(|index| self.key(index - 1) < self.key(index)) {
            return Err("keys do not ascend");
        }
        if !(count..slots).all(|index| self.key(index) == PAD) {
            return Err("no pads behind the keys");
        }
        let mut blocks = 1..slots / WORDS_PER_LINE;
        let is_sampled =
            |block: usize| self.first_key(block).load(Relaxed) == self.key(block * WORDS_PER_LINE);
        if blocks.all(is_sampled) { Ok(()) } else { Err("a sample is not its block's key") }
    }

    fn truncate(self, count: usize) {
        for entry in count..self.count() {
            self.set_key(entry, PAD);
            self.set_value(entry, 0);
        }
        self.set_count(count);
    }

    /// The last entry whose key is at most `key`; 0 if there is none. Pads are above every key but
    /// `u64::MAX`, which must not be asked for.
    #[inline(always)]
    fn last_up_to(self, key: u64) -> usize {
        let block = self.block_of(key);
        prefetch(self.values(block));
        block * WORDS_PER_LINE + up_to(&self.keys(block).0[1..], key)
    }

    /// The block that has `key`, which is not `u64::MAX`, if the node has it.
    #[inline(always)]
    fn block_of(self, key: u64) -> usize {
        let mut block = up_to(&self.lines[0].0[1..], key);
        for line in &self.lines[1..self.header] {
            block += up_to(&line.0, key);
        }
        block
    }

    #[cold]
    fn find_greatest(self) -> Slot {
        let count = self.count();
        let is_found = count > 0 && self.key(count - 1) == u64::MAX;
        Slot { index: count - usize::from(is_found), is_found }
    }

    #[inline(always)]
    fn keys(self, block: usize) -> &'a Line {
        &self.lines[self.header + 2 * block]
    }

    #[inline(always)]
    fn values(self, block: usize) -> &'a Line {
        &self.lines[self.header + 2 * block + 1]
    }

    #[inline(always)]
    fn first_key(self, block: usize) -> &'a AtomicU64 {
        &self.lines[block / WORDS_PER_LINE].0[block % WORDS_PER_LINE]
    }

    /// Writes the first key of `block` into the header.
    #[inline(always)]
    fn sample(self, block: usize) {
        if block > 0 {
            self.first_key(block).store(self.keys(block).0[0].load(Relaxed), Relaxed);
        }
    }

    #[inline(always)]
    fn meta(self) -> &'a AtomicU64 {
        &self.lines[0].0[0]
    }

    #[inline]
    fn set_count(self, count: usize) {
        debug_assert!(count <= (self.lines.len() - self.header) / 2 * WORDS_PER_LINE);
        let rest = self.meta().load(Relaxed) & !0xffff;
        self.meta().store(rest | count as u64, Relaxed);
    }
}

/// How many of these words are at most `key`: a loop without branches.
#[inline(always)]
fn up_to(words: &[AtomicU64], key: u64) -> usize {
    words.iter().map(|word| usize::from(word.load(Relaxed) <= key)).sum()
}

#[inline(always)]
fn exchange(word: &AtomicU64, new: u64) -> u64 {
    let old = word.load(Relaxed);
    word.store(new, Relaxed);
    old
}
