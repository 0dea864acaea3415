//! `psmr status`: what every node of a cluster says of itself.

use super::origin::Origin;
use super::versions::Spoken;
use super::{Failure, client, config, key, show};
use crate::config::{Cluster, Unspoken, duration};
use crate::host::text::size;
use crate::node::{Said, drop_reason, inquire};
use crate::wire::{Fact, Topic};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// The format of the JSON object.
const SCHEMA: &str = "psmr.status/1";

/// The options of `psmr status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The cluster
    #[arg(long, value_name = "FILE", default_value = "cluster.toml")]
    config: PathBuf,
    /// Writes one JSON object to standard output
    #[arg(long)]
    json: bool,
    /// How long nodes that do not answer are asked
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    patience: Duration,
    /// A client's key [default: the client_key_file of the cluster's file]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Address of the interface to use [default: the one that leads to the cluster]
    #[arg(long, value_name = "ADDRESS")]
    interface: Option<Ipv4Addr>,
}

pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "write a time like 500ms or 2s".to_owned())
}

/// The whole cluster.
#[derive(Debug, Serialize)]
struct Status {
    schema: &'static str,
    /// Whether every node answered.
    ok: bool,
    /// Why not.
    error: Option<String>,
    /// The wire version of the cluster; null if no node says.
    wire: Option<u64>,
    nodes: Vec<NodeStatus>,
    rings: Vec<RingStatus>,
}

/// One node; what is not known is null.
#[derive(Debug, Default, Serialize)]
struct NodeStatus {
    id: String,
    role: &'static str,
    up: bool,
    /// Why it does not talk to us.
    refusal: Option<&'static str>,
    epoch: Option<u64>,
    /// The wire version that it speaks now, and those that it could.
    wire: Option<Spoken>,
    /// The first slot of the last ring that it has not applied (a replica) or heard of.
    position: Option<u64>,
    digests: Vec<Point>,
    /// Of a replica: hashes of what its workers were handed over last, of each ring.
    links: Vec<LinkStatus>,
    /// Instances of all rings that are decided and not applied (a replica) or known here.
    lag: Option<u64>,
    /// Replicas that have the state.
    copies: u64,
    /// Of an acceptor: whether it has a vote in every ring.
    votes: Option<bool>,
    /// Of a replica: what it needs is forgotten by the acceptors.
    lost: Option<bool>,
    /// Of a replica: decisions that contradict earlier ones. Above 0 agreement is broken.
    conflicts: Option<u64>,
    /// Of a replica: the slot of its last complete checkpoint, complete checkpoints of this life,
    /// and how often it came back by another replica's.
    checkpoint: Option<u64>,
    checkpoints: Option<u64>,
    transfers: Option<u64>,
    /// Of a replica: checkpoints of this life that could not be written to its file.
    failed_saves: Option<u64>,
    drops: BTreeMap<&'static str, u64>,
    rss_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Point {
    position: u64,
    digest: String,
}

/// What was handed over in a stretch of instances that ends with `instance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct LinkStatus {
    ring: u16,
    instance: u64,
    hash: String,
}

#[derive(Clone, Debug, Default, Serialize)]
struct RingStatus {
    ring: u16,
    coordinator: Option<String>,
    ballot: u64,
    decided: u64,
    trim: u64,
}

/// Runs it.
pub(super) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let status = match ask(args) {
        Ok(status) => status,
        Err(failure) => {
            if args.json {
                show_failure(&failure.to_string())?;
            }
            return Err(failure);
        }
    };
    show(&if args.json { status.json() } else { status.text() })?;
    if status.nodes.iter().any(|node| node.up) {
        return Ok(());
    }
    Err(Failure::Run(status.error.expect("a cluster has nodes, and one that is not up is told")))
}

/// The object of a command line that cannot be followed.
pub(super) fn show_failure(message: &str) -> Result<(), Failure> {
    let error = Some(message.to_owned());
    let (nodes, rings) = (Vec::new(), Vec::new());
    show(&Status { schema: SCHEMA, ok: false, error, wire: None, nodes, rings }.json())
}

