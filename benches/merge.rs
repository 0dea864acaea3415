//! What a delivered value costs: the merge alone, the worker's side of a subscription, and the
//! whole way of a datagram through learner and merge.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use psmr::mem::{Frame, Pool};
use psmr::multi_ring::{Merge, NoFrames, Subscription, SubscriptionConfig, Turn};
use psmr::ring_paxos::{Destination, Envelope, LearnerConfig, Outbox};
use psmr::types::{Address, Ballot, Incarnation, Instance, NodeId, RingId, Time, ValueId};
use psmr::wire::{Accept, DecidedRanges, HEADER_LENGTH, Header, Layout, Message, Value, Writer};

const COORDINATOR: NodeId = NodeId(1);
const LIFE: Incarnation = Incarnation(5);
const VALUES: u64 = 500;
const RINGS: [usize; 3] = [1, 2, 9];

fn main() {
    divan::main();
}

/// The merge alone: all rings busy, so that the lead changes with every value.
#[divan::bench(args = RINGS)]
fn merge_all_busy(bencher: Bencher<'_, '_>, rings: usize) {
    let mut merge = Merge::new(rings, 1);
    bencher.counter(ItemsCount::new(VALUES)).bench_local(|| {
        for _ in 0..VALUES {
            black_box(merge.advance(|ring| {
                black_box(ring);
                Some(Turn::Value)
            }));
        }
    });
}

/// The merge alone: ring 0 busy, the others skip, 64 slots an instance.
#[divan::bench(args = RINGS)]
fn merge_one_busy(bencher: Bencher<'_, '_>, rings: usize) {
    let mut merge = Merge::new(rings, 1);
    bencher.counter(ItemsCount::new(VALUES)).bench_local(|| {
        for _ in 0..VALUES {
            black_box(merge.advance(|ring| {
                Some(if black_box(ring) == 0 { Turn::Value } else { Turn::Skip(64) })
            }));
        }
    });
}

/// Values of 64 bytes that wait in the windows: `advance` and `bytes`, all rings busy.
#[divan::bench(args = RINGS, sample_size = 1, sample_count = 200)]
fn deliver_all_busy(bencher: Bencher<'_, '_>, rings: usize) {
    let each = VALUES / rings as u64;
    let values = each * rings as u64;
    bencher
        .counter(ItemsCount::new(values))
        .with_inputs(|| {
            let mut subscription = subscribe(rings);
            for ring in 0..rings {
                (1..=each).for_each(|instance| hear(&mut subscription, ring, instance, None));
            }
            subscription
        })
        .bench_local_values(|subscription| deliver(subscription, values));
}

/// The same with one busy ring; each other ring's one skip reaches beyond its last value.
#[divan::bench(args = RINGS, sample_size = 1, sample_count = 200)]
fn deliver_one_busy(bencher: Bencher<'_, '_>, rings: usize) {
    bencher
        .counter(ItemsCount::new(VALUES))
        .with_inputs(|| {
            let mut subscription = subscribe(rings);
            (1..=VALUES).for_each(|instance| hear(&mut subscription, 0, instance, None));
            (1..rings).for_each(|ring| hear(&mut subscription, ring, 1, Some(1 << 40)));
            subscription
        })
        .bench_local_values(|subscription| deliver(subscription, VALUES));
}

/// A datagram's whole way: decoded, held in its frame, delivered, released.
#[divan::bench(args = [64, 2048, 7600])]
fn datagram_in_its_frame(bencher: Bencher<'_, '_>, batch: usize) {
    datagrams(bencher, batch, Cycle::AfterDelivery);
}

/// The same, but the duty cycle ends before it can be delivered: copied into the arena.
#[divan::bench(args = [64, 2048, 7600])]
fn datagram_copied(bencher: Bencher<'_, '_>, batch: usize) {
    datagrams(bencher, batch, Cycle::BeforeDelivery);
}

#[derive(Clone, Copy, PartialEq)]
enum Cycle {
    BeforeDelivery,
    AfterDelivery,
}

