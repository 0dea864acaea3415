//! The instances that a learner holds: an indexed ring of entries and an arena for their bytes.
//!
//! A value's bytes stand in a received frame, or in a slot of the arena. Slots are handed out last
//! in, first out: the ten or so in use stay in the second-level cache, where slots by instance
//! would walk the whole arena and write to cold lines each time round.

use super::trail::{LINKS, Link, Trail};
use crate::mem::{Frame, Pool};
use crate::types::{Ballot, Bug, Instance, ValueId};
use crate::wire::{MAX_DATAGRAM, Wanted};
use std::hash::{Hash, Hasher};

/// Where a value's bytes are.
#[derive(Debug, Default)]
enum Held {
    /// No value yet.
    #[default]
    Nothing,
    Noop,
    Skip(u64),
    /// A batch in the arena.
    Copied {
        slot: u32,
        length: u32,
    },
    /// A batch in the datagram that brought it.
    Framed {
        frame: Frame,
        start: u32,
        length: u32,
    },
}

/// What is known of one instance. Value and decision come in any order and need not agree.
#[derive(Debug, Default)]
struct Entry {
    held: Held,
    /// The name of the value in `held`.
    id: ValueId,
    /// The highest ballot at which this value was seen, by any message: the likelier to be decided.
    ballot: Ballot,
    /// The highest ballot at which its own coordinator proposed it; zero if only others said so.
    proposed: Ballot,
    /// The name that was decided; [`ValueId::NONE`] while unknown.
    decided: ValueId,
}

/// A value of an instance, its bytes apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) instance: Instance,
    pub(super) id: ValueId,
    pub(super) ballot: Ballot,
    /// `ballot` if the coordinator of that ballot says so itself, else zero.
    pub(super) proposed: Ballot,
}

/// What the window makes of a value that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Wanted: put its content into the window.
    Wanted,
    /// Here already, or delivered already.
    Duplicate,
    /// Another value was decided, or a higher ballot's is here.
    Stale,
    /// Above the window.
    Beyond,
}

/// What the window hands to the merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A no-op: one slot without a value.
    Noop,
    /// That many slots without a value.
    Skip(u64),
    /// A batch, which stays until it is released.
    Value,
}

/// The window: instances from `next` on.
#[derive(Debug)]
pub(super) struct Window {
    entries: Box<[Entry]>,
    mask: u64,
    /// The next instance to hand over.
    next: Instance,
    /// The value that was handed over last and is still in use.
    current: Option<Instance>,
    /// The first instance from `next` on that cannot be handed over yet.
    frontier: Instance,
    /// The first instance from `frontier` on, as far as looked at, without a value.
    value_frontier: Instance,
    arena: Box<[u8]>,
    free: Vec<u32>,
    /// Instances whose value came in a frame since the last [`Window::settle`].
    framed: Vec<Instance>,
    /// Frames of values that were replaced, to be released at the next chance.
    discarded: Vec<Frame>,
    frames: usize,
    /// What was handed over, for others to compare.
    trail: Trail,
}

impl Window {
    /// A window of `size` instances, of which one is kept for the value in use.
    pub(super) fn new(size: usize) -> Self {
        assert!(size.is_power_of_two() && size >= 4, "a window is a power of two");
        let slots = u32::try_from(size).expect("a window is far below 2^32");
        Self {
            entries: (0..size).map(|_| Entry::default()).collect(),
            mask: size as u64 - 1,
            next: Instance::FIRST,
            current: None,
            frontier: Instance::FIRST,
            value_frontier: Instance::FIRST,
            arena: vec![0; size * MAX_DATAGRAM].into_boxed_slice(),
            free: (0..slots).rev().collect(),
            framed: Vec::with_capacity(size),
            discarded: Vec::with_capacity(size),
            frames: 0,
            trail: Trail::default(),
        }
    }

