//! What a service keeps of its state at a cut, until it is swept.
//!
//! A cut is made while all workers are parked. From then on whoever is the first to change something
//! that is not given out yet saves how it was, and each worker sweeps the rest of its own group, a
//! little at a time. What is saved on the way waits in a hand: one a group, written by its worker,
//! and one for whoever holds several groups or all. The last group to end its sweep empties that
//! one: by then nothing is left that anybody would still save.
//!
//! A lock is taken once for each piece of state that is saved and once a sweep, never for a command
//! as such, and nobody else wants it then: a worker is the only one to use its hand, and whoever
//! holds the whole is alone.
#![expect(clippy::disallowed_types, reason = "a lock a saved piece, which nobody contends for")]

use super::Access;
use crate::types::GroupId;
use crossbeam_utils::CachePadded;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How far the sweep of a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// There may be more.
    More,
    /// Everything of this group has been given out; once all groups say so, the whole state has.
    Done,
}

/// The hands of a service with cursors of type `C`.
#[derive(Debug)]
pub struct Cuts<C> {
    hands: Box<[CachePadded<Mutex<Hand<C>>>]>,
    /// Groups whose sweep is not done.
    open: AtomicUsize,
}

/// What was saved by one hand, and how far its group was swept.
#[derive(Debug)]
struct Hand<C> {
    saved: Vec<u8>,
    /// Of a group whose sweep is under way.
    cursor: Option<C>,
}

impl<C> Cuts<C> {
    /// No cut yet, for `groups` groups.
    #[must_use]
    pub fn new(groups: usize) -> Self {
        let hand = || CachePadded::new(Mutex::new(Hand { saved: Vec::new(), cursor: None }));
        Self { hands: (0..=groups).map(|_| hand()).collect(), open: AtomicUsize::new(0) }
    }

    /// Makes a cut, of the whole's holder. What an earlier one left is dropped. The sweep of each
    /// group starts at its cursor.
    pub fn begin(&self, cursor: impl Fn(GroupId) -> C) {
        let (_, groups) = self.hands.split_last().expect("a hand for the whole");
        for (group, hand) in groups.iter().enumerate() {
            *lock(hand) = Hand { saved: Vec::new(), cursor: Some(cursor(GroupId::new(group))) };
        }
        self.open.store(groups.len(), Relaxed);
        self.save(Access::Whole, Vec::clear);
    }

    /// Drops what is left of a cut, of the whole's holder: the state was replaced.
    pub fn abandon(&self) {
        for hand in &self.hands {
            *lock(hand) = Hand { saved: Vec::new(), cursor: None };
        }
    }

    /// Saves a piece of state before it changes; `access` is what the change runs under.
    pub fn save(&self, access: Access, write: impl FnOnce(&mut Vec<u8>)) {
        let index = match access {
            Access::Keys(group) => group.index(),
            Access::Groups(_) | Access::Whole => self.hands.len() - 1,
        };
        write(&mut lock(&self.hands[index]).saved);
    }

    /// A part of the sweep of `group`: `step` gives out what it finds from the cursor on.
    pub fn sweep(
        &self,
        group: GroupId,
        sink: &mut Vec<u8>,
        step: impl FnOnce(&mut C, &mut Vec<u8>) -> Swept,
    ) -> Swept {
        let mut hand = lock(&self.hands[group.index()]);
        let Some(cursor) = &mut hand.cursor else { return Swept::Done };
        let swept = step(cursor, sink);
        sink.append(&mut hand.saved);
        if swept == Swept::More {
            return Swept::More;
        }
        hand.cursor = None;
        drop(hand);
        if self.open.fetch_sub(1, AcqRel) == 1 {
            let whole = self.hands.last().expect("a hand for the whole");
            sink.append(&mut lock(whole).saved);
        }
        Swept::Done
    }
}

fn lock<C>(hand: &Mutex<Hand<C>>) -> MutexGuard<'_, Hand<C>> {
    hand.lock().unwrap_or_else(PoisonError::into_inner)
}
