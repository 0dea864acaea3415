//! Faults as they happen: a schedule's rounds applied to a cluster under load, and what was counted.

use super::cluster::{Cluster, NODES, Setup};
use super::disk::{Disk, Failure, Loss, Temper};
use super::network::{HOSTS, Network};
use super::schedule::{DiskFault, Durability, NetworkFault, NodeFault, Round};
use super::switch::Rules;
use super::verdict::{Digests, Load, read_all, violations};
use super::{Trial, say};
use psmr::host::clock;
use psmr::sim::Outcome;
use psmr::types::Random;
use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

/// Keys that are loaded; commands draw from twice as many.
const KEYS: u64 = 500;

/// A cluster under faults.
struct Run<'a> {
    network: &'a Network,
    disks: &'a [Disk; HOSTS],
    cluster: Cluster,
    digests: Digests,
    counts: BTreeMap<&'static str, u64>,
}

/// Disks that forget, one a host.
fn mount(trial: &Trial) -> [Disk; HOSTS] {
    [1, 2, 3].map(|number| {
        let path = trial.directory.join(format!("disk{number}"));
        Disk::mount(&path, trial.seed + number).expect("the kernel has FUSE")
    })
}

/// What nodes read, write and persist by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    /// An io_uring where the machine has one.
    Auto,
    /// Plain calls, and threads that write the logs.
    Socket,
}

impl Io {
    /// What the seed draws, one in four by plain calls.
    pub(crate) fn draw(seed: u64) -> Self {
        if Random::new(seed).stream(u64::MAX - 1).chance(1, 4) { Self::Socket } else { Self::Auto }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Socket => "socket",
        }
    }
}

/// A cluster of the kind that the seed draws.
fn start(trial: &Trial, durability: Durability, io: Io, disks: &[Disk; HOSTS]) -> Cluster {
    let durability = match durability {
        Durability::Memory => "memory",
        Durability::Sync => "sync",
    };
    let mut random = Random::new(trial.seed).stream(u64::MAX);
    let model = match random.below(4) {
        0 => "smr",
        1 => "psmr",
        _ => "opt-psmr",
    };
    let transport = if random.chance(1, 4) { "unicast" } else { "multicast" };
    say(&format!("{model} by {transport} and {}, durability {durability}", io.name()));
    let disks = disks.each_ref().map(|disk| disk.path().to_owned());
    let setup = Setup { durability, model, transport, io: io.name(), keys: KEYS, disks: &disks };
    let mut cluster = Cluster::new(&trial.directory, &setup);
    cluster.set_clocks(trial.clocks.clone());
    NODES.iter().for_each(|(id, _)| cluster.start(id));
    cluster
}

/// The rounds that `draw` names, for as long as the trial says, and all that must hold.
pub(crate) fn run(trial: &Trial, (durability, io): (Durability, Io), draw: impl Fn(u64) -> Round) {
    let network = Network::new(trial.seed).expect("a network of ours");
    let disks = mount(trial);
    let mut run = Run {
        network: &network,
        disks: &disks,
        cluster: start(trial, durability, io, &disks),
        digests: Digests::default(),
        counts: BTreeMap::new(),
    };
    let status = run.cluster.wait_until_whole();
    run.digests.add(&status);
    let load = Load::start(&run.cluster, KEYS, trial.seconds, trial.seed);
    let until = clock::now() + Duration::from_secs_f64(trial.seconds);
    for number in 0.. {
        if clock::now() >= until {
            break;
        }
        let round = draw(number);
        say(&format!("round {number}: {round}"));
        run.round(&round);
        let status = run.cluster.wait_until_whole();
        run.digests.add(&status);
        let answer = run.cluster.client(&["read 0".to_owned()]).remove(0);
        assert!(
            answer == "missing" || answer.starts_with("value "),
            "whole, but it serves nobody after round {number}: read 0: {answer}"
        );
    }
    let mut history = load.finish();
    read_all(&run.cluster, KEYS, &mut history);
    run.digests.settle(&mut run.cluster);
    let found = violations(&history);
    assert!(found.is_empty(), "not linearizable:\n{}", found.join("\n"));
    assert!(run.digests.compared > 0, "no position was seen of both replicas");
    assert!(run.digests.linked > 0, "no stretch of instances was seen of both replicas");
    assert!(run.counts.values().sum::<u64>() > 0, "nothing has failed: take another seed");
    run.cluster.stop();
    let faults: Vec<String> = run.counts.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let unknown = history.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
    let known = history.len() - unknown;
    // Ten thousand a second on a machine of its own, and far fewer while nobody has a quorum.
    assert!(
        known as f64 > trial.seconds * 20.0,
        "only {known} commands were answered in {} s: this shows nothing",
        trial.seconds
    );
    say(&format!(
        "{} faults: {}; {} commands checked ({unknown} without an answer), {} digests and {} links compared",
        run.counts.values().sum::<u64>(),
        faults.join(", "),
        history.len(),
        run.digests.compared,
        run.digests.linked
    ));
}

