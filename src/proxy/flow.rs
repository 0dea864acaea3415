//! How much of a ring's commands may be unanswered, learned from refusals.
//!
//! A coordinator refuses a proposal when its queue or the slowest learner's window is full. What it
//! refused was certainly not ordered, so it is held back here and leaves again as answers make
//! room; a wait for the attempt's time-out would stand still for hundreds of milliseconds. The
//! limit starts without bound, falls to what the ring did take when it refuses, and rises by a
//! sixteenth for each limit's worth of answers.

use super::pause::Pause;
use super::{Proxy, send};
use crate::ring_paxos::Outbox;
use crate::service::GroupMap;
use crate::types::{RingId, Sequence, Time};
use std::collections::VecDeque;

/// The lowest limit, in commands.
const LEAST: u32 = 8;
/// The limit rises by one after as many answers.
const ANSWERS: u32 = 16;
/// Held commands that are kept without an allocation.
const READY: usize = 1 << 14;

/// A command that waits for room: session and number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) place: usize,
    pub(super) sequence: Sequence,
}

/// The commands of one ring that are sent or waiting to be.
#[derive(Debug)]
pub(super) struct Flow {
    /// Sent and without an answer.
    in_flight: u32,
    limit: u32,
    /// Answers since the limit rose.
    answers: u32,
    held: VecDeque<Held>,
    pause: Pause,
}

impl Flow {
    /// Of a proxy that has at most `commands` open.
    pub(super) fn new(commands: usize) -> Self {
        Self {
            in_flight: 0,
            limit: u32::MAX,
            answers: 0,
            held: VecDeque::with_capacity(commands.min(READY)),
            pause: Pause::new(),
        }
    }

    /// Whether a new command may leave: then it is in flight.
    #[inline]
    pub(super) fn admit(&mut self) -> bool {
        let is_admitted = self.held.is_empty() && self.in_flight < self.limit;
        self.in_flight += u32::from(is_admitted);
        is_admitted
    }

    /// A command leaves: it is in flight.
    pub(super) const fn enter(&mut self) {
        self.in_flight += 1;
    }

    /// A command that was in flight has come to its end, or goes to another ring.
    #[inline]
    pub(super) fn leave(&mut self, has_answer: bool) {
        self.in_flight -= 1;
        if self.limit == u32::MAX || !has_answer {
            return;
        }
        self.pause.on_answer();
        self.answers += 1;
        if self.answers == ANSWERS {
            self.answers = 0;
            self.limit += 1;
        }
    }

    /// Keeps a command until there is room.
    pub(super) fn hold(&mut self, place: usize, sequence: Sequence) {
        self.held.push_back(Held { place, sequence });
    }

    /// When something held may leave; `None`: answers come first, or nothing is held.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        (!self.held.is_empty() && self.in_flight < self.limit).then(|| self.pause.until())
    }

    /// What may leave at `now`: then it is in flight.
    fn release(&mut self, now: Time) -> Option<Held> {
        if self.in_flight >= self.limit || !self.pause.is_over(now) {
            return None;
        }
        self.held.pop_front()
    }

    /// The ring has refused.
    pub(super) fn on_refused(&mut self, now: Time) {
        self.limit = self.in_flight.max(LEAST);
        self.answers = 0;
        self.pause.on_refused(now);
    }
}

impl<M: GroupMap> Proxy<M> {
    /// Takes back what was refused, and lets go of what is held as far as there is room.
    pub(super) fn flow(&mut self, now: Time, out: &mut impl Outbox) {
        if !self.refused.is_empty() {
            self.take_back(now);
        }
        for ring in (0u16..).map(RingId).take(self.rings.count()) {
            while let Some(Held { place, sequence }) = self.rings.flow(ring).release(now) {
                let held = self.sessions[place].held_entry(sequence, ring, self.config.groups);
                let Some((lowest, entry)) = held else {
                    continue; // It ended meanwhile, or waits for another ring.
                };
                self.rings.flow(ring).enter();
                entry.is_held = false;
                entry.header.unanswered = super::unanswered(sequence, lowest);
                entry.sent = now;
                entry.due = now + self.rings.timeout(ring);
                send(&mut self.rings, ring, entry, out);
            }
        }
    }

    #[cold]
    fn take_back(&mut self, now: Time) {
        self.refused.sort_unstable();
        for place in 0..self.sessions.len() {
            for sequence in self.sessions[place].open_sequences() {
                let Some(entry) = self.sessions[place].open_entry(sequence) else { continue };
                let ring = entry.header.groups.ring(self.config.groups);
                let is_refused = self.refused.binary_search(&(ring, entry.proposal)).is_ok();
                if entry.is_held || !is_refused || self.rings.is_long(&entry.payload) {
                    continue;
                }
                entry.is_held = true;
                let flow = self.rings.flow(ring);
                flow.in_flight -= 1;
                flow.hold(place, sequence);
            }
        }
        self.refused.dedup_by_key(|(ring, _)| *ring);
        for (ring, _) in self.refused.drain(..) {
            self.rings.flow(ring).on_refused(now);
        }
    }
}
