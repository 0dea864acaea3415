//! Every interleaving (within loom's bounds) of what `sync` lets two or three threads do.
//!
//! `cargo test --features loom --test loom`
//!
//! Loom cannot take a spin, so how a thread waits is a parameter here: [`Sleep`] parks by the
//! waker's protocol (a lost wake-up is then a deadlock, which loom reports), [`Poll`] yields to
//! loom's scheduler as an awake thread does to the machine's.
#![expect(unsafe_code, reason = "loom's cells hand out pointers; it checks the accesses")]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use psmr::sync::{Rendezvous, SubmitError, Waker, queue};
use psmr::types::{GroupId, GroupSet};
use std::mem::ManuallyDrop;
use std::time::Duration;

/// How a thread of a test waits for `ready`.
trait Wait: 'static {
    fn start() -> Option<Waker>;
    fn until(waker: Option<&Waker>, ready: impl FnMut() -> bool);
}

/// Parks at once.
struct Sleep;

impl Wait for Sleep {
    fn start() -> Option<Waker> {
        Some(Waker::of_current_thread())
    }

    fn until(waker: Option<&Waker>, mut ready: impl FnMut() -> bool) {
        let waker = waker.expect("a sleeper has one");
        while !ready() {
            waker.announce();
            if ready() {
                waker.retract();
                return;
            }
            waker.park(Duration::MAX);
            waker.retract();
        }
    }
}

/// Polls.
struct Poll;

impl Wait for Poll {
    fn start() -> Option<Waker> {
        None
    }

    fn until(_: Option<&Waker>, mut ready: impl FnMut() -> bool) {
        while !ready() {
            thread::yield_now();
        }
    }
}

/// Up to three preemptions: enough for every known race of this kind, and seconds, not hours.
fn bounded(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

/// A replica's state: one cell a worker, which loom watches for races.
struct State {
    rendezvous: Rendezvous,
    cells: Vec<UnsafeCell<u64>>,
    /// How many workers have attached their wakers.
    attached: AtomicUsize,
}

impl State {
    fn new(workers: usize) -> Self {
        let cells = (0..workers).map(|_| UnsafeCell::new(0)).collect();
        Self { rendezvous: Rendezvous::new(workers), cells, attached: AtomicUsize::new(0) }
    }

    /// Attaches `own`'s waker.
    fn attach<W: Wait>(&self, own: GroupId) -> Option<Waker> {
        let waker = W::start()?;
        self.rendezvous.attach(own, waker.clone());
        self.attached.fetch_add(1, Ordering::Release);
        Some(waker)
    }

    fn add(&self, worker: usize, n: u64) {
        // SAFETY: loom fails the test if another thread could be in this cell.
        self.cells[worker].with_mut(|cell| unsafe { *cell += n });
    }

    fn value(&self, worker: usize) -> u64 {
        // SAFETY: as in `add`.
        self.cells[worker].with(|cell| unsafe { *cell })
    }
}

/// Worker `me` of `set`: own work, then a command of all the set at each epoch, own work after it.
fn work<W: Wait>(state: &State, waker: Option<&Waker>, me: usize, set: GroupSet, epochs: u64) {
    let own = GroupId::new(me);
    for epoch in 0..epochs {
        state.add(me, 1);
        let executor = set.member(epoch);
        state.rendezvous.arrive(own, executor, epoch);
        if executor == own {
            W::until(waker, || state.rendezvous.have_arrived(set, epoch));
            for group in set.iter() {
                state.add(group.index(), 10);
                assert_eq!(state.value(group.index()), 11 * (epoch + 1));
            }
            state.rendezvous.release(own, set, epoch);
        } else {
            W::until(waker, || state.rendezvous.is_released(executor, epoch));
        }
        assert_eq!(state.value(me), 11 * (epoch + 1));
    }
}

fn meet<W: Wait>(workers: usize, epochs: u64) {
    bounded(move || {
        let state = Arc::new(State::new(workers));
        let set = GroupSet::all(workers);
        let waker = state.attach::<W>(GroupId::new(0));
        let others: Vec<_> = (1..workers)
            .map(|me| {
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    let waker = state.attach::<W>(GroupId::new(me));
                    work::<W>(&state, waker.as_ref(), me, set, epochs);
                })
            })
            .collect();
        // Every waker is attached before anybody needs it, as a host does before it starts: worker
        // 0 is the only one that wakes others before it has met them.
        while waker.is_some() && state.attached.load(Ordering::Acquire) < workers {
            thread::yield_now();
        }
        work::<W>(&state, waker.as_ref(), 0, set, epochs);
        others.into_iter().for_each(|other| other.join().expect("no worker panics"));
    });
}

