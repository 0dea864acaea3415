//! Execution models: what a replica does with ordered deliveries.
//!
//! Layer 3, sans-io. A replica does not know Paxos: it sees deliveries in merged order. A worker is
//! polled and never waits inside; synchronous mode is a state, so that Algorithm 1 runs unchanged
//! on pinned threads, in the simulator and under loom.

mod checkpoint;
mod chunks;
mod config;
mod counters;
mod expiry;
mod feed;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod markers;
mod psmr;
mod recovery;
mod retries;
mod sessions;
mod shared;
mod transfer;
mod witnesses;
mod words;

pub use checkpoint::{Checkpoint, Checkpoints};
pub use config::{Barrier, Executor, ReplyPolicy, Retry, SessionLimits, WorkerConfig};
pub use counters::WorkerCounters;
pub use expiry::SessionTimer;
#[cfg(any(test, fuzzing))]
pub(crate) use fuzz::fuzz;
pub use markers::{CheckpointTimer, DigestTimer};
pub use psmr::PsmrWorker;
pub use recovery::Recovery;
pub use shared::Shared;
pub use transfer::{Fetched, Fetching};
pub use witnesses::{Divergence, Witnesses};

pub(crate) use chunks::cut;

use crate::types::{Address, GroupId, GroupSet, NodeId, RingId, Slot, Time};
use crate::wire::{CheckpointRequest, Command, Control, DigestReport, DigestVote, Reply};

/// Values in the order in which a worker must execute them.
pub trait Deliveries {
    /// Moves on to the next value and lets go of the one before. `None`: nothing more is decided in
    /// order yet; the one before stays gone.
    fn advance(&mut self) -> Option<Delivery>;

    /// The bytes of the value that [`Deliveries::advance`] moved to last: a batch of commands.
    fn bytes(&self) -> &[u8];
}

/// Where a delivered value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The ring that ordered it: a group's own, or g_all's.
    pub ring: RingId,
    /// Its slot in that ring: with the index in the batch, a position.
    pub slot: Slot,
}

/// Takes what a worker says to the world.
pub trait WorkerOutbox {
    /// Answers a client at `to`.
    fn reply(&mut self, to: Address, reply: &Reply<'_>);

    /// Multicasts a command again (opt-PSMR: conservatively, after a failed check).
    fn multicast(&mut self, command: &Command<'_>);

    /// An application message ([`crate::wire::Mode::MESSAGE`]) has come in its turn.
    fn deliver(&mut self, delivery: Delivery, message: &Command<'_>) {
        let _ = (delivery, message);
    }

    /// Asks the worker at `to` for its checkpoint: this replica lacks its state.
    fn ask(&mut self, to: NodeId, request: &CheckpointRequest) {
        let _ = (to, request);
    }

    /// A digest point: the state of this replica at a place of the order.
    fn digest(&mut self, report: &DigestReport) {
        let _ = report;
    }

    /// A replica's vote on its state has come in the order; told once a replica, while it is level.
    fn vote(&mut self, vote: &DigestVote) {
        let _ = vote;
    }

    /// `worker` has come to a marker of who looks for silent sessions.
    fn marker(&mut self, worker: GroupId, control: &Control) {
        let _ = (worker, control);
    }
}

/// How many commands a worker may take on in one poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps(pub u32);

/// What a poll came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to deliver.
    Idle,
    /// Took this many steps, and may have more to do.
    Worked(u32),
    /// Nothing to deliver: it went on with a checkpoint, which others need not wait for.
    Swept,
    /// Waits in synchronous mode for the other workers of the set.
    Blocked(GroupSet),
}

/// One worker of one replica, under any execution model.
pub trait Worker {
    /// Takes up to `budget` steps.
    fn poll(
        &mut self,
        deliveries: &mut impl Deliveries,
        budget: Steps,
        now: Time,
        out: &mut impl WorkerOutbox,
    ) -> Progress;

    /// [`Worker::next_timeout`] has come: repeats what was multicast and not yet delivered.
    fn on_timeout(&mut self, now: Time, out: &mut impl WorkerOutbox);

    /// When this worker wants [`Worker::on_timeout`] next.
    fn next_timeout(&self) -> Option<Time>;
}
