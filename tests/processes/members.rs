//! Members come and go while clients go on.

use super::deployment::{Deployment, is_supported, lines, nodes, psmr, refused};
use serde_json::Value;
use std::process::{Child, Output};

/// `psmr member` with these arguments.
pub(super) fn member(cluster: &Deployment, arguments: &[&str]) -> Output {
    let config = cluster.path("cluster.toml");
    psmr(&[&["member"], arguments, &["--config", &config]].concat())
}

/// The same; it goes well, and `epoch` begins.
pub(super) fn change(cluster: &Deployment, epoch: u32, arguments: &[&str]) {
    let output = member(cluster, arguments);
    let errors = lines(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors:?}");
    assert_eq!(lines(&output.stdout), [format!("epoch {epoch}")]);
}

/// Whether the data of this cluster have `path`.
fn has_file(cluster: &Deployment, path: &str) -> bool {
    let data = std::fs::read_dir(cluster.path("psmr-data")).expect("nodes have run");
    data.into_iter().any(|entry| entry.expect("it is there").path().join(path).exists())
}

pub(super) fn is_level(status: &Value) -> bool {
    let all = nodes(status).all(|node| node["up"] == true && node["votes"] != false);
    let last = |node: &Value| node["digests"].as_array().and_then(|points| points.last().cloned());
    let digests: Vec<_> =
        nodes(status).filter(|node| node["role"] == "replica").map(last).collect();
    all && digests.iter().all(|digest| digest.is_some() && *digest == digests[0])
}

/// A load that goes on through everything, for so long.
fn load(cluster: &Deployment, seconds: &str) -> Child {
    cluster.spawn_client(&[
        "load",
        "--seconds",
        seconds,
        "--clients",
        "2",
        "--outstanding",
        "8",
        "--mix",
        "insert=25,delete=25,read=50",
        "--json",
    ])
}

/// Its report: every command came to its end.
fn went_well(load: Child) -> u64 {
    let output = load.wait_with_output().expect("it is ours");
    let errors = lines(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(output.status.code(), Some(0), "{errors:?} {report}");
    assert_eq!((&report["ok"], &report["unknown"]), (&true.into(), &0.into()), "{report}");
    report["commands"].as_u64().expect("a number")
}

fn lives_through(durability: &str) {
    let mut cluster = Deployment::new(&["--keys", "1000", "--durability", durability]);
    let port = |offset: u16| format!("h1:{}", cluster.port + offset);
    let (a4, a5, r3) = (port(9), port(10), port(11));
    let old = std::fs::read_to_string(cluster.path("cluster.toml")).expect("it is there");
    cluster.start(&["a1", "a2", "a3", "r1", "r2"]);
    cluster.wait_for_votes();
    let load = load(&cluster, "12");
    // A dead acceptor, one that lives and coordinates, a replica more, a replica less.
    cluster.kill("a2");
    change(&cluster, 2, &["replace", "a2", "a4", "--at", &a4]);
    cluster.said_when(&["r1"], &["r1: epoch 2 begins: ", "a4"]);
    cluster.start(&["a4"]);
    cluster.wait_for_votes();
    // Who keeps its votes in memory alone says beside it that it had some, once it was admitted, too.
    assert_eq!(has_file(&cluster, "a4/begun"), durability == "memory");
    change(&cluster, 3, &["replace", "a1", "a5", "--at", &a5]);
    assert_eq!(cluster.wait("a1"), Some(0), "it was removed, and nothing went wrong");
    cluster.start(&["a5"]);
    change(&cluster, 4, &["add", "replica", "r3", "--at", &r3]);
    cluster.start(&["r3"]);
    cluster.status_when(|status| nodes(status).all(|node| node["lost"] != true));
    change(&cluster, 5, &["remove", "r1"]);
    assert_eq!(cluster.wait("r1"), Some(0));
    assert!(went_well(load) > 1_000);
    assert_eq!(cluster.client(&["insert", "4000001", "5"], ""), ["ok"]);
    let status = cluster.status_when(is_level);
    let ids: Vec<&Value> = nodes(&status).map(|node| &node["id"]).collect();
    assert_eq!(ids, ["a5", "a4", "a3", "r2", "r3"]);
    assert!(nodes(&status).all(|node| node["epoch"] == 5));
    // Who has an old file learns of the members: a client from the nodes, a node from its directory.
    let new = std::fs::read_to_string(cluster.path("cluster.toml")).expect("it is there");
    std::fs::write(cluster.path("cluster.toml"), old).expect("it is ours");
    assert_eq!(cluster.client(&["read", "4000001"], ""), ["value 5"]);
    cluster.kill("a3");
    cluster.start(&["a3"]);
    cluster.status_when(|status| nodes(status).all(|node| node["votes"] != false));
    let output = member(&cluster, &["list", "--update", "--json"]);
    let listed: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&listed["epoch"], &listed["acceptors"][0]["id"]), (&5.into(), &"a5".into()));
    let updated = std::fs::read_to_string(cluster.path("cluster.toml")).expect("it is there");
    assert_eq!(updated, new);
    cluster.stop();
}

