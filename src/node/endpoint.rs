//! What a thread's endpoint is made from, and the choice between the kinds of endpoint.
//!
//! An endpoint must be made on the thread that uses it, so what crosses to that thread is a
//! [`Seed`]. A [`Body`] is generic over the endpoint: each kind has its own compiled agent loop,
//! without a dynamic call on the data path.

use super::config::{ClientPath, ClusterConfig, ClusterError, Transport};
use crate::host::usage::draw_incarnation;
use crate::sync::Waker;
use crate::transport::middleware::{Fault, Faults};
use crate::transport::udp::Io;
use crate::transport::{Endpoint, IntoParts, memory, socket, udp, uring};
use crate::types::{Address, NodeId, RingId};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

/// What becomes an endpoint on the thread that owns it.
#[derive(Debug)]
pub(super) enum Seed {
    /// Links alone.
    Memory(memory::Endpoint),
    /// Sockets, and links to in-process clients if there are such.
    Udp(Box<udp::Sockets>, Option<memory::Endpoint>),
}

/// What a thread runs on its endpoint.
pub(super) trait Body {
    /// What it leaves behind.
    type Output;

    /// Runs to the end.
    fn run<E: Endpoint>(self, endpoint: E) -> Result<Self::Output, ClusterError>;
}

impl Seed {
    /// Where unicast datagrams reach the endpoint-to-be.
    pub(super) fn address(&self) -> Address {
        match self {
            Self::Memory(endpoint) => endpoint.address(),
            Self::Udp(sockets, _) => sockets.address(),
        }
    }

    /// The handle by which other threads wake the one that owns it.
    pub(super) fn waker(&self) -> Waker {
        match self {
            Self::Memory(endpoint) => endpoint.waker(),
            Self::Udp(sockets, _) => sockets.waker(),
        }
    }

    /// The receive buffer of its sockets, in bytes, as read back.
    pub(super) fn socket_buffer(&self) -> Option<usize> {
        match self {
            Self::Memory(_) => None,
            Self::Udp(sockets, _) => Some(sockets.effective().socket_buffer),
        }
    }

    /// Where in-process clients reach it.
    pub(super) fn link(&self) -> Option<Address> {
        match self {
            Self::Memory(endpoint) => Some(endpoint.address()),
            Self::Udp(_, link) => link.as_ref().map(Endpoint::address),
        }
    }

    /// Makes the endpoint, on this thread, and runs `body` on it.
    pub(super) fn run<B: Body>(
        self,
        fault: Option<Faults>,
        body: B,
    ) -> Result<B::Output, ClusterError> {
        match self {
            Self::Memory(endpoint) => run_on(endpoint, fault, body),
            Self::Udp(sockets, link) => {
                let is_plain = match sockets.config().io {
                    Io::Socket => true,
                    Io::Uring => false,
                    Io::Auto => uring::refusal(sockets.config()).is_some(),
                };
                if is_plain {
                    run_on(socket::Endpoint::over(*sockets, link)?, fault, body)
                } else {
                    run_on(uring::Endpoint::over(*sockets, link)?, fault, body)
                }
            }
        }
    }
}

fn run_on<E: IntoParts, B: Body>(
    endpoint: E,
    fault: Option<Faults>,
    body: B,
) -> Result<B::Output, ClusterError> {
    match fault {
        None => body.run(endpoint),
        Some(fault) => body.run(Fault::new(endpoint, &fault)),
    }
}

/// One thread's place in the cluster's network.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The nodes that listen here.
    pub(super) nodes: Vec<NodeId>,
    /// The rings whose groups it hears.
    pub(super) subscribe: Vec<RingId>,
    /// Whether it is a client.
    pub(super) is_client: bool,
}

/// Makes the seeds of all threads, in the order of `places`.
pub(super) fn seeds(config: &ClusterConfig, places: &[Place]) -> Result<Vec<Seed>, ClusterError> {
    let mut hub = memory::Hub::new(memory::Config::default());
    match &config.transport {
        Transport::Memory => {
            for place in places {
                hub.declare(&place.subscribe);
            }
            let endpoints = hub.build().map_err(ClusterError::Links)?;
            Ok(endpoints.into_iter().map(Seed::Memory).collect())
        }
        Transport::Udp(uring) => {
            let mut uring = uring.clone();
            if uring.groups.is_empty() {
                let rings = places.iter().flat_map(|place| place.subscribe.iter().copied());
                uring.groups =
                    groups(rings.collect(), draw_incarnation().map_err(ClusterError::Random)?.0);
            }
            let in_process = config.client_path == ClientPath::InProcess;
            if in_process {
                for _ in places {
                    hub.declare(&[]);
                }
            }
            let links = hub.build().map_err(ClusterError::Links)?;
            let mut links = links.into_iter();
            let mut seeds = Vec::with_capacity(places.len());
            for place in places {
                let link = links.next();
                seeds.push(match link {
                    Some(link) if place.is_client => Seed::Memory(link),
                    link => {
                        let subscribe = place.subscribe.clone();
                        let config = udp::Config { subscribe, ..uring.clone() };
                        Seed::Udp(Box::new(udp::Sockets::bind(&config)?), link)
                    }
                });
            }
            Ok(seeds)
        }
    }
}

/// Group addresses of a cluster that was given none: from the range of site-local scope, drawn at
/// random so that clusters on one host do not hear each other (and if they do, they are inert).
fn groups(rings: BTreeSet<RingId>, random: u64) -> Vec<(RingId, SocketAddrV4)> {
    let [a, b, ..] = random.to_le_bytes();
    let port = 20_000 + (random >> 16) % 10_000;
    let port = u16::try_from(port).expect("below 30,000");
    let group = |ring: RingId| {
        let last = u8::try_from(ring.0 + 1).expect("at most 65 rings");
        (ring, SocketAddrV4::new(Ipv4Addr::new(239, 192 + a % 4, b, last), port))
    };
    rings.into_iter().map(group).collect()
}
