//! The one file that names atomics: those of the machine, or loom's under `cfg(loom)`.
//!
//! Fences carry every store-then-load order here (announce a sleep, then look again), never
//! sequentially consistent accesses: loom models the former exactly, the latter as AcqRel.

#[cfg(not(loom))]
pub use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
pub use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(not(loom))]
pub(crate) use std::thread::{Thread, current};

#[cfg(loom)]
pub(crate) use loom::thread::{Thread, current};
