//! Where each ring's datagrams go: to its group, or a copy to each of its members.

use super::Config;
use crate::transport::Target;
use crate::types::RingId;
use std::net::SocketAddrV4;

/// The addresses of each ring, by its number.
#[derive(Debug, Default)]
pub(in crate::transport) struct Book(Vec<Vec<SocketAddrV4>>);

impl Book {
    pub(in crate::transport) fn new(config: &Config) -> Self {
        let mut book = Self::default();
        match &config.members {
            Some(members) => {
                for (ring, members) in members {
                    book.enter(*ring, members);
                }
            }
            None => {
                for (ring, group) in &config.groups {
                    book.enter(*ring, &[*group]);
                }
            }
        }
        book
    }

    fn enter(&mut self, ring: RingId, addresses: &[SocketAddrV4]) {
        let index = usize::from(ring.0);
        if self.0.len() <= index {
            self.0.resize(index + 1, Vec::new());
        }
        self.0[index] = addresses.to_vec();
    }

    /// Copies of one datagram, at most.
    pub(in crate::transport) fn most_copies(&self) -> usize {
        self.0.iter().map(Vec::len).max().unwrap_or(0).max(1)
    }

    /// How many copies go to `target`; 0: it is nowhere by UDP.
    pub(in crate::transport) fn copies(&self, target: Target) -> usize {
        match target {
            Target::Group(ring) => self.0.get(usize::from(ring.0)).map_or(0, Vec::len),
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
            Target::Group(ring) => self.0.get(usize::from(ring.0))?.get(copy).copied(),
            Target::Address(address) => address.as_udp().filter(|address| address.port() != 0),
        }
    }
}
