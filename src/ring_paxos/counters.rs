//! What a member counts. Nothing reads these to decide.

/// Counts since the member's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Instances that this coordinator decided, skips and no-ops included.
    pub instances: u64,
    /// Skips that it proposed.
    pub skips: u64,
    /// No-ops that Phase 1 filled holes with.
    pub noops: u64,
    /// Proposals that reached it as coordinator.
    pub proposals: u64,
    /// Proposals dropped because an undecided instance holds them.
    pub duplicates: u64,
    /// Proposals sent on to another coordinator.
    pub redirects: u64,
    /// Proposals refused because log, queue or window is full.
    pub refused_full: u64,
    /// Proposals refused for want of f + 1 acceptors with memory.
    pub refused_no_quorum: u64,
    /// Proposals above the limit.
    pub refused_too_large: u64,
    /// 2As sent again.
    pub resends: u64,
    /// Instances sent as repair.
    pub repairs: u64,
    /// Those of them that were multicast because two asked.
    pub repairs_multicast: u64,
    /// Repairs not sent because their share of the bandwidth was used up.
    pub repairs_refused: u64,
    /// Answers that an instance is forgotten.
    pub trimmed: u64,
    /// Times that this member stood for coordinator.
    pub candidacies: u64,
    /// Times that it became coordinator.
    pub take_overs: u64,
    /// Times that it stopped being coordinator or candidate because of a higher ballot.
    pub step_downs: u64,
    /// New rings laid because a member was silent.
    pub new_rings: u64,
    /// Acceptors without memory that it re-admitted.
    pub admissions: u64,
    /// 1 if its log was found to be a copy of earlier days.
    pub old_copies: u64,
    /// Messages of a ballot below the promise.
    pub stale: u64,
    /// Messages about instances outside the log.
    pub outside: u64,
    /// Positions of learners that the ring does not have.
    pub unknown_learners: u64,
    /// Messages that no correct member sends.
    pub malformed: u64,
}
