//! A buffer that the kernel has filled, and what of it is not handed out yet.

use super::control::Payload;
use crate::mem::Frame;
use crate::types::Address;

/// The segments of a buffer that are not unpacked yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct Arrival {
    buffer: u32,
    from: Address,
    segment: u32,
    offset: u32,
    end: u32,
}

impl Arrival {
    /// What is in `buffer` from `offset` on.
    pub(in crate::transport) const fn new(buffer: u16, offset: u32, payload: &Payload) -> Self {
        let Payload { from, segment, length, .. } = *payload;
        Self { buffer: buffer as u32, from, segment, offset, end: offset + length }
    }

    /// Moves segments to `frames` up to their spare capacity; what is left over, if anything.
    #[inline]
    pub(in crate::transport) fn deal(mut self, frames: &mut Vec<Frame>) -> Option<Self> {
        while self.offset < self.end {
            if frames.len() == frames.capacity() {
                return Some(self);
            }
            let Self { buffer, from, offset, .. } = self;
            let length = self.segment.min(self.end - offset);
            frames.push(Frame { buffer, offset, length, from });
            self.offset += length;
        }
        None
    }
}
