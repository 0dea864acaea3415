//! Synchronous mode: Algorithm 1 of the paper, one state a line of it.
//!
//! A command of several groups comes to all workers at the same place of g_all. Those of its set
//! arrive at the rendezvous; the executor waits for all, executes, answers, and releases them. The
//! others go on past it. With a barrier an instance, the commands of a batch are one such meeting
//! on the union of their sets.

use super::{Cycle, PsmrWorker, Warm, rest};
use crate::replica::chunks::Joined;
use crate::replica::{Barrier, Executor, Shared, WorkerOutbox};
use crate::service::{Access, Optimistic};
use crate::types::{Bug, GroupId, GroupSet, Time};
use crate::wire::{Command, CommandHeader, Commands, Control, Mode, Status};

/// Where a worker stands in Algorithm 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between commands.
    Ready,
    /// The executor waits for a signal from every other worker of the set.
    Gathering,
    /// All have come: the executor executes, a command a step.
    Executing,
    /// It signals them on.
    Releasing,
    /// Another worker executes: this one waits for its signal.
    Following,
}

/// One rendezvous, as one of its workers sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meeting {
    pub(super) set: GroupSet,
    epoch: u64,
    executor: GroupId,
    /// Where in the batch the commands of the meeting end.
    end: usize,
    /// The joined payload of a chunked command.
    joined: Option<usize>,
    /// What is executed is a marker.
    is_marker: bool,
    pub(super) since: Time,
}

impl Default for Meeting {
    fn default() -> Self {
        Self {
            set: GroupSet::EMPTY,
            epoch: 0,
            executor: GroupId::new(0),
            end: 0,
            joined: None,
            is_marker: false,
            since: Time::ZERO,
        }
    }
}

/// How a delivery of g_all is treated.
enum Class {
    /// Passed by all: nothing to do here.
    Pass,
    /// A message for the application.
    Message,
    /// A control command that each worker applies by itself.
    Control,
    /// Not to be executed: the spokesman of its set answers so.
    Refused(Status),
    /// One part of a command.
    Part,
    /// A place where all workers meet: for a digest of everything, or for a cut.
    Marker,
    /// A command to execute together.
    Command,
}

impl<S: Optimistic> PsmrWorker<S> {
    /// Takes up to `budget` steps in a batch of g_all. Returns how many; 0 is "blocked".
    pub(super) fn run_synchronous(
        &mut self,
        bytes: &[u8],
        budget: u32,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) -> u32 {
        let mut steps = 0;
        while steps < budget && !self.is_between_values() && !self.is_cut_due() {
            let has_moved = match self.phase {
                Phase::Ready => {
                    self.next_command(bytes, cycle);
                    true
                }
                Phase::Gathering => self.gather(cycle),
                Phase::Executing => {
                    self.execute_next(bytes, cycle);
                    true
                }
                Phase::Releasing => self.release(cycle),
                Phase::Following => self.follow(cycle),
            };
            if !has_moved {
                break;
            }
            steps += 1;
        }
        steps
    }

    /// Pulls in what this worker will execute of a batch, so that the misses overlap with each
    /// other and with the first rendezvous.
    pub(super) fn warm_synchronous(&self, bytes: &[u8], shared: &Shared<S>) {
        if self.config.barrier == Barrier::Instance {
            return;
        }
        let mut warm = Warm::default();
        let mut epoch = self.epoch;
        for command in Commands::from_offset(bytes, 0).take(super::AHEAD) {
            let set = command.header.groups;
            if matches!(self.classify(&command), Class::Command)
                && self.executor(set, epoch) == self.config.me
            {
                warm.push(&command);
            }
            epoch += counted(&command.header);
        }
        warm.finish(&**shared.service());
    }

    /// With a barrier an instance: the executor pulls in the next commands of the run, the first of
    /// them while the others are on their way.
    fn warm_meeting(&mut self, bytes: &[u8], shared: &Shared<S>) {
        let Meeting { executor, end, .. } = self.meeting;
        let is_run = self.config.barrier == Barrier::Instance && self.meeting.joined.is_none();
        if !is_run || executor != self.config.me || self.offset < self.warmed || self.offset >= end
        {
            return;
        }
        let mut warm = Warm::default();
        let mut commands = Commands::from_offset(bytes, self.offset);
        while warm.count < super::AHEAD && commands.offset() < end {
            let Some(command) = commands.next() else { break };
            if matches!(self.classify(&command), Class::Command) {
                warm.push(&command);
            }
        }
        self.warmed = commands.offset();
        warm.finish(&**shared.service());
    }

    fn next_command(&mut self, bytes: &[u8], cycle: &mut Cycle<'_, S, impl WorkerOutbox>) {
        let mut commands = Commands::from_offset(bytes, self.offset);
        let Some(command) = commands.next() else {
            self.counters.malformed += rest(bytes, self.offset);
            self.offset = self.length;
            return;
        };
        let class = self.classify(&command);
        let meeting = if self.config.barrier == Barrier::Instance && class.is_of_run() {
            self.meeting_of_run(bytes, cycle)
        } else {
            let epoch = self.epoch;
            self.epoch += counted(&command.header);
            self.meeting_of_one(&command, &class, (epoch, commands.offset()), cycle)
        };
        match meeting {
            Ok(meeting) if meeting.set.contains(self.config.me) => {
                self.arrive(meeting, cycle);
                self.warm_meeting(bytes, cycle.shared);
            }
            Ok(Meeting { end, .. }) | Err(end) => self.offset = end,
        }
    }

