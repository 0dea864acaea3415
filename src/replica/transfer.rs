//! State transfer by datagrams: a window of pieces at a time, asked for by whoever lacks them.
//!
//! The asker sets the pace, so that whoever answers does so in a few microseconds a request and goes
//! on with its work. That pace is also the most at which anybody is answered, whatever comes under its
//! name: requests are short, and windows are not. A peer that does not answer is left for the next one; checkpoints of two
//! replicas at one marker are the same state in another order of bytes, so there it begins anew.

use super::checkpoint::{Checkpoint, Checkpoints};
use crate::types::{NodeId, Slot, Time};
use crate::wire::{CheckpointPiece, CheckpointRequest, Room};
use std::sync::Arc;
use std::time::Duration;

/// The most bytes of a piece.
const PIECE: u32 = 8 * 1024;
/// Pieces of a window: they fit the smallest socket buffer.
const WINDOW: u32 = 12;
/// The least time between two windows: at most 170 MB/s.
const PACE: Duration = Duration::from_micros(500);
/// How far an asker may be ahead of that pace: one request may have been on its way for longer than
/// the next.
const AHEAD: Duration = Duration::from_micros(2 * 500);
/// Silence after which it asks again.
const PATIENCE: Duration = Duration::from_millis(20);
/// After so many requests without an answer another peer is asked.
const TRIES: u32 = 3;
/// The most bytes of a checkpoint that a replica accepts.
const MOST: u64 = 1 << 40;
/// What it accepts to be told in advance: beyond that, memory is taken as bytes come.
const RESERVED: u64 = 1 << 28;

/// What came of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Nothing that was asked for.
    Unwanted,
    /// It is kept.
    Kept,
    /// It is kept and completes a window: [`super::PsmrWorker::stands_by`] goes on.
    Window,
}

/// How far a checkpoint is on its way here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetching {
    /// Who is asked for it.
    pub from: Option<NodeId>,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes of all of it; 0 while that is not known.
    pub length: u64,
}

/// A checkpoint on its way here.
#[derive(Debug)]
pub(super) struct Fetch {
    /// Bytes of a piece.
    piece: u32,
    /// A checkpoint that is of no use, nor is any before it.
    known: Option<Slot>,
    peer: usize,
    /// Which one, of how many bytes, once that is known.
    found: Option<(Slot, u64)>,
    bytes: Vec<u8>,
    /// Pieces of the window, behind `bytes`, that came out of order.
    early: Vec<(u64, Box<[u8]>)>,
    /// The end of what was asked for.
    asked: u64,
    asked_at: Option<Time>,
    asked_peer: Option<NodeId>,
    heard_at: Time,
    tries: u32,
}

impl Fetch {
    /// Begins, with pieces that fit `room`; the checkpoint at `known` is of no use, nor is any before.
    /// `peer` is asked first.
    pub(super) fn new(room: Room, known: Option<Slot>, peer: usize, now: Time) -> Self {
        let piece = room.body() - CheckpointPiece::FIXED_LENGTH;
        Self {
            piece: u32::try_from(piece).expect("a datagram"),
            known,
            peer,
            found: None,
            bytes: Vec::new(),
            early: Vec::new(),
            asked: 0,
            asked_at: None,
            asked_peer: None,
            heard_at: now,
            tries: 0,
        }
    }

    /// Asks `peers` if it is time to.
    pub(super) fn step(
        &mut self,
        peers: &[NodeId],
        now: Time,
        mut ask: impl FnMut(NodeId, &CheckpointRequest),
    ) {
        if now < self.next_timeout() {
            return;
        }
        if self.is_complete() {
            // It waits for the other workers to stand still.
            self.asked_at = Some(now);
            return;
        }
        if self.asked_at.is_some() && (self.bytes.len() as u64) < self.asked.max(1) {
            self.tries += 1;
            if self.tries.is_multiple_of(TRIES) {
                self.begin_elsewhere();
            }
        }
        let peer = peers[self.peer % peers.len()];
        let mut offset = self.bytes.len() as u64;
        let (slot, length) = self.found.unwrap_or((CheckpointRequest::LATEST, u64::MAX));
        let count = if self.found.is_some() { WINDOW } else { 1 };
        self.asked = offset.saturating_add(u64::from(self.piece * count)).min(length);
        (self.asked_at, self.asked_peer) = (Some(now), Some(peer));
        if slot == CheckpointRequest::LATEST {
            offset = self.known.map_or(0, |known| known.0 + 1);
        }
        ask(peer, &CheckpointRequest { slot, offset, size: self.piece, count });
    }

