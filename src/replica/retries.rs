//! Commands whose safety check failed, until their conservative copy is delivered (PROTOCOL 4).
//!
//! The replica (sequence mod n) multicasts a copy at once and again after every interval; the
//! others after a delay, by when the copy is usually there. Two queues with a constant wait each
//! stay sorted by themselves: no heap.

use crate::types::{Sequence, SessionId, Time};
use crate::wire::{Command, CommandHeader};
use std::collections::VecDeque;
use std::time::Duration;

/// Failed commands of one worker.
#[derive(Debug)]
pub(super) struct Retries {
    /// Multicast by this replica already: due again after the interval.
    sent: VecDeque<Failed>,
    /// Another replica's to send: due after the delay.
    held: VecDeque<Failed>,
    spare: Vec<Vec<u8>>,
    limit: usize,
    interval: Duration,
    delay: Duration,
}

/// Whether a replica has multicast the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It has.
    Now,
    /// It leaves that to another for a while.
    NotYet,
}

#[derive(Debug)]
struct Failed {
    /// Of the conservative copy.
    header: CommandHeader,
    payload: Vec<u8>,
    due: Time,
}

impl Retries {
    pub(super) fn new(limit: usize, interval: Duration, delay: Duration) -> Self {
        Self {
            sent: VecDeque::with_capacity(limit),
            held: VecDeque::with_capacity(limit),
            spare: Vec::with_capacity(limit),
            limit,
            interval,
            delay,
        }
    }

    /// Keeps the conservative copy; says whether there was room.
    pub(super) fn push(&mut self, copy: &Command<'_>, sent: Sent, now: Time) -> bool {
        if self.sent.len() + self.held.len() == self.limit {
            return false;
        }
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.extend_from_slice(copy.payload);
        let (queue, wait) = match sent {
            Sent::Now => (&mut self.sent, self.interval),
            Sent::NotYet => (&mut self.held, self.delay),
        };
        queue.push_back(Failed { header: copy.header, payload, due: now + wait });
        true
    }

    /// Hands what is due to `send`, and forgets what `is_settled`.
    pub(super) fn on_timeout(
        &mut self,
        now: Time,
        is_settled: impl Fn(SessionId, Sequence) -> bool,
        mut send: impl FnMut(&Command<'_>),
    ) {
        for _ in 0..self.sent.len() + self.held.len() {
            let Some(mut failed) = self.pop_due(now) else { break };
            if is_settled(failed.header.session, failed.header.sequence) {
                failed.payload.clear();
                self.spare.push(failed.payload);
                continue;
            }
            send(&Command { header: failed.header, payload: &failed.payload });
            failed.due = now + self.interval;
            self.sent.push_back(failed);
        }
    }

    /// When something is due.
    pub(super) fn next_due(&self) -> Option<Time> {
        [&self.sent, &self.held].into_iter().filter_map(|q| q.front()).map(|f| f.due).min()
    }

    fn pop_due(&mut self, now: Time) -> Option<Failed> {
        [&mut self.sent, &mut self.held]
            .into_iter()
            .find(|queue| queue.front().is_some_and(|failed| failed.due <= now))?
            .pop_front()
    }
}
