//! Where the workers of a replica meet in synchronous mode (Algorithm 1 of opt-PSMR).
//!
//! Each worker of the set arrives at the command's epoch; when all have, the executor executes and
//! releases them. Nobody waits inside: a worker that may not go on is polled again. Two words a
//! worker, each on a line of its own with one writer, so a round of K workers costs K - 1 transfers
//! to the executor and one from it to each other. Executors of disjoint sets work at once.

use super::Waker;
use super::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::types::{GroupId, GroupSet, MAX_GROUPS};
use crossbeam_utils::CachePadded;
use std::fmt;
use std::sync::OnceLock;

/// The meeting point of a replica's workers, shared by them through an `Arc`.
///
/// Epochs are the same at all workers (a count that is part of the position); they only grow, a
/// worker that is not in a command's set leaves its epoch out.
#[derive(Debug)]
pub struct Rendezvous {
    lines: Box<[Lines]>,
    /// Set once a worker at start, then read only.
    wakers: Box<[OnceLock<Waker>]>,
}

/// One worker's lines. A word holds its epoch + 1, so that 0 is "never".
#[derive(Debug)]
struct Lines {
    /// Written by this worker; polled by the executor that it arrived for.
    arrived: CachePadded<Arrival>,
    /// Written by this worker as an executor; polled by those that it will release.
    released: CachePadded<AtomicU64>,
}

#[derive(Debug)]
struct Arrival {
    epoch: AtomicU64,
    /// Whom it waits for: for diagnosis alone.
    executor: AtomicU32,
}

impl Rendezvous {
    /// A rendezvous of `workers` workers, one a group.
    ///
    /// # Panics
    /// If `workers` is 0 or above [`MAX_GROUPS`].
    #[must_use]
    pub fn new(workers: usize) -> Self {
        assert!(workers > 0 && workers <= MAX_GROUPS, "1 to {MAX_GROUPS} workers, not {workers}");
        let lines = || Lines {
            arrived: CachePadded::new(Arrival {
                epoch: AtomicU64::new(0),
                executor: AtomicU32::new(0),
            }),
            released: CachePadded::new(AtomicU64::new(0)),
        };
        Self {
            lines: (0..workers).map(|_| lines()).collect(),
            wakers: (0..workers).map(|_| OnceLock::new()).collect(),
        }
    }