    /// The meeting that one command asks for, or where the next command starts.
    fn meeting_of_one(
        &mut self,
        command: &Command<'_>,
        class: &Class,
        (epoch, end): (u64, usize),
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) -> Result<Meeting, usize> {
        let set = command.header.groups;
        match class {
            Class::Pass => self.pass(&command.header, cycle.shared),
            Class::Message if set.contains(self.config.me) => {
                self.counters.messages += 1;
                cycle.out.deliver(self.at, command);
            }
            Class::Message => {}
            Class::Control => self.control(command, cycle),
            Class::Refused(status) => self.refuse_once(command, *status, cycle),
            // Kept by the one that will execute, which the command's name decides: its parts have
            // many places in the order.
            Class::Part => {
                let executor = self.executor(set, command.header.sequence.0);
                match self.all_parts.add(command, executor == self.config.me) {
                    Joined::Incomplete => {}
                    Joined::Rejected => self.refuse_once(command, Status::Rejected, cycle),
                    Joined::Complete(index) if self.is_elsewhere(&command.header) => {
                        let bytes = self.all_parts.take(index);
                        self.all_parts.give_back(index, bytes);
                        self.pass(&command.header, cycle.shared);
                    }
                    Joined::Complete(index) => {
                        let joined = Some(index);
                        let since = cycle.now;
                        let is_marker = false;
                        return Ok(Meeting { set, executor, epoch, end, joined, is_marker, since });
                    }
                }
            }
            Class::Marker | Class::Command => {
                let is_marker = matches!(class, Class::Marker);
                let set = if is_marker { self.all } else { set };
                let (executor, since) = (self.executor(set, epoch), cycle.now);
                let joined = None;
                return Ok(Meeting { set, executor, epoch, end, joined, is_marker, since });
            }
        }
        Err(end)
    }

    /// One meeting for the run of plain commands that starts here, or where the run ends.
    fn meeting_of_run(
        &mut self,
        bytes: &[u8],
        cycle: &Cycle<'_, S, impl WorkerOutbox>,
    ) -> Result<Meeting, usize> {
        let mut commands = Commands::from_offset(bytes, self.offset);
        let (mut set, mut end, mut total) = (GroupSet::EMPTY, self.offset, 0);
        while let Some(command) = commands.next() {
            match self.classify(&command) {
                Class::Command => set = set.union(command.header.groups),
                Class::Pass => self.pass(&command.header, cycle.shared),
                _ => break,
            }
            total += counted(&command.header);
            end = commands.offset();
        }
        let epoch = self.epoch;
        self.epoch += total;
        if set.is_empty() {
            return Err(end);
        }
        let executor = self.executor(set, epoch);
        Ok(Meeting { set, executor, epoch, end, joined: None, is_marker: false, since: cycle.now })
    }

    fn classify(&self, command: &Command<'_>) -> Class {
        let header = &command.header;
        let mode = header.mode;
        if mode.has(Mode::MESSAGE) {
            Class::Message
        } else if mode.has(Mode::SESSION) {
            match Control::decode(command.payload) {
                // With any other set it would meet without being counted, and the next command
                // would meet at the same epoch.
                Some((kind, _)) if kind.is_marker() && header.groups != self.all => {
                    Class::Refused(Status::Rejected)
                }
                Some((kind, _)) if kind.is_marker() => Class::Marker,
                _ => Class::Control,
            }
        } else if header.groups.len() < 2
            || !self.all.includes(header.groups)
            || mode.has(Mode::OPTIMISTIC)
        {
            Class::Refused(Status::Rejected)
        } else if header.map_epoch != self.config.map_epoch {
            Class::Refused(Status::WrongEpoch)
        } else if mode.has(Mode::CHUNK) {
            // Also of a read that is executed elsewhere: which parts find a place must be the same
            // at every replica.
            Class::Part
        } else if self.is_elsewhere(header) {
            Class::Pass
        } else {
            Class::Command
        }
    }

    /// A read that another replica executes: one worker of the set notes its number.
    fn pass(&mut self, header: &CommandHeader, shared: &Shared<S>) {
        if self.speaks_for(header.groups) {
            self.pass_own(header, shared);
        }
    }

    /// Whether this worker is the one of the set that says what is to be said once.
    fn speaks_for(&self, set: GroupSet) -> bool {
        let members = GroupSet::from_bits(set.to_bits() & self.all.to_bits());
        members.lowest().unwrap_or(GroupId::new(0)) == self.config.me
    }

    fn executor(&self, set: GroupSet, epoch: u64) -> GroupId {
        match self.config.executor {
            Executor::Rotate => set.member(epoch),
            Executor::Lowest => set.member(0),
        }
    }

