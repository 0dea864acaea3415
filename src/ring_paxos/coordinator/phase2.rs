//! Phase 2: 2As leave as the window allows, votes come home, decisions ride on the next 2A.
//!
//! Everything leaves from [`Member::settle`], at the end of a duty cycle or of a time-out, so that
//! what came in one cycle shares datagrams.

use crate::ring_paxos::member::Member;
use crate::ring_paxos::votes::{Occasion, extend};
use crate::ring_paxos::window::Held;
use crate::ring_paxos::{Destination, Instance, Log, Outbox};
use crate::types::Time;
use crate::wire::{Accept, DecidedRanges, Decision, Message, Range};

/// Decided ranges in one Decision.
pub(super) const DECISION_RANGES: usize = 64;
/// Those that ride on a 2A, within what a datagram leaves beside the batch.
const RIDING_RANGES: usize = 8;

impl<L: Log> Member<L> {
    /// Every member of the ring holds the value of `instance`: it is decided.
    #[inline]
    pub(in crate::ring_paxos) fn decide(&mut self, instance: Instance) {
        let entry = self.window.entry_mut(instance).expect("a vote is of a held instance");
        if entry.is_flying {
            entry.is_flying = false;
            let charge = charge(entry.held);
            self.coordinator.flight_bytes -= charge;
            self.coordinator.skips -= u32::from(
                matches!(entry.held, Held::Skip(_)) && instance > self.coordinator.inherited,
            );
        }
        if entry.chosen == entry.id && instance <= self.coordinator.decided {
            return;
        }
        let is_new = entry.chosen != entry.id;
        entry.chosen = entry.id;
        let id = entry.id;
        self.counters.instances += u64::from(is_new);
        if is_new {
            extend(&mut self.coordinator.news, instance, id);
        }
    }

    /// The end of a duty cycle at a coordinator: counts what was decided, sends what may leave.
    pub(in crate::ring_paxos) fn settle(&mut self, now: Time, out: &mut impl Outbox) {
        let before = self.coordinator.decided;
        while let Some(entry) = self.window.entry(self.coordinator.decided.next())
            && entry.is_decided()
            && entry.ballot == self.coordinator.ballot
        {
            self.coordinator.decided = self.coordinator.decided.next();
        }
        if self.coordinator.decided > before {
            self.coordinator.resend_after = self.config.resend;
            self.coordinator.resend_at = now + self.config.resend;
        }
        self.advance_known();
        self.update_trim();
        // What all learners have applied while this ballot began need not be proposed again.
        let trim = self.window.trim();
        self.coordinator.sent = self.coordinator.sent.max(trim);
        self.coordinator.decided = self.coordinator.decided.max(trim);
        self.send_waiting(now, out);
        self.send_news(now, out);
    }

    /// Sends what waits, as far as the window in bytes allows.
    fn send_waiting(&mut self, now: Time, out: &mut impl Outbox) {
        loop {
            let is_idle = self.coordinator.in_flight() == 0;
            let instance = self.coordinator.sent.next();
            if instance == self.coordinator.next {
                // Only the open batch is left: at once when nothing is in flight (rule 9).
                let is_late = now >= self.coordinator.open_since + self.config.batch_delay;
                if self.coordinator.open == 0 || !(is_idle || is_late) {
                    return;
                }
                self.seal();
            }
            let entry = self.window.entry(instance).expect("what is gathered is in the window");
            let charge = charge(entry.held);
            if !is_idle && self.coordinator.flight_bytes + charge > self.config.window_bytes {
                return;
            }
            self.propose(instance, charge, now, out);
        }
    }

    /// Sends the 2A of `instance` for the first time at this ballot, and accepts it here.
    fn propose(&mut self, instance: Instance, charge: usize, now: Time, out: &mut impl Outbox) {
        if self.coordinator.in_flight() == 0 {
            self.coordinator.resend_after = self.config.resend;
            self.coordinator.resend_at = now + self.config.resend;
        }
        self.coordinator.sent = instance;
        self.window.accept_held(instance, self.coordinator.ballot);
        let is_open = instance > self.coordinator.decided;
        let entry = self.window.entry_mut(instance).expect("just accepted");
        entry.is_flying = is_open;
        self.coordinator.flight_bytes += if is_open { charge } else { 0 };
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
        let is_full = self.coordinator.news.len() >= DECISION_RANGES;
        if self.coordinator.in_flight() > 0 && !is_late && !is_full {
            return;
        }
        let mut news: Vec<Range> = std::mem::take(&mut self.coordinator.news);
        for ranges in news.chunks(DECISION_RANGES) {
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

/// What an instance costs of the window: a socket buffer is charged about twice the payload.
pub(super) const fn charge(held: Held) -> usize {
    let length = if let Held::Batch(length) = held { length as usize } else { 0 };
    2 * length + 1024
}
