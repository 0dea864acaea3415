//! One command: at most once, checked if it is optimistic, answered by whom its client expects.

use super::{Cycle, PsmrWorker};
use crate::replica::retries::Sent;
use crate::replica::sessions::{Admission, Entry};
use crate::replica::{ReplyPolicy, Retry, WorkerOutbox, cut};
use crate::service::{Access, Context, GroupMap, Lease, Optimistic, Verdict};
use crate::types::{Address, Bug, GroupId};
use crate::wire::{Chunk, Command, CommandHeader, Mode, Reply, Status};

impl<S: Optimistic> PsmrWorker<S> {
    /// Executes a read.
    pub(super) fn read(
        &mut self,
        command: &Command<'_>,
        access: Access,
        home: GroupId,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        let header = &command.header;
        let service = &**cycle.shared.service();
        let Some(session) = cycle.shared.table(home.index()).find(header.session) else {
            return self.unknown(command, home, cycle);
        };
        session.note(header.sequence);
        let is_read = service.is_read(command.payload) && !header.mode.has(Mode::OPTIMISTIC);
        if !is_read || !self.is_mapped(command, service) {
            return self.refuse(command, home, Status::Rejected, cycle);
        }
        let context = Context { session: header.session, sequence: header.sequence };
        self.reply.clear();
        service.execute(&mut Lease::mint(access), &context, command.payload, &mut self.reply);
        self.counters.reads += 1;
        self.answer(header, session.address(), (Status::Done, 0), cycle.out);
    }

    /// Executes a command that may change state, unless its session's table knows better.
    #[inline]
    pub(super) fn write(
        &mut self,
        command: &Command<'_>,
        access: Access,
        home: GroupId,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        let header = &command.header;
        let Some(session) = cycle.shared.table(home.index()).find(header.session) else {
            return self.unknown(command, home, cycle);
        };
        let address = session.address();
        let (entry, flags) = match session.admit(header.sequence, header.lowest_unanswered()) {
            Admission::New(entry) => (entry, 0),
            Admission::Failed(entry, why) if !header.mode.has(Mode::OPTIMISTIC) => {
                (entry, why | Reply::RETRIED)
            }
            Admission::Failed(_, why) => {
                self.counters.duplicates += 1;
                return self.send_again(command, why, address, cycle);
            }
            Admission::Done(entry) if self.repeats_by_bug(header) => (entry, 0),
            Admission::Done(entry) => {
                self.counters.duplicates += 1;
                self.reply.clear();
                let flags = entry.recall(&mut self.reply);
                if self.is_answerer(header) {
                    self.answer(header, address, (Status::Done, flags), cycle.out);
                }
                return;
            }
            Admission::Forgotten => {
                self.counters.forgotten += 1;
                return self.refuse(command, home, Status::Forgotten, cycle);
            }
            Admission::Beyond => return self.refuse(command, home, Status::Rejected, cycle),
        };
        let service = &**cycle.shared.service();
        if !self.is_mapped(command, service) || service.is_read(command.payload) {
            return self.refuse(command, home, Status::Rejected, cycle);
        }
        let is_tenth = self.counters.executed == 9;
        assert!(!(is_tenth && Bug::ExecutorPanics.is_planted()), "no such leaf, by a planted bug");
        let context = Context { session: header.session, sequence: header.sequence };
        let mut lease = Lease::mint(access);
        self.reply.clear();
        let flags = if header.mode.has(Mode::OPTIMISTIC) {
            let group = self.config.me;
            let payload = command.payload;
            match service.try_execute(&mut lease, group, &context, payload, &mut self.reply) {
                Verdict::Pass => self.counters.checks_passed += 1,
                verdict => return self.failed(command, verdict, (entry, address), cycle),
            }
            flags | Reply::CHECKED
        } else {
            service.execute(&mut lease, &context, command.payload, &mut self.reply);
            flags
        };
        entry.complete(flags, &self.reply);
        self.counters.executed += 1;
        if self.is_answerer(header) {
            self.answer(header, address, (Status::Done, flags), cycle.out);
        }
    }

