//! Forgetting what no learner needs any more.
//!
//! A learner reports to its preferential acceptor, which passes the report to the coordinator.
//! The coordinator's trim mark rides on all that it multicasts. Without configured learners half
//! the log is kept. Without checkpoints a ring waits for all learners; with them it waits for those
//! that it hears of, and keeps what is not in enough checkpoints yet: see [`Retention`].

use super::member::Member;
use super::{Destination, Instance, Log, Outbox, Record, Retention, RingConfig};
use crate::types::{NodeId, Time};
use crate::wire::{Message, Position};

/// How far one learner is.
#[derive(Clone, Copy, Debug, Hash)]
struct Report {
    position: Position,
    /// What of it was passed on, and whether it was repeated since.
    relayed: Instance,
    is_fresh: bool,
    heard_at: Time,
}

impl Report {
    /// Whether the learner has not passed yet what was decided when it began.
    fn catches_up(&self) -> bool {
        self.position.applied > self.position.needed
    }
}

/// What a log has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogRoom {
    Plenty,
    /// Half of it is used.
    Half,
    /// Before long, commands are refused.
    Little,
}

impl LogRoom {
    const fn of(used: u64, instances: u64) -> Self {
        match used {
            _ if used < instances / 2 => Self::Plenty,
            _ if used < instances / 4 * 3 => Self::Half,
            _ => Self::Little,
        }
    }
}

/// How far the learners are, as far as this acceptor knows.
#[derive(Clone, Debug, Hash)]
pub(super) struct Positions {
    reports: Vec<Report>,
    expected: usize,
    retention: Retention,
    /// Whether enough of them were heard, when it was looked last, for checkpoints to be forgotten by.
    pub(super) can_trim: bool,
    /// The lowest applied instance of the learners that count, when it was looked at last.
    slowest: Option<Instance>,
}

impl Positions {
    pub(super) fn new(config: &RingConfig) -> Self {
        Self {
            reports: Vec::with_capacity(config.learners),
            expected: config.learners,
            retention: config.retention,
            can_trim: false,
            slowest: None,
        }
    }

    /// Takes a report; the learner's entry, unless more learners report than are configured.
    fn take(&mut self, position: &Position, now: Time) -> Option<&mut Report> {
        let index = self.reports.iter().position(|r| r.position.learner == position.learner);
        let index = match index {
            Some(index) => index,
            None if self.reports.len() < self.expected => {
                self.reports.push(Report {
                    position: *position,
                    relayed: Instance(0),
                    is_fresh: true,
                    heard_at: now,
                });
                self.reports.len() - 1
            }
            None => return None,
        };
        let report = &mut self.reports[index];
        (report.heard_at, report.is_fresh) = (now, true);
        if self.retention == Retention::Applied {
            let known = &mut report.position;
            known.applied = known.applied.max(position.applied);
        } else {
            // One that was restored begins anew.
            report.position = *position;
        }
        Some(report)
    }

    /// The lowest applied instance of all learners that count, once that is known: nothing is
    /// proposed far beyond it.
    pub(super) const fn slowest(&self) -> Option<Instance> {
        self.slowest
    }

    /// The lowest applied instance of those that have reported; 0 if none has.
    pub(super) fn slowest_reported(&self) -> Instance {
        self.reports.iter().map(|report| report.position.applied).min().unwrap_or_default()
    }

