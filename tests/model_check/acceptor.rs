//! One acceptor with its disk as the models take it: a state that an event turns into the next one,
//! and the datagrams that leave.
//!
//! It is the real `Member`. Time stands still and all its intervals are zero, so whatever waits for
//! time happens when the model says so, and no state differs from another by an hour.

use crate::table::{Digest, Table};
use psmr::ring_paxos::{
    Destination, Envelope, Log, Lsn, Member, Memory, Outbox, Record, Replay, RingConfig, Role,
};
use psmr::types::{
    Address, Ballot, Incarnation, Instance, Life, NodeId, RingId, Slot, Time, ValueId,
};
use psmr::wire::{HEADER_LENGTH, Kind, Message, Propose, Room, Value, Writer};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// The most acceptors of a model.
pub(crate) const MOST: usize = 5;
const NOW: Time = Time::ZERO;
/// The proposer, which is no acceptor.
const PROPOSER: (NodeId, Incarnation) = (NodeId(100), Incarnation(100));

/// What a restart leaves of an acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Durability {
    /// Nothing: it knows that it has forgotten.
    Memory,
    /// The records that were written, persistent at once.
    Disk,
    /// Records persist when the model says so; a crash may lose those that have not.
    SlowDisk,
}

/// What happens to one acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A datagram arrives.
    Packet(Digest),
    /// All its time-outs have come.
    Timeout,
    /// The proposer sends it this value.
    Propose(u8),
    /// What it has written is persistent.
    Persist,
    /// It crashes with so many records on its disk, and comes back.
    Restart(usize),
}

/// What an event leads to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) next: Digest,
    pub(crate) sent: Vec<Digest>,
    pub(crate) has_panicked: bool,
}

/// One datagram: to one acceptor, or to all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    life: Incarnation,
    to: Option<NodeId>,
    kind: u8,
    body: Vec<u8>,
}

impl Packet {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::decode(self.kind, &self.body).expect("members send what they can read")
    }

    pub(crate) fn reaches(&self, index: usize) -> bool {
        let me = node(index);
        self.from != me && self.to.is_none_or(|to| to == me)
    }

    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u8
    }
}

/// A record, by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Written {
    Promise(Ballot),
    Accept(Instance, Ballot, ValueId, Content),
    Trim(Instance, (Instance, Slot)),
    Admitted,
    Lost,
    Life(NodeId, Life),
}

/// A value, by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    Noop,
    Skip(u64),
    Batch(Vec<u8>),
    Members(u32, Vec<u8>),
}

impl Content {
    pub(crate) fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Noop => Self::Noop,
            Value::Skip(slots) => Self::Skip(*slots),
            Value::Batch(bytes) => Self::Batch(bytes.to_vec()),
            Value::Members(epoch, bytes) => Self::Members(*epoch, bytes.to_vec()),
        }
    }

    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Noop => Value::Noop,
            Self::Skip(slots) => Value::Skip(*slots),
            Self::Batch(bytes) => Value::Batch(bytes),
            Self::Members(epoch, bytes) => Value::Members(*epoch, bytes),
        }
    }
}

/// A log whose disk is the model's.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ModelLog {
    durability: Durability,
    records: Vec<Written>,
    persisted: usize,
}

impl ModelLog {
    const fn new(durability: Durability) -> Self {
        Self { durability, records: Vec::new(), persisted: 0 }
    }
}

impl Log for ModelLog {
    fn append(&mut self, record: &Record<'_>) -> Lsn {
        if self.durability == Durability::Memory {
            return Lsn(0); // as persistent as it will ever be
        }
        self.records.push(match *record {
            Record::Promise(ballot) => Written::Promise(ballot),
            Record::Accept { instance, ballot, id, value } => {
                Written::Accept(instance, ballot, id, Content::of(&value))
            }
            Record::Trim { trim, known } => Written::Trim(trim, known),
            Record::Admitted => Written::Admitted,
            Record::Lost => Written::Lost,
            Record::Life { node, life } => Written::Life(node, life),
        });
        if self.durability == Durability::Disk {
            self.persisted = self.records.len();
        }
        Lsn(self.records.len() as u64)
    }

