//! One suite for every transport: what the protocols rely on, whatever carries the datagrams.
//!
//! `conformance/suite.rs` holds the facts, generic over a [`Factory`]; this file the transports.
#![expect(clippy::cast_possible_truncation, reason = "bytes and sizes of test data")]
#![expect(clippy::print_stderr, reason = "says why nothing was tested")]

#[path = "conformance/suite.rs"]
mod suite;
#[path = "conformance/udp.rs"]
mod udp;

use psmr::transport::middleware::{Fault, Faults};
use psmr::transport::udp::{Config, Members, Sockets};
use psmr::transport::{Endpoint, IntoParts, memory, socket, uring};
use psmr::types::{Address, RingId};
use std::marker::PhantomData;
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

/// What reads and writes sockets.
pub(crate) trait Over {
    /// The endpoint.
    type Endpoint: IntoParts;

    /// It, on the thread that uses it.
    fn over(sockets: Sockets, link: Option<memory::Endpoint>) -> Self::Endpoint;

    /// Where threads of this process reach it without the network.
    fn link_address(endpoint: &Self::Endpoint) -> Option<Address>;

    /// Whether this machine lets us use it; says why not.
    fn is_permitted() -> bool;
}

/// An io_uring.
pub(crate) enum ByUring {}

impl Over for ByUring {
    type Endpoint = uring::Endpoint;

    fn over(sockets: Sockets, link: Option<memory::Endpoint>) -> Self::Endpoint {
        Self::Endpoint::over(sockets, link).expect("io_uring is permitted")
    }

    fn link_address(endpoint: &Self::Endpoint) -> Option<Address> {
        endpoint.link_address()
    }

    fn is_permitted() -> bool {
        let refusal = uring::refusal(&Config::default());
        if let Some(refusal) = &refusal {
            eprintln!("skipped: {refusal}");
        }
        refusal.is_none()
    }
}

/// Plain system calls, which every machine permits.
pub(crate) enum ByCalls {}

impl Over for ByCalls {
    type Endpoint = socket::Endpoint;

    fn over(sockets: Sockets, link: Option<memory::Endpoint>) -> Self::Endpoint {
        Self::Endpoint::over(sockets, link).expect("sockets can be read")
    }

    fn link_address(endpoint: &Self::Endpoint) -> Option<Address> {
        endpoint.link_address()
    }

    fn is_permitted() -> bool {
        true
    }
}

/// Sockets, by the given settings.
pub(crate) struct Udp<O> {
    config: Config,
    over: PhantomData<O>,
}

impl<O> Udp<O> {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, over: PhantomData }
    }
}

fn by_uring(config: Config) -> Udp<ByUring> {
    Udp::new(config)
}

fn by_calls(config: Config) -> Udp<ByCalls> {
    Udp::new(config)
}

/// The smallest pool that all tests fit in, so that it can be exhausted.
pub(crate) fn small() -> Config {
    Config { buffers: 16, ..Config::default() }
}

/// Where a buffer holds one datagram: as many as the largest burst of a test.
pub(crate) fn plain() -> Config {
    Config { gro: false, buffers: 128, buffer_bytes: 16 * 1024, ..Config::default() }
}

impl<O: Over> Factory for Udp<O> {
    type Endpoint = O::Endpoint;
    type Parcel = Sockets;

    fn pack(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Parcel>> {
        let groups = fresh_groups(3);
        let parcel = |subscribe: &&[RingId]| {
            let (groups, subscribe) = (groups.clone(), subscribe.to_vec());
            let config = Config { groups, subscribe, ..self.config.clone() };
            Sockets::bind(&config).expect("loopback has multicast")
        };
        O::is_permitted().then(|| subscriptions.iter().map(parcel).collect())
    }

    fn open(parcel: Self::Parcel) -> Self::Endpoint {
        O::over(parcel, None)
    }
}

/// Sockets that send a copy to each who hears a ring.
pub(crate) struct Unicast<O>(Udp<O>);

impl<O: Over> Factory for Unicast<O> {
    type Endpoint = O::Endpoint;
    type Parcel = Sockets;

