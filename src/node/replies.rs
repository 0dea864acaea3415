//! Replies on their way out: gathered by address, so that many share a datagram.

use crate::types::Address;
use crate::wire::{Reply, Room, Writer};

/// How many addresses gather replies at once; beyond it the oldest datagram leaves early.
const OPEN: usize = 32;

#[derive(Debug)]
struct Open {
    to: Address,
    length: usize,
    bytes: Box<[u8]>,
}

/// One open datagram of replies an address.
#[derive(Debug)]
pub(super) struct OpenReplies {
    open: Vec<Open>,
    used: usize,
    last: usize,
    /// Bytes of replies in one datagram.
    room: usize,
}

impl OpenReplies {
    pub(super) fn new(room: Room) -> Self {
        let room = room.body();
        let empty = || Open { to: Address::NONE, length: 0, bytes: vec![0; room].into() };
        let open = std::iter::repeat_with(empty).take(OPEN).collect();
        Self { open, used: 0, last: 0, room }
    }

    /// Adds `reply` to the datagram for `to`; `send` takes a datagram's body that is full.
    #[inline]
    pub(super) fn push(
        &mut self,
        to: Address,
        reply: &Reply<'_>,
        send: impl FnMut(Address, &[u8]),
    ) {
        let length = reply.encoded_length();
        assert!(length <= self.room, "larger replies travel as parts");
        let hit = self.last < self.used && self.open[self.last].to == to;
        if !hit || self.open[self.last].length + length > self.room {
            self.find(to, length, send);
        }
        let open = &mut self.open[self.last];
        reply.encode(&mut Writer::new(&mut open.bytes[open.length..]));
        open.length += length;
    }

    /// Makes `last` the datagram for `to`, with room for `length` bytes.
    fn find(&mut self, to: Address, length: usize, mut send: impl FnMut(Address, &[u8])) {
        let known = self.open[..self.used].iter().position(|open| open.to == to);
        let index = known.unwrap_or_else(|| {
            if self.used == OPEN {
                self.drain(&mut send);
            }
            self.used += 1;
            self.used - 1
        });
        self.last = index;
        let open = &mut self.open[index];
        open.to = to;
        if open.length + length > self.room {
            send(to, &open.bytes[..open.length]);
            open.length = 0;
        }
    }

    /// Hands out every open datagram.
    pub(super) fn drain(&mut self, mut send: impl FnMut(Address, &[u8])) {
        for open in &mut self.open[..self.used] {
            if open.length > 0 {
                send(open.to, &open.bytes[..open.length]);
            }
            open.length = 0;
        }
        self.used = 0;
    }
}
