//! A bounded queue from one thread to another, for the hand-offs of pipelined models and in-process
//! clients.
//!
//! Both ends keep their own index and a copy of the other's last known one, so a batch costs one
//! transfer of the index's line in each direction and, for small values, one of the slots' line for
//! several of them: 12 ns a value in batches of 32, 60 alone, between two cores. Nothing is
//! allocated after [`queue`], nothing blocks: a full queue hands the value back.
#![expect(unsafe_code, reason = "slots are uninitialised memory that both threads reach")]

use super::Waker;
use super::atomic::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell};
use crossbeam_utils::CachePadded;
use std::mem::MaybeUninit;
use thiserror::Error;

/// A queue of at least `capacity` values (the next power of two).
///
/// # Panics
/// If `capacity` is 0.
#[must_use]
pub fn queue<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a queue holds at least one value");
    let capacity = capacity.next_power_of_two();
    let slots = (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let shared = Arc::new(Shared {
        slots,
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        consumer_gone: AtomicBool::new(false),
        producer_gone: AtomicBool::new(false),
    });
    let producer = Producer { shared: Arc::clone(&shared), staged: 0, head: 0, waker: None };
    (producer, Consumer { shared, head: 0, tail: 0 })
}

/// Why a value was not taken. It comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubmitError<T> {
    /// The queue is full: later, or drop it and count that.
    #[error("the queue is full")]
    Full(T),
    /// The consumer is gone: never.
    #[error("the queue's consumer is gone")]
    Closed(T),
}

impl<T> SubmitError<T> {
    /// The value that was not taken.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }
}

struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Count of values taken. Written by the consumer alone.
    head: CachePadded<AtomicUsize>,
    /// Count of values published. Written by the producer alone.
    tail: CachePadded<AtomicUsize>,
    /// Written once, by the consumer's drop.
    consumer_gone: AtomicBool,
    /// Written once, by the producer's drop.
    producer_gone: AtomicBool,
}

// SAFETY: a slot is reached by one thread at a time: by the producer from head's to tail's
// publication, by the consumer from tail's to head's, each ordered by Release and Acquire. Values
// move from one thread to the other, so they must be Send.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; dropping it on either thread drops values there.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & (self.slots.len() - 1)]
    }

    /// Moves value number `index` out.
    ///
    /// # Safety
    /// It was published and not taken yet, and only the caller takes it.
    #[inline]
    unsafe fn take(&self, index: usize) -> T {
        self.slot(index).with(|slot| {
            // SAFETY: published, so initialised, and by the contract nobody else reads or writes it.
            unsafe { slot.cast::<T>().read() }
        })
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Both ends are gone: their last stores came before the counts of the Arc went down.
        let tail = self.tail.load(Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        while head != tail {
            // SAFETY: from head to tail values are published and not taken; we are alone.
            drop(unsafe { self.take(head) });
            head = head.wrapping_add(1);
        }
    }
}

/// The end that puts in.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Count of values written, published or not: runs ahead of `shared.tail` by those staged.
    staged: usize,
    /// The last `shared.head` read.
    head: usize,
    waker: Option<Waker>,
}

impl<T> Producer<T> {
    /// Whom to wake when values are published. Without it the consumer polls.
    pub fn attach(&mut self, consumer: Waker) {
        self.waker = Some(consumer);
    }

    /// Puts `value` in and publishes it, with all that were staged.
    ///
    /// # Errors
    /// If the queue is full or closed.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), SubmitError<T>> {
        let result = self.stage(value);
        self.publish();
        result
    }

    /// Puts `value` in without showing it to the consumer yet: for batches.
    ///
    /// # Errors
    /// If the queue is full or closed; a full queue's staged values are published, so that the
    /// consumer can make room.
    #[inline]
    pub fn stage(&mut self, value: T) -> Result<(), SubmitError<T>> {
        if self.staged.wrapping_sub(self.head) == self.capacity() && !self.has_room() {
            return Err(self.refuse(value));
        }
        self.shared.slot(self.staged).with_mut(|slot| {
            // SAFETY: fewer than `capacity` values are in, so the consumer has left this slot
            // (has_room's Acquire) and does not come back before the next publication.
            unsafe { slot.cast::<T>().write(value) };
        });
        self.staged = self.staged.wrapping_add(1);
        Ok(())
    }

    /// Shows the staged values to the consumer, and wakes it if it sleeps.
    #[inline]
    pub fn publish(&mut self) {
        // Relaxed: this end alone writes it.
        if self.shared.tail.load(Ordering::Relaxed) == self.staged {
            return;
        }
        // Release: pairs with the Acquire in Consumer::is_empty, hands the slots over.
        self.shared.tail.store(self.staged, Ordering::Release);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    /// How many values fit now. May be more by the time that it is used, never less.
    pub fn room(&mut self) -> usize {
        self.has_room();
        self.capacity() - self.staged.wrapping_sub(self.head)
    }

    /// How many values fit in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Whether the consumer is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.consumer_gone.load(Ordering::Relaxed)
    }

    fn has_room(&mut self) -> bool {
        // Acquire: pairs with the Release in Consumer::retire; the consumer is done with the slots.
        self.head = self.shared.head.load(Ordering::Acquire);
        self.staged.wrapping_sub(self.head) < self.capacity()
    }

    #[cold]
    fn refuse(&mut self, value: T) -> SubmitError<T> {
        self.publish();
        if self.is_closed() { SubmitError::Closed(value) } else { SubmitError::Full(value) }
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.publish();
        // Release: pairs with the Acquire in Consumer::is_finished; the last values come before it.
        self.shared.producer_gone.store(true, Ordering::Release);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}