/// Disks that say that they have flushed, and have not: what was acknowledged is lost with the
/// power, and the check that finds nothing elsewhere finds it.
pub(crate) fn lie(trial: &Trial) {
    let _network = Network::new(trial.seed).expect("a network of ours");
    let disks = mount(trial);
    let mut cluster = start(trial, Durability::Sync, Io::draw(trial.seed), &disks);
    cluster.wait_until_whole();
    for disk in &disks {
        disk.set(Temper { lies: true, ..Temper::default() });
    }
    let mut history = Load::start(&cluster, KEYS, trial.seconds, trial.seed).finish();
    lose_power(&mut cluster, &disks, Loss::Whole);
    cluster.wait_until_whole();
    read_all(&cluster, KEYS, &mut history);
    let found = violations(&history);
    assert!(!found.is_empty(), "{} commands were forgotten, and nobody saw it", history.len());
    say(&format!("{} keys are not what was acknowledged, as in {}", found.len(), found[0]));
}

/// Kills all nodes at once, has all disks forget, and starts all again.
fn lose_power(cluster: &mut Cluster, disks: &[Disk; HOSTS], loss: Loss) {
    NODES.iter().for_each(|(id, _)| cluster.kill(id));
    for disk in disks {
        disk.set(Temper::default());
        disk.forget(loss);
    }
    NODES.iter().for_each(|(id, _)| cluster.start(id));
}

impl Run<'_> {
    fn count(&mut self, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
    }

    fn round(&mut self, round: &Round) {
        if let Some(fault) = &round.network {
            self.count(fault.kind());
            if let NetworkFault::Unplugged(host) = fault {
                self.network.set_link(*host, false).expect("a network of ours");
            }
            self.network.set(fault.rules());
        }
        if let Some(fault) = &round.disk {
            self.spoil(fault);
        }
        pause(round.gap_ms);
        if let Some(fault) = &round.nodes {
            self.count(fault.kind());
            self.strike(fault);
        }
        pause(round.hold_ms);
        if let Some(fault) = &round.disk {
            self.mend_disk(fault);
        }
        if round.nodes_first {
            self.mend_nodes(round);
            pause(round.gap_ms);
        }
        self.network.set(Rules::default());
        if let Some(NetworkFault::Unplugged(host)) = &round.network {
            self.network.set_link(*host, true).expect("a network of ours");
        }
        if !round.nodes_first {
            pause(round.gap_ms);
            self.mend_nodes(round);
        }
    }

    fn spoil(&mut self, fault: &DiskFault) {
        let temper = Temper::default();
        let (host, temper) = match fault {
            DiskFault::Slow { host, latency_us } => {
                (host, Temper { latency: Duration::from_micros(*latency_us), ..temper })
            }
            DiskFault::Full { host } => (host, Temper { is_full: true, ..temper }),
            DiskFault::Failing { host, after } => {
                (host, Temper { failure: Some(Failure::of_write(*after)), ..temper })
            }
            // A disk that takes its time has much on its way when the power goes.
            DiskFault::PowerLoss(_) => {
                let latency = Duration::from_millis(1);
                self.disks.iter().for_each(|disk| disk.set(Temper { latency, ..temper }));
                return;
            }
        };
        if !matches!(fault, DiskFault::Failing { .. }) {
            self.count(fault.kind());
        }
        self.disks[*host].set(temper);
    }

    fn mend_disk(&mut self, fault: &DiskFault) {
        match fault {
            DiskFault::Slow { host, .. } | DiskFault::Full { host } => {
                self.disks[*host].set(Temper::default());
            }
            DiskFault::Failing { host, .. } => {
                self.disks[*host].set(Temper::default());
                let has_failed = self.disks[*host].take_failures() > 0;
                if has_failed {
                    self.count(fault.kind());
                    // Whether it has stopped by itself, or a checkpoint was all that failed.
                    for (id, _) in NODES.iter().filter(|(_, on)| on == host) {
                        self.cluster.kill(id);
                        self.cluster.start(id);
                    }
                }
            }
            DiskFault::PowerLoss(loss) => {
                self.count(fault.kind());
                lose_power(&mut self.cluster, self.disks, *loss);
            }
        }
    }

    fn strike(&mut self, fault: &NodeFault) {
        match fault {
            NodeFault::Kill(ids) => ids.iter().for_each(|id| self.cluster.kill(id)),
            NodeFault::Pause(ids) => ids.iter().for_each(|id| self.cluster.set_stopped(id, true)),
            NodeFault::Wipe(id) => {
                self.cluster.kill(id);
                let (_, host) = NODES.iter().find(|(known, _)| known == id).expect("a node's id");
                let directory = self.disks[*host].path().join(id);
                fs::remove_dir_all(directory).expect("its directory is ours");
            }
        }
    }

    fn mend_nodes(&mut self, round: &Round) {
        match &round.nodes {
            None => {}
            Some(NodeFault::Pause(ids)) => {
                ids.iter().for_each(|id| self.cluster.set_stopped(id, false));
            }
            Some(NodeFault::Kill(ids)) => {
                ids.iter().for_each(|id| self.cluster.start(id));
                let Some(again_ms) = round.again_ms else { return };
                pause(again_ms);
                self.count("kill at the start");
                ids.iter().for_each(|id| self.cluster.kill(id));
                ids.iter().for_each(|id| self.cluster.start(id));
            }
            Some(NodeFault::Wipe(id)) => self.cluster.start(id),
        }
    }
}

fn pause(milliseconds: u64) {
    let until = clock::now() + Duration::from_millis(milliseconds);
    while clock::now() < until {
        thread::park_timeout(Duration::from_nanos(until.0.saturating_sub(clock::now().0)));
    }
}
