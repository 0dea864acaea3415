//! The hosts of a run and what runs on them, from their first life to their last.

use super::checkers::Agreement;
use super::client::{Client, ClientParts};
use super::disk::{Disk, Durability, Image};
use super::host::{Host, Roles, Status};
use super::keeper::Keeper;
use super::observed::Observed;
use super::ordering::{Hosted, News, Ordering};
use super::plan::{Model, Plan};
use super::pool::FramePool;
use super::replica::WorkerHost;
use super::services::SimService;
use super::tap::Tap;
use crate::multi_ring::{Proposals, SkipPolicy, Subscription, SubscriptionConfig};
use crate::proxy::{Grouping, ProxyConfig};
use crate::replica::{
    Barrier, Checkpoint, CheckpointTimer, Executor, Progress, PsmrWorker, ReplyPolicy, Retry,
    SessionLimits, Shared, WorkerConfig,
};
use crate::ring_paxos::{LearnerConfig, Member, Memory, Proposer, Retention, RingConfig};
use crate::types::{
    Address, GroupId, Incarnation, Random, ReplicaId, ReplicaSet, RingId, Slot, Time,
};
use crate::wire::Identity;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A replica as a whole.
#[derive(Debug)]
pub(super) struct Replica<S> {
    pub(super) service: Arc<Observed<S>>,
    pub(super) shared: Arc<Shared<Observed<S>>>,
    /// It has not ended for good.
    pub(super) is_live: bool,
    /// What it finds when it begins another life.
    disk: Option<Arc<Checkpoint>>,
    /// The hosts of its workers.
    pub(super) hosts: Range<usize>,
}

/// All hosts: those of acceptors first, then the workers replica by replica, then the clients.
#[derive(Debug)]
pub(super) struct Cluster<S: SimService> {
    pub(super) hosts: Vec<Host<S>>,
    pub(super) replicas: Vec<Replica<S>>,
    /// Ring -> hosts that hear its multicasts.
    pub(super) groups: Vec<Vec<usize>>,
    acceptor_hosts: usize,
    /// What is left on the disks of hosts that are down.
    disks: Vec<Vec<Image>>,
}

/// The tap for a plan's rings and learners.
pub(super) fn tap(plan: &Plan) -> Tap {
    let learners = plan.replicas * plan.groups;
    Tap::new(Agreement::new(plan.rings(), learners), plan.rings())
}

impl<S: SimService> Cluster<S> {
    pub(super) fn new(plan: &Rc<Plan>, source: &Random) -> Self {
        let mut random = source.stream(3);
        let acceptor_hosts = plan.acceptor_hosts();
        let mut cluster = Self {
            hosts: Vec::new(),
            replicas: Vec::new(),
            groups: plan.ring_ids().map(|ring| plan.listeners(ring)).collect(),
            acceptor_hosts,
            disks: vec![Vec::new(); acceptor_hosts],
        };
        for host in 0..acceptor_hosts {
            let life = Life::first(plan, &mut random);
            let roles = ordering(plan, host, &life, &mut random);
            cluster.hosts.push(Host::new(Roles::Ordering(Box::new(roles)), life.identity));
        }
        for replica in 0..plan.replicas {
            cluster.add_replica(plan, replica, &mut random);
        }
        let map = Arc::new(S::build(plan));
        for number in 0..plan.load.clients {
            let life = Life::first(plan, &mut random);
            let config = proxy_config(plan, number, &life);
            let parts =
                ClientParts { plan, number, config, map: Arc::clone(&map), seed: random.next() };
            let client = Client::new(parts);
            cluster.hosts.push(Host::new(Roles::Client(Box::new(client)), life.identity));
        }
        cluster
    }

    /// The hosts of acceptors.
    pub(super) const fn acceptor_hosts(&self) -> Range<usize> {
        0..self.acceptor_hosts
    }

    /// The process of a host with acceptors ends.
    pub(super) fn crash(&mut self, host: usize) {
        let Host { roles: Roles::Ordering(ordering), status, inbox, .. } = &mut self.hosts[host]
        else {
            unreachable!("only acceptors have another life");
        };
        self.disks[host] = ordering.crash();
        *status = Status::Down;
        inbox.clear();
    }

