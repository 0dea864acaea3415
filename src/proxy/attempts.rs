//! What time brings: sessions that are not open yet, commands without an answer, deadlines.
//!
//! A look goes round several times an attempt. Commands of a session left in the order of their
//! numbers, so that a session whose oldest command is at its first attempt and in time has none
//! that is overdue: without loss a look costs a few nanoseconds a session, not a command.

use super::completion::{Completion, NotApplied, Outcome};
use super::{Proxy, send, unanswered};
use crate::ring_paxos::Outbox;
use crate::service::GroupMap;
use crate::types::{Sequence, Time};
use crate::wire::{CommandHeader, ControlKind, Reply, Status};
use std::time::Duration;

/// How long a replica is not named again for reads after it has been silent.
const SILENCE: Duration = Duration::from_secs(1);
/// Looks an attempt.
const LOOKS: u32 = 4;
/// Attempts after which the wait no longer doubles.
const DOUBLINGS: u8 = 10;
/// The longest wait, in attempt time-outs.
const LONGEST: u32 = 8;

impl<M: GroupMap> Proxy<M> {
    /// [`Proxy::next_timeout`] has come: opens what is not open, sends again, gives up.
    pub fn on_timeout(
        &mut self,
        now: Time,
        out: &mut impl Outbox,
        mut done: impl FnMut(Completion<'_>),
    ) {
        if self.live(now, out) {
            // Whoever ordered the last commands may be gone, and another one has to order the end.
            return self.rings.ask(now, self.config.attempt_timeout / LOOKS, out);
        }
        if now < self.next_scan {
            return;
        }
        self.next_scan = now + self.rings.shortest_timeout() / LOOKS;
        if self.ready < self.sessions.len() && now >= self.next_opening {
            self.next_opening = now + self.config.attempt_timeout / LOOKS;
            self.open_sessions(now, out);
        }
        let has_strays = self.rings.has_strays();
        for place in 0..self.sessions.len() {
            if has_strays || self.sessions[place].may_be_overdue(now) {
                for sequence in self.sessions[place].open_sequences() {
                    self.look_after(place, sequence, now, out, &mut done);
                }
            }
        }
        self.rings.on_strays_sent(now);
        self.rings.ask(now, self.config.attempt_timeout / LOOKS, out);
    }

    fn open_sessions(&mut self, now: Time, out: &mut impl Outbox) {
        for place in 0..self.sessions.len() {
            let session = &self.sessions[place];
            if session.is_open() {
                continue;
            }
            let resumed = session.resuming.as_ref().map(|resuming| resuming.id);
            let kind = if resumed.is_some() { ControlKind::Resume } else { ControlKind::Open };
            let about = (resumed.unwrap_or_default(), session.opening);
            self.ask(kind, about, out);
        }
        let ring = self.ring_of_all();
        self.rings.on_overdue(ring, now, self.config.attempt_timeout);
    }

    fn look_after(
        &mut self,
        place: usize,
        sequence: Sequence,
        now: Time,
        out: &mut impl Outbox,
        done: &mut impl FnMut(Completion<'_>),
    ) {
        let session = &mut self.sessions[place];
        let (id, lowest) = (session.id, session.lowest);
        let Some(entry) = session.open_entry(sequence) else { return };
        if now.since(entry.submitted) >= self.config.deadline {
            let outcome = if entry.has_left {
                self.counters.unknown += 1;
                Outcome::Unknown
            } else {
                self.counters.overloaded += 1;
                Outcome::NotApplied(NotApplied::Overload)
            };
            let reply = Reply {
                session: id,
                sequence,
                status: Status::Done,
                replica: 0,
                flags: 0,
                payload: &[],
            };
            return self.end(place, &reply, outcome, done);
        }
        let ring = entry.header.groups.ring(self.config.groups);
        let is_overdue = now >= entry.due;
        if entry.is_held {
            // A coordinator that only refuses, and whose ring answers nothing, may be cut off.
            return self.rings.on_overdue(ring, now, self.config.attempt_timeout / 2);
        }
        if !is_overdue && !self.rings.is_astray(ring, entry.sent) {
            return;
        }
        let timeout = self.rings.timeout(ring);
        if is_overdue {
            entry.attempt = entry.attempt.saturating_add(1);
            let replica = entry.header.replica();
            if self.heard[usize::from(replica)] < entry.sent {
                self.silent[usize::from(replica)] = now + SILENCE;
            }
            entry.header.designation = CommandHeader::designate(replica, entry.attempt);
            self.rings.on_silence(ring, now);
        }
        entry.header.unanswered = unanswered(sequence, lowest);
        let doubled = timeout * (1 << entry.attempt.min(DOUBLINGS));
        let patience = doubled.min(self.config.attempt_timeout * LONGEST);
        let jitter = Duration::from_nanos(self.random.below(super::nanos(patience / 4)));
        entry.sent = now;
        entry.due = now + patience + jitter;
        self.counters.retries += 1;
        if self.rings.is_long(&entry.payload) {
            entry.is_held = true;
            self.rings.flow(ring).leave(false);
            self.rings.parts(ring).push(place, sequence);
        } else {
            send(&mut self.rings, ring, entry, out);
        }
        if is_overdue {
            self.rings.on_overdue(ring, now, self.config.attempt_timeout / 2);
        }
    }
}

impl<M> Proxy<M> {
    /// When the proxy wants [`Proxy::on_timeout`] or [`Proxy::flush`] next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let is_waiting = self.open > 0 || !self.is_ready();
        let scan = (is_waiting && !self.is_closing()).then_some(self.next_scan);
        let life = self.lifetime.next_timeout();
        self.rings.next_timeouts().chain(scan).chain(life).min()
    }
}
