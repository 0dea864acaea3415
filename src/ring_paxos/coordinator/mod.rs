//! The coordinator's side: Phase 1 (`phase1`, `promisers`), proposals and batches (`batch`), what
//! leaves and when (`phase2`), what keeps it all going under loss (`flow`), the end of the log
//! (`reserve`), and what stands in the way (`obstacle`).
//!
//! Instances fall into four runs: decided, in flight, gathered but not sent, and the open batch.
//! Values stand in the acceptor's own window from the moment they are gathered, so a batch is
//! written once.

mod batch;
mod flow;
mod obstacle;
mod phase1;
mod phase2;
mod promisers;
mod reserve;

use super::admission::Petition;
use super::{Instance, RingConfig};
use crate::types::{Ballot, Slot, Time};
use crate::wire::{DecidedRanges, Range};
use batch::Names;
use phase1::Preparing;
use std::time::Duration;

pub use obstacle::Obstacle;

/// Where a member stands as a coordinator.
#[derive(Clone, Debug, Hash)]
enum Phase {
    /// It is none.
    Idle,
    /// Phase 1 of its ballot is under way.
    Preparing(Box<Preparing>),
    /// Phase 1 is complete.
    Leading,
}

/// What a coordinator knows beside its window. Numbers of a former ballot mean nothing.
#[derive(Clone, Debug, Hash)]
pub(super) struct Coordinator {
    phase: Phase,
    /// Its ballot, also while Phase 1 is under way.
    pub(super) ballot: Ballot,
    /// Counts the values of this life.
    values: u64,
    /// Every instance up to here is decided.
    pub(super) decided: Instance,
    /// Every instance up to here was proposed at this ballot.
    sent: Instance,
    /// The last instance with a value of an earlier ballot.
    pub(super) inherited: Instance,
    /// The first instance without a value: there the open batch is gathered.
    next: Instance,
    /// The first slot that no gathered instance takes; the open batch does not count.
    pub(super) slot_next: Slot,
    /// When an instance of the log's reserve was taken last.
    reserve_at: Time,
    /// Until when a proposal that makes room, and was turned away for lack of it, is waited for.
    vital_until: Time,
    /// Bytes of the open batch, and when it was opened.
    open: usize,
    open_since: Time,
    names: Names,
    /// Skips that are not decided yet.
    skips: u32,
    /// Bytes in flight, as the kernel charges them.
    flight_bytes: usize,
    /// Decided, but not yet told; since when.
    news: Vec<Range>,
    news_since: Time,
    heartbeat_at: Time,
    resend_at: Time,
    resend_after: Duration,
    /// When each acceptor was heard last.
    heard: Vec<Time>,
    /// Acceptors without memory that ask to be re-admitted.
    pub(super) admissions: Vec<Petition>,
    /// When the ballot began.
    pub(super) stood_at: Time,
    /// Before this, no fresh ballot is begun for the sake of a silent or amnesiac member.
    pub(super) fresh_at: Time,
    /// How long after a ballot the next re-admission may begin one: grows while they fail.
    pub(super) admission_pause: Duration,
}

impl Coordinator {
    pub(super) fn new(config: &RingConfig) -> Self {
        Self {
            phase: Phase::Idle,
            ballot: Ballot::ZERO,
            values: 0,
            decided: Instance(0),
            sent: Instance(0),
            inherited: Instance(0),
            next: Instance(1),
            slot_next: Slot(0),
            reserve_at: Time::ZERO,
            vital_until: Time::ZERO,
            open: 0,
            open_since: Time::ZERO,
            names: Names::new(config),
            skips: 0,
            flight_bytes: 0,
            news: Vec::with_capacity(DecidedRanges::MOST),
            news_since: Time::ZERO,
            heartbeat_at: Time::ZERO,
            resend_at: Time::NEVER,
            resend_after: config.resend,
            heard: vec![Time::ZERO; config.acceptors.len()],
            admissions: Vec::with_capacity(config.acceptors.len()),
            stood_at: Time::ZERO,
            fresh_at: Time::ZERO,
            admission_pause: config.election_timeout,
        }
    }

    /// Another epoch begins: nobody of it was heard, and nobody has asked for anything.
    pub(super) fn begin_epoch(&mut self, config: &RingConfig, now: Time) {
        self.heard = vec![now; config.acceptors.len()];
        self.admissions.clear();
        self.fresh_at = now;
        self.admission_pause = config.election_timeout / 8;
    }

    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    pub(super) const fn is_preparing(&self) -> bool {
        matches!(self.phase, Phase::Preparing(_))
    }

    pub(super) const fn is_leading(&self) -> bool {
        matches!(self.phase, Phase::Leading)
    }

    /// Something came from acceptor `index`.
    #[inline]
    pub(super) fn note_heard(&mut self, index: Option<usize>, now: Time) {
        if let Some(index) = index {
            self.heard[index] = now;
        }
    }

    /// Instances that were proposed and are not decided.
    const fn in_flight(&self) -> u64 {
        self.sent.0.saturating_sub(self.decided.0)
    }
}
