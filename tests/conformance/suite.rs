//! The facts.

use crate::Factory;
use psmr::host::clock;
use psmr::mem::{Frame, Pool};
use psmr::transport::{Endpoint, Receive, ReceiveCounters, Target, Transmit};
use psmr::types::{Address, Random, RingId, Time};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(10);
const RING: RingId = RingId(0);
const OTHER_RING: RingId = RingId(1);

/// A datagram whose bytes follow from its number.
pub(crate) fn datagram(number: u32, length: usize) -> Vec<u8> {
    let tail = (0..length).map(|i| (i as u32).wrapping_mul(31).wrapping_add(number) as u8);
    let mut bytes: Vec<u8> = tail.collect();
    let head = number.to_le_bytes();
    let known = length.min(4);
    bytes[..known].copy_from_slice(&head[..known]);
    bytes
}

pub(crate) fn send(from: &mut impl Endpoint, target: Target, bytes: &[u8]) {
    let (_, transmit) = from.split();
    transmit.reserve(target, bytes.len()).expect("room to send").copy_from_slice(bytes);
}

pub(crate) fn flush(endpoint: &mut impl Endpoint) {
    endpoint.split().1.flush().expect("an endpoint that lives");
}

/// Waits until `count` more frames have come.
pub(crate) fn gather(endpoint: &mut impl Endpoint, count: usize) -> Vec<Frame> {
    let mut frames = Vec::with_capacity(4096);
    for _ in 0..200 {
        endpoint.split().0.poll(Time::ZERO, &mut frames);
        if frames.len() >= count {
            break;
        }
        endpoint.park(Duration::from_millis(100)).expect("an endpoint that lives");
    }
    let counters = endpoint.split().0.counters();
    assert_eq!(frames.len(), count, "{counters:?}");
    frames
}

/// Checks that `frame` is `sent`, padded at most, and gives it back.
fn check(endpoint: &mut impl Endpoint, frame: Frame, from: Address, sent: &[u8]) {
    let (receive, _) = endpoint.split();
    assert_eq!(frame.from, from);
    let bytes = receive.bytes(&frame);
    assert_eq!(bytes.len(), frame.length as usize);
    let (head, padding) = bytes.split_at_checked(sent.len()).expect("a whole datagram");
    assert!(head == sent, "as it was sent");
    assert!(padding.iter().all(|byte| *byte == 0), "padded with zeros");
    receive.release(frame);
}

/// Sends all of `sent` by one flush; they must arrive in order.
fn carry(endpoints: &mut [impl Endpoint], sent: &[Vec<u8>]) {
    let [a, b] = endpoints else { unreachable!("two endpoints") };
    let to = Target::Address(b.address());
    for bytes in sent {
        send(a, to, bytes);
    }
    flush(a);
    for (frame, bytes) in gather(b, sent.len()).into_iter().zip(sent) {
        check(b, frame, a.address(), bytes);
    }
}

/// Takes and forgets all that waits: until a datagram comes that is sent now, behind it.
fn drain(from: &mut impl Endpoint, endpoint: &mut impl Endpoint) {
    let mut frames = Vec::with_capacity(64);
    for number in 0..10 {
        let mark = datagram(number, 77);
        send(from, Target::Address(endpoint.address()), &mark);
        flush(from);
        let mut has_come = false;
        for _ in 0..100 {
            let (receive, _) = endpoint.split();
            receive.poll(Time::ZERO, &mut frames);
            for frame in frames.drain(..) {
                has_come |= receive.bytes(&frame) == mark;
                receive.release(frame);
            }
            if has_come {
                return;
            }
            endpoint.park(Duration::from_millis(10)).expect("an endpoint that lives");
        }
    }
    panic!("no mark has come");
}

/// Nothing has arrived but what comes now.
fn is_silent(endpoints: &mut [impl Endpoint], at: usize) {
    let to = Target::Address(endpoints[at].address());
    send(&mut endpoints[0], to, b"last");
    flush(&mut endpoints[0]);
    let from = endpoints[0].address();
    let frame = gather(&mut endpoints[at], 1).remove(0);
    check(&mut endpoints[at], frame, from, b"last");
}

pub(crate) fn datagrams_of_a_pair_arrive_in_order(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[], &[]]) else { return };
    let mut random = Random::new(1);
    let mut number = 0;
    for _ in 0..60 {
        let mut sent = Vec::new();
        for _ in 0..=random.next() % 24 {
            sent.push(datagram(number, 1 + (random.next() % 2000) as usize));
            number += 1;
        }
        carry(&mut endpoints, &sent);
    }
}

