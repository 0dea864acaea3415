//! What nodes say on standard error of what happens to them.

use super::ALL;
use super::deployment::{Deployment, is_supported, nodes};
use std::net::UdpSocket;
use std::process::Child;
use std::time::Duration;

/// A client that changes the state until it is killed.
fn load(cluster: &Deployment) -> Child {
    let load =
        "load --keys 1000 --clients 2 --outstanding 16 --mix insert=50,delete=50 --seconds 60";
    cluster.spawn_client(&load.split(' ').collect::<Vec<_>>())
}

#[test]
fn nodes_say_who_coordinates_who_votes_and_who_answers() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&[]);
    cluster.start(&ALL);
    cluster.wait_for_votes();
    // On a busy machine another one than the first may have taken over already.
    let status = cluster.status_when(|status| status["rings"][0]["coordinator"].is_string());
    let first = status["rings"][0]["coordinator"].as_str().expect("an id");
    let line = cluster.said_when(&[first], &[&format!("{first}: coordinates ring 0 by ballot ")]);
    let time = line.split(' ').next().expect("a time");
    assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('T'), "{line}");
    cluster.said_when(&[first], &[&format!("{first}: knows of no former life in ring")]);
    assert_eq!(cluster.client(&["insert", "1", "10"], ""), ["ok"]);
    cluster.said_when(&["r1"], &["r1: is level at slot ", "and answers"]);
    cluster.kill(first);
    let others: Vec<&str> = ["a1", "a2", "a3"].into_iter().filter(|id| *id != first).collect();
    let after = format!(", after {first} by ballot");
    cluster.said_when(&others, &["coordinates ring 0 by ballot", &after]);
    let said = cluster.said(first).len();
    cluster.start(&[first]);
    // Of each ring it is told once, though perhaps not of all in one line.
    let rings = |what: &str| -> usize {
        let lines = cluster.said(first).into_iter().skip(said);
        let named =
            lines.filter_map(|line| Some(line.split_once(what)?.1.split_once(':')?.0.to_owned()));
        named.map(|rings| rings.matches(char::is_numeric).count()).sum()
    };
    for what in ["is inert in", "is admitted to"].map(|what| format!("{first}: {what}")) {
        let counts = std::iter::repeat_with(|| {
            std::thread::park_timeout(Duration::from_millis(25));
            rings(&what)
        });
        assert_eq!(counts.take(400).find(|count| *count >= 3), Some(3), "{what}");
    }
    cluster.stop();
}

#[test]
fn what_a_stranger_sends_is_told_once_with_where_it_came_from() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--model", "smr", "--replicas", "1"]);
    cluster.start_together(&["a1", "a2", "a3", "r1"]);
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    // The first port is that of the groups; then come those of a1 and so on.
    for (id, port) in [("a1", cluster.port + 1), ("r1", cluster.port + 4)] {
        for _ in 0..20 {
            stranger.send_to(&[7; 100], ("127.0.0.1", port)).expect("loopback");
        }
        let from = stranger.local_addr().expect("it is bound").to_string();
        let what = format!("{id}: drops a datagram of {from}: foreign datagram");
        cluster.said_when(&["a1"], &[&what]);
        let told = cluster.said("a1").into_iter().filter(|line| line.contains(&what)).count();
        assert_eq!(told, 1);
    }
    cluster.stop();
}

#[test]
fn a_checkpoint_that_cannot_be_saved_is_told_and_counted_and_so_is_the_next_one() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", "1000"]);
    cluster.configure("[execution]\ncheckpoint_interval = \"100ms\"\n");
    let data = cluster.path("data");
    let options = ["--data-dir", data.as_str()];
    cluster.start_with(&ALL, &options);
    let path = format!("{data}/r1/checkpoint");
    let mut load = load(&cluster);
    cluster.said_when(&["r1"], &["r1: has saved a checkpoint", &path]);
    // Whoever may do everything cannot write into a directory either.
    let new = format!("{path}.new");
    while std::fs::create_dir(&new).is_err() {
        std::thread::yield_now(); // One is just being written.
    }
    cluster.said_when(&["r1"], &["r1: cannot save its checkpoint", &path, "directory", "1 failed"]);
    let failed = |status: &serde_json::Value, id: &str| {
        let node = nodes(status).find(|node| node["id"] == id).expect("it is there");
        node["failed_saves"].as_u64()
    };
    let status = cluster.status_when(|status| failed(status, "r1") > Some(0));
    assert_eq!((failed(&status, "r2"), failed(&status, "a1")), (Some(0), None));
    std::fs::remove_dir(&new).expect("it is empty");
    cluster.said_when(&["r1"], &["r1: saves checkpoints again", &path]);
    load.kill().expect("it runs");
    load.wait().expect("it is ours");
    // With nobody to catch up with, a replica still says what it has.
    let ids = ["a1", "a2", "a3", "r1"];
    ids.into_iter().for_each(|id| cluster.kill(id));
    cluster.start_with(&["r1"], &options);
    cluster.said_when(&["r1"], &["r1: begins with its checkpoint at slot ", &path]);
    cluster.status_when(|status| {
        let node = nodes(status).find(|node| node["id"] == "r1").expect("it is there");
        node["checkpoint"].as_u64() > Some(0)
    });
    cluster.stop();
}

#[test]
fn a_ring_that_waits_for_a_replica_for_ever_names_it() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--model", "smr", "--keys", "1000"]);
    cluster.configure("[execution]\ncheckpoint_interval = \"0s\"\n");
    cluster.start(&ALL);
    cluster.wait_for_votes();
    cluster.kill("r2");
    let mut load = load(&cluster);
    let acceptors = ["a1", "a2", "a3"];
    cluster.said_when(&acceptors, &["ring 0", "because of r2", "start it"]);
    load.kill().expect("it runs");
    load.wait().expect("it is ours");
    cluster.stop();
}
