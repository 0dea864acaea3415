//! The worker of P-SMR and opt-PSMR; with one group, of sequential state-machine replication.
//!
//! Stands behind the merge and before the replies. Parallel mode (a value of the worker's own
//! ring): each command runs at once, an optimistic one if its safety check passes. Synchronous
//! mode (a value of g_all's ring): Algorithm 1, in steps that are polled; nothing waits inside.
//! A command in parallel mode costs its decoding, one session line and one entry line, the
//! service, and the reply: no allocation, no lock, no clock.

mod control;
mod cut;
mod execute;
mod parallel;
mod synchronous;

use super::chunks::Assemblies;
use super::recovery::Recoverer;
use super::retries::Retries;
use super::sessions::Directory;
use super::transfer::Server;
use super::{
    Deliveries, Delivery, Progress, Shared, Steps, Worker, WorkerConfig, WorkerCounters,
    WorkerOutbox,
};
use crate::service::{Access, Optimistic};
use crate::types::{GroupSet, Instance, RingId, Slot, Time};
use crate::wire::{Command, CommandHeader};
use cut::Cut;
use std::sync::Arc;
use synchronous::{Meeting, Phase};

pub(super) use cut::read_place;

/// How many commands the worker looks ahead, so that their cache misses overlap.
const AHEAD: usize = 32;

/// One worker of one replica.
#[derive(Debug)]
pub struct PsmrWorker<S> {
    pub(super) config: WorkerConfig,
    pub(super) shared: Arc<Shared<S>>,
    /// The worker's own group alone.
    own: GroupSet,
    /// Every group.
    pub(super) all: GroupSet,
    /// What it may touch alone.
    access: Access,
    directory: Directory,
    /// The value being executed, and where in it the next command starts.
    at: Delivery,
    offset: usize,
    length: usize,
    phase: Phase,
    meeting: Meeting,
    /// Up to where in the value commands of a meeting have been pulled into the cache.
    warmed: usize,
    /// Commands of more than one group delivered so far: the same at every worker.
    epoch: u64,
    own_parts: Assemblies,
    all_parts: Assemblies,
    retries: Retries,
    reply: Vec<u8>,
    part: Vec<u8>,
    pub(super) counters: WorkerCounters,
    /// The checkpoint under way; how many cuts, and how many complete checkpoints, it has seen.
    cut: Cut,
    cuts: u64,
    completed: u64,
    /// The instance of each ring at which the last cut was made.
    cut_at: [Instance; cut::MAX_RINGS],
    /// Where in the next value to go on, of a worker that was restored in the middle of one.
    resume_at: Option<usize>,
    /// It catches up: nobody is to be answered, nothing is multicast again.
    pub(super) is_muted: bool,
    pub(super) recoverer: Recoverer,
    pub(super) server: Server,
}

/// What one poll brings along.
struct Cycle<'a, S, O> {
    shared: &'a Shared<S>,
    now: Time,
    out: &'a mut O,
}

impl<S: Optimistic> PsmrWorker<S> {
    /// Worker `config.me` of the replica that `shared` is.
    ///
    /// # Panics
    /// If the settings contradict each other, the service's groups, or `shared`.
    #[must_use]
    pub fn new(config: WorkerConfig, shared: Arc<Shared<S>>) -> Self {
        config.check();
        assert_eq!(
            config.groups,
            shared.service().groups(),
            "the service's groups are the model's"
        );
        let assemblies = || Assemblies::new(config.assemblies, config.command_limit);
        let alone = config.groups == 1;
        Self {
            own: GroupSet::one(config.me),
            all: GroupSet::all(config.groups),
            access: if alone { Access::Whole } else { Access::Keys(config.me) },
            directory: Directory::new(shared.limits()),
            at: Delivery { ring: config.me.ring(), slot: Slot(0) },
            offset: 0,
            length: 0,
            phase: Phase::Ready,
            meeting: Meeting::default(),
            warmed: 0,
            epoch: 0,
            own_parts: assemblies(),
            all_parts: assemblies(),
            retries: Retries::new(config.retries, config.retry_interval, config.retry_delay),
            reply: Vec::with_capacity(4096),
            part: Vec::with_capacity(4096),
            counters: WorkerCounters::default(),
            cut: Cut::None,
            cuts: 0,
            completed: 0,
            cut_at: [Instance(0); cut::MAX_RINGS],
            resume_at: None,
            is_muted: false,
            recoverer: Recoverer::default(),
            server: Server::default(),
            config,
            shared,
        }
    }
}

impl<S> PsmrWorker<S> {
    /// What it has counted.
    #[must_use]
    pub const fn counters(&self) -> WorkerCounters {
        self.counters
    }

