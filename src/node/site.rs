//! From a [`Cluster`] of cluster.toml to what this process builds of it.

use super::Book;
use super::bodies::Thread;
use super::builder::{Blueprint, Builder, CheckpointPlan};
use super::config::ClusterError;
use super::roster::Roster;
use crate::config::{self, Cluster};
use crate::host::affinity::{CpuId, allowed_cpus};
use crate::host::usage::draw_incarnation;
use crate::proxy::Grouping;
use crate::replica::{Barrier, Executor, ReplyPolicy, Retry, SessionLimits};
use crate::ring_paxos::{FormerLives, RingConfig};
use crate::sync::{CoreUse, WaitPolicy};
use crate::transport::{self, udp, uring};
use crate::types::{Address, NodeId, ReplicaId, RingId};
use crate::wire::Identity;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Who is who; this process has `clients` threads of clients.
pub(super) fn roster(cluster: &Cluster, clients: usize) -> Roster {
    let acceptors = cluster.acceptors.iter().map(|node| node.number);
    let replicas = cluster.replicas.iter().map(|node| node.number);
    Roster::of(acceptors, replicas, (cluster.threads, cluster.execution.worker_threads, clients))
}

/// What makes roles of this cluster.
pub(super) fn builder(cluster: &Cluster, clients: usize) -> Result<Builder, ClusterError> {
    let seed = draw_incarnation().map_err(ClusterError::Random)?;
    let roster = roster(cluster, clients);
    Ok(Builder::new(blueprint(cluster, &roster), roster, cluster.epoch, seed.0))
}

fn blueprint(cluster: &Cluster, roster: &Roster) -> Blueprint {
    let (ordering, execution) = (&cluster.ordering, &cluster.execution);
    Blueprint {
        grouping: match cluster.model {
            config::Model::Smr | config::Model::Psmr => Grouping::Conservative,
            config::Model::OptPsmr => Grouping::Optimistic,
        },
        barrier: match execution.barrier {
            config::Barrier::Command => Barrier::Command,
            config::Barrier::Instance => Barrier::Instance,
        },
        executor: match execution.executor {
            config::Executor::Rotate => Executor::Rotate,
            config::Executor::Lowest => Executor::Lowest,
        },
        retry: match execution.retry {
            config::Retry::Replica => Retry::Replica,
            config::Retry::Client => Retry::Client,
        },
        reply: match execution.reply {
            config::Reply::One => ReplyPolicy::One,
            config::Reply::All => ReplyPolicy::All,
        },
        m: ordering.turn,
        lambda_per_s: ordering.lambda,
        ring: RingConfig {
            instances: ordering.log_instances,
            room: cluster.network.room,
            batch_limit: ordering.batch_bytes,
            batch_delay: ordering.batch_delay,
            queue_limit: ordering.queue,
            window_bytes: ordering.window_bytes,
            apply_bound: ordering.apply_bound,
            resend: ordering.resend,
            heartbeat: ordering.heartbeat,
            election_timeout: ordering.election_timeout,
            repair_rate: ordering.repair_rate,
            ..RingConfig::new(RingId(0), roster.acceptors())
        },
        checkpoints: checkpoints(cluster),
        command_limit: execution.command_bytes,
        window: execution.window,
        attempt_timeout: cluster.client.attempt_timeout,
        deadline: cluster.client.deadline,
        rendezvous_timeout: execution.rendezvous_timeout,
        session_timeout: execution.session_timeout,
    }
}

/// How replicas make checkpoints, and what acceptors keep behind them.
pub(super) fn checkpoints(cluster: &Cluster) -> CheckpointPlan {
    CheckpointPlan {
        interval: cluster.execution.checkpoint_interval,
        patience: cluster.execution.replica_patience,
        is_strict: cluster.durability == config::Durability::Sync,
        joins: true,
        former_lives: match cluster.durability {
            config::Durability::Sync => FormerLives::in_version(cluster.wire),
            config::Durability::Memory => FormerLives::Unknown,
        },
    }
}

/// What the session tables hold.
pub(super) const fn limits(cluster: &Cluster) -> SessionLimits {
    let config::Execution { sessions, window, .. } = cluster.execution;
    SessionLimits { sessions, window }
}

/// Where every node listens: an acceptor's thread, a replica's threads each with its workers.
pub(super) fn book(cluster: &Cluster) -> Book {
    let mut book = Book::default();
    for acceptor in &cluster.acceptors {
        book.enter(NodeId(acceptor.number), Address::udp(acceptor.address));
    }
    let roster = roster(cluster, 0);
    for (replica, node) in roster.replicas().iter().zip(&cluster.replicas) {
        for (crew, port) in (0..roster.crews).zip(node.address.port()..) {
            let address = Address::udp(SocketAddrV4::new(*node.address.ip(), port));
            for group in roster.groups_of_crew(crew) {
                book.enter(roster.worker(*replica, group), address);
            }
        }
    }
    book
}

