//! Replicas of real processes that end, stand still or lose their directory under load, and come
//! back.
//!
//! Every test has ports of its own, and ends only the processes that it has started.

#[path = "processes/deployment.rs"]
mod deployment;

use deployment::{Deployment, is_supported, lines, nodes};
use serde_json::Value;
use std::process::Child;

const ALL: [&str; 5] = ["a1", "a2", "a3", "r1", "r2"];

/// Starts a cluster that makes checkpoints often.
fn cluster() -> Deployment {
    let mut cluster = Deployment::new(&["--keys", "2000"]);
    cluster.configure("[execution]\ncheckpoint_interval = \"100ms\"\nreplica_patience = \"300ms\"\ndigest_interval = \"200ms\"\n");
    cluster.start_with(&ALL, &["--data-dir", &cluster.path("data")]);
    cluster
}

/// A client that changes the state for a while.
fn load(cluster: &Deployment) -> Child {
    let load = "load --keys 2000 --clients 2 --outstanding 32 --mix update=50,insert=25,delete=25";
    let arguments: Vec<&str> = load.split(' ').chain(["--seconds", "3", "--json"]).collect();
    cluster.spawn_client(&arguments)
}

fn assert_served(load: Child) {
    let output = load.wait_with_output().expect("it is ours");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{:?}", lines(&output.stderr)));
    assert_eq!(report["ok"], true, "{:?}", lines(&output.stderr));
    assert!(report["commands"].as_u64().is_some_and(|commands| commands > 0), "{report}");
}

/// Both replicas serve, and their last digests are of one place and equal.
fn are_level(status: &Value) -> bool {
    let replicas: Vec<&Value> = nodes(status).filter(|node| node["role"] == "replica").collect();
    let last = |node: &Value| node["digests"].as_array().and_then(|points| points.last().cloned());
    let is_well = |node: &&Value| node["up"] == true && node["lost"] == false;
    replicas.iter().all(is_well)
        && last(replicas[0]).is_some()
        && last(replicas[0]) == last(replicas[1])
        && replicas[0]["position"] == replicas[1]["position"]
}

fn transfers(status: &Value, id: &str) -> u64 {
    let node = nodes(status).find(|node| node["id"] == id).expect("it is in the status");
    node["transfers"].as_u64().unwrap_or(0)
}

#[test]
fn a_replica_that_is_killed_under_load_comes_back_by_its_checkpoint_and_by_another_replicas() {
    if !is_supported() {
        return;
    }
    let mut cluster = cluster();
    let options = ["--data-dir".to_owned(), cluster.path("data")];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let first = load(&cluster);
    cluster.status_when(|status| nodes(status).any(|n| n["checkpoints"].as_u64() > Some(0)));
    cluster.kill("r1");
    cluster.start_with(&["r1"], &options);
    assert_served(first);
    cluster.status_when(are_level);
    // The same without its directory: everything comes from the other replica.
    let second = load(&cluster);
    cluster.kill("r1");
    std::fs::remove_dir_all(cluster.path("data/r1")).expect("it was there");
    cluster.start_with(&["r1"], &options);
    assert_served(second);
    let status = cluster.status_when(|status| are_level(status) && transfers(status, "r1") > 0);
    assert_eq!(transfers(&status, "r2"), 0);
    cluster.said_when(&["r1"], &["r1: is lost: "]);
    cluster.said_when(&["r1"], &["r1: has the checkpoint of ", " at slot "]);
    assert_eq!(cluster.client(&["insert", "9000000", "1"], ""), ["ok"]);
    cluster.stop();
}

#[test]
fn a_replica_that_stood_still_past_the_trim_mark_comes_back_by_a_transfer() {
    if !is_supported() {
        return;
    }
    let mut cluster = cluster();
    let load = load(&cluster);
    cluster.status_when(|status| nodes(status).any(|n| n["checkpoints"].as_u64() > Some(0)));
    let position = |status: &Value, id: &str| {
        let node = nodes(status).find(|node| node["id"] == id).expect("it is there");
        node["position"].as_u64().unwrap_or(0)
    };
    cluster.signal("r2", "STOP");
    assert_served(load);
    let stopped = cluster.status_when(|status| position(status, "r1") > 0);
    assert!(stopped["rings"].as_array().is_some());
    cluster.signal("r2", "CONT");
    cluster.status_when(|status| are_level(status) && transfers(status, "r2") > 0);
    cluster.stop();
}
