//! One session of a client: its window of open commands.

use super::resume::Resuming;
use crate::types::{RingId, Sequence, SessionId, Time};
use crate::wire::{CommandHeader, Mode};

/// An open command, kept until its answer or its deadline.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// Its number; meaningless while the entry is free.
    pub(super) sequence: Sequence,
    pub(super) is_open: bool,
    pub(super) tag: u64,
    pub(super) submitted: Time,
    /// When it was sent last, and when it is sent again.
    pub(super) sent: Time,
    pub(super) due: Time,
    pub(super) attempt: u8,
    /// Its ring's proposal that it left in when it was last sent, unless it travels in parts.
    pub(super) proposal: u64,
    /// It waits for room at its ring: nobody has it, or not all of its parts.
    pub(super) is_held: bool,
    /// A copy of it, or of a part, may be somewhere. One that a full ring has refused counts: the
    /// network may have another copy of the datagram.
    pub(super) has_left: bool,
    /// Flags of [`crate::wire::Reply`] that its end will bear besides those of the answer.
    pub(super) flags: u32,
    pub(super) header: CommandHeader,
    pub(super) payload: Vec<u8>,
    /// Where the parts of a long reply are joined.
    pub(super) joined: Option<Box<Joined>>,
}

/// A long reply on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Joined {
    /// Which execution's.
    pub(super) whole: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) seen: Vec<bool>,
    pub(super) missing: usize,
}

/// A session and its window.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// 0 until it is open.
    pub(super) id: SessionId,
    /// The number of the control command that opens it.
    pub(super) opening: u64,
    /// It goes on with a session of an earlier client, which is not known to be there yet.
    pub(super) resuming: Option<Resuming>,
    /// The next command's number.
    pub(super) next: Sequence,
    /// The lowest number without an answer; `next` if there is none.
    pub(super) lowest: Sequence,
    /// A command was submitted, or a refreshing confirmed, since the last look for idle sessions.
    pub(super) is_active: bool,
    /// Looks at which it was idle.
    pub(super) idle: u8,
    /// It was open, and the replicas have closed it at this client's wish.
    pub(super) is_closed: bool,
    entries: Box<[Entry]>,
}

impl Session {
    pub(super) fn new(opening: u64, window: usize) -> Self {
        assert!(window.is_power_of_two(), "the window of a session is a power of two");
        let empty = || Entry { payload: Vec::with_capacity(32), ..Entry::default() };
        let entries = std::iter::repeat_with(empty).take(window).collect();
        let first = Sequence(1);
        Self {
            id: SessionId(0),
            opening,
            resuming: None,
            next: first,
            lowest: first,
            is_active: false,
            idle: 0,
            is_closed: false,
            entries,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.id.0 != 0
    }

    /// Commands whose numbers are taken and not yet below the lowest open one.
    pub(super) const fn span(&self) -> u64 {
        self.next.0 - self.lowest.0
    }

    pub(super) const fn is_full(&self) -> bool {
        self.span() >= self.entries.len() as u64
    }

    fn index(&self, sequence: Sequence) -> usize {
        usize::try_from(sequence.0 & (self.entries.len() as u64 - 1)).expect("a small window")
    }

    /// The entry of `sequence` if that command is open.
    #[inline]
    pub(super) fn open_entry(&mut self, sequence: Sequence) -> Option<&mut Entry> {
        let index = self.index(sequence);
        let entry = &mut self.entries[index];
        (entry.is_open && entry.sequence == sequence).then_some(entry)
    }

    /// The lowest number without an answer, and the entry of `sequence` if that waits for room at
    /// `ring`; it may have come to its end meanwhile, or wait for another ring.
    pub(super) fn held_entry(
        &mut self,
        sequence: Sequence,
        ring: RingId,
        groups: usize,
    ) -> Option<(Sequence, &mut Entry)> {
        let lowest = self.lowest;
        let entry = self.open_entry(sequence)?;
        let waits_there = entry.is_held && entry.header.groups.ring(groups) == ring;
        waits_there.then_some((lowest, entry))
    }

    /// Takes the next number and its entry, which was free.
    ///
    /// # Panics
    /// If the window is full.
    #[inline]
    pub(super) fn take(&mut self) -> &mut Entry {
        assert!(!self.is_full(), "the caller has looked");
        let sequence = self.next;
        self.next = sequence.next();
        let index = self.index(sequence);
        let entry = &mut self.entries[index];
        debug_assert!(!entry.is_open, "below the lowest open command everything is free");
        entry.is_open = true;
        entry.sequence = sequence;
        entry
    }

    /// The command has come to its end: its entry is free.
    #[inline]
    pub(super) fn close(&mut self, sequence: Sequence) {
        let index = self.index(sequence);
        self.entries[index].is_open = false;
        while self.lowest < self.next && !self.entries[self.index(self.lowest)].is_open {
            self.lowest = self.lowest.next();
        }
    }

    /// Whether a look at its commands may find something to do, if none went astray: the oldest
    /// left before the others of its first attempt, so it is the first that is overdue.
    #[inline]
    pub(super) fn may_be_overdue(&self, now: Time) -> bool {
        let entry = &self.entries[self.index(self.lowest)];
        let is_first = entry.attempt == 0 && !entry.header.mode.has(Mode::CONSERVATIVE_RETRY);
        self.lowest < self.next && (!is_first || now >= entry.due)
    }

    /// The open commands, oldest first.
    pub(super) fn open_sequences(&self) -> impl Iterator<Item = Sequence> + use<> {
        (self.lowest.0..self.next.0).map(Sequence)
    }
}
