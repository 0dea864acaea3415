//! Seeded runs of whole clusters: they replay, they keep every promise, and they would notice.
#![expect(clippy::disallowed_types, reason = "tests that take turns are no data path")]

mod planted;

use psmr::sim::{Lines, Model, Options, Run, run_seed};
use psmr::types::Bug;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A planted bug is planted for the whole process: the tests of this file take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(seed: u64, options: &Options) -> Run {
    run_seed(seed, options, Lines::Hashed)
}

#[track_caller]
fn assert_holds(seed: u64, options: &Options) {
    let Run { violations, .. } = run(seed, options);
    assert!(
        violations.is_empty(),
        "seed {seed} under {options:?}: {violations:#?}; \
         replay it with: psmr sim --replay {seed} --trace"
    );
}

#[test]
fn fifty_seeds_replay_bit_by_bit() {
    let _turn = turn();
    let options = Options { commands: Some(100), ..Options::default() };
    for seed in 1_000..1_050 {
        let (first, second) = (run(seed, &options), run(seed, &options));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first.trace_hash, 0);
    }
}

#[test]
fn every_model_keeps_its_promises_under_faults() {
    let _turn = turn();
    for model in Model::ALL {
        for seed in 1..=10 {
            let options = Options { model: Some(model), commands: Some(600), ..Options::default() };
            assert_holds(seed, &options);
        }
    }
}

#[test]
fn after_the_faults_every_command_ends_and_the_replicas_stand_at_one_position() {
    let _turn = turn();
    for seed in 100..110 {
        let options = Options { commands: Some(300), ..Options::default() };
        let run = run(seed, &options);
        assert!(run.violations.is_empty(), "seed {seed}: {:#?}", run.violations);
        assert!(run.commands > 0, "seed {seed}");
    }
}

#[test]
fn seeds_that_once_failed_pass() {
    let _turn = turn();
    for line in lines(include_str!("scenarios/seeds.txt")) {
        assert_holds(line[0].parse().unwrap(), &Options::default());
    }
}

#[test]
fn every_planted_bug_is_caught_by_some_test_program() {
    assert_eq!(planted::missed(), [], "tests/planted/mod.rs lists who catches what");
}

#[test]
fn each_planted_bug_is_caught_by_its_stored_seed_and_by_nothing_else_there() {
    let _turn = turn();
    let mut missed = Vec::new();
    for line in lines(include_str!("scenarios/planted.txt")) {
        let bug = Bug::from_name(line[0]).unwrap_or_else(|| panic!("no bug called {}", line[0]));
        let (first, runs): (u64, u64) = (line[1].parse().unwrap(), line[2].parse().unwrap());
        let options = Options::default();
        for seed in first..first + runs {
            assert_holds(seed, &options);
        }
        assert!(Bug::plant(Some(bug)), "a build with debug assertions has planted bugs");
        let is_caught =
            (first..first + runs).any(|seed| !run(seed, &options).violations.is_empty());
        Bug::plant(None);
        if !is_caught {
            eprintln!("not caught: {}", bug.name());
            missed.push(bug);
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// The words of each line that is not a comment.
fn lines(file: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = file.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect())
}
