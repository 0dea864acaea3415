//! Phase 2: 2As leave as the window allows, votes come home, decisions ride on the next 2A.
//!
//! Everything leaves from [`Member::settle`], at the end of a duty cycle or of a time-out, so that
//! what came in one cycle shares datagrams.

use crate::ring_paxos::member::Member;
use crate::ring_paxos::votes::{Occasion, extend};
use crate::ring_paxos::window::Held;
use crate::ring_paxos::{Destination, Instance, Log, Outbox};
use crate::types::{Bug, Time, ValueId};
use crate::wire::{Accept, DecidedRanges, Decision, Message, Range};

/// Those that ride on a 2A, within what a datagram leaves beside the batch.
const RIDING_RANGES: usize = 8;

impl<L: Log> Member<L> {
    /// Every member of the ring holds the value of `instance`: it is decided.
    #[inline]
    pub(in crate::ring_paxos) fn decide(&mut self, instance: Instance) {
        let entry = self.window.entry_mut(instance).expect("a vote is of a held instance");
        if !entry.is_flying {
            return;
        }
        debug_assert!(
            entry.chosen == ValueId::NONE || entry.chosen == entry.id || Bug::is_any_planted(),
            "two values decided at {instance}"
        );
        entry.is_flying = false;
        entry.chosen = entry.id;
        let (id, held) = (entry.id, entry.held);
        self.coordinator.flight_bytes -= charge(held);
        self.coordinator.skips -=
            u32::from(matches!(held, Held::Skip(_)) && instance > self.coordinator.inherited);
        self.counters.instances += 1;
        extend(&mut self.coordinator.news, instance, id);
    }

    /// The end of a duty cycle: a coordinator counts what was decided and sends what may leave. Who
    /// has just begun a ballot of its own proposes nothing before Phase 1 is complete (rule 5).
    pub(in crate::ring_paxos) fn settle(&mut self, now: Time, out: &mut impl Outbox) {
        if !self.coordinator.is_leading() {
            return;
        }
        self.count_decided(now);
        self.advance_known();
        self.update_trim(now);
        self.send_waiting(now, out);
        self.count_decided(now); // alone in the ring, what left is decided already
        self.send_news(now, out);
    }

    /// Every instance up to `decided` is decided.
    fn count_decided(&mut self, now: Time) {
        let before = self.coordinator.decided;
        while let Some(entry) = self.window.entry(self.coordinator.decided.next())
            && entry.is_decided()
            && entry.ballot == self.coordinator.ballot
            && !entry.is_flying
        {
            self.coordinator.decided = self.coordinator.decided.next();
        }
        if self.coordinator.decided > before {
            self.coordinator.resend_after = self.config.resend;
            self.coordinator.resend_at = now + self.config.resend;
        }
    }

    /// Sends what waits, as far as the window in bytes allows.
    fn send_waiting(&mut self, now: Time, out: &mut impl Outbox) {
        loop {
            let is_idle = self.coordinator.in_flight() == 0;
            let instance = self.coordinator.sent.next();
            if instance == self.coordinator.next {
                // Only the open batch is left: at once when nothing is in flight (rule 9).
                let is_late = now >= self.coordinator.open_since + self.config.batch_delay;
                let is_due = self.coordinator.open > 0 && (is_idle || is_late);
                if !is_due || !self.window_admits(batch_charge(self.coordinator.open)) {
                    return; // what the window holds back goes on growing
                }
                self.seal();
            }
            let entry = self.window.entry(instance).expect("what is gathered is in the window");
            let charge = charge(entry.held);
            if !self.window_admits(charge) {
                return;
            }
            self.propose(instance, charge, now, out);
        }
    }

    /// Whether the window takes an instance that is charged `charge`; alone, it always does.
    pub(super) const fn window_admits(&self, charge: usize) -> bool {
        self.coordinator.in_flight() == 0
            || self.coordinator.flight_bytes + charge <= self.config.window_bytes
    }

    /// Sends the 2A of `instance` for the first time at this ballot, and accepts it here.
    fn propose(&mut self, instance: Instance, charge: usize, now: Time, out: &mut impl Outbox) {
        if self.coordinator.in_flight() == 0 {
            self.coordinator.resend_after = self.config.resend;
            self.coordinator.resend_at = now + self.config.resend;
        }
        self.coordinator.sent = instance;
        self.window.accept_held(instance, self.coordinator.ballot);
        let entry = self.window.entry_mut(instance).expect("just accepted");
        entry.is_flying = true;
        self.coordinator.flight_bytes += charge;
        // The 2A leaves before the own record is persistent; the own vote does not (rule 4).
        self.log_accept(instance);
        self.send_accept(instance, out);
        self.progress(instance, Occasion::First, out);
    }

    /// Multicasts the 2A of `instance`, with what was decided since the last one.
    pub(super) fn send_accept(&mut self, instance: Instance, out: &mut impl Outbox) {
        let riding = self.coordinator.news.len().min(RIDING_RANGES);
        let entry = self.window.entry(instance).expect("what is proposed is held");
        let accept = Accept {
            instance,
            ballot: self.coordinator.ballot,
            id: entry.id,
            layout: self.acceptor.layout,
            decided: self.coordinator.decided,
            trim: self.window.trim(),
            decisions: DecidedRanges::new(&self.coordinator.news[..riding]),
            value: self.window.value(instance).expect("what is proposed is held"),
        };
        self.send(Destination::Ring(self.config.ring), &Message::Accept(accept), out);
        self.coordinator.news.drain(..riding);
    }

    /// Decisions for which no 2A left: at once when nothing is in flight, or after their delay.
    fn send_news(&mut self, now: Time, out: &mut impl Outbox) {
        if self.coordinator.news.is_empty() {
            self.coordinator.news_since = Time::NEVER;
            return;
        }
        self.coordinator.news_since = self.coordinator.news_since.min(now);
        let is_late = now >= self.coordinator.news_since + self.config.batch_delay;
        let is_full = self.coordinator.news.len() >= DecidedRanges::MOST;
        if self.coordinator.in_flight() > 0 && !is_late && !is_full {
            return;
        }
        let mut news: Vec<Range> = std::mem::take(&mut self.coordinator.news);
        for ranges in news.chunks(DecidedRanges::MOST) {
            let decision = Decision {
                ballot: self.coordinator.ballot,
                decided: self.coordinator.decided,
                trim: self.window.trim(),
                ranges: DecidedRanges::new(ranges),
            };
            self.send(Destination::Ring(self.config.ring), &Message::Decision(decision), out);
        }
        news.clear();
        self.coordinator.news = news;
        self.coordinator.news_since = Time::NEVER;
    }
}

/// What an instance costs of the window.
fn charge(held: Held) -> usize {
    batch_charge(held.length())
}

/// What `length` bytes cost: a socket buffer is charged about twice the payload.
pub(super) const fn batch_charge(length: usize) -> usize {
    2 * length + 1024
}
