//! The figures as text, in the exposition format of Prometheus, version 0.0.4: every family with its
//! HELP and TYPE, base units, counters that end in `_total`.

use crate::host::program::{COMMIT, VERSION};
use crate::host::usage::{cpu_time, resident_bytes};
use crate::node::{NodeFigures, Observer, RingFigures, drop_reason};
use crate::wire::{Fact, Topic};
use std::fmt::{Display, Write};
use std::time::Duration;

/// A family of samples.
#[derive(Clone, Copy, Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
}

const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, help }
}

impl Family {
    fn kind(self) -> &'static str {
        if self.name.ends_with("_total") { "counter" } else { "gauge" }
    }
}

/// A value of an acceptor and ring.
type OfRing = fn(&RingFigures) -> u64;

/// Of acceptor and ring.
const RING: [(Family, OfRing); 18] = [
    (
        family("psmr_acceptor_decided_instance", "Instance up to which all are known as decided."),
        |ring| ring.decided,
    ),
    (family("psmr_acceptor_trim_instance", "Last instance that is forgotten."), |ring| ring.trim),
    (
        family("psmr_acceptor_position_slot", "First slot of the ring behind what is decided."),
        |ring| ring.slot,
    ),
    (family("psmr_acceptor_ballot_round", "Round of the highest ballot that it knows."), |ring| {
        ring.round
    }),
    (family("psmr_acceptor_coordinates", "1 while it coordinates the ring."), |ring| {
        ring.coordinates
    }),
    (
        family("psmr_acceptor_votes", "1 while it has a vote; 0 until it is admitted again."),
        |ring| ring.votes,
    ),
    (
        family("psmr_acceptor_decisions_total", "Instances that it decided as coordinator."),
        |ring| ring.instances,
    ),
    (family("psmr_acceptor_take_overs_total", "Times that it became coordinator."), |ring| {
        ring.take_overs
    }),
    (
        family("psmr_acceptor_step_downs_total", "Times that it gave way to a higher ballot."),
        |ring| ring.step_downs,
    ),
    (family("psmr_acceptor_repairs_total", "Instances that it sent as repair."), |ring| {
        ring.repairs
    }),
    (family("psmr_acceptor_resends_total", "2A messages that it sent again."), |ring| ring.resends),
    (
        family("psmr_acceptor_proposals_total", "Proposals that reached it as coordinator."),
        |ring| ring.proposals,
    ),
    (
        family("psmr_acceptor_admissions_total", "Acceptors without memory that it re-admitted."),
        |ring| ring.admissions,
    ),
    (
        family("psmr_acceptor_old_copy", "1 if its log was found to be a copy of earlier days."),
        |ring| ring.old_copies,
    ),
    (
        family(
            "psmr_acceptor_refused_no_quorum_total",
            "Proposals refused for want of f + 1 acceptors with memory.",
        ),
        |ring| ring.refused_no_quorum,
    ),
    (
        family(
            "psmr_acceptor_refused_full_total",
            "Proposals refused because log, queue or window was full.",
        ),
        |ring| ring.refused_full,
    ),
    (family("psmr_acceptor_log_free_instances", "Instances of its log that are free."), |ring| {
        ring.free
    }),
    (
        family(
            "psmr_acceptor_unknown_learners_total",
            "Reports of learners that the ring does not have.",
        ),
        |ring| ring.unknown_learners,
    ),
];

/// Of replica and ring: values of [`Topic::Applied`].
const APPLIED: [(Family, usize); 2] = [
    (family("psmr_replica_applied_instance", "Instance that its slowest worker has applied."), 0),
    (family("psmr_replica_position_slot", "First slot of the ring that is not applied."), 1),
];

/// Of a replica: a value of a topic.
const REPLICA: [(Family, Topic, usize); 6] = [
    (
        family("psmr_replica_commands_total", "Commands executed that may change state."),
        Topic::Executed,
        0,
    ),
    (
        family("psmr_replica_rejected_total", "Commands malformed, misrouted or above a limit."),
        Topic::Executed,
        1,
    ),
    (
        family("psmr_replica_unknown_sessions_total", "Commands of sessions that are not open."),
        Topic::Executed,
        2,
    ),
    (family("psmr_replica_checkpoints_total", "Checkpoints completed."), Topic::Checkpoint, 1),
    (
        family("psmr_replica_transfers_total", "Times that it came back by another's checkpoint."),
        Topic::Checkpoint,
        2,
    ),
    (
        family("psmr_replica_failed_saves_total", "Checkpoints that could not be written."),
        Topic::Kept,
        0,
    ),
];

