//! Hints: the leaves that a warm descent has found, so that execution need not descend again.
//!
//! [`BTree::warm`] leaves what it found in memory of its thread, in the order of the commands;
//! execution on the same thread takes it up in that order. A hint holds for its key as long as the
//! structure has not changed: every change of it, under a lease of the whole, gives the tree a new
//! version. So a hint saves time and decides nothing: with and without it the same leaf and range
//! are found. Entries move in a leaf without making a hint wrong.

use super::tree::BTree;
use super::warm::WARM_BATCH;
use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::fence;

/// How far execution may be ahead of what it executes of the hints: commands that turned out to be
/// duplicates leave theirs behind.
const LOOK_AHEAD: usize = 4;
/// Versions of one tree: at a million changes a second they last for weeks.
const VERSION_BITS: u32 = 40;

thread_local! {
    static HINTS: Hints = const { Hints::new() };
}

/// Where a key was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    pub(super) key: u64,
    pub(super) leaf: u32,
    /// The least key of the leaf's range.
    pub(super) first: u64,
    /// The greatest key of the leaf's range.
    pub(super) last: u64,
}

impl Hint {
    const NONE: Self = Self { key: 0, leaf: 0, first: 1, last: 0 };
}

/// One thread's hints: of one batch, of one tree.
struct Hints {
    hints: [Cell<Hint>; WARM_BATCH],
    /// The version of the tree that they are of.
    version: Cell<u64>,
    /// The first hint that was not taken up.
    next: Cell<usize>,
    count: Cell<usize>,
}

impl Hints {
    const fn new() -> Self {
        Self {
            hints: [const { Cell::new(Hint::NONE) }; WARM_BATCH],
            version: Cell::new(u64::MAX),
            next: Cell::new(0),
            count: Cell::new(0),
        }
    }

    #[inline(always)]
    fn take(&self, key: u64, version: u64) -> Option<Hint> {
        let next = self.next.get();
        if next >= self.count.get() || self.version.get() != version {
            return None;
        }
        let end = self.count.get().min(next + LOOK_AHEAD);
        for index in next..end {
            let hint = self.hints[index].get();
            if hint.key == key {
                self.next.set(index + 1);
                return Some(hint);
            }
        }
        None
    }
}

/// A change of the structure: until it is dropped, nobody keeps a hint.
#[must_use]
pub(super) struct Change<'a>(&'a AtomicU64);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        // Release: who reads the even version reads the finished structure.
        self.0.store(self.0.load(Relaxed) + 1, Release);
    }
}

impl BTree {
    /// Begins a change of the structure. Of the whole's holder only.
    pub(super) fn begin_change(&self) -> Change<'_> {
        let version = &self.shape.version;
        let before = version.load(Relaxed);
        assert!(before.is_multiple_of(2), "one change at a time");
        version.store(before + 1, Relaxed);
        // Who reads a word of the change and then fences reads the odd version, or a later one.
        fence(Release);
        Change(version)
    }

    /// The version to keep hints under; `None` while the structure changes.
    #[inline]
    pub(super) fn version_to_read(&self) -> Option<u64> {
        let version = self.shape.version.load(Acquire);
        version.is_multiple_of(2).then_some(version)
    }

    /// Keeps hints that were found since [`BTree::version_to_read`] said `version`, unless the
    /// structure has changed meanwhile.
    #[inline]
    pub(super) fn keep_hints(&self, version: u64, hints: impl Iterator<Item = Hint>) {
        // Pairs with the fence of `begin_change`.
        fence(Acquire);
        let is_same = self.shape.version.load(Relaxed) == version;
        HINTS.with(|kept| {
            let mut count = 0;
            if is_same {
                for (slot, hint) in kept.hints.iter().zip(hints) {
                    slot.set(hint);
                    count += 1;
                }
            }
            kept.version.set(version);
            kept.next.set(0);
            kept.count.set(count);
        });
    }

    /// The hint for `key`, if this thread's warm descent has found its leaf and that still holds.
    #[inline(always)]
    pub(super) fn hint(&self, key: u64) -> Option<Hint> {
        let version = self.shape.version.load(Relaxed);
        HINTS.with(|hints| hints.take(key, version))
    }
}

/// The first version of a new tree: no two trees of a process share one.
pub(super) fn new_version() -> u64 {
    static TREES: AtomicU64 = AtomicU64::new(0);
    TREES.fetch_add(1, Relaxed) << VERSION_BITS
}
