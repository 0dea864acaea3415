//! The way from settings to a running cluster, and from its counters to a report's.

use super::report::{Logs, Network, Replica, Ring, Synchronous};
use super::run::{Observed, RunError};
use super::{
    Barrier, ClientPath, Durability, Executor, Generator, Io, Model, Pin, Reply, Retry, Separators,
    Service, Settings, SettingsError, Transport, Wait,
};
use crate::config;
use crate::host::affinity::CpuId;
use crate::host::plan::Plan;
use crate::host::topology::Topology;
use crate::node::{
    self, BuildError, ClusterConfig, ClusterError, ClusterFigures, Finished, Growth, WithService,
    read_keyring, with_service,
};
use crate::proxy::ProxyCounters;
use crate::replica;
use crate::service::btree;
use crate::service::{GroupMap, Optimistic};
use crate::sync::WaitPolicy;
use crate::transport::udp;
use crate::types::{Digest, KeyNumber};
use crate::wire::Keyring;
use std::sync::Arc;
use std::time::Duration;

/// When a client sends a command again that has no answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(300);

/// Builds the services, launches the cluster, and waits for its end.
pub(super) fn launch(
    settings: &Settings,
    generators: Vec<Generator>,
) -> Result<Observed, RunError> {
    let run = Run { settings, generators };
    with_service(&service(settings), settings.threads, growth(settings), run)
        .unwrap_or_else(|error| Err(no_service(settings, &error)))
}

fn no_service(settings: &Settings, error: &BuildError) -> RunError {
    let (keys, message) = (settings.keys, error.cause());
    RunError::Environment(match settings.service {
        Service::Btree => format!(
            "--keys {keys}: {message}: load fewer, or raise the limits of memory (see `ulimit -v`)"
        ),
        Service::Null | Service::Counters => message.to_owned(),
    })
}

/// The keys of the file that was named.
pub(super) fn keyring(settings: &Settings) -> Result<Option<Arc<Keyring>>, RunError> {
    let Some(file) = &settings.key_file else { return Ok(None) };
    let keyring = read_keyring(file).map_err(|error| RunError::Environment(one_line(&error)))?;
    if keyring.holder() == KeyNumber::NODES {
        return Ok(Some(Arc::new(keyring)));
    }
    let problem = "it is the key of a client";
    Err(SettingsError::new("key-file", file.display(), problem, "name that of the nodes").into())
}

/// What is replicated.
fn service(settings: &Settings) -> config::Service {
    match settings.service {
        Service::Btree => config::Service::Btree(tree(settings)),
        Service::Null => config::Service::Null { work: settings.work },
        Service::Counters => {
            let counters = u32::try_from(settings.keys).expect("validated: below 2^32");
            config::Service::Counters(counters)
        }
    }
}

const fn tree(settings: &Settings) -> config::Btree {
    config::Btree {
        keys: settings.keys,
        key_space: settings.key_space,
        capacity: settings.capacity,
        minimum: settings.minimum,
        fill: settings.fill,
        is_aligned: matches!(settings.separators, Separators::Aligned),
    }
}

pub(super) fn tree_settings(settings: &Settings) -> btree::Settings {
    node::tree_settings(&tree(settings), settings.threads)
}

pub(super) const fn growth(settings: &Settings) -> Growth {
    if settings.grown { Growth::Grown(settings.seed) } else { Growth::Loaded }
}

/// Of what must be equal at all replicas of the service.
fn service_digest(settings: &Settings) -> Digest {
    match settings.service {
        Service::Btree => tree_settings(settings).digest(),
        Service::Null => Digest(settings.threads as u64 | u64::from(settings.work) << 32),
        Service::Counters => Digest(settings.threads as u64 | settings.keys << 32),
    }
}

/// Runs the cluster once its service's type is known.
struct Run<'a> {
    settings: &'a Settings,
    generators: Vec<Generator>,
}

