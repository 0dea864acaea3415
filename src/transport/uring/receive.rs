//! The receiving half: unpacks buffers into frames.

use super::buffers::Buffers;
use super::control::{self, PAYLOAD_OFFSET};
use super::core::{Core, Filled};
use crate::mem::{Frame, Pool};
use crate::transport::udp::Arrival;
use crate::transport::{ReceiveCounters, memory};
use crate::types::Time;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// Marks the frames of the link.
const OF_LINK: u32 = 1 << 31;

/// All that one thread receives: its sockets, and its link to other threads if it has one.
pub struct Receive {
    core: Rc<RefCell<Core>>,
    pub(super) buffers: Buffers,
    link: Option<memory::Receive>,
    /// A train of which the caller had no room for all segments.
    open: Option<Arrival>,
    /// For each socket how many datagrams it has dropped, as it said last.
    drops: Box<[u32]>,
    counters: ReceiveCounters,
}

impl Receive {
    pub(super) fn new(
        core: Rc<RefCell<Core>>,
        buffers: Buffers,
        link: Option<memory::Receive>,
        sockets: usize,
    ) -> Self {
        let (drops, counters) = (vec![0; sockets].into(), ReceiveCounters::default());
        Self { core, buffers, link, open: None, drops, counters }
    }

    /// Whether a poll would bring something, without looking for news.
    pub(super) fn has_waiting(&self) -> bool {
        self.open.is_some() || !self.core.borrow().filled.is_empty() || self.link_has_waiting()
    }

    pub(super) fn link_has_waiting(&self) -> bool {
        self.link.as_ref().is_some_and(memory::Receive::has_waiting)
    }

    /// Arms the receives that have ended, if the kernel has a buffer for them.
    pub(super) fn arm(&self) {
        let mut core = self.core.borrow_mut();
        if core.is_unarmed() && core.filled.is_empty() && self.buffers.has_free() {
            core.arm();
        }
    }

    /// Takes a completed buffer from the kernel. `None`: there was nothing usable in it.
    fn unpack(&mut self, filled: Filled) -> Option<Arrival> {
        let Filled { socket, buffer, length } = filled;
        // SAFETY: `filled` comes from the completion of this buffer, which is taken off its queue
        // once and goes back to the kernel by `take` or `release` below.
        let bytes = unsafe { self.buffers.completed(buffer, length) };
        let payload = control::parse(bytes);
        let Some(payload) = payload.filter(|payload| payload.length > 0) else {
            self.buffers.take(buffer, 0);
            self.counters.dropped += 1;
            return None;
        };
        if let Some(dropped) = payload.dropped {
            let before = std::mem::replace(&mut self.drops[usize::from(socket)], dropped);
            self.counters.buffer_drops += u64::from(dropped.wrapping_sub(before));
        }
        let frames = payload.datagrams();
        self.buffers.take(buffer, frames);
        self.counters.datagrams += u64::from(frames);
        self.counters.trains += u64::from(frames > 1);
        let offset = u32::try_from(PAYLOAD_OFFSET).expect("128");
        Some(Arrival::new(buffer, offset, &payload))
    }
}

impl crate::transport::Receive for Receive {
    fn poll(&mut self, now: Time, frames: &mut Vec<Frame>) -> usize {
        let before = frames.len();
        self.arm();
        self.core.borrow_mut().collect();
        // The link first: it is cheap, and its senders are on this machine and may wait.
        if let Some(link) = &mut self.link {
            crate::transport::Receive::poll(link, now, frames);
            for frame in &mut frames[before..] {
                frame.buffer |= OF_LINK;
            }
        }
        while frames.len() < frames.capacity() {
            let train = match self.open.take() {
                Some(train) => Some(train),
                None => {
                    let Some(filled) = self.core.borrow_mut().filled.pop_front() else { break };
                    self.unpack(filled)
                }
            };
            self.open = train.and_then(|train| train.deal(frames));
        }
        frames.len() - before
    }

    fn counters(&self) -> ReceiveCounters {
        let mut counters = self.counters;
        counters.no_buffers = self.core.borrow().no_buffers;
        counters.with_link(self.link.as_ref())
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
        f.debug_struct("uring::Receive").field("counters", &self.counters).finish_non_exhaustive()
    }
}