/// Where the nodes `ids` send from.
pub(super) fn senders(cluster: &Cluster, ids: &[String]) -> Vec<Address> {
    let roster = roster(cluster, 0);
    let addresses = |node: &config::Node, threads: usize| {
        let ip = *node.address.ip();
        let ports = (node.address.port()..).take(threads);
        ports.map(|port| Address::udp(SocketAddrV4::new(ip, port))).collect::<Vec<_>>()
    };
    let acceptors = cluster.acceptors.iter().map(|node| (node, 1));
    let replicas = cluster.replicas.iter().map(|node| (node, roster.crews));
    let named = acceptors.chain(replicas).filter(|(node, _)| ids.contains(&node.id));
    named.flat_map(|(node, threads)| addresses(node, threads)).collect()
}

/// What the threads of this process have in common; `threads` of them are on this host.
pub(super) fn thread(cluster: &Cluster, threads: usize) -> Result<Thread, ClusterError> {
    let identity = Identity {
        cluster: cluster.id,
        configuration: cluster.digests.configuration(),
        epoch: cluster.epoch,
        version: cluster.wire,
        incarnation: draw_incarnation().map_err(ClusterError::Random)?,
    };
    let wait = match cluster.wait {
        config::Wait::Park => WaitPolicy::Park,
        config::Wait::Yield => WaitPolicy::Yield,
        config::Wait::Spin => WaitPolicy::Spin,
    };
    let core = if threads > allowed_cpus().len() { CoreUse::Shared } else { CoreUse::Own };
    let mut thread = Thread::new(wait, identity, core);
    thread.is_durable = cluster.durability == config::Durability::Sync;
    Ok(thread)
}

/// Threads of all nodes at `address`: as many as share its cores.
pub(super) fn threads_at(cluster: &Cluster, address: Ipv4Addr) -> usize {
    let is_there = |node: &&config::Node| *node.address.ip() == address;
    let acceptors = cluster.acceptors.iter().filter(is_there).count();
    let replicas = cluster.replicas.iter().filter(is_there).count();
    acceptors + replicas * cluster.execution.worker_threads
}

/// Whose threads hear each ring, where there is no multicast: all acceptors, and of every replica
/// those that run one of its workers.
pub(super) fn members(cluster: &Cluster) -> udp::Members {
    let roster = roster(cluster, 0);
    let acceptors: Vec<SocketAddrV4> = cluster.acceptors.iter().map(|node| node.address).collect();
    let of = |ring: RingId| {
        let mut members = acceptors.clone();
        for node in &cluster.replicas {
            for (crew, port) in (0..roster.crews).zip(node.address.port()..) {
                let rings = |group| roster.rings_of_worker(group);
                if roster.groups_of_crew(crew).any(|group| rings(group).contains(&ring)) {
                    members.push(SocketAddrV4::new(*node.address.ip(), port));
                }
            }
        }
        (ring, members)
    };
    roster.rings().map(of).collect()
}

/// Why this machine does not let this process use an io_uring for `cluster`, if it does not.
#[must_use]
pub fn refusal_of_io_uring(cluster: &Cluster) -> Option<udp::LaunchError> {
    let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    uring::refusal(&sockets(cluster, nowhere, Vec::new()))
}

/// What of its settings this machine does not grant the nodes of `cluster`, a line each.
#[must_use]
pub fn shortfalls(cluster: &Cluster) -> Vec<String> {
    let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    transport::shortfalls(&sockets(cluster, nowhere, Vec::new()))
}

/// The replicas and their names.
pub(super) fn replica_names(cluster: &Cluster) -> Vec<(ReplicaId, String)> {
    let roster = roster(cluster, 0);
    let replicas = roster.replicas().iter().zip(&cluster.replicas);
    replicas.map(|(replica, node)| (*replica, node.id.clone())).collect()
}

/// The sockets of a thread of clients.
pub(super) fn client_sockets(cluster: &Cluster, interface: Ipv4Addr) -> udp::Config {
    let config = sockets(cluster, SocketAddrV4::new(interface, 0), Vec::new());
    udp::Config { wording: udp::Wording::Client, ..config }
}

/// The sockets of a node's thread at `address` that hears `subscribe`.
pub(super) fn sockets(
    cluster: &Cluster,
    address: SocketAddrV4,
    subscribe: Vec<RingId>,
) -> udp::Config {
    let config::Network { ttl, socket_buffer, buffers, buffer_bytes, .. } = cluster.network;
    udp::Config {
        io: match cluster.network.io {
            config::Io::Auto => udp::Io::Auto,
            config::Io::Uring => udp::Io::Uring,
            config::Io::Socket => udp::Io::Socket,
        },
        interface: *address.ip(),
        port: address.port(),
        groups: cluster.groups().collect(),
        members: cluster.network.is_unicast.then(|| members(cluster)),
        subscribe,
        ttl,
        largest: cluster.network.room.datagram(),
        buffers,
        buffer_bytes,
        socket_buffer,
        sqpoll: cluster.network.sqpoll,
        send_zc: cluster.network.send_zc,
        min_wait: cluster.network.min_wait,
        busy_poll: cluster.network.busy_poll,
        wording: udp::Wording::File,
        ..udp::Config::default()
    }
}

/// The CPU of a node's `index`th thread.
pub(super) fn cpu(node: &config::Node, index: usize) -> Option<CpuId> {
    let count = node.cores.len().max(1);
    node.cores.get(index % count).map(|core| CpuId(*core))
}