pub(crate) fn every_size_arrives_as_it_was_sent(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[], &[]]) else { return };
    for size in [1, 2, 3, 7, 8, 9, 63, 64, 65, 511, 512, 1000, 1472, 1473, 4095, 8191, 8192] {
        carry(&mut endpoints, &[datagram(size, size as usize)]);
    }
}

pub(crate) fn a_train_of_equal_datagrams_arrives_as_it_was_sent(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[], &[]]) else { return };
    for (count, length) in [(2, 1), (64, 64), (100, 100), (65, 1024), (20, 4000), (16, 8192)] {
        let sent: Vec<_> = (0..count).map(|number| datagram(number, length)).collect();
        carry(&mut endpoints, &sent);
    }
}

pub(crate) fn a_train_of_mixed_datagrams_arrives_as_it_was_sent(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[], &[]]) else { return };
    let mut random = Random::new(2);
    for limit in [100, 700, 3000, 8192] {
        let count = (60_000 / limit).min(90);
        let length = |random: &mut Random| 1 + (random.next() % u64::from(limit)) as usize;
        let sent: Vec<_> = (0..count).map(|n| datagram(n, length(&mut random))).collect();
        carry(&mut endpoints, &sent);
    }
    let falling: Vec<_> = (1..30).rev().map(|n| datagram(n, n as usize * 64)).collect();
    carry(&mut endpoints, &falling);
}

pub(crate) fn a_group_reaches_its_subscribers_and_nobody_else(factory: &impl Factory) {
    let subscriptions: [&[RingId]; 4] = [&[], &[RING], &[RING, OTHER_RING], &[OTHER_RING]];
    let Some(mut endpoints) = factory.all(&subscriptions) else { return };
    // Endpoint 0 subscribes nothing and sends to both; endpoint 2 hears itself.
    for (sender, ring) in [(0, RING), (0, OTHER_RING), (2, RING)] {
        let sent: Vec<_> = (0..10).map(|n| datagram(n, 200 + n as usize)).collect();
        for bytes in &sent {
            send(&mut endpoints[sender], Target::Group(ring), bytes);
        }
        flush(&mut endpoints[sender]);
        let from = endpoints[sender].address();
        for (receiver, subscribed) in subscriptions.iter().enumerate() {
            if subscribed.contains(&ring) {
                for (frame, bytes) in gather(&mut endpoints[receiver], 10).into_iter().zip(&sent) {
                    check(&mut endpoints[receiver], frame, from, bytes);
                }
            }
        }
        for receiver in 0..subscriptions.len() {
            is_silent(&mut endpoints, receiver);
        }
    }
}

pub(crate) fn frames_can_be_released_in_any_order(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[], &[]]) else { return };
    let [a, b] = &mut endpoints[..] else { unreachable!("two endpoints") };
    let mut random = Random::new(3);
    for _ in 0..50 {
        let mut frames = Vec::new();
        let mut number = 0;
        for _ in 0..8 {
            for _ in 0..5 {
                send(a, Target::Address(b.address()), &datagram(number, 700));
                number += 1;
            }
            flush(a);
            frames.extend(gather(b, 5));
        }
        let mut frames: Vec<_> = frames.into_iter().zip(0..number).collect();
        random.shuffle(&mut frames);
        for (frame, number) in frames {
            check(b, frame, a.address(), &datagram(number, 700));
        }
        assert!(!b.split().0.is_scarce());
    }
}

pub(crate) fn an_exhausted_receiver_recovers_and_counts(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[], &[]]) else { return };
    let [a, b] = &mut endpoints[..] else { unreachable!("two endpoints") };
    let to = Target::Address(b.address());
    let mut held: Vec<Frame> = Vec::with_capacity(4096);
    let mut number = 0;
    let has_run_out = |counters: ReceiveCounters| counters.no_buffers + counters.dropped > 0;
    // A kernel thread that submits may be kept from its core for long.
    let deadline = clock::now() + Duration::from_secs(30);
    while !has_run_out(b.split().0.counters()) {
        if let Some(room) = a.split().1.reserve(to, 8000) {
            room.copy_from_slice(&datagram(number, 8000));
            number += 1;
        }
        flush(a);
        b.park(Duration::ZERO).expect("an endpoint that lives");
        b.split().0.poll(Time::ZERO, &mut held);
        assert!(clock::now() < deadline, "{:?}", b.split().0.counters());
    }
    assert!(b.split().0.is_scarce());
    for (frame, number) in held.drain(..).zip(0..) {
        check(b, frame, a.address(), &datagram(number, 8000));
    }
    assert!(!b.split().0.is_scarce());
    // What the kernel's socket kept comes now; what did not fit is lost.
    drain(a, b);
    for _ in 0..40 {
        carry(&mut endpoints, &[datagram(1, 500)]);
    }
}

