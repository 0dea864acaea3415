//! Commands above a batch, which travel in parts, and replies that arrive in parts.
//!
//! A command of 1 MiB is 130 datagrams: sent at once they overrun the coordinator's socket buffer
//! and its queue, and if one is lost all were in vain. So the parts of a ring's long commands leave
//! one command after the other, a few in flight, each confirmed by the coordinator as soon as it
//! stands in an instance; what is refused, or lost, leaves again alone. A part is lost when three
//! that left after it were confirmed, or after a time-out; the window then halves, and grows again
//! by one for each window of confirmations.

use super::flow::Held;
use super::pause::Pause;
use super::session::{Entry, Joined};
use super::{Proxy, unanswered};
use crate::ring_paxos::Outbox;
use crate::service::GroupMap;
use crate::types::{RingId, Sequence, Time};
use crate::wire::{Chunk, CommandHeader, Mode, Refusal, Refused, Room, fingerprint};
use std::collections::VecDeque;
use std::time::Duration;

/// The longest reply that is joined from parts.
const REPLY_LIMIT: usize = 1 << 20;

/// Bytes in flight, as the kernel charges them: half of a stock socket buffer.
const WINDOW_BYTES: usize = 104 * 1024;
/// Confirmations of later parts that show a part to be lost.
const OVERTAKEN: u64 = 3;

/// How many parts may be in flight: of a datagram the kernel charges twice its size and its own
/// overhead.
const fn most_in_flight(room: Room) -> usize {
    WINDOW_BYTES / (2 * room.datagram() + 1024)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// To be sent.
    Waits,
    /// On its way, as the `order`-th of all.
    Flies { order: u64 },
    /// The coordinator has it.
    Taken,
}

/// The long commands of one ring on their way to its coordinator.
#[derive(Debug)]
pub(super) struct Parts {
    queue: VecDeque<Held>,
    /// Of the first in the queue; empty before it begins.
    parts: Vec<Part>,
    /// The number of the first part's proposal; the others follow.
    first: u64,
    in_flight: usize,
    /// Parts that were ever sent.
    sent: u64,
    /// Where what waits begins, at the earliest.
    from: usize,
    window: usize,
    most: usize,
    /// Confirmations since the window grew.
    confirmed: usize,
    /// When what is in flight counts as lost.
    due: Time,
    pause: Pause,
}

impl Parts {
    pub(super) const fn new(room: Room) -> Self {
        let most = most_in_flight(room);
        Self {
            queue: VecDeque::new(),
            parts: Vec::new(),
            first: 0,
            in_flight: 0,
            sent: 0,
            from: 0,
            window: most,
            most,
            confirmed: 0,
            due: Time::NEVER,
            pause: Pause::new(),
        }
    }

    /// A long command waits for its turn.
    pub(super) fn push(&mut self, place: usize, sequence: Sequence) {
        self.queue.push_back(Held { place, sequence });
    }

    /// When something leaves, or counts as lost.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let has_room = self.in_flight < self.window && self.next().is_some();
        let resumes = (!self.queue.is_empty() && (self.parts.is_empty() || has_room))
            .then(|| self.pause.until());
        let lost = (self.in_flight > 0).then_some(self.due);
        [resumes, lost].into_iter().flatten().min()
    }

    /// The first command is over, or begins anew another time.
    fn leave(&mut self) {
        self.queue.pop_front();
        self.parts.clear();
        self.in_flight = 0;
    }

    /// The first part that waits.
    fn next(&self) -> Option<usize> {
        let waits = self.parts.iter().skip(self.from).position(|part| *part == Part::Waits);
        waits.map(|after| self.from + after)
    }

    /// Whether the coordinator has every part.
    fn is_taken(&self) -> bool {
        self.in_flight == 0 && !self.parts.is_empty() && self.next().is_none()
    }

    /// The part that flies under this number, and its order.
    fn flying(&self, number: u64) -> Option<(usize, u64)> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let Part::Flies { order } = *self.parts.get(index)? else { return None };
        Some((index, order))
    }

    /// The part at `index` is to be sent again.
    fn wait(&mut self, index: usize) {
        self.parts[index] = Part::Waits;
        self.in_flight -= 1;
        self.from = self.from.min(index);
    }

    /// Those in flight for which `is_lost` holds by the order of their leaving.
    fn lose(&mut self, is_lost: impl Fn(u64) -> bool) {
        let before = self.in_flight;
        for index in 0..self.parts.len() {
            if matches!(self.parts[index], Part::Flies { order } if is_lost(order)) {
                self.wait(index);
            }
        }
        if self.in_flight < before {
            self.window = (self.window / 2).max(1);
            self.confirmed = 0;
        }
    }

    fn on_taken(&mut self, number: u64, now: Time, timeout: Duration) {
        let Some((index, order)) = self.flying(number) else { return };
        self.parts[index] = Part::Taken;
        self.in_flight -= 1;
        self.due = now + timeout;
        self.pause.on_answer();
        self.confirmed += 1;
        if self.confirmed >= self.window {
            self.confirmed = 0;
            self.window = (self.window + 1).min(self.most);
        }
        self.lose(|other| other + OVERTAKEN <= order);
    }

    fn on_refused(&mut self, number: u64, now: Time) -> bool {
        let Some((index, _)) = self.flying(number) else { return false };
        self.wait(index);
        if self.pause.is_over(now) {
            self.pause.on_refused(now); // Several were refused at once: that is one pause.
        }
        true
    }
}