/// Eight datagrams a duty cycle, each with a mark that decides it.
fn datagrams(bencher: Bencher<'_, '_>, batch: usize, cycle: Cycle) {
    const TRAIN: usize = 8;
    let mut subscription = subscribe(1);
    let mut pool = Buffers(vec![vec![0; HEADER_LENGTH + 512 + batch]; TRAIN]);
    let batch = vec![7; batch];
    let mut instance = 0;
    bencher.counter(ItemsCount::new(TRAIN)).bench_local(|| {
        for buffer in 0..u32::try_from(TRAIN).expect("small") {
            instance += 1;
            let (frame, header) = pool.fill(buffer, instance, &batch);
            subscription.on_frame(frame, &header, &mut pool);
        }
        if cycle == Cycle::BeforeDelivery {
            subscription.on_cycle_end(&mut pool, Time::ZERO, &mut Nobody);
        }
        let mut feed = subscription.deliveries(&mut pool);
        while feed.advance().is_some() {
            black_box(feed.bytes());
        }
        subscription.on_cycle_end(&mut pool, Time::ZERO, &mut Nobody);
    });
}

struct Buffers(Vec<Vec<u8>>);

impl Buffers {
    /// Encodes the fixed part only: the batch stands in the buffer since the first time.
    fn fill(&mut self, buffer: u32, instance: u64, batch: &[u8]) -> (Frame, Header) {
        let message = Message::Accept(accept(instance, Value::Batch(batch)));
        let length = message.encoded_length() - HEADER_LENGTH;
        let datagram = &mut self.0[buffer as usize];
        if instance <= 8 {
            message.encode(&mut Writer::new(&mut datagram[HEADER_LENGTH..HEADER_LENGTH + length]));
        }
        // Instance, id and mark, by their places in an Accept.
        let id = ValueId::new(COORDINATOR, LIFE, instance).counter;
        for (at, word) in [(0, instance), (32, id), (64, instance)] {
            datagram[HEADER_LENGTH + at..][..8].copy_from_slice(&word.to_le_bytes());
        }
        let header = Header {
            kind: message.kind() as u8,
            sender: COORDINATOR,
            incarnation: LIFE,
            length: u32::try_from(length).expect("a datagram"),
            ..Header::default()
        };
        let length = header.length;
        (Frame { buffer, offset: 0, length, from: Address::NONE }, header)
    }
}

impl Pool for Buffers {
    fn bytes(&self, frame: &Frame) -> &[u8] {
        &self.0[frame.buffer as usize]
    }
    fn release(&mut self, frame: Frame) {
        black_box(frame.buffer);
    }
    fn is_scarce(&self) -> bool {
        false
    }
}

struct Nobody;

impl Outbox for Nobody {
    fn send(&mut self, _to: Destination, _ring: RingId, message: &Message<'_>) {
        black_box(message);
    }
}

fn subscribe(rings: usize) -> Subscription {
    let ring = |ring| LearnerConfig::new(RingId(ring), vec![COORDINATOR], 1);
    let rings = (0..u16::try_from(rings).expect("few")).map(ring).collect();
    Subscription::new(SubscriptionConfig { rings, m: 1 }, 1, Time::ZERO)
}

fn accept(instance: u64, value: Value<'_>) -> Accept<'_> {
    Accept {
        instance: Instance(instance),
        ballot: Ballot::new(1, COORDINATOR, LIFE),
        id: ValueId::new(COORDINATOR, LIFE, instance),
        layout: Layout::new(&[COORDINATOR]),
        decided: Instance(instance),
        trim: Instance(0),
        decisions: DecidedRanges::new(&[]),
        value,
    }
}

fn hear(subscription: &mut Subscription, ring: usize, instance: u64, skip: Option<u64>) {
    let value = skip.map_or(Value::Batch(&[7; 64]), Value::Skip);
    let envelope = Envelope {
        ring: RingId(u16::try_from(ring).expect("few")),
        sender: COORDINATOR,
        incarnation: LIFE,
        from: Address::NONE,
    };
    let message = Message::Accept(accept(instance, value));
    subscription.on_message(&envelope, &message, Time::ZERO, &mut Nobody);
}

fn deliver(mut subscription: Subscription, values: u64) -> Subscription {
    let mut pool = NoFrames;
    let mut feed = subscription.deliveries(&mut pool);
    for _ in 0..values {
        black_box(feed.advance()).expect("as many as were filled in");
        black_box(feed.bytes());
    }
    subscription
}
