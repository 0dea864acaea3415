//! What is checked: histories, digests, and that all that was acknowledged can be read.

use super::cluster::{Cluster, NODES};
use psmr::host::clock;
use psmr::sim::{Operation, Outcome, Verb, check_history, read_history};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::process::Child;

/// Clients that work, each with its history.
pub(crate) struct Load {
    clients: Vec<(Child, String)>,
}

impl Load {
    /// Starts clients for `seconds`; their commands draw from twice `keys` keys.
    pub(crate) fn start(cluster: &Cluster, keys: u64, seconds: f64, seed: u64) -> Self {
        // One that waits for every answer, and one that gives up and goes on.
        let start = |(number, deadline): (u64, &str)| {
            let history = cluster.path(&format!("history-{seed}-{number}"));
            let (keys, seconds) = (keys.to_string(), format!("{seconds:.1}"));
            let seed = (seed.wrapping_mul(2) + number).to_string();
            let arguments = [
                &[
                    "load",
                    "--json",
                    "--warmup",
                    "0",
                    "--deadline",
                    deadline,
                    "--client-threads",
                    "1",
                ],
                &["--clients", "4", "--outstanding", "8", "--range-keys", "5", "--keys", &keys][..],
                &["--mix", "read=40,update=20,insert=18,delete=18,range=4", "--seed", &seed],
                &["--seconds", &seconds, "--history", &history],
            ];
            (cluster.spawn_client(&arguments.concat(), "load"), history)
        };
        Self { clients: [(0, "60s"), (1, "2s")].map(start).into() }
    }

    /// Waits for their end. What they saw.
    pub(crate) fn finish(self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (client, history) in self.clients {
            let output = client.wait_with_output().expect("it is ours");
            let report = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "a load failed: {report}, see logs/load.log");
            let file = File::open(&history).expect("the client has written it");
            let read = read_history(BufReader::new(file)).expect("a whole history");
            assert!(!read.is_empty(), "{history} is empty");
            operations.extend(read);
        }
        operations
    }
}

/// Reads every key, as the last commands of a history.
pub(crate) fn read_all(cluster: &Cluster, keys: u64, history: &mut Vec<Operation>) {
    let commands: Vec<String> = (0..2 * keys).map(|key| format!("read {key}")).collect();
    let invoked = clock::now().0;
    let answers = cluster.client(&commands);
    let returned = Some(clock::now().0);
    for (key, answer) in (0..).zip(&answers) {
        let outcome = match answer.split_once(' ') {
            None if answer == "missing" => Outcome::Missing,
            Some(("value", value)) => Outcome::Value(value.parse().expect("a number")),
            _ => panic!("read {key}: {answer}"),
        };
        history.push(Operation { invoked, returned, key, verb: Verb::Read, outcome });
    }
}

/// Which keys of a history cannot be explained, each in a line.
pub(crate) fn violations(history: &[Operation]) -> Vec<String> {
    // A cluster loads the even numbers below twice its keys; there are no others in the history.
    let initial = |key: u64| key.is_multiple_of(2).then_some(key);
    check_history(history, initial).into_iter().map(|violation| violation.detail).collect()
}

/// What was seen of replicas' states.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    /// By position: the digest and who showed it.
    seen: BTreeMap<u64, (String, String)>,
    /// By ring and instance: the hash of what was delivered up to there, and who showed it.
    links: BTreeMap<(u64, u64), (String, String)>,
    /// Positions that were seen of two replicas, and stretches of instances.
    pub(crate) compared: u64,
    pub(crate) linked: u64,
}

impl Digests {
    /// Compares what a status shows with all that was seen.
    ///
    /// # Panics
    /// If two replicas differ at a position or in what they were delivered, or a learner saw two decisions of an instance.
    pub(crate) fn add(&mut self, status: &Value) {
        for node in status["nodes"].as_array().expect("a list of nodes") {
            let id = node["id"].as_str().expect("an id").to_owned();
            assert!(node["conflicts"].as_u64().unwrap_or(0) == 0, "{id}: conflicts\n{status}");
            for point in node["digests"].as_array().into_iter().flatten() {
                let position = point["position"].as_u64().expect("a position");
                let digest = point["digest"].to_string();
                let seen = self.seen.entry(position).or_insert((digest.clone(), id.clone()));
                assert!(seen.0 == digest, "at {position} {id} has {digest}, and {seen:?} was seen");
                if seen.1 != id {
                    self.compared += 1;
                    seen.1 = id.clone();
                }
            }
            for link in node["links"].as_array().into_iter().flatten() {
                let number = |name: &str| link[name].as_u64().expect("a number");
                let (at, hash) = ((number("ring"), number("instance")), link["hash"].to_string());
                let seen = self.links.entry(at).or_insert((hash.clone(), id.clone()));
                assert!(seen.0 == hash, "of {at:?} {id} has {hash}, and {seen:?} was seen");
                if seen.1 != id {
                    self.linked += 1;
                    seen.1 = id.clone();
                }
            }
        }
    }

    /// Waits until all replicas stand at the same place, and compares them there.
    pub(crate) fn settle(&mut self, cluster: &mut Cluster) {
        let last = |node: &Value| node["digests"].as_array()?.last()?["position"].as_u64();
        // A key of nobody else's. Digests are taken while the state changes.
        let key = 1_u64 << 40;
        let touch = [format!("insert {key} 1"), format!("delete {key}")];
        for _ in 0..200 {
            cluster.client(&touch);
            let status = cluster.wait_until_whole();
            self.add(&status);
            let nodes = status["nodes"].as_array().expect("a list of nodes");
            let of = |id| nodes.iter().find(|node| node["id"] == id).and_then(last);
            let mut replicas = NODES.iter().filter(|(id, _)| id.starts_with('r'));
            let first = of("r1");
            if first.is_some() && replicas.all(|(id, _)| of(id) == first) {
                return;
            }
        }
        panic!("the replicas come to no common position");
    }
}