    /// Values delivered so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.counters.values
    }

    /// Commands of more than one group delivered so far: equal at all workers of all replicas that
    /// have delivered equally much of g_all.
    #[must_use]
    pub const fn synchronous_epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it is between values: all that was delivered has been executed.
    #[must_use]
    pub const fn is_between_values(&self) -> bool {
        self.offset == self.length && matches!(self.phase, Phase::Ready)
    }

    /// Since when it has waited in synchronous mode, and the set that it meets: for whoever stops a
    /// replica whose rendezvous stays open.
    #[must_use]
    pub fn waiting(&self) -> Option<(Time, GroupSet)> {
        if self.shared.recovery().is_under_way() {
            return None; // Whoever it met is elsewhere in the order when it goes on.
        }
        match self.phase {
            Phase::Gathering | Phase::Following => Some((self.meeting.since, self.meeting.set)),
            Phase::Ready | Phase::Executing | Phase::Releasing => None,
        }
    }

    /// Whether it is inside a rendezvous: what it does next depends on the other workers alone.
    #[must_use]
    pub const fn is_meeting(&self) -> bool {
        !matches!(self.phase, Phase::Ready)
    }

    /// What it shares with the other workers of its replica.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared<S>> {
        &self.shared
    }

    /// Where the value stands that it executes or has executed last; none before
    /// the first.
    #[must_use]
    pub fn place(&self) -> Option<Delivery> {
        (self.counters.values > 0).then_some(self.at)
    }

    /// Its settings.
    #[must_use]
    pub const fn config(&self) -> &WorkerConfig {
        &self.config
    }

    /// Whether the client wants an answer from this replica.
    #[inline]
    const fn is_named(&self, header: &CommandHeader) -> bool {
        header.attempt() > 0 || header.replica() == self.config.replica.0
    }

    /// The ring of all groups, if there is one.
    const fn is_of_all(&self, ring: RingId) -> bool {
        self.config.groups > 1 && ring.0 as usize == self.config.groups
    }
}

impl<S: Optimistic> Worker for PsmrWorker<S> {
    fn poll(
        &mut self,
        deliveries: &mut impl Deliveries,
        budget: Steps,
        now: Time,
        out: &mut impl WorkerOutbox,
    ) -> Progress {
        let shared = Arc::clone(&self.shared);
        let mut cycle = Cycle { shared: &*shared, now, out };
        let (mut left, mut has_swept) = (budget.0, false);
        while left > 0 && !self.is_cut_due() {
            if self.is_between_values() {
                if matches!(self.cut, Cut::Sweeping(_)) {
                    self.sweep(&shared);
                    has_swept = true;
                }
                let Some(delivery) = deliveries.advance() else { break };
                self.at = delivery;
                self.warmed = 0;
                self.length = deliveries.bytes().len();
                self.offset = self.resume_at.take().map_or(0, |offset| offset.min(self.length));
                self.counters.values += 1;
                left -= 1;
                if self.is_of_all(delivery.ring) {
                    self.warm_synchronous(deliveries.bytes(), &shared);
                }
                continue;
            }
            let steps = if self.is_of_all(self.at.ring) {
                self.run_synchronous(deliveries.bytes(), left, &mut cycle)
            } else {
                self.run_parallel(deliveries.bytes(), left, &mut cycle)
            };
            left -= steps;
            if steps == 0 {
                break;
            }
        }
        if left < budget.0 {
            Progress::Worked(budget.0 - left)
        } else if matches!(self.phase, Phase::Ready) {
            if has_swept { Progress::Swept } else { Progress::Idle }
        } else {
            Progress::Blocked(self.meeting.set)
        }
    }

    fn on_timeout(&mut self, now: Time, out: &mut impl WorkerOutbox) {
        let Self { retries, shared, counters, config, is_muted, .. } = self;
        let table = shared.table(config.me.index());
        retries.on_timeout(
            now,
            |session, sequence| table.is_settled(session, sequence),
            |copy| {
                if !*is_muted {
                    counters.retries += 1;
                    out.multicast(copy);
                }
            },
        );
    }

    fn next_timeout(&self) -> Option<Time> {
        [self.retries.next_due(), self.next_fetch()].into_iter().flatten().min()
    }
}

/// Counts what is left of a batch when its commands end early.
const fn rest(bytes: &[u8], offset: usize) -> u64 {
    (bytes.len() - offset) as u64
}

/// Gathers payloads for [`crate::service::PartitionedService::warm`].
#[derive(Default)]
struct Warm<'a> {
    payloads: [&'a [u8]; AHEAD],
    count: usize,
}

impl<'a> Warm<'a> {
    #[inline]
    const fn push(&mut self, command: &Command<'a>) {
        if self.count < AHEAD {
            self.payloads[self.count] = command.payload;
            self.count += 1;
        }
    }

    #[inline]
    fn finish<S: Optimistic>(&self, service: &S) {
        if self.count > 1 {
            service.warm(&self.payloads[..self.count]);
        }
    }
}
