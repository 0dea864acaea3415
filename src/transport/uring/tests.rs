//! Endpoints on loopback; left out where the machine forbids io_uring.

use super::*;
use crate::mem::{Frame, Pool};
use crate::transport::{Endpoint as _, Receive as _, Target};
use crate::types::{RingId, Time};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Sockets by default settings; `None`, and a word, where the machine forbids io_uring.
fn open(config: &Config) -> Option<Endpoint> {
    match Endpoint::new(config, None) {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            assert!(error.is_io_uring(), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn refuse(config: &Config) -> String {
    Sockets::bind(config).expect_err("a setting that cannot work").to_string()
}

#[test]
fn datagrams_of_one_flush_travel_as_trains() {
    let (Some(mut a), Some(mut b)) = (open(&Config::default()), open(&Config::default())) else {
        return;
    };
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
fn settings_that_cannot_work_are_refused_by_name() {
    let default = Config::default();
    let config = Config { interface: Ipv4Addr::UNSPECIFIED, ..default.clone() };
    assert!(refuse(&config).contains("interface"));
    let config = Config { interface: Ipv4Addr::new(203, 0, 113, 7), ..default.clone() };
    assert!(refuse(&config).contains("203.0.113.7"));
    let config = Config { buffers: 48, ..default.clone() };
    assert!(refuse(&config).contains("power of two"));
    let config = Config { subscribe: vec![RingId(3)], ..default.clone() };
    assert!(refuse(&config).contains("subscribe = 3"));
    let unicast = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9_000);
    let config = Config { groups: vec![(RingId(0), unicast)], ..default };
    assert!(refuse(&config).contains("127.0.0.1:9000"));
}

#[test]
fn a_port_in_use_is_named() {
    let first = Sockets::bind(&Config::default()).unwrap();
    let port = first.address;
    let error = refuse(&Config { port: port.port(), ..Config::default() });
    assert!(error.contains(&port.to_string()), "{error}");
    let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 77, 1), 0);
    let other = std::net::UdpSocket::bind(group).unwrap();
    let group = SocketAddrV4::new(*group.ip(), other.local_addr().unwrap().port());
    let ring = RingId(0);
    let config = Config { groups: vec![(ring, group)], subscribe: vec![ring], ..Config::default() };
    let error = refuse(&config);
    assert!(error.contains(&group.to_string()), "{error}");
}
