//! The receiving half: frames are borrowed from the links, nothing is copied.

use crate::mem::{Frame, Pool};
use crate::sync::{ByteReceiver, Place};
use crate::transport::ReceiveCounters;
use crate::types::{Address, Time};

/// All links that lead to one endpoint, that of the endpoint to itself included.
#[derive(Debug)]
pub struct Receive {
    /// By the sender's number.
    links: Vec<ByteReceiver>,
    /// Which link is polled first; it rotates, so that no sender starves another.
    first: usize,
    /// How many links are scarce.
    scarce: usize,
    datagrams: u64,
    trains: u64,
}

impl Receive {
    pub(super) fn new(links: Vec<ByteReceiver>) -> Self {
        Self { links, first: 0, scarce: 0, datagrams: 0, trains: 0 }
    }

    pub(in crate::transport) fn has_waiting(&self) -> bool {
        self.links.iter().any(ByteReceiver::has_more)
    }

    /// Moves what one link holds to `frames`, up to their spare capacity.
    fn poll_link(&mut self, number: usize, frames: &mut Vec<Frame>) {
        let link = &mut self.links[number];
        if !link.has_more() {
            return;
        }
        // Entering a chunk gives the one before back, so scarcity moves both ways here.
        let was_scarce = link.is_scarce();
        let number = u32::try_from(number).expect("below 2^14");
        let before = frames.len();
        while frames.len() < frames.capacity() {
            let Some(Place { chunk, offset, length }) = link.receive() else { break };
            let from = Address::memory(number);
            frames.push(Frame { buffer: number << 16 | chunk, offset, length, from });
        }
        let received = frames.len() - before;
        self.datagrams += received as u64;
        self.trains += u64::from(received > 1);
        self.scarce = self.scarce + usize::from(link.is_scarce()) - usize::from(was_scarce);
    }
}

impl crate::transport::Receive for Receive {
    fn poll(&mut self, _now: Time, frames: &mut Vec<Frame>) -> usize {
        let before = frames.len();
        let count = self.links.len();
        for step in 0..count {
            if frames.len() == frames.capacity() {
                break;
            }
            let number = self.first + step;
            self.poll_link(if number < count { number } else { number - count }, frames);
        }
        self.first = if self.first + 1 < count { self.first + 1 } else { 0 };
        frames.len() - before
    }

    fn counters(&self) -> ReceiveCounters {
        let dropped = self.links.iter().map(ByteReceiver::refused).sum();
        let (datagrams, trains) = (self.datagrams, self.trains);
        ReceiveCounters { datagrams, trains, dropped, ..ReceiveCounters::default() }
    }
}

impl Pool for Receive {
    #[inline]
    fn bytes(&self, frame: &Frame) -> &[u8] {
        let Frame { buffer, offset, length, .. } = *frame;
        let place = Place { chunk: buffer & 0xffff, offset, length };
        self.links[(buffer >> 16) as usize].bytes(place)
    }

    #[inline]
    fn release(&mut self, frame: Frame) {
        let link = &mut self.links[(frame.buffer >> 16) as usize];
        let was_scarce = link.is_scarce();
        link.release(frame.buffer & 0xffff);
        self.scarce = self.scarce + usize::from(link.is_scarce()) - usize::from(was_scarce);
    }

    fn is_scarce(&self) -> bool {
        self.scarce > 0
    }
}