    fn persisted(&self) -> Lsn {
        Lsn(self.persisted as u64)
    }
}

impl Replay for ModelLog {
    fn replay(&self, take: &mut dyn FnMut(&Record<'_>)) {
        for written in &self.records {
            take(&match written {
                Written::Promise(ballot) => Record::Promise(*ballot),
                Written::Accept(instance, ballot, id, content) => Record::Accept {
                    instance: *instance,
                    ballot: *ballot,
                    id: *id,
                    value: content.value(),
                },
                Written::Trim(trim, known) => Record::Trim { trim: *trim, known: *known },
                Written::Admitted => Record::Admitted,
                Written::Lost => Record::Lost,
                Written::Life(node, life) => Record::Life { node: *node, life: *life },
            });
        }
    }
}

/// An acceptor in one of its lives.
#[derive(Clone, Hash)]
pub(crate) struct Acceptor {
    pub(crate) member: Member<ModelLog>,
    count: usize,
    index: usize,
    life: u64,
}

impl Acceptor {
    fn new((index, count): (usize, usize), durability: Durability) -> Self {
        let log = ModelLog::new(durability);
        Self { member: begin((index, count), 1, Memory::Fresh, log), count, index, life: 1 }
    }

    /// How many records a crash may leave, from and to.
    pub(crate) fn survivors(&self) -> std::ops::RangeInclusive<usize> {
        let log = self.member.log();
        log.persisted..=log.records.len()
    }

    /// Whether its disk has that it accepted `id` in `instance`, and would have it after a crash.
    pub(crate) fn holds(&self, instance: Instance, id: Digest) -> bool {
        let log = self.member.log();
        log.records[..log.persisted].iter().any(|written| {
            matches!(written, Written::Accept(at, _, named, _)
                if *at == instance && Digest::of(named) == id)
        })
    }

    pub(crate) fn has_unpersisted(&self) -> bool {
        let log = self.member.log();
        log.persisted < log.records.len()
    }

    /// The next life, with the first `kept` records. Without a disk it knows that it has lost them.
    fn restart(&mut self, kept: usize) {
        self.life += 1;
        let place = (self.index, self.count);
        let mut log = self.member.log().clone();
        if log.durability == Durability::Memory {
            self.member = begin(place, self.life, Memory::Amnesiac, log);
            return;
        }
        log.records.truncate(kept);
        log.persisted = kept;
        let disk = log.clone();
        self.member = begin(place, self.life, Memory::Restored, log);
        self.member.restore(&disk);
    }
}

fn begin(
    (index, count): (usize, usize),
    life: u64,
    memory: Memory,
    log: ModelLog,
) -> Member<ModelLog> {
    Member::new(config(count), (node(index), incarnation(index, life)), memory, log, 0, NOW)
}

/// A ring whose logs hold four instances, of which they keep two that are decided.
fn config(count: usize) -> RingConfig {
    RingConfig {
        instances: 4,
        batch_delay: Duration::ZERO,
        resend: Duration::ZERO,
        heartbeat: Duration::ZERO,
        election_timeout: Duration::ZERO,
        ..RingConfig::new(RingId(0), (0..count).map(node).collect()).with_room(Room::LEAST)
    }
}

pub(crate) fn node(index: usize) -> NodeId {
    NodeId(u16::try_from(index).expect("a small number"))
}

fn incarnation(index: usize, life: u64) -> Incarnation {
    Incarnation((index as u64 + 1) << 8 | life)
}

/// What a member sends in one event.
struct Sent {
    from: (NodeId, Incarnation),
    packets: Vec<Packet>,
}

impl Outbox for Sent {
    fn send(&mut self, to: Destination, _: RingId, message: &Message<'_>) {
        let to = match to {
            Destination::Ring(_) => None,
            Destination::Node(node) if usize::from(node.0) < MOST => Some(node),
            // What the proposer is told changes nothing at the acceptors.
            Destination::Node(_) | Destination::Address(_) => return,
        };
        let mut body = vec![0; message.encoded_length() - HEADER_LENGTH];
        message.encode(&mut Writer::new(&mut body));
        let (from, life) = self.from;
        self.packets.push(Packet { from, life, to, kind: message.kind() as u8, body });
    }
}

/// All acceptors, datagrams and steps that a model has met.
pub(crate) struct Acceptors {
    pub(crate) count: usize,
    durability: Durability,
    states: Table<Acceptor>,
    steps: Table<Outcome>,
    packets: Table<Packet>,
}

impl Acceptors {
    pub(crate) fn new(count: usize, durability: Durability) -> Self {
        assert!(count <= MOST, "a model has at most {MOST} acceptors");
        let (states, steps, packets) = (Table::new(), Table::new(), Table::new());
        Self { count, durability, states, steps, packets }
    }

