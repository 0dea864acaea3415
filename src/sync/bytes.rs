//! A bounded, lock-free link of datagrams from one thread to another: the memory transport's pair.
//!
//! The memory of a link is a fixed number of chunks. The sender writes datagrams one behind the
//! other into its open chunk, in place, and publishes them by one store of the chunk's fill; a full
//! chunk is sealed and names its successor. The receiver reads datagrams where they lie and returns
//! a chunk when it has read past it and released every datagram in it, in any order: a datagram
//! that is held for long pins one chunk, never the link. Returned chunks are reused last in, first
//! out, so that a link that keeps up lives in two warm chunks. No chunk free: the datagram is
//! refused and counted.
//!
//! Cost: a datagram is its bytes plus 8; 8-20 ns for both sides of 64 bytes in batches; a look at
//! an idle link is one load of a line that changes only when something is sent.
#![expect(unsafe_code, reason = "two threads share the bytes of a chunk, never the same ones")]

use super::atomic::{Arc, AtomicU32, AtomicU64, Ordering, Watched};
use crossbeam_utils::CachePadded;
use memmap2::MmapMut;
use std::fmt;
use std::io;
use std::ptr::NonNull;

/// Bytes in front of each datagram: its length, and padding that keeps the datagram aligned.
const PREFIX: usize = 8;
/// In [`Chunk::filled`]: the sender has gone on to [`Chunk::next`].
const SEALED: u32 = 1 << 31;

/// A new link of `chunks` chunks of `chunk_bytes` bytes; its memory is zero pages until used.
///
/// # Errors
/// If the memory cannot be mapped.
///
/// # Panics
/// If `chunks` is not a power of two from 2 to 2^16, or `chunk_bytes` not a multiple of 64 below
/// 2^31.
pub fn link(chunks: usize, chunk_bytes: usize) -> io::Result<(ByteSender, ByteReceiver)> {
    assert!(chunks.is_power_of_two() && (2..=1 << 16).contains(&chunks), "chunks of a link");
    assert!(chunk_bytes > 0 && chunk_bytes.is_multiple_of(64), "bytes of a chunk");
    let chunk_bytes = u32::try_from(chunk_bytes).ok().filter(|bytes| *bytes < SEALED);
    let chunk_bytes = chunk_bytes.expect("a chunk is below 2 GiB");
    let count = u32::try_from(chunks).expect("at most 2^16");
    let mut memory = MmapMut::map_anon(chunks * chunk_bytes as usize)?;
    let base = NonNull::new(memory.as_mut_ptr()).expect("a mapping is not at zero");
    let shared = Arc::new(Shared {
        base,
        chunk_bytes,
        chunks: (0..chunks).map(|_| CachePadded::default()).collect(),
        returns: (0..chunks).map(|_| AtomicU32::new(0)).collect(),
        returned: CachePadded::default(),
        refused: CachePadded::default(),
        watched: Watched::new(chunks * chunk_bytes as usize),
        _memory: memory,
    });
    let sender = ByteSender {
        shared: shared.clone(),
        current: 0,
        written: 0,
        published: 0,
        last: (0, 0),
        free: (1..count).rev().collect(),
        taken: 0,
        refused: 0,
    };
    let receiver = ByteReceiver {
        shared,
        current: 0,
        read: 0,
        end: 0,
        is_sealed: false,
        held: 1,
        returned: 0,
        frames: vec![0; chunks].into(),
    };
    Ok((sender, receiver))
}

struct Shared {
    /// The first byte of `_memory`.
    base: NonNull<u8>,
    chunk_bytes: u32,
    /// A line each, written by the sender.
    chunks: Box<[CachePadded<Chunk>]>,
    /// Returned chunks, a ring as long as there are chunks, so that it is never full. Written by
    /// the receiver.
    returns: Box<[AtomicU32]>,
    /// How many chunks were ever returned. Written by the receiver.
    returned: CachePadded<AtomicU32>,
    /// Datagrams that found no room. Written by the sender.
    refused: CachePadded<AtomicU64>,
    watched: Watched,
    _memory: MmapMut,
}

#[derive(Default)]
struct Chunk {
    /// Bytes that the receiver may read, and [`SEALED`].
    filled: AtomicU32,
    /// The chunk after this one, once it is sealed.
    next: AtomicU32,
}

// SAFETY: `base` points into a mapping that lives as long as the struct; which thread may touch
// which of its bytes is decided by `filled` (sender to receiver) and `returned` (back).
unsafe impl Send for Shared {}
// SAFETY: as above; everything else in it is atomic or never changes.
unsafe impl Sync for Shared {}

