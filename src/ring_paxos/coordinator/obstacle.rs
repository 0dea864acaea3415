//! What keeps a ring from ordering, or will before long, for whoever operates it. Decides nothing.

use crate::ring_paxos::Log;
use crate::ring_paxos::member::Member;
use crate::ring_paxos::trim::Holder;
use crate::types::Time;

/// What keeps a ring from ordering commands, as one of its acceptors knows. Under load it may come
/// and go: what lasts is a matter for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Fewer than f + 1 acceptors with memory answer.
    NoQuorum,
    /// Three quarters of its coordinator's log and more are taken by what must not be forgotten yet.
    LogFull(Holder),
    /// This learner is as far behind as its coordinator lets any be.
    FarAhead(u64),
}

impl<L: Log> Member<L> {
    /// What keeps its ring from ordering.
    #[must_use]
    pub fn obstacle(&self, now: Time) -> Option<Obstacle> {
        if self.lacks_quorum(now) {
            return Some(Obstacle::NoQuorum);
        }
        if !self.is_coordinator() || self.config.learners.is_empty() {
            return None;
        }
        let positions = &self.acceptor.positions;
        if self.free_instances() <= self.config.instances as u64 / 4 {
            return Some(Obstacle::LogFull(positions.holder(now)));
        }
        let slowest = positions.slowest().unwrap_or_default().max(self.window.trim());
        let is_far_ahead = self.coordinator.next.0 > slowest.0 + self.config.apply_bound;
        is_far_ahead.then(|| positions.hindmost(now).map(Obstacle::FarAhead)).flatten()
    }

    /// How many instances of the log are free.
    #[must_use]
    pub fn free_instances(&self) -> u64 {
        let used = self.decided().0.saturating_sub(self.trim().0);
        (self.config.instances as u64).saturating_sub(used)
    }
}
