//! An acceptor's log in memory: a ring of instances, each with a slot for its value.
//!
//! Instance i lives at i modulo the capacity while trim < i <= trim + capacity. Everything is
//! allocated at the start; a value is copied once, from its datagram into its slot. The values are
//! apart from the entries, so that walking the entries touches no payload.

use super::Lsn;
use crate::types::{Ballot, Instance, NodeId, Time, ValueId};
use crate::wire::{MAX_BATCH, MAX_DATAGRAM, Value};
use std::hash::{Hash, Hasher};

/// Bytes of one value's slot.
const SLOT_BYTES: usize = MAX_DATAGRAM;

/// What the slot of an instance holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Held {
    /// No value yet.
    #[default]
    Nothing,
    /// A no-op.
    Noop,
    /// SKIP(n).
    Skip(u64),
    /// That many bytes of commands.
    Batch(u16),
    /// The epoch that begins, and how many bytes its members take.
    Members(u32, u16),
}

impl Held {
    /// How many slots of the merge it takes.
    pub(super) const fn slots(self) -> u64 {
        match self {
            Self::Skip(n) => n,
            Self::Nothing | Self::Noop | Self::Batch(_) | Self::Members(..) => 1,
        }
    }

    /// Bytes of payload.
    pub(super) fn length(self) -> usize {
        match self {
            Self::Batch(length) | Self::Members(_, length) => usize::from(length),
            Self::Nothing | Self::Noop | Self::Skip(_) => 0,
        }
    }
}

/// The 2B heard for an instance, whether or not its value is here (2B overtakes 2A).
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Heard {
    pub(super) ballot: Ballot,
    pub(super) id: ValueId,
    /// Bit p for the member at position p of the ballot's layout.
    pub(super) mask: u8,
}

/// What an acceptor knows of one instance.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Entry {
    pub(super) instance: Instance,
    /// The ballot at which the value was accepted. Zero: a batch of this coordinator that has not
    /// left yet, known to nobody.
    pub(super) ballot: Ballot,
    pub(super) id: ValueId,
    pub(super) held: Held,
    /// The value id that is decided; NONE while that is unknown.
    pub(super) chosen: ValueId,
    /// The record of the accept.
    pub(super) lsn: Lsn,
    pub(super) heard: Heard,
    /// The mask of the 2B that this member sent at `ballot`; 0: none.
    pub(super) emitted: u8,
    /// In flight at this coordinator.
    pub(super) is_flying: bool,
    /// The last repair: when, and who asked. `NodeId::ALL`: it was multicast.
    pub(super) asked_at: Time,
    pub(super) asked_by: NodeId,
}

impl Entry {
    /// Whether a value was accepted here.
    pub(super) fn is_accepted(&self) -> bool {
        self.held != Held::Nothing && self.ballot != Ballot::ZERO
    }

    /// Whether the accepted value is known to be the decided one.
    pub(super) fn is_decided(&self) -> bool {
        self.is_accepted() && self.chosen == self.id
    }
}

/// The instances from the trim mark on.
#[derive(Clone, Debug)]
pub(super) struct Window {
    entries: Box<[Entry]>,
    values: Box<[u8]>,
    mask: u64,
    trim: Instance,
    highest: Instance,
}

impl Window {
    /// An empty window of `instances`, a power of two.
    pub(super) fn new(instances: usize) -> Self {
        assert!(instances.is_power_of_two(), "a log holds a power of two instances");
        Self {
            entries: vec![Entry::default(); instances].into_boxed_slice(),
            values: vec![0; instances * SLOT_BYTES].into_boxed_slice(),
            mask: instances as u64 - 1,
            trim: Instance(0),
            highest: Instance(0),
        }
    }

    /// Everything up to here is forgotten.
    pub(super) const fn trim(&self) -> Instance {
        self.trim
    }

    /// The highest instance with a value that was accepted here.
    pub(super) fn highest(&self) -> Instance {
        self.highest.max(self.trim)
    }

    /// The last instance that fits.
    pub(super) const fn end(&self) -> Instance {
        self.trim.plus(self.mask + 1)
    }

    /// Forgets everything up to `trim`. Entries are cleared when their place is claimed again.
    pub(super) fn set_trim(&mut self, trim: Instance) {
        debug_assert!(trim >= self.trim, "a trim mark only rises");
        self.trim = trim;
    }

    /// What is known of `instance`, if it is in the window and anything is.
    #[inline]
    pub(super) fn entry(&self, instance: Instance) -> Option<&Entry> {
        let entry = &self.entries[self.place(instance)];
        (entry.instance == instance && instance > self.trim).then_some(entry)
    }

