//! Subscribers of several rings against a naive oracle: whatever is lost, doubled, reordered,
//! overtaken by a higher ballot, repaired, or stopped and resumed, each delivers the same sequence.
#![expect(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test's own small numbers, and panics that are failures"
)]

mod planted;

use psmr::mem::{Frame, Pool};
use psmr::multi_ring::{RingPosition, Subscription, SubscriptionConfig};
use psmr::ring_paxos::{Destination, Envelope, LearnerConfig, Outbox};
use psmr::types::{
    Address, Ballot, Bug, Incarnation, Instance, NodeId, Random, RingId, Slot, Time, ValueId,
};
use psmr::wire::{
    Accept, DecidedRanges, Decision, HEADER_LENGTH, Header, Heartbeat, Layout, Message, Range,
    Repair, Value, Writer,
};
use std::ops::Range as Span;
use std::sync::RwLock;
use std::time::Duration;

/// Planted bugs are of the whole process: who plants one writes, who must not see one reads.
static PLANTED: RwLock<()> = RwLock::new(());

const COORDINATOR: NodeId = NodeId(1);
const LIFE: Incarnation = Incarnation(5);
const OLD_LIFE: Incarnation = Incarnation(4);
const STEP: Duration = Duration::from_micros(50);

/// A number of `span`.
fn within(random: &mut Random, span: Span<u64>) -> u64 {
    span.start + random.below(span.end - span.start)
}

/// What one instance of one ring decides.
#[derive(Clone, PartialEq)]
enum Decided {
    Noop,
    Skip(u64),
    Batch(Vec<u8>),
}

impl Decided {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Noop => Value::Noop,
            Self::Skip(slots) => Value::Skip(*slots),
            Self::Batch(bytes) => Value::Batch(bytes),
        }
    }

    fn draw(random: &mut Random) -> Self {
        match within(random, 0..10) {
            0 => Self::Noop,
            1 => Self::Skip(within(random, 1..8)),
            2 if random.chance(1, 8) => Self::Skip(1 << within(random, 10..41)),
            _ => {
                let length = if random.chance(1, 4) { within(random, 2048..7000) } else { 24 };
                let fill = random.next().to_le_bytes();
                Self::Batch(fill.iter().copied().cycle().take(length as usize).collect())
            }
        }
    }
}

struct World {
    rings: Vec<Vec<Decided>>,
    m: u64,
    /// The oracle's sequence: (slot div M, ring, slot) and the instance's index in its ring.
    order: Vec<(u64, usize, u64, usize)>,
}

impl World {
    fn draw(random: &mut Random) -> Self {
        let m = [1, 1, 2, 5][within(random, 0..4) as usize];
        let mut ring = |_| -> Vec<Decided> {
            let length = within(random, 1..150);
            let mut decided: Vec<_> = (0..length).map(|_| Decided::draw(random)).collect();
            decided.push(Decided::Skip(1 << 50));
            decided
        };
        let rings: Vec<Vec<Decided>> = (0..4).map(&mut ring).collect();
        let count = within(random, 1..5) as usize;
        let rings = rings[..count].to_vec();
        let order = oracle(&rings, m);
        Self { rings, m, order }
    }
}

/// Slots by plain addition, values by plain sorting; what the slowest ring has not passed is cut.
fn oracle(rings: &[Vec<Decided>], m: u64) -> Vec<(u64, usize, u64, usize)> {
    let mut order = Vec::new();
    let mut ends = Vec::new();
    for (ring, decided) in rings.iter().enumerate() {
        let mut slot = 0;
        for (index, decided) in decided.iter().enumerate() {
            if matches!(decided, Decided::Batch(_)) {
                order.push((slot / m, ring, slot, index));
            }
            slot += decided.value().slots();
        }
        ends.push((slot / m, ring));
    }
    order.sort_unstable();
    let end = ends.into_iter().min().unwrap();
    order.retain(|(turn, ring, ..)| (*turn, *ring) < end);
    order
}

