//! Endpoints on loopback: what the conformance suite, which sees no counters of trains, leaves out.

use super::*;
use crate::mem::{Frame, Pool};
use crate::transport::{Endpoint as _, Receive as _, Target};
use crate::types::Time;

fn open() -> Endpoint {
    Endpoint::new(&Config::default(), None).unwrap()
}

#[test]
fn datagrams_of_one_flush_travel_as_trains() {
    let (mut a, mut b) = (open(), open());
    let to = Target::Address(b.address());
    for number in 0..100_u32 {
        let room = a.transmit.reserve(to, 4).unwrap();
        room.copy_from_slice(&number.to_le_bytes());
    }
    a.transmit.flush().unwrap();
    let mut frames: Vec<Frame> = Vec::with_capacity(128);
    while frames.len() < 100 {
        b.park(Duration::from_secs(60)).unwrap();
        b.receive.poll(Time::ZERO, &mut frames);
    }
    for (frame, expected) in frames.drain(..).zip(0_u32..) {
        assert_eq!(b.receive.bytes(&frame)[..4], expected.to_le_bytes());
        assert_eq!(frame.from, a.address());
        b.receive.release(frame);
    }
    if a.effective().gso && b.effective().gro {
        assert_eq!((a.transmit.counters().trains, b.receive.counters().trains), (2, 2));
    }
}

#[test]
fn many_targets_leave_in_several_calls_and_all_arrive() {
    let mut a = open();
    let mut others: Vec<Endpoint> = (0..20).map(|_| open()).collect();
    for other in &others {
        let room = a.transmit.reserve(Target::Address(other.address()), 9).unwrap();
        room.copy_from_slice(b"for them.");
    }
    a.transmit.flush().unwrap();
    assert!(!a.transmit.is_blocked());
    let mut frames: Vec<Frame> = Vec::with_capacity(8);
    for other in &mut others {
        other.park(Duration::from_secs(60)).unwrap();
        assert_eq!(other.receive.poll(Time::ZERO, &mut frames), 1);
        let frame = frames.pop().unwrap();
        assert_eq!(other.receive.bytes(&frame), b"for them.");
        other.receive.release(frame);
    }
}

#[test]
fn what_the_kernel_refuses_is_lost_and_the_rest_leaves() {
    let (mut a, mut b) = (open(), open());
    // Nothing leads from loopback to there.
    let nowhere = std::net::SocketAddrV4::new([203, 0, 113, 7].into(), 9);
    for to in [Address::udp(nowhere), b.address()] {
        a.transmit.reserve(Target::Address(to), 1).unwrap()[0] = 7;
    }
    a.transmit.flush().unwrap();
    assert_eq!(a.transmit.counters().lost, 1);
    b.park(Duration::from_secs(60)).unwrap();
    let mut frames = Vec::with_capacity(8);
    assert_eq!(b.receive.poll(Time::ZERO, &mut frames), 1);
    frames.drain(..).for_each(|frame| b.receive.release(frame));
}

#[test]
fn a_socket_that_always_has_something_does_not_hide_the_others() {
    let group = std::net::SocketAddrV4::new([239, 192, 77, 1].into(), 19_777);
    let ring = crate::types::RingId(0);
    let config = Config {
        groups: vec![(ring, group)],
        subscribe: vec![ring],
        socket_buffer: 1 << 20,
        ..Config::default()
    };
    let mut flooded = Endpoint::new(&config, None).unwrap();
    let mut flood = Endpoint::new(&Config { subscribe: Vec::new(), ..config }, None).unwrap();
    let mut other = open();
    // Trains hide how many datagrams there are: each of these goes alone.
    let mut fill = |datagrams: usize| {
        for _ in 0..datagrams {
            flood.transmit.reserve(Target::Group(ring), 300).unwrap().fill(1);
            flood.transmit.flush().unwrap();
        }
    };
    fill(64);
    let mut frames: Vec<Frame> = Vec::with_capacity(16);
    flooded.park(Duration::from_secs(60)).unwrap();
    let has = |endpoint: &mut Endpoint, frames: &mut Vec<Frame>, byte: u8| {
        endpoint.receive.poll(Time::ZERO, frames);
        let mut has = false;
        for frame in frames.drain(..) {
            has |= endpoint.receive.bytes(&frame)[0] == byte;
            endpoint.receive.release(frame);
        }
        has
    };
    assert!(has(&mut flooded, &mut frames, 1), "the flood is here");
    other.transmit.reserve(Target::Address(flooded.address()), 9).unwrap().fill(2);
    other.transmit.flush().unwrap();
    // More comes than one look takes, so the group's socket is never empty.
    let polls = (0..20).position(|_| {
        fill(16);
        has(&mut flooded, &mut frames, 2)
    });
    assert!(polls.is_some(), "a datagram waits behind a flood at another socket");
}
