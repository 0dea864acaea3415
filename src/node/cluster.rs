//! A whole cluster in one process: rings, replicas and clients, each thread an agent.

use super::board::Board;
use super::bodies::{Ran, Thread};
use super::builder::Builder;
use super::config::{ClusterConfig, ClusterError, ReplicaFigure};
use super::digests::Markers;
use super::endpoint::{Seed, seeds};
use super::logs::{Durability, Logs};
use super::roster::Roster;
use super::team::{Spot, Team};
use super::worker::Progressed;
use super::{Book, ClientFigures, Load, OrderingFigures, Positions, WorkerFigures};
use crate::host::affinity::allowed_cpus;
use crate::host::clock;
use crate::host::usage::draw_incarnation;
use crate::proxy::Proxy;
use crate::replica::Shared;
use crate::service::{GroupMap, Optimistic};
use crate::storage;
use crate::sync::{CoreUse, Waker};
use crate::transport::middleware::Faults;
use crate::types::{Incarnation, KeyNumber};
use crate::wire::{self, Identity};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long replicas may take to become level after the last command.
const LEVEL_LIMIT: Duration = Duration::from_secs(10);
/// How often the launching thread looks at the others.
const LOOK: Duration = Duration::from_millis(2);
/// Looks in a row at which nothing moved: the replicas are level.
const STILL: u32 = 10;

/// Whose keys the clients have where datagrams are authenticated.
const CLIENT: KeyNumber = KeyNumber(1);

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
    team: Team<L>,
    orderers: Vec<Waker>,
    progressed: Vec<Arc<Progressed>>,
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
        let is_crowded = seeds.len() > allowed_cpus().len();
        let core = if is_crowded { CoreUse::Shared } else { CoreUse::Own };
        let identity = Identity {
            cluster: random()?.0,
            configuration: config.digest(),
            epoch: 1,
            version: wire::NEWEST,
            incarnation: random()?,
        };
        let mut thread = Thread::new(config.wait, identity, core);
        thread.keyring = config.keyring.clone();
        thread.is_durable = matches!(config.durability, Durability::Sync(_));
        let socket_buffer = seeds.iter().filter_map(Seed::socket_buffer).min();
        let mut blueprint = config.blueprint();
        blueprint.ring.window_bytes = socket_buffer.unwrap_or(1 << 20) / 2;
        let orderers = seeds[..roster.orderers].iter().map(Seed::waker).collect();
        let builder = Builder::new(blueprint, roster, identity.epoch, config.seed);
        let workers = 0..config.replicas * config.groups;
        let cluster = Self {
            config,
            builder,
            team: Team::new(thread),
            orderers,
            progressed: workers.map(|_| Arc::default()).collect(),
            inside: Arc::new(inside),
            outside: Arc::new(outside),
            left: Arc::new(config.sessions.len().into()),
        };
        Ok((cluster, seeds))
    }

    /// The place of the next thread.
    fn spot(&mut self, name: String, seeds: &mut Seeds) -> Spot {
        let seed = seeds.next().expect("a seed a place");
        let cpu = self.config.cpus.get(self.team.len()).copied();
        let loss = self.config.loss_percent;
        let faults = Faults { seed: self.builder.random.next(), loss, ..Faults::default() };
        Spot { name, seed, cpu, faults: (loss > 0.0).then_some(faults) }
    }

    fn start_orderers(&mut self, seeds: &mut Seeds) -> Result<(), ClusterError> {
        let orderers = std::mem::take(&mut self.orderers);
        let positions = Arc::new(Positions::new(self.builder.roster.ring_count(), orderers));
        let mut logs = self.logs()?;
        for orderer in 0..self.builder.roster.orderers {
            let acceptors = self.builder.roster.acceptors_of_orderer(orderer);
            let life = self.team.thread.identity.incarnation;
            let hosted = self.builder.hosted(&acceptors, life, &mut logs)?;
            let spot = self.spot(format!("order-{orderer}"), seeds);
            self.team.start_orderer(spot, &self.inside, &positions, hosted)?;
        }
        Ok(())
    }

    /// The logs of a cluster that begins.
    fn logs(&self) -> Result<Logs, ClusterError> {
        let Identity { cluster, configuration, .. } = self.team.thread.identity;
        let identity = |node| storage::Identity { cluster, configuration, node };
        Ok(Logs::create(&self.config.durability, identity, &self.builder.roster.acceptors())?)
    }

    fn start_workers<S: Optimistic>(
        &mut self,
        seeds: &mut Seeds,
        shared: &[Arc<Shared<S>>],
    ) -> Result<(), ClusterError> {
        let places = self.config.session_limits().sessions;
        let ids = self.builder.roster.replicas().to_vec();
        for ((replica, shared), id) in shared.iter().enumerate().zip(ids) {
            if !self.config.checkpoint_interval.is_zero() {
                let log = self.builder.blueprint.ring.instances as u64;
                shared.checkpoints().turn_on(false, log);
            }
            self.team.thread.board = Arc::new(Board::new(self.config.groups));
            for crew in 0..self.builder.roster.crews {
                let spot = self.spot(format!("r{replica}-w{crew}"), seeds);
                let mut markers = Markers::default();
                if crew == 0 {
                    markers.sessions = self.builder.session_timer(id, places);
                    markers.checkpoints = self.builder.checkpoint_timer(id);
                }
                let Self { team, builder, inside, .. } = self;
                let place = (id, crew);
                let crew = team.start_crew(spot, inside, (builder, shared), place, markers)?;
                for (group, progressed) in crew {
                    self.progressed[replica * self.config.groups + group] = progressed;
                }
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
        // From here on threads are those of clients.
        let keyring = self.config.keyring.as_ref().and_then(|keyring| keyring.client(CLIENT));
        let key = if keyring.is_some() { CLIENT } else { KeyNumber::NODES };
        self.team.thread.keyring = keyring.map(Arc::new);
        for (index, load) in loads.into_iter().enumerate() {
            let spot = self.spot(format!("client-{index}"), seeds);
            let sessions = self.config.sessions[index];
            let reply_to = spot.seed.address().with_key(key);
            let config = self.builder.proxy(reply_to, sessions);
            let proxy = Proxy::new(config, map.clone(), clock::now());
            let client = (self.builder.roster.client(index), proxy);
            self.team.start_client(spot, &self.outside, client, load, &self.left)?;
        }
        Ok(())
    }

    /// Waits until the loads are over and then until the replicas are level; their positions, a
    /// worker each.
    fn wait(&self) -> Result<Vec<u64>, ClusterError> {
        while self.left.load(Ordering::Acquire) > 0 {
            std::thread::park_timeout(LOOK);
            let ended = self.team.ended().iter().any(|name| !name.starts_with("client"));
            if ended || self.team.thread.stop.load(Ordering::Acquire) {
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
        let mut finished = Finished { loads: Vec::new(), figures: ClusterFigures::default() };
        let mut failed = None;
        for ran in self.team.end() {
            match ran {
                Ok(Ran::Ordering(figures)) => finished.figures.ordering.push(figures),
                Ok(Ran::Workers(figures)) => finished.figures.workers.extend(figures),
                Ok(Ran::Client(ran)) => {
                    finished.loads.push(ran.0);
                    finished.figures.clients.push(ran.1);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(finished), Err)
    }
}

fn random() -> Result<Incarnation, ClusterError> {
    draw_incarnation().map_err(ClusterError::Random)
}
