//! The sending half: datagrams to one target travel as a train, many sends in one system call.

use super::core::{Core, Sent};
use super::ring::Copies;
use crate::transport::udp::{
    self, Book, Effective, LaunchError, Placed, SLOT_BYTES, SLOTS, Train, Trains,
};
use crate::transport::{Target, TransmitCounters, memory};
use crate::types::Address;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::ptr::NonNull;
use std::rc::Rc;

/// All that one thread sends: by its unicast socket, and by its link if it has one.
pub struct Transmit {
    core: Rc<RefCell<Core>>,
    link: Option<memory::Transmit>,
    book: Book,
    /// Messages of a slot: one a copy.
    width: usize,
    trains: Trains,
    copies: Copies,
    /// Copies of each slot's train that are on their way.
    pending: [usize; SLOTS as usize],
    /// The kernel reads them while a slot is on its way. More members get others, wider ones.
    messages: NonNull<Message>,
    /// The first slot's bytes. Like `messages` in memory of the core.
    base: NonNull<u8>,
    counters: TransmitCounters,
}

/// What the kernel needs to know of a send.
#[repr(C)]
struct Message {
    header: libc::msghdr,
    vector: libc::iovec,
    name: libc::sockaddr_in,
    control: udp::Segments,
}

impl Transmit {
    pub(super) fn new(
        core: Rc<RefCell<Core>>,
        link: Option<memory::Transmit>,
        book: Book,
        effective: &Effective,
    ) -> Result<Self, LaunchError> {
        let base = core.borrow_mut().map(SLOT_BYTES * usize::from(SLOTS))?;
        let width = book.width();
        let messages = width * usize::from(SLOTS) * size_of::<Message>();
        let messages = core.borrow_mut().map(messages)?.cast();
        Ok(Self {
            core,
            link,
            book,
            width,
            trains: Trains::new(effective),
            copies: if effective.send_zc { Copies::No } else { Copies::Yes },
            pending: [0; SLOTS as usize],
            messages,
            base,
            counters: TransmitCounters::default(),
        })
    }

    /// Room in a new or an open train: its slot and where in it.
    fn place(&mut self, target: Target, length: u32) -> Option<(u16, u32)> {
        self.book.address(target, 0)?;
        let mut has_sent = false;
        loop {
            match self.trains.place(target, length) {
                Placed::Behind { slot, gap } => {
                    self.pad(slot, gap.start, gap.end);
                    return Some((slot, gap.end));
                }
                Placed::Full(slot) => self.depart(slot),
                // What is open leaves now, which on an idle network frees it.
                Placed::NoSlot if !has_sent => {
                    self.send_all();
                    has_sent = true;
                }
                Placed::NoSlot | Placed::TooLong => return None,
            }
        }
    }

    /// Sends all open trains and takes back what has left.
    fn send_all(&mut self) {
        for position in 0..self.trains.open().len() {
            self.depart(self.trains.open()[position]);
        }
        self.trains.close();
        self.core.borrow_mut().collect();
        self.reap();
    }

    fn reap(&mut self) {
        let mut core = self.core.borrow_mut();
        for Sent { slot, result, is_last } in core.sent.drain(..) {
            let (_, train) = self.trains.get(slot);
            if result < 0 {
                self.counters.lost += u64::from(train.count);
                if result == -libc::EIO && train.count > 1 {
                    // The network card cannot do trains after all.
                    self.trains.forbid();
                }
            }
            if is_last {
                let pending = &mut self.pending[usize::from(slot)];
                *pending = pending.checked_sub(1).expect("a copy that was sent");
                if *pending == 0 {
                    self.trains.release(slot);
                }
            }
        }
    }

    /// Queues a train for the kernel, a copy for each address. Its slot is the kernel's until the
    /// last completion of the last copy.
    fn depart(&mut self, slot: u16) {
        let (target, train) = self.trains.get(slot);
        self.counters.trains += u64::from(train.count > 1);
        let start = self.at(slot, 0);
        let copies = self.book.copies(target);
        assert!((1..=self.width).contains(&copies), "a slot is opened for those who are somewhere");
        self.pending[usize::from(slot)] = copies;
        for copy in 0..copies {
            let to = self.book.address(target, copy).expect("below the number of copies");
            // SAFETY: `slot` is below SLOTS (`at` asserts it) and `copy` below the width, so this is
            // one of the messages.
            let message = unsafe { self.messages.add(usize::from(slot) * self.width + copy) };
            let message = message.as_ptr();
            // SAFETY: the slot is open, so the kernel does not read its messages, which are ours
            // alone.
            unsafe { write_message(message, start, to, &train) };
            let mut core = self.core.borrow_mut();
            // SAFETY: message and bytes stay as they are until the slot is in `free` again, which is
            // after the last completion; the core keeps them mapped.
            unsafe { core.ring.send(message.cast(), slot, self.copies) };
        }
    }