    fn refuse_once(
        &mut self,
        command: &Command<'_>,
        status: Status,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        if self.speaks_for(command.header.groups) {
            self.refuse(command, self.config.me, status, cycle);
        }
    }

    /// Comes to the rendezvous. From here to its release no other worker of the set touches the
    /// state or the session tables of the set, but the executor once all have come.
    fn arrive(&mut self, meeting: Meeting, cycle: &Cycle<'_, S, impl WorkerOutbox>) {
        let Meeting { executor, epoch, .. } = meeting;
        if !self.forgets_to_arrive(executor) {
            cycle.shared.rendezvous().arrive(self.config.me, executor, epoch);
        }
        self.counters.meetings += 1;
        self.meeting = meeting;
        self.phase = if executor != self.config.me {
            Phase::Following
        } else if Bug::ReplyBeforeBarrier.is_planted() {
            Phase::Executing
        } else {
            Phase::Gathering
        };
    }

    fn forgets_to_arrive(&self, executor: GroupId) -> bool {
        let is_tenth = executor != self.config.me && self.counters.meetings >= 9;
        is_tenth && Bug::WorkerNeverArrives.is_planted()
    }

    fn gather(&mut self, cycle: &Cycle<'_, S, impl WorkerOutbox>) -> bool {
        let Meeting { set, epoch, since, .. } = self.meeting;
        let rendezvous = cycle.shared.rendezvous();
        if !rendezvous.have_arrived(set, epoch) {
            return false;
        }
        if Bug::ReleaseBeforeExecution.is_planted() {
            rendezvous.release(self.config.me, set, epoch);
        }
        self.counters.wait_ns += nanoseconds(since, cycle.now);
        self.phase = Phase::Executing;
        true
    }

    /// Executes the next command of the meeting, alone with the state of its set.
    fn execute_next(&mut self, bytes: &[u8], cycle: &mut Cycle<'_, S, impl WorkerOutbox>) {
        self.warm_meeting(bytes, cycle.shared);
        let mut commands = Commands::from_offset(bytes, self.offset);
        let command = commands.next().expect("a meeting's commands were decoded before");
        self.offset = commands.offset();
        if self.offset == self.meeting.end {
            self.phase = Phase::Releasing;
        }
        let header = command.header;
        if self.is_elsewhere(&header) {
            return;
        }
        self.counters.barrier_commands += 1;
        if header.mode.has(Mode::SESSION) {
            self.mark(&command, cycle);
        } else if let Some(index) = self.meeting.joined {
            self.counters.joined += 1;
            let payload = self.all_parts.take(index);
            let header = CommandHeader { mode: header.mode.without(Mode::CHUNK), ..header };
            self.execute_together(&Command { header, payload: &payload }, cycle);
            self.all_parts.give_back(index, payload);
        } else {
            self.execute_together(&command, cycle);
        }
    }

    fn execute_together(
        &mut self,
        command: &Command<'_>,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) {
        let set = command.header.groups;
        let access = if set == self.all { Access::Whole } else { Access::Groups(set) };
        if command.header.mode.has(Mode::READ) {
            // At home where the replicas that do not execute it note it.
            return self.read(command, access, set.member(0), cycle);
        }
        let home = cycle.shared.service().optimistic(command.payload);
        match home.lowest() {
            Some(group) if set.includes(home) => self.write(command, access, group, cycle),
            _ => self.refuse(command, self.config.me, Status::Rejected, cycle),
        }
    }

    fn release(&mut self, cycle: &Cycle<'_, S, impl WorkerOutbox>) -> bool {
        let Meeting { set, epoch, .. } = self.meeting;
        let rendezvous = cycle.shared.rendezvous();
        if Bug::ReplyBeforeBarrier.is_planted() && !rendezvous.have_arrived(set, epoch) {
            return false;
        }
        if !rendezvous.is_released(self.config.me, epoch) {
            rendezvous.release(self.config.me, set, epoch);
        }
        self.counters.barriers += 1;
        self.phase = Phase::Ready;
        if self.meeting.is_marker {
            self.pass_marker(cycle.shared);
        }
        true
    }

    fn follow(&mut self, cycle: &Cycle<'_, S, impl WorkerOutbox>) -> bool {
        let Meeting { executor, epoch, end, since, .. } = self.meeting;
        if !cycle.shared.rendezvous().is_released(executor, epoch) {
            return false;
        }
        self.counters.wait_ns += nanoseconds(since, cycle.now);
        self.offset = end;
        self.phase = Phase::Ready;
        if self.meeting.is_marker {
            self.pass_marker(cycle.shared);
        }
        true
    }
}

impl Class {
    /// Whether a barrier an instance takes it into a run.
    const fn is_of_run(&self) -> bool {
        matches!(self, Self::Command | Self::Pass)
    }
}

/// What a delivery of g_all adds to the synchronous epoch.
fn counted(header: &CommandHeader) -> u64 {
    u64::from(header.groups.len() > 1)
}

fn nanoseconds(since: Time, now: Time) -> u64 {
    now.0.saturating_sub(since.0)
}
