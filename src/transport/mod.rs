//! Datagrams in and out. A transport does not know messages: it sees bytes, groups and addresses.
//!
//! Layer 2. A thread owns one [`Endpoint`], which is its only wait point: sockets, links of the
//! memory transport and wake-ups of other threads all end there. The halves are separate so that a
//! role can read a received frame while it writes an answer.

mod files;
pub mod memory;
pub mod middleware;
pub mod socket;
pub mod udp;
pub mod uring;

pub use files::{Files, Place, Written};

use crate::mem::{Frame, Pool};
use crate::sync::Waker;
use crate::types::{Address, RingId, Time};
use std::io;
use std::time::Duration;

/// What of `config` this machine does not grant, a line each: opens an endpoint on a port that is
/// free, and closes it. Nothing if there cannot be one: who needs it says why.
#[must_use]
pub fn shortfalls(config: &udp::Config) -> Vec<String> {
    let trial = config.of_trial();
    let effective = match config.io {
        udp::Io::Socket => udp::Sockets::bind(&trial).map(|sockets| *sockets.effective()),
        udp::Io::Auto | udp::Io::Uring => {
            uring::Endpoint::new(&trial, None).map(|endpoint| *endpoint.effective())
        }
    };
    effective.map_or_else(|_| Vec::new(), |effective| effective.shortfalls(config))
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The multicast group of a ring.
    Group(RingId),
    /// One endpoint.
    Address(Address),
}

/// The receiving half: collects frames, owns the pool that they live in.
pub trait Receive: Pool {
    /// Appends what has arrived to `frames`, up to its spare capacity; never blocks, never
    /// allocates. Returns how many were added.
    fn poll(&mut self, now: Time, frames: &mut Vec<Frame>) -> usize;

    /// What this half has counted since its start.
    fn counters(&self) -> ReceiveCounters;
}

/// The sending half. Datagrams to one target within one flush may travel as a train.
pub trait Transmit {
    /// A buffer of exactly `length` bytes for one datagram; it leaves with the next
    /// [`Transmit::flush`], or earlier. `None`: no buffer is free; the caller treats the datagram
    /// as lost, and it is counted.
    fn reserve(&mut self, target: Target, length: usize) -> Option<&mut [u8]>;

    /// Hands everything reserved to the network.
    ///
    /// # Errors
    /// Only what ends the endpoint; a datagram that the kernel refuses is counted as lost.
    fn flush(&mut self) -> io::Result<()>;

    /// Who hears each ring from now on, where there is no multicast.
    ///
    /// # Errors
    /// If there is no memory for more copies of a datagram than before.
    fn regroup(&mut self, members: &udp::Members) -> io::Result<()>;

    /// What this half has counted since its start.
    fn counters(&self) -> TransmitCounters;
}

/// A thread's network: both halves and the one wait point.
pub trait Endpoint {
    /// The receiving half.
    type Receive: Receive;
    /// The sending half.
    type Transmit: Transmit;

    /// Both halves at once.
    fn split(&mut self) -> (&mut Self::Receive, &mut Self::Transmit);

    /// Where unicast datagrams reach this endpoint.
    fn address(&self) -> Address;

    /// What ends this endpoint's sleep, for other threads. A thread that also waits for something
    /// outside its endpoint calls [`Waker::announce`], looks at it once more, and then parks.
    fn waker(&self) -> Waker;

    /// A handle by which files are written through this endpoint's wait point; none if it cannot.
    fn files(&self) -> Option<Files> {
        None
    }

    /// Sleeps until something arrives, another thread wakes this one, or `timeout` is over.
    /// Returns at once if something is waiting already.
    ///
    /// # Errors
    /// What ends the endpoint.
    fn park(&mut self, timeout: Duration) -> io::Result<()>;
}

/// An endpoint that comes apart, so that middleware can stand between its halves and its user.
pub trait IntoParts: Endpoint + Sized {
    /// What is left without the halves.
    type WaitPoint: WaitPoint<Self::Receive, Self::Transmit>;

    /// The receiving half, the sending half, the rest.
    fn into_parts(self) -> (Self::Receive, Self::Transmit, Self::WaitPoint);
}

/// An endpoint without its halves, which it is lent for the time of a call.
pub trait WaitPoint<R, T> {
    /// See [`Endpoint::address`].
    fn address(&self) -> Address;

    /// See [`Endpoint::waker`].
    fn waker(&self) -> Waker;

    /// See [`Endpoint::files`].
    fn files(&self) -> Option<Files> {
        None
    }

    /// See [`Endpoint::park`].
    ///
    /// # Errors
    /// What ends the endpoint.
    fn park(&mut self, receive: &mut R, transmit: &mut T, timeout: Duration) -> io::Result<()>;
}

/// What a receiving half counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveCounters {
    /// Datagrams, each segment of a train counted.
    pub datagrams: u64,
    /// Buffers that held more than one datagram.
    pub trains: u64,
    /// Datagrams that the kernel dropped for want of socket buffer.
    pub buffer_drops: u64,
    /// Times that the receive ring ran out of buffers and was armed again.
    pub no_buffers: u64,
    /// Datagrams dropped here on purpose or for want of room in a link.
    pub dropped: u64,
}

impl ReceiveCounters {
    /// With what came by the link within the process, if there is one.
    fn with_link(self, link: Option<&memory::Receive>) -> Self {
        let of_link = link.map(Receive::counters).unwrap_or_default();
        Self {
            datagrams: self.datagrams + of_link.datagrams,
            trains: self.trains + of_link.trains,
            dropped: self.dropped + of_link.dropped,
            ..self
        }
    }
}

/// What a sending half counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransmitCounters {
    /// Datagrams, each segment of a train counted.
    pub datagrams: u64,
    /// Sends of more than one datagram.
    pub trains: u64,
    /// Datagrams lost for want of a buffer or refused by the kernel.
    pub lost: u64,
}

impl TransmitCounters {
    /// With what left by the link within the process, if there is one.
    fn with_link(self, link: Option<&memory::Transmit>) -> Self {
        let of_link = link.map(Transmit::counters).unwrap_or_default();
        Self {
            datagrams: self.datagrams + of_link.datagrams,
            lost: self.lost + of_link.lost,
            ..self
        }
    }
}
