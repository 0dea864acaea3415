//! Loading: bottom-up from sorted pairs, or grown by inserts.

use super::command::Outcome;
use super::node::Layout;
use super::tree::BTree;
use super::warm::WARM_BATCH;
use super::{Pair, Separators, Settings, SettingsError};
use crate::mem::Line;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use thiserror::Error;

/// Why there is no tree.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingsError),
    /// The pairs do not ascend by key.
    #[error("the pairs do not ascend: key {second} comes after {first}")]
    Unsorted {
        /// The key before.
        first: u64,
        /// The key that is not above it.
        second: u64,
    },
    /// A key is above the partitioned range, where such keys are refused.
    #[error("key {key} is above the key space of {key_space}: raise the key space")]
    AboveKeySpace {
        /// The key.
        key: u64,
        /// The end of the range.
        key_space: u64,
    },
    /// No memory for the nodes.
    #[error("no memory for the tree's nodes")]
    Memory(#[from] io::Error),
}

impl Settings {
    /// About as many bytes as the nodes of a tree take into which [`BTree::load`] puts `pairs` pairs.
    #[must_use]
    pub fn bytes_loaded(&self, pairs: u64) -> u64 {
        let leaves = pairs.div_ceil(self.leaf_fill() as u64);
        // Each level has 1 / fill of the nodes below it: together 1 / (fill - 1) of the leaves.
        let inner = leaves.div_ceil(self.inner_fill() as u64 - 1);
        (leaves + inner) * (Layout::new(self.capacity).lines() * size_of::<Line>()) as u64
    }
}

/// How many entries the next node takes of `remaining`, all that are left: `fill`, unless too few
/// would be left for the last one.
const fn next_size(remaining: usize, fill: usize, capacity: usize) -> usize {
    if remaining >= 2 * fill {
        fill
    } else if remaining <= capacity {
        remaining
    } else {
        remaining / 2
    }
}

/// Cuts a sorted stream into leaves.
struct Loader<'a> {
    tree: &'a BTree,
    fill: usize,
    /// Pairs without a leaf yet: fewer than two leaves of them.
    pending: Vec<Pair>,
    /// The low bound and the name of every leaf.
    leaves: Vec<Pair>,
    /// The last key of the last leaf.
    previous: Option<u64>,
    /// The last key seen.
    last: Option<u64>,
}

impl BTree {
    /// A tree of `pairs`, which ascend by key, its leaves filled by [`Settings::fill_percent`].
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(
        settings: Settings,
        pairs: impl IntoIterator<Item = Pair>,
    ) -> Result<Self, LoadError> {
        let tree = Self::bare(settings)?;
        let fill = settings.leaf_fill();
        let pending = Vec::with_capacity(2 * settings.capacity);
        let mut loader =
            Loader { tree: &tree, fill, pending, leaves: Vec::new(), previous: None, last: None };
        for pair in pairs {
            loader.push(pair)?;
        }
        let root = loader.finish()?;
        tree.shape.root.store(root, Relaxed);
        Ok(tree)
    }

    /// A tree into which `pairs` were inserted one by one, in their order: at random order, about
    /// two thirds full and less even than a loaded one. Repeated keys keep their first value.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn grow(
        settings: Settings,
        pairs: impl IntoIterator<Item = Pair>,
    ) -> Result<Self, LoadError> {
        let tree = Self::load(settings, [])?;
        let mut pairs = pairs.into_iter();
        let mut batch = Vec::with_capacity(WARM_BATCH);
        loop {
            batch.extend(pairs.by_ref().take(WARM_BATCH));
            if batch.is_empty() {
                return Ok(tree);
            }
            tree.warm_targets(batch.iter().map(|pair| (pair.key, true)));
            for Pair { key, value } in batch.drain(..) {
                tree.check_key(key)?;
                let outcome = tree.insert(key, value);
                debug_assert!(outcome == Outcome::OK || outcome == Outcome::EXISTS);
            }
        }
    }

    fn check_key(&self, key: u64) -> Result<(), LoadError> {
        let key_space = self.settings.key_space;
        let is_refused = self.map.is_refused(key);
        if is_refused { Err(LoadError::AboveKeySpace { key, key_space }) } else { Ok(()) }
    }

    /// Builds the inner nodes over `entries`, the low bounds and names of the nodes of `level` - 1,
    /// and so on upwards. Returns the root's name.
    fn build_inner(&self, mut entries: Vec<Pair>) -> Result<u32, LoadError> {
        let mut level = 1;
        while entries.len() > 1 {
            let mut parents = Vec::with_capacity(entries.len() / self.settings.inner_fill() + 1);
            let mut rest = &entries[..];
            while !rest.is_empty() {
                let size =
                    next_size(rest.len(), self.settings.inner_fill(), self.settings.capacity);
                let (children, others) = rest.split_at(size);
                parents.push(self.build_node(level, children[0].key, children)?);
                rest = others;
            }
            entries = parents;
            level += 1;
        }
        Ok(super::tree::name(entries[0].value))
    }

    /// Makes a node of these entries; its low bound and its name.
    fn build_node(&self, level: u32, low: u64, entries: &[Pair]) -> Result<Pair, LoadError> {
        self.make_room()?;
        let name = self.allocate(level);
        let node = self.node(name);
        for &Pair { key, value } in entries {
            node.push(key, value);
        }
        Ok(Pair { key: low, value: u64::from(name) })
    }
}

impl Loader<'_> {
    fn push(&mut self, pair: Pair) -> Result<(), LoadError> {
        if let Some(first) = self.last.filter(|&last| last >= pair.key) {
            return Err(LoadError::Unsorted { first, second: pair.key });
        }
        self.tree.check_key(pair.key)?;
        let is_new_partition = self.tree.settings.separators == Separators::Aligned
            && self.last.is_some_and(|last| !self.tree.map.is_of_one_group(last, pair.key));
        if is_new_partition && self.pending.len() >= self.tree.leaf_minimum {
            self.flush()?;
        } else if self.pending.len() == 2 * self.fill {
            self.cut(self.fill)?;
        }
        self.last = Some(pair.key);
        self.pending.push(pair);
        Ok(())
    }

    /// Puts all pending pairs into leaves.
    fn flush(&mut self) -> Result<(), LoadError> {
        while !self.pending.is_empty() {
            let size = next_size(self.pending.len(), self.fill, self.tree.settings.capacity);
            self.cut(size)?;
        }
        Ok(())
    }

    /// Puts the first `size` pending pairs into a leaf.
    fn cut(&mut self, size: usize) -> Result<(), LoadError> {
        let first = self.pending[0].key;
        let low = self.previous.map_or(0, |previous| self.tree.separator(previous, first));
        let leaf = self.tree.build_node(0, low, &self.pending[..size])?;
        self.leaves.push(leaf);
        self.previous = Some(self.pending[size - 1].key);
        self.pending.drain(..size);
        Ok(())
    }

    /// Returns the root's name.
    fn finish(mut self) -> Result<u32, LoadError> {
        self.flush()?;
        if self.leaves.is_empty() {
            self.leaves.push(self.tree.build_node(0, 0, &[])?);
        }
        self.tree.build_inner(self.leaves)
    }
}