    /// As [`Window::entry`], to change it.
    #[inline]
    pub(super) fn entry_mut(&mut self, instance: Instance) -> Option<&mut Entry> {
        let place = self.place(instance);
        let entry = &mut self.entries[place];
        (entry.instance == instance && instance > self.trim).then_some(entry)
    }

    /// The entry of `instance`, blank if nothing was known; none outside the window.
    #[inline]
    pub(super) fn claim(&mut self, instance: Instance) -> Option<&mut Entry> {
        if instance <= self.trim || instance > self.end() {
            return None;
        }
        let place = self.place(instance);
        let entry = &mut self.entries[place];
        if entry.instance != instance {
            debug_assert!(entry.instance <= self.trim, "a place is free once it is trimmed");
            *entry = Entry { instance, asked_by: NodeId::ALL, ..Entry::default() };
        }
        Some(entry)
    }

    /// Copies an accepted `value` into the slot of `instance`, which is claimed and in the window.
    pub(super) fn accept(
        &mut self,
        instance: Instance,
        (ballot, id): (Ballot, ValueId),
        value: &Value<'_>,
    ) {
        let bytes = value.bytes();
        let length = u16::try_from(bytes.len()).expect("a value fits a datagram");
        let held = match value {
            Value::Noop => Held::Noop,
            Value::Skip(n) => Held::Skip(*n),
            Value::Batch(_) => Held::Batch(length),
            Value::Members(epoch, _) => Held::Members(*epoch, length),
        };
        if length > 0 {
            self.slot_mut(instance)[..bytes.len()].copy_from_slice(bytes);
        }
        self.highest = self.highest.max(instance);
        let entry = self.claim(instance).expect("a value is accepted inside the window");
        entry.held = held;
        entry.ballot = ballot;
        entry.id = id;
        entry.emitted = 0;
    }

    /// Marks what the slot of `instance` holds already as accepted.
    pub(super) fn accept_held(&mut self, instance: Instance, ballot: Ballot) {
        self.highest = self.highest.max(instance);
        let entry = self.entry_mut(instance).expect("what is held is in the window");
        debug_assert!(entry.held != Held::Nothing, "nothing is held");
        entry.ballot = ballot;
        entry.emitted = 0;
    }

    /// The value of `instance`, if one is held.
    #[inline]
    pub(super) fn value(&self, instance: Instance) -> Option<Value<'_>> {
        let entry = self.entry(instance)?;
        match entry.held {
            Held::Nothing => None,
            Held::Noop => Some(Value::Noop),
            Held::Skip(n) => Some(Value::Skip(n)),
            Held::Batch(length) => Some(Value::Batch(self.slot(instance, length))),
            Held::Members(epoch, length) => {
                Some(Value::Members(epoch, self.slot(instance, length)))
            }
        }
    }

    #[inline]
    fn slot(&self, instance: Instance, length: u16) -> &[u8] {
        let start = self.place(instance) * SLOT_BYTES;
        &self.values[start..start + usize::from(length)]
    }

    /// The bytes of the slot of `instance`, where a coordinator gathers a batch.
    pub(super) fn slot_mut(&mut self, instance: Instance) -> &mut [u8] {
        let start = self.place(instance) * SLOT_BYTES;
        &mut self.values[start..start + MAX_BATCH]
    }

    #[inline]
    fn place(&self, instance: Instance) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "masked to the capacity, a usize")]
        let place = (instance.0 & self.mask) as usize;
        place
    }
}

/// What is remembered alone: places that are free tell nothing.
impl Hash for Window {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { entries, values: _, mask: _, trim, highest } = self;
        (trim, highest).hash(state);
        for entry in entries.iter().filter(|entry| entry.instance > *trim) {
            entry.hash(state);
            if let Some(Value::Batch(bytes)) = self.value(entry.instance) {
                bytes.hash(state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Incarnation;

    const NAME: (Ballot, ValueId) =
        (Ballot::new(1, NodeId(1), Incarnation(1)), ValueId::new(NodeId(1), Incarnation(1), 1));

    #[test]
    fn a_place_is_used_again_once_its_instance_is_trimmed() {
        let mut window = Window::new(4);
        assert!(window.claim(Instance(0)).is_none());
        assert!(window.claim(Instance(5)).is_none());
        window.accept(Instance(1), NAME, &Value::Batch(b"one"));
        window.accept(Instance(4), NAME, &Value::Skip(9));
        window.set_trim(Instance(1));
        assert!(window.value(Instance(1)).is_none());
        assert!(window.value(Instance(5)).is_none());
        window.accept(Instance(5), NAME, &Value::Batch(b"five"));
        assert_eq!(window.value(Instance(5)), Some(Value::Batch(b"five")));
        assert_eq!(window.value(Instance(4)), Some(Value::Skip(9)));
        assert_eq!(window.highest(), Instance(5));
    }
}
