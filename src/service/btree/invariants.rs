//! What holds of every tree, checked node by node: for tests and the simulator.

use super::Separators;
use super::node::Node;
use super::tree::BTree;
use std::sync::atomic::Ordering::Relaxed;

/// The range of keys that a node may have.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u64,
    last: u64,
}

impl BTree {
    /// Checks the whole structure. The caller owns the tree alone.
    ///
    /// # Errors
    /// The first violation, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        let races = self.races();
        require(races == 0, || format!("{races} accesses unordered with a move of entries"))?;
        let mut nodes = 0;
        self.check_node(self.root(), Range { first: 0, last: u64::MAX }, true, &mut nodes)?;
        let free = self.free_nodes().count();
        let used = self.shape.used.load(Relaxed) as usize / self.layout.lines();
        require(nodes + free == used, || format!("{nodes} nodes and {free} free of {used}"))
    }

    /// How many pairs it has. Walks all leaves.
    #[must_use]
    pub fn count_pairs(&self) -> usize {
        let mut pairs = 0;
        self.visit(self.root(), &mut |node| {
            pairs += node.count() * usize::from(node.level() == 0);
        });
        pairs
    }

    /// How many leaves straddle two partitions: each insert and delete there fails its check.
    #[must_use]
    pub fn count_straddling_leaves(&self) -> usize {
        let mut bounds: Vec<_> = self.map.bounds().collect();
        bounds.dedup();
        let mut firsts: Vec<_> = bounds
            .into_iter()
            .filter(|&bound| self.place(bound).first != bound)
            .map(|bound| self.place(bound).first)
            .collect();
        firsts.dedup();
        firsts.len()
    }

    fn check_node(
        &self,
        node: Node<'_>,
        range: Range,
        is_root: bool,
        nodes: &mut usize,
    ) -> Result<(), String> {
        *nodes += 1;
        let (count, level) = (node.count(), node.level());
        let is_lazy = level == 0 && self.settings.separators == Separators::Aligned;
        let least = match (is_root, level) {
            (true, 0) => 0,
            (true, _) => 2,
            _ if is_lazy => 0,
            (false, 0) => self.leaf_minimum,
            (false, _) => self.settings.inner_minimum(),
        };
        let at = || format!("node of level {level}, {count} entries, {range:?}");
        require((least..=self.settings.capacity).contains(&count), at)?;
        node.check_layout().map_err(|what| format!("{what}: {}", at()))?;
        let in_range = |key| (range.first..=range.last).contains(&key);
        require((0..count).all(|index| in_range(node.key(index))), at)?;
        if level == 0 {
            return Ok(());
        }
        require(node.key(0) == range.first, at)?;
        for index in 0..count {
            let child = self.child(node, index);
            require(child.level() + 1 == level, at)?;
            let last = node.key_after(index).map_or(range.last, |next| next - 1);
            self.check_node(child, Range { first: node.key(index), last }, false, nodes)?;
        }
        Ok(())
    }
}

fn require(condition: bool, violation: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(violation()) }
}
