//! Links between the threads of one process: one bounded byte link a (sender, receiver) pair.
//!
//! What the network does, this does too: a full link drops the datagram and counts it, a group
//! reaches every endpoint that subscribed it (the sender itself included, as IP multicast loops
//! back) and nobody else, datagrams of a pair stay in order. A datagram is written once, where the
//! receiver reads it; a group costs one copy for each further subscriber. A receiver that sleeps is
//! woken by the sender's flush; one that is awake costs the sender a load.

mod receive;
#[cfg(test)]
mod tests;
mod transmit;

pub use receive::Receive;
pub use transmit::Transmit;

use super::WaitPoint as _;
use crate::sync::{Waker, link};
use crate::types::{Address, RingId};
use std::io;
use std::time::Duration;

/// How large each link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Chunks a link, a power of two; a frame that is held pins one. 2 to 65,536.
    pub chunks: usize,
    /// Bytes a chunk, a multiple of 64; the largest datagram is 8 less.
    pub chunk_bytes: usize,
}

impl Default for Config {
    /// 1 MiB a link, of which only the part is ever touched that a burst needs.
    fn default() -> Self {
        Self { chunks: 32, chunk_bytes: 32 * 1024 }
    }
}

/// Declares the endpoints and their subscriptions before any thread starts, then makes them.
#[derive(Debug, Default)]
pub struct Hub {
    config: Config,
    subscriptions: Vec<Vec<RingId>>,
}

impl Hub {
    /// A hub whose links are as large as `config` says.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config, subscriptions: Vec::new() }
    }

    /// Declares an endpoint that hears the groups of the rings `subscribe`, and returns its address.
    ///
    /// # Panics
    /// If there are 16,384 endpoints already.
    pub fn declare(&mut self, subscribe: &[RingId]) -> Address {
        let number = u32::try_from(self.subscriptions.len()).expect("below 2^14");
        assert!(number < 1 << 14, "a hub has at most 16,384 endpoints");
        self.subscriptions.push(subscribe.to_vec());
        Address::memory(number)
    }

    /// The endpoints, in the order of their declaration; each goes to a thread of its own.
    ///
    /// # Errors
    /// If the process is out of memory mappings or file descriptors.
    ///
    /// # Panics
    /// If the configuration is out of its ranges.
    pub fn build(self) -> io::Result<Vec<Endpoint>> {
        let count = self.subscriptions.len();
        let wakers = (0..count).map(|_| Waker::of_event()).collect::<io::Result<Vec<_>>>()?;
        let groups = self.groups();
        let mut incoming: Vec<_> = (0..count).map(|_| Vec::with_capacity(count)).collect();
        let mut endpoints = Vec::with_capacity(count);
        for _ in 0..count {
            let mut outgoing = Vec::with_capacity(count);
            for (receivers, waker) in incoming.iter_mut().zip(&wakers) {
                let (sender, receiver) = link(self.config.chunks, self.config.chunk_bytes)?;
                outgoing.push((sender, waker.clone()));
                receivers.push(receiver);
            }
            endpoints.push(Transmit::new(outgoing, groups.clone(), self.config.chunk_bytes));
        }
        let ends = endpoints.into_iter().zip(incoming).zip(wakers).zip(0..);
        Ok(ends
            .map(|(((transmit, links), waker), number)| Endpoint {
                receive: Receive::new(links),
                transmit,
                wait: WaitPoint { address: Address::memory(number), waker },
            })
            .collect())
    }

    /// For each ring the numbers of the endpoints that subscribed it.
    fn groups(&self) -> Vec<Vec<u32>> {
        let rings = self.subscriptions.iter().flatten().map(|ring| usize::from(ring.0) + 1).max();
        let mut groups = vec![Vec::new(); rings.unwrap_or(0)];
        for (subscriptions, number) in self.subscriptions.iter().zip(0..) {
            for ring in subscriptions {
                let group = &mut groups[usize::from(ring.0)];
                if group.last() != Some(&number) {
                    group.push(number);
                }
            }
        }
        groups
    }
}

/// One thread's end of all its links.
#[derive(Debug)]
pub struct Endpoint {
    receive: Receive,
    transmit: Transmit,
    wait: WaitPoint,
}

/// Where an endpoint's thread sleeps.
#[derive(Debug)]
pub struct WaitPoint {
    address: Address,
    waker: Waker,
}

impl super::Endpoint for Endpoint {
    type Receive = Receive;
    type Transmit = Transmit;

    fn split(&mut self) -> (&mut Receive, &mut Transmit) {
        (&mut self.receive, &mut self.transmit)
    }

    fn address(&self) -> Address {
        self.wait.address
    }

    fn waker(&self) -> Waker {
        self.wait.waker.clone()
    }

    fn park(&mut self, timeout: Duration) -> io::Result<()> {
        self.wait.park(&mut self.receive, &mut self.transmit, timeout)
    }
}

impl super::IntoParts for Endpoint {
    type WaitPoint = WaitPoint;

    fn into_parts(self) -> (Receive, Transmit, WaitPoint) {
        (self.receive, self.transmit, self.wait)
    }
}

impl super::WaitPoint<Receive, Transmit> for WaitPoint {
    fn address(&self) -> Address {
        self.address
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn park(
        &mut self,
        receive: &mut Receive,
        transmit: &mut Transmit,
        timeout: Duration,
    ) -> io::Result<()> {
        super::Transmit::flush(transmit)?;
        self.waker.announce();
        if !receive.has_waiting() {
            self.waker.park(timeout);
        }
        self.waker.retract();
        Ok(())
    }
}