impl Shared {
    /// Where the byte at `offset` of `chunk` is in the mapping.
    #[inline(always)]
    const fn place(&self, chunk: u32, offset: u32) -> usize {
        chunk as usize * self.chunk_bytes as usize + offset as usize
    }

    /// The byte at `offset` of `chunk`.
    fn at(&self, chunk: u32, offset: u32) -> NonNull<u8> {
        assert!((chunk as usize) < self.chunks.len() && offset <= self.chunk_bytes);
        // SAFETY: by the assertion the result is in the mapping or one past its end.
        unsafe { self.base.add(self.place(chunk, offset)) }
    }
}

/// The sending end of a link.
pub struct ByteSender {
    shared: Arc<Shared>,
    /// The open chunk: nobody else's until it is sealed and comes back.
    current: u32,
    /// Where the next datagram goes in it.
    written: u32,
    /// What `filled` of the open chunk says.
    published: u32,
    /// The last datagram's offset and length, in the open chunk.
    last: (u32, u32),
    /// Free chunks, the warmest on top.
    free: Vec<u32>,
    /// How many returned chunks were taken back.
    taken: u32,
    refused: u64,
}

impl ByteSender {
    /// Room for one datagram of `length` bytes, which travels with the next
    /// [`ByteSender::publish`]. `None`, and counted: the link is full, or a chunk is too small.
    #[inline]
    pub fn reserve(&mut self, length: usize) -> Option<&mut [u8]> {
        let needed = length.checked_add(PREFIX)?.checked_next_multiple_of(8)?;
        let room = (self.shared.chunk_bytes - self.written) as usize;
        if needed > room && (needed > self.shared.chunk_bytes as usize || !self.advance()) {
            self.refused += 1;
            self.shared.refused.store(self.refused, Ordering::Relaxed);
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most chunk_bytes, a u32")]
        let (length, needed) = (length as u32, needed as u32);
        self.shared.watched.write(self.shared.place(self.current, self.written), needed as usize);
        let prefix = self.shared.at(self.current, self.written).cast::<u32>();
        // SAFETY: the bytes from `written` on are this sender's until published; chunks and
        // `written` are multiples of 8, so the prefix is aligned.
        unsafe { prefix.write(length) };
        #[expect(clippy::cast_possible_truncation, reason = "8")]
        let offset = self.written + PREFIX as u32;
        self.last = (offset, length);
        self.written += needed;
        let start = self.shared.at(self.current, offset);
        // SAFETY: unpublished bytes of the open chunk, which only this sender touches, for as long
        // as it is borrowed; `needed` bytes fit. They are initialised: the mapping began as zeros.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length as usize) })
    }

    /// Lets the receiver see what was reserved. Returns whether there was anything new.
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.published == self.written {
            return false;
        }
        self.published = self.written;
        // Release: pairs with the Acquire of `ByteReceiver::receive`, which then reads the bytes.
        self.shared.chunks[self.current as usize].filled.store(self.written, Ordering::Release);
        true
    }

    /// The bytes of the datagram reserved last.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        let (offset, length) = self.last;
        let start = self.shared.at(self.current, offset);
        // SAFETY: `last` lies in the open chunk; whoever else may see it only reads.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length as usize) }
    }

    /// The bytes of the datagram reserved last, which must not have been published yet.
    ///
    /// # Panics
    /// If it was.
    pub fn last_mut(&mut self) -> &mut [u8] {
        let (offset, length) = self.last;
        assert!(offset >= self.published, "unpublished");
        let start = self.shared.at(self.current, offset);
        // SAFETY: as in `reserve`: unpublished bytes of the open chunk are this sender's alone.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length as usize) }
    }

    /// Seals the open chunk and opens a free one; false if there is none.
    #[cold]
    fn advance(&mut self) -> bool {
        if self.free.is_empty() {
            // Acquire: pairs with the Release of `ByteReceiver::give_back`, so that the receiver's
            // reads of the chunk are over before it is written again.
            let returned = self.shared.returned.load(Ordering::Acquire);
            while self.taken != returned {
                let index = self.taken as usize & (self.shared.returns.len() - 1);
                self.free.push(self.shared.returns[index].load(Ordering::Relaxed));
                self.taken = self.taken.wrapping_add(1);
            }
        }
        let Some(next) = self.free.pop() else { return false };
        let chunks = &self.shared.chunks;
        chunks[next as usize].filled.store(0, Ordering::Relaxed);
        chunks[self.current as usize].next.store(next, Ordering::Relaxed);
        // Release: as in `publish`; it also publishes `next` and the successor's empty fill.
        chunks[self.current as usize].filled.store(self.written | SEALED, Ordering::Release);
        (self.current, self.written, self.published, self.last) = (next, 0, 0, (0, 0));
        true
    }
}