    /// How many workers meet here.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.lines.len()
    }

    /// Tells how to wake `worker`'s thread: before any worker arrives anywhere. A worker without a
    /// waker is never asleep (it spins, or it is simulated).
    ///
    /// # Panics
    /// If the worker has one already.
    pub fn attach(&self, worker: GroupId, waker: Waker) {
        assert!(self.wakers[worker.index()].set(waker).is_ok(), "one waker a worker");
    }

    /// `worker` has come to the command of `epoch` and will touch nothing of the set's state before
    /// `executor` releases it. Wakes the executor if it sleeps. The executor arrives as well.
    ///
    /// # Panics
    /// If `worker` has been at this epoch or a later one before.
    #[inline]
    pub fn arrive(&self, worker: GroupId, executor: GroupId, epoch: u64) {
        let own = &self.lines[worker.index()].arrived;
        let last = own.epoch.load(Ordering::Relaxed);
        assert!(last <= epoch, "worker {} arrives at epoch {epoch} late", worker.index());
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        own.executor.store(executor.index() as u32, Ordering::Relaxed);
        // Release: pairs with the Acquire in have_arrived, hands this worker's state over.
        own.epoch.store(epoch + 1, Ordering::Release);
        if worker != executor
            && let Some(waker) = self.wakers[executor.index()].get()
        {
            waker.wake();
        }
    }

    /// Whether every worker of `set` has arrived at `epoch`. If so, the caller, who must be the
    /// executor, sees all that they did before.
    #[inline]
    #[must_use]
    pub fn have_arrived(&self, set: GroupSet, epoch: u64) -> bool {
        let mut bits = set.to_bits();
        while bits != 0 {
            let line = &self.lines[bits.trailing_zeros() as usize].arrived;
            // Acquire: pairs with the Release in arrive.
            if line.epoch.load(Ordering::Acquire) <= epoch {
                return false;
            }
            bits &= bits - 1;
        }
        true
    }

    /// `executor` has executed the command of `epoch`: the workers of `set` go on and see its
    /// effects. Wakes those that sleep.
    ///
    /// # Panics
    /// If `executor` has released this epoch or a later one before.
    #[inline]
    pub fn release(&self, executor: GroupId, set: GroupSet, epoch: u64) {
        debug_assert!(self.have_arrived(set, epoch), "released before all arrived");
        let own = &self.lines[executor.index()].released;
        let last = own.load(Ordering::Relaxed);
        assert!(last <= epoch, "executor {} releases epoch {epoch} late", executor.index());
        // Release: pairs with the Acquire in is_released, hands the executor's effects over.
        own.store(epoch + 1, Ordering::Release);
        fence(Ordering::SeqCst);
        let mut bits = set.to_bits() & !GroupSet::one(executor).to_bits();
        while bits != 0 {
            if let Some(waker) = self.wakers[bits.trailing_zeros() as usize].get() {
                waker.wake_after_fence();
            }
            bits &= bits - 1;
        }
    }

    /// Whether `executor` has executed the command of `epoch`. If so, the caller sees its effects.
    #[inline]
    #[must_use]
    pub fn is_released(&self, executor: GroupId, epoch: u64) -> bool {
        // Acquire: pairs with the Release in release.
        self.lines[executor.index()].released.load(Ordering::Acquire) > epoch
    }

    /// Forgets who has been where: all workers go on at another place of the order, which may be an
    /// earlier one for some. None of them moves meanwhile, and each is told after this.
    pub fn reset(&self) {
        for lines in &self.lines {
            lines.arrived.epoch.store(0, Ordering::Relaxed);
            lines.released.store(0, Ordering::Relaxed);
        }
    }

    /// Who stands where, for a message about a rendezvous that has been open too long. Words are
    /// read one by one: exact for workers that are stuck, approximate for those that move.
    #[must_use]
    pub fn state(&self) -> RendezvousState {
        let worker = |(index, lines): (usize, &Lines)| WorkerState {
            worker: GroupId::new(index),
            arrived: lines.arrived.epoch.load(Ordering::Relaxed).checked_sub(1),
            executor: GroupId::new(lines.arrived.executor.load(Ordering::Relaxed) as usize),
            released: lines.released.load(Ordering::Relaxed).checked_sub(1),
            parked: self.wakers[index].get().is_some_and(Waker::is_parked),
        };
        RendezvousState { workers: self.lines.iter().enumerate().map(worker).collect() }
    }
}

/// What [`Rendezvous::state`] read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RendezvousState {
    /// Each worker, in order.
    pub workers: Vec<WorkerState>,
}

/// Where one worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerState {
    /// The worker.
    pub worker: GroupId,
    /// The last epoch that it arrived at.
    pub arrived: Option<u64>,
    /// The executor that it arrived for then.
    pub executor: GroupId,
    /// The last epoch that it released as an executor.
    pub released: Option<u64>,
    /// Whether its thread sleeps.
    pub parked: bool,
}

impl RendezvousState {
    /// The workers that have arrived at an epoch that its executor has not released yet.
    pub fn waiting(&self) -> impl Iterator<Item = &WorkerState> {
        self.workers.iter().filter(|w| self.workers[w.executor.index()].released < w.arrived)
    }
}

