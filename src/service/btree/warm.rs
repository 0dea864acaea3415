//! Interleaved descent: the cache misses of a batch overlap instead of queueing.
//!
//! A lookup in a large tree waits for memory, not for the processor: two misses in sequence a leaf,
//! and one or two into the last-level cache on the way. Taking a batch down level by level, each
//! step fetching what the next one reads, has up to 32 of them in flight. It is a hint: it changes
//! nothing, and what it reads may be changing, so it trusts no word.

use super::node::Node;
use super::tree::{BTree, MAX_HEIGHT};
use super::{Command, command::take_u64};
use std::sync::atomic::Ordering::Relaxed;

/// How many commands go down together; the machine keeps about as many misses in flight.
pub const WARM_BATCH: usize = 32;

/// One command on its way down.
#[derive(Clone, Copy)]
struct Descent<'a> {
    key: u64,
    /// Inserts and deletes move all entries behind theirs.
    moves_entries: bool,
    node: Node<'a>,
}

impl BTree {
    pub(super) fn warm_commands(&self, commands: &[&[u8]]) {
        for batch in commands.chunks(WARM_BATCH) {
            self.warm_batch(batch);
        }
    }

    fn warm_batch(&self, commands: &[&[u8]]) {
        let Some(root) = self.node_if_mapped(u64::from(self.shape.root.load(Relaxed))) else {
            return;
        };
        let mut descents = [Descent { key: 0, moves_entries: false, node: root }; WARM_BATCH];
        let mut count = 0;
        for command in commands {
            let Some((key, moves_entries)) = target(command) else { continue };
            descents[count] = Descent { key, moves_entries, node: root };
            count += 1;
        }
        let descents = &mut descents[..count];
        let height = (root.level() as usize).min(MAX_HEIGHT);
        for level in (1..=height).rev() {
            // The nodes of the lowest inner level do not fit the near caches.
            if level == 1 && height > 1 {
                for descent in &*descents {
                    descent.node.fetch_block(descent.key, false);
                }
            }
            for descent in &mut *descents {
                let child = descent.node.value(descent.node.child_index(descent.key));
                if let Some(child) = self.node_if_mapped(child) {
                    child.fetch_header();
                    descent.node = child;
                }
            }
        }
        for descent in descents {
            descent.node.fetch_block(descent.key, descent.moves_entries);
        }
    }

    /// The node that `word` names, if it names one: a word read in a race may be anything.
    #[inline(always)]
    fn node_if_mapped(&self, word: u64) -> Option<Node<'_>> {
        let lines = self.arena.node_if_mapped(u32::try_from(word).ok()?)?;
        Some(Node::new(lines, self.layout))
    }
}

/// The key that a command looks for, and whether it moves entries.
#[inline]
fn target(command: &[u8]) -> Option<(u64, bool)> {
    let (&opcode, rest) = command.split_first()?;
    let (key, _) = take_u64(rest)?;
    Some((key, Command::is_opcode_dependent(opcode)))
}
