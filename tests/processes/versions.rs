//! A rolling restart with programs that speak a newer wire version, and the command that has the
//! cluster speak it. `newest_wire` makes a node the program of earlier days.

use super::ALL;
use super::deployment::{Deployment, is_supported, lines, nodes, psmr};
use super::load::{KEYS, Load};
use super::members::{change, member};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

const HELD_BACK: &str = "\n[network]\nnewest_wire = 1\n";

/// The directory of a node.
fn home(cluster: &Deployment, id: &str) -> PathBuf {
    let mut data = fs::read_dir(cluster.path("psmr-data")).expect("nodes have run");
    data.next().expect("one cluster").expect("it is there").path().join(id)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a writable directory");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is there");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).expect("a writable directory");
        }
    }
}

/// Ends a node in good order.
fn stop(cluster: &mut Deployment, id: &str) {
    cluster.signal(id, "TERM");
    assert_eq!(cluster.wait(id), Some(0), "{id}");
}

/// Starts it again, and waits as docs/OPERATIONS.md says.
fn start(cluster: &mut Deployment, id: &str) {
    cluster.start(&[id]);
    cluster.status_when(|status| {
        nodes(status)
            .all(|node| node["up"] == true && node["votes"] != false && node["lost"] != true)
    });
}

/// Every node speaks `version`, and can speak up to `newest`.
fn speak(cluster: &Deployment, version: u8, newest: u8) {
    let wire = json!({ "version": version, "oldest": 1, "newest": newest });
    let status = cluster.status_when(|status| nodes(status).all(|node| node["wire"] == wire));
    assert_eq!(status["wire"], version);
}

/// What acceptors ask each other since version 2: a directory that is put back from a copy, here of the
/// time before the upgrade, has no vote before the others admit it.
fn finds_a_copy_of_before(cluster: &mut Deployment, kept: &Path, text: &str) {
    assert_eq!(cluster.client(&["insert", "4000001", "7"], ""), ["ok"]);
    assert!(!cluster.said("a2").iter().any(|line| line.contains("copy of earlier days")));
    cluster.kill("a2");
    let home = home(cluster, "a2");
    fs::remove_dir_all(&home).expect("it is ours");
    copy(kept, &home);
    // Its host has the old file, too: it begins in the epoch that is over.
    let config = cluster.path("cluster.toml");
    let file = fs::read_to_string(&config).expect("it is there");
    fs::write(&config, text).expect("it is ours");
    cluster.start(&["a2"]);
    fs::write(&config, file).expect("it is ours");
    cluster.said_when(&["a2"], &["a2: is inert in", "the log is a copy of earlier days"]);
    cluster.wait_for_votes();
}

/// Nobody who does not speak the cluster's version has a part in it, or goes on without one.
fn refuses_who_is_held_back(cluster: &mut Deployment, held: &str) {
    stop(cluster, "r2");
    let why = "the cluster speaks wire version 3";
    // Its directory knows of the upgrade, though the file does not.
    let node = ["node", "--config", held, "--id", "r2"];
    let output = psmr(&node);
    let told = lines(&output.stderr).join(" ");
    assert_eq!(output.status.code(), Some(2), "{told}");
    let remedy = "newest_wire in [network] allows this process 1 to 1: remove it";
    assert!(told.contains(why) && told.contains(remedy), "{told}");
    // One that was not there when it came hears of it, and goes no further.
    let elsewhere = cluster.path("elsewhere");
    let output = psmr(&[&node[..], &["--data-dir", &elsewhere]].concat());
    let told = lines(&output.stderr).join(" ");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("r2: stopped: ") && told.contains(why), "{told}");
    let again = psmr(&[&node[..], &["--data-dir", &elsewhere]].concat());
    assert_eq!(again.status.code(), Some(2), "it has written down what it heard");
    let client = psmr(&["client", "--config", held, "read", "1"]);
    let told = lines(&client.stderr).join(" ");
    assert!(client.status.code() == Some(2) && told.contains(why), "{told}");
    start(cluster, "r2");
}

#[test]
fn a_rolling_restart_and_then_an_upgrade_go_on_under_load_and_lose_nothing() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", KEYS, "--durability", "sync"]);
    let (config, held) = (cluster.path("cluster.toml"), cluster.path("held.toml"));
    let text = fs::read_to_string(&config).expect("it was written");
    let text = text.replace("\nwire = 3 ", "\nwire = 1 ");
    for file in [&held, &config] {
        fs::write(file, text.clone() + HELD_BACK).expect("a writable directory");
    }
    cluster.start(&ALL);
    fs::write(&config, &text).expect("it is ours");
    cluster.wait_for_votes();
    speak(&cluster, 1, 1);
    let mut load = Load::start(&cluster, 8);
    load.has_begun(&cluster);
    let upgrade = |config: &str| {
        let output = psmr(&["member", "upgrade", "--config", config]);
        (output.status.code(), lines(&output.stderr).join(" "))
    };
    let (status, told) = upgrade(&config);
    let all = "wire version 3 is not spoken by a1, a2, a3, r1, r2: restart them";
    assert!(status == Some(1) && told.contains(all), "{told}");
    let (status, told) = upgrade(&held);
    assert!(
        status == Some(2) && told.contains("column 15: network.newest_wire: it holds nodes"),
        "{told}"
    );
    // New programs, one by one: nobody waits for the others.
    let kept = PathBuf::from(cluster.path("kept"));
    for id in ["a1", "a2", "a3"] {
        stop(&mut cluster, id);
        if id == "a2" {
            copy(&home(&cluster, id), &kept);
        }
        start(&mut cluster, id);
    }
    let (status, told) = upgrade(&config);
    assert!(status == Some(1) && told.contains("is not spoken by r1, r2: restart them"), "{told}");
    for id in ["r1", "r2"] {
        stop(&mut cluster, id);
        start(&mut cluster, id);
    }
    speak(&cluster, 1, 3);
    change(&cluster, 2, &["upgrade"]);
    speak(&cluster, 3, 3);
    cluster.said_when(&["r1"], &["r1: epoch 2 begins: a1, a2, a3, r1, r2, by wire version 3"]);
    finds_a_copy_of_before(&mut cluster, &kept, &text);
    assert!(load.goes_on() && load.went_well() > 1_000);
    let file = fs::read_to_string(&config).expect("it is there");
    assert!(file.contains("\nwire = 3 ") && file.contains("epoch = 2"), "{file}");
    let (status, told) = upgrade(&config);
    assert!(status == Some(2) && told.contains("speaks wire version 3 already"), "{told}");
    assert_eq!(lines(&member(&cluster, &["list"]).stdout)[0], "epoch 2, wire version 3");
    refuses_who_is_held_back(&mut cluster, &held);
    let output = member(&cluster, &["upgrade", "--to", "1"]);
    let told = lines(&output.stderr).join(" ");
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("never lowered"), "{told}");
    assert_eq!(cluster.client(&["read", "4000001"], ""), ["value 7"]);
    cluster.stop();
}
