//! The sending half: datagrams to one target travel as a train, many sends in one system call.

use super::calls::{self, Outgoing};
use super::core::Core;
use crate::transport::udp::{Book, Placed, SLOT_BYTES, SLOTS, Sockets, Trains};
use crate::transport::{Target, TransmitCounters, memory};
use crate::types::Address;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::rc::Rc;

/// All that one thread sends: by its unicast socket, and by its link if it has one.
pub struct Transmit {
    core: Rc<RefCell<Core>>,
    sockets: Rc<Sockets>,
    link: Option<memory::Transmit>,
    book: Book,
    trains: Trains,
    /// The slots' bytes.
    memory: Box<[u8]>,
    /// Trains that leave next: a slot, and which copy of it. Empty after a flush, unless the socket's
    /// buffer is full.
    departing: VecDeque<(u16, usize)>,
    counters: TransmitCounters,
}

impl Transmit {
    pub(super) fn new(
        core: Rc<RefCell<Core>>,
        sockets: Rc<Sockets>,
        link: Option<memory::Transmit>,
    ) -> Self {
        let book = sockets.book();
        Self {
            core,
            link,
            trains: Trains::new(sockets.effective()),
            memory: vec![0; SLOT_BYTES * usize::from(SLOTS)].into(),
            departing: VecDeque::with_capacity(usize::from(SLOTS) * book.most_copies()),
            book,
            sockets,
            counters: TransmitCounters::default(),
        }
    }

    /// Whether this process may send at all.
    pub(super) fn probe(&self) -> io::Result<()> {
        calls::send(self.sockets.sockets[0].as_fd(), std::iter::empty()).map(drop)
    }

    /// Whether sends wait for room in the socket's buffer.
    pub(super) fn is_blocked(&self) -> bool {
        !self.departing.is_empty()
    }

    /// Room in a new or an open train: its place in the memory.
    fn place(&mut self, target: Target, length: u32) -> Option<Range<usize>> {
        self.book.address(target, 0)?;
        let mut has_sent = false;
        loop {
            match self.trains.place(target, length) {
                Placed::Behind { slot, gap } => {
                    self.memory[bytes(slot, gap.clone())].fill(0);
                    return Some(bytes(slot, gap.end..gap.end + length));
                }
                Placed::Full(slot) => self.depart(slot),
                // What is open leaves now, which frees it unless the socket's buffer is full.
                Placed::NoSlot if !has_sent => {
                    self.send_all();
                    has_sent = true;
                }
                Placed::NoSlot | Placed::TooLong => return None,
            }
        }
    }

    /// Sends all open trains.
    fn send_all(&mut self) {
        for position in 0..self.trains.open().len() {
            self.depart(self.trains.open()[position]);
        }
        self.trains.close();
        self.push();
    }

    /// Queues a train, a copy for each address.
    fn depart(&mut self, slot: u16) {
        let (target, train) = self.trains.get(slot);
        self.counters.trains += u64::from(train.count > 1);
        self.departing.extend((0..self.book.copies(target)).map(|copy| (slot, copy)));
    }

    /// Gives the kernel what is queued, as far as it takes it now.
    fn push(&mut self) {
        while !self.departing.is_empty() {
            let Self { trains, book, memory, .. } = self;
            let outgoing = |(slot, copy): &(u16, usize)| {
                let (target, train) = trains.get(*slot);
                let to = book.address(target, *copy).expect("below the number of copies");
                let stride = (train.count > 1).then_some(train.stride);
                Outgoing { bytes: &memory[bytes(*slot, 0..train.end)], to, stride }
            };
            let socket = self.sockets.sockets[0].as_fd();
            match calls::send(socket, self.departing.iter().map(outgoing)) {
                Ok(sent) => (0..sent).for_each(|_| self.retire()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What is left goes with the next flush or park.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.lose(&error);
                    self.core.borrow_mut().note_unsent(error);
                }
            }
        }
    }

    /// The first that is queued has left, or is lost.
    fn retire(&mut self) {
        let (slot, copy) = self.departing.pop_front().expect("it was sent");
        let (target, _) = self.trains.get(slot);
        if copy + 1 == self.book.copies(target) {
            self.trains.release(slot);
        }
    }

    /// The first that is queued cannot leave.
    fn lose(&mut self, error: &io::Error) {
        let (slot, _) = self.departing[0];
        let (_, train) = self.trains.get(slot);
        self.counters.lost += u64::from(train.count);
        if error.raw_os_error() == Some(libc::EIO) && train.count > 1 {
            // The network card cannot do trains after all.
            self.trains.forbid();
        }
        self.retire();
    }
}

/// Where part of a slot is in the memory.
fn bytes(slot: u16, part: Range<u32>) -> Range<usize> {
    assert!(slot < SLOTS && part.end as usize <= SLOT_BYTES, "within the slot");
    let start = usize::from(slot) * SLOT_BYTES;
    start + part.start as usize..start + part.end as usize
}

impl crate::transport::Transmit for Transmit {
    fn regroup(&mut self, members: &crate::transport::udp::Members) -> io::Result<()> {
        self.send_all(); // What is open was meant for those before.
        while let Some((slot, _)) = self.departing.front() {
            self.counters.lost += u64::from(self.trains.get(*slot).1.count);
            self.retire();
        }
        self.book = Book::of(members);
        Ok(())
    }

    #[inline]
    fn reserve(&mut self, target: Target, length: usize) -> Option<&mut [u8]> {
        let is_memory = |address: Address| address.as_memory().is_some();
        if self.link.is_some() && matches!(target, Target::Address(to) if is_memory(to)) {
            return self.link.as_mut()?.reserve(target, length);
        }
        let size = u32::try_from(length).unwrap_or(u32::MAX);
        let Some(place) = self.place(target, size) else {
            self.counters.lost += 1;
            return None;
        };
        self.counters.datagrams += 1;
        Some(&mut self.memory[place])
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(link) = &mut self.link {
            link.flush()?;
        }
        if self.trains.has_open() {
            self.send_all();
        } else {
            self.push();
        }
        self.core.borrow_mut().check()
    }

    fn counters(&self) -> TransmitCounters {
        self.counters.with_link(self.link.as_ref())
    }
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counters, limits) = (&self.counters, self.trains.limits());
        let mut debug = f.debug_struct("socket::Transmit");
        debug.field("counters", counters).field("limits", limits).finish_non_exhaustive()
    }
}
