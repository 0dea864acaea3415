//! The way of a 2B around the ring: who may vote, what is passed on, and where it ends.
//!
//! A member ORs its bit in only when it holds the value at that ballot and its record is
//! persistent (rules 2 to 4); a 2B that overtakes its 2A is kept. The coordinator is the last
//! member: there the same step decides. 2Bs of one duty cycle leave as ranges of equal masks.

use super::member::Member;
use super::{Destination, Instance, Log, Outbox};
use crate::types::{Ballot, Bug, ValueId};
use crate::wire::{Accepted, DecidedRanges, Layout, Message, Range, RepairRequest, Wanted};

/// Why a vote is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Something new was heard.
    First,
    /// Something was heard again: what left before leaves again, and nothing else.
    Again,
}

/// Votes of this duty cycle, all with one mask, at the current ballot.
#[derive(Clone, Debug, Hash)]
pub(super) struct VoteQueue {
    mask: u8,
    ranges: Vec<Range>,
}

impl VoteQueue {
    pub(super) fn new() -> Self {
        Self { mask: 0, ranges: Vec::with_capacity(DecidedRanges::MOST) }
    }

    /// Forgets what was gathered: its ballot is over.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Whether (instance, id) can join without a flush.
    fn takes(&self, mask: u8) -> bool {
        self.ranges.is_empty() || (self.mask == mask && self.ranges.len() < DecidedRanges::MOST)
    }

    fn push(&mut self, mask: u8, instance: Instance, id: ValueId) {
        self.mask = mask;
        extend(&mut self.ranges, instance, id);
    }
}

/// Adds (instance, id) to the last of `ranges`, or behind it.
pub(super) fn extend(ranges: &mut Vec<Range>, instance: Instance, id: ValueId) {
    let joined = ranges.last_mut().is_some_and(|last| {
        let is_last = instance.0 + 1 == last.first.0 + last.count;
        is_last || last.extend(instance, id)
    });
    if !joined {
        ranges.push(Range::one(instance, id));
    }
}

/// The mask in which every member of `layout` has its bit.
pub(super) fn full_mask(layout: &Layout) -> u8 {
    u8::MAX >> (8 - layout.members().len())
}

