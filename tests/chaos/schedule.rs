//! What is done to a cluster and when: drawn from the seed alone, a round at a time.
//!
//! A round keeps within the promise: it takes at most one acceptor's memory and at most one replica's
//! state, and the next one begins when all nodes are whole again. Logs outlive all their acceptors.

use super::cluster::NODES;
use super::disk::Loss;
use super::network::{CLIENT, HOSTS, Network};
use super::switch::{PORTS, Path, Rules};
use psmr::types::Random;
use std::fmt;

/// What nodes keep through a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    Memory,
    Sync,
}

/// What happens between two moments at which the cluster is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) network: Option<NetworkFault>,
    pub(crate) nodes: Option<NodeFault>,
    pub(crate) disk: Option<DiskFault>,
    /// From the fault of the network to that of the nodes, and so when they end.
    pub(crate) gap_ms: u64,
    /// How long both last.
    pub(crate) hold_ms: u64,
    /// Nodes come back while the network is bad still.
    pub(crate) nodes_first: bool,
    /// Killed nodes are killed again this long after they were started.
    pub(crate) again_ms: Option<u64>,
}

/// What the switch does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NetworkFault {
    /// Nobody hears this host, and it hears nobody.
    Isolated(usize),
    /// It hears nobody.
    Deaf(usize),
    /// Nobody hears it.
    Mute(usize),
    /// The other two hosts hear it, not each other.
    Bridge(usize),
    /// Each direction between two hosts, the client's too, is cut or not.
    Scattered(Vec<(usize, usize)>),
    /// Its interface is down.
    Unplugged(usize),
    /// All paths are bad.
    Noise(Path),
}

/// What processes suffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeFault {
    Kill(Vec<&'static str>),
    Pause(Vec<&'static str>),
    /// Killed, and its directory is gone.
    Wipe(&'static str),
}

/// What the disk of a host does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// Each write and flush takes this long.
    Slow { host: usize, latency_us: u64 },
    /// No room for anything new.
    Full { host: usize },
    /// A write or flush fails after this many that do not; whoever asked for it stops.
    Failing { host: usize, after: u64 },
    /// All nodes are killed, and all disks forget what was not flushed.
    PowerLoss(Loss),
}

impl Round {
    /// Round `number` of the schedule that `seed` names.
    pub(crate) fn draw(seed: u64, number: u64, durability: Durability) -> Self {
        let mut random = Random::new(seed).stream(number);
        let random = &mut random;
        let is_durable = durability == Durability::Sync;
        let disk = (is_durable && random.chance(2, 5)).then(|| DiskFault::draw(random));
        // What stops nodes by itself leaves no room for others.
        let is_deadly = matches!(disk, Some(DiskFault::Failing { .. } | DiskFault::PowerLoss(_)));
        let nodes =
            (!is_deadly && random.chance(3, 4)).then(|| NodeFault::draw(random, is_durable));
        let needs_one = nodes.is_none() && disk.is_none();
        let network = (needs_one || random.chance(3, 5)).then(|| NetworkFault::draw(random));
        // In memory, logs that are half full wait for no replica that is silent. While one is cut off
        // the other one may have the only state, as docs/OPERATIONS.md says: it is not killed.
        let is_cut = network.as_ref().is_some_and(|fault| !matches!(fault, NetworkFault::Noise(_)));
        let nodes = if is_cut && !is_durable { nodes.map(NodeFault::without_loss) } else { nodes };
        // Long enough, at times, for logs to forget what somebody needs.
        let longest_ms = if random.chance(1, 8) { 6000 } else { 1800 };
        // A node does not start on a host without a network: it says so and ends.
        let may_start = !matches!(network, Some(NetworkFault::Unplugged(_)));
        Self {
            network,
            nodes,
            disk,
            gap_ms: random.below(400),
            hold_ms: 200 + random.below(longest_ms),
            nodes_first: random.chance(1, 2) && may_start,
            again_ms: random.chance(1, 4).then(|| random.below(500)),
        }
    }

    /// Nothing but a loss of all power, again and again; first of all that was not flushed, also
    /// when the nodes were first started.
    pub(crate) fn power_loss(seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed).stream(number);
        let drawn = DiskFault::power_loss(&mut random);
        let disk = if number == 0 { DiskFault::PowerLoss(Loss::Whole) } else { drawn };
        Self {
            network: None,
            nodes: None,
            disk: Some(disk),
            gap_ms: random.below(800),
            hold_ms: random.below(100),
            nodes_first: true,
            again_ms: None,
        }
    }
}