fn id(index: usize) -> ValueId {
    ValueId::new(COORDINATOR, LIFE, index as u64 + 1)
}

fn accept(value: Value<'_>, index: usize) -> Accept<'_> {
    Accept {
        instance: Instance(index as u64 + 1),
        ballot: Ballot::new(2, COORDINATOR, LIFE),
        id: id(index),
        layout: Layout::new(&[COORDINATOR]),
        decided: Instance(0),
        trim: Instance(0),
        decisions: DecidedRanges::new(&[]),
        value,
    }
}

/// What is sent of one ring, before the network has its way.
#[derive(Clone, Copy)]
enum Event {
    /// An older ballot's value of the instance, which was not chosen.
    Outvoted(usize),
    Accept(usize),
    /// Decides the instances of the span alone.
    Decision(usize, usize),
    /// Says that everything up to the instance is decided.
    Heartbeat(usize),
}

fn script(decided: usize, random: &mut Random) -> Vec<Event> {
    let mut events = Vec::new();
    let mut told = 0;
    for index in 0..decided {
        if random.chance(1, 6) {
            events.push(Event::Outvoted(index));
        }
        events.push(Event::Accept(index));
        if random.chance(1, 4) {
            events.push(Event::Decision(told, index + 1));
            told = index + 1;
        }
        if random.chance(1, 30) {
            events.push(Event::Heartbeat(told));
        }
    }
    events
}

/// Loses, doubles and moves events.
fn disturb(events: &[Event], loss: u64, random: &mut Random) -> Vec<Event> {
    let mut sent: Vec<(u64, Event)> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        for copy in 0..2 {
            let is_sent =
                if copy == 0 { within(random, 0..100) >= loss } else { random.chance(1, 10) };
            if is_sent {
                sent.push((at as u64 * 4 + within(random, 0..40), *event));
            }
        }
    }
    sent.sort_by_key(|(at, _)| *at);
    sent.into_iter().map(|(_, event)| event).collect()
}

/// Frames over a vector; a frame is garbled once it has been released.
#[derive(Default)]
struct Frames {
    datagrams: Vec<Option<Vec<u8>>>,
    out: usize,
    scarce: bool,
}

impl Pool for Frames {
    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.datagrams[frame.buffer as usize].as_ref().expect("a frame in use")
    }
    fn release(&mut self, frame: Frame) {
        self.datagrams[frame.buffer as usize].take().expect("released once");
        self.out -= 1;
    }
    fn is_scarce(&self) -> bool {
        self.scarce
    }
}

/// Repair requests: (ring, first, count).
#[derive(Default)]
struct Requests(Vec<(usize, u64, u32)>);

impl Outbox for Requests {
    fn send(&mut self, _to: Destination, ring: RingId, message: &Message<'_>) {
        if let Message::RepairRequest(request) = message {
            let ring = usize::from(ring.0);
            self.0.extend(request.wanted.iter().map(|w| (ring, w.first.0, w.count)));
        }
    }
}

struct Subscriber<'a> {
    world: &'a World,
    subscription: Subscription,
    frames: Frames,
    requests: Requests,
    random: Random,
    now: Time,
    delivered: usize,
    /// Whether the worker is at a value.
    is_within: bool,
}

impl<'a> Subscriber<'a> {
    fn new(world: &'a World, seed: u64) -> Self {
        let subscription = Self::subscribe(world, seed);
        let (frames, requests) = (Frames::default(), Requests::default());
        let random = Random::new(seed);
        let (now, delivered, is_within) = (Time::ZERO, 0, false);
        Self { world, subscription, frames, requests, random, now, delivered, is_within }
    }

    fn subscribe(world: &World, seed: u64) -> Subscription {
        let ring = |ring| LearnerConfig {
            window: 64,
            ..LearnerConfig::new(RingId(ring as u16), vec![COORDINATOR, NodeId(2)], 7)
        };
        let rings = (0..world.rings.len()).map(ring).collect();
        Subscription::new(SubscriptionConfig { rings, m: world.m }, seed, Time::ZERO)
    }

