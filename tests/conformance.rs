//! One suite for every transport: what the protocols rely on, whatever carries the datagrams.
//!
//! `conformance/suite.rs` holds the facts, generic over a [`Factory`]; this file the transports.
#![expect(clippy::cast_possible_truncation, reason = "bytes and sizes of test data")]
#![expect(clippy::print_stderr, reason = "says why nothing was tested")]

#[path = "conformance/suite.rs"]
mod suite;
#[path = "conformance/uring.rs"]
mod uring;

use psmr::transport::middleware::{Fault, Faults};
use psmr::transport::uring::{Config, LaunchError, Members, Sockets};
use psmr::transport::{Endpoint, memory};
use psmr::types::RingId;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Makes connected endpoints of one kind.
pub(crate) trait Factory {
    /// The kind.
    type Endpoint: Endpoint;
    /// What becomes an endpoint, on any thread.
    type Parcel: Send;

    /// One parcel for each set of subscriptions; `None`, and a word why, if this machine cannot.
    fn pack(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Parcel>>;

    /// The endpoint, on the thread that uses it.
    fn open(parcel: Self::Parcel) -> Self::Endpoint;

    /// All endpoints on this thread.
    fn all(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Endpoint>> {
        Some(self.pack(subscriptions)?.into_iter().map(Self::open).collect())
    }
}

/// Links of threads of one process, small enough to fill.
pub(crate) struct Memory;

impl Factory for Memory {
    type Endpoint = memory::Endpoint;
    type Parcel = memory::Endpoint;

    fn pack(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Parcel>> {
        let mut hub = memory::Hub::new(memory::Config { chunks: 16, chunk_bytes: 16 * 1024 });
        for subscribe in subscriptions {
            hub.declare(subscribe);
        }
        Some(hub.build().expect("memory for a few links"))
    }

    fn open(parcel: Self::Parcel) -> Self::Endpoint {
        parcel
    }
}

/// Sockets and an io_uring, by the given settings.
pub(crate) struct Uring(Config);

/// The smallest pool that all tests fit in, so that it can be exhausted.
pub(crate) fn small() -> Config {
    Config { buffers: 16, ..Config::default() }
}

/// Where a buffer holds one datagram: as many as the largest burst of a test.
pub(crate) fn plain() -> Config {
    Config { gro: false, buffers: 128, buffer_bytes: 16 * 1024, ..Config::default() }
}

impl Factory for Uring {
    type Endpoint = psmr::transport::uring::Endpoint;
    type Parcel = Sockets;

    fn pack(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Parcel>> {
        let groups = fresh_groups(3);
        let parcel = |subscribe: &&[RingId]| {
            let config =
                Config { groups: groups.clone(), subscribe: subscribe.to_vec(), ..self.0.clone() };
            Sockets::bind(&config).expect("loopback has multicast")
        };
        is_permitted().then(|| subscriptions.iter().map(parcel).collect())
    }

    fn open(parcel: Self::Parcel) -> Self::Endpoint {
        parcel.into_endpoint(None).expect("io_uring is permitted")
    }
}

/// Sockets that send a copy to each who hears a ring.
pub(crate) struct Unicast(Config);

impl Factory for Unicast {
    type Endpoint = psmr::transport::uring::Endpoint;
    type Parcel = Sockets;

    fn pack(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Parcel>> {
        let config = Config { members: Some(Vec::new()), ..self.0.clone() };
        let bind = |_: &&[RingId]| Sockets::bind(&config).expect("loopback is there");
        let mut parcels: Vec<Sockets> =
            is_permitted().then(|| subscriptions.iter().map(bind).collect())?;
        let hears = |ring: u16, parcels: &[Sockets]| {
            let of = parcels.iter().zip(subscriptions);
            let of = of.filter(|(_, rings)| rings.contains(&RingId(ring)));
            of.map(|(parcel, _)| parcel.address().as_udp().expect("of UDP")).collect()
        };
        let members: Members = (0..3).map(|ring| (RingId(ring), hears(ring, &parcels))).collect();
        parcels.iter_mut().for_each(|parcel| parcel.set_members(members.clone()));
        Some(parcels)
    }

    fn open(parcel: Self::Parcel) -> Self::Endpoint {
        parcel.into_endpoint(None).expect("io_uring is permitted")
    }
}

/// An io_uring endpoint that also has a link to other threads.
pub(crate) struct Hybrid;

impl Factory for Hybrid {
    type Endpoint = psmr::transport::uring::Endpoint;
    type Parcel = (Sockets, memory::Endpoint);

    fn pack(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Parcel>> {
        let sockets = Uring(small()).pack(subscriptions)?;
        let links = Memory.pack(&vec![&[][..]; subscriptions.len()])?;
        Some(sockets.into_iter().zip(links).collect())
    }

    fn open((sockets, link): Self::Parcel) -> Self::Endpoint {
        sockets.into_endpoint(Some(link)).expect("io_uring is permitted")
    }
}

/// The fault layer with no faults must be invisible.
pub(crate) struct Faultless;

impl Factory for Faultless {
    type Endpoint = Fault<psmr::transport::uring::Endpoint>;
    type Parcel = Sockets;

    fn pack(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Parcel>> {
        Uring(small()).pack(subscriptions)
    }

    fn open(parcel: Self::Parcel) -> Self::Endpoint {
        Fault::new(Uring::open(parcel), &Faults::default())
    }
}

/// Whether this machine lets us use io_uring; says why not.
fn is_permitted() -> bool {
    match psmr::transport::uring::Endpoint::new(&Config::default(), None) {
        Ok(_) => true,
        Err(error) => {
            assert!(LaunchError::is_io_uring(&error), "{error}");
            eprintln!("skipped: {error}");
            false
        }
    }
}

/// Groups that no other test and no other process uses, all on one port: rings 0 to `count` - 1.
pub(crate) fn fresh_groups(count: u16) -> Vec<(RingId, SocketAddrV4)> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let port = {
        let probe = UdpSocket::bind("127.0.0.1:0").expect("a port");
        probe.local_addr().expect("bound").port()
    };
    let group = |ring| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() % 200 * 256;
        let [.., x, y] = number.to_be_bytes();
        (RingId(ring), SocketAddrV4::new(Ipv4Addr::new(239, 255, x, y), port))
    };
    (0..count).map(group).collect()
}

macro_rules! conformance {
    ($($transport:ident: $factory:expr;)*) => {
        $(mod $transport {
            use super::*;
            conformance!(@ $factory =>
                datagrams_of_a_pair_arrive_in_order
                every_size_arrives_as_it_was_sent
                a_train_of_equal_datagrams_arrives_as_it_was_sent
                a_train_of_mixed_datagrams_arrives_as_it_was_sent
                a_group_reaches_its_subscribers_and_nobody_else
                frames_can_be_released_in_any_order
                an_exhausted_receiver_recovers_and_counts
                a_poll_takes_no_more_than_there_is_room_for
                what_cannot_be_sent_is_refused_and_counted
                a_park_returns_at_once_when_something_waits
                a_park_ends_with_its_timeout
                another_thread_ends_a_park
                a_datagram_ends_a_park
            );
        })*
    };
    (@ $factory:expr => $($fact:ident)*) => {
        $(#[test] fn $fact() { suite::$fact(&$factory); })*
    };
}

conformance! {
    in_memory: Memory;
    over_uring: Uring(small());
    over_uring_and_memory: Hybrid;
    over_uring_without_faults: Faultless;
    at_stock_socket_buffers: Uring(Config { socket_buffer: 212_992, ..small() });
    without_trains: Uring(Config { gso: false, ..plain() });
    without_received_trains: Uring(plain());
    by_unicast: Unicast(small());
    by_unicast_without_copies: Unicast(Config { send_zc: true, ..small() });
    without_copies: Uring(Config { send_zc: true, ..small() });
    with_a_kernel_thread: Uring(Config { sqpoll: true, ..small() });
    with_gathering_waits: Uring(Config { min_wait: Duration::from_micros(50), ..small() });
    with_busy_polling: Uring(Config { busy_poll: Duration::from_micros(20), ..small() });
}
