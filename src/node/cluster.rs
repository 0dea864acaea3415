//! A whole cluster in one process: rings, replicas and clients, each thread an agent.

use super::bodies::{ClientBody, OrderingBody, Ran, Thread, WorkerBody};
use super::builder::Builder;
use super::config::{ClusterConfig, ClusterError, ReplicaFigure};
use super::endpoint::{Seed, seeds};
use super::logs::Logs;
use super::roster::Roster;
use super::worker::Progressed;
use super::{Book, ClientFigures, Load, OrderingFigures, Positions, WorkerFigures};
use crate::host::affinity::{CpuId, allowed_cpus};
use crate::host::clock;
use crate::host::threads::{Ended, Team};
use crate::host::usage::draw_incarnation;
use crate::proxy::Proxy;
use crate::replica::Shared;
use crate::service::{GroupMap, Optimistic};
use crate::storage;
use crate::sync::{CoreUse, Waker};
use crate::transport::middleware::Faults;
use crate::types::{GroupId, Incarnation};
use crate::wire::Identity;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long replicas may take to become level after the last command.
const LEVEL_LIMIT: Duration = Duration::from_secs(10);
/// How often the launching thread looks at the others.
const LOOK: Duration = Duration::from_millis(2);
/// Looks in a row at which nothing moved: the replicas are level.
const STILL: u32 = 10;

/// What ran and what it came to.
#[derive(Debug)]
pub struct Finished<L> {
    /// The loads, as they ended.
    pub loads: Vec<L>,
    /// What everybody counted.
    pub figures: ClusterFigures,
}

/// What everybody counted, from launch to end.
#[derive(Clone, Debug, Default)]
pub struct ClusterFigures {
    /// The ordering agents.
    pub ordering: Vec<OrderingFigures>,
    /// The workers: replica by replica, group by group.
    pub workers: Vec<WorkerFigures>,
    /// The client agents.
    pub clients: Vec<ClientFigures>,
    /// Position and digest of each replica, all at an equal position.
    pub replicas: Vec<ReplicaFigure>,
}

/// Runs a cluster until its loads are over, and then until its replicas are level.
///
/// `services` are the replicas' copies of the service, one each, all in the same state; `map` is
/// what clients map commands to groups with; each of `loads` gets a client thread of its own.
///
/// # Errors
/// If the environment refuses what the cluster needs, a thread ends by itself, or the replicas do
/// not become level.
///
/// # Panics
/// If there is not one service a replica and one load a client thread, or the workers of a replica
/// are to run on no thread or on more than there are workers.
pub fn run<S, M, L>(
    config: &ClusterConfig,
    services: Vec<Arc<S>>,
    map: &M,
    loads: Vec<L>,
) -> Result<Finished<L>, ClusterError>
where
    S: Optimistic,
    M: GroupMap + Clone + Send + 'static,
    L: Load + 'static,
{
    assert_eq!(services.len(), config.replicas, "one service a replica");
    assert_eq!(loads.len(), config.sessions.len(), "one load a client thread");
    assert!(
        (1..=config.groups).contains(&config.worker_threads),
        "the workers of a replica run on 1 to K threads"
    );
    let limits = config.session_limits();
    let shared: Vec<_> = services.into_iter().map(|s| Arc::new(Shared::new(s, limits))).collect();
    let (mut cluster, seeds) = Cluster::prepare(config)?;
    let mut seeds = seeds.into_iter();
    let started = cluster
        .start_orderers(&mut seeds)
        .and_then(|()| cluster.start_workers(&mut seeds, &shared))
        .and_then(|()| cluster.start_clients(&mut seeds, map, loads));
    let level = started.and_then(|()| cluster.wait());
    let mut finished = cluster.stop()?;
    finished.figures.replicas = cluster_positions(config, level?, &shared);
    Ok(finished)
}

fn cluster_positions<S: Optimistic>(
    config: &ClusterConfig,
    positions: Vec<u64>,
    shared: &[Arc<Shared<S>>],
) -> Vec<ReplicaFigure> {
    let of_replicas = positions.chunks(config.groups).zip(shared);
    of_replicas
        .map(|(workers, shared)| ReplicaFigure {
            position: workers.iter().sum(),
            digest: shared.digest_at_rest(),
        })
        .collect()
}

