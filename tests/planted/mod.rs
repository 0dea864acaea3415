//! Which test program catches which planted bug with inputs of its own. The simulator catches
//! them too, by the seeds of `scenarios/planted.txt`.
#![allow(dead_code, reason = "each test program uses a part of it")]

use psmr::types::Bug;

/// A test program that plants bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Catcher {
    /// `planted_ring.rs`
    Ring,
    /// `merge.rs`
    Merge,
    /// `models.rs`
    Models,
    /// `planted_btree.rs`, the tree.
    Tree,
    /// `planted_btree.rs`, the counters.
    Counters,
    /// `model_check.rs`
    ModelCheck,
    /// `simulation.rs`, by stored seeds alone.
    Simulation,
    /// `processes.rs`, in a process that is told of it by `psmr node --bug`.
    Processes,
}

const CAUGHT: [(Bug, Catcher); 34] = [
    (Bug::QuorumOfOne, Catcher::Ring),
    (Bug::AcceptedWithoutValue, Catcher::Ring),
    (Bug::FirstHolderAccepted, Catcher::Ring),
    (Bug::NoopOverTrimmed, Catcher::Ring),
    (Bug::IdReuse, Catcher::Ring),
    (Bug::AcceptBelowPromise, Catcher::Ring),
    (Bug::PhaseOneAnyValue, Catcher::Ring),
    (Bug::VoteBeforePersist, Catcher::Ring),
    (Bug::OldCopyVotes, Catcher::Ring),
    (Bug::DecisionBeforePersist, Catcher::ModelCheck),
    (Bug::AmnesiacVotes, Catcher::ModelCheck),
    (Bug::DeliverWithoutId, Catcher::Merge),
    (Bug::SkipNotCounted, Catcher::Merge),
    (Bug::MergeByArrival, Catcher::Merge),
    (Bug::NoDuplicateCheck, Catcher::Models),
    (Bug::ExecutedAfterFailedCheck, Catcher::Models),
    (Bug::ReplyBeforeBarrier, Catcher::Models),
    (Bug::ReleaseBeforeExecution, Catcher::Models),
    (Bug::ConservativeTwinIgnored, Catcher::Models),
    (Bug::CheckWithoutBounds, Catcher::Tree),
    (Bug::OneSidedBound, Catcher::Tree),
    (Bug::SiblingPeek, Catcher::Tree),
    (Bug::UndoForgetsState, Catcher::Counters),
    (Bug::CutsAtDifferentSlots, Catcher::Simulation),
    (Bug::RepliesWhileRecovering, Catcher::Simulation),
    (Bug::ResumeOnFirstWord, Catcher::Simulation),
    (Bug::LeafNotSavedAtCut, Catcher::Tree),
    (Bug::SessionsNotInCheckpoint, Catcher::Simulation),
    (Bug::NewcomerVotes, Catcher::Simulation),
    (Bug::AcceptedForgottenAtTakeUp, Catcher::Simulation),
    (Bug::StateAstray, Catcher::Simulation),
    (Bug::UnvouchedCounts, Catcher::Simulation),
    (Bug::ExecutorPanics, Catcher::Processes),
    (Bug::WorkerNeverArrives, Catcher::Processes),
];

/// The bugs that `catcher` has to catch.
pub(crate) fn bugs(catcher: Catcher) -> impl Iterator<Item = Bug> {
    CAUGHT.into_iter().filter(move |(_, by)| *by == catcher).map(|(bug, _)| bug)
}

/// The bugs that nobody has to catch.
pub(crate) fn missed() -> Vec<Bug> {
    let is_missed = |bug: &Bug| !CAUGHT.iter().any(|(caught, _)| caught == bug);
    Bug::ALL.iter().copied().filter(is_missed).collect()
}