    /// Runs to the end of the oracle's sequence, or says where it differs.
    fn run(&mut self, scripts: &[Vec<Event>], loss: u64) -> Result<(), String> {
        let mut queues: Vec<_> =
            scripts.iter().map(|s| disturb(s, loss, &mut self.random).into_iter()).collect();
        for step in 0..20_000 {
            for _ in 0..within(&mut self.random, 0..8) {
                let ring = within(&mut self.random, 0..queues.len() as u64) as usize;
                if let Some(event) = queues[ring].next() {
                    self.send(ring, event);
                }
            }
            let ring = step % queues.len();
            if queues[ring].len() == 0 && self.random.chance(1, 20) {
                self.send(ring, Event::Heartbeat(self.world.rings[ring].len()));
            }
            self.frames.scarce = self.random.chance(1, 5);
            self.deliver()?;
            self.end_cycle(loss);
            if self.random.chance(1, 100) {
                self.resume();
            }
            if self.delivered == self.world.order.len() && queues.iter().all(|q| q.len() == 0) {
                return Ok(());
            }
        }
        Err(format!("stuck after {} of {}", self.delivered, self.world.order.len()))
    }

    fn send(&mut self, ring: usize, event: Event) {
        let trim = Instance(0);
        let ballot = Ballot::new(2, COORDINATOR, LIFE);
        let world = self.world;
        match event {
            Event::Outvoted(index) => {
                let ballot = Ballot::new(1, COORDINATOR, OLD_LIFE);
                let id = ValueId::new(COORDINATOR, OLD_LIFE, index as u64 + 1);
                let outvoted = Accept { ballot, id, ..accept(Value::Batch(b"outvoted"), index) };
                self.hear(ring, OLD_LIFE, &Message::Accept(outvoted));
            }
            Event::Accept(index) => {
                let accept = accept(world.rings[ring][index].value(), index);
                self.hear(ring, LIFE, &Message::Accept(accept));
            }
            Event::Decision(first, end) => {
                let count = (end - first) as u64;
                let range = [Range { first: Instance(first as u64 + 1), count, id: id(first) }];
                let ranges = DecidedRanges::new(&range);
                let decided = Instance(first as u64);
                self.hear(
                    ring,
                    LIFE,
                    &Message::Decision(Decision { ballot, decided, trim, ranges }),
                );
            }
            Event::Heartbeat(decided) => {
                let decided = Instance(decided as u64);
                let (layout, slot) = (Layout::new(&[COORDINATOR]), Slot(0));
                let highest = decided;
                let heartbeat = Heartbeat { ballot, layout, decided, highest, trim, slot };
                self.hear(ring, LIFE, &Message::Heartbeat(heartbeat));
            }
        }
    }

    fn hear(&mut self, ring: usize, incarnation: Incarnation, message: &Message<'_>) {
        let ring = RingId(ring as u16);
        let (sender, from) = (COORDINATOR, Address::NONE);
        if self.random.chance(1, 4) {
            let envelope = Envelope { ring, sender, incarnation, from };
            self.subscription.on_message(&envelope, message, self.now, &mut self.requests);
            return;
        }
        let mut datagram = vec![0; message.encoded_length()];
        message.encode(&mut Writer::new(&mut datagram[HEADER_LENGTH..]));
        let length = (datagram.len() - HEADER_LENGTH) as u32;
        let kind = message.kind() as u8;
        let header = Header { kind, ring, sender, incarnation, length, ..Header::default() };
        let buffer = self.frames.datagrams.len() as u32;
        let frame = Frame { buffer, offset: 0, length: datagram.len() as u32, from };
        self.frames.datagrams.push(Some(datagram));
        self.frames.out += 1;
        self.subscription.on_frame(frame, &header, &mut self.frames);
    }