    /// The process of a host with acceptors begins another life.
    pub(super) fn restart(&mut self, plan: &Plan, host: usize, now: Time, random: &mut Random) {
        let disks = std::mem::take(&mut self.disks[host]);
        let memory = if plan.is_durable { Memory::Restored } else { Memory::Amnesiac };
        let life = Life { memory, disks, now, ..Life::first(plan, random) };
        let roles = ordering(plan, host, &life, random);
        let is_scheduled = self.hosts[host].is_scheduled;
        let overflows = self.hosts[host].overflows;
        let fresh = Host::new(Roles::Ordering(Box::new(roles)), life.identity);
        self.hosts[host] = Host { is_scheduled, overflows, ..fresh };
    }

    /// The process of client `number` begins another life.
    pub(super) fn restart_client(
        &mut self,
        plan: &Plan,
        number: usize,
        now: Time,
        random: &mut Random,
    ) {
        let life = Life::first(plan, random);
        let host = &mut self.hosts[plan.host(plan.client_node(number), RingId(0))];
        let Roles::Client(client) = &mut host.roles else {
            unreachable!("a client's host is a client");
        };
        client.restart(proxy_config(plan, number, &life), now);
        host.identity = life.identity;
        host.inbox.clear();
    }

    fn add_replica(&mut self, plan: &Plan, replica: usize, random: &mut Random) {
        let life = Life::first(plan, random);
        let (service, shared) = build_replica(plan);
        let first = self.hosts.len();
        for number in 0..plan.groups {
            let host = worker_host(plan, (replica, number), &shared, &life, random);
            self.hosts.push(Host::new(Roles::Worker(Box::new(host)), life.identity));
        }
        let hosts = first..self.hosts.len();
        self.replicas.push(Replica { service, shared, is_live: true, disk: None, hosts });
    }

    /// Whether a replica has its state and serves.
    pub(super) fn is_healthy(&self, replica: usize) -> bool {
        let is_well = |host: usize| match &self.hosts[host] {
            Host { roles: Roles::Worker(worker), status, .. } => {
                *status != Status::Down && !worker.worker.is_muted()
            }
            _ => false,
        };
        let Replica { is_live, hosts, .. } = &self.replicas[replica];
        *is_live && hosts.clone().all(is_well)
    }

    /// Whether `replica` is where all logs begin that it needs, or further, and has what `other` has
    /// in checkpoints.
    pub(super) fn covers(&self, replica: usize, other: usize) -> bool {
        let checkpoint = self.replicas[other].shared.checkpoints().latest();
        let trim = |ring: RingId| {
            let trims = self.hosts[self.acceptor_hosts()].iter().filter_map(|host| {
                let Roles::Ordering(ordering) = &host.roles else { return None };
                let hosted = ordering.hosted.iter().find(|hosted| hosted.ring == ring)?;
                Some(hosted.member.trim())
            });
            trims.max().unwrap_or_default()
        };
        self.hosts[self.replicas[replica].hosts.clone()].iter().all(|host| {
            let Roles::Worker(worker) = &host.roles else { return false };
            let WorkerHost { subscription, place, .. } = &**worker;
            let copies = checkpoint.as_ref();
            let saved = copies.map_or(&[][..], |copy| copy.position(GroupId::new(place.1)));
            let is_behind = |next, ring| saved.iter().any(|at| at.ring == ring && at.next > next);
            let mut at = subscription.position();
            at.all(|at| at.next > trim(at.ring) && !is_behind(at.next, at.ring))
        })
    }

    /// The process of a replica ends; its last checkpoint is left if `keeps` is.
    pub(super) fn end_replica(&mut self, replica: usize, keeps: Keeps) {
        let Replica { shared, hosts, disk, .. } = &mut self.replicas[replica];
        let keeper = match &mut self.hosts[hosts.start].roles {
            Roles::Worker(worker) => worker.keeper.as_mut(),
            _ => None,
        };
        let left = keeper.map_or_else(|| shared.checkpoints().latest(), Keeper::crash);
        *disk = left.filter(|_| keeps == Keeps::Checkpoint);
        for host in hosts.clone() {
            self.hosts[host].status = Status::Down;
            self.hosts[host].inbox.clear();
        }
    }

