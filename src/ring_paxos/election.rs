//! Who stands for coordinator, and when (rule 10).
//!
//! The acceptor of rank r stands when it heard no coordinator of a ballot at or above its promise
//! for T + r * T/2. Whatever a coordinator sends counts as its heartbeat. A member that was paused
//! itself first listens again: its own silence says nothing about the coordinator.

use super::member::{Member, Memory};
use super::{Instance, Log, Outbox, RingConfig};
use crate::types::{Ballot, Time};
use std::time::Duration;

/// When this member last heard a coordinator, and when it stops waiting for one.
#[derive(Clone, Debug, Hash)]
pub(super) struct Election {
    /// The highest ballot heard of, promised or not.
    pub(super) seen: Ballot,
    /// When time-outs are looked at next.
    pub(super) tick_at: Time,
    /// Before this, no sender of a stale ballot is told so.
    pub(super) rebuke_at: Time,
    stand_at: Time,
    patience: Duration,
    tick: Duration,
    random: u64,
}

impl Election {
    pub(super) fn new(
        config: &RingConfig,
        index: usize,
        memory: Memory,
        seed: u64,
        now: Time,
    ) -> Self {
        let rank = config.rank(index);
        let patience = config.election_timeout + config.election_timeout / 2 * rank;
        let tick = config.election_timeout / 8;
        let stands_at_once = rank == 0 && memory == Memory::Fresh;
        let asks_at_once = config.former_lives.are_kept() && memory != Memory::Fresh;
        Self {
            seen: Ballot::ZERO,
            tick_at: if stands_at_once || asks_at_once { now } else { now + tick },
            rebuke_at: Time::ZERO,
            stand_at: if stands_at_once { now } else { now + patience },
            patience,
            tick,
            random: seed,
        }
    }

    /// Another epoch begins, in which this member is acceptor `index`: its coordinator has to begin
    /// anew, as after its end.
    pub(super) fn begin_epoch(&mut self, config: &RingConfig, index: usize, now: Time) {
        let rank = config.rank(index);
        self.patience = config.election_timeout + config.election_timeout / 2 * rank;
        self.stand_at = now + self.patience;
    }

    /// This member stands as soon as it has a vote.
    pub(super) const fn wait_no_more(&mut self, now: Time) {
        self.stand_at = now;
    }

    /// The ring begins with all acceptors at once: the first of them coordinates.
    pub(super) fn begin(&mut self, rank: u32, now: Time) {
        self.stand_at = if rank == 0 { now } else { now + self.patience };
        self.tick_at = now.min(self.tick_at);
    }

    /// A coordinator or candidate of `ballot` is alive.
    #[inline]
    pub(super) fn hear(&mut self, ballot: Ballot, now: Time) {
        self.seen = self.seen.max(ballot);
        self.stand_at = now + self.patience;
    }

    /// Whether no coordinator was heard for as long as this member waits for one.
    pub(super) fn is_silent(&self, now: Time) -> bool {
        now >= self.stand_at
    }

    /// The time-out starts again, a little longer or shorter than the last.
    fn restart(&mut self, now: Time) {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let spread = u64::try_from(self.tick.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.stand_at = now + self.patience + Duration::from_nanos(z % spread);
    }
}

impl<L: Log> Member<L> {
    /// Someone says that a ballot above ours is promised.
    pub(super) fn on_redirect(&mut self, ballot: Ballot, now: Time) {
        self.election.seen = self.election.seen.max(ballot);
        self.step_down_below(ballot, now);
    }

    /// Gives up candidacy or coordination if `ballot` is above ours.
    #[inline]
    pub(super) fn step_down_below(&mut self, ballot: Ballot, now: Time) {
        if !self.coordinator.is_idle() && ballot > self.coordinator.ballot {
            let has_waited = self.waits_for_more();
            self.counters.step_downs += 1;
            self.retire();
            self.election.restart(now);
            if has_waited {
                // The other one may have to wait as long for more promises, out of hearing: two that
                // stand again before that would hinder each other for ever.
                self.election.stand_at = self.election.stand_at + self.config.election_timeout * 4;
            }
        }
    }

    /// Looks at the time since a coordinator was heard.
    pub(super) fn on_election_timeout(&mut self, now: Time, out: &mut impl Outbox) {
        if now < self.election.tick_at {
            return;
        }
        let was_paused = now.since(self.election.tick_at) > self.election.patience / 2;
        self.election.tick_at = now + self.election.tick;
        if self.coordinator.is_preparing() {
            self.count_round();
            self.prepare_again(out);
            self.check_promises(now, out);
            return;
        }
        self.declare_birth(out);
        self.inquire(now, out);
        if self.coordinator.is_leading() || !self.has_vote() {
            return;
        }
        if was_paused {
            self.election.stand_at =
                self.election.stand_at.max(now + self.config.election_timeout / 2);
        } else if now >= self.election.stand_at {
            self.stand(now, out);
        }
    }

    /// The first instance that a Prepare of this member asks about.
    pub(super) const fn first_open(&self) -> Instance {
        self.window.trim().next()
    }
}