/// The end that takes out.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Count of values taken: runs ahead of `shared.head` inside [`Consumer::drain`].
    head: usize,
    /// The last `shared.tail` read.
    tail: usize,
}

impl<T> Consumer<T> {
    /// Takes the oldest value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let value = self.next()?;
        self.retire();
        Some(value)
    }

    /// Takes up to `limit` values, oldest first, and gives their room back at once at the end.
    /// Returns how many.
    #[inline]
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(T)) -> usize {
        let mut taken = 0;
        while taken < limit
            && let Some(value) = self.next()
        {
            taken += 1;
            // If this unwinds, the value counts as taken: drop retires up to `head`.
            take(value);
        }
        if taken > 0 {
            self.retire();
        }
        taken
    }

    /// Whether nothing is there to take now.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail {
            // Acquire: pairs with the Release in Producer::publish; the slots are written.
            self.tail = self.shared.tail.load(Ordering::Acquire);
        }
        self.head == self.tail
    }

    /// Whether the producer is gone and everything that it published is taken.
    pub fn is_finished(&mut self) -> bool {
        // Acquire: pairs with the Release in Producer's drop; the look that follows sees the last.
        self.shared.producer_gone.load(Ordering::Acquire) && self.is_empty()
    }

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: head is before the published tail (is_empty), and only this end takes.
        let value = unsafe { self.shared.take(self.head) };
        self.head = self.head.wrapping_add(1);
        Some(value)
    }

    #[inline]
    fn retire(&self) {
        // Release: pairs with the Acquire in Producer::has_room; we are done with the slots.
        self.shared.head.store(self.head, Ordering::Release);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.retire();
        self.shared.consumer_gone.store(true, Ordering::Relaxed);
    }
}

impl<T> std::fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("staged", &self.staged).finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("head", &self.head).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_in_order_and_once() {
        let (mut producer, mut consumer) = queue(3);
        assert_eq!(producer.capacity(), 4);
        let mut out = Vec::new();
        let mut next = 0;
        for round in 0..100_usize {
            for _ in 0..round % 6 {
                match producer.push(next) {
                    Ok(()) => next += 1,
                    Err(SubmitError::Full(value)) => assert_eq!(value, next),
                    Err(SubmitError::Closed(_)) => unreachable!("the consumer lives"),
                }
            }
            consumer.drain(round % 4, |value| out.push(value));
        }
        out.extend(std::iter::from_fn(|| consumer.pop()));
        assert_eq!(out, (0..next).collect::<Vec<_>>());
    }

    #[test]
    fn staged_values_are_invisible_until_published() {
        let (mut producer, mut consumer) = queue(2);
        producer.stage(1).unwrap();
        assert_eq!(consumer.pop(), None);
        producer.stage(2).unwrap();
        producer.publish();
        assert_eq!(producer.room(), 0);
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(1), Some(2), None));
        assert_eq!(producer.room(), 2);
    }

    #[test]
    fn a_full_queue_publishes_what_is_staged_and_gives_the_value_back() {
        let (mut producer, mut consumer) = queue(1);
        producer.stage("a").unwrap();
        assert_eq!(producer.stage("b"), Err(SubmitError::Full("b")));
        assert_eq!(consumer.pop(), Some("a"));
    }

    #[test]
    fn each_end_learns_that_the_other_is_gone() {
        let (mut producer, consumer) = queue(1);
        producer.push(1).unwrap();
        drop(consumer);
        assert!(producer.is_closed());
        assert_eq!(producer.push(2).unwrap_err().into_inner(), 2);

        let (mut producer, mut consumer) = queue(4);
        producer.stage(7).unwrap();
        assert!(!consumer.is_finished());
        drop(producer);
        assert!(!consumer.is_finished());
        assert_eq!(consumer.pop(), Some(7));
        assert!(consumer.is_finished());
    }

    #[test]
    fn every_value_is_dropped_once_wherever_it_is() {
        let alive = Arc::new(());
        let (mut producer, mut consumer) = queue(8);
        for _ in 0..6 {
            producer.push(Arc::clone(&alive)).unwrap();
        }
        consumer.drain(2, drop);
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            consumer.drain(2, |_| panic!("in the consumer"));
        }));
        assert!(unwound.is_err());
        assert_eq!(Arc::strong_count(&alive), 4);
        drop((producer, consumer));
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn two_threads_exchange_a_million_values() {
        const COUNT: u64 = 1_000_000;
        let (mut producer, mut consumer) = queue(256);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut next = 0;
                while next < COUNT {
                    match producer.stage(next) {
                        Ok(()) => next += 1,
                        Err(_) => std::thread::yield_now(),
                    }
                }
            });
            let mut expected = 0;
            while !consumer.is_finished() {
                let taken = consumer.drain(64, |value| {
                    assert_eq!(value, expected);
                    expected += 1;
                });
                if taken == 0 {
                    std::thread::yield_now();
                }
            }
            assert_eq!(expected, COUNT);
        });
    }
}
