//! The one file that names atomics: those of the machine, or loom's with the feature `loom`.
//!
//! Whatever hands data from thread to thread takes its atomics from here, in every module, so that
//! its tests run under loom; counters and words that stand for themselves need not.
//!
//! Fences carry every store-then-load order here (announce a sleep, then look again), never
//! sequentially consistent accesses: loom models the former exactly, the latter as AcqRel.

#[cfg(not(feature = "loom"))]
pub use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(feature = "loom")]
pub use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(not(feature = "loom"))]
pub(crate) use crossbeam_utils::atomic::AtomicCell;

#[cfg(not(feature = "loom"))]
#[expect(clippy::disallowed_types, reason = "whoever takes a lock says there why it may")]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(feature = "loom")]
pub(crate) use loom::sync::{Mutex, MutexGuard};

#[cfg(not(feature = "loom"))]
pub(crate) use std::thread::{Thread, current};

#[cfg(feature = "loom")]
pub(crate) use loom::thread::{Thread, current};

/// A cell whose accesses loom checks for races; outside loom a plain `UnsafeCell`.
#[cfg(feature = "loom")]
pub(crate) use loom::cell::UnsafeCell;

/// A cell whose accesses loom checks for races; outside loom a plain `UnsafeCell`.
#[cfg(not(feature = "loom"))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(feature = "loom"))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Passes the address on for reading. Dereferencing it is the caller's promise.
    #[inline]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Passes the address on for writing. Dereferencing it is the caller's promise.
    #[inline]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// What crossbeam's cell promises, as loom can see it: a store is a Release, a load an Acquire.
#[cfg(feature = "loom")]
#[derive(Debug)]
pub(crate) struct AtomicCell<T> {
    /// The place of what was stored last.
    last: AtomicUsize,
    /// All that was ever stored. Loom's threads take turns: nobody waits for this lock.
    stored: std::sync::Mutex<Vec<T>>,
}

#[cfg(feature = "loom")]
impl<T: Copy + Default> Default for AtomicCell<T> {
    fn default() -> Self {
        let stored = std::sync::Mutex::new(vec![T::default()]);
        Self { last: AtomicUsize::new(0), stored }
    }
}

#[cfg(feature = "loom")]
impl<T: Copy> AtomicCell<T> {
    pub(crate) fn store(&self, value: T) {
        let place = {
            let mut stored = self.stored.lock().expect("no thread panics in it");
            stored.push(value);
            stored.len() - 1
        };
        self.last.store(place, Ordering::Release);
    }

    pub(crate) fn load(&self) -> T {
        let place = self.last.load(Ordering::Acquire);
        self.stored.lock().expect("no thread panics in it")[place]
    }
}

/// Bytes that loom does not see: who touches them says so, and loom checks it, eight of them a cell.
/// Outside loom there is nothing to it.
#[cfg(feature = "loom")]
pub(crate) struct Watched(Box<[UnsafeCell<()>]>);

/// Bytes that loom does not see: who touches them says so, and loom checks it, eight of them a cell.
/// Outside loom there is nothing to it.
#[cfg(not(feature = "loom"))]
pub(crate) struct Watched;

#[cfg(feature = "loom")]
impl Watched {
    pub(crate) fn new(bytes: usize) -> Self {
        Self((0..bytes.div_ceil(8)).map(|_| UnsafeCell::new(())).collect())
    }

    pub(crate) fn read(&self, start: usize, length: usize) {
        let cells = start / 8..(start + length).div_ceil(8);
        self.0[cells].iter().for_each(|cell| cell.with(|_| ()));
    }

    pub(crate) fn write(&self, start: usize, length: usize) {
        let cells = start / 8..(start + length).div_ceil(8);
        self.0[cells].iter().for_each(|cell| cell.with_mut(|_| ()));
    }
}

#[cfg(not(feature = "loom"))]
impl Watched {
    #[inline(always)]
    pub(crate) const fn new(_bytes: usize) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) const fn read(&self, _start: usize, _length: usize) {}

    #[inline(always)]
    pub(crate) const fn write(&self, _start: usize, _length: usize) {}
}
