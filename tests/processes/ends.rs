//! Replicas that end in the middle of a command: one that panics, one whose workers wait for each
//! other for ever. The bugs are planted in the process of one of them.

use super::deployment::{Deployment, is_supported, nodes};
use super::members::is_level;

const ACCEPTORS: [&str; 3] = ["a1", "a2", "a3"];

/// Commands of one group and of all that go on whatever becomes of replica r2, and all go well.
fn load(cluster: &Deployment, first: u64) {
    let input: String = (first..first + 100)
        .map(|n| format!("insert {} 7\nupdate {} 8\n", 2 * n + 1, 2 * n + 1))
        .collect();
    let answers = cluster.client(&["--deadline", "30s"], &input);
    assert!(answers.len() == 200 && answers.iter().all(|answer| answer == "ok"), "{answers:?}");
}

/// The line by which r2 has stopped. It comes once.
fn last_words(cluster: &Deployment) -> String {
    let line = cluster.said_when(&["r2"], &["r2: stopped: "]);
    let stops = cluster.said("r2").into_iter().filter(|line| line.contains("r2: stopped: "));
    assert_eq!(stops.count(), 1);
    line
}

/// r2 comes back without the bug, and has the state of the others.
fn comes_back(cluster: &mut Deployment) {
    cluster.start(&["r2"]);
    load(cluster, 500);
    cluster.status_when(is_level);
    cluster.stop();
}

#[test]
fn a_replica_whose_executor_panics_says_where_and_stops_and_the_others_go_on() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--model", "psmr", "--keys", "100"]);
    cluster.start(&[&ACCEPTORS[..], &["r1"]].concat());
    cluster.start_with(&["r2"], &["--bug", "executor-panics"]);
    load(&cluster, 0);
    assert_eq!(cluster.wait("r2"), Some(1));
    let line = last_words(&cluster);
    for part in ["thread r2-w", " panicked: ", "at slot ", "start it again", "docs/OPERATIONS.md"] {
        assert!(line.contains(part), "{line:?} lacks {part:?}");
    }
    cluster.said_when(&["r2"], &["no node is left in this process"]);
    load(&cluster, 100);
    comes_back(&mut cluster);
}

#[test]
fn a_node_that_shares_a_process_with_one_that_panics_goes_on() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--model", "psmr", "--keys", "100"]);
    cluster.start(&["a1", "r1"]);
    // Without a3 there is no quorum once a1 is killed.
    cluster.start_together_by(&["r2", "a3"], &["--bug", "executor-panics"]);
    cluster.start(&["a2"]);
    load(&cluster, 0);
    last_words(&cluster);
    cluster.status_when(|status| {
        let up = |id| nodes(status).any(|node| node["id"] == id && node["up"] == true);
        up("a3") && !up("r2")
    });
    cluster.kill("a1");
    load(&cluster, 100);
    cluster.stop();
}

#[test]
fn a_replica_of_which_a_worker_does_not_come_says_who_stands_where_and_stops() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--model", "psmr", "--keys", "100"]);
    cluster.configure("[execution]\nrendezvous_timeout = \"1s\"\n");
    cluster.start(&[&ACCEPTORS[..], &["r1"]].concat());
    cluster.start_with(&["r2"], &["--bug", "worker-never-arrives"]);
    load(&cluster, 0);
    assert_eq!(cluster.wait("r2"), Some(1));
    let line = last_words(&cluster);
    let parts = ["thread r2-w", "in one rendezvous", "at slot ", "worker 0 ", "worker 1 "];
    for part in [&parts[..], &["at epoch ", "of executor ", "rendezvous_timeout"]].concat() {
        assert!(line.contains(part), "{line:?} lacks {part:?}");
    }
    cluster.said_when(&["r2"], &["no node is left in this process"]);
    load(&cluster, 100);
    comes_back(&mut cluster);
}
