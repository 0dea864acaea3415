//! What an acceptor must not forget, on disk: durability `sync`. Layer 3.
//!
//! A [`Store`] is the data directory of one node; it has a log a ring. A log is a fixed set of
//! segments, used in turn; what is appended is gathered into checked and chained blocks, which are
//! written past the page cache through the io_uring that the acceptor's thread waits at anyway.
//! Reading it back gives the acceptor its promise, its accepted values and its trim mark, or says
//! that something is missing; it never gives wrong data.
//!
//! This module must never confirm a record before it is persistent, nor in the same life write
//! anything again that failed once.

mod acceptor_log;
mod checkpoint;
mod error;
mod format;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod live;
mod manifest;
mod ring_log;
mod scan;
mod segment;
mod store;
#[cfg(test)]
mod tests;

pub use acceptor_log::AcceptorLog;
pub use checkpoint::{CheckpointFile, Fault};
pub use error::StorageError;
pub use format::FORMAT;
#[cfg(any(test, fuzzing))]
pub(crate) use fuzz::fuzz;
pub use ring_log::{LogCounters, RingLog};
pub use store::{Identity, Opened, Origin, Recovered, Store};
