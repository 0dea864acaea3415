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
use crate::sync::atomic::{AtomicUsize, Mutex, MutexGuard};
use crate::types::GroupId;
use crossbeam_utils::CachePadded;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

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

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;
    use crate::sync::Rendezvous;
    use crate::sync::model::{Plain, explore, meet};
    use crate::types::GroupSet;
    use loom::sync::Arc;

    /// What one worker does between the cut and a command of all groups.
    #[derive(Clone, Copy)]
    enum Early {
        Nothing,
        Sweep(usize),
        Change(usize),
    }

    /// A service of two groups with one piece each: what it is now, and whether the cut has it.
    struct Service {
        cuts: Cuts<()>,
        pieces: [Plain<(u8, bool)>; 2],
        rendezvous: Rendezvous,
    }

    impl Service {
        /// Piece `index` is `value` from now on.
        fn change(&self, index: usize, value: u8, access: Access) {
            let (before, is_known) = self.pieces[index].get();
            if !is_known {
                self.cuts.save(access, |saved| saved.push(before));
            }
            self.pieces[index].set((value, true));
        }

        fn sweep(&self, index: usize, sink: &mut Vec<u8>) -> Swept {
            self.cuts.sweep(GroupId::new(index), sink, |(), sink| {
                let (value, is_known) = self.pieces[index].get();
                if !is_known {
                    sink.push(value);
                    self.pieces[index].set((value, true));
                }
                Swept::Done
            })
        }

        /// A cut, what comes `early`, a command of all groups, one of this worker's own, the rest of
        /// the sweep. All that this worker gives out.
        fn work(&self, me: usize, early: Early) -> Vec<u8> {
            let all = |epoch| (GroupSet::all(2), epoch);
            meet(&self.rendezvous, (me, 0), all(0), || self.cuts.begin(|_| ()));
            let mut sink = Vec::new();
            let own = Access::Keys(GroupId::new(me));
            match early {
                Early::Sweep(who) if who == me => {
                    assert_eq!(self.sweep(me, &mut sink), Swept::Done);
                }
                Early::Change(who) if who == me => self.change(me, 15, own),
                _ => {}
            }
            meet(&self.rendezvous, (me, 1), all(1), || {
                (0..2).for_each(|index| self.change(index, 20, Access::Whole));
            });
            self.change(me, 30, own);
            assert_eq!(self.sweep(me, &mut sink), Swept::Done);
            sink
        }
    }

    fn gives_out_the_cut_once(early: Early) {
        explore(move || {
            let service = Arc::new(Service {
                cuts: Cuts::new(2),
                pieces: Default::default(),
                rendezvous: Rendezvous::new(2),
            });
            (0..2).for_each(|index| service.pieces[index].set(([10, 11][index], false)));
            let other = Arc::clone(&service);
            let other = loom::thread::spawn(move || other.work(1, early));
            let mut given_out = service.work(0, early);
            given_out.extend(other.join().expect("it does not panic"));
            given_out.sort_unstable();
            assert_eq!(given_out, [10, 11]);
        });
    }

    #[test]
    fn workers_that_end_their_sweeps_at_once_give_out_the_state_at_the_cut_once() {
        gives_out_the_cut_once(Early::Nothing);
    }

    #[test]
    fn what_is_saved_after_one_sweep_has_ended_is_given_out_by_the_last() {
        (0..2).for_each(|who| gives_out_the_cut_once(Early::Sweep(who)));
    }

    #[test]
    fn what_a_worker_has_saved_itself_is_given_out_once() {
        (0..2).for_each(|who| gives_out_the_cut_once(Early::Change(who)));
    }
}
