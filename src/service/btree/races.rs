//! A race detector that needs no race: who touched a leaf since the last barrier.
//!
//! A check with one bound missing is logically harmless: only one group changes the leaf, so every
//! interleaving of whole commands ends the same. It is still a race with readers of the other group,
//! who may see entries on the move. So builds with debug assertions or the feature `planted-bugs`
//! note in each leaf which groups read or moved entries there since the workers last met; a move
//! beside any other group's access is unordered, whether or not it went wrong this time. Other
//! builds have none of this.

use super::node::Node;
use super::tree::BTree;
use crate::service::Access;
use std::sync::atomic::Ordering::Relaxed;

/// Whether accesses are noted.
pub(super) const IS_TRACED: bool = cfg!(any(feature = "planted-bugs", debug_assertions));

/// What a command does in a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    /// Reads entries or writes a value in place.
    Slot,
    /// Moves entries.
    Move,
}

/// No group; several groups. Groups are below 64.
const NOBODY: u8 = 255;
const SEVERAL: u8 = 254;

/// A leaf's note: the low bytes of an epoch, who read, who moved.
#[derive(Clone, Copy)]
struct Note {
    epoch: u64,
    reader: u8,
    mover: u8,
}

impl Note {
    const EPOCH_BITS: u32 = 48;

    const fn to_bits(self) -> u64 {
        self.epoch << 16 | (self.reader as u64) << 8 | self.mover as u64
    }

    const fn from_bits(bits: u64) -> Self {
        let [mover, reader, ..] = bits.to_le_bytes();
        Self { epoch: bits >> 16, reader, mover }
    }

    /// With one access more, and whether that is unordered with one before.
    fn with(self, epoch: u64, group: u8, touch: Touch) -> (Self, bool) {
        let mut note =
            if self.epoch == epoch { self } else { Self { epoch, reader: NOBODY, mover: NOBODY } };
        let is_other = |who: u8| who != NOBODY && who != group;
        let is_race = is_other(note.mover) || touch == Touch::Move && is_other(note.reader);
        let who = if touch == Touch::Move { &mut note.mover } else { &mut note.reader };
        *who = if is_other(*who) { SEVERAL } else { group };
        (note, is_race)
    }
}

impl BTree {
    /// Accesses that no barrier orders with a move of entries; always 0 in builds without notes.
    #[must_use]
    pub fn races(&self) -> u64 {
        self.shape.races.load(Relaxed)
    }

    /// Notes an access under a lease of parallel mode; other leases mean that the workers have met.
    #[inline(always)]
    pub(super) fn note(&self, leaf: Node<'_>, access: Access, touch: Touch) {
        if IS_TRACED && let Access::Keys(group) = access {
            let epoch = self.shape.epoch.load(Relaxed) % (1 << Note::EPOCH_BITS);
            let group = u8::try_from(group.index()).expect("below 64");
            let mut is_race = false;
            let update = |bits| {
                let (note, unordered) = Note::from_bits(bits).with(epoch, group, touch);
                is_race = unordered;
                Some(note.to_bits())
            };
            let _ = leaf.note().fetch_update(Relaxed, Relaxed, update);
            self.shape.races.fetch_add(u64::from(is_race), Relaxed);
        }
    }

    /// Begins a new epoch where workers have met.
    #[inline(always)]
    pub(super) fn note_barrier(&self, access: Access) {
        if IS_TRACED && !matches!(access, Access::Keys(_)) {
            self.shape.epoch.fetch_add(1, Relaxed);
        }
    }
}
