//! Writes to files through the io_uring of a thread, so that one wait point holds network and log.
//!
//! A buffer is handed over by value with its write and comes back with the completion: nobody else
//! can touch it meanwhile. It may be registered, which saves the kernel the pinning of its pages at
//! each write. What the writes mean, and in which order they count, is the log's affair.

use super::core::Core;
use super::ring::WriteRequest;
use crate::mem::DirectBuffer;
use crate::transport::{Place, Written};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;

/// Writes of one thread on their way at once.
pub(super) const WRITES: usize = 512;

/// A write on its way; the kernel reads its buffer.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) owner: u16,
    pub(super) token: u64,
    pub(super) buffer: DirectBuffer,
    /// Open until the write is over: its descriptor must not become another file's.
    pub(super) _file: Arc<File>,
}

/// The files of a thread: a handle to its io_uring. Submits with the endpoint's next flush or park.
#[derive(Clone)]
pub struct Files {
    core: Rc<RefCell<Core>>,
}

impl Files {
    pub(super) const fn new(core: Rc<RefCell<Core>>) -> Self {
        Self { core }
    }

    /// Registers `buffers`, once a thread. They can be written without it, at a higher price; so if
    /// the limit of locked memory forbids it, or it was done before, this says no and that is all.
    pub fn register(&self, buffers: &mut [&mut DirectBuffer]) -> bool {
        let vectors: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            })
            .collect();
        // SAFETY: the kernel pins the pages themselves, so that they outlive even an unmapped
        // buffer; it reads them only for writes, which hold their buffer.
        if unsafe { self.core.borrow_mut().ring.register_memory(&vectors) }.is_err() {
            return false;
        }
        for (place, buffer) in buffers.iter_mut().enumerate() {
            buffer.set_registered(u16::try_from(place).ok());
        }
        true
    }

    /// Whether another write can be taken on.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.core.borrow().flights.has_room()
    }

    /// Queues a write of `buffer`, called `token` by `owner`.
    ///
    /// # Panics
    /// If [`Files::has_room`] said no, or the place is longer than the buffer.
    pub fn write(&self, place: Place<'_>, buffer: DirectBuffer, (owner, token): (u16, u64)) {
        let Place { file, offset, length } = place;
        assert!(length as usize <= buffer.len(), "a write within its buffer");
        let request = WriteRequest {
            file: file.as_raw_fd(),
            start: buffer.as_ptr(),
            length,
            offset,
            registered: buffer.registered(),
        };
        let mut core = self.core.borrow_mut();
        let slot = core.flights.begin(Flight { owner, token, buffer, _file: Arc::clone(file) });
        // SAFETY: the flight holds file and buffer, which nobody changes, until the completion of
        // `slot`; the core drops it only after it has closed the ring.
        unsafe { core.ring.write(&request, slot) };
    }

    /// A write that is over, if one is known to be.
    #[must_use]
    pub fn take(&self) -> Option<Written> {
        self.core.borrow_mut().flights.take()
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("uring::Files").finish_non_exhaustive()
    }
}

/// The writes on their way, and those that are over.
#[derive(Debug)]
pub(super) struct Flights {
    slots: Vec<Option<Flight>>,
    free: Vec<u16>,
    over: VecDeque<Written>,
}

impl Flights {
    pub(super) fn new() -> Self {
        let slots = u16::try_from(WRITES).expect("512");
        Self {
            slots: (0..slots).map(|_| None).collect(),
            free: (0..slots).rev().collect(),
            over: VecDeque::with_capacity(WRITES),
        }
    }

    /// Whether a completed write waits to be taken.
    pub(super) fn has_waiting(&self) -> bool {
        !self.over.is_empty()
    }

    pub(super) fn complete(&mut self, slot: u16, result: i32) {
        let flight = self.slots[usize::from(slot)].take().expect("a write completes once");
        self.free.push(slot);
        let Flight { owner, token, buffer, .. } = flight;
        let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        self.over.push_back(Written { owner, token, buffer, result });
    }

    fn has_room(&self) -> bool {
        // What is over but not taken counts as well: its queue does not grow.
        self.free.len() > self.over.len()
    }

    fn begin(&mut self, flight: Flight) -> u16 {
        let slot = self.free.pop().expect("has_room was asked");
        self.slots[usize::from(slot)] = Some(flight);
        slot
    }

    fn take(&mut self) -> Option<Written> {
        self.over.pop_front()
    }
}
