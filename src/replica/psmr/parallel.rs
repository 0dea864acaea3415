//! Parallel mode: commands of the worker's own group, each at once.

use super::{AHEAD, Cycle, PsmrWorker, Warm, rest};
use crate::replica::chunks::Joined;
use crate::replica::{Shared, WorkerOutbox};
use crate::service::Optimistic;
use crate::wire::{Command, CommandHeader, Commands, Mode, Status};

/// Modes that need more than execution.
const SPECIAL: Mode = Mode::CHUNK.with(Mode::SESSION).with(Mode::MESSAGE);

impl<S: Optimistic> PsmrWorker<S> {
    /// Runs commands of the batch `bytes`, up to `budget`. Returns the steps taken, at least one.
    pub(super) fn run_parallel(
        &mut self,
        bytes: &[u8],
        budget: u32,
        cycle: &mut Cycle<'_, S, impl WorkerOutbox>,
    ) -> u32 {
        let mut commands = Commands::from_offset(bytes, self.offset);
        let own = cycle.shared.table(self.config.me.index());
        let mut steps = 0;
        while steps < budget {
            let mut ahead = [Command::default(); AHEAD];
            let mut warm = Warm::default();
            let mut count = 0;
            for command in commands.by_ref().take(AHEAD.min((budget - steps) as usize)) {
                ahead[count] = command;
                count += 1;
                let header = &command.header;
                if header.mode.has(Mode::SESSION) {
                    // A marker ends what is taken together: what follows it must be told apart.
                    break;
                }
                if !header.mode.has(Mode::READ) {
                    own.prefetch(header.session, header.sequence);
                    warm.push(&command);
                } else if self.is_named(header) {
                    warm.push(&command);
                }
            }
            if count == 0 {
                self.counters.malformed += rest(bytes, commands.offset());
                self.offset = self.length;
                return steps + 1;
            }
            warm.finish(&**cycle.shared.service());
            for command in &ahead[..count] {
                self.parallel(command, cycle);
            }
            #[expect(clippy::cast_possible_truncation, reason = "at most AHEAD")]
            {
                steps += count as u32;
            }
            self.offset = commands.offset();
            if self.offset == self.length || self.is_cut_due() {
                break;
            }
        }
        steps
    }

    #[inline]
    fn parallel(&mut self, command: &Command<'_>, cycle: &mut Cycle<'_, S, impl WorkerOutbox>) {
        let header = &command.header;
        let is_plain = header.groups == self.own
            && header.map_epoch == self.config.map_epoch
            && !header.mode.has_any(SPECIAL);
        if !is_plain {
            return self.uncommon(command, cycle);
        }
        if self.is_elsewhere(header) {
            self.pass_own(header, cycle.shared);
        } else if header.mode.has(Mode::READ) {
            self.read(command, self.access, self.config.me, cycle);
        } else {
            self.write(command, self.access, self.config.me, cycle);
        }
    }

    /// Whether it is a read that another replica executes.
    #[inline]
    pub(super) fn is_elsewhere(&self, header: &CommandHeader) -> bool {
        header.mode.has(Mode::READ) && !self.is_named(header)
    }

    /// A read that another replica executes, at home in this worker's table.
    #[inline]
    pub(super) fn pass_own(&mut self, header: &CommandHeader, shared: &Shared<S>) {
        self.counters.reads_elsewhere += 1;
        if let Some(session) = shared.table(self.config.me.index()).find(header.session) {
            session.note(header.sequence);
        }
    }

    #[cold]
    fn uncommon(&mut self, command: &Command<'_>, cycle: &mut Cycle<'_, S, impl WorkerOutbox>) {
        let CommandHeader { mode, groups, map_epoch, .. } = command.header;
        let me = self.config.me;
        if mode.has(Mode::MESSAGE) {
            self.counters.messages += 1;
            cycle.out.deliver(self.at, command);
        } else if mode.has(Mode::SESSION) && self.config.groups == 1 {
            self.control(command, cycle);
        } else if groups != self.own || mode.has(Mode::SESSION) {
            self.refuse(command, me, Status::Rejected, cycle);
        } else if map_epoch != self.config.map_epoch {
            self.refuse(command, me, Status::WrongEpoch, cycle);
        } else {
            debug_assert!(mode.has(Mode::CHUNK));
            match self.own_parts.add(command, true) {
                Joined::Incomplete => {}
                Joined::Rejected => self.refuse(command, me, Status::Rejected, cycle),
                Joined::Complete(index) => {
                    self.counters.joined += 1;
                    let payload = self.own_parts.take(index);
                    let header =
                        CommandHeader { mode: mode.without(Mode::CHUNK), ..command.header };
                    self.parallel(&Command { header, payload: &payload }, cycle);
                    self.own_parts.give_back(index, payload);
                }
            }
        }
    }
}