    fn pack(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Parcel>> {
        let config = Config { members: Some(Vec::new()), ..self.0.config.clone() };
        let bind = |_: &&[RingId]| Sockets::bind(&config).expect("loopback is there");
        let mut parcels: Vec<Sockets> =
            O::is_permitted().then(|| subscriptions.iter().map(bind).collect())?;
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
        O::over(parcel, None)
    }
}

/// Sockets with a link to other threads.
pub(crate) struct Hybrid<O>(Udp<O>);

impl<O: Over> Factory for Hybrid<O> {
    type Endpoint = O::Endpoint;
    type Parcel = (Sockets, memory::Endpoint);

    fn pack(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Parcel>> {
        let sockets = self.0.pack(subscriptions)?;
        let links = Memory.pack(&vec![&[][..]; subscriptions.len()])?;
        Some(sockets.into_iter().zip(links).collect())
    }

    fn open((sockets, link): Self::Parcel) -> Self::Endpoint {
        O::over(sockets, Some(link))
    }
}

/// The fault layer with no faults must be invisible.
pub(crate) struct Faultless<O>(Udp<O>);

impl<O: Over> Factory for Faultless<O> {
    type Endpoint = Fault<O::Endpoint>;
    type Parcel = Sockets;

    fn pack(&self, subscriptions: &[&[RingId]]) -> Option<Vec<Self::Parcel>> {
        self.0.pack(subscriptions)
    }

    fn open(parcel: Self::Parcel) -> Self::Endpoint {
        Fault::new(O::over(parcel, None), &Faults::default())
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
    over_uring: by_uring(small());
    over_uring_and_memory: Hybrid(by_uring(small()));
    over_uring_without_faults: Faultless(by_uring(small()));
    at_stock_socket_buffers: by_uring(Config { socket_buffer: 212_992, ..small() });
    without_trains: by_uring(Config { gso: false, ..plain() });
    without_received_trains: by_uring(plain());
    by_unicast: Unicast(by_uring(small()));
    by_unicast_without_copies: Unicast(by_uring(Config { send_zc: true, ..small() }));
    without_copies: by_uring(Config { send_zc: true, ..small() });
    with_a_kernel_thread: by_uring(Config { sqpoll: true, ..small() });
    with_gathering_waits: by_uring(Config { min_wait: Duration::from_micros(50), ..small() });
    with_busy_polling: by_uring(Config { busy_poll: Duration::from_micros(20), ..small() });
    over_plain_sockets: by_calls(small());
    over_plain_sockets_and_memory: Hybrid(by_calls(small()));
    over_plain_sockets_without_faults: Faultless(by_calls(small()));
    over_plain_sockets_at_stock_buffers: by_calls(Config { socket_buffer: 212_992, ..small() });
    over_plain_sockets_without_trains: by_calls(Config { gso: false, ..plain() });
    over_plain_sockets_without_received_trains: by_calls(plain());
    over_plain_sockets_by_unicast: Unicast(by_calls(small()));
}

macro_rules! facts_of_sockets {
    ($($transport:ident: $over:ty;)*) => {
        $(mod $transport {
            use super::*;
            facts_of_sockets!(@ $over =>
                garbage_from_strangers_is_only_frames
                an_overflowing_socket_buffer_is_counted
                dropping_an_endpoint_leaves_its_groups_and_ports_at_once
                a_hybrid_endpoint_hears_its_link_and_its_sockets_in_one_poll
                a_thread_without_sockets_wakes_a_hybrid_endpoint
                a_write_that_is_over_ends_a_park_and_brings_its_buffer_back
                a_write_that_fails_is_told_with_its_error
                an_endpoint_that_ends_lets_its_writes_end_first
            );
        })*
    };
    (@ $over:ty => $($fact:ident)*) => {
        $(#[test] fn $fact() { udp::$fact::<$over>(); })*
    };
}

facts_of_sockets! {
    sockets_over_uring: ByUring;
    sockets_over_plain_calls: ByCalls;
}
