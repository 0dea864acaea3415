//! What a cluster is: the contents of cluster.toml, checked.

use super::Digests;
use crate::types::RingId;
use crate::wire::Room;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

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

/// What a crash may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Acceptors remember in memory: f of 2f + 1 may crash, a loss of power at all is the end.
    Memory,
    /// Acceptors write to disks that honour a flush: power may be lost everywhere.
    Sync,
}

/// Where the workers of a set meet in synchronous mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// At every command.
    Command,
    /// Once an instance.
    Instance,
}

/// Who executes in synchronous mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// The work goes round.
    Rotate,
    /// The lowest worker of the set.
    Lowest,
}

/// Who multicasts a command again whose check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The replicas.
    Replica,
    /// The client.
    Client,
}

/// Who answers a command that changes state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The replica that the client names.
    One,
    /// Every replica.
    All,
}

/// How idle threads wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// They sleep until something comes.
    Park,
    /// They yield their core.
    Yield,
    /// They spin.
    Spin,
}

/// What sockets are read and written by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// An io_uring, or where the machine forbids it plain system calls.
    Auto,
    /// An io_uring; else nodes and clients are refused.
    Uring,
    /// Plain system calls.
    Socket,
}

/// What is replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A B+-tree of 8-byte keys and values.
    Btree(Btree),
    /// A bank of bounded counters, that many of them.
    Counters(u32),
    /// A running hash.
    Null {
        /// Further rounds of it that each command costs.
        work: u32,
    },
}

/// The settings of a B+-tree. All of it is replicated state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Btree {
    /// Keys that every replica loads at its start: the even numbers below twice as many.
    pub keys: u64,
    /// The groups divide the keys below this.
    pub key_space: u64,
    /// The most entries of a node.
    pub capacity: usize,
    /// The least entries of a node, percent of the capacity.
    pub minimum: usize,
    /// How full the load makes the leaves, percent.
    pub fill: usize,
    /// Leaves are cut at partition bounds where possible.
    pub is_aligned: bool,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name in this file.
    pub name: String,
    /// The address of the interface that carries the multicast, and of its nodes.
    pub address: Ipv4Addr,
}

/// One acceptor or one replica: what `psmr node --id` starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its place among its kind: the names of nodes on the wire are made of it.
    pub number: u16,
    /// The epoch in which it came.
    pub since: u32,
    /// Its name.
    pub id: String,
    /// Where its first thread listens; further threads of a replica have the next ports.
    pub address: SocketAddrV4,
    /// The CPUs of its threads in turn; none: wherever the kernel puts them.
    pub cores: Vec<u32>,
}

/// What the rings are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordering {
    /// M: slots of a ring in one turn of the merge.
    pub turn: u64,
    /// Slots a second that idle rings skip without hearing of others.
    pub lambda: u64,
    /// Bytes of commands at which a batch leaves.
    pub batch_bytes: usize,
    /// How long a batch waits for company while something is in flight.
    pub batch_delay: Duration,
    /// Batches that may wait for the window.
    pub queue: u64,
    /// Bytes in flight; 0: half of the smallest socket buffer.
    pub window_bytes: usize,
    /// Instances that an acceptor's log holds.
    pub log_instances: usize,
    /// Instances that may be proposed beyond the slowest replica's applied one.
    pub apply_bound: u64,
    /// Silence after which a 2A leaves again.
    pub resend: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// T of the election.
    pub election_timeout: Duration,
    /// Repairs that an idle ring may answer, bytes a millisecond.
    pub repair_rate: usize,
}

