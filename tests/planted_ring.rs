//! Each planted bug of Ring Paxos is caught by a stored seed that passes without it.
//!
//! A bug is planted for the whole process, so this program has one test, which takes turns.
//! `PLANTED_SEEDS=3000 cargo test --test planted_ring` looks for new seeds when the runs change.

#[path = "ring/chaos.rs"]
mod chaos;
#[path = "ring/log.rs"]
mod log;
#[path = "ring/net.rs"]
mod net;
#[path = "ring/packet.rs"]
mod packet;
mod planted;

use chaos::Course;
use planted::{Catcher, bugs};
use psmr::types::Bug;

/// What catches what.
const CAUGHT: [(Bug, u64); 9] = [
    (Bug::QuorumOfOne, 3),
    (Bug::AcceptedWithoutValue, 238),
    (Bug::FirstHolderAccepted, 9),
    (Bug::NoopOverTrimmed, 40),
    (Bug::IdReuse, 1),
    (Bug::AcceptBelowPromise, 921),
    (Bug::PhaseOneAnyValue, 9),
    (Bug::VoteBeforePersist, 134),
    (Bug::OldCopyVotes, 29),
];

const fn course(bug: Bug) -> Course {
    match bug {
        Bug::OldCopyVotes => Course::OldCopies,
        _ => Course::Steady,
    }
}

fn catches(seed: u64, bug: Bug) -> bool {
    assert!(Bug::plant(Some(bug)), "this build cannot plant bugs");
    let violations = chaos::run(seed, course(bug)).violations;
    Bug::plant(None);
    !violations.is_empty()
}

#[test]
fn every_planted_bug_is_caught_by_a_seed_that_passes_without_it() {
    assert!(CAUGHT.iter().map(|(bug, _)| *bug).eq(bugs(Catcher::Ring)), "a seed for each bug");
    let search: u64 = std::env::var("PLANTED_SEEDS").map_or(0, |n| n.parse().expect("a number"));
    let mut missed = Vec::new();
    for (bug, stored) in CAUGHT {
        let mut seeds = std::iter::once(stored).chain(1..=search);
        match seeds.find(|seed| catches(*seed, bug)) {
            Some(seed) => {
                println!("{} is caught by seed {seed}", bug.name());
                let violations = chaos::run(seed, course(bug)).violations;
                assert!(violations.is_empty(), "seed {seed} without a bug: {violations:?}");
            }
            None => missed.push(bug.name()),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}; look for seeds with PLANTED_SEEDS=3000");
}
