//! What only sockets have: strangers, groups of the machine, the hybrid endpoint's two sides.

use crate::suite::{datagram, flush, gather, send};
use crate::{Factory, Hybrid, Over, Udp, fresh_groups, small};
use psmr::mem::{DirectBuffer, Frame, Pool, SECTOR};
use psmr::transport::udp::{Config, Sockets};
use psmr::transport::{Endpoint, Files, Place, Receive, Target, Written, memory};
use psmr::types::{Address, Random, RingId, Time};
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_socket_buffer_is_read_back() {
    let config = Config { socket_buffer: 212_992, ..Config::default() };
    let sockets = Sockets::bind(&config).expect("loopback");
    assert_eq!(sockets.effective().socket_buffer, 212_992);
    assert_eq!(sockets.effective().segment_limit, 65_000);
}

pub(crate) fn garbage_from_strangers_is_only_frames<O: Over>() {
    let Some(mut endpoints) = Udp::<O>::new(small()).all(&[&[]]) else { return };
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

pub(crate) fn an_overflowing_socket_buffer_is_counted<O: Over>() {
    let config = Config { socket_buffer: 16 * 1024, gro: false, ..small() };
    let Some(mut endpoints) = Udp::<O>::new(config).all(&[&[]]) else { return };
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

pub(crate) fn dropping_an_endpoint_leaves_its_groups_and_ports_at_once<O: Over>() {
    let groups = fresh_groups(1);
    let config = Config { groups: groups.clone(), subscribe: vec![RingId(0)], ..small() };
    for _ in 0..20 {
        if !O::is_permitted() {
            return;
        }
        let endpoint = O::over(Sockets::bind(&config).expect("loopback"), None);
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

pub(crate) fn a_hybrid_endpoint_hears_its_link_and_its_sockets_in_one_poll<O: Over>() {
    let Some(mut endpoints) = Hybrid(Udp::<O>::new(small())).all(&[&[], &[]]) else { return };
    let link_addresses: Vec<Address> =
        endpoints.iter().map(|endpoint| O::link_address(endpoint).expect("a link")).collect();
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

pub(crate) fn a_thread_without_sockets_wakes_a_hybrid_endpoint<O: Over>() {
    let groups = fresh_groups(1);
    let config = Config { groups, subscribe: vec![RingId(0)], ..small() };
    let mut hub = memory::Hub::default();
    let (served, _) = (hub.declare(&[]), hub.declare(&[]));
    let mut links = hub.build().expect("memory for two links").into_iter();
    let (link, mut client) = (links.next().expect("one"), links.next().expect("two"));
    if !O::is_permitted() {
        return;
    }
    let mut server = O::over(Sockets::bind(&config).expect("loopback"), Some(link));
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

/// A file of its own, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("psmr-{name}-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn block(byte: u8) -> DirectBuffer {
    let mut buffer = DirectBuffer::new(SECTOR).expect("memory");
    buffer.fill(byte);
    buffer
}

/// Parks until a write is over.
fn written(endpoint: &mut impl Endpoint, files: &Files) -> Written {
    for _ in 0..100 {
        if let Some(written) = files.take() {
            return written;
        }
        endpoint.park(Duration::from_secs(600)).expect("an endpoint that lives");
        let frames = endpoint.split().0.poll(Time::ZERO, &mut Vec::with_capacity(1));
        assert_eq!(frames, 0);
    }
    panic!("a write ends the sleep of its thread");
}

pub(crate) fn a_write_that_is_over_ends_a_park_and_brings_its_buffer_back<O: Over>() {
    let Some(mut endpoints) = Udp::<O>::new(small()).all(&[&[]]) else { return };
    let files = endpoints[0].files().expect("it writes files");
    let scratch = Scratch::new(&format!("write-{}", std::any::type_name::<O>()));
    let open = OpenOptions::new().create(true).truncate(true).write(true).open(&scratch.0);
    let file = Arc::new(open.expect("a writable directory"));
    let mut buffers: Vec<DirectBuffer> = (0..20).map(block).collect();
    files.register(&mut buffers.iter_mut().collect::<Vec<_>>());
    files.start(6, || ()).expect("room for threads");
    for (number, buffer) in (0..).zip(buffers) {
        assert!(files.has_room());
        let place = Place { file: &file, offset: number * 4096, length: 4096 };
        files.write(place, buffer, ((number % 6) as u16, number));
    }
    let mut tokens = Vec::new();
    for _ in 0..20 {
        let Written { owner, token, buffer, result } = written(&mut endpoints[0], &files);
        assert_eq!((result.expect("room on the disk"), u64::from(owner)), (4096, token % 6));
        assert!(buffer.iter().all(|byte| u64::from(*byte) == token));
        tokens.push(token);
    }
    tokens.sort_unstable();
    assert_eq!(tokens, (0..20).collect::<Vec<_>>());
    let bytes = std::fs::read(&scratch.0).expect("it was written");
    assert!((0..).zip(&bytes).all(|(at, byte)| u64::from(*byte) == at / 4096), "all in place");
    assert_eq!(bytes.len(), 20 * 4096);
}

pub(crate) fn a_write_that_fails_is_told_with_its_error<O: Over>() {
    let Some(mut endpoints) = Udp::<O>::new(small()).all(&[&[]]) else { return };
    let files = endpoints[0].files().expect("it writes files");
    files.start(1, || ()).expect("room for a thread");
    // A device that is always full.
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has one");
    let place = Place { file: &Arc::new(full), offset: 0, length: 4096 };
    files.write(place, block(1), (3, 7));
    let Written { owner, token, result, .. } = written(&mut endpoints[0], &files);
    assert_eq!((owner, token), (3, 7));
    assert_eq!(result.expect_err("no room").raw_os_error(), Some(libc::ENOSPC));
}

pub(crate) fn an_endpoint_that_ends_lets_its_writes_end_first<O: Over>() {
    let scratch = Scratch::new(&format!("end-{}", std::any::type_name::<O>()));
    let Some(mut endpoints) = Udp::<O>::new(small()).all(&[&[]]) else { return };
    let files = endpoints[0].files().expect("it writes files");
    files.start(1, || ()).expect("room for a thread");
    let open = OpenOptions::new().create(true).truncate(true).write(true).open(&scratch.0);
    let file = Arc::new(open.expect("a writable directory"));
    files.write(Place { file: &file, offset: 0, length: 4096 }, block(9), (0, 1));
    flush(&mut endpoints[0]);
    drop((endpoints, files));
    // Nothing has the file but us, so nobody will write to it any more.
    assert_eq!(Arc::strong_count(&file), 1);
}