/// The receiving end of a link.
pub struct ByteReceiver {
    shared: Arc<Shared>,
    /// The chunk being read.
    current: u32,
    /// Where its next datagram starts.
    read: u32,
    /// How far it was filled when last looked at, and whether it was sealed.
    end: u32,
    is_sealed: bool,
    /// Chunks entered and not yet given back, the current one included.
    held: u32,
    /// How many chunks were ever given back.
    returned: u32,
    /// Datagrams of each chunk that are out.
    frames: Box<[u32]>,
}

/// Where a received datagram lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its chunk.
    pub chunk: u32,
    /// Its first byte in the chunk.
    pub offset: u32,
    /// Its bytes.
    pub length: u32,
}

impl ByteReceiver {
    /// The next datagram. It stays where it lies until [`ByteReceiver::release`].
    #[inline]
    pub fn receive(&mut self) -> Option<Place> {
        while self.read == self.end {
            if !self.look() {
                return None;
            }
        }
        self.shared.watched.read(self.shared.place(self.current, self.read), PREFIX);
        let prefix = self.shared.at(self.current, self.read).cast::<u32>();
        // SAFETY: below `end` the bytes are published, and nobody writes them before the chunk is
        // given back; a prefix is aligned to 8.
        let length = unsafe { prefix.read() };
        #[expect(clippy::cast_possible_truncation, reason = "8")]
        let offset = self.read + PREFIX as u32;
        self.read = offset + length.next_multiple_of(8);
        debug_assert!(self.read <= self.end, "a datagram ends where its chunk was filled to");
        self.frames[self.current as usize] += 1;
        Some(Place { chunk: self.current, offset, length })
    }

    /// Gives one datagram of `chunk` back.
    ///
    /// # Panics
    /// If none of that chunk is out.
    #[inline]
    pub fn release(&mut self, chunk: u32) {
        let frames = &mut self.frames[chunk as usize];
        *frames = frames.checked_sub(1).expect("a frame is released once");
        if *frames == 0 && chunk != self.current {
            self.give_back(chunk);
        }
    }

    /// Whether [`ByteReceiver::receive`] would return something.
    #[inline]
    #[must_use]
    pub fn has_more(&self) -> bool {
        // Relaxed: only a hint; `receive` looks again. A sealed chunk may have an empty successor:
        // then the hint is wrong once.
        self.read != self.end
            || self.shared.chunks[self.current as usize].filled.load(Ordering::Relaxed) != self.end
    }

    /// The bytes of a received datagram.
    ///
    /// # Panics
    /// If it is not out.
    #[inline]
    #[must_use]
    pub fn bytes(&self, place: Place) -> &[u8] {
        let Place { chunk, offset, length } = place;
        let end = offset.checked_add(length).expect("below 2^31");
        let limit = if chunk == self.current { self.end } else { self.shared.chunk_bytes };
        assert!(self.frames[chunk as usize] > 0 && end <= limit, "a frame that is out");
        self.shared.watched.read(self.shared.place(chunk, offset), length as usize);
        let start = self.shared.at(chunk, offset);
        // SAFETY: a datagram of the chunk is out, so the sender does not have it back and writes
        // only, in the chunk that is being read, behind `end`. `release` takes `&mut self`.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length as usize) }
    }

    /// Whether less than a quarter of the chunks is free of datagrams that are out.
    #[inline]
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        let chunks = self.frames.len();
        (chunks - self.held as usize) * 4 < chunks
    }

    /// Datagrams that the sender could not put into the link.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Looks how far the current chunk is filled now, or enters the next. False: nothing new.
    #[inline]
    fn look(&mut self) -> bool {
        if self.is_sealed {
            let chunk = &self.shared.chunks[self.current as usize];
            // Relaxed: ordered by the Acquire that saw the seal.
            let next = chunk.next.load(Ordering::Relaxed);
            let previous = std::mem::replace(&mut self.current, next);
            (self.read, self.end, self.is_sealed) = (0, 0, false);
            self.held += 1;
            if self.frames[previous as usize] == 0 {
                self.give_back(previous);
            }
        }
        // Acquire: pairs with the Release of `ByteSender::publish` and `advance`.
        let filled = self.shared.chunks[self.current as usize].filled.load(Ordering::Acquire);
        (self.end, self.is_sealed) = (filled & !SEALED, filled & SEALED != 0);
        self.read != self.end || self.is_sealed
    }

    fn give_back(&mut self, chunk: u32) {
        debug_assert_ne!(chunk, self.current);
        self.held -= 1;
        let index = self.returned as usize & (self.shared.returns.len() - 1);
        self.shared.returns[index].store(chunk, Ordering::Relaxed);
        self.returned = self.returned.wrapping_add(1);
        // Release: pairs with the Acquire of `ByteSender::advance`.
        self.shared.returned.store(self.returned, Ordering::Release);
    }
}

