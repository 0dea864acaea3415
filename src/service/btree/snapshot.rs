//! Snapshots: the settings, then every node, a parent before its children, these in key order.
//!
//! Names of nodes are not part of it: a restored tree has the same leaves under new names.
//!
//! ```text
//! settings      8 words
//! level         of the root
//! node          count; of a leaf the pairs, of an inner node its low bounds, then its children
//! ```

use super::command::take_u64;
use super::node::Node;
use super::tree::{BTree, MAX_HEIGHT};
use crate::service::RestoreError;
use std::sync::atomic::Ordering::Relaxed;

struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn word(&mut self) -> Result<u64, RestoreError> {
        let (word, rest) = take_u64(self.0).ok_or(RestoreError::Malformed)?;
        self.0 = rest;
        Ok(word)
    }
}

impl BTree {
    pub(super) fn write_snapshot(&self, sink: &mut Vec<u8>) {
        let mut put = |word: u64| sink.extend_from_slice(&word.to_le_bytes());
        self.settings.words().iter().for_each(|&(_, word)| put(word));
        put(u64::from(self.root().level()));
        self.visit(self.root(), &mut |node: Node<'_>| {
            put(node.count() as u64);
            for index in 0..node.count() {
                put(node.key(index));
                if node.level() == 0 {
                    put(node.value(index));
                }
            }
        });
    }

    pub(super) fn read_snapshot(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let mut source = Source(snapshot);
        for (setting, expected) in self.settings.words() {
            let found = source.word()?;
            if found != expected {
                return Err(RestoreError::Setting { setting, found, expected });
            }
        }
        let height = source.word()?;
        let level = u32::try_from(height).map_err(|_| RestoreError::Malformed)?;
        if level as usize >= MAX_HEIGHT {
            return Err(RestoreError::Malformed);
        }
        let _change = self.begin_change();
        self.forget_nodes();
        let root = self.read_node(&mut source, level, (0, u64::MAX))?;
        self.shape.root.store(root, Relaxed);
        if source.0.is_empty() { Ok(()) } else { Err(RestoreError::Malformed) }
    }

    /// Reads a node of `level` for the keys from `bounds.0` to `bounds.1`, and all below it.
    fn read_node(
        &self,
        source: &mut Source<'_>,
        level: u32,
        bounds: (u64, u64),
    ) -> Result<u32, RestoreError> {
        let count = usize::try_from(source.word()?).map_err(|_| RestoreError::Malformed)?;
        let least = usize::from(level > 0);
        if !(least..=self.settings.capacity).contains(&count) {
            return Err(RestoreError::Malformed);
        }
        let name = self.allocate(level);
        let node = self.node(name);
        let mut next = Some(bounds.0);
        for _ in 0..count {
            let key = source.word()?;
            let value = if level == 0 { source.word()? } else { 0 };
            if next.is_none_or(|next| key < next) || key > bounds.1 {
                return Err(RestoreError::Malformed);
            }
            node.push(key, value);
            next = key.checked_add(1);
        }
        if level > 0 && node.key(0) != bounds.0 {
            return Err(RestoreError::Malformed);
        }
        for index in 0..count * usize::from(level > 0) {
            let range = (node.key(index), node.key_after(index).map_or(bounds.1, |next| next - 1));
            let child = self.read_node(source, level - 1, range)?;
            node.set_value(index, u64::from(child));
        }
        Ok(name)
    }
}
