//! When a run warms up, measures and drains, shared by all of its generators.

use crate::host::usage;
use crate::mem;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::types::Time;
use std::time::Duration;

/// What was sampled at one end of the measuring window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Time,
    /// CPU time of the whole process, nanoseconds.
    pub cpu_ns: u64,
    /// Allocations of the whole process.
    pub allocations: u64,
    /// Bytes on its heap.
    pub heap_bytes: u64,
    /// Bytes of its memory that are resident.
    pub resident_bytes: u64,
}

/// The measuring window: starts `warmup` after the first command of any generator.
#[derive(Debug)]
pub struct Window {
    warmup: Duration,
    length: Duration,
    /// When the first generator started; 0: none has.
    started: AtomicU64,
    begin: Cell,
    end: Cell,
}

/// A sample that whoever comes first takes.
#[derive(Debug, Default)]
struct Cell {
    at: AtomicU64,
    cpu_ns: AtomicU64,
    allocations: AtomicU64,
    heap_bytes: AtomicU64,
    resident_bytes: AtomicU64,
}

impl Window {
    /// A window of `length` after `warmup`.
    #[must_use]
    pub fn new(warmup: Duration, length: Duration) -> Self {
        let started = AtomicU64::new(0);
        Self { warmup, length, started, begin: Cell::default(), end: Cell::default() }
    }

    /// A generator is about to issue its first command. Returns begin and end of measuring.
    pub fn start(&self, now: Time) -> (Time, Time) {
        let mine = now.0.max(1);
        let first = self.started.compare_exchange(0, mine, Ordering::Relaxed, Ordering::Relaxed);
        let begin = Time(first.err().unwrap_or(mine)) + self.warmup;
        (begin, begin + self.length)
    }

    /// A generator has come to the begin of measuring: the first one takes a sample.
    pub fn on_begin(&self, now: Time) {
        self.begin.take(now);
    }

    /// A generator has come to the end of measuring: the first one takes a sample.
    pub fn on_end(&self, now: Time) {
        self.end.take(now);
    }

    /// Both samples, after the run; `None` if it ended before the window did.
    #[must_use]
    pub fn samples(&self) -> Option<(Sample, Sample)> {
        let (begin, end) = (self.begin.sample()?, self.end.sample()?);
        (end.at > begin.at).then_some((begin, end))
    }
}

impl Cell {
    fn take(&self, now: Time) {
        let mine = now.0.max(1);
        if self.at.compare_exchange(0, mine, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let cpu_ns = u64::try_from(usage::cpu_time().as_nanos()).unwrap_or(u64::MAX);
            self.cpu_ns.store(cpu_ns, Ordering::Relaxed);
            self.allocations.store(mem::allocations(), Ordering::Relaxed);
            self.heap_bytes.store(mem::heap_bytes(), Ordering::Relaxed);
            self.resident_bytes.store(usage::resident_bytes(), Ordering::Relaxed);
        }
    }

    /// Read after the threads have been joined: nothing is ordered here.
    fn sample(&self) -> Option<Sample> {
        let at = self.at.load(Ordering::Relaxed);
        (at > 0).then(|| Sample {
            at: Time(at),
            cpu_ns: self.cpu_ns.load(Ordering::Relaxed),
            allocations: self.allocations.load(Ordering::Relaxed),
            heap_bytes: self.heap_bytes.load(Ordering::Relaxed),
            resident_bytes: self.resident_bytes.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_generator_sets_the_window_for_all() {
        let window = Window::new(Duration::from_nanos(10), Duration::from_nanos(100));
        assert_eq!(window.start(Time(5)), (Time(15), Time(115)));
        assert_eq!(window.start(Time(50)), (Time(15), Time(115)));
        assert_eq!(window.samples(), None);
        window.on_begin(Time(16));
        window.on_begin(Time(20));
        window.on_end(Time(116));
        let (begin, end) = window.samples().unwrap();
        assert_eq!((begin.at, end.at), (Time(16), Time(116)));
        assert!(end.cpu_ns >= begin.cpu_ns && begin.resident_bytes > 0);
    }
}

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;
    use crate::sync::model::explore;
    use loom::sync::Arc;

    #[test]
    fn generators_that_start_at_once_measure_the_same_window_and_one_takes_each_sample() {
        explore(|| {
            let window = Window::new(Duration::from_nanos(10), Duration::from_nanos(100));
            let window = Arc::new(window);
            let generate = |window: &Window, now| {
                let (begin, end) = window.start(Time(now));
                window.on_begin(begin);
                window.on_end(end);
                (begin, end)
            };
            let other = Arc::clone(&window);
            let other = loom::thread::spawn(move || generate(&other, 5));
            let (begin, end) = generate(&window, 8);
            assert_eq!(other.join().expect("it does not panic"), (begin, end));
            let samples = window.samples().expect("both ends were passed");
            assert_eq!((samples.0.at, samples.1.at), (begin, end));
        });
    }
}
