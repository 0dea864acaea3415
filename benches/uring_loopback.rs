//! What a datagram costs over loopback, send and receive on one thread: trains and single ones, to
//! one address and to a group; and over a link of the memory transport.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use psmr::mem::{Frame, Pool};
use psmr::transport::udp::{Config, Sockets};
use psmr::transport::{Endpoint, Receive, Target, Transmit, memory, uring};
use psmr::types::{RingId, Time};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

/// Datagrams a flush.
const BATCH: usize = 32;
const SIZES: [usize; 3] = [64, 1024, 8192];

fn main() {
    divan::main();
}

/// A batch from `a` to `target`, which `b` hears.
fn carry(
    [a, b]: &mut [impl Endpoint; 2],
    (target, length): (Target, usize),
    frames: &mut Vec<Frame>,
) {
    let (_, transmit) = a.split();
    for number in 0..BATCH {
        let room = transmit.reserve(target, length).expect("room to send");
        room[0] = u8::try_from(number).expect("32");
    }
    transmit.flush().expect("an endpoint that lives");
    let mut received = 0;
    while received < BATCH {
        let (receive, _) = b.split();
        received += receive.poll(Time::ZERO, frames);
        for frame in frames.drain(..) {
            black_box(receive.bytes(&frame)[0]);
            receive.release(frame);
        }
    }
}

fn bench(bencher: Bencher<'_, '_>, endpoints: &mut [impl Endpoint; 2], to: (Target, usize)) {
    let mut frames = Vec::with_capacity(BATCH);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| carry(endpoints, to, &mut frames));
}

/// A sender, and a receiver that hears a group.
fn over_uring(config: &Config) -> [uring::Endpoint; 2] {
    let port = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 253, 1), port);
    let open = |subscribe: &[RingId]| {
        let groups = vec![(RingId(0), group)];
        let config = Config { groups, subscribe: subscribe.to_vec(), ..config.clone() };
        let sockets = Sockets::bind(&config).expect("loopback");
        uring::Endpoint::over(sockets, None).expect("io_uring")
    };
    [open(&[]), open(&[RingId(0)])]
}

#[divan::bench(args = SIZES)]
fn trains_to_a_group(bencher: Bencher<'_, '_>, length: usize) {
    let mut endpoints = over_uring(&Config::default());
    bench(bencher, &mut endpoints, (Target::Group(RingId(0)), length));
}

#[divan::bench(args = SIZES)]
fn trains_to_an_address(bencher: Bencher<'_, '_>, length: usize) {
    let mut endpoints = over_uring(&Config::default());
    let to = Target::Address(endpoints[1].address());
    bench(bencher, &mut endpoints, (to, length));
}

#[divan::bench(args = SIZES)]
fn single_datagrams_to_a_group(bencher: Bencher<'_, '_>, length: usize) {
    let config = Config { gso: false, gro: false, ..Config::default() };
    let mut endpoints = over_uring(&config);
    bench(bencher, &mut endpoints, (Target::Group(RingId(0)), length));
}

#[divan::bench(args = SIZES)]
fn over_a_link(bencher: Bencher<'_, '_>, length: usize) {
    let mut hub = memory::Hub::default();
    hub.declare(&[]);
    let address = hub.declare(&[]);
    let endpoints = hub.build().expect("memory for four links");
    let Ok(mut endpoints) = <[_; 2]>::try_from(endpoints) else { unreachable!("two") };
    bench(bencher, &mut endpoints, (Target::Address(address), length));
}

/// One datagram by a system call each for sending and receiving: what all of this is held against.
#[divan::bench(args = SIZES)]
fn plain_sockets(bencher: Bencher<'_, '_>, length: usize) {
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
    sender.connect(receiver.local_addr().expect("bound")).expect("loopback");
    let mut bytes = vec![0; length];
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            sender.send(&bytes).expect("loopback");
        }
        for _ in 0..BATCH {
            receiver.recv(&mut bytes).expect("loopback");
        }
    });
}

/// A look at an endpoint where nothing has come: no system call.
#[divan::bench]
fn an_idle_poll(bencher: Bencher<'_, '_>) {
    let [_, mut endpoint] = over_uring(&Config::default());
    let mut frames = Vec::with_capacity(BATCH);
    bencher.bench_local(|| endpoint.split().0.poll(Time::ZERO, &mut frames));
}

/// A park that finds something: the system call, but no sleep.
#[divan::bench]
fn a_park_that_finds_a_datagram(bencher: Bencher<'_, '_>) {
    let mut endpoints = over_uring(&Config::default());
    let to = Target::Address(endpoints[1].address());
    let mut frames = Vec::with_capacity(BATCH);
    bencher.bench_local(|| {
        let [a, b] = &mut endpoints;
        if let Some(room) = a.split().1.reserve(to, 64) {
            room[0] = 1;
        }
        a.split().1.flush().expect("an endpoint that lives");
        b.park(Duration::from_secs(1)).expect("an endpoint that lives");
        let (receive, _) = b.split();
        receive.poll(Time::ZERO, &mut frames);
        frames.drain(..).for_each(|frame| receive.release(frame));
    });
}
