//! The nodes of a cluster that live in this process: what `psmr node` runs.
//!
//! Each id is a part of its own, with its own threads and its own end: an executor that panics stops
//! its replica, and the other ids of the process go on.

use super::board::Board;
use super::bodies::Thread;
use super::bound::{Bound, Role, bind_all, roles};
use super::builder::Builder;
use super::census::Census;
use super::config::ClusterError;
use super::digests::{Comparer, Comparison, Markers};
use super::endpoint::Seed;
use super::events::{Event, Events, Names, Weight};
use super::home::{Home, HomeError};
use super::logs::{Durability, Logs};
use super::observer::Observer;
use super::team::{Spot, Team};
use super::watchdog::Halt;
use super::{Book, BuildError, Positions, keeper, site};
use crate::config::{self, Cluster, Unspoken};
use crate::host::affinity::allowed_cpus;
use crate::replica::{DigestTimer, Shared};
use crate::service::Optimistic;
use crate::storage::{self, CheckpointFile, Fault, StorageError};
use crate::sync::{CoreUse, WaitPolicy};
use crate::transport::middleware::{Cuts, Faults};
use crate::types::{NodeId, Random, ReplicaId, Time};
use crate::wire::Keyring;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// The whole cluster.
    pub cluster: &'a Cluster,
    /// The nodes that live here.
    pub ids: &'a [String],
    /// Where they keep their directories.
    pub data_dir: PathBuf,
    /// By which datagrams are authenticated, if they are.
    pub keyring: Option<Arc<Keyring>>,
    /// Runs over several hosts although datagrams carry no authentication.
    pub is_insecure: bool,
    /// What a bad network does to received datagrams.
    pub faults: Option<Faults>,
    /// Nodes that are cut off from these by it.
    pub cut: &'a [String],
}

/// Why a node could not be started.
#[derive(Debug, Error)]
pub enum NodeError {
    /// There is no such node.
    #[error("--id {id}: the cluster has no such node in epoch {epoch}: choose among {known}")]
    Unknown {
        /// The option.
        id: String,
        /// The epoch of the configuration.
        epoch: u32,
        /// The nodes that there are.
        known: String,
    },
    /// One node twice.
    #[error("--id {0}: given twice: leave one out")]
    Twice(String),
    /// Strangers could write to it.
    #[error(
        "the cluster spans hosts and its datagrams are not authenticated: make a key with `psmr \
         keygen` and name it in `key_file` in [authentication], or, on a network of its own, give \
         --insecure"
    )]
    Insecure,
    /// Threads would keep each other out.
    #[error(
        "\"spin\": the nodes of this host have more threads than its {cores} CPUs: set `wait = \
         \"park\"` in [threads]"
    )]
    Spin {
        /// CPUs that this process may use.
        cores: usize,
    },
    /// The cluster speaks a wire version that is not spoken here.
    #[error(transparent)]
    Unspoken(#[from] Unspoken),
    /// Its directory is not its own.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The service cannot be made.
    #[error(transparent)]
    Service(#[from] BuildError),
    /// What it needs could not be set up.
    #[error("{id}: {source}")]
    Start {
        /// The node.
        id: String,
        /// The reason.
        source: Box<ClusterError>,
    },
}

/// A node that runs.
struct Part {
    id: String,
    team: Team<()>,
    events: Events,
    /// Locked as long as the node lives.
    home: Home,
}

/// A node that has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The node.
    pub id: String,
    /// Why.
    pub cause: String,
    /// It is no member of the cluster any more: nothing went wrong.
    pub is_removed: bool,
}

/// Nodes that run in this process.
pub struct Process {
    parts: Vec<Part>,
    /// Nodes that were to live here and do not begin, and why.
    left_out: Vec<(String, HomeError)>,
    census: Arc<Census>,
    /// The epoch that was told, and who is who in it.
    names: (u32, Names),
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.parts.iter().map(|part| &part.id)).finish()
    }
}

