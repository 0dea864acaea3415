//! Each planted bug of Ring Paxos is caught by a seed that passes without it.
//!
//! A bug is planted for the whole process, so this program has one test, which takes turns.

#[path = "ring/chaos.rs"]
mod chaos;
#[path = "ring/net.rs"]
mod net;

use psmr::types::Bug;

/// Seeds that are tried for a bug.
const SEEDS: u64 = 3_000;

#[test]
fn every_planted_bug_is_caught_by_a_seed_that_passes_without_it() {
    let bugs = [
        Bug::QuorumOfOne,
        Bug::AcceptedWithoutValue,
        Bug::FirstHolderAccepted,
        Bug::NoopOverTrimmed,
        Bug::IdReuse,
        Bug::AcceptBelowPromise,
        Bug::PhaseOneAnyValue,
        Bug::VoteBeforePersist,
    ];
    let mut missed = Vec::new();
    for bug in bugs {
        assert!(Bug::plant(Some(bug)), "this build cannot plant bugs");
        let caught = (1..=SEEDS).find(|seed| !chaos::run(*seed).violations.is_empty());
        Bug::plant(None);
        match caught {
            Some(seed) => {
                println!("{} is caught by seed {seed}", bug.name());
                let violations = chaos::run(seed).violations;
                assert!(violations.is_empty(), "seed {seed} without a bug: {violations:?}");
            }
            None => missed.push(bug.name()),
        }
    }
    assert!(missed.is_empty(), "no seed catches {missed:?}");
}
