//! Forgetting: everything up to the lowest applied instance of all configured learners.
//!
//! A learner reports to its preferential acceptor, which passes the report to the coordinator.
//! The coordinator's trim mark rides on all that it multicasts. Without configured learners half
//! the log is kept.

use super::member::Member;
use super::{Destination, Instance, Log, Outbox, Record};
use crate::types::NodeId;
use crate::wire::{Message, Position};

/// How far one learner is.
#[derive(Clone, Copy, Debug)]
struct Report {
    position: Position,
    /// What of it was passed on.
    relayed: Instance,
}

/// How far the learners are, as far as this acceptor knows.
#[derive(Debug)]
pub(super) struct Positions {
    reports: Vec<Report>,
    expected: usize,
}

impl Positions {
    pub(super) fn new(expected: usize) -> Self {
        Self { reports: Vec::with_capacity(expected), expected }
    }

    /// Takes a report; the learner's entry, unless more learners report than are configured.
    fn take(&mut self, position: &Position) -> Option<&mut Report> {
        let index = self.reports.iter().position(|r| r.position.learner == position.learner);
        let index = match index {
            Some(index) => index,
            None if self.reports.len() < self.expected => {
                self.reports.push(Report { position: *position, relayed: Instance(0) });
                self.reports.len() - 1
            }
            None => return None,
        };
        let known = &mut self.reports[index].position;
        known.applied = known.applied.max(position.applied);
        known.checkpointed = known.checkpointed.max(position.checkpointed);
        Some(&mut self.reports[index])
    }

    /// The lowest applied instance of all configured learners, once all have reported.
    pub(super) fn slowest(&self) -> Option<Instance> {
        if self.reports.len() < self.expected { None } else { self.lowest() }
    }

    /// The lowest applied instance of those that have reported; 0 if none has.
    pub(super) fn slowest_reported(&self) -> Instance {
        self.lowest().unwrap_or_default()
    }

    fn lowest(&self) -> Option<Instance> {
        self.reports.iter().map(|report| report.position.applied).min()
    }
}

impl<L: Log> Member<L> {
    /// A learner's progress, from itself or passed on by its preferential acceptor.
    pub(super) fn on_position(&mut self, position: &Position, out: &mut impl Outbox) {
        let stride = self.config.instances as u64 / 16;
        let coordinator = self.acceptor.current.node;
        let is_known = self.acceptor.current != crate::types::Ballot::ZERO;
        let is_leading = self.coordinator.is_leading();
        let Some(report) = self.acceptor.positions.take(position) else { return };
        let is_due = report.position.applied.0 >= report.relayed.0 + stride;
        if !is_leading && is_known && is_due {
            report.relayed = report.position.applied;
            let message = Message::Position(report.position);
            self.send(Destination::Node(coordinator), &message, out);
        }
    }

    /// Passes on what the coordinator may not have heard, a new one or after a loss.
    pub(super) fn relay_positions(&mut self, coordinator: NodeId, out: &mut impl Outbox) {
        for index in 0..self.acceptor.positions.reports.len() {
            let report = &mut self.acceptor.positions.reports[index];
            report.relayed = report.position.applied;
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
    pub(super) fn update_trim(&mut self) {
        let decided = self.coordinator.decided;
        let safe = if self.config.learners == 0 {
            Instance(decided.0.saturating_sub(self.config.instances as u64 / 2))
        } else {
            self.acceptor.positions.slowest().unwrap_or_default().min(decided)
        };
        self.trim_to(safe);
    }
}