impl Process {
    /// Starts the nodes. `build` makes a replica's copy of the service.
    ///
    /// # Errors
    /// If anything stands in the way; nothing runs then, and no directory says that it did.
    pub fn launch<S: Optimistic>(
        launch: &Launch<'_>,
        build: impl Fn() -> Result<Arc<S>, BuildError>,
    ) -> Result<Self, NodeError> {
        check(launch)?;
        let roles = roles(launch)?;
        let (bound, left_out) = bind_all(launch, roles)?;
        let mut starter =
            Starter::new(launch, &bound).map_err(|source| failed(&launch.ids[0], source))?;
        if starter.thread.core == CoreUse::Shared && starter.thread.wait == WaitPolicy::Spin {
            return Err(NodeError::Spin { cores: allowed_cpus().len() });
        }
        let equip = |bound: &Bound<'_>| bound.role.equip(&build);
        let roles: Vec<_> = bound.iter().map(equip).collect::<Result<_, _>>()?;
        let census = starter.census.clone();
        let epoch = census.current();
        let names = (epoch.number(), Names::of(&epoch.cluster, &epoch.roster));
        let mut process = Self { parts: Vec::new(), left_out, census, names };
        for (bound, role) in bound.into_iter().zip(roles) {
            let id = &bound.node.id;
            starter.make_logs(&bound).map_err(|error| failed(id, error.into()))?;
            bound.home.begin()?;
            bound.home.keep(launch.cluster)?;
            match starter.start(bound, role) {
                Ok(part) => process.parts.push(part),
                Err(error) => {
                    process.stop();
                    return Err(error);
                }
            }
        }
        Ok(process)
    }

    /// Whether every thread of every node serves.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.parts.iter().all(|part| part.team.is_ready())
    }

    /// Whether no node is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The thread that has not begun a duty cycle for the longest, and for how long. A healthy one
    /// begins one each 100 ms though it has nothing to do.
    #[must_use]
    pub fn most_silent(&self, now: Time) -> Option<(&str, Duration)> {
        let silent = self.parts.iter().filter_map(|part| part.team.most_silent(now));
        silent.max_by_key(|(_, silence)| *silence)
    }

    /// Who watches the nodes that run now from outside, on a thread of its own.
    #[must_use]
    pub fn observer(&self) -> Observer {
        let watched = |part: &Part| (part.id.clone(), part.team.thread.board.clone());
        let ended = |(id, _): &(String, HomeError)| {
            let board = Board::new(0);
            board.end();
            (id.clone(), Arc::new(board))
        };
        let left_out = self.left_out.iter().map(ended);
        Observer::new(self.parts.iter().map(watched).chain(left_out).collect())
    }

    /// What has happened to each node since the last look. To be called a few times a second.
    pub fn take_events(&mut self, now: Time) -> Vec<Event> {
        let epoch = self.census.current();
        let mut members = None;
        if epoch.number() > self.names.0 {
            self.names = (epoch.number(), Names::of(&epoch.cluster, &epoch.roster));
            let ids: Vec<&str> = epoch.cluster.nodes().map(|node| node.id.as_str()).collect();
            let (number, version) = epoch.name();
            let ids = ids.join(", ");
            let text = format!("epoch {number} begins: {ids}, by wire version {version}");
            members = Some((Weight::Notice, text));
        }
        let mut events = Vec::new();
        for Part { id, team, events: of_part, .. } in &mut self.parts {
            let mut told = Vec::from_iter(members.clone());
            of_part.look(&team.thread.board.figures(), &self.names.1, now, &mut told);
            let event = |(weight, text)| Event { node: id.clone(), weight, text };
            events.extend(told.into_iter().map(event));
        }
        events
    }

    /// Ends the nodes of which a thread has ended by itself.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        let (dead, alive) = std::mem::take(&mut self.parts)
            .into_iter()
            .partition(|part| !part.team.ended().is_empty());
        self.parts = alive;
        for part in dead {
            let id = part.id.clone();
            let error = part.end();
            let halt = match &error {
                Some(ClusterError::Halted { halt, .. }) => Some(halt),
                _ => None,
            };
            let is_removed = matches!(halt, Some(Halt::Removed { .. }));
            // Its threads' names say nothing that the node's does not.
            let cause = match (&error, halt) {
                (_, Some(halt)) if is_removed => halt.to_string(),
                (Some(error), _) => error.to_string(),
                (None, _) => "a thread ended by itself".to_owned(),
            };
            ended.push(Ended { id, cause, is_removed });
        }
        ended
    }

    /// The nodes that do not begin before somebody has looked at them, and why: the others go on.
    #[must_use]
    pub fn left_out(&self) -> &[(String, HomeError)] {
        &self.left_out
    }

    /// The nodes in whose directories former members of the same names had left something, and where
    /// that is now.
    pub fn former(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.parts.iter().filter_map(|part| Some((part.id.as_str(), part.home.former()?)))
    }

    /// Ends all nodes after they have done what had come before. Returns what went wrong.
    pub fn stop(self) -> Vec<(String, String)> {
        self.parts.iter().for_each(|part| part.team.tell());
        let end = |part: Part| (part.id.clone(), part.end().map(|error| error.to_string()));
        let ended = self.parts.into_iter().map(end);
        ended.filter_map(|(id, cause)| Some((id, cause?))).collect()
    }
}

