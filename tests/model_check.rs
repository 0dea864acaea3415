//! Models of the protocols that a checker walks through, every order of events within bounds, by
//! the real types: Ring Paxos with crashes and take-overs, the merge of two rings, synchronous mode.
//! What a sample shows in `cargo test`, `ten_million_states` shows at length.

#[path = "model_check/acceptor.rs"]
mod acceptor;
#[path = "model_check/merge.rs"]
mod merge;
mod planted;
mod replicas;
#[path = "model_check/ring.rs"]
mod ring;
#[path = "model_check/synchronous.rs"]
mod synchronous;
#[path = "model_check/table.rs"]
mod table;

use acceptor::Event;
use merge::Merged;
use psmr::replica::{Barrier, Executor};
use psmr::types::Bug;
use ring::{Ring, Step};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{PoisonError, RwLock};
use synchronous::Meetings;

/// Planted bugs are of the whole process: who plants one writes, who must not see one reads.
static PLANTED: RwLock<()> = RwLock::new(());

const THREADS: usize = 2;
/// Steps of one case among the tests, and of one that looks for a planted bug.
const SAMPLE: usize = 400_000;
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
    M::State: Debug + Clone + PartialEq + std::hash::Hash + Send + Sync,
    M::Action: Clone + PartialEq + Send,
{
    let checker = model.checker().threads(THREADS).target_state_count(steps);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = checker.unique_state_count();
    let (taken, depth) = (checker.state_count(), checker.max_depth());
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
            violations.push(format!("{name}: not {}, after:\n{}", property.name, steps.join("\n")));
        }
    }
    let extent = match violations.len() {
        0 if taken < steps => "all there are",
        0 => "the first ones",
        _ => "until it fails",
    };
    println!("{name}: {states} states, {extent}, {taken} steps, up to {depth} deep");
    Report { states, violations, met }
}

/// One model and where it begins.
#[derive(Clone, Copy, Debug)]
enum Case {
    Ring(ring::Case),
    /// M, the instances of a ring, and how many subscribers.
    Merge(u64, usize, usize),
    /// Workers, how they meet, who executes, and slots.
    Meetings(usize, Barrier, Executor, usize),
}

const MERGES: [Case; 5] = [
    Case::Merge(1, 2, 1),
    Case::Merge(2, 2, 1),
    Case::Merge(3, 2, 1),
    Case::Merge(1, 2, 2),
    Case::Merge(2, 2, 2),
];

const MEETINGS: [Case; 5] = [
    Case::Meetings(2, Barrier::Command, Executor::Rotate, 3),
    Case::Meetings(2, Barrier::Instance, Executor::Rotate, 3),
    Case::Meetings(3, Barrier::Command, Executor::Rotate, 3),
    Case::Meetings(3, Barrier::Command, Executor::Lowest, 3),
    Case::Meetings(3, Barrier::Instance, Executor::Rotate, 3),
];

impl Case {
    fn check(self, steps: usize) -> Report {
        let name = format!("{self:?}");
        match self {
            Self::Ring(case) => check(&name, case.model(), steps, describe_ring),
            Self::Merge(m, length, subscribers) => {
                let model = Merged::new(m, length, subscribers);
                check(&name, model, steps, |_, step| format!("{step:?}"))
            }
            Self::Meetings(groups, barrier, executor, slots) => {
                let model = Meetings::new(groups, (barrier, executor), slots);
                check(&name, model, steps, |_, step| format!("{step:?}"))
            }
        }
    }
}

fn describe_ring(ring: &Ring, Step(index, event): &Step) -> String {
    if let Event::Packet(packet) = event {
        let packet = ring.acceptors.packet(*packet);
        return format!("{} -> {index}: {:?}", packet.from, packet.message());
    }
    format!("{index}: {event:?}")
}

/// Each of `cases`, up to `steps` of it. Returns how many states there were.
fn check_all(cases: impl Iterator<Item = Case>, steps: usize) -> usize {
    let _guard = PLANTED.read().unwrap_or_else(PoisonError::into_inner);
    let (mut states, mut met) = (0, BTreeMap::new());
    for case in cases {
        let report = case.check(steps);
        assert!(report.violations.is_empty(), "{}", report.violations.join("\n"));
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
    let cases = ring::Case::ALL.map(Case::Ring).into_iter();
    assert!(check_all(cases, SAMPLE) > 500_000, "too few states for a sample");
}

#[test]
fn subscribers_of_two_rings_hand_out_one_order_whatever_arrives_when() {
    assert!(check_all(MERGES.into_iter(), SAMPLE / 2) > 200_000, "too few states for a sample");
}

#[test]
fn workers_meet_whoever_is_polled_when() {
    assert!(check_all(MEETINGS.into_iter(), SAMPLE / 16) > 20_000, "too few states for a sample");
}

/// `PSMR_MODEL_STEPS` says how many steps a case takes at most.
#[test]
#[ignore = "by hand: minutes and gigabytes"]
fn ten_million_states() {
    let steps = std::env::var("PSMR_MODEL_STEPS").map_or(8_000_000, |n| n.parse().unwrap());
    let rings = ring::Case::ALL.map(Case::Ring).into_iter();
    let states = check_all(rings.chain(MERGES).chain(MEETINGS), steps);
    println!("{states} states in all");
    assert!(states >= 10_000_000 || steps < 8_000_000, "{states} states");
}

const ROTATE: Executor = Executor::Rotate;

/// Where each planted bug shows.
const CAUGHT: [(Bug, Case); 15] = [
    (Bug::QuorumOfOne, Case::Ring(ring::Case::Elected)),
    (Bug::AcceptedWithoutValue, Case::Ring(ring::Case::Five)),
    (Bug::FirstHolderAccepted, Case::Ring(ring::Case::Five)),
    (Bug::NoopOverTrimmed, Case::Ring(ring::Case::Trimmed)),
    (Bug::IdReuse, Case::Ring(ring::Case::OnDisk)),
    (Bug::AcceptBelowPromise, Case::Ring(ring::Case::Elected)),
    (Bug::PhaseOneAnyValue, Case::Ring(ring::Case::TakenOver)),
    (Bug::VoteBeforePersist, Case::Ring(ring::Case::OnDisk)),
    (Bug::DecisionBeforePersist, Case::Ring(ring::Case::OnDisk)),
    (Bug::AmnesiacVotes, Case::Ring(ring::Case::Forgotten)),
    (Bug::DeliverWithoutId, Case::Merge(1, 2, 1)),
    (Bug::SkipNotCounted, Case::Merge(2, 2, 1)),
    (Bug::MergeByArrival, Case::Merge(1, 2, 2)),
    (Bug::ReplyBeforeBarrier, Case::Meetings(3, Barrier::Command, ROTATE, 2)),
    (Bug::ReleaseBeforeExecution, Case::Meetings(3, Barrier::Command, ROTATE, 2)),
];

#[test]
fn a_model_with_a_planted_bug_fails() {
    let _guard = PLANTED.write().unwrap_or_else(PoisonError::into_inner);
    let mut missed = Vec::new();
    for (bug, case) in CAUGHT {
        assert!(Bug::plant(Some(bug)), "this build cannot plant bugs");
        let report = case.check(SEARCH);
        Bug::plant(None);
        if report.violations.is_empty() {
            missed.push(bug.name());
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
    for bug in planted::bugs(planted::Catcher::ModelCheck) {
        assert!(CAUGHT.iter().any(|(caught, _)| *caught == bug), "{} is ours", bug.name());
    }
}
