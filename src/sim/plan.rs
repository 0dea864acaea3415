//! What one seed amounts to: the cluster, the load and a random subset of the faults.
//!
//! Swarm testing (Groce and others, 2012): a seed that never loses a datagram finds what a seed with
//! every fault at once hides, so each fault is switched on by its own coin.

use super::changes::{self, Change};
use super::network::NetworkFaults;
use super::planned::{self, Fault, Planned};
use crate::config::Kind;
use crate::multi_ring::SkipPolicy;
use crate::service::btree::Separators;
use crate::types::{Random, RingId, Time};
use crate::wire::Room;
use std::time::Duration;

/// The execution model of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// One group, one worker.
    Smr,
    /// K groups, conservative.
    Psmr,
    /// K groups, optimistic.
    OptPsmr,
}

impl Model {
    /// All models.
    pub const ALL: [Self; 3] = [Self::Smr, Self::Psmr, Self::OptPsmr];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smr => "smr",
            Self::Psmr => "psmr",
            Self::OptPsmr => "opt-psmr",
        }
    }
}

/// The service of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// The B+-tree.
    Btree,
    /// The hash of what was executed.
    Null,
    /// The bank of bounded counters.
    Counters,
}

impl ServiceKind {
    /// All services.
    pub const ALL: [Self; 3] = [Self::Btree, Self::Null, Self::Counters];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Btree => "btree",
            Self::Null => "null",
            Self::Counters => "counters",
        }
    }
}

/// What is fixed by hand; the rest is drawn from the seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The model.
    pub model: Option<Model>,
    /// The service.
    pub service: Option<ServiceKind>,
    /// Loss in parts of a million.
    pub loss: Option<u32>,
    /// Commands of all clients together, at most [`Options::MOST_COMMANDS`].
    pub commands: Option<u64>,
    /// How many times faults are drawn, one time after the other, each 0.4 to 1.6 s long; at most
    /// [`Options::MOST_ROUNDS`]. None: once.
    pub rounds: Option<u64>,
}

impl Options {
    /// The most commands of a run: the slowest of clusters still ends with them before patience.
    pub const MOST_COMMANDS: u64 = 10_000;
    /// The most rounds of faults.
    pub const MOST_ROUNDS: u64 = 100;
}

/// What clients ask for.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) clients: usize,
    /// Sessions of a client, and commands that one session has open.
    pub(super) sessions: usize,
    pub(super) window: usize,
    /// W: what the session tables hold; at least `window`.
    pub(super) session_window: usize,
    /// Commands of all clients together.
    pub(super) commands: u64,
    /// Keys are drawn from 0 to twice this number.
    pub(super) keys: u64,
    /// Percent of the commands: reads, updates, ranges; the rest is inserts and deletes.
    pub(super) reads: u64,
    pub(super) updates: u64,
    pub(super) ranges: u64,
    /// Whether clients close their sessions when all is over.
    pub(super) closes: bool,
    /// When sessions of silent clients expire, if they do.
    pub(super) session_timeout: Option<Duration>,
    /// The tree's settings.
    pub(super) capacity: usize,
    pub(super) minimum_percent: usize,
    pub(super) separators: Separators,
}

/// How long things take, and until when there are faults.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) heals_at: Time,
    pub(super) heartbeat: Duration,
    pub(super) election: Duration,
    /// When a client sends a command again, and when it gives it up.
    pub(super) attempt: Duration,
    pub(super) deadline: Duration,
    /// The most that a write to a disk takes, in nanoseconds.
    pub(super) write_ns: u64,
    /// The rate and the interval of skips.
    pub(super) lambda_per_s: u64,
    pub(super) skip_interval: Duration,
}

/// How long it takes to save a checkpoint at most, and how often of a hundred times it fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeeperPlan {
    pub(super) write_ns: u64,
    pub(super) failures: u64,
}

