//! Memory that a disk reads and writes directly: whole pages, for files opened with O_DIRECT.

use memmap2::MmapMut;
use std::io;
use std::ops::{Deref, DerefMut};

/// What O_DIRECT wants a buffer, a length and an offset to be a multiple of, on every disk.
pub const SECTOR: usize = 4096;

/// A run of whole pages of its own. Who hands it to the kernel hands it over by value.
#[derive(Debug)]
pub struct DirectBuffer {
    memory: MmapMut,
    /// Its place among the buffers that are registered with an io_uring.
    registered: Option<u16>,
}

impl DirectBuffer {
    /// `length` zeroed bytes, a multiple of [`SECTOR`].
    ///
    /// # Errors
    /// If the system gives no memory.
    ///
    /// # Panics
    /// If `length` is 0 or no multiple of [`SECTOR`].
    pub fn new(length: usize) -> io::Result<Self> {
        assert!(length > 0 && length.is_multiple_of(SECTOR), "whole sectors, not {length} bytes");
        Ok(Self { memory: MmapMut::map_anon(length)?, registered: None })
    }

    /// Its place among the buffers registered with an io_uring, if it has one.
    #[must_use]
    pub const fn registered(&self) -> Option<u16> {
        self.registered
    }

    /// Notes its place among the buffers registered with an io_uring.
    pub const fn set_registered(&mut self, place: Option<u16>) {
        self.registered = place;
    }
}

impl Deref for DirectBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory
    }
}

impl DerefMut for DirectBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}
