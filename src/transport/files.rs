//! Writes to files that end at the wait point of the thread that asked for them.
//!
//! A buffer is handed over by value with its write and comes back when the write is over. What the
//! writes mean, and in which order they count, is the affair of whoever asks.

use super::{socket, uring};
use crate::mem::DirectBuffer;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// A write that is over. A failed one is never tried again (its bytes may be half on the disk).
#[derive(Debug)]
pub struct Written {
    /// Who asked for it.
    pub owner: u16,
    /// What `owner` called it.
    pub token: u64,
    /// The buffer, back again.
    pub buffer: DirectBuffer,
    /// Bytes written.
    pub result: io::Result<usize>,
}

/// Where a write goes.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file.
    pub file: &'a Arc<File>,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How much of the buffer, from its start.
    pub length: u32,
}

/// The files of a thread. Writes leave with the endpoint's next flush or park, at the latest.
#[derive(Clone, Debug)]
pub enum Files {
    /// Through the thread's io_uring.
    Uring(uring::Files),
    /// By a thread that does nothing else.
    Writer(socket::Files),
}

impl Files {
    /// Makes `buffers` ready to be written, once a thread. They can be written without it, at a
    /// higher price; so if something forbids it, this says no and that is all.
    pub fn register(&self, buffers: &mut [&mut DirectBuffer]) -> bool {
        match self {
            Self::Uring(files) => files.register(buffers),
            // Nobody pins their pages: there is nothing to spare.
            Self::Writer(_) => true,
        }
    }

    /// Starts what writes for `logs` logs, before their first write. Each thread calls `on_start`
    /// first: it begins as what it is started by, tied to its core perhaps, and is to be freed of that.
    ///
    /// # Errors
    /// If there is no room for another thread.
    pub fn start(&self, logs: usize, on_start: fn()) -> io::Result<()> {
        match self {
            Self::Uring(_) => Ok(()),
            Self::Writer(files) => files.start(logs, on_start),
        }
    }

    /// Whether another write can be taken on.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match self {
            Self::Uring(files) => files.has_room(),
            Self::Writer(files) => files.has_room(),
        }
    }

    /// Queues a write of `buffer`, called `token` by `owner`.
    ///
    /// # Panics
    /// If [`Files::has_room`] said no, or the place is longer than the buffer.
    pub fn write(&self, place: Place<'_>, buffer: DirectBuffer, caller: (u16, u64)) {
        assert!(place.length as usize <= buffer.len(), "a write within its buffer");
        match self {
            Self::Uring(files) => files.write(place, buffer, caller),
            Self::Writer(files) => files.write(place, buffer, caller),
        }
    }

    /// A write that is over, if one is known to be.
    #[must_use]
    pub fn take(&self) -> Option<Written> {
        match self {
            Self::Uring(files) => files.take(),
            Self::Writer(files) => files.take(),
        }
    }
}