    /// Zeroes the gap behind a segment.
    fn pad(&self, slot: u16, from: u32, to: u32) {
        let gap = self.at(slot, from);
        // SAFETY: `from..to` lies in the slot, which is open and so ours alone.
        unsafe { gap.write_bytes(0, (to - from) as usize) };
    }

    fn at(&self, slot: u16, offset: u32) -> NonNull<u8> {
        assert!(slot < SLOTS && offset as usize <= SLOT_BYTES);
        // SAFETY: within the arena, by the assertion.
        unsafe { self.base.add(usize::from(slot) * SLOT_BYTES + offset as usize) }
    }
}

/// Fills `message` in, in place, since its parts point at each other.
///
/// # Safety
/// `message` must be valid for writes.
unsafe fn write_message(
    message: *mut Message,
    bytes: NonNull<u8>,
    to: SocketAddrV4,
    train: &Train,
) {
    // SAFETY: only takes addresses of fields, within the allocation.
    let vector = unsafe { &raw mut (*message).vector };
    // SAFETY: as above.
    let name = unsafe { &raw mut (*message).name };
    // SAFETY: as above.
    let control = unsafe { &raw mut (*message).control };
    // SAFETY: all zeros is a valid msghdr; its private padding has no other initialiser.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.cast();
    header.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).expect("16");
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    if train.count > 1 {
        header.msg_control = control.cast();
        header.msg_controllen = size_of::<udp::Segments>();
    }
    let content = Message {
        header,
        vector: libc::iovec { iov_base: bytes.as_ptr().cast(), iov_len: train.end as usize },
        name: udp::name(to),
        control: udp::Segments::new(train.stride),
    };
    // SAFETY: the caller's promise.
    unsafe { message.write(content) };
}

impl crate::transport::Transmit for Transmit {
    #[inline]
    fn reserve(&mut self, target: Target, length: usize) -> Option<&mut [u8]> {
        let is_memory = |address: Address| address.as_memory().is_some();
        if self.link.is_some() && matches!(target, Target::Address(to) if is_memory(to)) {
            return self.link.as_mut()?.reserve(target, length);
        }
        let size = u32::try_from(length).unwrap_or(u32::MAX);
        let Some((slot, start)) = self.place(target, size) else {
            self.counters.lost += 1;
            return None;
        };
        self.counters.datagrams += 1;
        let start = self.at(slot, start);
        // SAFETY: `place` found room for `length` bytes in an open slot, which is ours alone as
        // long as it is borrowed; initialised, since the mapping began as zeros.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) })
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(link) = &mut self.link {
            link.flush()?;
        }
        if !self.trains.has_open() {
            let mut core = self.core.borrow_mut();
            // A train that was closed early, or a receive that was armed again.
            if core.ring.has_queued() {
                core.collect();
                drop(core);
                self.reap();
            }
        } else {
            self.send_all();
        }
        self.core.borrow_mut().check()
    }

    fn regroup(&mut self, members: &udp::Members) -> io::Result<()> {
        self.send_all(); // What is open was meant for those before.
        let book = Book::of(members);
        if book.width() > self.width {
            // The kernel may still read the messages of before: the core keeps them mapped.
            let bytes = book.width() * usize::from(SLOTS) * size_of::<Message>();
            let messages = self.core.borrow_mut().map(bytes).map_err(io::Error::other)?;
            (self.messages, self.width) = (messages.cast(), book.width());
        }
        self.book = book;
        Ok(())
    }

    fn counters(&self) -> TransmitCounters {
        self.counters.with_link(self.link.as_ref())
    }
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counters, limits) = (&self.counters, self.trains.limits());
        let mut debug = f.debug_struct("uring::Transmit");
        debug.field("counters", counters).field("limits", limits).finish_non_exhaustive()
    }
}
