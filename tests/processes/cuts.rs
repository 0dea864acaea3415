//! Nodes that do not hear each other, by `--fault`.

use super::ALL;
use super::deployment::{Deployment, is_supported, nodes, refused};
use super::load::{KEYS, Load};
use serde_json::Value;

fn position(status: &Value, id: &str) -> Option<u64> {
    nodes(status).find(|node| node["id"] == id)?["position"].as_u64()
}

#[test]
fn a_replica_that_hears_no_acceptor_stands_still_and_the_others_serve() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", KEYS]);
    cluster.start(&["a1", "a2", "a3", "r1"]);
    cluster.start_with(&["r2"], &["--fault", "cut=a1+a2+a3"]);
    let mut load = Load::start(&cluster, 4);
    load.has_begun(&cluster);
    let before = cluster.status_when(|status| position(status, "r1") > Some(100));
    let goes_on = |status: &Value| position(status, "r1") > position(&before, "r1");
    let after = cluster.status_when(goes_on);
    assert!(load.goes_on());
    for status in [&before, &after] {
        let node = nodes(status).find(|node| node["id"] == "r2").expect("a member");
        assert_eq!((&node["up"], &node["position"]), (&true.into(), &0.into()), "{node}");
    }
    assert!(load.went_well() > 100);
    // The network is whole again.
    cluster.kill("r2");
    cluster.start(&["r2"]);
    cluster.status_when(super::members::is_level);
    cluster.stop();
}

#[test]
fn through_cuts_that_come_and_go_at_every_node_what_clients_see_is_linearizable() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", KEYS]);
    for (seed, id) in (1..).zip(ALL) {
        let seed = format!("{seed}");
        let fault = ["--fault", "cut-for=200ms,cut-every=1s", "--fault-seed", &seed];
        cluster.start_with(&[id], &fault);
    }
    cluster.wait_for_votes();
    let load = Load::start(&cluster, 6);
    load.has_begun(&cluster);
    assert!(load.went_well() > 100);
    let is_cut = |node: &Value| node["drops"]["link"].as_u64() > Some(0);
    cluster.status_when(|status| nodes(status).all(is_cut));
    cluster.status_when(super::members::is_level);
    cluster.stop();
}

#[test]
fn whoever_is_cut_must_be_a_member() {
    let cluster = Deployment::new(&[]);
    let config = cluster.path("cluster.toml");
    let node = ["node", "--config", &config, "--id", "a1", "--fault", "cut=r1+x9"];
    refused(&node, 2, &["--fault cut=x9", "no such node", "a1, a2, a3, r1, r2"]);
}
