//! The virtual clock and what is to happen when: the simulator's only source of order.

use crate::types::Time;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What is to happen, in order of time; ties in the order of their scheduling, so that a seed names
/// exactly one schedule.
#[derive(Debug)]
pub(super) struct EventQueue<T> {
    heap: BinaryHeap<Entry<T>>,
    now: Time,
    scheduled: u64,
}

impl<T> EventQueue<T> {
    /// A queue at time zero.
    pub(super) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), now: Time::ZERO, scheduled: 0 }
    }

    /// Puts `event` at `at`, or now if that has passed.
    pub(super) fn schedule(&mut self, at: Time, event: T) {
        self.scheduled += 1;
        self.heap.push(Entry { at: at.max(self.now), order: self.scheduled, event });
    }

    /// The next event; the clock moves to it.
    pub(super) fn next(&mut self) -> Option<T> {
        let Entry { at, event, .. } = self.heap.pop()?;
        debug_assert!(at >= self.now, "time never runs backwards");
        self.now = at;
        Some(event)
    }

    /// The clock.
    pub(super) const fn now(&self) -> Time {
        self.now
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: Time,
    order: u64,
    event: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// The heap yields its greatest entry, which is to be the earliest event.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_ties_in_order_of_scheduling() {
        let mut queue = EventQueue::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            queue.schedule(Time(at), event);
        }
        let order: String = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(order, "abcd");
        assert_eq!(queue.now(), Time(5));
    }

    #[test]
    fn what_is_scheduled_in_the_past_happens_now() {
        let mut queue = EventQueue::new();
        queue.schedule(Time(9), 1);
        queue.next();
        queue.schedule(Time(2), 2);
        assert_eq!(queue.next(), Some(2));
        assert_eq!(queue.now(), Time(9));
    }
}