/// The threads that run, and what they share.
struct Cluster<'a, L> {
    config: &'a ClusterConfig,
    builder: Builder,
    team: Team<Result<Ran<L>, ClusterError>>,
    wakers: Vec<Waker>,
    progressed: Vec<Arc<Progressed>>,
    thread: Thread,
    inside: Arc<Book>,
    outside: Arc<Book>,
    left: Arc<AtomicUsize>,
}

type Seeds = std::vec::IntoIter<Seed>;

impl<'a, L: Load + 'static> Cluster<'a, L> {
    fn prepare(config: &'a ClusterConfig) -> Result<(Self, Vec<Seed>), ClusterError> {
        let roster = Roster::new(config);
        let places = roster.places();
        let seeds = seeds(config, &places)?;
        let (mut inside, mut outside) = (Book::default(), Book::default());
        for (place, seed) in places.iter().zip(&seeds) {
            for node in &place.nodes {
                inside.enter(*node, seed.address());
                outside.enter(*node, seed.link().unwrap_or_else(|| seed.address()));
            }
        }
        let allowed = allowed_cpus();
        let core = if seeds.len() > allowed.len() { CoreUse::Shared } else { CoreUse::Own };
        let identity = Identity {
            cluster: random()?.0,
            configuration: config.digest(),
            epoch: 1,
            incarnation: random()?,
        };
        let thread = Thread::new(config.wait, identity, core);
        thread.starting.store(seeds.len(), Ordering::Release);
        let socket_buffer = seeds.iter().filter_map(Seed::socket_buffer).min();
        let mut blueprint = config.blueprint();
        blueprint.ring.window_bytes = socket_buffer.unwrap_or(1 << 20) / 2;
        let builder = Builder::new(blueprint, roster, config.seed);
        let workers = 0..config.replicas * config.groups;
        let cluster = Self {
            config,
            builder,
            team: Team::new(allowed),
            wakers: seeds.iter().map(Seed::waker).collect(),
            progressed: workers.map(|_| Arc::default()).collect(),
            thread,
            inside: Arc::new(inside),
            outside: Arc::new(outside),
            left: Arc::new(config.sessions.len().into()),
        };
        Ok((cluster, seeds))
    }

    fn fault(&mut self) -> Option<Faults> {
        let loss = self.config.loss_percent;
        let seed = self.builder.random.next();
        (loss > 0.0).then(|| Faults { seed, loss, ..Faults::default() })
    }

    fn cpu(&self) -> Option<CpuId> {
        let index = self.team.len();
        self.config.cpus.get(index).copied()
    }

    fn start_orderers(&mut self, seeds: &mut Seeds) -> Result<(), ClusterError> {
        let orderers = self.wakers[..self.builder.roster.orderers].to_vec();
        let positions = Arc::new(Positions::new(self.builder.roster.ring_count(), orderers));
        let mut logs = self.logs()?;
        for orderer in 0..self.builder.roster.orderers {
            let acceptors = self.builder.roster.acceptors_of_orderer(orderer);
            let life = self.thread.identity.incarnation;
            let hosted = self.builder.hosted(&acceptors, life, &mut logs)?;
            let body = OrderingBody {
                thread: self.thread.named(&format!("order-{orderer}")),
                book: self.inside.clone(),
                positions: positions.clone(),
                hosted,
            };
            let (seed, fault) = (seeds.next().expect("a seed a place"), self.fault());
            let name = body.thread.name.clone();
            let run = move || seed.run(fault, body).map(Ran::Ordering);
            self.team.spawn(&name, self.cpu(), run)?;
        }
        Ok(())
    }

    /// The logs of a cluster that begins.
    fn logs(&self) -> Result<Logs, ClusterError> {
        let Identity { cluster, configuration, .. } = self.thread.identity;
        let identity = |node| storage::Identity { cluster, configuration, node };
        Ok(Logs::create(&self.config.durability, identity, &self.builder.roster.acceptors())?)
    }

    fn start_workers<S: Optimistic>(
        &mut self,
        seeds: &mut Seeds,
        shared: &[Arc<Shared<S>>],
    ) -> Result<(), ClusterError> {
        for (replica, shared) in shared.iter().enumerate() {
            for crew in 0..self.builder.roster.crews {
                let seed = seeds.next().expect("a seed a place");
                let mut workers = Vec::new();
                for group in self.builder.roster.groups_of_crew(crew) {
                    shared.rendezvous().attach(GroupId::new(group), seed.waker());
                    let mut parts = self.builder.worker(replica, group, shared);
                    parts.progressed =
                        self.progressed[replica * self.config.groups + group].clone();
                    workers.push(parts);
                }
                let name = format!("r{replica}-w{crew}");
                let (thread, book) = (self.thread.named(&name), self.inside.clone());
                let body = WorkerBody { thread, book, workers, digests: None };
                let fault = self.fault();
                let run = move || seed.run(fault, body).map(Ran::Workers);
                self.team.spawn(&name, self.cpu(), run)?;
            }
        }
        Ok(())
    }

    fn start_clients<M: GroupMap + Clone + Send + 'static>(
        &mut self,
        seeds: &mut Seeds,
        map: &M,
        loads: Vec<L>,
    ) -> Result<(), ClusterError> {
        for (index, load) in loads.into_iter().enumerate() {
            let seed = seeds.next().expect("a seed a place");
            let sessions = self.config.sessions[index];
            let config = self.builder.proxy(seed.address(), sessions);
            let body = ClientBody {
                thread: self.thread.named(&format!("client-{index}")),
                me: self.builder.roster.client(index),
                book: self.outside.clone(),
                proxy: Proxy::new(config, map.clone(), clock::now()),
                load,
                left: self.left.clone(),
            };
            let (name, fault) = (body.thread.name.clone(), self.fault());
            let run = move || seed.run(fault, body).map(|ran| Ran::Client(Box::new(ran)));
            self.team.spawn(&name, self.cpu(), run)?;
        }
        Ok(())
    }

    /// Waits until the loads are over and then until the replicas are level; their positions, a
    /// worker each.
    fn wait(&self) -> Result<Vec<u64>, ClusterError> {
        while self.left.load(Ordering::Acquire) > 0 {
            std::thread::park_timeout(LOOK);
            let ended = self.team.ended().iter().any(|name| !name.starts_with("client"));
            if ended || self.thread.stop.load(Ordering::Acquire) {
                return Err(ClusterError::NotLevel { positions: Vec::new(), waited: LOOK });
            }
        }
        let since = clock::now();
        let mut last = Vec::new();
        let mut still = 0;
        loop {
            let positions: Vec<u64> = self.progressed.iter().map(|p| p.position()).collect();
            let replicas: Vec<_> = positions.chunks(self.builder.roster.groups).collect();
            let is_level = replicas.windows(2).all(|pair| pair[0] == pair[1]);
            still = if is_level && positions == last { still + 1 } else { 0 };
            if still == STILL {
                return Ok(positions);
            }
            let waited = clock::now().since(since);
            if waited > LEVEL_LIMIT {
                return Err(ClusterError::NotLevel { positions, waited });
            }
            last = positions;
            std::thread::park_timeout(LOOK);
        }
    }

    /// Stops and joins all threads. The first that failed is the error.
    fn stop(self) -> Result<Finished<L>, ClusterError> {
        self.thread.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
        let mut finished = Finished { loads: Vec::new(), figures: ClusterFigures::default() };
        let mut failed = None;
        for Ended { name, result } in self.team.join() {
            match result {
                Ok(Ok(Ran::Ordering(figures))) => finished.figures.ordering.push(figures),
                Ok(Ok(Ran::Workers(figures))) => finished.figures.workers.extend(figures),
                Ok(Ok(Ran::Client(ran))) => {
                    finished.loads.push(ran.0);
                    finished.figures.clients.push(ran.1);
                }
                Ok(Err(error)) => failed = failed.or(Some(error)),
                Err(cause) => {
                    let cause = cause.to_string();
                    failed = failed.or(Some(ClusterError::Ended { name, cause }));
                }
            }
        }
        failed.map_or(Ok(finished), Err)
    }
}

fn random() -> Result<Incarnation, ClusterError> {
    draw_incarnation().map_err(ClusterError::Random)
}