impl fmt::Display for RendezvousState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, w) in self.workers.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}worker {} ", w.worker.index())?;
            match w.arrived {
                None => write!(f, "never arrived")?,
                Some(epoch) => write!(f, "at epoch {epoch} of executor {}", w.executor.index())?,
            }
            if let Some(epoch) = w.released {
                write!(f, ", released {epoch}")?;
            }
            if w.parked {
                write!(f, ", asleep")?;
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    fn group(index: usize) -> GroupId {
        GroupId::new(index)
    }

    #[test]
    fn the_executor_waits_for_all_and_the_others_for_the_executor() {
        let rendezvous = Rendezvous::new(3);
        let all = GroupSet::all(3);
        rendezvous.arrive(group(1), group(0), 0);
        rendezvous.arrive(group(0), group(0), 0);
        assert!(!rendezvous.have_arrived(all, 0));
        rendezvous.arrive(group(2), group(0), 0);
        assert!(rendezvous.have_arrived(all, 0));
        assert!(!rendezvous.is_released(group(0), 0));
        rendezvous.release(group(0), all, 0);
        assert!(rendezvous.is_released(group(0), 0));
        assert!(!rendezvous.is_released(group(0), 1));
    }

    #[test]
    fn executors_of_disjoint_sets_do_not_wait_for_each_other() {
        let rendezvous = Rendezvous::new(4);
        let (low, high) = (GroupSet::from_bits(0b0011), GroupSet::from_bits(0b1100));
        rendezvous.arrive(group(2), group(3), 8);
        rendezvous.arrive(group(3), group(3), 8);
        assert!(rendezvous.have_arrived(high, 8) && !rendezvous.have_arrived(low, 7));
        rendezvous.release(group(3), high, 8);
        assert!(rendezvous.is_released(group(3), 8));
        rendezvous.arrive(group(0), group(1), 7);
        assert!(!rendezvous.is_released(group(1), 7));
    }

    #[test]
    fn a_worker_outside_the_set_leaves_the_epoch_out() {
        let rendezvous = Rendezvous::new(3);
        let pair = GroupSet::from_bits(0b011);
        rendezvous.arrive(group(0), group(1), 4);
        rendezvous.arrive(group(1), group(1), 4);
        rendezvous.release(group(1), pair, 4);
        rendezvous.arrive(group(2), group(0), 5);
        rendezvous.arrive(group(0), group(0), 5);
        rendezvous.arrive(group(1), group(0), 5);
        assert!(rendezvous.have_arrived(GroupSet::all(3), 5));
    }

    #[test]
    #[should_panic(expected = "arrives at epoch 3 late")]
    fn an_epoch_comes_once() {
        let rendezvous = Rendezvous::new(2);
        rendezvous.arrive(group(0), group(1), 3);
        rendezvous.arrive(group(0), group(1), 3);
    }

    #[test]
    fn the_state_names_who_is_waiting_and_for_whom() {
        let rendezvous = Rendezvous::new(2);
        assert_eq!(rendezvous.state().waiting().count(), 0);
        rendezvous.arrive(group(1), group(0), 9);
        let state = rendezvous.state();
        assert_eq!(state.waiting().map(|w| w.worker).collect::<Vec<_>>(), [group(1)]);
        assert_eq!(state.to_string(), "worker 0 never arrived; worker 1 at epoch 9 of executor 0");
    }

    #[test]
    fn only_threads_that_sleep_are_woken() {
        let rendezvous = Rendezvous::new(2);
        let wakers = [Waker::of_event().unwrap(), Waker::of_event().unwrap()];
        for (i, waker) in wakers.iter().enumerate() {
            rendezvous.attach(group(i), waker.clone());
        }
        wakers[0].announce();
        rendezvous.arrive(group(1), group(0), 0);
        assert!(!wakers[0].is_parked(), "arriving wakes the executor");
        rendezvous.arrive(group(0), group(0), 0);
        wakers[1].announce();
        wakers[0].announce();
        rendezvous.release(group(0), GroupSet::all(2), 0);
        assert!(!wakers[1].is_parked(), "releasing wakes the others");
        assert!(wakers[0].is_parked(), "but not the executor itself");
    }
}