    /// Empties the window and starts again at `next`.
    pub(super) fn restart(&mut self, next: Instance, pool: &mut impl Pool) {
        for index in 0..self.entries.len() {
            self.clear(index);
        }
        self.framed.clear();
        self.release_discarded(pool);
        (self.next, self.frontier, self.value_frontier) = (next, next, next);
        self.trail.jump();
        self.current = None;
        assert_eq!((self.frames, self.free.len()), (0, self.entries.len()), "nothing leaked");
    }

    /// Lets go of what comes before `next`, and of the value in use, and goes on there.
    pub(super) fn skip_to(&mut self, next: Instance) {
        for instance in self.position().0..next.min(self.end()).0 {
            self.clear(self.index(Instance(instance)));
        }
        (self.next, self.current) = (next, None);
        self.trail.jump();
        // With no value in use its place is free, also if the window has moved back to that value.
        self.clear(self.index(self.end()));
        self.frontier = self.frontier.max(next);
        self.value_frontier = self.value_frontier.max(self.frontier);
    }

    /// Holds `size` instances from now on, of which one is kept for the value in use. What does not
    /// fit is let go of. No value stands in a frame.
    pub(super) fn resize(&mut self, size: usize) {
        debug_assert_eq!(self.frames, 0, "no frame outlives its duty cycle");
        let mut old = std::mem::replace(self, Self::new(size));
        (self.next, self.current) = (old.next, old.current);
        let end = old.end().min(self.end());
        self.frontier = old.frontier.min(end);
        self.value_frontier = old.value_frontier.min(end);
        for instance in old.position().0..end.0 {
            let instance = Instance(instance);
            let index = old.index(instance);
            let entry = std::mem::take(&mut old.entries[index]);
            let copied = match entry.held {
                Held::Copied { slot, length } => Some((slot, length)),
                _ => None,
            };
            *self.entry_mut(instance) = entry;
            if let Some((slot, length)) = copied {
                self.put_copy(instance, old.slot(slot, length));
            }
        }
    }

    /// Instances that it holds at most.
    pub(super) const fn size(&self) -> usize {
        self.entries.len()
    }

    /// Judges a value that came; takes note of its ballot if it is here already.
    pub(super) fn admit(&mut self, arrival: &Arrival) -> Admission {
        let Arrival { instance, id, ballot, proposed } = *arrival;
        if instance < self.next {
            return Admission::Duplicate;
        }
        if instance >= self.end() {
            return Admission::Beyond;
        }
        let entry = self.entry_mut(instance);
        if entry.id == id {
            entry.ballot = entry.ballot.max(ballot);
            entry.proposed = entry.proposed.max(proposed);
            return Admission::Duplicate;
        }
        let is_other = entry.decided != ValueId::NONE && entry.decided != id;
        let is_older = entry.id != ValueId::NONE && entry.decided != id && entry.ballot > ballot;
        if is_other || is_older {
            return Admission::Stale;
        }
        let index = self.index(instance);
        let decided = self.entries[index].decided;
        self.clear(index);
        self.entries[index] = Entry { held: Held::Nothing, id, ballot, proposed, decided };
        Admission::Wanted
    }

    pub(super) fn put_noop(&mut self, instance: Instance) {
        self.entry_mut(instance).held = Held::Noop;
    }

    pub(super) fn put_skip(&mut self, instance: Instance, slots: u64) {
        self.entry_mut(instance).held = Held::Skip(slots);
    }

    /// Copies an admitted batch into the arena.
    pub(super) fn put_copy(&mut self, instance: Instance, batch: &[u8]) {
        let slot = self.free.pop().expect("as many slots as entries");
        let start = slot as usize * MAX_DATAGRAM;
        self.arena[start..start + batch.len()].copy_from_slice(batch);
        let length = u32::try_from(batch.len()).expect("a batch fits a datagram");
        self.entry_mut(instance).held = Held::Copied { slot, length };
    }

    /// Keeps an admitted batch in the frame that brought it, from byte `start` of the frame on.
    pub(super) fn put_frame(&mut self, instance: Instance, frame: Frame, start: u32, length: u32) {
        self.frames += 1;
        if self.framed.len() == self.framed.capacity() {
            let (next, current) = (self.next, self.current);
            self.framed.retain(|framed| *framed >= next || Some(*framed) == current);
        }
        self.framed.push(instance);
        self.entry_mut(instance).held = Held::Framed { frame, start, length };
    }