#[test]
fn two_workers_that_poll_hand_their_state_over_and_back() {
    meet::<Poll>(2, 2);
}

#[test]
fn two_workers_that_sleep_are_woken_at_each_step() {
    meet::<Sleep>(2, 2);
}

#[test]
fn three_workers_that_sleep_are_woken_at_each_step() {
    meet::<Sleep>(3, 1);
}

#[test]
fn a_sleeper_that_looks_again_is_always_woken() {
    loom::model(|| {
        let (waker, news) = (Waker::of_current_thread(), Arc::new(AtomicBool::new(false)));
        let publisher = {
            let (waker, news) = (waker.clone(), Arc::clone(&news));
            thread::spawn(move || {
                news.store(true, Ordering::Relaxed);
                waker.wake();
            })
        };
        Sleep::until(Some(&waker), || news.load(Ordering::Relaxed));
        publisher.join().expect("the publisher does not panic");
    });
}

#[test]
fn of_two_wakers_one_signals_and_that_is_enough() {
    bounded(|| {
        let waker = Waker::of_current_thread();
        let news = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let publishers = [0, 1].map(|i| {
            let (waker, news) = (waker.clone(), Arc::clone(&news));
            thread::spawn(move || {
                news[i].store(true, Ordering::Relaxed);
                waker.wake();
            })
        });
        Sleep::until(Some(&waker), || news.iter().all(|n| n.load(Ordering::Relaxed)));
        publishers.into_iter().for_each(|p| p.join().expect("no publisher panics"));
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_finds_the_wake_up_that_a_sleeper_without_a_second_look_loses() {
    loom::model(|| {
        // Not dropped on the way out of the deadlock: loom's Arcs cannot be, by then.
        let waker = ManuallyDrop::new(Waker::of_current_thread());
        let news = ManuallyDrop::new(Arc::new(AtomicBool::new(false)));
        let publisher = {
            let (waker, news) = (Waker::clone(&waker), Arc::clone(&news));
            thread::spawn(move || {
                news.store(true, Ordering::Relaxed);
                waker.wake();
            })
        };
        if !news.load(Ordering::Relaxed) {
            waker.announce();
            waker.park(Duration::MAX);
        }
        publisher.join().expect("the publisher does not panic");
        drop((ManuallyDrop::into_inner(waker), ManuallyDrop::into_inner(news)));
    });
}

fn exchange<W: Wait>(capacity: usize, count: u64) {
    bounded(move || {
        let (mut producer, mut consumer) = queue(capacity);
        let waker = W::start();
        if let Some(waker) = &waker {
            producer.attach(waker.clone());
        }
        let feeder = thread::spawn(move || {
            for next in 0..count {
                let mut value = Box::new(next);
                // Room is not signalled: a producer polls.
                while let Err(refused) = producer.stage(value) {
                    assert!(matches!(refused, SubmitError::Full(_)));
                    value = refused.into_inner();
                    thread::yield_now();
                }
                if next % 2 == 1 {
                    producer.publish();
                }
            }
        });
        let mut expected = 0;
        while expected < count {
            W::until(waker.as_ref(), || !consumer.is_empty());
            consumer.drain(2, |value| {
                assert_eq!(*value, expected);
                expected += 1;
            });
        }
        W::until(waker.as_ref(), || consumer.is_finished());
        feeder.join().expect("the producer does not panic");
    });
}

#[test]
fn values_cross_in_order_and_whole_while_both_poll() {
    exchange::<Poll>(2, 4);
}

#[test]
fn values_cross_and_a_sleeping_consumer_is_woken() {
    exchange::<Sleep>(4, 3);
}

#[test]
fn who_finds_a_queue_finished_has_had_all_of_it() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue(2);
        let feeder = thread::spawn(move || {
            let _ = producer.push(1);
            // Its end is said after that.
        });
        let mut taken = 0;
        while !consumer.is_finished() {
            taken += consumer.drain(2, |value| assert_eq!(value, 1));
            thread::yield_now();
        }
        assert_eq!(taken, 1);
        feeder.join().expect("the producer does not panic");
    });
}

#[test]
fn values_that_nobody_takes_are_dropped_once() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue(2);
        let feeder = thread::spawn(move || {
            let _ = producer.push(Arc::new(1));
            let _ = producer.push(Arc::new(2));
        });
        drop(consumer.pop());
        drop(consumer);
        feeder.join().expect("the producer does not panic");
        // Loom fails the test if an Arc is never dropped.
    });
}