    /// The process of a replica begins another life. Says where its workers begin, if that is not at
    /// the beginning.
    pub(super) fn begin_replica(
        &mut self,
        plan: &Plan,
        replica: usize,
        now: Time,
        random: &mut Random,
    ) -> Option<Arc<Checkpoint>> {
        let life = Life { now, ..Life::first(plan, random) };
        let (service, shared) = build_replica(plan);
        let Replica { hosts, disk, .. } = &self.replicas[replica];
        let (hosts, disk) = (hosts.clone(), disk.clone());
        if let Some(checkpoint) = &disk {
            shared.restore(checkpoint).expect("its own checkpoint");
            shared.checkpoints().publish(Arc::clone(checkpoint));
        }
        for (number, index) in hosts.clone().enumerate() {
            let mut host = worker_host(plan, (replica, number), &shared, &life, random);
            if let Some(keeper) = &mut host.keeper {
                keeper.begin(disk.clone());
            }
            if let Some(checkpoint) = &disk {
                let WorkerHost { worker, subscription, pool, .. } = &mut host;
                worker.restore(checkpoint, subscription, pool).expect("its own checkpoint");
            }
            host.worker.join();
            let is_scheduled = self.hosts[index].is_scheduled;
            let overflows = self.hosts[index].overflows;
            let fresh = Host::new(Roles::Worker(Box::new(host)), life.identity);
            self.hosts[index] = Host { is_scheduled, overflows, ..fresh };
        }
        let fresh = Replica { service, shared, is_live: true, disk: None, hosts };
        self.replicas[replica] = fresh;
        disk
    }
}

/// What is left of a replica whose process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeps {
    /// Its last complete checkpoint.
    Checkpoint,
    /// Nothing.
    Nothing,
}

type Built<S> = (Arc<Observed<S>>, Arc<Shared<Observed<S>>>);

fn build_replica<S: SimService>(plan: &Plan) -> Built<S> {
    let service = Arc::new(Observed::new(S::build(plan)));
    let limits = SessionLimits { sessions: 64, window: plan.load.session_window };
    let shared = Arc::new(Shared::new(Arc::clone(&service), limits));
    if plan.checkpoints.is_some() {
        shared.checkpoints().turn_on(plan.keeper().is_some(), plan.log as u64);
    }
    (service, shared)
}

fn worker_host<S: SimService>(
    plan: &Plan,
    (replica, number): (usize, usize),
    shared: &Arc<Shared<Observed<S>>>,
    life: &Life,
    random: &mut Random,
) -> WorkerHost<S> {
    let config = worker_config(plan, replica, number);
    let mut worker = PsmrWorker::new(config, Arc::clone(shared));
    let others = (0..plan.replicas).filter(|other| *other != replica);
    worker.set_peers(others.map(|other| plan.worker_node(other, 0)).collect());
    let rings = plan.rings_of(number).map(|ring| {
        let mut acceptors = plan.acceptor_nodes();
        acceptors.rotate_left(replica % plan.acceptors);
        let defaults = LearnerConfig::new(ring, acceptors, learner(plan, replica, number));
        let has_checkpoints = plan.checkpoints.is_some();
        LearnerConfig { window: plan.learner_window, has_checkpoints, ..defaults }
    });
    let config = SubscriptionConfig { rings: rings.collect(), m: plan.merge };
    let proposers = plan.ring_ids().map(|ring| Proposer::new(ring, plan.acceptor_nodes()));
    let client = life.identity.incarnation.0;
    let timer = plan.checkpoints.filter(|_| number == 0).and_then(|interval| {
        let enough = if plan.is_durable { plan.log as u64 / 4 } else { u64::MAX };
        CheckpointTimer::new(interval, enough, replica, plan.groups, client)
    });
    WorkerHost {
        me: plan.worker_node(replica, number),
        place: (replica, number),
        subscription: Subscription::new(config, random.next(), life.now),
        worker,
        pool: FramePool::new(24),
        proposals: Proposals::new(proposers, plan.room),
        timer,
        keeper: plan.keeper().filter(|_| number == 0).map(|keeper| {
            // A stream of its own: who keeps nothing draws as before.
            Keeper::new(keeper, Random::new(client).stream(12))
        }),
        delivered: Vec::new(),
        stands_by: false,
        jumped: None,
        progress: Progress::Idle,
        counter: 0,
    }
}

/// What a process begins a life with.
struct Life {
    identity: Identity,
    memory: Memory,
    disks: Vec<Image>,
    now: Time,
}

impl Life {
    fn first(plan: &Plan, random: &mut Random) -> Self {
        let incarnation = Incarnation(random.next());
        let identity = Identity { cluster: plan.seed, configuration: 1, epoch: 1, incarnation };
        Self { identity, memory: Memory::Fresh, disks: Vec::new(), now: Time::ZERO }
    }
}