/// Everything, as of now.
pub(super) fn exposition(observer: &Observer) -> String {
    let nodes: Vec<(&str, NodeFigures)> = observer.nodes().collect();
    let mut page = Page(String::with_capacity(16 << 10));
    page.process();
    page.nodes(&nodes);
    page.acceptors(&nodes);
    page.replicas(&nodes);
    page.0
}

/// The text so far.
#[derive(Debug)]
struct Page(String);

impl Page {
    fn process(&mut self) {
        let help = "Always 1; the version of the program and the commit that it was built from.";
        let info = self.open(family("psmr_build_info", help));
        self.sample(info, &[("version", VERSION), ("commit", COMMIT)], 1);
        let memory = family("psmr_process_resident_memory_bytes", "Memory that is resident.");
        let memory = self.open(memory);
        self.sample(memory, &[], resident_bytes());
        let cpu = family("psmr_process_cpu_seconds_total", "Processor time of all threads.");
        let cpu = self.open(cpu);
        self.sample(cpu, &[], cpu_time().as_secs_f64());
    }

    /// What both kinds of nodes have.
    fn nodes(&mut self, nodes: &[(&str, NodeFigures)]) {
        let up = self.open(family("psmr_up", "1 while the node runs; 0 once it has failed."));
        for (id, node) in nodes {
            let role = if node.rings.is_empty() { "replica" } else { "acceptor" };
            self.sample(up, &[("node", id), ("role", role)], u8::from(node.is_up));
        }
        let drops = family("psmr_datagrams_dropped_total", "Datagrams dropped, by reason.");
        let drops = self.open(drops);
        for (id, node) in nodes {
            // A counter that is there from the start shows its first increase.
            let zeroes = (0..).map(|reason| Fact::new(Topic::Drop, reason, [0; 3]));
            for zero in zeroes.take_while(|zero| drop_reason(zero) != "other") {
                let counted = facts(node, Topic::Drop).filter(|fact| fact.index == zero.index);
                let count: u64 = counted.map(|fact| fact.values[0]).sum();
                self.sample(drops, &[("node", id), ("reason", drop_reason(&zero))], count);
            }
        }
    }

    fn acceptors(&mut self, nodes: &[(&str, NodeFigures)]) {
        if nodes.iter().all(|(_, node)| node.rings.is_empty()) {
            return;
        }
        for (family, value) in RING {
            let family = self.open(family);
            for (id, node) in nodes {
                for (ring, figures) in node.rings.iter().enumerate() {
                    let labels = [("node", *id), ("ring", &ring.to_string())];
                    self.sample(family, &labels, value(figures));
                }
            }
        }
    }

    fn replicas(&mut self, nodes: &[(&str, NodeFigures)]) {
        let is_replica = |(_, node): &&(&str, NodeFigures)| node.rings.is_empty();
        let replicas: Vec<_> = nodes.iter().filter(is_replica).collect();
        if replicas.is_empty() {
            return;
        }
        for (family, value) in APPLIED {
            let family = self.open(family);
            for (id, node) in &replicas {
                for fact in facts(node, Topic::Applied) {
                    let labels = [("node", *id), ("ring", &fact.index.to_string())];
                    self.sample(family, &labels, fact.values[value]);
                }
            }
        }
        let help = "Instances known as decided that its slowest worker has not applied.";
        let lag = self.open(family("psmr_replica_lag_instances", help));
        for (id, node) in &replicas {
            for (ring, instances) in &node.lags {
                self.sample(lag, &[("node", id), ("ring", &ring.to_string())], instances);
            }
        }
        for (family, topic, value) in REPLICA {
            let family = self.open(family);
            for (id, node) in &replicas {
                let sum: u64 = facts(node, topic).map(|fact| fact.values[value]).sum();
                self.sample(family, &[("node", id)], sum);
            }
        }
        let help = "1 while what it needs is forgotten by the acceptors.";
        let lost = self.open(family("psmr_replica_lost", help));
        for (id, node) in &replicas {
            let is_lost = facts(node, Topic::Applied).any(|fact| fact.values[2] != 0);
            self.sample(lost, &[("node", id)], u8::from(is_lost));
        }
        let help = "Decisions that contradict earlier ones: above 0 agreement is broken.";
        let conflicts = self.open(family("psmr_replica_conflicts_total", help));
        for (id, node) in &replicas {
            let sum: u64 = facts(node, Topic::Conflict).map(|fact| fact.values[0]).sum();
            self.sample(conflicts, &[("node", id)], sum);
        }
        let help = "Slot of its last complete checkpoint; absent without one.";
        let checkpoint = self.open(family("psmr_replica_checkpoint_slot", help));
        for (id, node) in &replicas {
            let slots = facts(node, Topic::Checkpoint);
            for slot in slots.filter_map(|fact| fact.values[0].checked_sub(1)) {
                self.sample(checkpoint, &[("node", id)], slot);
            }
        }
        let help = "Bytes of the last checkpoint that was written; 0 without one.";
        let bytes = self.open(family("psmr_replica_checkpoint_bytes", help));
        for (id, node) in &replicas {
            let kept = node.replica.unwrap_or_default().kept;
            self.sample(bytes, &[("node", id)], kept.bytes);
        }
        let help = "Time that writing it took; 0 without one.";
        let seconds = self.open(family("psmr_replica_checkpoint_save_seconds", help));
        for (id, node) in &replicas {
            let took = Duration::from_nanos(node.replica.unwrap_or_default().kept.nanoseconds);
            self.sample(seconds, &[("node", id)], took.as_secs_f64());
        }
    }

