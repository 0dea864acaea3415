//! One ring of acceptors over a tiny network: a scenario a rule, then agreement under a seed's
//! faults.

#[path = "ring/birth.rs"]
mod birth;
#[path = "ring/chaos.rs"]
mod chaos;
#[path = "ring/epochs.rs"]
mod epochs;
#[path = "ring/lives.rs"]
mod lives;
#[path = "ring/log.rs"]
mod log;
#[path = "ring/memory.rs"]
mod memory;
#[path = "ring/net.rs"]
mod net;
#[path = "ring/normal.rs"]
mod normal;
#[path = "ring/packet.rs"]
mod packet;
#[path = "ring/repair.rs"]
mod repair;
#[path = "ring/takeover.rs"]
mod takeover;
#[path = "ring/votes.rs"]
mod votes;
#[path = "ring/vouch.rs"]
mod vouch;

use chaos::Course;

fn agrees_and_recovers(course: Course) {
    let mut decided = 0;
    let seeds = match std::env::var("RING_SEED") {
        Ok(seed) => vec![seed.parse().expect("a seed is a number")],
        Err(_) => (1..=150).collect(),
    };
    for seed in seeds {
        let outcome = chaos::run(seed, course);
        assert!(outcome.violations.is_empty(), "seed {seed}: {:?}", outcome.violations);
        assert!(outcome.is_alive, "seed {seed} does not recover");
        decided += outcome.decided;
    }
    assert!(decided > 5_000, "{decided} instances in all");
}

#[test]
fn under_loss_reordering_crashes_pauses_and_partitions_a_ring_agrees_and_recovers() {
    agrees_and_recovers(Course::Steady);
}

#[test]
fn it_does_so_while_its_acceptors_come_and_go() {
    agrees_and_recovers(Course::Members);
}

#[test]
fn it_does_so_while_directories_are_put_back_from_copies() {
    agrees_and_recovers(Course::OldCopies);
}

#[test]
fn it_does_so_where_that_is_found_out_from_some_epoch_on() {
    agrees_and_recovers(Course::Upgrades);
}
