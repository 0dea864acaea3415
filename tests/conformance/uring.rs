//! What only sockets have: strangers, groups of the machine, the hybrid endpoint's two sides.

use crate::suite::{datagram, flush, gather, send};
use crate::{Factory, Hybrid, Uring, fresh_groups, small};
use psmr::mem::{Frame, Pool};
use psmr::transport::uring::{Config, Endpoint, Sockets};
use psmr::transport::{Endpoint as _, Receive, Target, memory};
use psmr::types::{Address, Random, RingId, Time};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

#[test]
fn the_socket_buffer_is_read_back() {
    let config = Config { socket_buffer: 212_992, ..Config::default() };
    let sockets = Sockets::bind(&config).expect("loopback");
    assert_eq!(sockets.effective().socket_buffer, 212_992);
    assert_eq!(sockets.effective().segment_limit, 65_000);
}

#[test]
fn garbage_from_strangers_is_only_frames() {
    let Some(mut endpoints) = Uring(small()).all(&[&[]]) else { return };
    let endpoint = &mut endpoints[0];
    let to = endpoint.address().as_udp().expect("a UDP address");
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut random = Random::new(4);
    let mut frames: Vec<Frame> = Vec::with_capacity(256);
    for size in [0, 1, 63, 64, 1_400, 9_000, 65_507, 0, 5] {
        let bytes: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
        stranger.send_to(&bytes, to).expect("loopback");
        let expected = usize::from(size > 0);
        for frame in gather(endpoint, expected) {
            assert!(endpoint.split().0.bytes(&frame) == bytes);
            endpoint.split().0.release(frame);
        }
    }
    while endpoint.split().0.poll(Time::ZERO, &mut frames) > 0 {}
    assert!(frames.is_empty());
    assert_eq!(endpoint.split().0.counters().dropped, 2, "the empty ones");
}

#[test]
fn an_overflowing_socket_buffer_is_counted() {
    let config = Config { socket_buffer: 16 * 1024, gro: false, ..small() };
    let Some(mut endpoints) = Uring(config).all(&[&[]]) else { return };
    let endpoint = &mut endpoints[0];
    let to = endpoint.address().as_udp().expect("a UDP address");
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut frames: Vec<Frame> = Vec::with_capacity(256);
    // The kernel tells the drops with the next datagram that it could keep.
    for _ in 0..2 {
        for number in 0..50 {
            stranger.send_to(&datagram(number, 4000), to).expect("loopback");
        }
        while endpoint.split().0.poll(Time::ZERO, &mut frames) > 0 {
            frames.drain(..).for_each(|frame| endpoint.split().0.release(frame));
        }
    }
    let counters = endpoint.split().0.counters();
    assert!(counters.buffer_drops > 0 && counters.datagrams > 0, "{counters:?}");
}

#[test]
fn dropping_an_endpoint_leaves_its_groups_and_ports_at_once() {
    let groups = fresh_groups(1);
    let config = Config { groups: groups.clone(), subscribe: vec![RingId(0)], ..small() };
    for _ in 0..20 {
        let Ok(endpoint) = Endpoint::new(&config, None) else { return };
        let address = endpoint.address().as_udp().expect("a UDP address");
        assert!(is_member(*groups[0].1.ip()));
        drop(endpoint);
        assert!(!is_member(*groups[0].1.ip()));
        UdpSocket::bind(address).expect("the port is free");
        UdpSocket::bind(groups[0].1).expect("the group's port is free");
    }
}

/// Whether this machine is a member of `group`, as /proc/net/igmp writes it: network order as a
/// number of the machine.
fn is_member(group: Ipv4Addr) -> bool {
    let entry = format!("{:08X}", u32::from_ne_bytes(group.octets()));
    std::fs::read_to_string("/proc/net/igmp").expect("Linux").contains(&entry)
}

#[test]
fn a_hybrid_endpoint_hears_its_link_and_its_sockets_in_one_poll() {
    let Some(mut endpoints) = Hybrid.all(&[&[], &[]]) else { return };
    let link_addresses: Vec<Address> =
        endpoints.iter().map(|endpoint| endpoint.link_address().expect("a link")).collect();
    let [a, b] = &mut endpoints[..] else { unreachable!("two endpoints") };
    for number in 0..40 {
        send(a, Target::Address(link_addresses[1]), &datagram(number, 100));
        send(a, Target::Address(b.address()), &datagram(number, 200));
    }
    flush(a);
    let frames = gather(b, 80);
    let (linked, networked): (Vec<_>, Vec<_>) =
        frames.into_iter().partition(|frame| frame.from == link_addresses[0]);
    for (frames, length) in [(linked, 100), (networked, 200)] {
        assert_eq!(frames.len(), 40);
        // Last first: the order of release is free on both sides.
        for (frame, number) in frames.into_iter().zip(0..40).rev() {
            assert_eq!(b.split().0.bytes(&frame)[..length], datagram(number, length));
            b.split().0.release(frame);
        }
    }
}

#[test]
fn a_thread_without_sockets_wakes_a_hybrid_endpoint() {
    let groups = fresh_groups(1);
    let config = Config { groups, subscribe: vec![RingId(0)], ..small() };
    let mut hub = memory::Hub::default();
    let (served, _) = (hub.declare(&[]), hub.declare(&[]));
    let mut links = hub.build().expect("memory for two links").into_iter();
    let (link, mut client) = (links.next().expect("one"), links.next().expect("two"));
    let Ok(mut server) = Endpoint::new(&config, Some(link)) else { return };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..200 {
                send(&mut client, Target::Address(served), &datagram(number, 80));
                flush(&mut client);
                let frame = gather(&mut client, 1).remove(0);
                assert_eq!(client.split().0.bytes(&frame), datagram(number, 80));
                client.split().0.release(frame);
            }
        });
        let mut frames: Vec<Frame> = Vec::with_capacity(16);
        let mut answered = 0;
        while answered < 200 {
            server.park(Duration::from_secs(600)).expect("an endpoint that lives");
            server.split().0.poll(Time::ZERO, &mut frames);
            for frame in frames.drain(..) {
                let bytes = server.split().0.bytes(&frame).to_vec();
                send(&mut server, Target::Address(frame.from), &bytes);
                server.split().0.release(frame);
                answered += 1;
            }
            flush(&mut server);
        }
    });
}
