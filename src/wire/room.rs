//! How much one datagram holds.
//!
//! An instance is a datagram is a packet: IP fragments are lost together and drown the receiver, so
//! a datagram is never larger than what every network between the nodes carries in one piece, and
//! everything that is gathered or cut is measured by the same [`Room`] at every node.

use super::{
    ACCEPT_OVERHEAD, COMMAND_HEADER_LENGTH, HEADER_LENGTH, MAX_DATAGRAM, REPLY_HEADER_LENGTH,
    TAG_LENGTH,
};

/// The largest datagram, and what fits into it. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room(usize);

impl Room {
    /// A datagram of [`MAX_DATAGRAM`] bytes.
    pub const MOST: Self = Self(MAX_DATAGRAM);
    /// What every network carries in one piece: the least packet of IPv6, without its headers.
    pub const LEAST: Self = Self(1_232);

    /// Datagrams of up to `datagram` bytes; `None` below [`Room::LEAST`] or above [`Room::MOST`].
    #[must_use]
    pub const fn new(datagram: usize) -> Option<Self> {
        if datagram < Self::LEAST.0 || datagram > Self::MOST.0 {
            return None;
        }
        Some(Self(datagram))
    }

    /// What is used of packets of `limit` bytes; `None` if they are too small.
    #[must_use]
    pub const fn within(limit: usize) -> Option<Self> {
        Self::new(if limit > Self::MOST.0 { Self::MOST.0 } else { limit })
    }

    /// The largest datagram.
    #[must_use]
    pub const fn datagram(self) -> usize {
        self.0
    }

    /// The largest body between a header and a tag. The tag's room stays free where datagrams have
    /// none, so that switching authentication on changes no size.
    #[must_use]
    pub const fn body(self) -> usize {
        self.0 - HEADER_LENGTH - TAG_LENGTH
    }

    /// The largest batch of commands in one instance, headers of commands included.
    #[must_use]
    pub const fn batch(self) -> usize {
        self.0 - ACCEPT_OVERHEAD
    }

    /// The largest payload of one command; a longer command travels in parts.
    #[must_use]
    pub const fn command(self) -> usize {
        self.batch() - COMMAND_HEADER_LENGTH
    }

    /// The largest payload of one reply; a longer reply travels in parts.
    #[must_use]
    pub const fn reply(self) -> usize {
        self.body() - REPLY_HEADER_LENGTH
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_every_size_have_a_room_or_none() {
        assert_eq!(Room::new(1_231), None);
        assert_eq!(Room::new(8_193), None);
        assert_eq!(Room::within(1_231), None);
        assert_eq!(Room::within(65_507), Some(Room::MOST));
        let ethernet = Room::within(1_472).expect("a packet of Ethernet is enough");
        let sizes = [ethernet.datagram(), ethernet.body(), ethernet.batch(), ethernet.command()];
        assert_eq!(sizes, [1_472, 1_392, 960, 928]);
        assert_eq!(Room::LEAST.batch(), 720);
        assert!(Room::LEAST.reply() > Room::LEAST.command());
    }
}
