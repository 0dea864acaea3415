//! What a learner tells the acceptors of its position, and whom.

use super::{Learner, LearnerConfig};
use crate::ring_paxos::{Destination, Outbox};
use crate::types::{Ballot, Time};
use crate::wire::{Layout, Message, Position};

/// A position is repeated after this many report intervals, moved or not: the last may be lost.
pub(super) const REPEAT: u32 = 20;

impl Learner {
    /// From now on it reports no position: what its replica has may be wrong, and nobody is to count
    /// on it.
    pub const fn hush(&mut self) {
        self.is_hushed = true;
    }

    /// The preferential acceptor passes positions on only while it is in the ring.
    pub(super) fn on_layout(&mut self, ballot: Ballot, layout: &Layout) {
        if ballot <= self.layout_ballot {
            return;
        }
        self.layout_ballot = ballot;
        let preferential = self.config.acceptors[0];
        let members = layout.members();
        self.report_to = if members.is_empty() || members.contains(&preferential) {
            preferential
        } else {
            let turn = self.config.learner % members.len() as u64;
            members[usize::try_from(turn).expect("below eight")]
        };
    }

    pub(super) fn report(&mut self, now: Time, out: &mut impl Outbox) {
        if self.is_hushed {
            return;
        }
        let applied = self.window.position().previous();
        let fresh = applied.0 - self.reported.0.min(applied.0);
        let is_due = fresh >= self.config.window as u64 / 4
            || (fresh > 0 && now >= self.report_at)
            || now >= self.repeat_at;
        if !is_due {
            return;
        }
        let Self { checkpointed, config: LearnerConfig { learner, .. }, .. } = *self;
        let mut position = Position { applied, needed: applied, checkpointed, learner };
        if self.lacks_state {
            position.needed = self.window.frontier().previous();
        }
        if self.config.has_checkpoints && !self.has_caught_up() {
            // Who catches up holds what it needs, but nobody back.
            position.applied = applied.max(self.horizon.decided);
        }
        if self.lacks_state {
            // Never seems to have what it only keeps.
            position.applied = position.applied.max(position.needed.next());
        }
        let to = Destination::Node(self.report_to);
        out.send(to, self.config.ring, &Message::Position(position));
        self.reported = applied;
        self.report_at = now + self.config.report;
        self.repeat_at = now + self.config.report * REPEAT;
    }
}
