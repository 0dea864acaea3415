//! What keeps a ring going: heartbeats, 2As again, votes asked for directly, and a new ring around a
//! member that stays silent.

use super::phase2::batch_charge;
use crate::ring_paxos::member::Member;
use crate::ring_paxos::votes::vote_request;
use crate::ring_paxos::{Destination, Instance, Log, Outbox};
use crate::types::{Bug, Slot, Time};
use crate::wire::{Heartbeat, Message, RepairRequest, WantedRanges};

/// 2As that leave again at once.
const RESENDS: u64 = 8;
/// The longest wait before they leave again, in first waits.
const LONGEST: u32 = 16;

impl<L: Log> Member<L> {
    /// When [`Member::on_coordinator_timeout`] is wanted next.
    pub(in crate::ring_paxos) fn coordinator_timeout(&self) -> Time {
        let coordinator = &self.coordinator;
        let after = |since: Time| since + self.config.batch_delay;
        // A batch that the window or the queue holds back waits for votes, not for time.
        let has_open = coordinator.open > 0
            && coordinator.sent.next() == coordinator.next
            && self.window_admits(batch_charge(coordinator.open));
        let batch = if has_open { after(coordinator.open_since) } else { Time::NEVER };
        let has_news = !coordinator.news.is_empty();
        let news = if has_news { after(coordinator.news_since) } else { Time::NEVER };
        let resend = if coordinator.in_flight() > 0 { coordinator.resend_at } else { Time::NEVER };
        coordinator.heartbeat_at.min(batch).min(news).min(resend)
    }

    /// Heartbeat, and 2As again. [`Member::settle`] follows.
    pub(in crate::ring_paxos) fn on_coordinator_timeout(
        &mut self,
        now: Time,
        out: &mut impl Outbox,
    ) {
        self.heartbeat_if_due(now, out);
        if self.coordinator.in_flight() == 0 || now < self.coordinator.resend_at {
            return;
        }
        if self.has_silent_member(now) && now >= self.coordinator.fresh_at {
            self.coordinator.fresh_at = now + self.config.election_timeout;
            self.counters.new_rings += 1;
            self.stand(now, out);
            return;
        }
        let longest = self.config.resend * LONGEST;
        self.coordinator.resend_after = (self.coordinator.resend_after * 2).min(longest);
        self.coordinator.resend_at = now + self.coordinator.resend_after;
        let first = self.coordinator.decided.next();
        let last = Instance(self.coordinator.sent.0.min(first.0 + RESENDS - 1));
        for instance in first.0..=last.0 {
            let instance = Instance(instance);
            let is_open = self.window.entry(instance).is_some_and(|entry| entry.is_flying);
            if is_open {
                self.counters.resends += 1;
                self.send_accept(instance, out);
            }
        }
        self.ask_for_votes(first, out);
    }

    pub(super) fn heartbeat_if_due(&mut self, now: Time, out: &mut impl Outbox) {
        if now < self.coordinator.heartbeat_at {
            return;
        }
        self.coordinator.heartbeat_at = now + self.config.heartbeat;
        self.vouch_for_itself();
        let (decided, slot) = self.decided_by_this_ballot();
        let heartbeat = Heartbeat {
            ballot: self.coordinator.ballot,
            layout: self.acceptor.layout,
            decided,
            highest: self.acceptor.known.0.max(self.coordinator.decided),
            trim: self.window.trim(),
            slot,
        };
        self.send(Destination::Ring(self.config.ring), &Message::Heartbeat(heartbeat), out);
    }

    /// How far the members of this ballot's ring have decided, and the first slot behind that. More
    /// may be known of ballots before; but who hears of it takes each member to have voted for it, and
    /// one that restarts without such a vote in its log for an old copy (`lives`).
    fn decided_by_this_ballot(&self) -> (Instance, Slot) {
        let (known, slot) = self.acceptor.known;
        let decided = self.coordinator.decided.min(known);
        let repeated = decided.next().0..=known.0;
        let slots = repeated.map(|n| Some(self.window.entry(Instance(n))?.held.slots()));
        let slots: Option<u64> = slots.sum();
        let first = slots.and_then(|slots| slot.0.checked_sub(slots));
        // All that the ballot has inherited is in the window.
        debug_assert!(first.is_some() || Bug::is_any_planted(), "{known} is not held");
        first.map_or((known, slot), |first| (decided, Slot(first)))
    }

    /// Each member answers for itself, which shows who is silent.
    fn ask_for_votes(&self, first: Instance, out: &mut impl Outbox) {
        let count = u32::try_from(self.coordinator.in_flight().min(64)).expect("at most 64");
        let wanted = [vote_request(first, count)];
        let request = RepairRequest { wanted: WantedRanges::new(&wanted) };
        for member in self.acceptor.layout.members().iter().filter(|member| **member != self.me) {
            self.send(Destination::Node(*member), &Message::RepairRequest(request), out);
        }
    }

    /// Whether a member of the ring was not heard for so long that a spare had better take its
    /// place.
    fn has_silent_member(&self, now: Time) -> bool {
        let patience = self.config.election_timeout;
        let mut members = self.acceptor.layout.members().iter();
        members.any(|member| {
            let index = self.config.index(*member).filter(|index| *index != self.index);
            index.is_some_and(|index| now.since(self.coordinator.heard[index]) > patience)
        })
    }
}
