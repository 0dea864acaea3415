//! State transfer by datagrams: a window of pieces at a time, asked for by whoever lacks them.
//!
//! The asker sets the pace, so that whoever answers does so in a few microseconds a request and goes
//! on with its work. A peer that does not answer is left for the next one; checkpoints of two
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
}

impl Server {
    pub(super) fn answer(
        &mut self,
        checkpoints: &Checkpoints,
        request: &CheckpointRequest,
        mut send: impl FnMut(&CheckpointPiece<'_>),
    ) {
        let CheckpointRequest { slot, offset, size, count } = *request;
        self.was_asked = true;
        let (slot, mut offset) = match slot {
            // It asks again until a new one is complete.
            CheckpointRequest::LATEST if !checkpoints.serves(Slot(offset)) => return,
            CheckpointRequest::LATEST => (slot, 0),
            _ => (slot, offset),
        };
        if self.serving.as_ref().is_none_or(|serving| serving.slot() != slot) {
            let latest = checkpoints.latest();
            if latest.as_ref().is_none_or(|latest| latest.slot() != slot) {
                offset = 0;
            }
            self.serving = latest;
        }
        let Some(checkpoint) = &self.serving else { return };
        let (slot, length) = (checkpoint.slot(), checkpoint.length());
        let most = u64::from(size.min(PIECE));
        for _ in 0..count.min(WINDOW) {
            // A piece may lie across two of the checkpoint's own.
            let mut whole = Vec::new();
            let end = offset.saturating_add(most).min(length);
            let mut at = offset;
            while at < end {
                let room = usize::try_from(end - at).expect("at most a piece");
                let bytes = checkpoint.read(at, room);
                at += bytes.len() as u64;
                whole.extend_from_slice(bytes);
            }
            if whole.is_empty() {
                return;
            }
            send(&CheckpointPiece { slot, length, offset, bytes: &whole });
            offset = end;
        }
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