fn host(random: &mut Random) -> usize {
    usize::try_from(random.below(HOSTS as u64)).expect("few hosts")
}

fn any<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[usize::try_from(random.below(of.len() as u64)).expect("few of them")]
}

fn on(host: usize) -> Vec<&'static str> {
    NODES.iter().filter(|(_, on)| *on == host).map(|(id, _)| *id).collect()
}

impl NetworkFault {
    fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Isolated(host(random)),
            1 => Self::Deaf(host(random)),
            2 => Self::Mute(host(random)),
            3 => Self::Bridge(host(random)),
            4 => Self::Unplugged(host(random)),
            5 => {
                let pairs = (0..PORTS).flat_map(|from| (0..PORTS).map(move |to| (from, to)));
                Self::Scattered(pairs.filter(|(a, b)| a != b && random.chance(1, 3)).collect())
            }
            _ => Self::Noise(Path {
                loss: any(random, &[0, 10, 50, 150]),
                duplication: any(random, &[0, 10, 100]),
                reordering: any(random, &[0, 20, 200]),
                garbling: any(random, &[0, 0, 10]),
                delay_us: any(random, &[0, 0, 500, 4000]),
                is_cut: false,
            }),
        }
    }

    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Isolated(_) => "partition",
            Self::Deaf(_) | Self::Mute(_) => "one-way partition",
            Self::Bridge(_) => "bridging partition",
            Self::Scattered(_) => "scattered cuts",
            Self::Unplugged(_) => "link down",
            Self::Noise(_) => "bad network",
        }
    }

    /// What the switch does meanwhile.
    pub(crate) fn rules(&self) -> Rules {
        let mut rules = Rules::default();
        let is_cut = |from: usize, to: usize| match self {
            Self::Isolated(host) => from == *host || to == *host,
            Self::Deaf(host) => to == *host,
            Self::Mute(host) => from == *host,
            Self::Bridge(middle) => {
                ![from, to].iter().any(|host| host == middle || *host == CLIENT)
            }
            Self::Scattered(pairs) => pairs.contains(&(from, to)),
            Self::Unplugged(_) | Self::Noise(_) => false,
        };
        if let Self::Noise(path) = self {
            rules = Network::everywhere(*path);
        }
        for (from, row) in rules.iter_mut().enumerate() {
            for (to, path) in row.iter_mut().enumerate() {
                path.is_cut |= is_cut(from, to);
            }
        }
        rules
    }
}

impl NodeFault {
    fn draw(random: &mut Random, is_durable: bool) -> Self {
        let (id, _) = any(random, &NODES);
        match random.below(if is_durable { 9 } else { 7 }) {
            0..=2 => Self::Kill(vec![id]),
            3 => Self::Kill(on(host(random))),
            4 => Self::Pause(vec![id]),
            5 => Self::Pause(on(host(random))),
            6 => Self::Wipe(any(random, &["r1", "r2"])),
            7 => Self::Kill(vec!["a1", "a2", "a3"]),
            _ => Self::Kill(NODES.map(|(id, _)| id).to_vec()),
        }
    }

    /// The same without the loss of a replica's state.
    fn without_loss(self) -> Self {
        match self {
            Self::Kill(ids) if ids.iter().any(|id| id.starts_with('r')) => Self::Pause(ids),
            Self::Wipe(id) => Self::Pause(vec![id]),
            other => other,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Kill(ids) if ids.len() > 2 => "kill of many",
            Self::Kill(_) => "kill",
            Self::Pause(_) => "pause",
            Self::Wipe(_) => "wiped replica",
        }
    }
}

impl DiskFault {
    fn draw(random: &mut Random) -> Self {
        let host = host(random);
        match random.below(5) {
            0 => Self::Slow { host, latency_us: any(random, &[1_000, 5_000, 30_000]) },
            1 => Self::Full { host },
            2 => Self::Failing { host, after: random.below(400) },
            _ => Self::power_loss(random),
        }
    }

    fn power_loss(random: &mut Random) -> Self {
        Self::PowerLoss(any(random, &[Loss::Whole, Loss::Part]))
    }

    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Slow { .. } => "slow disk",
            Self::Full { .. } => "full disk",
            Self::Failing { .. } => "failing disk",
            Self::PowerLoss(_) => "power loss",
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(network) = &self.network {
            write!(f, "{network:?}, ")?;
        }
        if let Some(nodes) = &self.nodes {
            write!(f, "{nodes:?}, ")?;
        }
        if let Some(disk) = &self.disk {
            write!(f, "{disk:?}, ")?;
        }
        write!(f, "for {} ms", self.hold_ms)
    }
}