impl<L: Log> Member<L> {
    /// 2B.
    pub(super) fn on_accepted(&mut self, accepted: &Accepted<'_>, out: &mut impl Outbox) {
        let Accepted { ballot, mask, ref ranges, .. } = *accepted;
        if ballot < self.acceptor.promised {
            self.counters.stale += 1;
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a layout has at most 8 members")]
        let mask = mask as u8;
        for range in ranges.iter().filter(|range| range.count > 0) {
            let first = range.first.max(self.window.trim().next());
            let last = range.first.0.saturating_add(range.count - 1);
            for instance in first.0..=last.min(self.window.end().0) {
                let counter = range.id.counter.wrapping_add(instance - range.first.0);
                let id = ValueId { counter, ..range.id };
                self.hear_vote(Instance(instance), (ballot, id), mask, out);
            }
        }
    }

    #[inline]
    fn hear_vote(
        &mut self,
        instance: Instance,
        (ballot, id): (Ballot, ValueId),
        mask: u8,
        out: &mut impl Outbox,
    ) {
        let entry = self.window.claim(instance).expect("bounded by the window");
        let heard = &mut entry.heard;
        if (heard.ballot, heard.id) != (ballot, id) {
            if heard.ballot > ballot {
                return;
            }
            *heard = super::window::Heard { ballot, id, mask: 0 };
        }
        let is_new = heard.mask | mask != heard.mask;
        heard.mask |= mask;
        let is_held = entry.is_accepted() && (entry.ballot, entry.id) == (ballot, id);
        if is_held {
            self.progress(instance, if is_new { Occasion::First } else { Occasion::Again }, out);
        } else if Bug::AcceptedWithoutValue.is_planted()
            && ballot == self.acceptor.current
            && let Some(position) = self.acceptor.position
        {
            self.queue_vote(mask | 1 << position, instance, id, out);
        }
    }

    /// Does what is due for `instance` now: passes the vote on, or decides, or waits.
    #[inline]
    pub(super) fn progress(
        &mut self,
        instance: Instance,
        occasion: Occasion,
        out: &mut impl Outbox,
    ) {
        let Some(position) = self.acceptor.position else { return };
        let (persisted, has_vote) = (self.log.persisted(), self.has_vote());
        if self.acceptor.current < self.acceptor.promised && !Bug::AcceptBelowPromise.is_planted() {
            return;
        }
        let Some(entry) = self.window.entry_mut(instance) else { return };
        let is_too_early = Bug::VoteBeforePersist.is_planted()
            || (Bug::DecisionBeforePersist.is_planted() && self.coordinator.is_leading());
        let may_vote = entry.is_accepted()
            && entry.ballot == self.acceptor.current
            && (entry.lsn <= persisted || is_too_early)
            && has_vote;
        if !may_vote {
            return;
        }
        let mut mask = 1 << position;
        if entry.heard.ballot == entry.ballot && entry.heard.id == entry.id {
            mask |= entry.heard.mask;
        }
        if self.coordinator.is_leading() {
            if mask == full_mask(&self.acceptor.layout) || Bug::QuorumOfOne.is_planted() {
                self.decide(instance);
            }
            return;
        }
        if Bug::FirstHolderAccepted.is_planted() {
            mask |= full_mask(&self.acceptor.layout) >> 1;
        }
        let starts = position == 0 || mask != 1 << position;
        let is_due = match occasion {
            Occasion::First => mask != entry.emitted,
            Occasion::Again => true,
        };
        if starts && is_due {
            entry.emitted = mask;
            let id = entry.id;
            self.queue_vote(mask, instance, id, out);
        }
    }

    /// Planted: votes for what is trimmed here, since it must be decided anyhow.
    pub(super) fn vote_for_trimmed(
        &mut self,
        instance: Instance,
        id: ValueId,
        out: &mut impl Outbox,
    ) {
        if let Some(position) = self.acceptor.position {
            self.queue_vote(1 << position, instance, id, out);
        }
    }

    fn queue_vote(&mut self, mask: u8, instance: Instance, id: ValueId, out: &mut impl Outbox) {
        if !self.acceptor.votes.takes(mask) {
            self.flush_votes(out);
        }
        self.acceptor.votes.push(mask, instance, id);
    }

    /// Sends what was gathered to the ring successor.
    pub(super) fn flush_votes(&mut self, out: &mut impl Outbox) {
        let acceptor = &self.acceptor;
        if acceptor.votes.ranges.is_empty() {
            return;
        }
        let successor = if Bug::FirstHolderAccepted.is_planted() {
            acceptor.layout.coordinator().filter(|coordinator| *coordinator != self.me)
        } else {
            acceptor.position.and_then(|position| acceptor.layout.successor(position))
        };
        if let Some(successor) = successor {
            let accepted = Accepted {
                ballot: acceptor.current,
                mask: u64::from(acceptor.votes.mask),
                slowest: acceptor.positions.slowest_reported(),
                ranges: DecidedRanges::new(&acceptor.votes.ranges),
            };
            self.send(Destination::Node(successor), &Message::Accepted(accepted), out);
        }
        self.acceptor.votes.clear();
    }

    /// The coordinator asks directly: what is held here at its ballot is answered to it alone,
    /// which also shows that this member is not the silent one.
    pub(super) fn answer_coordinator(
        &mut self,
        request: &RepairRequest<'_>,
        out: &mut impl Outbox,
    ) {
        let Some(position) = self.acceptor.position.filter(|_| self.has_vote()) else {
            return;
        };
        let ballot = self.acceptor.current;
        if ballot < self.acceptor.promised {
            return;
        }
        let persisted = self.log.persisted();
        let mut held = std::mem::take(&mut self.ranges);
        held.clear();
        for wanted in request.wanted.iter() {
            let last = wanted.first.0.saturating_add(u64::from(wanted.count));
            for instance in wanted.first.0..last.min(wanted.first.0.saturating_add(64)) {
                if let Some(entry) = self.window.entry(Instance(instance))
                    && entry.is_accepted()
                    && entry.ballot == ballot
                    && entry.lsn <= persisted
                    && held.len() < DecidedRanges::MOST
                {
                    extend(&mut held, Instance(instance), entry.id);
                }
            }
        }
        let accepted = Accepted {
            ballot,
            mask: 1 << position,
            slowest: self.acceptor.positions.slowest_reported(),
            ranges: DecidedRanges::new(&held),
        };
        self.send(Destination::Node(ballot.node), &Message::Accepted(accepted), out);
        self.ranges = held;
    }
}

/// How the coordinator asks a member directly for its vote on `count` instances from `first` on.
pub(super) fn vote_request(first: Instance, count: u32) -> crate::wire::WantedRange {
    crate::wire::WantedRange { first, count, wanted: Wanted::Decision as u32 }
}
