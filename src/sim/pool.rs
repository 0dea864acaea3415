//! Datagrams of one simulated host as frames: the same tokens as in the kernel's buffers.

use crate::mem::{Frame, Pool};
use crate::types::Address;
use std::rc::Rc;

/// A host's received datagrams. One datagram may lie in many hosts' pools: a multicast is one
/// allocation.
#[derive(Debug, Default)]
pub(super) struct FramePool {
    slots: Vec<Option<Rc<[u8]>>>,
    free: Vec<u32>,
    /// How many frames may be out before the pool calls itself scarce.
    plenty: usize,
}

impl FramePool {
    /// A pool that is scarce once `plenty` frames are out.
    pub(super) const fn new(plenty: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), plenty }
    }

    /// A frame over `datagram`.
    pub(super) fn receive(&mut self, datagram: Rc<[u8]>, from: Address) -> Frame {
        let length = u32::try_from(datagram.len()).expect("a datagram is below 64 KiB");
        let buffer = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("few frames are out at once")
        });
        self.slots[buffer as usize] = Some(datagram);
        Frame { buffer, offset: 0, length, from }
    }

    /// How many frames are out.
    pub(super) const fn out(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl Pool for FramePool {
    fn bytes(&self, frame: &Frame) -> &[u8] {
        let datagram = self.slots[frame.buffer as usize].as_ref().expect("a frame is not released");
        &datagram[frame.offset as usize..][..frame.length as usize]
    }

    fn release(&mut self, frame: Frame) {
        let datagram = self.slots[frame.buffer as usize].take();
        assert!(datagram.is_some(), "a frame is released once");
        self.free.push(frame.buffer);
    }

    fn is_scarce(&self) -> bool {
        self.out() > self.plenty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_used_again_after_their_release() {
        let mut pool = FramePool::new(1);
        let a = pool.receive(Rc::from(&b"first"[..]), Address::NONE);
        let b = pool.receive(Rc::from(&b"second"[..]), Address::NONE);
        assert!(pool.is_scarce());
        assert_eq!((pool.bytes(&a), pool.bytes(&b)), (&b"first"[..], &b"second"[..]));
        let buffer = a.buffer;
        pool.release(a);
        let c = pool.receive(Rc::from(&b"third"[..]), Address::NONE);
        assert_eq!((c.buffer, pool.out()), (buffer, 2));
        pool.release(b);
        pool.release(c);
        assert_eq!(pool.out(), 0);
    }
}
