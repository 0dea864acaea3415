//! Commands whose safety check failed, until their conservative copy is delivered (PROTOCOL 4).
//!
//! The replica (sequence mod n) multicasts a copy at once and again after an interval that doubles;
//! the others after a delay, by when the copy is usually there. The doubling matters: where g_all
//! is slower than the interval, copies that come faster than they execute would only make it worse
//! (a bank of five groups never came to rest). A queue for each wait stays sorted by itself: no
//! heap.

use crate::types::{Sequence, SessionId, Time};
use crate::wire::{Command, CommandHeader};
use std::collections::VecDeque;
use std::time::Duration;

/// Intervals up to 2^5 times the first.
const DOUBLINGS: usize = 6;

/// Failed commands of one worker.
#[derive(Debug)]
pub(super) struct Retries {
    /// Another replica's to send: due after the delay.
    held: VecDeque<Failed>,
    /// Multicast by this replica once, twice, ..: due again after the interval, twice that, ..
    sent: [VecDeque<Failed>; DOUBLINGS],
    spare: Vec<Vec<u8>>,
    kept: usize,
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

/// Buffers for payloads, so that the usual ones are kept without an allocation.
fn spare(limit: usize) -> Vec<Vec<u8>> {
    const READY: usize = 256;
    const PAYLOAD: usize = 64;
    let mut spare = Vec::with_capacity(limit);
    spare.extend((0..limit.min(READY)).map(|_| Vec::with_capacity(PAYLOAD)));
    spare
}

impl Retries {
    pub(super) fn new(limit: usize, interval: Duration, delay: Duration) -> Self {
        let queue = || VecDeque::with_capacity(limit);
        Self {
            held: queue(),
            sent: std::array::from_fn(|_| queue()),
            spare: spare(limit),
            kept: 0,
            limit,
            interval,
            delay,
        }
    }

    /// Keeps the conservative copy; says whether there was room.
    pub(super) fn push(&mut self, copy: &Command<'_>, sent: Sent, now: Time) -> bool {
        if self.kept == self.limit {
            return false;
        }
        self.kept += 1;
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.extend_from_slice(copy.payload);
        let (queue, wait) = match sent {
            Sent::Now => (&mut self.sent[0], self.interval),
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
        for _ in 0..self.kept {
            let Some((mut failed, doublings)) = self.pop_due(now) else { break };
            if is_settled(failed.header.session, failed.header.sequence) {
                failed.payload.clear();
                self.spare.push(failed.payload);
                self.kept -= 1;
                continue;
            }
            send(&Command { header: failed.header, payload: &failed.payload });
            failed.due = now + self.interval * (1 << doublings);
            self.sent[doublings].push_back(failed);
        }
    }

    /// Forgets all of them: their replica begins elsewhere in the order.
    pub(super) fn clear(&mut self) {
        for queue in std::iter::once(&mut self.held).chain(&mut self.sent) {
            queue.clear();
        }
        self.kept = 0;
    }

    /// When something is due.
    pub(super) fn next_due(&self) -> Option<Time> {
        if self.kept == 0 {
            return None;
        }
        let queues = std::iter::once(&self.held).chain(&self.sent);
        queues.filter_map(|queue| queue.front()).map(|failed| failed.due).min()
    }

    /// Something that is due, and how often its interval will have doubled when it is sent.
    fn pop_due(&mut self, now: Time) -> Option<(Failed, usize)> {
        let queues = std::iter::once(&mut self.held).chain(&mut self.sent);
        let is_due = |queue: &VecDeque<Failed>| queue.front().is_some_and(|f| f.due <= now);
        let (doublings, queue) = queues.enumerate().find(|(_, queue)| is_due(queue))?;
        Some((queue.pop_front()?, doublings.min(DOUBLINGS - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    /// When the copies of one command leave until 2 s are over.
    fn times(sent: Sent, settled_at: u64) -> Vec<u64> {
        let ms = Duration::from_millis;
        let mut retries = Retries::new(1, ms(20), ms(50));
        let copy = Command::default();
        assert!(retries.push(&copy, sent, Time::ZERO) && !retries.push(&copy, sent, Time::ZERO));
        let mut times = Vec::new();
        for now in 0..2000 {
            if retries.next_due().is_some_and(|due| due <= after(now)) {
                retries.on_timeout(after(now), |_, _| now >= settled_at, |_| times.push(now));
            }
        }
        assert_eq!(retries.next_due().is_none(), settled_at < 2000);
        times
    }

    #[test]
    fn a_command_is_repeated_at_doubling_intervals_until_it_is_settled() {
        assert_eq!(times(Sent::Now, 5000), [20, 60, 140, 300, 620, 1260, 1900]);
        assert_eq!(times(Sent::NotYet, 5000), [50, 70, 110, 190, 350, 670, 1310, 1950]);
        assert_eq!(times(Sent::Now, 100), [20, 60]);
        assert!(times(Sent::NotYet, 40).is_empty());
    }
}
