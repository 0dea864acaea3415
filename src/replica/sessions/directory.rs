//! Which places of a session table are taken, and by whom: what ordered openings decide on.
//!
//! Every worker of every replica keeps its own and applies the same control commands in the same
//! order, so all of them give a session the same id without speaking to each other.

use crate::replica::SessionLimits;
use crate::types::{SessionId, Slot};
use std::collections::BTreeMap;

/// Who asked for a session: the client's life and its control command's number.
type Opener = (u64, u64);

/// The allocation of session ids.
#[derive(Debug)]
pub(in crate::replica) struct Directory {
    /// Free places, the next one last.
    free: Vec<u16>,
    opened: BTreeMap<Opener, SessionId>,
    openers: BTreeMap<SessionId, Opener>,
}

/// What came of an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum Opened {
    /// A new session.
    New(SessionId),
    /// The same opening was ordered before.
    Again(SessionId),
    /// There is no room.
    Full,
}

impl Directory {
    pub(in crate::replica) fn new(limits: SessionLimits) -> Self {
        let places = u16::try_from(limits.sessions).expect("below 65,536 sessions");
        Self {
            free: (0..places).rev().collect(),
            opened: BTreeMap::new(),
            openers: BTreeMap::new(),
        }
    }

    /// Gives `opener` a session named after the slot of its opening.
    pub(in crate::replica) fn open(&mut self, opener: Opener, slot: Slot) -> Opened {
        if let Some(id) = self.opened.get(&opener) {
            return Opened::Again(*id);
        }
        let Some(place) = self.free.pop() else { return Opened::Full };
        let id = SessionId((slot.0 << 16) | (u64::from(place) + 1));
        self.opened.insert(opener, id);
        self.openers.insert(id, opener);
        Opened::New(id)
    }

    /// Free places, the next one last.
    pub(super) fn free(&self) -> &[u16] {
        &self.free
    }

    /// The open sessions, by rising id, and who opened them.
    pub(super) fn open_sessions(&self) -> impl Iterator<Item = (SessionId, Opener)> {
        self.openers.iter().map(|(id, opener)| (*id, *opener))
    }

    /// Takes over another directory's content.
    pub(super) fn replace(&mut self, free: Vec<u16>, sessions: Vec<(SessionId, Opener)>) {
        self.free = free;
        self.opened = sessions.iter().map(|(id, opener)| (*opener, *id)).collect();
        self.openers = sessions.into_iter().collect();
    }

    /// Frees the place of `id`; says whether it was open.
    pub(in crate::replica) fn close(&mut self, id: SessionId) -> bool {
        let Some(opener) = self.openers.remove(&id) else { return false };
        self.opened.remove(&opener);
        #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are the place")]
        let place = (id.0 as u16) - 1;
        // The last to be taken again: for as long as possible its late commands get an answer.
        self.free.insert(0, place);
        true
    }
}
