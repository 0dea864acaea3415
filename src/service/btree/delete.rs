//! Deletes that own the whole tree: borrowing, and merges back to the root.

use super::BTree;
use super::command::Outcome;
use super::node::Node;
use super::tree::{Path, name};
use crate::service::Access;
use std::sync::atomic::Ordering::Relaxed;

/// Two neighbours under one parent.
struct Pair<'a> {
    parent: Node<'a>,
    /// The entry of the right one.
    index: usize,
    left: Node<'a>,
    right: Node<'a>,
}

impl BTree {
    /// Deletes under a lease of the whole.
    pub(super) fn delete(&self, key: u64) -> u8 {
        let leaf = self.leaf(key);
        let slot = leaf.find(key);
        if !slot.is_found {
            return Outcome::MISSING;
        }
        self.preserve(leaf, Access::Whole);
        leaf.remove_at(slot.index);
        if leaf.count() < self.leaf_minimum {
            self.refill_upwards(leaf, &self.path(key));
        }
        Outcome::OK
    }

    /// Repairs an underfull leaf at the end of `path`, and what that leaves underfull above it.
    fn refill_upwards(&self, leaf: Node<'_>, path: &Path) {
        let _change = self.begin_change();
        let mut child = leaf;
        for &(parent, index) in path.steps().iter().rev() {
            if child.count() >= self.minimum(child) {
                return;
            }
            let parent = self.node(parent);
            self.refill(parent, index);
            child = parent;
        }
        self.shrink_root();
    }

    fn minimum(&self, node: Node<'_>) -> usize {
        if node.level() == 0 { self.leaf_minimum } else { self.settings.inner_minimum() }
    }

    /// Fills the child at `index` from a neighbour, or merges it with one. The neighbour shares half
    /// of what it has more, so that the next deletes of the child pass their checks.
    fn refill(&self, parent: Node<'_>, index: usize) {
        let minimum = self.minimum(self.child(parent, index));
        let left = self.neighbours(parent, index);
        let right = self.neighbours(parent, index + 1);
        match (left, right) {
            (Some(pair), _) if pair.left.count() > minimum => self.balance(&pair),
            (_, Some(pair)) if pair.right.count() > minimum => self.balance(&pair),
            (Some(pair), _) | (None, Some(pair)) => self.merge(&pair),
            // Both neighbours belong to other partitions: the leaf stays underfull.
            (None, None) => {}
        }
    }

    /// The neighbours that the separator at `index` divides, if they may exchange entries.
    fn neighbours<'a>(&'a self, parent: Node<'a>, index: usize) -> Option<Pair<'a>> {
        if index == 0 || index >= parent.count() {
            return None;
        }
        if parent.level() == 1 && self.is_fixed(parent.key(index)) {
            return None;
        }
        let (left, right) = (self.child(parent, index - 1), self.child(parent, index));
        Some(Pair { parent, index, left, right })
    }

    fn balance(&self, &Pair { parent, index, left, right }: &Pair<'_>) {
        [parent, left, right].into_iter().for_each(|node| self.preserve(node, Access::Whole));
        let (here, there) = (left.count(), right.count());
        let moved = here.abs_diff(there) / 2;
        assert!(moved > 0, "one is underfull, the other has more than the minimum");
        if here > there {
            left.move_back(moved, right);
        } else {
            right.move_front(moved, left);
        }
        let separator = if left.level() == 0 {
            self.separator(left.key(left.count() - 1), right.key(0))
        } else {
            right.key(0)
        };
        parent.set_key(index, separator);
    }

    fn merge(&self, &Pair { parent, index, left, right }: &Pair<'_>) {
        assert!(left.count() + right.count() <= self.settings.capacity, "both are at the minimum");
        [parent, left, right].into_iter().for_each(|node| self.preserve(node, Access::Whole));
        right.move_tail(0, left);
        self.release(name(parent.value(index)));
        parent.remove_at(index);
    }

    fn shrink_root(&self) {
        let root_name = self.shape.root.load(Relaxed);
        let root = self.node(root_name);
        if root.level() > 0 && root.count() == 1 {
            self.shape.root.store(name(root.value(0)), Relaxed);
            self.release(root_name);
        }
    }
}
