//! Hints: the leaves that a warm descent has found, so that execution need not descend again.
//!
//! [`BTree::warm`] leaves what it found in memory of its thread, in the order of the commands;
//! execution on the same thread takes it up in that order. A hint holds for its key as long as the
//! structure has not changed: every change of it, under a lease of the whole, gives the tree a new
//! version. So a hint saves time and decides nothing: with and without it the same leaf and range
//! are found. Entries move in a leaf without making a hint wrong.

use super::tree::BTree;
use super::warm::WARM_BATCH;
use crate::sync::atomic::{AtomicU64, fence};
use std::cell::Cell;
use std::sync::atomic::AtomicU64 as Counter;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

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

    /// Keeps what was found since `version` was read, unless the structure has changed meanwhile.
    #[inline]
    fn keep(&self, tree: &Version, version: u64, hints: impl Iterator<Item = Hint>) {
        // Pairs with the fence of `begin_change`.
        fence(Acquire);
        let is_same = tree.now() == version;
        let mut count = 0;
        if is_same {
            for (slot, hint) in self.hints.iter().zip(hints) {
                slot.set(hint);
                count += 1;
            }
        }
        self.version.set(version);
        self.next.set(0);
        self.count.set(count);
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

/// Names a tree and its structure: odd while that changes.
#[derive(Debug)]
pub(super) struct Version(AtomicU64);

/// A change of the structure: until it is dropped, nobody keeps a hint.
#[must_use]
pub(super) struct Change<'a>(&'a AtomicU64);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        // Release: who reads the even version reads the finished structure.
        self.0.store(self.0.load(Relaxed) + 1, Release);
    }
}

impl Version {
    /// The first version of a new tree: no two trees of a process share one.
    pub(super) fn of_new_tree() -> Self {
        static TREES: Counter = Counter::new(0);
        Self(AtomicU64::new(TREES.fetch_add(1, Relaxed) << VERSION_BITS))
    }

    fn begin_change(&self) -> Change<'_> {
        let before = self.now();
        assert!(before.is_multiple_of(2), "one change at a time");
        self.0.store(before + 1, Relaxed);
        // Who reads a word of the change and then fences reads the odd version, or a later one.
        fence(Release);
        Change(&self.0)
    }

    #[inline]
    fn to_read(&self) -> Option<u64> {
        // Acquire: pairs with the Release at the end of a change.
        let version = self.0.load(Acquire);
        version.is_multiple_of(2).then_some(version)
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl BTree {
    /// Begins a change of the structure. Of the whole's holder only.
    pub(super) fn begin_change(&self) -> Change<'_> {
        self.shape.version.begin_change()
    }

    /// The version to keep hints under; `None` while the structure changes.
    #[inline]
    pub(super) fn version_to_read(&self) -> Option<u64> {
        self.shape.version.to_read()
    }

    /// Keeps hints that were found since [`BTree::version_to_read`] said `version`, unless the
    /// structure has changed meanwhile.
    #[inline]
    pub(super) fn keep_hints(&self, version: u64, hints: impl Iterator<Item = Hint>) {
        HINTS.with(|kept| kept.keep(&self.shape.version, version, hints));
    }

    /// The hint for `key`, if this thread's warm descent has found its leaf and that still holds.
    #[inline(always)]
    pub(super) fn hint(&self, key: u64) -> Option<Hint> {
        // Relaxed: who executes has met whoever changed the structure.
        let version = self.shape.version.now();
        HINTS.with(|hints| hints.take(key, version))
    }
}

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;
    use crate::sync::Rendezvous;
    use crate::sync::model::{Turns, explore, meet, until};
    use crate::types::{GroupId, GroupSet};
    use loom::sync::Arc;

    /// Two words of a tree that belong together, as its nodes' are: relaxed, under the version.
    struct Tree {
        version: Version,
        words: [AtomicU64; 2],
        turns: Turns,
    }

    impl Tree {
        fn new() -> Arc<Self> {
            let words = [AtomicU64::new(0), AtomicU64::new(0)];
            let version = Version(AtomicU64::new(0));
            Arc::new(Self { version, words, turns: Turns::default() })
        }

        fn change(&self, to: u64) {
            self.turns.take();
            let _change = self.version.begin_change();
            for word in &self.words {
                self.turns.take();
                word.store(to, Relaxed);
            }
        }

        fn read(&self) -> [u64; 2] {
            self.turns.take();
            self.words.each_ref().map(|word| word.load(Relaxed))
        }

        /// A warm descent, in the order of [`BTree::warm_targets`].
        fn warm(&self, kept: &Hints) {
            self.turns.take();
            if let Some(version) = self.version.to_read() {
                let [first, last] = self.read();
                let hint = Hint { first, last, ..Hint::NONE };
                kept.keep(&self.version, version, std::iter::once(hint));
            }
        }
    }

    #[test]
    fn a_hint_that_is_kept_was_found_in_one_structure() {
        explore(|| {
            let tree = Tree::new();
            let changed = Arc::clone(&tree);
            let changes = loom::thread::spawn(move || (1..3).for_each(|to| changed.change(to)));
            let kept = Hints::new();
            tree.warm(&kept);
            // Whatever the version is now: of the one that it was kept under.
            if let Some(hint) = kept.take(0, kept.version.get()) {
                assert_eq!([hint.first, hint.last], [kept.version.get() / 2; 2]);
            }
            changes.join().expect("it does not panic");
        });
    }

    #[test]
    fn a_hint_that_is_taken_up_at_a_rendezvous_holds_in_the_structure_of_now() {
        explore(|| {
            let shared = Arc::new((Tree::new(), Rendezvous::new(2)));
            let executes = Arc::clone(&shared);
            let meeting = (GroupSet::all(2), 0);
            let executor = loom::thread::spawn(move || {
                let (tree, rendezvous) = &*executes;
                meet(rendezvous, (0, 0), meeting, || tree.change(1));
            });
            let (tree, rendezvous) = &*shared;
            let kept = Hints::new();
            // Beside the change: it may have begun once this worker has arrived.
            rendezvous.arrive(GroupId::new(1), GroupId::new(0), 0);
            tree.warm(&kept);
            until(|| rendezvous.is_released(GroupId::new(0), 0));
            if let Some(hint) = kept.take(0, tree.version.now()) {
                assert_eq!([hint.first, hint.last], tree.read());
            }
            executor.join().expect("it does not panic");
        });
    }
}
