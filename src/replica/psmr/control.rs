//! Sessions open, move and close in the order of g_all; digests are taken there.

use super::{Cycle, PsmrWorker};
use crate::replica::WorkerOutbox;
use crate::replica::sessions::Opened;
use crate::service::{Access, Lease, Optimistic};
use crate::types::{Address, Bug, ReplicaId, Sequence, SessionId};
use crate::wire::{
    Command, CommandHeader, Control, ControlKind, DigestReport, DigestVote, SessionReport, Status,
};

impl<S: Optimistic> PsmrWorker<S> {
    /// Applies a control command to this worker's table. Every worker of every replica does so at
    /// the same place of its own order; no rendezvous is needed, since whoever uses a table later
    /// has met its worker later.
    pub(super) fn control(
        &mut self,
        command: &Command<'_>,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        self.counters.controls += 1;
        match Control::decode(command.payload) {
            Some((ControlKind::Open, control)) => self.open(command, &control, cycle),
            Some((ControlKind::Resume, control)) => self.resume(command, &control, cycle),
            Some((ControlKind::Expire, control)) if control.session == SessionId(0) => {
                cycle.out.marker(self.config.me, &control);
            }
            Some((ControlKind::Close | ControlKind::Expire, control)) => {
                self.close(command, &control, cycle);
            }
            // The only worker is alone with the state everywhere.
            Some((ControlKind::Digest | ControlKind::Checkpoint, _)) => {
                self.mark(command, cycle);
                self.pass_marker(cycle.shared);
            }
            None => self.vote(command, cycle),
        }
    }

    fn vote(&mut self, command: &Command<'_>, cycle: &mut Cycle<'_, S, impl WorkerOutbox>) {
        match DigestVote::decode(command.payload) {
            Some(vote) if self.config.me.index() == 0 && !self.is_muted => cycle.out.vote(&vote),
            Some(_) => {}
            None => self.counters.rejected += 1,
        }
    }

    /// Does what a marker asks for; the worker is alone with the state.
    pub(super) fn mark(
        &mut self,
        command: &Command<'_>,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        match Control::decode(command.payload) {
            Some((ControlKind::Digest, control)) => self.digest(command, &control, cycle),
            Some((ControlKind::Checkpoint, _)) => self.cut_service(cycle),
            _ => {}
        }
    }

    fn digest(
        &mut self,
        command: &Command<'_>,
        control: &Control,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        let mut digest = cycle.shared.service().digest(&mut Lease::mint(Access::Whole));
        if Bug::StateAstray.is_planted() && self.config.replica == ReplicaId(1) {
            digest.0 ^= self.at.slot.0 & 1;
        }
        let report = DigestReport { number: control.number, slot: self.at.slot, digest };
        cycle.out.digest(&report);
        if control.reply_to == Address::NONE {
            return;
        }
        self.reply.clear();
        self.reply.extend_from_slice(bytemuck::bytes_of(&report));
        let header = CommandHeader { sequence: Sequence(control.number), ..command.header };
        self.answer(&header, control.reply_to, (Status::Done, 0), cycle.out);
    }

    /// Every table reports: a group that this client has heard nothing of may be behind g_all, and
    /// would order its first command before the opening.
    fn open(
        &mut self,
        command: &Command<'_>,
        control: &Control,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        let table = cycle.shared.table(self.config.me.index());
        let (id, status) = match self.directory.open((control.client, control.number), self.at.slot)
        {
            Opened::New(id) => {
                table.open(id, control.reply_to);
                (id, Status::SessionOpened)
            }
            Opened::Again(id) => {
                if let Some(session) = table.find(id) {
                    session.move_to(control.reply_to);
                    table.refresh(id);
                }
                (id, Status::SessionOpened)
            }
            Opened::Full => {
                self.counters.rejected += 1;
                (SessionId(0), Status::Rejected)
            }
        };
        self.report(command, control, (id, status), cycle);
    }

    fn resume(
        &mut self,
        command: &Command<'_>,
        control: &Control,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        let id = control.session;
        let table = cycle.shared.table(self.config.me.index());
        match table.find(id) {
            Some(session) => {
                session.move_to(control.reply_to);
                if control.number & Control::REFRESH == 0 {
                    session.begin_life();
                }
                table.refresh(id);
                self.report(command, control, (id, Status::SessionOpened), cycle);
            }
            None => {
                self.counters.no_session += 1;
                self.report(command, control, (id, Status::NoSession), cycle);
            }
        }
    }

    fn close(
        &mut self,
        command: &Command<'_>,
        control: &Control,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        let id = control.session;
        let was_open = self.directory.close(id);
        cycle.shared.table(self.config.me.index()).close(id);
        let status = if was_open { Status::Done } else { Status::NoSession };
        if self.config.me.index() == 0 && control.reply_to != Address::NONE {
            self.report(command, control, (id, status), cycle);
        }
    }

    fn report(
        &mut self,
        command: &Command<'_>,
        control: &Control,
        (session, status): (SessionId, Status),
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        if !self.is_named(&command.header) {
            return;
        }
        let table = cycle.shared.table(self.config.me.index());
        let report = SessionReport {
            session,
            window: table.window() as u64,
            table: self.config.me.index() as u64,
            highest: table.find(session).map_or(0, |session| session.highest()),
        };
        self.reply.clear();
        self.reply.extend_from_slice(bytemuck::bytes_of(&report));
        let sequence = Sequence(control.number);
        let header = CommandHeader { session, sequence, ..command.header };
        self.answer(&header, control.reply_to, (status, 0), cycle.out);
    }
}
