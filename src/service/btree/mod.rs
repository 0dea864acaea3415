//! The papers' service: a B+-tree of 8-byte keys and values, replicated by threads that share it.
//!
//! The tree is an arena of nodes named by u32 (`node.rs` has their layout), all words relaxed
//! atomics. Who may do what follows from the protocol, not from latches:
//! - reads and updates in place touch one slot each, so the groups of a leaf that straddles two
//!   partitions do not disturb each other; updates need no check;
//! - an insert or a delete moves the entries of a leaf. It runs in parallel mode only where the
//!   safety check has found that the leaf belongs to one partition whole and neither splits nor
//!   underflows (`safety`); otherwise under [`Access::Whole`], when all other workers are parked;
//! - nodes split, merge and borrow under [`Access::Whole`] alone, so inner nodes stand still in
//!   parallel mode. Warming (`warm.rs`) alone may race with that: it follows names of nodes that are
//!   always mapped, checks each, and gives up after a bounded number of steps.
//!
//! A lookup in 10 M keys is five nodes: the upper three stay in the nearest caches, the fourth
//! (5 MB a level) in the last-level cache, the leaf is two cache misses in sequence. `warm` takes
//! up to 32 commands down level by level, so that their misses overlap.
//!
//! The structure is replicated state: capacity, minimum, K, the map and how the tree was loaded are
//! immutable [`Settings`], equal at all replicas; a snapshot restores the same leaves.

mod command;
mod delete;
mod digest;
mod execute;
mod hints;
mod insert;
mod invariants;
mod load;
mod map;
mod node;
mod races;
mod safety;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod tree;
mod warm;

pub use command::{Command, Outcome, Pair};
pub use load::LoadError;
pub use map::{KeysAbove, PartitionMap};
pub use safety::CheckCounts;
pub use settings::{Separators, Settings, SettingsError};
pub use tree::BTree;
pub use warm::WARM_BATCH;

#[cfg(doc)]
use crate::service::Access;