    /// Answers that the command was not executed, if the client expects it from this replica and
    /// the table of `home` knows where it is.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        command: &Command<'_>,
        home: GroupId,
        status: Status,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        match status {
            Status::Rejected => self.counters.rejected += 1,
            Status::WrongEpoch => self.counters.wrong_epoch += 1,
            _ => {}
        }
        let address = cycle.shared.table(home.index()).address(command.header.session);
        let Some(address) = address else { return };
        if self.is_answerer(&command.header) {
            self.reply.clear();
            self.answer(&command.header, address, (status, 0), cycle.out);
        }
    }

    /// Sends what stands in `self.reply`.
    #[inline]
    pub(super) fn answer(
        &mut self,
        header: &CommandHeader,
        to: Address,
        (status, flags): (Status, u32),
        out: &mut impl WorkerOutbox,
    ) {
        if self.is_silent() {
            return;
        }
        self.counters.replies += 1;
        let reply = Reply {
            session: header.session,
            sequence: header.sequence,
            status,
            replica: self.config.replica.0,
            flags,
            payload: &self.reply,
        };
        let room = self.config.room.reply();
        if reply.payload.len() <= room {
            return out.reply(to, &reply);
        }
        debug_assert!(reply.payload.len() > size_of::<Chunk>());
        cut(&self.reply, room, &mut self.part, |payload| {
            out.reply(to, &Reply { status: Status::Part, payload, ..reply });
        });
    }

    #[cold]
    fn unknown(
        &mut self,
        command: &Command<'_>,
        home: GroupId,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        self.counters.no_session += 1;
        let CommandHeader { session, sequence, mode, .. } = command.header;
        // An earlier copy may have been executed before the session was closed, and its answer lost.
        let table = cycle.shared.table(home.index());
        let is_certain = mode.has(Mode::READ) || table.closed_before(session, sequence);
        let status = if is_certain { Status::NoSession } else { Status::Forgotten };
        self.refuse(command, home, status, cycle);
    }

    /// The safety check failed: nothing was executed. (The paper's listing falls through to the
    /// execution; its text does not.)
    #[cold]
    fn failed(
        &mut self,
        command: &Command<'_>,
        verdict: Verdict,
        (entry, address): (Entry<'_>, Address),
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        let why = if verdict == Verdict::FailBounds {
            self.counters.failed_bounds += 1;
            Reply::FAILED_BOUNDS
        } else {
            self.counters.failed_structure += 1;
            Reply::FAILED_STRUCTURE
        };
        debug_assert!(self.reply.is_empty(), "a failed command has no reply");
        if Bug::ExecutedAfterFailedCheck.is_planted() {
            let CommandHeader { session, sequence, .. } = command.header;
            let mut lease = Lease::mint(Access::Whole);
            let context = Context { session, sequence };
            let service = cycle.shared.service();
            service.execute(&mut lease, &context, command.payload, &mut self.reply);
        }
        entry.fail(why);
        self.send_again(command, why, address, cycle);
        if self.leaves_again(command) {
            let copy = conservative(command, &**cycle.shared.service());
            let is_sent = self.is_sender(&copy.header) && !self.is_muted;
            let sent = if is_sent { Sent::Now } else { Sent::NotYet };
            let kept = self.retries.push(&copy, sent, cycle.now);
            self.counters.retries_dropped += u64::from(!kept);
        }
    }

    /// A failed command goes on in conservative mode, by a replica or by its client. A further copy
    /// of it is answered alike, but kept for no further repeats: those of the first go on.
    #[cold]
    fn send_again(
        &mut self,
        command: &Command<'_>,
        why: u32,
        address: Address,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        let header = command.header;
        if !self.leaves_again(command) {
            if self.is_answerer(&header) {
                self.reply.clear();
                self.answer(&header, address, (Status::CheckFailed, why), cycle.out);
            }
            return;
        }
        // A client that asks again has had no answer from the sender: it may be dead.
        if !self.is_muted && (self.is_sender(&header) || header.attempt() > 0) {
            let copy = conservative(command, &**cycle.shared.service());
            self.counters.retries += 1;
            cycle.out.multicast(&copy);
        }
    }

    /// Whether the replicas send a failed command again. One that came in parts is its client's to
    /// send: that has the window for it, and a replica's thread does not wait for room.
    fn leaves_again(&self, command: &Command<'_>) -> bool {
        self.config.retry == Retry::Replica && command.payload.len() <= self.config.room.command()
    }

    /// Whether this replica is the one that multicasts a failed command at once.
    const fn is_sender(&self, header: &CommandHeader) -> bool {
        self.config.replicas.member(header.sequence.0).0 == self.config.replica.0
    }

    /// Whether this replica answers a command that changes state.
    #[inline]
    fn is_answerer(&self, header: &CommandHeader) -> bool {
        self.config.reply == ReplyPolicy::All || self.is_named(header)
    }

    /// Whether the client's map is the replica's: the command is where it belongs.
    #[inline]
    fn is_mapped(&self, command: &Command<'_>, service: &S) -> bool {
        let Command { header, payload } = command;
        if self.config.groups == 1 {
            true
        } else if header.mode.has(Mode::OPTIMISTIC) {
            service.optimistic(payload) == header.groups
        } else {
            header.groups.includes(service.conservative(payload))
        }
    }

    fn repeats_by_bug(&self, header: &CommandHeader) -> bool {
        Bug::NoDuplicateCheck.is_planted()
            || Bug::ConservativeTwinIgnored.is_planted()
                && header.mode.has(Mode::CONSERVATIVE_RETRY)
    }
}

/// The conservative copy of a command whose check failed.
fn conservative<'a>(command: &Command<'a>, service: &impl GroupMap) -> Command<'a> {
    let Command { header, payload } = *command;
    let mode = header.mode.without(Mode::OPTIMISTIC).with(Mode::CONSERVATIVE_RETRY);
    let groups = service.conservative(payload);
    Command { header: CommandHeader { mode, groups, ..header }, payload }
}
