//! Where each ring's datagrams go: to its group, or a copy to each of its members.

use super::{Config, Members};
use crate::transport::Target;
use crate::types::RingId;
use std::net::SocketAddrV4;

/// Copies for which there is room at least: members come.
const LEAST_WIDTH: usize = 64;

/// The addresses of each ring, by its number.
#[derive(Debug, Default)]
pub(in crate::transport) struct Book {
    rings: Vec<Vec<SocketAddrV4>>,
    is_unicast: bool,
}

impl Book {
    pub(in crate::transport) fn new(config: &Config) -> Self {
        if let Some(members) = &config.members {
            return Self::of(members);
        }
        let mut book = Self::default();
        for (ring, group) in &config.groups {
            book.enter(*ring, &[*group]);
        }
        book
    }

    /// A copy to each of `members`.
    pub(in crate::transport) fn of(members: &Members) -> Self {
        let mut book = Self { is_unicast: true, ..Self::default() };
        for (ring, members) in members {
            book.enter(*ring, members);
        }
        book
    }

    fn enter(&mut self, ring: RingId, addresses: &[SocketAddrV4]) {
        let index = usize::from(ring.0);
        if self.rings.len() <= index {
            self.rings.resize(index + 1, Vec::new());
        }
        self.rings[index] = addresses.to_vec();
    }

    /// Copies of one datagram, at most.
    pub(in crate::transport) fn most_copies(&self) -> usize {
        self.rings.iter().map(Vec::len).max().unwrap_or(0).max(1)
    }

    /// Copies of one datagram that there must be room for.
    pub(in crate::transport) fn width(&self) -> usize {
        self.most_copies().max(if self.is_unicast { LEAST_WIDTH } else { 1 })
    }

    /// How many copies go to `target`; 0: it is nowhere by UDP.
    pub(in crate::transport) fn copies(&self, target: Target) -> usize {
        match target {
            Target::Group(ring) => self.rings.get(usize::from(ring.0)).map_or(0, Vec::len),
            Target::Address(_) => usize::from(self.address(target, 0).is_some()),
        }
    }

    /// Where copy `copy` goes.
    #[inline]
    pub(in crate::transport) fn address(
        &self,
        target: Target,
        copy: usize,
    ) -> Option<SocketAddrV4> {
        match target {
            Target::Group(ring) => self.rings.get(usize::from(ring.0))?.get(copy).copied(),
            Target::Address(address) => address.as_udp().filter(|address| address.port() != 0),
        }
    }
}
