//! Replicas of real processes whose states differ: a checkpoint that is sound by its checksums and
//! has another value than the others have, as memory that fails leaves behind.
//!
//! Every test has ports of its own, and ends only the processes that it has started.

#[path = "processes/deployment.rs"]
mod deployment;

use deployment::{Deployment, is_supported, nodes, psmr};
use serde_json::Value;
use std::cell::Cell;
use std::time::Duration;

/// A value that stands nowhere else in a checkpoint.
const VALUE: u64 = 0x00c0_ffee_5eed_f00d;
/// What the checkpoint says instead.
const OTHER: u64 = VALUE ^ 1;
/// Bytes of the file before its first frame, and of a frame before its body.
const FILE: usize = 32;
const FRAME: usize = 32;

/// A cluster of which `ids` are the nodes, and whose checkpoints all have [`VALUE`] at key 1.
fn cluster(replicas: &str, ids: &[&str]) -> Deployment {
    let mut cluster = Deployment::new(&["--keys", "100", "--replicas", replicas]);
    cluster
        .configure("[execution]\ncheckpoint_interval = \"100ms\"\ndigest_interval = \"100ms\"\n");
    cluster.start_with(ids, &["--data-dir", &cluster.path("data")]);
    assert_eq!(cluster.client(&["insert", "1", &VALUE.to_string()], ""), ["ok"]);
    let has_value = |id: &&str| {
        let file = std::fs::read(cluster.path(&format!("data/{id}/checkpoint")));
        file.is_ok_and(|bytes| find(&bytes, VALUE).is_some())
    };
    // A checkpoint is made once there are enough instances behind the last.
    let changes: String = (0..200).map(|value| format!("update 2 {value}\n")).collect();
    cluster.status_when(|_| {
        cluster.client(&[], &changes);
        ids.iter().filter(|id| id.starts_with('r')).all(has_value)
    });
    // Who has an older one than the others may have to fetch theirs.
    let known = Cell::new(None);
    cluster.status_when(|status| {
        let replicas = || nodes(status).filter(|node| node["role"] == "replica");
        let made: Vec<_> = replicas().map(|node| node["checkpoint"].as_u64()).collect();
        let is_same = made.iter().all(|slot| slot.is_some() && *slot == made[0]);
        std::thread::park_timeout(Duration::from_millis(250));
        known.replace(made[0]) == made[0] && is_same
    });
    cluster
}

fn find(bytes: &[u8], value: u64) -> Option<usize> {
    bytes.windows(8).position(|window| window == value.to_le_bytes())
}

/// Another value in the checkpoint of replica `id`, and the checksum that belongs to it.
fn falsify(cluster: &Deployment, id: &str) {
    let path = cluster.path(&format!("data/{id}/checkpoint"));
    let mut file = std::fs::read(&path).expect("it has one");
    let at = find(&file, VALUE).expect("it has the value");
    file[at..at + 8].copy_from_slice(&OTHER.to_le_bytes());
    let mut start = FILE;
    loop {
        let word = |index: usize| {
            let bytes = &file[start + 8 * index..start + 8 * index + 8];
            u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
        };
        let (place, body) = (word(1), start + FRAME);
        let end = body + usize::try_from(word(2)).expect("it fits");
        if (body..end).contains(&at) {
            let sum = crc32c::crc32c_append(crc32c::crc32c(&place.to_le_bytes()), &file[body..end]);
            file[start + 24..start + 32].copy_from_slice(&u64::from(sum).to_le_bytes());
            break;
        }
        start = end;
    }
    std::fs::write(path, file).expect("it is ours");
}

/// All replicas serve, and their last digests are of one place and equal.
fn are_level(status: &Value) -> bool {
    let replicas: Vec<&Value> = nodes(status).filter(|node| node["role"] == "replica").collect();
    let last = |node: &Value| node["digests"].as_array().and_then(|points| points.last().cloned());
    let is_level = |node: &&Value| {
        node["up"] == true && last(node).is_some() && last(node) == last(replicas[0])
    };
    replicas.iter().all(is_level)
}

#[test]
fn a_replica_with_another_state_than_the_others_stops_and_comes_back_with_theirs() {
    if !is_supported() {
        return;
    }
    let mut cluster = cluster("3", &["a1", "a2", "a3", "r1", "r2", "r3"]);
    cluster.kill("r3");
    falsify(&cluster, "r3");
    let options = ["--data-dir".to_owned(), cluster.path("data")];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    cluster.start_with(&["r3"], &options);
    // The next digest point is behind the next change.
    assert_eq!(cluster.client(&["update", "2", "7"], ""), ["ok"]);
    assert_eq!(cluster.wait("r3"), Some(1));
    let line = cluster.said_when(&["r3"], &["the replicas' states differ at slot "]);
    for part in [" at r1", " at r2", " at r3", "so this one is wrong", "docs/OPERATIONS.md"] {
        assert!(line.contains(part), "{line:?} lacks {part:?}");
    }
    let file = |name: &str| std::path::Path::new(&cluster.path("data/r3")).join(name).exists();
    assert!(!file("checkpoint") && file("checkpoint.diverged") && !file("divided"));
    assert_eq!(cluster.client(&["read", "1"], ""), [format!("value {VALUE}")]);

    cluster.start_with(&["r3"], &options);
    assert_eq!(cluster.client(&["update", "2", "8"], ""), ["ok"]);
    cluster.status_when(are_level);
    cluster.stop();
}

#[test]
fn two_replicas_with_different_states_both_stop_and_wait_for_who_knows_which_is_right() {
    if !is_supported() {
        return;
    }
    let mut cluster = cluster("2", &["a1", "a2", "a3", "r1", "r2"]);
    cluster.kill("r2");
    falsify(&cluster, "r2");
    let options = ["--data-dir".to_owned(), cluster.path("data")];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    cluster.start_with(&["r2"], &options);
    let update = cluster.spawn_client(&["--deadline", "5s", "update", "2", "7"]);
    assert_eq!((cluster.wait("r1"), cluster.wait("r2")), (Some(1), Some(1)));
    // It may have been answered before.
    update.wait_with_output().expect("it is ours");
    for id in ["r1", "r2"] {
        let parts = ["the replicas' states differ at slot ", "no state is that of more than half"];
        cluster.said_when(&[id], &parts);
        let config = cluster.path("cluster.toml");
        let start = ["node", "--config", &config, "--id", id, options[0], options[1]];
        let refused = psmr(&start);
        let said = String::from_utf8(refused.stderr).expect("UTF-8");
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("remove the file `divided`") && said.contains(" at r2"), "{said}");
        // What it had executed when it stopped is kept.
        let value = if id == "r1" { VALUE } else { OTHER };
        let file = cluster.path(&format!("data/{id}/checkpoint"));
        assert!(find(&std::fs::read(file).expect("it has one"), value).is_some(), "{id}");
    }
    // An acceptor that lives with one of them goes on.
    cluster.kill("a3");
    cluster.start_together_with(&["r2", "a3"], &options);
    cluster.said_when(&["r2"], &["r2 is left out: ", "remove the file `divided`"]);
    // The first one is right.
    std::fs::remove_file(cluster.path("data/r1/divided")).expect("it is there");
    std::fs::remove_dir_all(cluster.path("data/r2")).expect("it is there");
    cluster.start_with(&["r1", "r2"], &options);
    assert_eq!(cluster.client(&["update", "2", "8"], ""), ["ok"]);
    cluster.status_when(are_level);
    assert_eq!(cluster.client(&["read", "1"], ""), [format!("value {VALUE}")]);
    cluster.stop();
}