impl Part {
    /// Ends it, and says what went wrong. Whose state is not that of the others does not go on with
    /// it in another life.
    fn end(self) -> Option<ClusterError> {
        self.team.thread.board.end();
        let error = self.team.end().into_iter().find_map(Result::err);
        let Some(ClusterError::Halted { name, halt: halt @ Halt::Outvoted { .. } }) = error else {
            return error;
        };
        let path = self.home.path();
        Some(match CheckpointFile::set_aside(path, Fault::Diverged) {
            Ok(()) => ClusterError::Halted { name, halt },
            Err(source) => ClusterError::Untold { halt, path: path.to_owned(), source },
        })
    }
}

pub(super) fn failed(id: &str, source: ClusterError) -> NodeError {
    NodeError::Start { id: id.to_owned(), source: Box::new(source) }
}

fn check(launch: &Launch<'_>) -> Result<(), NodeError> {
    let cluster = launch.cluster;
    let is_insecure = cluster.authentication.is_insecure || launch.is_insecure;
    if !cluster.is_local() && launch.keyring.is_none() && !is_insecure {
        return Err(NodeError::Insecure);
    }
    cluster.unspoken().map_or(Ok(()), |unspoken| Err(unspoken.into()))
}

/// What starts the nodes of a process.
struct Starter<'a> {
    launch: &'a Launch<'a>,
    builder: Builder,
    thread: Thread,
    book: Arc<Book>,
    positions: Arc<Positions>,
    census: Arc<Census>,
}

