//! Links between endpoints of one thread.

use super::*;
use crate::mem::{Frame, Pool};
use crate::transport::Endpoint as _;
use crate::transport::{Receive as _, Target, Transmit as _};
use crate::types::Time;

fn send(endpoint: &mut Endpoint, target: Target, bytes: &[u8]) -> bool {
    let (_, transmit) = endpoint.split();
    transmit.reserve(target, bytes.len()).map(|room| room.copy_from_slice(bytes)).is_some()
}

fn flush(endpoint: &mut Endpoint) {
    endpoint.split().1.flush().unwrap();
}

/// Sender and bytes of everything that waits at `endpoint`.
fn drain(endpoint: &mut Endpoint) -> Vec<(u32, Vec<u8>)> {
    let (receive, _) = endpoint.split();
    let mut frames = Vec::with_capacity(64);
    let mut received = Vec::new();
    while receive.poll(Time::ZERO, &mut frames) > 0 {
        for frame in frames.drain(..) {
            received.push((frame.from.as_memory().unwrap(), receive.bytes(&frame).to_vec()));
            receive.release(frame);
        }
    }
    received
}

#[test]
fn a_group_reaches_its_subscribers_the_sender_included_and_nobody_else() {
    let mut hub = Hub::new(Config::default());
    for subscriptions in [&[RingId(0)][..], &[RingId(0), RingId(2)], &[RingId(2)], &[]] {
        hub.declare(subscriptions);
    }
    let mut ends = hub.build().unwrap();
    assert!(send(&mut ends[1], Target::Group(RingId(0)), b"zero"));
    assert!(send(&mut ends[1], Target::Group(RingId(2)), b"two"));
    assert!(send(&mut ends[1], Target::Group(RingId(1)), b"nobody"));
    assert!(send(&mut ends[1], Target::Group(RingId(7)), b"nobody"));
    assert!(send(&mut ends[1], Target::Address(Address::memory(3)), b"three"));
    flush(&mut ends[1]);
    assert_eq!(drain(&mut ends[0]), [(1, b"zero".to_vec())]);
    assert_eq!(drain(&mut ends[1]), [(1, b"zero".to_vec()), (1, b"two".to_vec())]);
    assert_eq!(drain(&mut ends[2]), [(1, b"two".to_vec())]);
    assert_eq!(drain(&mut ends[3]), [(1, b"three".to_vec())]);
}

#[test]
fn a_full_link_drops_for_its_receiver_alone() {
    let mut hub = Hub::new(Config { chunks: 2, chunk_bytes: 64 });
    hub.declare(&[RingId(0)]);
    hub.declare(&[RingId(0)]);
    let mut ends = hub.build().unwrap();
    for _ in 0..4 {
        assert!(send(&mut ends[0], Target::Address(Address::memory(0)), &[1; 24]));
    }
    assert!(!send(&mut ends[0], Target::Address(Address::memory(0)), &[1; 24]));
    assert!(send(&mut ends[0], Target::Group(RingId(0)), &[2; 24]));
    flush(&mut ends[0]);
    assert_eq!(drain(&mut ends[0]).len(), 4);
    assert_eq!(drain(&mut ends[1]), [(0, vec![2; 24])]);
    let (receive, transmit) = ends[0].split();
    assert_eq!((receive.counters().dropped, transmit.counters().lost), (2, 2));
    assert!(!send(&mut ends[0], Target::Address(Address::memory(1)), &[3; 64]), "too long");
    assert!(!send(&mut ends[0], Target::Address(Address::memory(9)), &[3; 4]), "unknown");
}

#[test]
fn a_poll_stops_at_the_spare_capacity_and_scarcity_ends_with_the_release() {
    let mut hub = Hub::new(Config { chunks: 8, chunk_bytes: 64 });
    let address = hub.declare(&[]);
    let mut ends = hub.build().unwrap();
    while send(&mut ends[0], Target::Address(address), &[1; 48]) {}
    flush(&mut ends[0]);
    let (receive, _) = ends[0].split();
    let mut frames: Vec<Frame> = Vec::with_capacity(3);
    assert_eq!(receive.poll(Time::ZERO, &mut frames), 3);
    assert!(!receive.is_scarce());
    frames.reserve(5);
    while receive.poll(Time::ZERO, &mut frames) > 0 {}
    assert_eq!(frames.len(), 8);
    assert!(receive.is_scarce());
    frames.drain(..).for_each(|frame| receive.release(frame));
    assert!(!receive.is_scarce());
}

#[test]
fn a_flush_ends_the_receivers_sleep() {
    let mut hub = Hub::new(Config::default());
    let first = hub.declare(&[]);
    let second = hub.declare(&[]);
    let mut ends = hub.build().unwrap().into_iter();
    let (mut a, mut b) = (ends.next().unwrap(), ends.next().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for round in 0..200_u32 {
                send(&mut a, Target::Address(second), &round.to_le_bytes());
                flush(&mut a);
                while drain(&mut a).is_empty() {
                    a.park(Duration::from_secs(60)).unwrap();
                }
            }
        });
        for round in 0..200_u32 {
            loop {
                let received = drain(&mut b);
                if let [(0, bytes)] = &received[..] {
                    assert_eq!(bytes[..], round.to_le_bytes());
                    break;
                }
                assert!(received.is_empty());
                b.park(Duration::from_secs(60)).unwrap();
            }
            send(&mut b, Target::Address(first), &round.to_le_bytes());
            flush(&mut b);
        }
    });
}

#[test]
fn a_waker_ends_the_sleep_that_was_announced() {
    let mut hub = Hub::new(Config::default());
    hub.declare(&[]);
    let mut end = hub.build().unwrap().remove(0);
    let waker = end.waker();
    waker.announce();
    waker.wake();
    end.park(Duration::from_secs(60)).unwrap();
}
