//! What runs on a host in one of its lives: roles as the plan and the epoch have them.

use super::digesting::{Comparison, Found};
use super::disk::{Disk, Durability, Image};
use super::keeper::Keeper;
use super::members::{Epoch, HomeId, learner, worker_node};
use super::observed::Observed;
use super::ordering::{Hosted, News, Ordering};
use super::plan::{Model, Plan};
use super::pool::FramePool;
use super::replica::WorkerHost;
use super::services::SimService;
use crate::multi_ring::{Proposals, SkipPolicy, Subscription, SubscriptionConfig};
use crate::proxy::{Grouping, ProxyConfig};
use crate::replica::{
    Barrier, CheckpointTimer, DigestTimer, Executor, Progress, PsmrWorker, ReplyPolicy, Retry,
    SessionLimits, SessionTimer, Shared, Witnesses, WorkerConfig,
};
use crate::ring_paxos::{self, LearnerConfig, Member, Memory, Proposer, RingConfig};
use crate::types::{
    Address, GroupId, Incarnation, Instance, NodeId, Random, ReplicaId, RingId, Slot, Time,
};
use crate::wire::Identity;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// Places in the tables of sessions.
const SESSIONS: usize = 64;

/// What a process begins a life with.
pub(super) struct Life {
    pub(super) identity: Identity,
    pub(super) epoch: Rc<Epoch>,
    pub(super) memory: Memory,
    pub(super) disks: Vec<Image>,
    /// Its first life was without a memory.
    pub(super) is_late: bool,
    /// Its disks were put back from a copy once.
    pub(super) was_put_back: bool,
    /// One of its acceptors has had a vote before.
    pub(super) has_begun: bool,
    pub(super) now: Time,
}

impl Life {
    /// The first one, in `epoch`.
    pub(super) fn first(plan: &Plan, epoch: &Rc<Epoch>, random: &mut Random) -> Self {
        let incarnation = Incarnation(random.next());
        let number = epoch.number();
        let version = epoch.members.wire;
        let identity =
            Identity { cluster: plan.seed, configuration: 1, epoch: number, version, incarnation };
        let (memory, disks, now) = (Memory::Fresh, Vec::new(), Time::ZERO);
        let (is_late, was_put_back, has_begun) = (false, false, false);
        let epoch = Rc::clone(epoch);
        Self { identity, epoch, memory, disks, is_late, was_put_back, has_begun, now }
    }
}

impl Life {
    /// What an acceptor begins with that has no memory: as on a real host, where one with a log never
    /// knows whether there was another before, and one without knows whether it has had a vote.
    pub(super) fn without_memory(&self, plan: &Plan) -> Memory {
        let is_unknown = plan.begins_newborn && (plan.is_durable || !self.has_begun);
        if is_unknown { Memory::Newborn } else { Memory::Amnesiac }
    }
}

/// The service of a replica, and what its workers share.
#[derive(Debug)]
pub(super) struct Built<S> {
    pub(super) service: Arc<Observed<S>>,
    pub(super) shared: Arc<Shared<Observed<S>>>,
    /// To which marker of those who look for silent sessions each worker has come.
    passed: Rc<[Cell<u64>]>,
    found: Rc<Found>,
}

/// A replica that has executed nothing.
pub(super) fn build_replica<S: SimService>(plan: &Plan) -> Built<S> {
    let service = Arc::new(Observed::new(S::build(plan)));
    let limits = SessionLimits { sessions: SESSIONS, window: plan.load.session_window };
    let shared = Arc::new(Shared::new(Arc::clone(&service), limits));
    if plan.checkpoints.is_some() {
        shared.checkpoints().turn_on(plan.keeper().is_some(), plan.log as u64);
    }
    let passed = (0..plan.groups).map(|_| Cell::new(0)).collect();
    let found = Rc::new(Found::new(plan.groups));
    Built { service, shared, passed, found }
}