#[test]
fn members_are_replaced_added_and_removed_under_load() {
    if is_supported() {
        lives_through("memory");
    }
}

#[test]
fn members_change_on_disks_too() {
    if is_supported() {
        lives_through("sync");
    }
}

#[test]
fn changes_that_cannot_be_are_refused_and_nothing_has_changed() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&[]);
    let config = cluster.path("cluster.toml");
    let file = std::fs::read_to_string(&config).expect("it is there");
    let (free, taken) = (format!("h1:{}", cluster.port + 9), format!("h1:{}", cluster.port + 1));
    let refuses = |arguments: &[&str], status: i32, parts: &[&str]| {
        refused(&[&["member"], arguments, &["--config", &config]].concat(), status, parts);
    };
    cluster.start(&["a1", "a2", "a3", "r1", "r2"]);
    refuses(&["remove", "a9"], 2, &["a9", "a1, a2, a3, r1, r2"]);
    refuses(&["add", "acceptor", "r1", "--at", &free], 2, &["r1", "choose another one"]);
    refuses(&["add", "replica", "r3", "--at", "h7:1"], 2, &["--at h7:1", "h1"]);
    refuses(&["add", "replica", "r3", "--at", &taken], 2, &["port", "a1"]);
    cluster.wait_for_votes();
    // With one dead and another one replaced by nobody yet, too few would have a memory.
    cluster.kill("a2");
    change(&cluster, 2, &["replace", "a2", "a4", "--at", &free]);
    let output = member(&cluster, &["remove", "a1", "--patience", "300ms"]);
    assert_eq!(output.status.code(), Some(1));
    let told = lines(&output.stderr).join(" ");
    assert!(told.contains("of the acceptors that stay 1 have a vote"), "{told}");
    assert_eq!(cluster.client(&["insert", "1", "1"], ""), ["ok"]);
    // The one that was replaced is of no use any more: it finds out, and ends.
    std::fs::write(&config, file).expect("it is ours");
    cluster.start(&["a2"]);
    assert_eq!(cluster.wait("a2"), Some(0));
    let output = psmr(&["node", "--config", &config, "--id", "a2"]);
    let told = lines(&output.stderr).join(" ");
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("--id a2: the cluster has no such node in epoch 2"), "{told}");
    cluster.stop();
}

#[test]
fn who_comes_back_under_its_old_name_has_none_of_its_old_memory() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", "100", "--durability", "sync"]);
    let at = |offset: u16| format!("h1:{}", cluster.port + offset);
    let (home, other) = (at(1), at(9));
    cluster.start(&["a1", "a2", "a3", "r1", "r2"]);
    cluster.wait_for_votes();
    cluster.kill("a1");
    change(&cluster, 2, &["replace", "a1", "a9", "--at", &other]);
    cluster.start(&["a9"]);
    cluster.wait_for_votes();
    assert_eq!(cluster.client(&["insert", "1", "77"], ""), ["ok"]);
    // Its number, its name and its address are a1's of old; and so is its directory.
    cluster.kill("a9");
    change(&cluster, 3, &["replace", "a9", "a1", "--at", &home]);
    let mut errors = cluster.start_heard(&["a1"]);
    cluster.wait_for_votes();
    cluster.kill("a2");
    cluster.start(&["a2"]);
    assert_eq!(cluster.client(&["read", "1"], ""), ["value 77"]);
    assert!(has_file(&cluster, "a1/former-1/log"));
    let config = cluster.path("cluster.toml");
    let file = std::fs::read_to_string(&config).expect("it is there");
    assert!(file.contains("since = 3"), "{file}");
    cluster.kill("a1");
    let mut told = String::new();
    std::io::Read::read_to_string(&mut errors, &mut told).expect("UTF-8");
    assert!(told.contains("a former member of that name has left its data here"), "{told}");
    cluster.stop();
}

#[test]
fn a_removed_node_tells_who_does_not_know_when_it_is_started_once_more() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--acceptors", "5", "--durability", "sync"]);
    let config = cluster.path("cluster.toml");
    let file = std::fs::read_to_string(&config).expect("it is there");
    let free = format!("h1:{}", cluster.port + 13);
    cluster.start(&["a1", "a2", "a3", "a4", "a5", "r1", "r2"]);
    cluster.wait_for_votes();
    cluster.kill("a1");
    change(&cluster, 2, &["replace", "a2", "a6", "--at", &free]);
    assert_eq!(cluster.wait("a2"), Some(0));
    ["a3", "a4", "a5", "r1", "r2"].iter().for_each(|id| cluster.kill(id));
    // Of those that know, only the one that is no member is there.
    std::fs::write(&config, file).expect("it is ours");
    cluster.start(&["a1"]);
    let parts = ["--id a2", "no such node in epoch 2", "too few acceptors could be told"];
    refused(&["node", "--config", &config, "--id", "a2"], 2, &parts);
    cluster.said_when(&["a1"], &["a1: epoch 2 begins: ", "a6"]);
    cluster.start(&["a3", "a4"]);
    let parts =
        ["--id a2", "no such node in epoch 2", "which more than half of the acceptors know"];
    refused(&["node", "--config", &config, "--id", "a2"], 2, &parts);
    cluster.stop();
}
