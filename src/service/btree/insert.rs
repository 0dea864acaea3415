//! Inserts that own the whole tree: splits, up to the root.

use super::command::Outcome;
use super::node::Node;
use super::tree::{Path, name};
use super::{BTree, Pair, Separators};
use crate::service::Access;
use std::sync::atomic::Ordering::Relaxed;

impl BTree {
    /// Inserts under a lease of the whole.
    pub(super) fn insert(&self, key: u64, value: u64) -> u8 {
        let leaf = self.leaf(key);
        let slot = leaf.find(key);
        if slot.is_found {
            return Outcome::EXISTS;
        }
        self.preserve(leaf, Access::Whole);
        if leaf.count() < self.settings.capacity {
            leaf.insert_at(slot.index, key, value);
        } else {
            self.split_and_insert(&self.path(key), Pair { key, value });
        }
        Outcome::OK
    }

    fn split_and_insert(&self, path: &Path, Pair { key, value }: Pair) {
        let _change = self.begin_change();
        let left = self.node(path.leaf);
        let right_name = self.allocate(0);
        let right = self.node(right_name);
        let cut = self.cut(left);
        let separator = self.separator(left.key(cut - 1), left.key(cut));
        left.move_tail(cut, right);
        let target = if key < separator { left } else { right };
        target.insert_at(target.find(key).index, key, value);
        self.insert_child(path, separator, right_name);
    }

    /// Where a full leaf is cut: in the middle, or at the partition bound next to it.
    fn cut(&self, leaf: Node<'_>) -> usize {
        let count = leaf.count();
        let middle = count / 2;
        if self.settings.separators == Separators::Natural {
            return middle;
        }
        let (least, greatest) = (leaf.key(0), leaf.key(count - 1));
        let bounds = self.map.bounds().filter(|bound| (least + 1..=greatest).contains(bound));
        let cuts = bounds.map(|bound| leaf.find(bound).index);
        cuts.min_by_key(|cut| cut.abs_diff(middle)).unwrap_or(middle)
    }

    /// Enters `child`, the right half of the node at the end of `path`, into its parent; splits
    /// every full node on the way up.
    fn insert_child(&self, path: &Path, separator: u64, child: u32) {
        let (mut separator, mut child) = (separator, child);
        for &(parent, index) in path.steps().iter().rev() {
            let left = self.node(parent);
            self.preserve(left, Access::Whole);
            let index = index + 1;
            if left.count() < self.settings.capacity {
                return left.insert_at(index, separator, u64::from(child));
            }
            let right_name = self.allocate(left.level());
            let right = self.node(right_name);
            let cut = left.count() / 2;
            left.move_tail(cut, right);
            if index <= cut {
                left.insert_at(index, separator, u64::from(child));
            } else {
                right.insert_at(index - cut, separator, u64::from(child));
            }
            (separator, child) = (right.key(0), right_name);
        }
        self.grow_root(separator, child);
    }

    fn grow_root(&self, separator: u64, right: u32) {
        let left = self.shape.root.load(Relaxed);
        let root_name = self.allocate(self.node(left).level() + 1);
        let root = self.node(root_name);
        root.push(0, u64::from(left));
        root.push(separator, u64::from(right));
        self.shape.root.store(name(u64::from(root_name)), Relaxed);
    }
}
