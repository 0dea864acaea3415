//! Services: what a replica executes, and what it must know of a command to do so in parallel.
//!
//! Layer 2. A service that implements these traits once runs under every execution model. It is
//! deterministic: replies, state and digest depend on the commands and their order alone.

pub mod btree;
pub mod counters;
mod cuts;
mod lease;
pub mod null;

pub use cuts::{Cuts, Swept};
pub use lease::{Access, Lease};

use crate::types::{Digest, GroupId, GroupSet, Sequence, SessionId};
use thiserror::Error;

/// Who issued a command, for services whose state depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The session.
    pub session: SessionId,
    /// The number in the session.
    pub sequence: Sequence,
}

/// A service whose state is divided among the groups, so that threads can execute at once.
///
/// State is reached through `&self`: its words are relaxed atomics (plain moves on x86), and a
/// [`Lease`] says which of them a call may touch. Ordering between threads comes from the
/// rendezvous of synchronous mode, never from the service.
pub trait PartitionedService: GroupMap + Send + Sync + 'static {
    /// The longest reply of a command that changes state, in bytes: replicas keep these replies to
    /// answer duplicates, in slots of this size.
    const MAX_WRITE_REPLY: usize;

    /// Executes `command` within `lease` and appends the reply.
    fn execute(
        &self,
        lease: &mut Lease<'_>,
        context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    );

    /// Pulls what `commands` will touch into the cache, their misses overlapping. Changes nothing,
    /// may do nothing, may race with writers: a hint.
    fn warm(&self, commands: &[&[u8]]) {
        let _ = commands;
    }

    /// A digest of the whole state. Equal after equal commands on every replica and model.
    fn digest(&self, lease: &mut Lease<'_>) -> Digest;

    /// Makes a cut: what [`PartitionedService::sweep`] gives out from now on is the state as it is
    /// here, physical structure included, whatever is executed meanwhile. An earlier cut ends.
    fn cut(&self, lease: &mut Lease<'_>);

    /// Appends about `budget` pieces of the state at the cut: of those of `group`, what nobody has
    /// given out yet, and what had to be saved since the last sweep. Pieces may stand in any order.
    fn sweep(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        budget: usize,
        sink: &mut Vec<u8>,
    ) -> Swept;

    /// Writes the whole state, physical structure included.
    fn snapshot(&self, lease: &mut Lease<'_>, sink: &mut Vec<u8>) {
        self.cut(lease);
        for group in (0..self.groups()).map(GroupId::new) {
            while self.sweep(lease, group, usize::MAX, sink) == Swept::More {}
        }
    }

    /// Replaces the whole state by a snapshot's: what the sweeps of all groups gave out after one cut,
    /// one after the other in any order.
    ///
    /// # Errors
    /// If the snapshot is not one of this service with these settings; the state is unspecified.
    fn restore(&self, lease: &mut Lease<'_>, snapshot: &[u8]) -> Result<(), RestoreError>;
}

/// Why a snapshot was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// The machine has no memory for it.
    #[error("there is no memory for the snapshot")]
    Memory,
    /// It ends early or is not well formed.
    #[error("the snapshot is truncated or malformed")]
    Malformed,
    /// It was made with other immutable settings.
    #[error("the snapshot's {setting} is {found}, this service's is {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// In the snapshot.
        found: u64,
        /// In this service.
        expected: u64,
    },
}

/// Maps commands to the groups that must deliver them. One implementation for clients and replicas.
pub trait GroupMap {
    /// K: how many groups there are.
    fn groups(&self) -> usize;

    /// CC-G: every group that the command could possibly concern. Includes the optimistic set.
    fn conservative(&self, command: &[u8]) -> GroupSet;

    /// OC-G: the groups by static dependencies only. Where it differs from CC-G, the command runs
    /// only after its check has passed.
    fn optimistic(&self, command: &[u8]) -> GroupSet {
        self.conservative(command)
    }

    /// Whether the command changes nothing.
    fn is_read(&self, command: &[u8]) -> bool;
}

impl<T: GroupMap + ?Sized> GroupMap for std::sync::Arc<T> {
    fn groups(&self) -> usize {
        (**self).groups()
    }

    #[inline]
    fn conservative(&self, command: &[u8]) -> GroupSet {
        (**self).conservative(command)
    }

    #[inline]
    fn optimistic(&self, command: &[u8]) -> GroupSet {
        (**self).optimistic(command)
    }

    #[inline]
    fn is_read(&self, command: &[u8]) -> bool {
        (**self).is_read(command)
    }
}

/// A service of opt-PSMR: it can tell, alone in one group, whether a command is safe there.
pub trait Optimistic: PartitionedService {
    /// Executes `command` as group `group`'s worker alone if that is safe. A failure leaves state,
    /// physical structure included, as it was, and appends nothing to `reply`.
    ///
    /// A service that can tell by looking implements this as its safety check followed by
    /// `execute` (Algorithm 1 of the paper); one that must execute to know, as execute and undo.
    fn try_execute(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) -> Verdict;
}

/// What a safety check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Safe (and executed).
    Pass,
    /// Not safe for its structure: it would split, merge or underflow.
    FailStructure,
    /// Not safe for its bounds: it concerns state that another group may touch.
    FailBounds,
}
