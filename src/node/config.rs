//! What a whole cluster in one process is made of, and why it could not be launched.

use super::builder::{Blueprint, CheckpointPlan};
use super::logs::Durability;
use super::roster::Roster;
use super::watchdog::Halt;
use crate::config::Unspoken;
use crate::host::affinity::CpuId;
use crate::host::threads::StartError;
use crate::proxy::Grouping;
use crate::replica::{Barrier, Executor, ReplyPolicy, Retry, SessionLimits};
use crate::ring_paxos::RingConfig;
use crate::service::RestoreError;
use crate::storage::StorageError;
use crate::sync::WaitPolicy;
use crate::transport::udp;
use crate::types::{Digest, Random, RingId};
use crate::wire::{Keyring, Room};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// The execution model of every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// One group, one worker.
    Smr,
    /// K workers; conservative groups.
    Psmr,
    /// K workers; optimistic groups, safety checks.
    OptPsmr,
}

/// What carries the cluster's datagrams.
#[derive(Clone, Debug)]
pub enum Transport {
    /// IP multicast, or copies to each member, by UDP.
    Udp(udp::Config),
    /// Bounded byte rings between the threads.
    Memory,
}

/// How clients reach the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPath {
    /// Through bounded byte rings in memory.
    InProcess,
    /// By UDP datagrams.
    Datagram,
}

/// A cluster in one process. Sizes are checked by [`super::run`].
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The execution model.
    pub model: Model,
    /// K: workers a replica; 1 with [`Model::Smr`].
    pub groups: usize,
    /// How many replicas.
    pub replicas: usize,
    /// Acceptors a ring; odd.
    pub acceptors: usize,
    /// What carries datagrams.
    pub transport: Transport,
    /// Threads that host acceptors: acceptor i of every ring is on thread i modulo this.
    pub orderers: usize,
    /// What the acceptors survive.
    pub durability: Durability,
    /// How clients reach the cluster.
    pub client_path: ClientPath,
    /// Where the workers of a group meet.
    pub barrier: Barrier,
    /// Who executes in synchronous mode.
    pub executor: Executor,
    /// Who sends a command again whose check failed.
    pub retry: Retry,
    /// Who replies.
    pub reply: ReplyPolicy,
    /// Commands that one session may have open.
    pub window: usize,
    /// Sessions of each client thread; one load a thread.
    pub sessions: Vec<usize>,
    /// How threads wait.
    pub wait: WaitPolicy,
    /// Threads that run the workers of a replica, 1 to `groups`: with fewer than `groups`, several
    /// workers take turns on one, and a rendezvous between them is no switch of threads.
    pub worker_threads: usize,
    /// The CPU of each thread: ordering threads, worker threads replica by replica, clients. Threads
    /// without one run where the kernel puts them.
    pub cpus: Vec<CpuId>,
    /// M: slots of a ring in one turn of the merge.
    pub m: u64,
    /// Slots a second that idle rings skip without hearing of others; 0: only as far as they hear.
    pub lambda_per_s: u64,
    /// How much a datagram holds.
    pub room: Room,
    /// How often the replicas make a checkpoint, in memory; zero: never.
    pub checkpoint_interval: Duration,
    /// The largest payload of a command, in bytes.
    pub command_limit: usize,
    /// Digest of the service's immutable settings.
    pub service_digest: Digest,
    /// The nodes' keys, if datagrams are authenticated.
    pub keyring: Option<Arc<Keyring>>,
    /// Received datagrams that the fault layer drops, in percent, each segment alone.
    pub loss_percent: f64,
    /// Seeds the fault layer and every random back-off.
    pub seed: u64,
    /// When a client sends a command again that has no answer.
    pub attempt_timeout: Duration,
    /// When a client gives a command up as unknown.
    pub deadline: Duration,
    /// When a replica stops whose workers wait for each other although all that they need is
    /// decided; zero: never.
    pub rendezvous_timeout: Duration,
    /// When the session of a client expires that neither asks nor refreshes it; zero: never.
    pub session_timeout: Duration,
}

impl ClusterConfig {
    /// What the session tables of the replicas hold: the clients' sessions and as many again.
    pub(super) fn session_limits(&self) -> SessionLimits {
        let sessions: usize = self.sessions.iter().sum();
        SessionLimits { sessions: (2 * sessions).max(16), window: self.window }
    }