fn ask(args: &StatusArgs) -> Result<Status, Failure> {
    let config = config::read(&args.config)?;
    let origin = Origin { path: &args.config, config: &config };
    let keyring = key::of_client_of(origin, args.key_file.as_deref())?;
    let (cluster, said) = inquire(&config.cluster, args.interface, args.patience, keyring)
        .map_err(|error| not_asked(origin, &error))?;
    Ok(Status::of(&cluster, &said))
}

/// Why nobody could be asked.
pub(super) fn not_asked(origin: Origin<'_>, error: &io::Error) -> Failure {
    if let Some(unspoken) = error.get_ref().and_then(|source| source.downcast_ref::<Unspoken>()) {
        return Failure::Usage(origin.of_clients(&(*unspoken).into()));
    }
    Failure::Environment(format!("no socket to ask by ({error}): give --interface"))
}

/// Who did not answer, and why; `None`: all did.
fn problem(cluster: &Cluster, nodes: &[NodeStatus]) -> Option<String> {
    let silent = cluster.nodes().zip(nodes).filter(|(_, node)| !node.up);
    let tried: Vec<String> =
        silent.map(|(node, _)| format!("{} {}", node.id, node.address)).collect();
    if tried.is_empty() {
        return None;
    }
    let why = match nodes.iter().find_map(|node| node.refusal) {
        Some(refusal) => refusal,
        None if tried.len() == nodes.len() => "no node answered",
        None => "not every node answered",
    };
    Some(format!("{why}, tried {}", tried.join(", ")))
}

impl Status {
    fn of(cluster: &Cluster, said: &[Said]) -> Self {
        let rings: Vec<RingStatus> = (0..)
            .take(cluster.rings.len())
            .map(|ring| RingStatus::of(ring, cluster, said))
            .collect();
        let acceptors = cluster.acceptors.len();
        let nodes = cluster.nodes().zip(said).enumerate().map(|(index, (node, said))| {
            let role = if index < acceptors { "acceptor" } else { "replica" };
            NodeStatus::of(&node.id, role, said, &rings)
        });
        let mut nodes: Vec<NodeStatus> = nodes.collect();
        let has_state = |node: &&NodeStatus| node.role == "replica" && node.lost == Some(false);
        let copies = nodes.iter().filter(has_state).count() as u64;
        for node in &mut nodes {
            node.copies = copies;
        }
        let error = problem(cluster, &nodes);
        let wire = nodes.iter().filter_map(|node| Some(node.wire?.version)).max();
        Self { schema: SCHEMA, ok: error.is_none(), error, wire, nodes, rings }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("a status has nothing that JSON has not") + "\n"
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{:<8} {:<9} {:<5} {:>10} {:>6} {:<16} {:>8} {:<5} drops\n",
            "node", "role", "up", "position", "lag", "last digest", "memory", "wire"
        );
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
        for node in &self.nodes {
            let up = match (node.up, node.votes, node.lost) {
                (false, ..) => "no",
                _ if node.conflicts > Some(0) => "split",
                (_, Some(false), _) => "inert",
                (_, _, Some(true)) => "lost",
                _ => "yes",
            };
            let digest = node.digests.last().map_or("-", |point| &point.digest);
            let memory = node.rss_bytes.map(size);
            let drops = node.drops.iter().map(|(reason, count)| format!("{reason} {count}"));
            let failed = node.failed_saves.filter(|count| *count > 0);
            let failed = failed.map(|count| format!("failed-saves {count}"));
            let drops = drops.chain(failed).chain(node.refusal.map(str::to_owned));
            let drops = drops.collect::<Vec<_>>().join(", ");
            let nothing = || "-".to_owned();
            let line = format!(
                "{:<8} {:<9} {up:<5} {:>10} {:>6} {digest:<16} {:>8} {:<5} {drops}",
                node.id,
                node.role,
                number(node.position),
                number(node.lag),
                memory.unwrap_or_else(nothing),
                node.wire.map_or_else(nothing, |spoken| spoken.range()),
            );
            text += line.trim_end();
            text.push('\n');
        }
        text += "\nring coordinator   ballot    decided       trim\n";
        for ring in &self.rings {
            let RingStatus { ring, coordinator, ballot, decided, trim } = ring;
            let coordinator = coordinator.as_deref().unwrap_or("-");
            text += &format!("{ring:>4} {coordinator:<11} {ballot:>8} {decided:>10} {trim:>10}\n");
        }
        text += &self.wire.map_or_else(String::new, |wire| format!("\nwire version {wire}\n"));
        text
    }
}