impl<'a> Starter<'a> {
    fn new(launch: &'a Launch<'a>, bound: &[Bound<'_>]) -> Result<Self, ClusterError> {
        let cluster = launch.cluster;
        let mut builder = site::builder(cluster, 0)?;
        let buffers =
            bound.iter().flat_map(|bound| bound.seeds.iter().filter_map(Seed::socket_buffer));
        if builder.blueprint.ring.window_bytes == 0 {
            // Without groups all rings come by one socket.
            let sharing = if cluster.network.is_unicast { builder.roster.ring_count() } else { 1 };
            builder.blueprint.ring.window_bytes = buffers.min().unwrap_or(1 << 20) / 2 / sharing;
        }
        let of_host =
            bound.first().map_or(0, |bound| site::threads_at(cluster, *bound.node.address.ip()));
        let mut thread = site::thread(cluster, of_host)?;
        thread.keyring = launch.keyring.clone();
        let homes = bound.iter().map(|bound| bound.home.path().to_owned()).collect();
        let census = Arc::new(Census::new(cluster, 0, homes));
        thread.census = Some(census.clone());
        let is_acceptor = |bound: &&Bound<'_>| matches!(bound.role, Role::Acceptor(_));
        let acceptors = bound.iter().filter(is_acceptor);
        let orderers = acceptors.flat_map(|bound| bound.seeds.iter().map(Seed::waker)).collect();
        let positions = Arc::new(Positions::new(builder.roster.ring_count(), orderers));
        let book = Arc::new(site::book(cluster));
        Ok(Self { launch, builder, thread, book, positions, census })
    }

    fn start<S: Optimistic>(
        &mut self,
        bound: Bound<'_>,
        role: Role<Arc<S>>,
    ) -> Result<Part, NodeError> {
        let Bound { node, home, seeds, .. } = bound;
        let mut thread = self.thread.clone();
        (thread.stop, thread.starting) = Default::default();
        thread.node.clone_from(&node.id);
        thread.since = node.since;
        let workers =
            if matches!(role, Role::Replica(..)) { self.builder.roster.groups } else { 0 };
        let rings = if workers == 0 { self.builder.roster.ring_count() } else { 0 };
        thread.board = Arc::new(Board::with_rings(workers, rings));
        let mut team = Team::new(thread);
        let started = match role {
            Role::Acceptor(me) => self.start_acceptor(&mut team, (node, me), &home, seeds),
            Role::Replica(me, service) => {
                self.start_replica(&mut team, (node, me), &home, seeds, service)
            }
        };
        let events = Events::new(CheckpointFile::at(home.path()));
        let part = Part { id: node.id.clone(), team, events, home };
        match started {
            Ok(()) => Ok(part),
            Err(error) => {
                part.end();
                Err(failed(&node.id, error))
            }
        }
    }

    /// What the first thread of a replica has ordered, and looks after.
    fn markers(&mut self, home: &Home, replica: ReplicaId) -> Markers {
        let cluster = self.launch.cluster;
        let interval = cluster.execution.digest_interval;
        let client = self.builder.random.next();
        let places = cluster.execution.sessions;
        let comparer = Comparer {
            me: replica,
            life: client,
            cluster: cluster.id,
            groups: self.builder.roster.groups,
            keyring: self.launch.keyring.clone(),
            home: home.path().to_owned(),
        };
        Markers {
            digests: DigestTimer::new(
                interval,
                usize::from(replica.0),
                self.builder.roster.groups,
                client,
            ),
            sessions: self.builder.session_timer(replica, places),
            checkpoints: self.builder.checkpoint_timer(replica),
            comparison: (!interval.is_zero())
                .then(|| Comparison::new(comparer, site::replica_names(cluster))),
        }
    }

    /// A bad network for the thread of `node`: threads differ, runs with the same seed do not.
    fn faults(&self, node: NodeId) -> Option<Faults> {
        let faults = self.launch.faults.clone()?;
        let seed = Random::new(faults.seed).stream(node.0.into()).next();
        let senders = site::senders(self.launch.cluster, self.launch.cut);
        Some(Faults { seed, cuts: Cuts { senders, ..faults.cuts }, ..faults })
    }

    /// The logs of an acceptor.
    fn logs(&self, node: NodeId, home: &Home) -> Result<Logs, StorageError> {
        let cluster = self.launch.cluster;
        let durability = match cluster.durability {
            config::Durability::Memory => Durability::Memory,
            config::Durability::Sync => Durability::Sync(home.log()),
        };
        let configuration = cluster.digests.immutable;
        let identity = storage::Identity { cluster: cluster.id, configuration, node };
        Logs::reopen(&durability, &identity, home.memory()?)
    }

    /// The logs of an acceptor's first life are whole before anything says that it has lived: a life
    /// whose log is gone has no vote.
    fn make_logs(&self, bound: &Bound<'_>) -> Result<(), StorageError> {
        let Role::Acceptor(me) = bound.role else { return Ok(()) };
        if bound.home.had_life() {
            return Ok(());
        }
        let mut logs = self.logs(me, &bound.home)?;
        for ring in self.builder.roster.rings() {
            logs.open(me, ring, self.builder.blueprint.ring.instances)?;
        }
        Ok(())
    }

    fn start_acceptor(
        &mut self,
        team: &mut Team<()>,
        (node, me): (&config::Node, NodeId),
        home: &Home,
        seeds: Vec<Seed>,
    ) -> Result<(), ClusterError> {
        let life = team.thread.identity.incarnation;
        for seed in seeds {
            let mut logs = self.logs(me, home)?;
            let hosted = self.builder.hosted(&[me], life, &mut logs)?;
            let (cpu, faults) = (site::cpu(node, 0), self.faults(me));
            let spot = Spot { name: node.id.clone(), seed, cpu, faults };
            team.start_orderer(spot, &self.book, &self.positions, hosted)?;
        }
        Ok(())
    }

    fn start_replica<S: Optimistic>(
        &mut self,
        team: &mut Team<()>,
        (node, me): (&config::Node, ReplicaId),
        home: &Home,
        seeds: Vec<Seed>,
        service: Arc<S>,
    ) -> Result<(), ClusterError> {
        let cluster = self.launch.cluster;
        let shared = Arc::new(Shared::new(service, site::limits(cluster)));
        if !cluster.execution.checkpoint_interval.is_zero() {
            let configuration = cluster.digests.immutable;
            let worker = self.builder.roster.worker(me, 0);
            let identity = storage::Identity { cluster: cluster.id, configuration, node: worker };
            let file = CheckpointFile::new(home.path().to_owned(), identity);
            let log = self.builder.blueprint.ring.instances as u64;
            keeper::begin(&file, &shared, log, &team.thread.board)?;
            team.start_keeper(&format!("{}-keeper", node.id), file, &shared)?;
        }
        for (crew, seed) in seeds.into_iter().enumerate() {
            let faults = self.faults(self.builder.roster.worker(me, crew));
            let (name, cpu) = (format!("{}-w{crew}", node.id), site::cpu(node, crew));
            let spot = Spot { name, seed, cpu, faults };
            let markers = if crew == 0 { self.markers(home, me) } else { Markers::default() };
            let parts = (&mut self.builder, &shared);
            team.start_crew(spot, &self.book, parts, (me, crew), markers)?;
        }
        Ok(())
    }
}
