//! Receive buffers: who has each of them, the kernel or the frames in it.

use super::core::Core;
use crate::transport::udp::LaunchError;
use io_uring::types::BufRingEntry;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// A pool of equal buffers. The kernel owns those in the ring of provided buffers; the others hold
/// frames, are counted, and go back with their last frame.
pub(super) struct Buffers {
    /// The first buffer, in memory of the core.
    base: NonNull<u8>,
    /// Tells the kernel the free buffers, and by its tail how many; in memory of the core.
    entries: NonNull<BufRingEntry>,
    count: u16,
    /// Bytes from one buffer to the next.
    stride: usize,
    /// What the kernel may fill of a buffer, in bytes.
    usable: u32,
    tail: u16,
    /// Frames out of each buffer; 0: the kernel's, or being unpacked.
    frames: Box<[u32]>,
    /// Buffers that the kernel does not have.
    held: u32,
}

impl Buffers {
    /// `count` buffers of `usable` bytes, all of them the kernel's.
    ///
    /// # Safety
    /// The result must not be used after the core is gone.
    pub(super) unsafe fn new(
        count: u16,
        usable: usize,
        core: &mut Core,
    ) -> Result<Self, LaunchError> {
        // Not a multiple of the page: the fronts of the buffers then fall into different cache sets.
        let stride = usable.next_multiple_of(128) | 64;
        let mut buffers = Self {
            base: core.map(stride * usize::from(count))?,
            entries: core.map(usize::from(count) * size_of::<BufRingEntry>())?.cast(),
            count,
            stride,
            usable: u32::try_from(usable).expect("at most 1 MiB"),
            tail: 0,
            frames: vec![0; count.into()].into(),
            held: count.into(),
        };
        // SAFETY: the core keeps its memory until it has closed the ring.
        unsafe { core.ring.register_buffers(buffers.entries.as_ptr(), count)? };
        (0..count).for_each(|buffer| buffers.give(buffer));
        Ok(buffers)
    }

    /// Notes that the kernel has filled `buffer` and that `frames` frames of it are out.
    #[inline]
    pub(super) fn take(&mut self, buffer: u16, frames: u32) {
        debug_assert_eq!(self.frames[usize::from(buffer)], 0, "the kernel had it");
        self.held += 1;
        self.frames[usize::from(buffer)] = frames;
        if frames == 0 {
            self.give(buffer);
        }
    }

    /// Notes that one frame of `buffer` is no longer needed.
    ///
    /// # Panics
    /// If none is out.
    #[inline]
    pub(super) fn release(&mut self, buffer: u32) {
        let frames = &mut self.frames[buffer as usize];
        *frames = frames.checked_sub(1).expect("a frame is released once");
        if *frames == 0 {
            self.give(u16::try_from(buffer).expect("an index of frames"));
        }
    }

    /// Bytes of a buffer that has frames out.
    ///
    /// # Panics
    /// If it has none, or the bytes are not within it.
    #[inline]
    pub(super) fn bytes(&self, buffer: u32, offset: u32, length: u32) -> &[u8] {
        let end = offset.checked_add(length).expect("below 2^32");
        assert!(self.frames[buffer as usize] > 0 && end <= self.usable, "a frame that is out");
        // SAFETY: by the assertion; with frames out the kernel does not have the buffer.
        unsafe { self.slice(buffer, offset, length) }
    }

    /// What the kernel wrote to the front of `buffer`, which it has completed.
    ///
    /// # Safety
    /// The kernel must have completed `buffer`, and it must not have been given back since.
    #[inline]
    pub(super) unsafe fn completed(&self, buffer: u16, length: u32) -> &[u8] {
        assert!(buffer < self.count && length <= self.usable);
        // SAFETY: by the assertion and the caller's promise.
        unsafe { self.slice(buffer.into(), 0, length) }
    }

    /// Whether under a quarter of the buffers is the kernel's.
    #[inline]
    pub(super) fn is_scarce(&self) -> bool {
        (u32::from(self.count) - self.held) * 4 < u32::from(self.count)
    }

    /// Whether the kernel has a buffer to fill.
    pub(super) fn has_free(&self) -> bool {
        self.held < self.count.into()
    }

    /// # Safety
    /// The range must be within the buffer and the kernel must not have it.
    unsafe fn slice(&self, buffer: u32, offset: u32, length: u32) -> &[u8] {
        let start = buffer as usize * self.stride + offset as usize;
        // SAFETY: within the arena, by the caller's promise.
        let start = unsafe { self.base.add(start) };
        // SAFETY: initialised, since the mapping began as zeros; only the kernel writes, and it
        // does not have the buffer.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length as usize) }
    }

    /// Hands `buffer` to the kernel.
    #[inline]
    fn give(&mut self, buffer: u16) {
        self.held -= 1;
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: `index` is below `count`, the length of the ring.
        let entry = unsafe { self.entries.add(index) };
        // SAFETY: within the arena; `buffer` is below `count`.
        let start = unsafe { self.base.add(usize::from(buffer) * self.stride) };
        // SAFETY: the kernel reads entries below the tail only; as many entries as buffers, so
        // this one is behind it.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(start.as_ptr() as u64);
        entry.set_len(self.usable);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the first entry is initialised and page-aligned.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail lies in our mapping, aligned; user and kernel access it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: pairs with the kernel's acquire load before it reads the entry.
        tail.store(self.tail, Ordering::Release);
    }
}
