//! After warm-up a transport allocates nothing: counted by the allocator of this one test process.

use psmr::mem::{CountingAllocator, Frame, Pool, allocations};
use psmr::transport::{Endpoint, Receive, Target, Transmit, memory, socket, udp, uring};
use psmr::types::{RingId, Time};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Sends trains to a group that it hears itself, and to itself, and releases what comes.
fn cycle(endpoint: &mut impl Endpoint, group: Target, frames: &mut Vec<Frame>) {
    let address = Target::Address(endpoint.address());
    for length in [64, 64, 500, 8000, 64] {
        for target in [group, address] {
            if let Some(room) = endpoint.split().1.reserve(target, length) {
                room.fill(1);
            }
        }
    }
    endpoint.split().1.flush().expect("an endpoint that lives");
    endpoint.park(Duration::from_millis(1)).expect("an endpoint that lives");
    let (receive, _) = endpoint.split();
    receive.poll(Time::ZERO, frames);
    frames.drain(..).for_each(|frame| receive.release(frame));
}

fn measure(endpoint: &mut impl Endpoint) {
    let group = Target::Group(RingId(0));
    let mut frames = Vec::with_capacity(64);
    (0..500).for_each(|_| cycle(endpoint, group, &mut frames));
    let (before, received) = (allocations(), endpoint.split().0.counters().datagrams);
    (0..5_000).for_each(|_| cycle(endpoint, group, &mut frames));
    assert!(endpoint.split().0.counters().datagrams > received + 40_000);
    assert_eq!(allocations() - before, 0);
}

#[test]
fn a_transport_allocates_nothing_after_warm_up() {
    let mut hub = memory::Hub::default();
    hub.declare(&[RingId(0)]);
    hub.declare(&[]);
    let mut links = hub.build().expect("memory for two links");
    measure(&mut links[0]);
    let port = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 254, 1), port);
    let config = udp::Config {
        groups: vec![(RingId(0), group)],
        subscribe: vec![RingId(0)],
        ..udp::Config::default()
    };
    measure(&mut socket::Endpoint::new(&config, None).expect("loopback has multicast"));
    if let Ok(mut endpoint) = uring::Endpoint::new(&config, links.pop()) {
        measure(&mut endpoint);
    }
}
