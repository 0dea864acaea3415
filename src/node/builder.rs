//! What the threads of a cluster are made of, whichever of them run in this process.

use super::logs::Logs;
use super::ordering::Hosted;
use super::roster::Roster;
use super::worker::WorkerParts;
use crate::host::clock;
use crate::multi_ring::{SkipPolicy, Subscription, SubscriptionConfig};
use crate::proxy::{Grouping, ProxyConfig};
use crate::replica::{
    Barrier, CheckpointTimer, Executor, PsmrWorker, ReplyPolicy, Retry, SessionTimer, Shared,
    WorkerConfig,
};
use crate::ring_paxos::{
    Epoch, FormerLives, LearnerConfig, Member, Proposer, Retention, RingConfig,
};
use crate::service::Optimistic;
use crate::storage::StorageError;
use crate::types::{
    Address, GroupId, Incarnation, MAX_REPLICAS, NodeId, Random, ReplicaId, RingId,
};
use std::sync::Arc;
use std::time::Duration;

/// What of a configuration decides what its roles do.
#[derive(Clone, Debug)]
pub(super) struct Blueprint {
    pub(super) grouping: Grouping,
    pub(super) barrier: Barrier,
    pub(super) executor: Executor,
    pub(super) retry: Retry,
    pub(super) reply: ReplyPolicy,
    /// M.
    pub(super) m: u64,
    pub(super) lambda_per_s: u64,
    /// Of every ring, but for its number and its learners.
    pub(super) ring: RingConfig,
    pub(super) checkpoints: CheckpointPlan,
    pub(super) command_limit: usize,
    /// Commands that one session may have open.
    pub(super) window: usize,
    pub(super) attempt_timeout: Duration,
    pub(super) deadline: Duration,
    /// When a rendezvous has been open for too long.
    pub(super) rendezvous_timeout: Duration,
    /// When the session of a silent client expires; zero: never.
    pub(super) session_timeout: Duration,
}

/// How replicas make checkpoints, and what acceptors keep behind them.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointPlan {
    /// Zero: there are none.
    pub(super) interval: Duration,
    /// A replica that is silent for longer is not waited for.
    pub(super) patience: Duration,
    /// Nothing is forgotten before it is in checkpoints.
    pub(super) is_strict: bool,
    /// Replicas may begin after others: such a one answers nobody before it has caught up.
    pub(super) joins: bool,
    /// See [`RingConfig::former_lives`].
    pub(super) former_lives: FormerLives,
}

impl CheckpointPlan {
    /// No checkpoints, and all replicas begin together.
    pub(super) const NONE: Self = Self {
        interval: Duration::ZERO,
        patience: Duration::ZERO,
        is_strict: false,
        joins: false,
        former_lives: FormerLives::Unknown,
    };

    /// What `ring` keeps for the replicas of `roster`.
    fn retention(&self, roster: &Roster, ring: RingId) -> Retention {
        if self.interval.is_zero() {
            return Retention::Applied;
        }
        // f + 1 of 2f + 1 replicas, with all their learners of the ring.
        let (learners, replicas) = (roster.learners(ring).len(), roster.replicas().len());
        let copies = replicas.div_ceil(2) * (learners / replicas.max(1));
        let Self { is_strict, patience, .. } = *self;
        Retention::Checkpoints { copies, is_strict, patience }
    }
}

impl CheckpointPlan {
    /// Who belongs to `ring` in epoch `number`, of which `roster` is.
    pub(super) fn epoch(&self, roster: &Roster, ring: RingId, number: u32) -> Epoch {
        let (acceptors, learners) = (roster.acceptors(), roster.learners(ring));
        let (retention, former_lives) = (self.retention(roster, ring), self.former_lives);
        Epoch { number, acceptors, learners, retention, former_lives }
    }
}

/// Makes roles.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) blueprint: Blueprint,
    pub(super) roster: Roster,
    /// The epoch of the configuration in which all of them begin.
    epoch: u32,
    /// Spreads time-outs and back-offs.
    pub(super) random: Random,
}

impl Builder {
    pub(super) const fn new(blueprint: Blueprint, roster: Roster, epoch: u32, seed: u64) -> Self {
        Self { blueprint, roster, epoch, random: Random::new(seed) }
    }

