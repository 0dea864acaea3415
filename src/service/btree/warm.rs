//! Interleaved descent: the cache misses of a batch overlap instead of queueing.
//!
//! A lookup in a large tree waits for memory, not for the processor: two misses in sequence a leaf,
//! and one or two into the last-level cache on the way. Taking a batch down level by level, each
//! step fetching what the next one reads, has up to 32 of them in flight. It is a hint: it changes
//! no state of the service, and what it reads may be changing, so it trusts no word. The leaves that
//! it finds are kept for the execution that follows (`hints`).
//!
//! Measured (benches/btree.rs, 10 M keys, two shared cores, medians of 100 batches): descent and
//! execution together take half the time of one command at a time, reads and changes alike, and a
//! third of std's `BTreeMap`. What is left is waiting for free fill buffers, not for the processor.

use super::Command;
use super::command::take_u64;
use super::hints::Hint;
use super::node::Node;
use super::tree::{BTree, MAX_HEIGHT};
use std::sync::atomic::Ordering::Relaxed;

/// How many commands go down together; the machine keeps about as many misses in flight.
pub const WARM_BATCH: usize = 32;

/// One command on its way down.
#[derive(Clone, Copy)]
struct Descent<'a> {
    node: Node<'a>,
    /// Inserts and deletes move all entries behind theirs.
    moves_entries: bool,
    /// Its range counts only at the end: first <= last unless the way could not be followed or the
    /// leaf's upper bound is not in its parent.
    hint: Hint,
}

impl BTree {
    pub(super) fn warm_commands(&self, commands: &[&[u8]]) {
        for batch in commands.chunks(WARM_BATCH) {
            self.warm_targets(batch.iter().filter_map(|command| target(command)));
        }
    }

    /// Takes up to [`WARM_BATCH`] keys down, each with whether entries will move there.
    pub(super) fn warm_targets(&self, targets: impl Iterator<Item = (u64, bool)>) {
        let Some(version) = self.version_to_read() else { return };
        let Some(root) = self.node_if_mapped(u64::from(self.shape.root.load(Relaxed))) else {
            return;
        };
        let hint = Hint { key: 0, leaf: 0, first: 1, last: 0 };
        let mut descents = [Descent { node: root, moves_entries: false, hint }; WARM_BATCH];
        let mut count = 0;
        for (descent, (key, moves_entries)) in descents.iter_mut().zip(targets) {
            descent.hint.key = key;
            descent.moves_entries = moves_entries;
            count += 1;
        }
        let descents = &mut descents[..count];
        let height = (root.level() as usize).min(MAX_HEIGHT);
        for level in (1..=height).rev() {
            self.descend(level, level == height, descents);
        }
        for descent in &*descents {
            descent.node.fetch_block(descent.hint.key, descent.moves_entries);
        }
        let found = descents.iter().map(|descent| descent.hint);
        self.keep_hints(version, found.filter(|hint| hint.first <= hint.last));
    }

    /// Takes every command one level down, from `level`.
    #[inline(always)]
    fn descend<'a>(&'a self, level: usize, is_root: bool, descents: &mut [Descent<'a>]) {
        // The nodes of the lowest inner level do not fit the near caches.
        if level == 1 && !is_root {
            for descent in &*descents {
                descent.node.fetch_block(descent.hint.key, false);
            }
        }
        for Descent { node, hint, .. } in descents {
            let index = node.child_index(hint.key);
            let word = node.value(index);
            let Some(child) = self.node_if_mapped(word) else { continue };
            child.fetch_header();
            if level == 1 {
                hint.leaf = super::tree::name(word);
                let last = node.key_after(index).map(|next| next.wrapping_sub(1));
                (hint.first, hint.last) = last.map_or((1, 0), |last| (node.key(index), last));
            }
            *node = child;
        }
    }
}

/// The key that a command looks for, and whether it moves entries.
#[inline]
fn target(command: &[u8]) -> Option<(u64, bool)> {
    let (&opcode, rest) = command.split_first()?;
    let (key, _) = take_u64(rest)?;
    Some((key, Command::is_opcode_dependent(opcode)))
}