pub(crate) fn a_poll_takes_no_more_than_there_is_room_for(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[], &[]]) else { return };
    let [a, b] = &mut endpoints[..] else { unreachable!("two endpoints") };
    for number in 0..40 {
        send(a, Target::Address(b.address()), &datagram(number, 64));
    }
    flush(a);
    let mut frames: Vec<Frame> = Vec::with_capacity(3);
    let room = frames.capacity();
    let mut expected = 0;
    while expected < 40 {
        b.park(LONG).expect("an endpoint that lives");
        let count = b.split().0.poll(Time::ZERO, &mut frames);
        assert!(count <= room && frames.capacity() == room);
        for frame in std::mem::replace(&mut frames, Vec::with_capacity(room)) {
            check(b, frame, a.address(), &datagram(expected, 64));
            expected += 1;
        }
    }
}

pub(crate) fn what_cannot_be_sent_is_refused_and_counted(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[], &[]]) else { return };
    let to = Target::Address(endpoints[1].address());
    let transmit = endpoints[0].split().1;
    assert!(transmit.reserve(Target::Address(Address::NONE), 10).is_none());
    assert!(transmit.reserve(Target::Address(Address::from_bits(u64::MAX)), 10).is_none());
    assert!(transmit.reserve(to, 70_000).is_none());
    assert!(transmit.reserve(to, usize::MAX).is_none());
    transmit.flush().expect("nothing to send");
    assert_eq!((transmit.counters().lost, transmit.counters().datagrams), (4, 0));
    is_silent(&mut endpoints, 1);
}

pub(crate) fn a_park_returns_at_once_when_something_waits(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[], &[]]) else { return };
    let [a, b] = &mut endpoints[..] else { unreachable!("two endpoints") };
    send(a, Target::Address(b.address()), b"waiting");
    flush(a);
    for _ in 0..3 {
        b.park(Duration::from_secs(600)).expect("an endpoint that lives");
    }
    let frame = gather(b, 1).remove(0);
    check(b, frame, a.address(), b"waiting");
    // A park also sends what was reserved.
    send(a, Target::Address(a.address()), b"myself");
    a.park(Duration::from_secs(600)).expect("an endpoint that lives");
    let frame = gather(a, 1).remove(0);
    check(a, frame, a.address(), b"myself");
}

pub(crate) fn a_park_ends_with_its_timeout(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[]]) else { return };
    for timeout in [Duration::ZERO, Duration::from_micros(100), Duration::from_millis(3)] {
        endpoints[0].park(timeout).expect("an endpoint that lives");
    }
}

pub(crate) fn another_thread_ends_a_park(factory: &impl Factory) {
    let Some(mut endpoints) = factory.all(&[&[]]) else { return };
    let endpoint = &mut endpoints[0];
    let waker = endpoint.waker();
    for _ in 0..100 {
        let (waker, here) = (waker.clone(), waker.clone());
        here.announce();
        std::thread::scope(|scope| {
            scope.spawn(move || waker.wake());
            endpoint.park(Duration::from_secs(600)).expect("an endpoint that lives");
        });
    }
}

pub(crate) fn a_datagram_ends_a_park<F: Factory>(factory: &F) {
    let Some(parcels) = factory.pack(&[&[RING], &[]]) else { return };
    let [a, b] = <[F::Parcel; 2]>::try_from(parcels).unwrap_or_else(|_| unreachable!("two"));
    std::thread::scope(|scope| {
        // To and fro: whoever waits is asleep nearly always when the answer comes.
        scope.spawn(move || {
            let mut a = F::open(a);
            for number in 0..100 {
                let frame = gather(&mut a, 1).remove(0);
                let to = Target::Address(frame.from);
                let from = frame.from;
                check(&mut a, frame, from, &datagram(number, 100));
                send(&mut a, to, &datagram(number, 50));
                flush(&mut a);
            }
        });
        let mut b = F::open(b);
        for number in 0..100 {
            send(&mut b, Target::Group(RING), &datagram(number, 100));
            flush(&mut b);
            let frame = gather(&mut b, 1).remove(0);
            let from = frame.from;
            check(&mut b, frame, from, &datagram(number, 50));
        }
    });
}
