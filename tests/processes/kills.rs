//! Nodes that are killed while a load goes on, and come back.
//!
//! `PSMR_KILLS` says how often everything is killed (twice).

use super::ALL;
use super::deployment::{Deployment, is_supported};
use super::load::{KEYS, Load};
use psmr::types::Random;
use std::thread;
use std::time::Duration;

/// Kills these nodes one round after the other, each round at another moment, and starts them again.
fn lives_through(durability: &str, io: &str, rounds: &[&[&str]]) {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", KEYS, "--durability", durability]);
    cluster.configure(&format!("[network]\nio = \"{io}\"\n"));
    cluster.start(&ALL);
    cluster.wait_for_votes();
    let load = Load::start(&cluster, 2 + 2 * rounds.len() as u64);
    load.has_begun(&cluster);
    let mut random = Random::new(1);
    for ids in rounds {
        thread::park_timeout(Duration::from_millis(200 + random.below(300)));
        ids.iter().for_each(|id| cluster.kill(id));
        cluster.start(ids);
        cluster.status_when(super::members::is_level);
    }
    assert!(load.went_well() > 100);
    cluster.stop();
}

#[test]
fn a_killed_acceptor_and_a_killed_replica_cost_nothing() {
    lives_through("memory", "auto", &[&["a1"], &["r1"], &["a2"], &["r2"]]);
}

#[test]
fn nor_do_they_over_plain_sockets() {
    lives_through("memory", "socket", &[&["a1"], &["r1"]]);
    lives_through("sync", "socket", &[&["a1"], &["a1", "a2", "a3"]]);
}

#[test]
fn with_logs_all_acceptors_may_be_killed_and_everything_too() {
    let kills = std::env::var("PSMR_KILLS").ok();
    let kills = kills.map_or(2, |kills| kills.parse().expect("PSMR_KILLS is a number"));
    let acceptors: &[&str] = &["a1", "a2", "a3"];
    let rounds = [vec![acceptors], vec![&ALL[..]; kills]].concat();
    lives_through("sync", "auto", &rounds);
}