    /// A piece from `from`.
    pub(super) fn on_piece(
        &mut self,
        from: NodeId,
        piece: &CheckpointPiece<'_>,
        now: Time,
    ) -> Fetched {
        let CheckpointPiece { slot, length, offset, bytes } = *piece;
        let is_asked = self.asked_peer == Some(from) && Some(slot) > self.known;
        if !is_asked || length > MOST || bytes.is_empty() || length == 0 {
            return Fetched::Unwanted;
        }
        if self.found != Some((slot, length)) {
            if offset != 0 {
                return Fetched::Unwanted;
            }
            // The first piece at all, or what the peer has instead of what it had.
            self.found = Some((slot, length));
            self.bytes.clear();
            self.early.clear();
            self.asked = bytes.len() as u64;
            let room = length.min(RESERVED);
            self.bytes.reserve(usize::try_from(room).expect("a few hundred megabytes"));
        }
        let frontier = self.bytes.len() as u64;
        if offset < frontier || offset >= frontier + u64::from(self.piece * WINDOW) {
            return Fetched::Unwanted;
        }
        (self.heard_at, self.tries) = (now, 0);
        if offset > frontier {
            if self.early.len() < WINDOW as usize && self.early.iter().all(|(at, _)| *at != offset)
            {
                self.early.push((offset, bytes.into()));
            }
            return Fetched::Kept;
        }
        self.bytes.extend_from_slice(bytes);
        while let Some(index) =
            self.early.iter().position(|(offset, _)| *offset == self.bytes.len() as u64)
        {
            let (_, bytes) = self.early.swap_remove(index);
            self.bytes.extend_from_slice(&bytes);
        }
        let is_whole = self.bytes.len() as u64 >= self.asked;
        if is_whole { Fetched::Window } else { Fetched::Kept }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.found.is_some_and(|(_, length)| self.bytes.len() as u64 == length)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How far it is.
    pub(super) fn fetching(&self) -> Fetching {
        Fetching {
            from: self.asked_peer,
            bytes: self.bytes.len() as u64,
            length: self.found.map_or(0, |(_, length)| length),
        }
    }

    /// When it asks next.
    pub(super) fn next_timeout(&self) -> Time {
        let Some(asked_at) = self.asked_at else { return Time::ZERO };
        let is_answered = self.bytes.len() as u64 >= self.asked && self.found.is_some();
        if is_answered { asked_at + PACE } else { asked_at.max(self.heard_at) + PATIENCE }
    }

    fn begin_elsewhere(&mut self) {
        self.peer += 1;
        self.found = None;
        self.bytes.clear();
        self.early.clear();
    }
}

/// Answers who fetches a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// The checkpoint that was asked for last: kept until another one is, though a newer may be
    /// complete.
    serving: Option<Arc<Checkpoint>>,
    /// Whether anybody asked since the last one was completed.
    was_asked: bool,
    shares: Shares,
}

/// How much is sent to each asker.
#[derive(Debug, Default)]
struct Shares(Vec<(NodeId, Time)>);

impl Shares {
    /// Whether `asker` may have another piece at `now`; it has, then.
    fn take(&mut self, asker: NodeId, now: Time) -> bool {
        let index = self.0.iter().position(|(known, _)| *known == asker);
        let index = index.unwrap_or_else(|| {
            self.0.push((asker, now));
            self.0.len() - 1
        });
        // The time at which what it has had is due at that pace.
        let due = &mut self.0[index].1;
        let has_share = due.since(now) < AHEAD;
        if has_share {
            *due = (*due).max(now) + PACE / WINDOW;
        }
        has_share
    }
}

impl Server {
    /// Answers a `request` of `from`. Returns how many pieces are not sent, since there is no share
    /// of it left.
    pub(super) fn answer(
        &mut self,
        checkpoints: &Checkpoints,
        (from, request): (NodeId, &CheckpointRequest),
        now: Time,
        mut send: impl FnMut(&CheckpointPiece<'_>),
    ) -> u32 {
        let Some(mut offset) = self.choose(checkpoints, request) else { return 0 };
        let Some(checkpoint) = &self.serving else { return 0 };
        let (slot, length) = (checkpoint.slot(), checkpoint.length());
        let most = u64::from(request.size.min(PIECE));
        for left in (1..=request.count.min(WINDOW)).rev() {
            let end = offset.saturating_add(most).min(length);
            if offset >= end {
                return 0;
            }
            if !self.shares.take(from, now) {
                return left;
            }
            // A piece may lie across two of the checkpoint's own.
            let mut whole = Vec::new();
            let mut at = offset;
            while at < end {
                let room = usize::try_from(end - at).expect("at most a piece");
                let bytes = checkpoint.read(at, room);
                at += bytes.len() as u64;
                whole.extend_from_slice(bytes);
            }
            send(&CheckpointPiece { slot, length, offset, bytes: &whole });
            offset = end;
        }
        0
    }

    /// Serves the checkpoint that is asked for, or what there is instead. Returns where to begin.
    fn choose(&mut self, checkpoints: &Checkpoints, request: &CheckpointRequest) -> Option<u64> {
        self.was_asked = true;
        let CheckpointRequest { slot, mut offset, .. } = *request;
        if slot == CheckpointRequest::LATEST {
            if !checkpoints.serves(Slot(offset)) {
                return None; // It asks again until a new one is complete.
            }
            offset = 0;
        }
        if self.serving.as_ref().is_none_or(|serving| serving.slot() != slot) {
            let latest = checkpoints.latest();
            if latest.as_ref().is_none_or(|latest| latest.slot() != slot) {
                offset = 0;
            }
            self.serving = latest;
        }
        Some(offset)
    }

    /// Another one is complete: lets go of one that nobody has asked for since the last was.
    pub(super) fn on_completed(&mut self, checkpoints: &Checkpoints) {
        if !std::mem::take(&mut self.was_asked)
            && let Some(serving) = self.serving.take()
        {
            checkpoints.release(serving);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asker_is_answered_at_the_pace_of_one_that_asks_as_it_should() {
        let mut shares = Shares::default();
        let mut window = |asker, now| (0..WINDOW).filter(|_| shares.take(asker, now)).count();
        let whole = WINDOW as usize;
        let mut now = Time(1);
        // In good order, and with one request that catches up with the one before it.
        for _ in 0..1000 {
            now = now + PACE;
            assert_eq!(window(NodeId(7), now), whole);
        }
        assert_eq!(window(NodeId(7), now), whole);
        // As fast as somebody can who pays a datagram for twelve: the same ten milliseconds.
        let mut pieces = 0;
        for _ in 0..1000 {
            now = now + PACE / 50;
            pieces += window(NodeId(7), now);
        }
        assert!((whole * 19..=whole * 20 + 1).contains(&pieces), "{pieces} in 20 paces");
        assert_eq!(window(NodeId(8), now), whole, "another one has a share of its own");
    }
}