    /// Delivers some values, and looks at one again that a cycle before had begun.
    fn deliver(&mut self) -> Result<(), String> {
        if self.is_within {
            let bytes = self.subscription.deliveries(&mut self.frames).bytes().to_vec();
            self.check(self.delivered - 1, None, bytes)?;
        }
        for _ in 0..within(&mut self.random, 0..12) {
            let mut feed = self.subscription.deliveries(&mut self.frames);
            let Some(at) = feed.advance() else {
                self.is_within = false;
                return Ok(());
            };
            self.is_within = true;
            let bytes = feed.bytes().to_vec();
            self.check(self.delivered, Some((usize::from(at.ring.0), at.slot.0)), bytes)?;
            self.delivered += 1;
        }
        Ok(())
    }

    fn check(&self, n: usize, at: Option<(usize, u64)>, bytes: Vec<u8>) -> Result<(), String> {
        let Some((_, ring, slot, index)) = self.world.order.get(n).copied() else {
            return Err(format!("value {n} at {at:?} should not be delivered"));
        };
        if at.is_some_and(|at| at != (ring, slot)) {
            return Err(format!("value {n} is at {at:?}, should be at {:?}", (ring, slot)));
        }
        if self.world.rings[ring][index] != Decided::Batch(bytes) {
            return Err(format!("value {n} has other bytes"));
        }
        Ok(())
    }

    fn end_cycle(&mut self, loss: u64) {
        self.now = self.now + STEP;
        self.subscription.on_cycle_end(&mut self.frames, self.now, &mut self.requests);
        assert_eq!(self.frames.out, 0, "no frame outlives its cycle");
        for (ring, first, count) in std::mem::take(&mut self.requests.0) {
            for index in first as usize - 1..first as usize - 1 + count as usize {
                let Some(decided) = self.world.rings[ring].get(index) else { continue };
                if within(&mut self.random, 0..100) >= loss {
                    let accept = accept(decided.value(), index);
                    let is_decided = !self.random.chance(1, 5);
                    let repair = Message::Repair(Repair { is_decided, accept });
                    self.hear(ring, LIFE, &repair);
                }
            }
        }
    }

    /// Stops, and goes on from its position: in a new life, or in this one.
    fn resume(&mut self) {
        let position: Vec<RingPosition> = self.subscription.position().collect();
        if self.random.chance(1, 2) {
            self.subscription.on_cycle_end(&mut self.frames, self.now, &mut self.requests);
            self.subscription = Self::subscribe(self.world, self.random.next());
        }
        self.subscription.resume(&position, &mut self.frames);
        self.delivered -= usize::from(self.is_within);
        self.is_within = false;
    }
}

/// The number of values that each subscriber delivers.
fn run(seed: u64) -> Result<usize, String> {
    let mut random = Random::new(seed);
    let world = World::draw(&mut random);
    let scripts: Vec<_> = world.rings.iter().map(|ring| script(ring.len(), &mut random)).collect();
    for subscriber in 0..3 {
        let loss = [0, 5, 30][within(&mut random, 0..3) as usize];
        Subscriber::new(&world, seed ^ (subscriber << 32))
            .run(&scripts, loss)
            .map_err(|error| format!("seed {seed}, subscriber {subscriber}: {error}"))?;
    }
    Ok(world.order.len())
}

#[test]
fn every_subscriber_delivers_what_the_oracle_says() {
    let _guard = PLANTED.read().unwrap();
    let values: usize = (0..150).map(|seed| run(seed).unwrap_or_else(|e| panic!("{e}"))).sum();
    assert!(values > 150 * 50, "{values} values are too few to tell");
}

#[test]
fn planted_bugs_of_learner_and_merge_are_caught() {
    let _guard = PLANTED.write().unwrap();
    for bug in planted::bugs(planted::Catcher::Merge) {
        if !Bug::plant(Some(bug)) {
            return;
        }
        let caught = (0..300).find_map(|seed| run(seed).err());
        Bug::plant(None);
        assert!(caught.is_some(), "{} was not caught", bug.name());
    }
}
