//! The tree: its nodes, and the way down to a leaf.

use super::hints::{Hint, Version};
use super::node::{Layout, Node};
use super::safety::Checks;
use super::snapshot::Cursor;
use super::{LoadError, PartitionMap, Settings};
use crate::mem::{Arena, Line, Rung};
use crate::service::{Access, Cuts};
use crossbeam_utils::CachePadded;
use std::fmt;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// More levels than a tree of 2^32 nodes can have: an inner node has two children at least.
pub(super) const MAX_HEIGHT: usize = 33;
const NO_NODE: u32 = u32::MAX;
/// The arena grows by 32 MiB, up to 64 GiB: 2.7 G pairs in leaves two thirds full.
const CHUNK_LINES: usize = 1 << 19;
const LIMIT_LINES: usize = 1 << 30;

/// A B+-tree that threads share under leases; see the module.
pub struct BTree {
    pub(super) settings: Settings,
    pub(super) map: PartitionMap,
    pub(super) layout: Layout,
    pub(super) leaf_minimum: usize,
    pub(super) arena: Arena,
    /// Written under a lease of the whole only.
    pub(super) shape: CachePadded<Shape>,
    pub(super) checks: Checks,
    pub(super) cuts: Cuts<Cursor>,
}

/// The words beside the nodes.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) root: AtomicU32,
    /// Lines from here on were never used.
    pub(super) used: AtomicU32,
    /// The first of the freed nodes; each has the next one in its first value.
    free: AtomicU32,
    /// The number of the last cut, modulo 2^24: nodes with another one must be saved before they
    /// change.
    pub(super) cut: AtomicU32,
    /// Barriers so far, and unordered accesses: see `races`.
    pub(super) epoch: AtomicU64,
    pub(super) races: AtomicU64,
    /// Names the tree and its structure: odd while that changes, see `hints`.
    pub(super) version: Version,
}

/// A leaf and its range, carried down from the root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) leaf: Node<'a>,
    /// The least key that belongs here; 0 stands for "unbounded".
    pub(super) first: u64,
    /// The greatest key that belongs here; `u64::MAX` stands for "unbounded".
    pub(super) last: u64,
    /// Whether the leaf is the root.
    pub(super) is_root: bool,
}

/// The way from the root to a leaf: each inner node's name and the entry taken there.
#[derive(Debug)]
pub(super) struct Path {
    steps: [(u32, usize); MAX_HEIGHT],
    length: usize,
    pub(super) leaf: u32,
}

impl Path {
    /// The inner nodes, root first.
    pub(super) fn steps(&self) -> &[(u32, usize)] {
        &self.steps[..self.length]
    }
}

impl BTree {
    /// The most bytes of nodes.
    pub const LIMIT_BYTES: u64 = (LIMIT_LINES * size_of::<Line>()) as u64;

    /// A tree without nodes.
    pub(super) fn bare(settings: Settings) -> Result<Self, LoadError> {
        settings.validate()?;
        let layout = Layout::new(settings.capacity);
        let shape = Shape {
            root: AtomicU32::new(0),
            used: AtomicU32::new(0),
            free: AtomicU32::new(NO_NODE),
            cut: AtomicU32::new(0),
            epoch: AtomicU64::new(0),
            races: AtomicU64::new(0),
            version: Version::of_new_tree(),
        };
        Ok(Self {
            map: PartitionMap::new(&settings),
            layout,
            leaf_minimum: settings.leaf_minimum(),
            arena: Arena::new(CHUNK_LINES, LIMIT_LINES)?,
            shape: CachePadded::new(shape),
            checks: Checks::new(settings.groups),
            cuts: Cuts::new(settings.groups),
            settings,
        })
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its partition map.
    #[must_use]
    pub const fn map(&self) -> &PartitionMap {
        &self.map
    }

    /// The pages that its nodes lie on: the worst of them.
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.arena.rung()
    }

    /// Bytes of the nodes in use, those on the free list included.
    #[must_use]
    pub fn node_bytes(&self) -> usize {
        self.shape.used.load(Relaxed) as usize * size_of::<Line>()
    }