    /// Each of them at the very start.
    pub(crate) fn first(&self) -> [Digest; MOST] {
        let first = |index| self.put(Acceptor::new((index, self.count), self.durability));
        std::array::from_fn(|index| if index < self.count { first(index) } else { Digest(0) })
    }

    pub(crate) const fn have_disks(&self) -> bool {
        !matches!(self.durability, Durability::Memory)
    }

    pub(crate) fn state(&self, acceptor: Digest) -> std::sync::Arc<Acceptor> {
        self.states.get(acceptor)
    }

    pub(crate) fn packet(&self, packet: Digest) -> std::sync::Arc<Packet> {
        self.packets.get(packet)
    }

    /// What `event` does to acceptor `index`.
    pub(crate) fn step(&self, acceptor: Digest, event: Event) -> std::sync::Arc<Outcome> {
        let name = acceptor.then(Digest::of(&event));
        self.steps.find(name).unwrap_or_else(|| self.steps.put(name, self.take(acceptor, event)))
    }

    fn take(&self, digest: Digest, event: Event) -> Outcome {
        let mut acceptor = Acceptor::clone(&self.states.get(digest));
        let mut sent = Sent { from: (NodeId::ALL, Incarnation(0)), packets: Vec::new() };
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.act(&mut acceptor, event, &mut sent);
        }));
        if done.is_err() {
            return Outcome { next: digest, sent: Vec::new(), has_panicked: true };
        }
        let put = |packet: Packet| {
            let digest = Digest::of(&packet);
            self.packets.put(digest, packet);
            digest
        };
        let sent = sent.packets.into_iter().map(put).collect();
        Outcome { next: self.put(acceptor), sent, has_panicked: false }
    }

    fn act(&self, acceptor: &mut Acceptor, event: Event, out: &mut Sent) {
        out.from = (node(acceptor.index), incarnation(acceptor.index, acceptor.life));
        let member = &mut acceptor.member;
        match event {
            Event::Packet(packet) => {
                let packet = self.packets.get(packet);
                let envelope = envelope((packet.from, packet.life));
                member.on_message(&envelope, &packet.message(), NOW, out);
            }
            Event::Timeout => member.on_timeout(NOW, out),
            Event::Propose(value) => {
                let number = u64::from(value);
                let commands = &[value];
                let propose = Propose { number, is_confirmed: false, is_vital: false, commands };
                member.on_message(&envelope(PROPOSER), &Message::Propose(propose), NOW, out);
            }
            Event::Persist => {
                let log = member.log_mut();
                log.persisted = log.records.len();
                member.on_persisted(NOW, out);
            }
            Event::Restart(kept) => return acceptor.restart(kept),
        }
        acceptor.member.on_cycle_end(NOW, out);
    }

    fn put(&self, acceptor: Acceptor) -> Digest {
        let digest = Digest::of(&acceptor);
        if self.states.find(digest).is_none() {
            self.states.put(digest, acceptor);
        }
        digest
    }
}

const fn envelope((sender, incarnation): (NodeId, Incarnation)) -> Envelope {
    Envelope { ring: RingId(0), sender, incarnation, from: Address::NONE }
}
