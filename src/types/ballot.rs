//! Ballots and value ids (PROTOCOL 1, rule 1).

use super::NodeId;
use bytemuck::{Pod, Zeroable};
use std::fmt;

/// 64 random bits drawn by the host at start: one life of one process. Passed in, never drawn here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Incarnation(pub u64);

/// A life of an acceptor that keeps a log. They are numbered from 1, each above those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Life {
    /// Its number; 0: it has none.
    pub number: u64,
    /// The process that lives it.
    pub incarnation: Incarnation,
}

/// A ballot: ordered by round, then node, then incarnation. The zero ballot is below every real one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Ballot {
    /// The round, from 1; 0 only in [`Ballot::ZERO`].
    pub round: u32,
    /// The node that coordinates the ballot.
    pub node: NodeId,
    /// Always zero.
    pub reserved: u16,
    /// The coordinator's life: a restarted node cannot reuse its own ballots.
    pub incarnation: Incarnation,
}

const _: () = assert!(size_of::<Ballot>() == 16);

impl Ballot {
    /// Below every real ballot.
    pub const ZERO: Self = Self::new(0, NodeId(0), Incarnation(0));

    /// A ballot of `node` in its life `incarnation`.
    #[must_use]
    pub const fn new(round: u32, node: NodeId, incarnation: Incarnation) -> Self {
        Self { round, node, reserved: 0, incarnation }
    }

    /// The least ballot of `node` that is above this one.
    #[must_use]
    pub const fn above(self, node: NodeId, incarnation: Incarnation) -> Self {
        Self::new(self.round + 1, node, incarnation)
    }
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}/{:x}", self.round, self.node, self.incarnation.0 & 0xffff)
    }
}

/// Names one value for ever: no two values share an id, whoever proposes them and whenever.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct ValueId {
    /// The life of the coordinator that made the value.
    pub incarnation: Incarnation,
    /// Counts the values of that life, from 1. The node number is the top 16 bits.
    pub counter: u64,
}

const _: () = assert!(size_of::<ValueId>() == 16);

impl ValueId {
    /// The id of no value.
    pub const NONE: Self = Self { incarnation: Incarnation(0), counter: 0 };

    /// The `counter`-th value that `node` made in its life `incarnation`.
    ///
    /// # Panics
    /// If `counter` needs more than 48 bits (8,900 years at a million values a second).
    #[must_use]
    pub const fn new(node: NodeId, incarnation: Incarnation, counter: u64) -> Self {
        assert!(counter < 1 << 48);
        Self { incarnation, counter: (node.0 as u64) << 48 | counter }
    }
}

impl fmt::Debug for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, count) = (self.counter >> 48, self.counter & ((1 << 48) - 1));
        write!(f, "v{node}.{count}/{:x}", self.incarnation.0 & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballots_order_by_round_then_node_then_incarnation() {
        let a = Ballot::new(1, NodeId(2), Incarnation(9));
        assert!(Ballot::ZERO < a);
        assert!(a < Ballot::new(1, NodeId(3), Incarnation(0)));
        assert!(a < Ballot::new(1, NodeId(2), Incarnation(10)));
        assert!(a < a.above(NodeId(0), Incarnation(0)));
    }
}