/// How replicas execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Where workers meet.
    pub barrier: Barrier,
    /// Who executes there.
    pub executor: Executor,
    /// Who repeats after a failed check.
    pub retry: Retry,
    /// Who replies.
    pub reply: Reply,
    /// Threads that the workers of a replica share.
    pub worker_threads: usize,
    /// The most bytes of a command.
    pub command_bytes: usize,
    /// The least time between two digest points; zero: there are none.
    pub digest_interval: Duration,
    /// When a replica stops whose workers wait for each other although all that they need is
    /// decided; zero: never.
    pub rendezvous_timeout: Duration,
    /// How often replicas make a checkpoint while something is ordered; zero: never.
    pub checkpoint_interval: Duration,
    /// A replica that is silent for longer is not waited for; it returns by a checkpoint.
    pub replica_patience: Duration,
    /// Sessions that may be open at once.
    pub sessions: usize,
    /// When the session of a client expires that neither asks nor refreshes it; zero: never.
    pub session_timeout: Duration,
    /// W: commands of a session that may be without an answer.
    pub window: usize,
}

/// What clients do unless told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// When a command without an answer is sent again.
    pub attempt_timeout: Duration,
    /// When it is given up as unknown.
    pub deadline: Duration,
}

/// Sockets and rings of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// A sender sends a copy to each member of a ring: the network carries no multicast.
    pub is_unicast: bool,
    /// What sockets are read and written by.
    pub io: Io,
    /// How much a datagram holds.
    pub room: Room,
    /// The newest wire version that is spoken here.
    pub newest_wire: u8,
    /// How many routers a multicast may pass.
    pub ttl: u8,
    /// Socket buffer that is asked for, bytes a socket.
    pub socket_buffer: usize,
    /// Receive buffers of a thread.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: usize,
    /// A kernel thread submits.
    pub sqpoll: bool,
    /// Sends are without a copy.
    pub send_zc: bool,
    /// How long a wait gathers completions.
    pub min_wait: Duration,
    /// How long a wait polls the network card.
    pub busy_poll: Duration,
}

/// How datagrams are authenticated. Paths are as the file writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authentication {
    /// The nodes' keys; `None`: nobody authenticates anything.
    pub key_file: Option<PathBuf>,
    /// A client's keys; `None`: clients on hosts that have the nodes' keys are client 1.
    pub client_key_file: Option<PathBuf>,
    /// Runs over several hosts although datagrams carry no authentication.
    pub is_insecure: bool,
}

/// How figures leave a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where Prometheus fetches them from each process; `None`: nowhere.
    pub listen: Option<SocketAddrV4>,
}

/// A whole cluster. Made by [`super::Config::read`], so all of it is in its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its id, in every datagram.
    pub id: u64,
    /// The epoch of the configuration.
    pub epoch: u32,
    /// The wire version that its members speak in it.
    pub wire: u8,
    /// The execution model.
    pub model: Model,
    /// K: groups, and workers a replica.
    pub threads: usize,
    /// What a crash may cost.
    pub durability: Durability,
    /// Where nodes keep what they must not forget, a directory each.
    pub data_dir: PathBuf,
    /// The machines.
    pub hosts: Vec<Host>,
    /// The acceptors, the same for every ring.
    pub acceptors: Vec<Node>,
    /// The replicas.
    pub replicas: Vec<Node>,
    /// The multicast group of each ring: one a group of commands, and with several of them one for
    /// all.
    pub rings: Vec<SocketAddrV4>,
    /// The rings' settings.
    pub ordering: Ordering,
    /// The replicas' settings.
    pub execution: Execution,
    /// What is replicated.
    pub service: Service,
    /// The clients' defaults.
    pub client: Client,
    /// Sockets.
    pub network: Network,
    /// How idle threads wait.
    pub wait: Wait,
    /// Who is believed.
    pub authentication: Authentication,
    /// How figures leave a process.
    pub metrics: Metrics,
    /// What must agree.
    pub digests: Digests,
}

impl Cluster {
    /// Each ring's multicast group.
    pub fn groups(&self) -> impl Iterator<Item = (RingId, SocketAddrV4)> {
        (0..).map(RingId).zip(self.rings.iter().copied())
    }

    /// Every node's name and address, acceptors first.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.acceptors.iter().chain(&self.replicas)
    }

    /// Whether it runs on the loopback interface alone.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.hosts.iter().all(|host| host.address.is_loopback())
    }
}