impl WithService for Run<'_> {
    type Output = Result<Observed, RunError>;

    fn run<S, M>(self, build: impl Fn() -> Result<Arc<S>, BuildError>, map: M) -> Self::Output
    where
        S: Optimistic,
        M: GroupMap + Clone + Send + Sync + 'static,
    {
        let Self { settings, generators } = self;
        let services: Result<Vec<_>, _> = (0..settings.replicas).map(|_| build()).collect();
        let services = services.map_err(|error| no_service(settings, &error))?;
        let keyring = keyring(settings)?;
        let config = ClusterConfig { keyring, ..config(settings) };
        let finished = node::run(&config, services, &map, generators).map_err(|error| {
            let message = one_line(&error);
            match (error, &settings.data_dir) {
                (ClusterError::Storage(_), Some(directory)) => RunError::Environment(format!(
                    "--data-dir {}: {message}: name a new directory on a disk that you may write to",
                    directory.display()
                )),
                (
                    ClusterError::Transport(_)
                    | ClusterError::Links(_)
                    | ClusterError::Thread(_)
                    | ClusterError::Storage(_),
                    _,
                ) => RunError::Environment(message),
                _ => RunError::Failed(message),
            }
        })?;
        let Finished { loads, figures } = finished;
        Ok(Observed {
            generators: loads,
            network: network(&figures),
            logs: logs(&figures),
            rings: rings(settings, &figures),
            replicas: states(&figures),
            synchronous: synchronous(settings, &figures),
        })
    }
}

fn config(settings: &Settings) -> ClusterConfig {
    let Settings { threads, replicas, acceptors, .. } = *settings;
    let longest = settings.outstanding.div_ceil(settings.clients);
    ClusterConfig {
        model: match settings.model {
            Model::Smr => node::Model::Smr,
            Model::Psmr => node::Model::Psmr,
            Model::OptPsmr => node::Model::OptPsmr,
        },
        groups: threads,
        replicas,
        acceptors,
        transport: match settings.transport {
            Transport::Uring => node::Transport::Udp(endpoint(settings)),
            Transport::Memory => node::Transport::Memory,
        },
        orderers: settings.ordering_threads,
        worker_threads: settings.worker_threads,
        durability: match (settings.durability, &settings.data_dir) {
            (Durability::Sync, Some(directory)) => node::Durability::Sync(directory.clone()),
            _ => node::Durability::Memory,
        },
        checkpoint_interval: Duration::from_millis(settings.checkpoint_interval_ms),
        client_path: match settings.client_path {
            ClientPath::InProcess => node::ClientPath::InProcess,
            ClientPath::Datagram => node::ClientPath::Datagram,
        },
        barrier: match settings.barrier {
            Barrier::Command => replica::Barrier::Command,
            Barrier::Instance => replica::Barrier::Instance,
        },
        executor: match settings.executor {
            Executor::Rotate => replica::Executor::Rotate,
            Executor::Lowest => replica::Executor::Lowest,
        },
        retry: match settings.retry {
            Retry::Replica => replica::Retry::Replica,
            Retry::Client => replica::Retry::Client,
        },
        reply: match settings.reply {
            Reply::One => replica::ReplyPolicy::One,
            Reply::All => replica::ReplyPolicy::All,
        },
        // Twice what a session has outstanding: one slow command holds nobody up.
        window: (2 * longest).next_power_of_two().max(16),
        sessions: settings.shares().into_iter().map(|(clients, _)| clients).collect(),
        wait: match settings.wait {
            Wait::Spin => WaitPolicy::Spin,
            Wait::Yield => WaitPolicy::Yield,
            Wait::Park => WaitPolicy::Park,
        },
        cpus: cpus(settings),
        m: settings.turn,
        lambda_per_s: settings.lambda,
        room: settings.room(),
        keyring: None,
        command_limit: Settings::COMMAND_LIMIT,
        service_digest: service_digest(settings),
        loss_percent: settings.loss,
        seed: settings.seed,
        attempt_timeout: ATTEMPT_TIMEOUT,
        deadline: settings.deadline(),
        rendezvous_timeout: Duration::from_secs(10),
        session_timeout: Duration::from_secs(600),
    }
}

/// The CPU of each thread, in the order in which the node starts them.
fn cpus(settings: &Settings) -> Vec<CpuId> {
    match &settings.pin {
        Pin::None => Vec::new(),
        Pin::Plan => Plan::new(&Topology::read(), settings.demand()).cpus().to_vec(),
        Pin::List(cpus) => cpus.iter().copied().cycle().take(settings.busy_threads()).collect(),
    }
}

