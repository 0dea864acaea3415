//! Nodes of an ordinary user: no capabilities, and no more locked memory than such a user has.

use super::ALL;
use super::deployment::{Deployment, is_supported, nodes};
use super::keys::keyed;
use std::fs;

/// Locked memory of a user whom nobody has given more, in bytes.
const LOCKED: u64 = 8 << 20;

/// The words behind `name` in a file of the kernel about a process.
fn words(path: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(path).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says so");
    line.split_whitespace().map(str::to_owned).collect()
}

/// Whether the process of `id` is what this test is about, whoever runs the test.
fn is_ordinary(cluster: &Deployment, id: &str) {
    let process = cluster.process(id);
    let status = format!("/proc/{process}/status");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(words(&status, set), ["0000000000000000"], "{id}: {set}");
    }
    assert!(!words(&status, "Uid:").contains(&"0".to_owned()), "{id}");
    let limits = words(&format!("/proc/{process}/limits"), "Max locked memory");
    for limit in &limits[..2] {
        assert!(limit.parse::<u64>().expect("a number") <= LOCKED, "{id}: {limits:?}");
    }
}

#[test]
fn a_cluster_of_an_ordinary_user_serves_and_comes_back_after_all_of_it_was_killed() {
    if !is_supported() {
        return;
    }
    let (mut cluster, nodes_key, _) = keyed(&["--keys", "1000", "--durability", "sync"]);
    cluster.become_ordinary(&[&nodes_key], LOCKED);
    cluster.start(&ALL);
    cluster.wait_for_votes();
    ALL.iter().for_each(|id| is_ordinary(&cluster, id));
    let input: String = (0..100).map(|n| format!("insert {} {n}\n", 2 * n + 1)).collect();
    assert_eq!(cluster.client(&[], &input), vec!["ok"; 100]);
    ALL.iter().for_each(|id| cluster.kill(id));
    cluster.start(&ALL);
    ALL.iter().for_each(|id| is_ordinary(&cluster, id));
    let answers = cluster.client(&["--deadline", "20s"], "read 1\nread 199\nupdate 199 7\n");
    assert_eq!(answers, ["value 0", "value 99", "ok"]);
    let status = cluster.status_when(super::members::is_level);
    assert!(nodes(&status).all(|node| node["up"] == true), "{status}");
    cluster.stop();
    // What it lacks it says with the remedy, and nothing is refused to it.
    for id in ALL {
        let said = cluster.said(id);
        let is_sensible = |line: &String| {
            !line.contains("warning: ") || line.contains("ulimit -l") || line.contains("sysctl")
        };
        assert!(said.iter().all(is_sensible), "{id}: {said:?}");
        for refusal in ["ermission denied", "not permitted", "stopped"] {
            assert!(!said.iter().any(|line| line.contains(refusal)), "{id}: {said:?}");
        }
    }
}
