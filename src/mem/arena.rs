//! Nodes of equal size, named by u32, in chunks that never move.

use super::{Line, Pages, Rung};
use std::fmt;
use std::io;
use std::sync::OnceLock;

/// Memory for up to 2^32 nodes of equal size. It grows a chunk at a time; a node stays where it is,
/// so that threads can go on reading while another one grows the arena.
///
/// Who owns which node is not its affair: every node is always there to be read, zeroed at first.
pub struct Arena {
    chunks: Box<[OnceLock<Pages>]>,
    lines_per_node: usize,
    /// Nodes of a chunk are 2^shift.
    shift: u32,
}

impl Arena {
    /// An arena of nodes of `lines_per_node` cache lines that grows by 2^`chunk_shift` nodes up to
    /// `limit` nodes. Nothing is mapped yet.
    ///
    /// # Panics
    /// If `lines_per_node` is 0 or a chunk is not smaller than 2^32 nodes.
    #[must_use]
    pub fn new(lines_per_node: usize, chunk_shift: u32, limit: u32) -> Self {
        assert!(lines_per_node > 0 && chunk_shift < 32);
        let chunks = limit.div_ceil(1 << chunk_shift);
        let chunks = (0..chunks).map(|_| OnceLock::new()).collect();
        Self { chunks, lines_per_node, shift: chunk_shift }
    }

    /// Makes sure that nodes 0 to `nodes` - 1 are there.
    ///
    /// # Errors
    /// If the machine has no memory left, or `nodes` is above the limit.
    pub fn ensure(&self, nodes: u32) -> io::Result<()> {
        let chunks = nodes.div_ceil(1 << self.shift) as usize;
        let Some(wanted) = self.chunks.get(..chunks) else {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "the arena's limit is reached"));
        };
        // Chunks are mapped in order: the last one that is missing has all missing ones before it.
        let missing = wanted.iter().rposition(|chunk| chunk.get().is_some()).map_or(0, |i| i + 1);
        for chunk in &wanted[missing..] {
            let pages = Pages::zeroed(self.lines_per_node << self.shift)?;
            let is_set = chunk.set(pages).is_ok();
            assert!(is_set, "one thread at a time grows an arena");
        }
        Ok(())
    }

    /// The lines of node `id`.
    ///
    /// # Panics
    /// If it was never made sure of.
    #[inline]
    #[must_use]
    pub fn node(&self, id: u32) -> &[Line] {
        self.node_if_mapped(id).expect("a node's memory is mapped before its name is known")
    }

    /// The lines of node `id`, whatever number that is.
    #[inline]
    #[must_use]
    pub fn node_if_mapped(&self, id: u32) -> Option<&[Line]> {
        let pages = self.chunks.get((id >> self.shift) as usize)?.get()?;
        let index = (id & ((1 << self.shift) - 1)) as usize;
        pages.lines().get(index * self.lines_per_node..)?.get(..self.lines_per_node)
    }

    /// The worst rung that any chunk stands on; [`Rung::Small`] while nothing is mapped.
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.chunks.iter().filter_map(OnceLock::get).map(Pages::rung).max().unwrap_or(Rung::Small)
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapped = self.chunks.iter().filter(|chunk| chunk.get().is_some()).count();
        write!(f, "Arena({mapped} chunks of 2^{} nodes, {})", self.shift, self.rung())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn an_arena_grows_without_moving_a_node_and_refuses_to_pass_its_limit() {
        let arena = Arena::new(3, 2, 10);
        assert!(arena.node_if_mapped(0).is_none());
        arena.ensure(1).expect("memory");
        let first = arena.node(0).as_ptr();
        arena.node(3)[2].0[7].store(5, Relaxed);
        assert!(arena.node_if_mapped(4).is_none());
        arena.ensure(10).expect("memory");
        assert_eq!(arena.node(0).as_ptr(), first);
        assert_eq!(arena.node(3)[2].0[7].load(Relaxed), 5);
        assert_eq!(arena.node(9).len(), 3);
        assert!(arena.node_if_mapped(u32::MAX).is_none());
        assert!(arena.ensure(13).is_err());
    }
}