    #[inline(always)]
    pub(super) fn node(&self, id: u32) -> Node<'_> {
        let first = id as usize;
        Node::new(&self.arena.lines()[first..first + self.layout.lines()], self.layout)
    }

    /// The node that `word` names, if it names mapped lines: a word read in a race may be anything.
    #[inline(always)]
    pub(super) fn node_if_mapped(&self, word: u64) -> Option<Node<'_>> {
        let first = u32::try_from(word).ok()? as usize;
        let lines = self.arena.lines().get(first..first + self.layout.lines())?;
        Some(Node::new(lines, self.layout))
    }

    #[inline(always)]
    pub(super) fn root(&self) -> Node<'_> {
        self.node(self.shape.root.load(Relaxed))
    }

    #[inline(always)]
    pub(super) fn child<'a>(&'a self, parent: Node<'a>, index: usize) -> Node<'a> {
        self.node(name(parent.value(index)))
    }

    /// The leaf of `key`.
    #[inline]
    pub(super) fn leaf(&self, key: u64) -> Node<'_> {
        if let Some(hint) = self.hint(key) {
            return self.node(hint.leaf);
        }
        let mut node = self.root();
        while node.level() > 0 {
            node = self.child(node, node.child_index(key));
        }
        node
    }

    /// The leaf of `key` with its range.
    #[inline]
    pub(super) fn place(&self, key: u64) -> Place<'_> {
        if let Some(Hint { leaf, first, last, .. }) = self.hint(key) {
            return Place { leaf: self.node(leaf), first, last, is_root: false };
        }
        let (mut node, mut first, mut last, mut is_root) = (self.root(), 0, u64::MAX, true);
        while node.level() > 0 {
            let index = node.child_index(key);
            first = node.key(index);
            if let Some(next) = node.key_after(index) {
                last = next - 1;
            }
            is_root = false;
            node = self.child(node, index);
        }
        debug_assert!((first..=last).contains(&key));
        Place { leaf: node, first, last, is_root }
    }

    /// The way to the leaf of `key`.
    pub(super) fn path(&self, key: u64) -> Path {
        let mut path =
            Path { steps: [(0, 0); MAX_HEIGHT], length: 0, leaf: self.shape.root.load(Relaxed) };
        loop {
            let node = self.node(path.leaf);
            if node.level() == 0 {
                return path;
            }
            let index = node.child_index(key);
            path.steps[path.length] = (path.leaf, index);
            path.length += 1;
            path.leaf = name(node.value(index));
        }
    }

    /// An empty node of `level`. Of the whole's holder only.
    ///
    /// # Panics
    /// If the machine has no memory left: the replica stops.
    pub(super) fn allocate(&self, level: u32) -> u32 {
        let free = self.shape.free.load(Relaxed);
        let id = if free == NO_NODE {
            let id = self.shape.used.load(Relaxed);
            self.make_room().expect("the machine has memory for the tree");
            self.shape.used.store(id + name(self.layout.lines() as u64), Relaxed);
            id
        } else {
            self.shape.free.store(name(self.node(free).value(0)), Relaxed);
            free
        };
        let node = self.node(id);
        node.reset(level);
        node.set_cut(self.shape.cut.load(Relaxed));
        id
    }

    /// Makes sure that one more node can be allocated.
    pub(super) fn make_room(&self) -> io::Result<()> {
        self.arena.ensure(self.shape.used.load(Relaxed) as usize + self.layout.lines())
    }

    /// Puts a node on the free list. Of the whole's holder only.
    pub(super) fn release(&self, id: u32) {
        let node = self.node(id);
        self.preserve(node, Access::Whole);
        node.reset(0);
        node.set_value(0, u64::from(self.shape.free.load(Relaxed)));
        self.shape.free.store(id, Relaxed);
    }

    /// Forgets all nodes but the first `nodes`. Of the whole's holder only.
    pub(super) fn adopt_nodes(&self, nodes: u32) {
        self.shape.used.store(nodes * name(self.layout.lines() as u64), Relaxed);
        self.shape.free.store(NO_NODE, Relaxed);
    }

    /// The names on the free list.
    pub(super) fn free_nodes(&self) -> impl Iterator<Item = u32> {
        let some = |id: u32| (id != NO_NODE).then_some(id);
        std::iter::successors(some(self.shape.free.load(Relaxed)), move |&id| {
            some(name(self.node(id).value(0)))
        })
    }

    /// Whether `separator` must stay where it is: aligned trees keep leaves of two partitions apart.
    pub(super) fn is_fixed(&self, separator: u64) -> bool {
        self.settings.separators == super::Separators::Aligned
            && self.map.bound_in(separator, separator).is_some()
    }

    /// The separator of two leaves of which one ends with `left` and the other begins with `right`.
    pub(super) fn separator(&self, left: u64, right: u64) -> u64 {
        assert!(left < right, "keys ascend");
        match self.settings.separators {
            super::Separators::Natural => right,
            super::Separators::Aligned => self.map.bound_in(left + 1, right).unwrap_or(right),
        }
    }
}

impl fmt::Debug for BTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BTree")
            .field("settings", &self.settings)
            .field("arena", &self.arena)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

#[inline(always)]
pub(super) fn name(word: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "names are stored in words of 64 bits")]
    {
        word as u32
    }
}
