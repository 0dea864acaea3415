//! Tokens for received datagrams, and the pool that they belong to.

use crate::types::Address;

/// A datagram in a receive buffer: a token, not a borrow, so that a window can hold many at once.
///
/// Not `Copy` and not `Clone`: each must be given back to its pool exactly once, since a buffer
/// returns to the kernel when the last frame in it has been released.
#[must_use = "a frame that is not released starves its receive ring"]
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The buffer's number in its pool.
    pub buffer: u32,
    /// Where the datagram starts in the buffer.
    pub offset: u32,
    /// Bytes of the datagram, padding of a train included.
    pub length: u32,
    /// Who sent it, for answers to senders that are no node of the cluster.
    pub from: Address,
}

/// Where frames live. Of a thread: frames never cross threads.
pub trait Pool {
    /// The frame's bytes.
    fn bytes(&self, frame: &Frame) -> &[u8];

    /// Gives the frame back; its buffer returns to the kernel with its last frame.
    fn release(&mut self, frame: Frame);

    /// Whether free buffers are under a quarter: hold nothing, copy and release.
    fn is_scarce(&self) -> bool;
}
