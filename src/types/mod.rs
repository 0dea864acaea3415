//! The words of the papers as types: ids, ballots, group sets, positions and time.
//!
//! Layer 0, used by every module on the data path. Nothing here does I/O, allocates, or reads a
//! clock. Every number that could be mistaken for another has a type of its own.

mod ballot;
mod group;
mod id;
mod planted;
mod random;
mod replicas;
mod time;

pub use ballot::{Ballot, Incarnation, Life, ValueId};
pub use group::{GroupId, GroupSet, MAX_GROUPS};
pub use id::{
    Address, Digest, Instance, KeyNumber, NodeId, ReplicaId, RingId, Sequence, SessionId, Slot,
};
pub use planted::Bug;
pub use random::Random;
pub use replicas::{MAX_REPLICAS, ReplicaSet};
pub use time::Time;
