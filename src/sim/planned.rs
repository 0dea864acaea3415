//! Faults of processes and links that a seed draws: what, when, and for how long. Whom they hit is
//! known once it is known who lives.

use crate::types::{Random, Time};
use std::time::Duration;

/// A kind of fault of processes and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An acceptor's process ends; another life, without memory, begins later.
    CrashAcceptor,
    /// The same, of a ring's coordinator.
    CrashCoordinator,
    /// The same, of a ring's coordinator and, at once, of as many others as may fail with it.
    CrashMany,
    /// The same, of all acceptors at once: only where they have disks.
    PowerCut,
    /// The same, just when a coordinator has decided something and disks are writing. Those that have
    /// voted for it come back last.
    PowerCutAtDecision,
    /// The power goes everywhere: all acceptors and all replicas end at once, and begin again with what
    /// their disks hold.
    Blackout,
    /// An acceptor's process ends, and the next life finds its disks as they were some time before.
    OldCopy,
    /// A coordinator is heard by some alone; when that ends, it and others crash, or not.
    HalfMute,
    /// A replica's process ends for good; one replica always lives on.
    CrashReplica,
    /// A client stands still, and another life goes on with its sessions.
    RestartClient,
    /// A client stands still for so long that its sessions expire.
    SilenceClient,
    /// A client closes its sessions with commands open, and goes on with others.
    CloseSessions,
    /// A replica's process ends; another life, with its last checkpoint or without, begins later.
    RestartReplica,
    /// A process stands still.
    Pause,
    /// A ring's coordinator stands still.
    PauseCoordinator,
    /// The hosts fall into two halves that do not hear each other.
    Partition,
    /// One half hears the other, but not the other way round.
    PartitionOneWay,
    /// One host hears nobody and nobody hears it.
    Isolate,
    /// One host is deaf or mute.
    IsolateOneWay,
}

impl Fault {
    pub(super) const ALL: [Self; 12] = [
        Self::CrashAcceptor,
        Self::CrashCoordinator,
        Self::CrashMany,
        Self::PowerCut,
        Self::HalfMute,
        Self::CrashReplica,
        Self::Pause,
        Self::PauseCoordinator,
        Self::Partition,
        Self::PartitionOneWay,
        Self::Isolate,
        Self::IsolateOneWay,
    ];
}

/// One fault: what, when, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) fault: Fault,
    pub(super) at: Time,
    pub(super) length: Duration,
    /// Chooses the victim, once it is known who lives.
    pub(super) choice: u64,
}

/// Those of the rounds that follow the first, each as long: which replicas die for good is drawn in
/// that one.
pub(super) fn again(source: &Random, round: Time, rounds: u64) -> impl Iterator<Item = Planned> {
    (1..rounds).flat_map(move |number| {
        let begins = Duration::from_nanos(round.0 * number);
        let faults = draw(&mut source.stream(100 + number), round).into_iter();
        faults
            .filter(|planned| planned.fault != Fault::CrashReplica)
            .map(move |planned| Planned { at: planned.at + begins, ..planned })
    })
}

/// Those of every seed, before `end`.
pub(super) fn draw(random: &mut Random, end: Time) -> Vec<Planned> {
    let mut faults = Vec::new();
    let is_calm = random.chance(1, 12);
    for fault in Fault::ALL {
        // Many bugs of durability need a power cut at the right moment.
        let chance = if fault == Fault::PowerCut { 2 } else { 1 };
        if is_calm || !random.chance(chance, 3) {
            continue;
        }
        for _ in 0..=random.below(4) {
            let at = Time(20_000_000 + random.below(end.0 - 20_000_000));
            let length = Duration::from_micros(100 << random.below(12));
            faults.push(Planned { fault, at, length, choice: random.next() });
        }
    }
    faults.sort_by_key(|planned| planned.at);
    faults
}

/// What happens where acceptors have disks that take up to `write_ns` for a write.
pub(super) fn of_disks(random: &Random, end: Time, write_ns: u64) -> Vec<Planned> {
    let mut faults = Vec::new();
    let kinds = [(14, Fault::OldCopy), (15, Fault::PowerCutAtDecision)];
    for (stream, fault) in kinds {
        // Streams of their own: what others draw stays as it is.
        let random = &mut random.stream(stream);
        let is_drawn = random.chance(1, 2);
        if !is_drawn || (fault == Fault::PowerCutAtDecision && write_ns == 0) {
            continue;
        }
        for _ in 0..=random.below(4) {
            let at = Time(50_000_000 + random.below(end.0 - 50_000_000));
            let length = Duration::from_micros(100 << random.below(10));
            faults.push(Planned { fault, at, length, choice: random.next() });
        }
    }
    faults
}

/// Losses of all power where acceptors have disks and replicas checkpoints.
pub(super) fn blackouts(random: &mut Random, end: Time) -> Vec<Planned> {
    let count = if random.chance(1, 2) { 1 + random.below(3) } else { 0 };
    let blackout = |_| Planned {
        fault: Fault::Blackout,
        at: Time(random.below(end.0)),
        length: Duration::from_micros(100 << random.below(11)),
        choice: random.next(),
    };
    (0..count).map(blackout).collect()
}

/// Clients that end and go on. What they had open may take effect at any time or never, and whoever
/// looks for an order has to try all: seldom.
pub(super) fn client_restarts(random: &mut Random, end: Time) -> Vec<Planned> {
    let count = if random.chance(1, 3) { 1 + random.below(2) } else { 0 };
    let restart = |_| Planned {
        fault: Fault::RestartClient,
        at: Time(random.below(end.0)),
        length: Duration::from_micros(1 << random.below(18)),
        choice: random.next(),
    };
    (0..count).map(restart).collect()
}

/// Clients that fall silent for longer than a session lives, and clients that close their sessions in
/// the middle of their commands: as seldom, for the same reason.
pub(super) fn of_sessions(
    random: &mut Random,
    end: Time,
    session_timeout: Option<Duration>,
) -> Vec<Planned> {
    let mut faults = Vec::new();
    if let Some(timeout) = session_timeout {
        for _ in 0..=random.below(2) {
            let at = Time(random.below(end.0));
            let length = timeout * 2 + Duration::from_micros(random.below(200_000));
            faults.push(Planned { fault: Fault::SilenceClient, at, length, choice: random.next() });
        }
    }
    if random.chance(1, 3) {
        for _ in 0..=random.below(2) {
            let (at, length) = (Time(random.below(end.0)), Duration::ZERO);
            faults.push(Planned { fault: Fault::CloseSessions, at, length, choice: random.next() });
        }
    }
    faults
}

/// Ends of replicas that come back.
pub(super) fn restarts(random: &mut Random, end: Time) -> Vec<Planned> {
    let count = random.below(5);
    let restart = |_| Planned {
        fault: Fault::RestartReplica,
        at: Time(random.below(end.0)),
        length: Duration::from_micros(100 + random.below(300_000)),
        choice: random.next(),
    };
    (0..count).map(restart).collect()
}