    /// What its threads are made of.
    pub(super) fn blueprint(&self) -> Blueprint {
        let acceptors = Roster::new(self).acceptors();
        Blueprint {
            grouping: match self.model {
                Model::Smr | Model::Psmr => Grouping::Conservative,
                Model::OptPsmr => Grouping::Optimistic,
            },
            barrier: self.barrier,
            executor: self.executor,
            retry: self.retry,
            reply: self.reply,
            m: self.m,
            lambda_per_s: self.lambda_per_s,
            ring: RingConfig::new(RingId(0), acceptors).with_room(self.room),
            checkpoints: CheckpointPlan {
                interval: self.checkpoint_interval,
                patience: Duration::from_secs(1),
                is_strict: self.durability != Durability::Memory,
                ..CheckpointPlan::NONE
            },
            command_limit: self.command_limit,
            window: self.window,
            attempt_timeout: self.attempt_timeout,
            deadline: self.deadline,
            rendezvous_timeout: self.rendezvous_timeout,
            session_timeout: self.session_timeout,
        }
    }

    /// Digest of all that must be equal at every node for ever; part of every datagram.
    pub(super) fn digest(&self) -> u64 {
        let words = [
            self.model as u64,
            self.groups as u64,
            self.replicas as u64,
            self.acceptors as u64,
            self.barrier as u64,
            self.executor as u64,
            self.retry as u64,
            self.window as u64,
            self.m,
            self.room.datagram() as u64,
            self.service_digest.0,
        ];
        words.iter().fold(0, |digest, word| Random::new(digest ^ *word).next())
    }
}

/// Why a cluster could not be launched, or ended early.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The transport could not be set up: the environment's fault.
    #[error(transparent)]
    Transport(#[from] udp::LaunchError),
    /// The links between threads could not be made.
    #[error("no memory or file descriptors for the links between threads ({0}): see ulimit -n")]
    Links(std::io::Error),
    /// The kernel gave no random bits.
    #[error("no random bits for this process's incarnation: {0}")]
    Random(std::io::Error),
    /// A thread could not be started.
    #[error(transparent)]
    Thread(#[from] StartError),
    /// A thread's network failed.
    #[error("thread {name}: the network failed: {source}")]
    Network {
        /// The thread.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log of an acceptor failed.
    #[error("thread {name}: {error}")]
    Log {
        /// The thread.
        name: String,
        /// What failed.
        error: StorageError,
    },
    /// A replica stopped itself: what it would do next could not be right.
    #[error("thread {name}: {halt}")]
    Halted {
        /// The thread.
        name: String,
        /// Why.
        halt: Halt,
    },
    /// A replica whose state is wrong stopped itself, and its checkpoint is where it was.
    #[error(
        "{halt}; but it could not be put aside ({path}: {source}): do so before the next start"
    )]
    Untold {
        /// Why it stopped.
        halt: Halt,
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The cluster speaks a wire version that is not spoken here.
    #[error(transparent)]
    Unspoken(#[from] Unspoken),
    /// The file of a replica's last checkpoint cannot be read.
    #[error(
        "the replica's checkpoint {path} cannot be read: {source}: mend the disk, or, if another \
         replica runs, move the file away, and this one fetches that one's state"
    )]
    CheckpointFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A replica's last checkpoint is sound, but not of this service.
    #[error("the replica's checkpoint cannot be restored: {0}: remove its file `checkpoint`")]
    Checkpoint(RestoreError),
    /// A thread of a replica's workers panicked.
    #[error(
        "thread {name} {cause} ({places}); start it again: it goes on from its last checkpoint, or \
         fetches another replica's; if it ends there once more, see `A replica panics` in \
         docs/OPERATIONS.md"
    )]
    Panicked {
        /// Its name.
        name: String,
        /// The panic's message.
        cause: String,
        /// What its workers were in the middle of.
        places: String,
    },
    /// An agent ended by itself.
    #[error("thread {name} ended: {cause}")]
    Ended {
        /// Its name.
        name: String,
        /// What it said, or the panic's message.
        cause: String,
    },
    /// The replicas did not come to the same position after the load had ended.
    #[error("replicas are not level {waited:?} after the last command: positions {positions:?}")]
    NotLevel {
        /// Values delivered, a worker each.
        positions: Vec<u64>,
        /// How long was waited.
        waited: Duration,
    },
}

/// A replica at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaFigure {
    /// Values delivered by all its workers.
    pub position: u64,
    /// Its state's digest there.
    pub digest: Digest,
}
