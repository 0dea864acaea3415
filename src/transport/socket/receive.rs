//! The receiving half: fills buffers and unpacks them into frames.

use super::calls::{self, BATCH, Incoming};
use super::core::Core;
use super::pool::Buffers;
use crate::mem::{Frame, Pool};
use crate::transport::udp::{Arrival, Sockets};
use crate::transport::{ReceiveCounters, memory};
use crate::types::Time;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

/// Marks the frames of the link.
const OF_LINK: u32 = 1 << 31;
/// The most batches that one poll reads of a socket: datagrams without bytes become no frames, and
/// would keep it for ever.
const BATCHES: usize = 8;

/// All that one thread receives: its sockets, and its link to other threads if it has one.
pub struct Receive {
    core: Rc<RefCell<Core>>,
    sockets: Rc<Sockets>,
    buffers: Buffers,
    incoming: [Incoming; BATCH],
    link: Option<memory::Receive>,
    /// Filled buffers, not or not wholly unpacked. In order of arrival; never more than buffers.
    arrived: VecDeque<Arrival>,
    /// For each socket how many datagrams it has dropped, as it said last.
    drops: Box<[u32]>,
    /// The last look for a free buffer found none.
    is_starved: bool,
    counters: ReceiveCounters,
}

impl Receive {
    pub(super) fn new(
        core: Rc<RefCell<Core>>,
        sockets: Rc<Sockets>,
        link: Option<memory::Receive>,
    ) -> Self {
        let config = &sockets.config;
        Self {
            core,
            buffers: Buffers::new(config.buffers, config.buffer_bytes),
            incoming: std::array::from_fn(|_| Incoming::new()),
            link,
            arrived: VecDeque::with_capacity(config.buffers.into()),
            drops: vec![0; sockets.sockets.len()].into(),
            is_starved: false,
            counters: ReceiveCounters::default(),
            sockets,
        }
    }

    /// Whether a poll would bring something, without looking for news.
    pub(super) fn has_waiting(&self) -> bool {
        !self.arrived.is_empty()
            || self.link_has_waiting()
            || self.has_room() && self.core.borrow().is_ready()
    }

    pub(super) fn link_has_waiting(&self) -> bool {
        self.link.as_ref().is_some_and(memory::Receive::has_waiting)
    }

    /// Whether there is a buffer to receive into.
    pub(super) const fn has_room(&self) -> bool {
        self.buffers.free() > 0
    }

    /// Whether this process may receive at all.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        self.read(0);
        self.core.borrow_mut().check()
    }

    /// Takes a batch of every socket that has something. Returns whether there may be more.
    ///
    /// The first of a poll looks at all sockets, if the park before it has not: one that always has
    /// something, of which a flood is enough, must not hide the others.
    fn gather(&mut self, is_first: bool) -> bool {
        {
            let mut core = self.core.borrow_mut();
            let is_fresh = std::mem::take(&mut core.is_fresh);
            if !core.is_ready() || is_first && !is_fresh {
                core.look(true, false, Duration::ZERO);
                core.is_fresh = false;
            }
        }
        for socket in 0..self.drops.len() {
            if self.core.borrow().is_ready_at(socket) {
                if self.has_room() {
                    self.is_starved = false;
                    self.read(socket);
                } else if !std::mem::replace(&mut self.is_starved, true) {
                    self.counters.no_buffers += 1;
                }
            }
        }
        self.has_room() && self.core.borrow().is_ready()
    }

    /// Takes a batch of `socket`.
    fn read(&mut self, socket: usize) {
        let mut lent = [0; BATCH];
        let count = self.buffers.free().min(BATCH);
        for (incoming, lent) in self.incoming[..count].iter_mut().zip(&mut lent) {
            (*lent, incoming.bytes) = self.buffers.lend().expect("as many are free");
        }
        let descriptor = self.sockets.sockets[socket].as_fd();
        let result = calls::receive(descriptor, &mut self.incoming[..count]);
        let filled = *result.as_ref().unwrap_or(&0);
        for (index, buffer) in lent[..filled].iter().enumerate() {
            self.unpack(socket, *buffer, index);
        }
        // The last lent first, so that the first comes off the pool first again.
        for index in (filled..count).rev() {
            let bytes = std::mem::take(&mut self.incoming[index].bytes);
            self.buffers.take_back(lent[index], bytes, 0);
        }
        if filled < count {
            self.core.borrow_mut().retire(socket);
        }
        if let Err(error) = result
            && !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        {
            self.core.borrow_mut().note(error);
        }
    }

    /// Takes a filled buffer back to the pool.
    fn unpack(&mut self, socket: usize, buffer: u16, index: usize) {
        let payload = self.incoming[index].payload();
        let bytes = std::mem::take(&mut self.incoming[index].bytes);
        let Some(payload) = payload.filter(|payload| payload.length > 0) else {
            self.buffers.take_back(buffer, bytes, 0);
            self.counters.dropped += 1;
            return;
        };
        if let Some(dropped) = payload.dropped {
            let before = std::mem::replace(&mut self.drops[socket], dropped);
            self.counters.buffer_drops += u64::from(dropped.wrapping_sub(before));
        }
        let frames = payload.datagrams();
        self.buffers.take_back(buffer, bytes, frames);
        self.counters.datagrams += u64::from(frames);
        self.counters.trains += u64::from(frames > 1);
        self.arrived.push_back(Arrival::new(buffer, 0, &payload));
    }

    /// Hands out frames as long as there is room for them.
    fn deal(&mut self, frames: &mut Vec<Frame>) {
        while frames.len() < frames.capacity()
            && let Some(arrival) = self.arrived.pop_front()
        {
            if let Some(rest) = arrival.deal(frames) {
                self.arrived.push_front(rest);
            }
        }
    }
}

impl crate::transport::Receive for Receive {
    fn poll(&mut self, now: Time, frames: &mut Vec<Frame>) -> usize {
        let before = frames.len();
        // The link first: it is cheap, and its senders are on this machine and may wait.
        if let Some(link) = &mut self.link {
            crate::transport::Receive::poll(link, now, frames);
            for frame in &mut frames[before..] {
                frame.buffer |= OF_LINK;
            }
        }
        self.deal(frames);
        for batch in 0..BATCHES {
            if frames.len() == frames.capacity() {
                break;
            }
            let has_more = self.gather(batch == 0);
            self.deal(frames);
            if !has_more {
                break;
            }
        }
        frames.len() - before
    }

    fn counters(&self) -> ReceiveCounters {
        self.counters.with_link(self.link.as_ref())
    }
}

impl Pool for Receive {
    #[inline]
    fn bytes(&self, frame: &Frame) -> &[u8] {
        if frame.buffer & OF_LINK == 0 {
            return self.buffers.bytes(frame.buffer, frame.offset, frame.length);
        }
        let Frame { buffer, offset, length, from } = *frame;
        let frame = Frame { buffer: buffer & !OF_LINK, offset, length, from };
        self.link.as_ref().expect("a frame of the link").bytes(&frame)
    }

    #[inline]
    fn release(&mut self, mut frame: Frame) {
        if frame.buffer & OF_LINK == 0 {
            return self.buffers.release(frame.buffer);
        }
        frame.buffer &= !OF_LINK;
        self.link.as_mut().expect("a frame of the link").release(frame);
    }

    #[inline]
    fn is_scarce(&self) -> bool {
        self.buffers.is_scarce() || self.link.as_ref().is_some_and(Pool::is_scarce)
    }
}

impl fmt::Debug for Receive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("socket::Receive").field("counters", &self.counters).finish_non_exhaustive()
    }
}
