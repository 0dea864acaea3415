//! Models of the protocols that a checker walks through: every order of events within bounds, by
//! the real types. What a sample of them shows here, `ten_million_states` shows at length.

#[path = "model_check/acceptor.rs"]
mod acceptor;
mod planted;
#[path = "model_check/ring.rs"]
mod ring;
#[path = "model_check/table.rs"]
mod table;

use acceptor::Event;
use psmr::types::Bug;
use ring::{Case, Ring, Step};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// Planted bugs are of the whole process: who plants one writes, who must not see one reads.
static PLANTED: RwLock<()> = RwLock::new(());

const THREADS: usize = 2;
/// Steps of one run among the tests, and of one that looks for a planted bug.
const SAMPLE: usize = 500_000;
const SEARCH: usize = 3_000_000;

/// What a run came to.
#[derive(Debug)]
struct Report {
    states: usize,
    /// What should always hold and did not, with the way there.
    violations: Vec<String>,
    /// What a run may meet, and whether it has.
    met: Vec<(&'static str, bool)>,
}

/// Walks through `model` breadth first, until it has no more states or has taken `steps`.
#[expect(clippy::print_stdout, reason = "the figures, for whoever runs it by hand")]
fn check<M>(name: &str, model: M, steps: usize, describe: fn(&M, &M::Action) -> String) -> Report
where
    M: Model + Send + Sync + 'static,
    M::State: std::fmt::Debug + Clone + PartialEq + std::hash::Hash + Send + Sync,
    M::Action: Clone + PartialEq + Send,
{
    let checker = model.checker().threads(THREADS).target_state_count(steps);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = checker.unique_state_count();
    let (taken, depth) = (checker.state_count(), checker.max_depth());
    let extent = if taken < steps { "all there are" } else { "the first ones" };
    println!("{name}: {states} states, {extent}, {taken} steps, up to {depth} deep");
    let discoveries = checker.discoveries();
    let (mut violations, mut met) = (Vec::new(), Vec::new());
    for property in checker.model().properties() {
        let found = discoveries.get(property.name);
        if property.expectation == Expectation::Sometimes {
            met.push((property.name, found.is_some()));
        } else if let Some(path) = found {
            let steps = path.clone().into_actions();
            let steps = steps.iter().map(|step| describe(checker.model(), step));
            let steps: Vec<String> = steps.collect();
            violations.push(format!("{}, after:\n{}", property.name, steps.join("\n")));
        }
    }
    Report { states, violations, met }
}

fn describe_ring(ring: &Ring, Step(index, event): &Step) -> String {
    if let Event::Packet(packet) = event {
        let packet = ring.acceptors.packet(*packet);
        return format!("{} -> {index}: {:?}", packet.from, packet.message());
    }
    format!("{index}: {event:?}")
}

fn check_ring(case: Case, steps: usize) -> Report {
    check(&format!("{case:?}"), case.model(), steps, describe_ring)
}

/// Each case, up to `steps` of it. Returns how many states there were.
fn check_all(steps: usize) -> usize {
    let (mut states, mut met) = (0, BTreeMap::new());
    for case in Case::ALL {
        let report = check_ring(case, steps);
        assert!(report.violations.is_empty(), "{case:?}: {}", report.violations.join("\n"));
        states += report.states;
        for (property, is_met) in report.met {
            *met.entry(property).or_insert(false) |= is_met;
        }
    }
    assert!(met.values().all(|is_met| *is_met), "some is never met: {met:?}");
    states
}

#[test]
fn a_ring_agrees_whoever_stands_and_crashes_and_whatever_arrives() {
    let _guard = PLANTED.read().unwrap_or_else(PoisonError::into_inner);
    assert!(check_all(SAMPLE) > 700_000, "too few states for a sample");
}

/// `PSMR_MODEL_STEPS` says how many steps a case takes at most.
#[test]
#[ignore = "by hand: minutes and gigabytes"]
fn ten_million_states() {
    let _guard = PLANTED.read().unwrap_or_else(PoisonError::into_inner);
    let steps = std::env::var("PSMR_MODEL_STEPS").map_or(8_000_000, |n| n.parse().unwrap());
    let states = check_all(steps);
    println!("{states} states in all");
    assert!(states >= 10_000_000 || steps < 8_000_000);
}

/// Where each planted bug of the rings shows.
const CAUGHT: [(Bug, Case); 10] = [
    (Bug::QuorumOfOne, Case::Elected),
    (Bug::AcceptedWithoutValue, Case::Five),
    (Bug::FirstHolderAccepted, Case::Five),
    (Bug::NoopOverTrimmed, Case::Trimmed),
    (Bug::IdReuse, Case::OnDisk),
    (Bug::AcceptBelowPromise, Case::Elected),
    (Bug::PhaseOneAnyValue, Case::TakenOver),
    (Bug::VoteBeforePersist, Case::OnDisk),
    (Bug::DecisionBeforePersist, Case::OnDisk),
    (Bug::AmnesiacVotes, Case::Forgotten),
];

#[test]
fn a_model_of_a_ring_with_a_planted_bug_fails() {
    let _guard = PLANTED.write().unwrap_or_else(PoisonError::into_inner);
    let mut missed = Vec::new();
    for (bug, case) in CAUGHT {
        assert!(Bug::plant(Some(bug)), "this build cannot plant bugs");
        let report = check_ring(case, SEARCH);
        Bug::plant(None);
        if report.violations.is_empty() {
            missed.push(bug.name());
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
    let by_models = planted::bugs(planted::Catcher::ModelCheck);
    for bug in by_models {
        assert!(CAUGHT.iter().any(|(caught, _)| *caught == bug), "{} is ours", bug.name());
    }
}