    /// Looks who counts, for a coordinator that has been one `since`: what all of them have applied,
    /// and up to where nothing is needed. `room` is what the log has left.
    fn survey(&mut self, (since, now): (Time, Time), room: LogRoom) -> Option<Instance> {
        let Retention::Checkpoints { copies, is_strict, patience } = self.retention else {
            let applied = self.reports.iter().map(|report| report.position.applied).min();
            self.slowest = applied.filter(|_| self.reports.len() >= self.expected);
            return self.slowest;
        };
        let is_heard = |at: Time| now.since(at) <= patience;
        // What others reported to an earlier coordinator says nothing of now.
        let fresh = self.reports.iter().filter(|report| report.heard_at >= since);
        if fresh.count() < self.expected && is_heard(since) {
            return None; // Others may be there that have not been heard yet.
        }
        let members = || self.reports.iter().filter(|report| is_heard(report.heard_at));
        self.can_trim = members().count() >= copies;
        self.slowest = members().map(|report| report.position.applied).min();
        if members().all(Report::catches_up) {
            return None; // The state may be with somebody who is silent just now.
        }
        // The ring does not wait for who catches up: it comes back by a later checkpoint.
        let counts = |report: &&Report| room != LogRoom::Little || !report.catches_up();
        let needed = members().filter(counts).map(|report| report.position.needed).min()?;
        if room != LogRoom::Plenty && !is_strict {
            return Some(needed);
        }
        // The highest instance that is in so many checkpoints: there are few learners.
        let held = |instance: &Instance| {
            let copy = |report: &&Report| report.position.checkpointed >= *instance;
            members().filter(copy).count() >= copies
        };
        let kept = members().map(|report| report.position.checkpointed).filter(held).max()?;
        Some(kept.min(needed))
    }
}

impl<L: Log> Member<L> {
    /// A learner's progress, from itself or passed on by its preferential acceptor.
    pub(super) fn on_position(&mut self, position: &Position, now: Time, out: &mut impl Outbox) {
        let stride = self.config.instances as u64 / 16;
        let coordinator = self.acceptor.current.node;
        let is_known = self.acceptor.current != crate::types::Ballot::ZERO;
        let is_leading = self.coordinator.is_leading();
        let Some(report) = self.acceptor.positions.take(position, now) else { return };
        let is_due = report.position.applied.0 >= report.relayed.0 + stride;
        if !is_leading && is_known && is_due {
            (report.relayed, report.is_fresh) = (report.position.applied, false);
            let message = Message::Position(report.position);
            self.send(Destination::Node(coordinator), &message, out);
        }
    }

    /// Passes on what the coordinator may not have heard, a new one or after a loss.
    pub(super) fn relay_positions(&mut self, coordinator: NodeId, out: &mut impl Outbox) {
        for index in 0..self.acceptor.positions.reports.len() {
            let keeps_silent = self.config.retention != Retention::Applied;
            let report = &mut self.acceptor.positions.reports[index];
            // Who is silent must not seem to speak.
            if keeps_silent && !report.is_fresh {
                continue;
            }
            (report.relayed, report.is_fresh) = (report.position.applied, false);
            let message = Message::Position(report.position);
            self.send(Destination::Node(coordinator), &message, out);
        }
    }

    /// Forgets everything up to `trim`, which a coordinator says is safe.
    pub(super) fn trim_to(&mut self, trim: Instance) {
        // What a new coordinator needs to count slots is never forgotten: a mark beyond what is known
        // here waits for the next heartbeat.
        self.advance_known();
        let trim = trim.min(self.acceptor.known.0);
        if trim <= self.window.trim() {
            return;
        }
        self.note_members(); // it may be forgotten now
        self.window.set_trim(trim);
        let stride = self.config.instances as u64 / 8;
        if trim.0 >= self.acceptor.logged_trim.0 + stride {
            self.log_trim();
        }
    }

    /// Writes how far the log is forgotten.
    pub(super) fn log_trim(&mut self) {
        let trim = self.window.trim();
        self.log.append(&Record::Trim { trim, known: self.acceptor.known });
        self.acceptor.logged_trim = trim;
    }

    /// At the coordinator: raises the trim mark as far as the learners allow.
    pub(super) fn update_trim(&mut self, now: Time) {
        let decided = self.coordinator.decided;
        let safe = if self.config.learners == 0 {
            Instance(decided.0.saturating_sub(self.config.instances as u64 / 2))
        } else {
            let used = decided.0.saturating_sub(self.window.trim().0);
            let times = (self.coordinator.stood_at, now);
            let room = LogRoom::of(used, self.config.instances as u64);
            let safe = self.acceptor.positions.survey(times, room);
            safe.unwrap_or_default().min(decided)
        };
        self.trim_to(safe);
    }
}
