//! Seeded runs of whole clusters: they replay, they keep every promise, and they would notice.

mod planted;

use psmr::host::program::COMMIT;
use psmr::sim::{Lines, Model, Options, Run, run_seed, run_seeds};
use psmr::types::Bug;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Planted bugs are of the whole process: who plants one writes, who must not see one reads.
static PLANTED: RwLock<()> = RwLock::new(());

fn without_bugs() -> RwLockReadGuard<'static, ()> {
    PLANTED.read().unwrap_or_else(PoisonError::into_inner)
}

fn run(seed: u64, options: &Options) -> Run {
    run_seed(seed, options, Lines::Hashed)
}

#[track_caller]
fn assert_holds(seed: u64, options: &Options) -> Run {
    let run = run(seed, options);
    assert!(
        run.violations.is_empty(),
        "seed {seed} under {options:?}: {:#?}; \
         at commit {COMMIT} replay it with: psmr sim --replay {seed} --trace",
        run.violations
    );
    run
}

/// Fifty seeds, `jobs` at once.
fn fifty(jobs: usize) -> Vec<Run> {
    let jobs = NonZeroUsize::new(jobs).expect("some");
    let options = Options { commands: Some(100), ..Options::default() };
    let mut runs = Vec::new();
    let Ok(()) = run_seeds(1_350..=1_399, jobs, &options, Lines::Hashed, |run| {
        runs.push(run);
        Ok::<_, Infallible>(())
    });
    runs
}

#[test]
fn fifty_seeds_replay_bit_by_bit_alone_or_beside_others() {
    let _guard = without_bugs();
    let (first, second) = (fifty(1), fifty(2));
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first, second, "seed {}", first.seed);
        assert_ne!(first.trace_hash, 0);
    }
    assert_eq!((first.len(), second.len()), (50, 50));
}

#[test]
fn every_model_keeps_its_promises_under_faults() {
    let _guard = without_bugs();
    for model in Model::ALL {
        for seed in 31..=40 {
            let options = Options { model: Some(model), commands: Some(600), ..Options::default() };
            assert_holds(seed, &options);
        }
    }
}

#[test]
fn after_the_faults_every_command_ends_and_the_replicas_stand_at_one_position() {
    let _guard = without_bugs();
    for seed in 100..110 {
        let options = Options { commands: Some(300), ..Options::default() };
        let run = assert_holds(seed, &options);
        assert!(run.commands > 0, "seed {seed}");
    }
}

#[test]
fn members_come_and_go_and_every_promise_is_kept() {
    let _guard = without_bugs();
    let mut changes = 0;
    for seed in 200..220 {
        let options = Options { commands: Some(400), ..Options::default() };
        let run = assert_holds(seed, &options);
        changes += run.changes;
    }
    assert!(changes >= 5, "{changes} epochs began");
}

#[test]
fn seeds_that_once_failed_pass() {
    let _guard = without_bugs();
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
    let stored: Vec<(Bug, Range<u64>, Options)> = lines(include_str!("scenarios/planted.txt"))
        .map(|line| {
            let bug = Bug::from_name(line[0]);
            let bug = bug.unwrap_or_else(|| panic!("no bug called {}", line[0]));
            let (first, runs): (u64, u64) = (line[1].parse().unwrap(), line[2].parse().unwrap());
            let loss = line.get(3).map(|percent| percent.parse::<u32>().unwrap() * 10_000);
            let commands = line.get(4).map(|commands| commands.parse().unwrap());
            let options = Options { loss, commands, ..Options::default() };
            (bug, first..first + runs, options)
        })
        .collect();
    {
        let _guard = without_bugs();
        let runs = stored.iter().flat_map(|(_, seeds, options)| {
            seeds.clone().map(move |seed| (seed, options.loss, options.commands))
        });
        for (seed, loss, commands) in runs.collect::<BTreeSet<_>>() {
            assert_holds(seed, &Options { loss, commands, ..Options::default() });
        }
    }
    let _guard = PLANTED.write().unwrap_or_else(PoisonError::into_inner);
    let mut missed = Vec::new();
    for (bug, mut seeds, options) in stored {
        assert!(Bug::plant(Some(bug)), "a build with debug assertions has planted bugs");
        let is_caught = seeds.any(|seed| !run(seed, &options).violations.is_empty());
        Bug::plant(None);
        if !is_caught {
            missed.push(bug.name());
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// The words of each line that is not a comment.
fn lines(file: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = file.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect())
}