/// The node fills in what differs between endpoints.
pub(super) fn endpoint(settings: &Settings) -> udp::Config {
    udp::Config {
        io: match settings.io {
            Io::Auto => udp::Io::Auto,
            Io::Uring => udp::Io::Uring,
            Io::Socket => udp::Io::Socket,
        },
        interface: settings.interface,
        largest: settings.datagram_bytes,
        socket_buffer: settings.socket_buffer,
        sqpoll: settings.sqpoll,
        send_zc: settings.send_zc,
        min_wait: Duration::from_micros(settings.min_wait_us),
        busy_poll: Duration::from_micros(settings.busy_poll_us),
        ..udp::Config::default()
    }
}

/// What all endpoints of a run counted together.
pub fn network(figures: &ClusterFigures) -> Network {
    let ordering = figures.ordering.iter().map(|f| (f.received, f.sent));
    let workers = figures.workers.iter().map(|f| (f.received, f.sent));
    let clients = figures.clients.iter().map(|f| (f.received, f.sent));
    let mut network = Network::default();
    for (received, sent) in ordering.chain(workers).chain(clients) {
        network.datagrams_sent += sent.datagrams;
        network.datagrams_received += received.datagrams;
        network.trains += sent.trains;
        network.buffer_drops += received.buffer_drops;
    }
    for worker in &figures.workers {
        network.repairs += worker.subscription.learners.repairs;
        network.duplicates += worker.worker.duplicates;
    }
    for proxy in figures.clients.iter().map(|figures| figures.proxy) {
        let ProxyCounters { submitted, retries, failed_checks, refused, .. } = proxy;
        network.attempts += submitted + retries + failed_checks;
        network.retries += retries;
        network.refused += refused;
    }
    network
}

fn logs(figures: &ClusterFigures) -> Logs {
    let mut sum = Logs::default();
    for (_, log) in figures.ordering.iter().flat_map(|thread| &thread.logs) {
        sum.records += log.records;
        sum.blocks += log.blocks;
        sum.bytes += log.bytes;
        sum.waited += log.waited;
        sum.indirect += u64::from(!log.is_direct);
    }
    sum
}

fn states(figures: &ClusterFigures) -> Vec<Replica> {
    let state = |(id, figure): (u8, &node::ReplicaFigure)| Replica {
        id,
        position: figure.position,
        digest: format!("{:016x}", figure.digest.0),
    };
    (0..).zip(&figures.replicas).map(state).collect()
}

/// Of the first replica: the others execute the same.
#[expect(clippy::cast_precision_loss, reason = "a mean for people")]
fn synchronous(settings: &Settings, figures: &ClusterFigures) -> Synchronous {
    let mut sum = replica::WorkerCounters::default();
    for worker in figures.workers.iter().take(settings.threads) {
        sum += worker.worker;
    }
    let wait_ns_mean = sum.wait_ns as f64 / sum.meetings.max(1) as f64;
    Synchronous { barriers: sum.barriers, commands: sum.barrier_commands, wait_ns_mean }
}

/// An error and its sources, told once each.
pub(super) fn one_line(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = cause.source();
    }
    message
}

/// Instances as their coordinators counted them, commands as the first replica's workers did.
#[expect(clippy::cast_precision_loss, reason = "a mean for people")]
fn rings(settings: &Settings, figures: &ClusterFigures) -> Vec<Ring> {
    let workers: Vec<_> =
        figures.workers.iter().take(settings.threads).map(|figure| figure.worker).collect();
    let synchronous: u64 = workers.iter().map(|worker| worker.barrier_commands).sum();
    let ring = |number: u16| {
        let members = figures.ordering.iter().flat_map(|thread| &thread.members);
        let mut counted = Ring { ring: number, ..Ring::default() };
        let mut values = 0;
        for (_, member) in members.filter(|(ring, _)| ring.0 == number) {
            counted.instances += member.instances;
            counted.skips += member.skips;
            values += member.instances.saturating_sub(member.skips + member.noops);
        }
        // The last of several rings is g_all's.
        let commands = workers.get(usize::from(number)).map_or(synchronous, |worker| {
            let failed = worker.failed_structure + worker.failed_bounds;
            let delivered = worker.executed + worker.reads + worker.reads_elsewhere + failed;
            delivered.saturating_sub(worker.barrier_commands)
        });
        counted.commands_per_instance = commands as f64 / values.max(1) as f64;
        counted
    };
    (0..).take(settings.rings()).map(ring).collect()
}