/// The acceptors of a host.
fn ordering(plan: &Plan, host: usize, life: &Life, random: &mut Random) -> Ordering {
    let mut disks = life.disks.iter();
    let hosted = plan.rings_at(host).map(|ring| {
        let node = plan.acceptor_nodes()[host % plan.acceptors];
        let durability = if plan.is_durable { Durability::Sync } else { Durability::Memory };
        let mut disk = Disk::new(plan.timing.write_ns, durability, Random::new(random.next()));
        let image = disks.next();
        if let Some(image) = image {
            disk = disk.reopen(image);
        }
        let name = (node, life.identity.incarnation);
        let config = ring_config(plan, ring);
        let mut member = Member::new(config, name, life.memory, disk, random.next(), life.now);
        if let Some(image) = image {
            member.restore(image);
        }
        let skips = SkipPolicy::new(plan.timing.lambda_per_s, plan.timing.skip_interval)
            .in_turns_of(plan.merge);
        Hosted { ring, node, member, skips, counter: 0 }
    });
    Ordering {
        hosted: hosted.collect(),
        rings: u16::try_from(plan.rings()).expect("few rings"),
        news: if plan.has_beacons {
            News::Beacons
        } else if plan.hears_rings {
            News::Heard(vec![Slot(0); plan.rings()])
        } else {
            News::Shared
        },
    }
}

/// The number of the learners of a worker.
const fn learner(plan: &Plan, replica: usize, number: usize) -> u64 {
    (replica * plan.groups + number) as u64
}

fn ring_config(plan: &Plan, ring: RingId) -> RingConfig {
    let is_own = usize::from(ring.0) < plan.groups;
    let hears = |number: &usize| !is_own || *number == usize::from(ring.0);
    let of =
        |replica: usize| (0..plan.groups).filter(hears).map(move |n| learner(plan, replica, n));
    let learners: Vec<u64> = (0..plan.replicas).flat_map(of).collect();
    let defaults = RingConfig::new(ring, plan.acceptor_nodes());
    RingConfig {
        retention: retention(plan, learners.len()),
        learners,
        instances: plan.log,
        apply_bound: plan.log as u64 - plan.log as u64 / 4,
        heartbeat: plan.timing.heartbeat,
        election_timeout: plan.timing.election,
        ..defaults.with_room(plan.room)
    }
}

/// f + 1 of 2f + 1 replicas keep what is forgotten, with all their learners of a ring.
fn retention(plan: &Plan, learners: usize) -> Retention {
    if plan.checkpoints.is_none() {
        return Retention::Applied;
    }
    let copies = (plan.replicas.div_ceil(2)) * learners / plan.replicas;
    // Some reports of who stands still, one each 100 ms, may be lost.
    let patience = Duration::from_millis(500);
    Retention::Checkpoints { copies, is_strict: plan.is_durable, patience }
}

fn worker_config(plan: &Plan, replica: usize, worker: usize) -> WorkerConfig {
    let replica = ReplicaId(u8::try_from(replica).expect("few replicas"));
    WorkerConfig {
        barrier: if plan.barrier_is_instance { Barrier::Instance } else { Barrier::Command },
        executor: if plan.executor_is_lowest { Executor::Lowest } else { Executor::Rotate },
        retry: if plan.retry_is_client { Retry::Client } else { Retry::Replica },
        reply: if plan.reply_is_all { ReplyPolicy::All } else { ReplyPolicy::One },
        room: plan.room,
        // Slowly, so that much is executed meanwhile.
        sweep: 1,
        ..WorkerConfig::new(plan.groups, GroupId::new(worker), replica, plan.replicas)
    }
}

fn proxy_config(plan: &Plan, number: usize, life: &Life) -> ProxyConfig {
    let host = plan.host(plan.client_node(number), RingId(0));
    ProxyConfig {
        session_timeout: Duration::ZERO,
        reply_to: Address::memory(u32::try_from(host).expect("few hosts")),
        client: life.identity.incarnation.0,
        groups: plan.groups,
        acceptors: plan.acceptor_nodes(),
        replicas: ReplicaSet::first(plan.replicas),
        sessions: plan.load.sessions,
        window: plan.load.window.next_power_of_two(),
        grouping: match plan.model {
            Model::OptPsmr => Grouping::Optimistic,
            Model::Smr | Model::Psmr => Grouping::Conservative,
        },
        map_epoch: 0,
        attempt_timeout: plan.timing.attempt,
        deadline: plan.timing.deadline,
        command_limit: 1 << 20,
        room: plan.room,
    }
}