    /// Notes that `id` was decided in `instance`. `false`: another one was.
    pub(super) fn decide(&mut self, instance: Instance, id: ValueId) -> bool {
        debug_assert!(id != ValueId::NONE, "a decision names a value");
        if instance < self.next || instance >= self.end() {
            return true;
        }
        let entry = self.entry_mut(instance);
        if entry.decided == ValueId::NONE {
            entry.decided = id;
        }
        entry.decided == id
    }

    /// Everything up to `last` is decided, says the coordinator of `ballot` at that ballot. A value
    /// that it proposed at the same ballot is the decided one: a ballot proposes one value an
    /// instance, and Phase 1 made it propose whatever an earlier ballot decided. So a match of
    /// ballots is a match of ids; of values seen at other ballots this tells nothing.
    pub(super) fn decide_proposed(&mut self, first: Instance, last: Instance, ballot: Ballot) {
        for instance in first.max(self.next).0..last.next().min(self.end()).0 {
            let entry = self.entry_mut(Instance(instance));
            if entry.decided == ValueId::NONE && entry.proposed == ballot {
                entry.decided = entry.id;
            }
        }
    }

    /// Moves the frontiers over what has become complete.
    pub(super) fn advance_frontiers(&mut self) {
        let end = self.end();
        while self.frontier < end && self.is_ready(self.frontier) {
            self.frontier = self.frontier.next();
        }
        self.value_frontier = self.value_frontier.max(self.frontier);
        while self.value_frontier < end && self.has_value(self.value_frontier) {
            self.value_frontier = self.value_frontier.next();
        }
    }

    /// The last stretches that it has handed over whole.
    pub(super) const fn links(&self) -> [Link; LINKS] {
        self.trail.links()
    }