impl<M: GroupMap> Proxy<M> {
    /// A proposal stands in an instance of `ring`'s coordinator.
    pub fn on_taken(&mut self, ring: RingId, number: u64, now: Time) {
        if usize::from(ring.0) < self.rings.count() {
            self.rings.on_answer(ring, now, None);
            let timeout = self.rings.timeout(ring);
            self.rings.parts(ring).on_taken(number, now, timeout);
        }
    }

    /// A proposal to `ring` was not taken. With [`Refusal::Full`] its commands leave again as soon
    /// as there is room; otherwise in their time.
    pub fn on_refused(&mut self, ring: RingId, refused: &Refused, now: Time) {
        self.counters.refused += 1;
        if refused.refusal != Refusal::Full || usize::from(ring.0) >= self.rings.count() {
            return;
        }
        if !self.rings.parts(ring).on_refused(refused.number, now) {
            self.refused.push((ring, refused.number));
        }
    }

    /// Sends parts as far as there is room.
    pub(super) fn send_parts(&mut self, now: Time, out: &mut impl Outbox) {
        for ring in (0u16..).map(RingId).take(self.rings.count()) {
            while let Some(&Held { place, sequence }) = self.rings.parts(ring).queue.front() {
                let held = self.sessions[place].held_entry(sequence, ring, self.config.groups);
                let Some((lowest, entry)) = held else {
                    self.rings.parts(ring).leave();
                    continue;
                };
                if self.rings.parts(ring).parts.is_empty() {
                    entry.has_left = true;
                    entry.header.unanswered = unanswered(sequence, lowest);
                }
                self.rings.send_parts(ring, entry, now, out);
                if !self.rings.parts(ring).is_taken() {
                    break;
                }
                let waited = entry.due.since(entry.sent);
                entry.is_held = false;
                (entry.sent, entry.due) = (now, now + waited);
                self.rings.parts(ring).leave();
                self.rings.flow(ring).enter();
            }
        }
    }
}

impl super::rings::Rings {
    /// Sends of one command what waits, as far as there is room.
    fn send_parts(&mut self, ring: RingId, entry: &Entry, now: Time, out: &mut impl Outbox) {
        let room = self.room.command();
        let count = Chunk::count(entry.payload.len(), room);
        let timeout = self.timeout(ring);
        if self.parts(ring).parts.is_empty() {
            let first = self.take_numbers(ring, count as u64);
            let parts = self.parts(ring);
            parts.parts.resize(count, Part::Waits);
            (parts.first, parts.from) = (first, 0);
        }
        let parts = self.parts(ring);
        if parts.in_flight > 0 && now >= parts.due {
            parts.lose(|_| true);
        }
        let mode = entry.header.mode.with(Mode::CHUNK);
        let header = CommandHeader { mode, ..entry.header };
        loop {
            let parts = self.parts(ring);
            if parts.in_flight >= parts.window || !parts.pause.is_over(now) {
                return;
            }
            let Some(index) = parts.next() else { return };
            if parts.in_flight == 0 {
                parts.due = now + timeout;
            }
            parts.sent += 1;
            parts.parts[index] = Part::Flies { order: parts.sent };
            parts.in_flight += 1;
            parts.from = index + 1;
            let proposal = parts.first + index as u64;
            let part = Chunk::cut(&entry.payload, 0, room, index);
            self.propose_part(ring, proposal, &header, part, out);
        }
    }
}

/// Takes in one part of a long reply; the whole if it was the last that was missing.
#[cold]
pub(super) fn join(entry: &mut Entry, payload: &[u8]) -> Option<Vec<u8>> {
    let (head, bytes) = payload.split_at_checked(size_of::<Chunk>())?;
    let chunk: Chunk = bytemuck::pod_read_unaligned(head);
    let (total, parts) = (chunk.total as usize, chunk.parts as usize);
    let (part, offset) = (chunk.part as usize, chunk.offset as usize);
    if total > REPLY_LIMIT || parts > total || part >= parts || offset + bytes.len() > total {
        return None;
    }
    let joined = entry.joined.get_or_insert_with(Box::default);
    let is_same = joined.whole == chunk.whole && joined.bytes.len() == total;
    if !is_same || joined.seen.len() != parts {
        // The reply of another execution of a read that was sent again.
        let (bytes, seen) = (vec![0; total], vec![false; parts]);
        **joined = Joined { whole: chunk.whole, bytes, seen, missing: parts };
    }
    if std::mem::replace(&mut joined.seen[part], true) {
        return None;
    }
    joined.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    joined.missing -= 1;
    if joined.missing > 0 {
        return None;
    }
    let whole = std::mem::take(&mut joined.bytes);
    (fingerprint(&whole) == chunk.whole).then_some(whole)
}