/// A seed's run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) model: Model,
    pub(super) service: ServiceKind,
    /// K.
    pub(super) groups: usize,
    pub(super) acceptors: usize,
    /// Whether acceptor i of every ring lives in one process.
    pub(super) shares_acceptors: bool,
    /// Whether acceptors have disks that survive their process.
    pub(super) is_durable: bool,
    /// Whether acceptors find nothing at first and cannot know that there was nothing, as on real
    /// hosts; or they know it, as in a cluster that is one process.
    pub(super) begins_newborn: bool,
    /// Whether coordinators hear of each other by datagrams, or as in one process.
    pub(super) has_beacons: bool,
    /// Whether coordinators know of other rings what the acceptors beside them hear.
    pub(super) hears_rings: bool,
    pub(super) replicas: usize,
    /// M of the merge.
    pub(super) merge: u64,
    /// Instances that an acceptor's log and a learner's window hold.
    pub(super) log: usize,
    pub(super) learner_window: usize,
    pub(super) barrier_is_instance: bool,
    pub(super) executor_is_lowest: bool,
    pub(super) retry_is_client: bool,
    pub(super) reply_is_all: bool,
    /// The most steps of one poll of a worker.
    pub(super) budget: u32,
    pub(super) load: Load,
    /// How much a datagram holds.
    pub(super) room: Room,
    /// How often replicas make checkpoints, if they do.
    pub(super) checkpoints: Option<Duration>,
    /// How often replicas compare their states, if they do.
    pub(super) digests: Option<Duration>,
    /// How long a worker with nothing else to do waits between two pieces of one: what is ordered
    /// meanwhile finds more that is not saved yet.
    pub(super) sweep_pause: Duration,
    /// Where they are kept, if they count only once they are there.
    keeper: Option<KeeperPlan>,
    pub(super) timing: Timing,
    pub(super) network: NetworkFaults,
    pub(super) faults: Vec<Planned>,
    /// Members that come and go.
    pub(super) changes: Vec<Change>,
}

impl Load {
    fn draw(random: &mut Random, options: &Options, most: u64) -> Self {
        let clients = pick(random, &[1, 2, 3, 4, 5]);
        let sessions = pick(random, &[1, 1, 2]);
        let keys = pick(random, &[8, 40, 200, 1_000]);
        // The search for an order of a key's operations is exponential in how many overlap.
        let open = usize::try_from(8 * keys).expect("few keys") / (clients * sessions);
        let window = pick(random, &[1, 4, 16, 32]).min(open);
        let commands = pick(random, &[500, 1_500, 5_000, Options::MOST_COMMANDS]).min(most);
        Self {
            clients,
            sessions,
            window,
            session_window: pick(random, &[32, 64]),
            commands: options.commands.unwrap_or(commands).min(most),
            keys,
            reads: random.below(60),
            updates: random.below(30),
            ranges: random.below(5),
            closes: false,
            session_timeout: None,
            capacity: pick(random, &[4, 4, 6, 8, 16]),
            minimum_percent: pick(random, &[50, 25]),
            separators: pick(random, &[Separators::Natural, Separators::Aligned]),
        }
    }
}

impl Timing {
    fn draw(random: &mut Random) -> Self {
        let heartbeat = Duration::from_millis(pick(random, &[3, 5, 10]));
        let lambda_per_s = pick(random, &[0, 0, 1_000, 9_000]);
        let delta = Duration::from_millis(1);
        Self {
            heals_at: Time(400_000_000 + random.below(1_200_000_000)),
            heartbeat,
            election: heartbeat * pick(random, &[6, 15]),
            attempt: Duration::from_millis(pick(random, &[4, 20, 100])),
            deadline: Duration::from_millis(pick(random, &[300, 5_000])),
            write_ns: pick(random, &[0, 20_000, 500_000, 2_000_000]),
            lambda_per_s,
            skip_interval: if lambda_per_s == 0 { SkipPolicy::INTERVAL } else { delta },
        }
    }
}

impl Timing {
    /// Rings that skip only to what they hear: an idle ring fills no log.
    const fn without_lambda(self) -> Self {
        Self { lambda_per_s: 0, skip_interval: SkipPolicy::INTERVAL, ..self }
    }
}

