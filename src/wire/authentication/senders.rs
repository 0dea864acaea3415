//! Whom a thread has heard, each with its key and its window.

use super::window::Window;
use crate::types::{Incarnation, KeyNumber};
use aws_lc_rs::aead::LessSafeKey;

/// Senders that are remembered; beyond it the one that was silent longest is forgotten. Forgetting
/// lets its old datagrams come once more, which the protocol takes as late duplicates.
const MOST: usize = 256;

/// What a sender's key is derived from, beside the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) number: KeyNumber,
    pub(super) incarnation: Incarnation,
    pub(super) salt: u64,
}

impl Name {
    /// The bytes that the key depends on.
    pub(super) fn bytes(&self, cluster: u64) -> [u8; 26] {
        let mut bytes = [0; 26];
        bytes[..8].copy_from_slice(&cluster.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.incarnation.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        bytes[24..].copy_from_slice(&self.number.0.to_le_bytes());
        bytes
    }
}

#[derive(Debug)]
struct Sender {
    name: Name,
    key: LessSafeKey,
    heard: u64,
}

/// The table; all of its memory but the keys' own is there from the start.
#[derive(Debug)]
pub(super) struct Senders {
    /// Salts of `senders`, apart, so that a look passes over few lines.
    salts: Vec<u64>,
    senders: Vec<Sender>,
    windows: Box<[Window]>,
    last: usize,
    clock: u64,
}

impl Senders {
    pub(super) fn new() -> Self {
        Self {
            salts: Vec::with_capacity(MOST),
            senders: Vec::with_capacity(MOST),
            windows: vec![Window::new(); MOST].into(),
            last: 0,
            clock: 0,
        }
    }

    /// The key and the window of `name`, if it was heard before.
    #[inline]
    pub(super) fn find(&mut self, name: &Name) -> Option<(&LessSafeKey, &mut Window)> {
        let is = |index: usize, of: &Self| of.senders.get(index).is_some_and(|s| s.name == *name);
        if !is(self.last, self) {
            let salts = self.salts.iter().enumerate();
            let mut known = salts.filter(|(_, salt)| **salt == name.salt).map(|(index, _)| index);
            self.last = known.find(|index| is(*index, self))?;
        }
        self.clock += 1;
        let sender = &mut self.senders[self.last];
        sender.heard = self.clock;
        Some((&sender.key, &mut self.windows[self.last]))
    }

    /// Remembers a sender that has authenticated itself, and that it has sent `counter`.
    pub(super) fn insert(&mut self, name: Name, key: LessSafeKey, counter: u64) {
        self.clock += 1;
        let sender = Sender { name, key, heard: self.clock };
        self.last = if self.senders.len() < MOST {
            self.senders.push(sender);
            self.salts.push(name.salt);
            self.senders.len() - 1
        } else {
            let silent = (0..MOST).min_by_key(|index| self.senders[*index].heard);
            let index = silent.expect("there are MOST");
            self.senders[index] = sender;
            self.salts[index] = name.salt;
            index
        };
        let window = &mut self.windows[self.last];
        window.clear();
        window.mark(counter);
    }
}