    /// The head of a family; its samples follow.
    fn open(&mut self, family: Family) -> &'static str {
        let Family { name, help } = family;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", family.kind()));
        name
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
        let labels = labels.collect::<Vec<_>>().join(",");
        if labels.is_empty() {
            self.line(format_args!("{name} {value}\n"));
        } else {
            self.line(format_args!("{name}{{{labels}}} {value}\n"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("a string takes everything");
    }
}

fn facts(node: &NodeFigures, topic: Topic) -> impl Iterator<Item = &Fact> {
    node.facts.iter().filter(move |fact| fact.topic() == Some(topic))
}

/// A label's value as the format has it between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{KeptFigures, ReplicaFigures};
    use std::collections::BTreeMap;

    #[test]
    fn a_page_has_every_family_once_with_its_help_and_its_samples() {
        let ring = RingFigures { decided: 7, votes: 1, ..RingFigures::default() };
        let acceptor = NodeFigures {
            is_up: true,
            facts: vec![Fact::new(Topic::Drop, 0, [3, 0, 0])],
            rings: vec![ring, ring],
            lags: BTreeMap::new(),
            drops: Vec::new(),
            replica: None,
        };
        let facts = vec![Fact::new(Topic::Applied, 1, [5, 9, 0])];
        let lags = BTreeMap::from([(1, 2)]);
        let kept = KeptFigures { bytes: 99, nanoseconds: 1_500_000_000, ..KeptFigures::default() };
        let figures = ReplicaFigures { kept, ..ReplicaFigures::default() };
        let (rings, drops) = (Vec::new(), Vec::new());
        let replica =
            NodeFigures { is_up: false, facts, rings, lags, drops, replica: Some(figures) };
        let nodes = [("a1", acceptor), ("r\"1", replica)];
        let mut page = Page(String::new());
        page.nodes(&nodes);
        page.acceptors(&nodes);
        page.replicas(&nodes);
        let text = page.0;
        for line in [
            "psmr_up{node=\"a1\",role=\"acceptor\"} 1",
            "psmr_up{node=\"r\\\"1\",role=\"replica\"} 0",
            "psmr_datagrams_dropped_total{node=\"a1\",reason=\"truncated\"} 3",
            "# TYPE psmr_datagrams_dropped_total counter",
            "psmr_acceptor_decided_instance{node=\"a1\",ring=\"1\"} 7",
            "psmr_replica_lag_instances{node=\"r\\\"1\",ring=\"1\"} 2",
            "psmr_replica_position_slot{node=\"r\\\"1\",ring=\"1\"} 9",
            "psmr_replica_failed_saves_total{node=\"r\\\"1\"} 0",
            "psmr_replica_checkpoint_bytes{node=\"r\\\"1\"} 99",
            "psmr_replica_checkpoint_save_seconds{node=\"r\\\"1\"} 1.5",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        let mut types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), count, "a family is there twice");
    }
}