impl Plan {
    /// The plan of `seed` under `options`.
    pub(super) fn draw(seed: u64, options: &Options) -> Self {
        // Separate streams: what is fixed by hand must not change what else the seed draws.
        let source = Random::new(seed).stream(0x7073_6d72);
        let (rounds, timing) = (options.rounds.unwrap_or(1), Timing::draw(&mut source.stream(5)));
        let mut faults = planned::draw(&mut source.stream(4), timing.heals_at);
        faults.extend(planned::again(&source, timing.heals_at, rounds));
        let timing = Timing { heals_at: Time(timing.heals_at.0 * rounds), ..timing };
        let checkpoints = checkpoints(&mut source.stream(7));
        if checkpoints.is_some() {
            faults.extend(planned::restarts(&mut source.stream(8), timing.heals_at));
        }
        // A replica that has died for good never applies anything again, and until there are
        // checkpoints the logs must hold whatever comes after its end.
        let loses_replica = faults.iter().any(|planned| planned.fault == Fault::CrashReplica);
        let most = if loses_replica { 3_000 } else { u64::MAX };
        let mut random = source.stream(1);
        let models = [Model::Smr, Model::Psmr, Model::OptPsmr, Model::OptPsmr];
        let model = pick(&mut random, &models);
        let model = options.model.unwrap_or(model);
        let [btree, null, counters] = ServiceKind::ALL;
        let service = pick(&mut random, &[btree, btree, btree, null, counters]);
        let groups = pick(&mut random, &[1, 2, 2, 2, 3, 3, 4]);
        let log = pick(&mut random, &[256, 1_024]);
        let ethernet = Room::new(1_472).expect("above the least");
        let rooms = [Room::MOST, Room::MOST, ethernet, Room::LEAST];
        let acceptors = pick(&mut random, &[3, 3, 5]);
        let shares_acceptors = random.chance(1, 2);
        let hears_rings = source.stream(9).chance(1, 2);
        let closes = source.stream(11).chance(1, 2);
        let session_timeout = session_timeout(&mut source.stream(17));
        let drawn = Load::draw(&mut source.stream(2), options, most);
        let load = Load { closes, session_timeout, ..drawn };
        if load.keys > 8 {
            faults.extend(planned::client_restarts(&mut source.stream(10), timing.heals_at));
            let of_sessions = &mut source.stream(18);
            faults.extend(planned::of_sessions(of_sessions, timing.heals_at, session_timeout));
        }
        let mut plan = Self {
            seed,
            model,
            service: options.service.unwrap_or(service),
            groups: if model == Model::Smr { 1 } else { groups },
            acceptors,
            shares_acceptors,
            is_durable: random.chance(1, 3),
            begins_newborn: source.stream(20).chance(1, 2),
            has_beacons: random.chance(1, 3),
            hears_rings: hears_rings && shares_acceptors,
            replicas: pick(&mut random, &[2, 2, 3]),
            merge: pick(&mut random, &[1, 1, 1, 2, 5]),
            log: if loses_replica { 16_384 } else { log },
            learner_window: pick(&mut random, &[64, 128, 512]),
            barrier_is_instance: random.chance(1, 2),
            executor_is_lowest: random.chance(1, 3),
            retry_is_client: random.chance(1, 3),
            reply_is_all: random.chance(1, 3),
            budget: u32::try_from(1 + random.below(16)).expect("at most 16"),
            load,
            room: pick(&mut source.stream(6), &rooms),
            checkpoints,
            digests: digests(&mut source.stream(21)),
            sweep_pause: sweep_pause(&mut source.stream(16)),
            keeper: checkpoints.and_then(|_| keeper(&mut source.stream(12))),
            timing: if loses_replica { timing.without_lambda() } else { timing },
            network: network(&mut source.stream(3), options.loss),
            faults,
            changes: changes::draw(&mut source.stream(13), timing.heals_at, checkpoints.is_some()),
        };
        plan.add_faults_of_disks(&source);
        plan
    }

    fn add_faults_of_disks(&mut self, source: &Random) {
        if !self.is_durable {
            return;
        }
        let Timing { heals_at, write_ns, .. } = self.timing;
        self.faults.extend(planned::of_disks(source, heals_at, write_ns));
        if self.checkpoints.is_some() {
            self.faults.extend(planned::blackouts(&mut source.stream(19), heals_at));
        }
    }

    /// Whether members come and go.
    pub(super) const fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Homes for members of `kind` that may come.
    pub(super) fn spares(&self, kind: Kind) -> usize {
        self.changes.iter().filter(|change| change.needs_home(kind)).count()
    }

    /// Replicas that there may be in the course of the run.
    pub(super) fn most_replicas(&self) -> usize {
        self.replicas + self.spares(Kind::Replica)
    }

    /// How checkpoints are kept, if their disk plays a part. Where the logs wait for them it is quick:
    /// a small log that waits for a slow disk stands still, which no promise forbids.
    pub(super) fn keeper(&self) -> Option<KeeperPlan> {
        let keeper = self.keeper?;
        let write_ns = keeper.write_ns.min(1_000_000);
        Some(if self.is_durable { KeeperPlan { write_ns, ..keeper } } else { keeper })
    }

    /// K rings of groups and, if K > 1, that of g_all.
    pub(super) const fn rings(&self) -> usize {
        if self.groups == 1 { 1 } else { self.groups + 1 }
    }

    /// All rings.
    pub(super) fn ring_ids(&self) -> impl Iterator<Item = RingId> + use<> {
        (0..u16::try_from(self.rings()).expect("few rings")).map(RingId)
    }

    /// How many hosts have acceptors at first.
    pub(super) const fn acceptor_hosts(&self) -> usize {
        if self.shares_acceptors { self.acceptors } else { self.acceptors * self.rings() }
    }

    /// Threads of a process with acceptors.
    pub(super) const fn orderers(&self) -> usize {
        if self.shares_acceptors { 1 } else { self.rings() }
    }

    /// The rings that have an acceptor on such a thread.
    pub(super) fn rings_at(&self, thread: usize) -> impl Iterator<Item = RingId> {
        self.ring_ids().filter(move |id| self.shares_acceptors || usize::from(id.0) == thread)
    }