/// The facts of a node on one topic.
pub(super) fn facts(said: &Said, topic: Topic) -> impl Iterator<Item = &Fact> {
    said.facts.iter().flatten().filter(move |fact| fact.topic() == Some(topic))
}

impl RingStatus {
    fn of(ring: u16, cluster: &Cluster, said: &[Said]) -> Self {
        let of_ring = |topic| {
            said.iter()
                .flat_map(move |said| facts(said, topic))
                .filter(move |fact| fact.index == ring)
        };
        let ballot = |fact: &Fact| (fact.values[0], fact.values[1]);
        let highest = of_ring(Topic::Ballot).map(ballot).max().unwrap_or_default();
        let leads = |fact: &&Fact| fact.values[2] & 1 != 0;
        let coordinator = of_ring(Topic::Ballot).filter(leads).map(ballot).max();
        let name = |(_, node): (u64, u64)| {
            let acceptor = cluster.acceptors.iter().find(|known| u64::from(known.number) == node);
            acceptor.map(|acceptor| acceptor.id.clone())
        };
        let most = |value: usize| of_ring(Topic::Ring).map(|fact| fact.values[value]).max();
        Self {
            ring,
            coordinator: coordinator.and_then(name),
            ballot: highest.0,
            decided: most(0).unwrap_or(0),
            trim: most(1).unwrap_or(0),
        }
    }
}

impl LinkStatus {
    fn of(fact: &Fact) -> Self {
        let [instance, hash, _] = fact.values;
        Self { ring: fact.index, instance, hash: format!("{hash:016x}") }
    }
}

impl NodeStatus {
    fn of(id: &str, role: &'static str, said: &Said, rings: &[RingStatus]) -> Self {
        let refusal = said.mismatch.map(client::told);
        let mut node = Self { id: id.to_owned(), role, refusal, ..Self::default() };
        let Some(process) = facts(said, Topic::Process).next() else { return node };
        node.up = true;
        node.epoch = Some(process.values[0]);
        node.rss_bytes = Some(process.values[1]);
        node.wire = Spoken::of(said);
        if let Some(fact) = facts(said, Topic::Checkpoint).next() {
            let [slot, completed, transfers] = fact.values;
            node.checkpoint = slot.checked_sub(1);
            (node.checkpoints, node.transfers) = (Some(completed), Some(transfers));
        }
        node.failed_saves = facts(said, Topic::Kept).next().map(|fact| fact.values[0]);
        let of_replica = role == "replica";
        let topic = if of_replica { Topic::Applied } else { Topic::Ring };
        let slot = if of_replica { 1 } else { 2 };
        let last = rings.last().map_or(0, |ring| ring.ring);
        node.position =
            facts(said, topic).find(|fact| fact.index == last).map(|fact| fact.values[slot]);
        let behind = |fact: &Fact| {
            let ring = rings.get(usize::from(fact.index));
            ring.map_or(0, |ring| ring.decided.saturating_sub(fact.values[0]))
        };
        node.lag = Some(facts(said, topic).map(behind).sum());
        if of_replica {
            node.lost = Some(facts(said, topic).any(|fact| fact.values[2] != 0));
            node.conflicts = Some(facts(said, Topic::Conflict).map(|fact| fact.values[0]).sum());
        } else {
            node.votes = Some(!facts(said, Topic::Ballot).any(|fact| fact.values[2] & 2 != 0));
        }
        let point = |fact: &Fact| {
            let [position, digest, _] = fact.values;
            Point { position, digest: format!("{digest:016x}") }
        };
        node.digests = facts(said, Topic::Digest).map(point).collect();
        node.links = facts(said, Topic::Link).map(LinkStatus::of).collect();
        for fact in facts(said, Topic::Drop) {
            *node.drops.entry(drop_reason(fact)).or_default() += fact.values[0];
        }
        node
    }
}