/// Worker `number` of the replica at `home`, the one at `place` of all that there were.
pub(super) fn worker_host<S: SimService>(
    plan: &Plan,
    (place, home, number): (usize, HomeId, usize),
    Built { shared, passed, found, .. }: &Built<S>,
    life: &Life,
    random: &mut Random,
) -> WorkerHost<S> {
    let epoch = &life.epoch;
    let replica = epoch.replica_at(home).expect("a replica lives there");
    let config = worker_config(plan, epoch, replica, number);
    let mut worker = PsmrWorker::new(config, Arc::clone(shared));
    worker.set_peers(peers(plan, epoch, replica));
    let rings = plan.rings_of(number).map(|ring| {
        let acceptors = preferred(epoch, replica);
        let learner = learner(replica, number, plan.groups);
        let defaults = LearnerConfig::new(ring, acceptors, learner);
        let has_checkpoints = plan.checkpoints.is_some();
        LearnerConfig { window: plan.learner_window, has_checkpoints, ..defaults }
    });
    let config = SubscriptionConfig { rings: rings.collect(), m: plan.merge };
    let proposers = plan.ring_ids().map(|ring| Proposer::new(ring, epoch.acceptors()));
    let client = life.identity.incarnation.0;
    let timer = plan.checkpoints.filter(|_| number == 0).and_then(|interval| {
        let enough = if plan.is_durable { plan.log as u64 / 4 } else { u64::MAX };
        CheckpointTimer::new(interval, enough, usize::from(replica.0), plan.groups, client)
    });
    let silence = plan.load.session_timeout.filter(|_| number == 0).and_then(|timeout| {
        SessionTimer::new(timeout, (usize::from(replica.0), plan.groups), SESSIONS, client)
    });
    let comparison = (number == 0).then(|| Comparison {
        timer: plan.digests.and_then(|interval| {
            DigestTimer::new(interval, usize::from(replica.0), plan.groups, client)
        }),
        witnesses: Witnesses::new(replica, client, epoch.replica_set()),
        groups: plan.groups,
    });
    WorkerHost {
        me: worker_node(replica, number, plan.groups),
        place: (place, number),
        subscription: Subscription::new(config, random.next(), life.now),
        worker,
        pool: FramePool::new(24),
        proposals: Proposals::new(proposers, plan.room),
        timer,
        silence,
        life: client,
        passed: Rc::clone(passed),
        found: Rc::clone(found),
        comparison,
        votes: Vec::new(),
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

/// Who may have a checkpoint for `replica`.
pub(super) fn peers(plan: &Plan, epoch: &Epoch, replica: ReplicaId) -> Vec<NodeId> {
    let others = epoch.replicas().filter(|other| *other != replica);
    others.map(|other| worker_node(other, 0, plan.groups)).collect()
}

/// The acceptors, for a learner of `replica` the preferential one first.
pub(super) fn preferred(epoch: &Epoch, replica: ReplicaId) -> Vec<NodeId> {
    let mut acceptors = epoch.acceptors();
    let turn = usize::from(replica.0) % acceptors.len();
    acceptors.rotate_left(turn);
    acceptors
}

/// The acceptors of a thread.
pub(super) fn ordering(
    plan: &Plan,
    (home, thread): (HomeId, usize),
    life: &Life,
    random: &mut Random,
) -> Ordering {
    let mut disks = life.disks.iter();
    let node = life.epoch.acceptor_at(home).expect("an acceptor lives there");
    let hosted = plan.rings_at(thread).map(|ring| {
        let durability = if plan.is_durable { Durability::Sync } else { Durability::Memory };
        let mut disk = Disk::new(plan.timing.write_ns, durability, Random::new(random.next()));
        // What an acceptor wrote that had never had a vote is not a memory.
        let has_vote = |image: &&Image| !life.is_late || image.has_admission();
        let image = disks.next().filter(has_vote).filter(|_| plan.is_durable);
        if let Some(image) = image {
            disk = disk.reopen(image);
        }
        let is_lost = life.memory == Memory::Restored && image.is_none();
        let memory = if is_lost { life.without_memory(plan) } else { life.memory };
        let name = (node, life.identity.incarnation);
        let config = ring_config(plan, &life.epoch, ring);
        let mut member = Member::new(config, name, memory, disk, random.next(), life.now);
        if let Some(image) = image {
            member.restore(image);
        }
        let skips = SkipPolicy::new(plan.timing.lambda_per_s, plan.timing.skip_interval)
            .in_turns_of(plan.merge);
        Hosted { ring, node, member, skips, counter: 0, decided: Instance(0), has_decided: false }
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
        decided: None,
        leaving: None,
        was_put_back: life.was_put_back,
        has_begun: life.has_begun,
    }
}

fn ring_config(plan: &Plan, epoch: &Epoch, ring: RingId) -> RingConfig {
    let epoch = epoch.of_ring(plan, ring);
    let ring_paxos::Epoch { number, acceptors, learners, retention, former_lives } = epoch;
    RingConfig {
        epoch: number,
        decides_members: usize::from(ring.0) + 1 == plan.rings(),
        learners,
        instances: plan.log,
        apply_bound: plan.log as u64 - plan.log as u64 / 4,
        retention,
        former_lives,
        heartbeat: plan.timing.heartbeat,
        election_timeout: plan.timing.election,
        ..RingConfig::new(ring, acceptors).with_room(plan.room)
    }
}

fn worker_config(plan: &Plan, epoch: &Epoch, replica: ReplicaId, worker: usize) -> WorkerConfig {
    WorkerConfig {
        replicas: epoch.replica_set(),
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

/// Where `host` is reached.
pub(super) fn address(host: usize) -> Address {
    Address::memory(u32::try_from(host).expect("few hosts"))
}

/// What a client on `host` is told.
pub(super) fn proxy_config(plan: &Plan, host: usize, life: &Life) -> ProxyConfig {
    ProxyConfig {
        session_timeout: plan.load.session_timeout.unwrap_or_default(),
        reply_to: address(host),
        client: life.identity.incarnation.0,
        groups: plan.groups,
        acceptors: life.epoch.acceptors(),
        replicas: life.epoch.replica_set(),
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
