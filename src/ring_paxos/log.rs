//! Where an acceptor writes what it must not forget, and how it hears that it is written.
//!
//! Promise, 2B, and the coordinator's own vote leave only once the record that they speak of is
//! persistent (rule 4). A log that completes later is followed by a call of `on_persisted`.

use crate::types::{Ballot, Instance, Life, NodeId, Slot, ValueId};
use crate::wire::Value;

/// A log sequence number: records persist in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// What an acceptor writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'a> {
    /// It promised.
    Promise(Ballot),
    /// It accepted; implies the promise of the same ballot.
    Accept {
        /// The instance.
        instance: Instance,
        /// The ballot.
        ballot: Ballot,
        /// The value's name.
        id: ValueId,
        /// The value.
        value: Value<'a>,
    },
    /// Everything up to `trim` is decided and forgotten.
    Trim {
        /// The mark.
        trim: Instance,
        /// Some decided instance, and the first slot behind it.
        known: (Instance, Slot),
    },
    /// It had lost its memory and is re-admitted: from here on it votes.
    Admitted,
    /// What it knew is lost, or was never there: until it is admitted it has no vote.
    Lost,
    /// An acceptor, perhaps this one, has begun a life.
    Life {
        /// Which acceptor.
        node: NodeId,
        /// The life.
        life: Life,
    },
}

/// What a log holds of a former life.
pub trait Replay {
    /// Shows `take` every record, in the order of the log.
    fn replay(&self, take: &mut dyn FnMut(&Record<'_>));
}

/// An acceptor's stable storage.
pub trait Log {
    /// Writes `record` behind all others; it counts as written once [`Log::persisted`] says so.
    fn append(&mut self, record: &Record<'_>) -> Lsn;

    /// Up to where everything is persistent.
    fn persisted(&self) -> Lsn;
}

/// Durability `memory`: the acceptor's window is its log, so a record is as persistent at once as
/// it will ever be. Survives f crashes, not the loss of power at all nodes.
#[derive(Debug, Default)]
pub struct MemoryLog {
    last: Lsn,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: Lsn(0) }
    }
}

impl Log for MemoryLog {
    #[inline]
    fn append(&mut self, _: &Record<'_>) -> Lsn {
        self.last.0 += 1;
        self.last
    }

    #[inline]
    fn persisted(&self) -> Lsn {
        self.last
    }
}