impl fmt::Debug for ByteSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteSender").field("refused", &self.refused).finish_non_exhaustive()
    }
}

impl fmt::Debug for ByteReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteReceiver").field("held", &self.held).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    fn send(sender: &mut ByteSender, bytes: &[u8]) -> bool {
        sender.reserve(bytes.len()).map(|room| room.copy_from_slice(bytes)).is_some()
    }

    #[test]
    fn nothing_is_seen_before_it_is_published() {
        let (mut sender, mut receiver) = link(2, 256).unwrap();
        assert!(send(&mut sender, b"one"));
        assert!(!receiver.has_more());
        assert_eq!(receiver.receive(), None);
        assert!(sender.publish());
        assert!(!sender.publish());
        assert!(receiver.has_more());
        let place = receiver.receive().unwrap();
        assert_eq!(receiver.bytes(place), b"one");
        assert_eq!(receiver.receive(), None);
        receiver.release(place.chunk);
    }

    #[test]
    fn a_full_link_refuses_and_a_held_datagram_pins_one_chunk_only() {
        let (mut sender, mut receiver) = link(4, 64).unwrap();
        let mut sent = 0_u64;
        while send(&mut sender, &sent.to_le_bytes()) {
            sent += 1;
        }
        assert_eq!((sent, receiver.refused()), (16, 1));
        sender.publish();
        let held = receiver.receive().unwrap();
        let mut expected = 1_u64;
        for _ in 0..1_000 {
            while let Some(place) = receiver.receive() {
                assert_eq!(receiver.bytes(place), expected.to_le_bytes());
                receiver.release(place.chunk);
                expected += 1;
            }
            assert!(send(&mut sender, &sent.to_le_bytes()));
            sender.publish();
            sent += 1;
        }
        assert_eq!(receiver.bytes(held), 0_u64.to_le_bytes());
        receiver.release(held.chunk);
    }

    #[test]
    fn chunks_come_back_whatever_the_order_of_release() {
        let (mut sender, mut receiver) = link(4, 64).unwrap();
        for round in 0..100_u64 {
            let mut sent = 0;
            while send(&mut sender, &round.to_le_bytes()) {
                sent += 1;
            }
            assert!(sent >= 12, "round {round}: {sent}");
            sender.publish();
            let mut out = Vec::new();
            while let Some(place) = receiver.receive() {
                out.push(place);
            }
            assert_eq!(receiver.is_scarce(), sent == 16, "one of four chunks is a quarter");
            let half = out.len() / 2;
            out.rotate_left(half);
            out.into_iter().rev().for_each(|place| receiver.release(place.chunk));
            assert!(!receiver.is_scarce());
        }
    }

    #[test]
    fn two_threads_see_every_byte_in_order() {
        let (mut sender, mut receiver) = link(4, 512).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut number = 0_u32;
                while number < 20_000 {
                    let length = 4 + number as usize % 190;
                    match sender.reserve(length) {
                        Some(room) => {
                            room.fill(number.to_le_bytes()[0]);
                            room[..4].copy_from_slice(&number.to_le_bytes());
                            number += 1;
                        }
                        None => std::thread::yield_now(),
                    }
                    if number.is_multiple_of(3) {
                        sender.publish();
                    }
                }
                sender.publish();
            });
            let mut expected = 0_u32;
            while expected < 20_000 {
                let Some(place) = receiver.receive() else {
                    std::thread::yield_now();
                    continue;
                };
                let bytes = receiver.bytes(place);
                assert_eq!(bytes.len(), 4 + expected as usize % 190);
                assert_eq!(bytes[..4], expected.to_le_bytes());
                assert!(bytes[4..].iter().all(|byte| *byte == expected.to_le_bytes()[0]));
                receiver.release(place.chunk);
                expected += 1;
            }
        });
    }

    #[test]
    #[should_panic(expected = "released once")]
    fn a_frame_is_not_released_twice() {
        let (mut sender, mut receiver) = link(2, 64).unwrap();
        assert!(send(&mut sender, b"x"));
        sender.publish();
        let place = receiver.receive().unwrap();
        receiver.release(place.chunk);
        receiver.release(place.chunk);
    }
}