    /// Hands over the next instance, if it is decided and its value is here.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Taken> {
        debug_assert!(self.current.is_none(), "one value in use at a time");
        if !self.is_ready(self.next) {
            return None;
        }
        let index = self.index(self.next);
        let (taken, size) = match self.entries[index].held {
            Held::Nothing => return None,
            Held::Noop => (Taken::Noop, 0),
            Held::Skip(slots) => (Taken::Skip(slots), slots),
            Held::Copied { length, .. } | Held::Framed { length, .. } => {
                (Taken::Value, length.into())
            }
        };
        self.trail.note(self.next, self.entries[index].decided, size);
        if taken == Taken::Value {
            self.current = Some(self.next);
        } else {
            self.entries[index] = Entry::default();
        }
        self.next = self.next.next();
        self.frontier = self.frontier.max(self.next);
        Some(taken)
    }

    /// The bytes of the value in use.
    #[inline]
    pub(super) fn bytes<'a>(&'a self, pool: &'a impl Pool) -> &'a [u8] {
        let current = self.current.expect("a value is in use");
        match &self.entries[self.index(current)].held {
            Held::Copied { slot, length } => self.slot(*slot, *length),
            Held::Framed { frame, start, length } => {
                &pool.bytes(frame)[*start as usize..(*start + *length) as usize]
            }
            Held::Nothing | Held::Noop | Held::Skip(_) => unreachable!("a value in use has bytes"),
        }
    }

    /// Lets go of the value in use.
    #[inline]
    pub(super) fn release(&mut self, pool: &mut impl Pool) {
        let current = self.current.take().expect("a value is in use");
        let index = self.index(current);
        match std::mem::take(&mut self.entries[index]).held {
            Held::Copied { slot, .. } => self.free.push(slot),
            Held::Framed { frame, .. } => {
                self.frames -= 1;
                pool.release(frame);
            }
            Held::Nothing | Held::Noop | Held::Skip(_) => unreachable!("a value in use has bytes"),
        }
    }

    /// Copies every batch that is still in a frame into the arena and releases the frames. Returns
    /// how many were copied.
    pub(super) fn settle(&mut self, pool: &mut impl Pool) -> u64 {
        self.release_discarded(pool);
        let mut copies = 0;
        while let Some(instance) = self.framed.pop() {
            // Delivered and released since: the entry is free, or another instance's.
            if self.frames == 0 || (instance < self.next && Some(instance) != self.current) {
                continue;
            }
            let index = self.index(instance);
            let entry = &mut self.entries[index];
            match std::mem::take(&mut entry.held) {
                Held::Framed { frame, start, length } => {
                    let batch = &pool.bytes(&frame)[start as usize..(start + length) as usize];
                    self.put_copy(instance, batch);
                    pool.release(frame);
                    self.frames -= 1;
                    copies += 1;
                }
                held => entry.held = held,
            }
        }
        debug_assert_eq!(self.frames, 0, "no frame outlives its duty cycle");
        copies
    }

    /// Releases the frames of values that were replaced.
    pub(super) fn release_discarded(&mut self, pool: &mut impl Pool) {
        while let Some(frame) = self.discarded.pop() {
            self.frames -= 1;
            pool.release(frame);
        }
    }

    /// The next instance to hand over; a value in use counts as not handed over yet.
    pub(super) fn position(&self) -> Instance {
        self.current.unwrap_or(self.next)
    }

    pub(super) const fn frontier(&self) -> Instance {
        self.frontier
    }

    pub(super) const fn value_frontier(&self) -> Instance {
        self.value_frontier
    }

    /// The first instance above the window.
    pub(super) const fn end(&self) -> Instance {
        self.next.plus(self.mask)
    }

    pub(super) const fn frames(&self) -> usize {
        self.frames
    }

    /// What is missing of `instance`, if everything up to `decided` is known to be decided.
    pub(super) fn wanted(&self, instance: Instance, decided: Instance) -> Option<Wanted> {
        let entry = &self.entries[self.index(instance)];
        let has_value = !matches!(entry.held, Held::Nothing);
        if entry.decided == ValueId::NONE {
            match has_value {
                true if instance <= decided => Some(Wanted::Decision),
                true => None,
                false => Some(Wanted::Both),
            }
        } else {
            (!has_value || entry.id != entry.decided).then_some(Wanted::Value)
        }
    }

    /// Rule 2: the value that is here is the one that was decided, by name.
    #[inline]
    fn is_ready(&self, instance: Instance) -> bool {
        let entry = &self.entries[self.index(instance)];
        let is_decided = entry.decided != ValueId::NONE
            && (entry.decided == entry.id || Bug::DeliverWithoutId.is_planted());
        is_decided && !matches!(entry.held, Held::Nothing)
    }

    fn has_value(&self, instance: Instance) -> bool {
        !matches!(self.entries[self.index(instance)].held, Held::Nothing)
    }

    fn slot(&self, slot: u32, length: u32) -> &[u8] {
        let start = slot as usize * MAX_DATAGRAM;
        &self.arena[start..start + length as usize]
    }

    fn clear(&mut self, index: usize) {
        match std::mem::take(&mut self.entries[index]).held {
            Held::Copied { slot, .. } => self.free.push(slot),
            Held::Framed { frame, .. } => self.discarded.push(frame),
            Held::Nothing | Held::Noop | Held::Skip(_) => {}
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked to the number of entries")]
    const fn index(&self, instance: Instance) -> usize {
        (instance.0 & self.mask) as usize
    }

    fn entry_mut(&mut self, instance: Instance) -> &mut Entry {
        debug_assert!(self.position() <= instance && instance < self.end());
        &mut self.entries[self.index(instance)]
    }
}

/// What is known of the instances that it holds; a value is its name, for one name has one value.
impl Hash for Window {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.next, self.current, self.frontier, self.value_frontier).hash(state);
        for instance in self.position().0..self.end().0 {
            let Entry { held, id, ballot, proposed, decided } =
                &self.entries[self.index(Instance(instance))];
            (matches!(held, Held::Nothing), id, ballot, proposed, decided).hash(state);
        }
    }
}