    /// The rings that a worker subscribes to: its group's and g_all's.
    pub(super) fn rings_of(&self, worker: usize) -> impl Iterator<Item = RingId> + use<> {
        let (own, all) = (worker, self.groups);
        self.ring_ids().filter(move |ring| [own, all].contains(&usize::from(ring.0)))
    }
}

/// How often there are checkpoints: drawn apart, so that older draws stay what they were.
fn checkpoints(random: &mut Random) -> Option<Duration> {
    let interval = Duration::from_millis(pick(random, &[10, 30, 100, 250]));
    random.chance(1, 2).then_some(interval)
}

/// How often there are digest points.
fn digests(random: &mut Random) -> Option<Duration> {
    let interval = Duration::from_millis(pick(random, &[5, 20, 80]));
    random.chance(2, 3).then_some(interval)
}

/// How long a session lives without a word of its client.
fn session_timeout(random: &mut Random) -> Option<Duration> {
    let timeout = Duration::from_millis(pick(random, &[100, 200, 400]));
    random.chance(1, 3).then_some(timeout)
}

/// How much there is between two pieces of a checkpoint.
fn sweep_pause(random: &mut Random) -> Duration {
    Duration::from_micros(pick(random, &[0, 0, 20, 100]))
}

/// Where checkpoints are kept.
fn keeper(random: &mut Random) -> Option<KeeperPlan> {
    let write_ns = pick(random, &[1_000, 1_000_000, 20_000_000, 200_000_000]);
    let failures = pick(random, &[0, 0, 10, 50]);
    random.chance(1, 2).then_some(KeeperPlan { write_ns, failures })
}

fn network(random: &mut Random, loss: Option<u32>) -> NetworkFaults {
    let mut rate = |most: u64| {
        // Some seeds go without, some have a little, some have a lot.
        let rate = match random.below(8) {
            0..=2 => 0,
            3..=4 => random.below(most) >> 6,
            _ => random.below(most),
        };
        u32::try_from(rate).expect("below a million")
    };
    let faults = NetworkFaults {
        loss: rate(300_000),
        burst: rate(5_000),
        duplicate: rate(300_000),
        reorder: rate(500_000),
        flip: rate(20_000),
        truncate: rate(20_000),
        delay_ns: 0,
        late_ns: 0,
    };
    NetworkFaults {
        loss: loss.unwrap_or(faults.loss),
        delay_ns: pick(random, &[5_000, 30_000, 100_000]),
        late_ns: pick(random, &[100_000, 1_000_000, 20_000_000]),
        ..faults
    }
}

pub(super) fn pick<T: Copy>(random: &mut Random, items: &[T]) -> T {
    items[usize::try_from(random.below(items.len() as u64)).expect("an index")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_one_plan_and_fixing_the_model_changes_nothing_else() {
        let options = Options::default();
        let plan = Plan::draw(11, &options);
        assert_eq!(format!("{plan:?}"), format!("{:?}", Plan::draw(11, &options)));
        let fixed = Plan::draw(11, &Options { model: Some(plan.model), ..options });
        assert_eq!(format!("{plan:?}"), format!("{fixed:?}"));
        let smr = Plan::draw(11, &Options { model: Some(Model::Smr), ..options });
        assert_eq!(plan.faults, smr.faults);
        assert_eq!((smr.groups, smr.rings()), (1, 1));
    }

    #[test]
    fn rounds_follow_the_first_one_with_faults_of_their_own() {
        let rounds =
            |rounds| Plan::draw(9, &Options { rounds: Some(rounds), ..Options::default() });
        let (one, three) = (rounds(1), rounds(3));
        let length = one.timing.heals_at.0;
        assert_eq!(three.timing.heals_at, Time(3 * length));
        let counts: Vec<_> = (0..3)
            .map(|round| three.faults.iter().filter(|fault| fault.at.0 / length == round).count())
            .collect();
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        assert!(one.faults.iter().all(|fault| three.faults.contains(fault)));
    }

    #[test]
    fn seeds_cover_every_fault_and_also_none() {
        let plans: Vec<_> = (0..400).map(|seed| Plan::draw(seed, &Options::default())).collect();
        for fault in Fault::ALL {
            let share = plans.iter().filter(|p| p.faults.iter().any(|f| f.fault == fault)).count();
            assert!((80..300).contains(&share), "{fault:?} in {share} of 400 seeds");
        }
        assert!(plans.iter().any(|plan| plan.faults.is_empty()));
        assert!(plans.iter().any(|plan| plan.network.loss == 0 && plan.network.duplicate == 0));
        assert!(plans.iter().any(|plan| plan.network.loss > 100_000));
        for model in Model::ALL {
            assert!(plans.iter().any(|plan| plan.model == model));
        }
    }
}