    /// These acceptors of every ring, in their life `life`, with what their logs remember.
    pub(super) fn hosted(
        &mut self,
        nodes: &[NodeId],
        life: Incarnation,
        logs: &mut Logs,
    ) -> Result<Vec<Hosted>, StorageError> {
        let Self { blueprint, roster, random, epoch } = self;
        let mut hosted = Vec::new();
        for ring in roster.rings() {
            let of_ring = blueprint.checkpoints.epoch(roster, ring, *epoch);
            for &node in nodes {
                let config = RingConfig {
                    ring,
                    epoch: of_ring.number,
                    decides_members: ring == roster.last_ring(),
                    learners: of_ring.learners.clone(),
                    retention: of_ring.retention,
                    former_lives: of_ring.former_lives,
                    ..blueprint.ring.clone()
                };
                let (log, recovered) = logs.open(node, ring, config.instances)?;
                let (seed, now) = (random.next(), clock::now());
                let memory = recovered.memory();
                let mut member = Member::new(config, (node, life), memory, log, seed, now);
                member.restore(&recovered);
                let skips = SkipPolicy::new(blueprint.lambda_per_s, SkipPolicy::INTERVAL);
                let skips = skips.in_turns_of(blueprint.m);
                hosted.push(Hosted::new(ring, node, (member, memory), skips));
            }
        }
        Ok(hosted)
    }

    /// The worker of `group` of `replica`.
    pub(super) fn worker<S: Optimistic>(
        &mut self,
        replica: ReplicaId,
        group: usize,
        shared: &Arc<Shared<S>>,
    ) -> WorkerParts<S> {
        let Self { blueprint, roster, random, .. } = self;
        let me = roster.worker(replica, group);
        let preferred = |ring: RingId| {
            let acceptors = roster.preferred(ring, replica);
            let has_checkpoints = !blueprint.checkpoints.interval.is_zero();
            let defaults = LearnerConfig::new(ring, acceptors, Roster::learner(me));
            LearnerConfig { has_checkpoints, ..defaults }
        };
        let rings = roster.rings_of_worker(group).into_iter().map(preferred).collect();
        let worker = WorkerConfig {
            barrier: blueprint.barrier,
            executor: blueprint.executor,
            retry: blueprint.retry,
            reply: blueprint.reply,
            command_limit: blueprint.command_limit,
            room: blueprint.ring.room,
            replicas: roster.replica_set(),
            ..WorkerConfig::new(roster.groups, GroupId::new(group), replica, MAX_REPLICAS)
        };
        let subscription = SubscriptionConfig { rings, m: blueprint.m };
        let mut worker = PsmrWorker::new(worker, shared.clone());
        worker.set_peers(roster.peers(replica));
        if blueprint.checkpoints.joins {
            worker.join();
        }
        WorkerParts {
            me,
            subscription: Subscription::new(subscription, random.next(), clock::now()),
            worker,
            proposers: roster.rings().map(|ring| Proposer::new(ring, roster.acceptors())).collect(),
            progressed: Arc::default(),
            rendezvous_timeout: blueprint.rendezvous_timeout,
        }
    }

    /// What expires sessions at `replica`, whose tables have `places`.
    pub(super) fn session_timer(
        &mut self,
        replica: ReplicaId,
        places: usize,
    ) -> Option<SessionTimer> {
        let who = (usize::from(replica.0), self.roster.groups);
        SessionTimer::new(self.blueprint.session_timeout, who, places, self.random.next())
    }

    /// What asks for checkpoints at a replica.
    pub(super) fn checkpoint_timer(&mut self, replica: ReplicaId) -> Option<CheckpointTimer> {
        let Self { blueprint, roster, random, .. } = self;
        let CheckpointPlan { interval, is_strict, .. } = blueprint.checkpoints;
        // Where the logs wait for checkpoints, these must not wait for their time.
        let enough = if is_strict { blueprint.ring.instances as u64 / 4 } else { u64::MAX };
        CheckpointTimer::new(interval, enough, usize::from(replica.0), roster.groups, random.next())
    }

    /// A client that is answered at `reply_to`, with so many sessions.
    pub(super) fn proxy(&mut self, reply_to: Address, sessions: usize) -> ProxyConfig {
        let Self { blueprint, roster, random, .. } = self;
        ProxyConfig {
            reply_to,
            client: random.next(),
            groups: roster.groups,
            acceptors: roster.acceptors(),
            replicas: roster.replica_set(),
            sessions,
            window: blueprint.window,
            grouping: blueprint.grouping,
            map_epoch: 0,
            attempt_timeout: blueprint.attempt_timeout,
            deadline: blueprint.deadline,
            session_timeout: blueprint.session_timeout,
            command_limit: blueprint.command_limit,
            room: blueprint.ring.room,
        }
    }
}
