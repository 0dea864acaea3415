//! What the models of other modules share; loom runs them, see docs/TESTING.md.
#![expect(unsafe_code, reason = "loom's cells hand out pointers; it checks the accesses")]

use super::Rendezvous;
use super::atomic::{AtomicUsize, Ordering};
use crate::types::{GroupId, GroupSet};
use loom::cell::UnsafeCell;
use loom::thread;

/// Runs `test` in every interleaving with at most three switches that no thread asked for, and with
/// every value that a load may see.
pub(crate) fn explore(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

/// Loom tries in every order what threads do here, one after the other. To be named where a thread
/// reads a word before it writes it: loom knows the last access to a word alone, and with the
/// writer's own read forgets that another thread's read before might have come after the write.
#[derive(Debug, Default)]
pub(crate) struct Turns(AtomicUsize);

impl Turns {
    pub(crate) fn take(&self) {
        // Relaxed: hands nothing over.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Plain memory that threads hand over: loom fails the test if two could be in it at once.
#[derive(Debug, Default)]
pub(crate) struct Plain<T>(UnsafeCell<T>);

impl<T: Copy> Plain<T> {
    pub(crate) fn set(&self, value: T) {
        // SAFETY: loom has just found that nobody else is in it.
        self.0.with_mut(|cell| unsafe { *cell = value });
    }

    pub(crate) fn get(&self) -> T {
        // SAFETY: loom has just found that nobody writes.
        self.0.with(|cell| unsafe { *cell })
    }
}

/// Worker `me` of `set` takes its part in the command of `epoch`, which `executor` executes.
pub(crate) fn meet(
    rendezvous: &Rendezvous,
    (me, executor): (usize, usize),
    (set, epoch): (GroupSet, u64),
    execute: impl FnOnce(),
) {
    let (me, executor) = (GroupId::new(me), GroupId::new(executor));
    rendezvous.arrive(me, executor, epoch);
    if me == executor {
        until(|| rendezvous.have_arrived(set, epoch));
        execute();
        rendezvous.release(me, set, epoch);
    } else {
        until(|| rendezvous.is_released(executor, epoch));
    }
}

/// Polls.
pub(crate) fn until(mut ready: impl FnMut() -> bool) {
    while !ready() {
        thread::yield_now();
    }
}
