//! The messages of Ring Paxos (PROTOCOL 1) and Multi-Ring Paxos, borrowed from their datagram.

use super::{DecodeError, HEADER_LENGTH, Reader, Writer};
use crate::types::{Ballot, Incarnation, Instance, NodeId, Slot, ValueId};
use bytemuck::{Pod, Zeroable};

/// The most acceptors of one ring layout: f + 1 of at most 15.
pub const MAX_RING: usize = 8;

/// The kinds of message, as the header's `kind` carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Commands on their way to the coordinator.
    Propose = 1,
    /// 1A.
    Prepare = 2,
    /// 1B, one page.
    Promise = 3,
    /// 2A.
    Accept = 4,
    /// 2B.
    Accepted = 5,
    /// Decided ranges, when no 2A leaves in time.
    Decision = 6,
    /// The coordinator lives; tail loss heals.
    Heartbeat = 7,
    /// Missing instances.
    RepairRequest = 8,
    /// The 2A again, with a decided flag.
    Repair = 9,
    /// The asked instances are forgotten: fetch a checkpoint.
    Trimmed = 10,
    /// A learner's progress.
    Position = 11,
    /// A ring's slot position for the other rings' coordinators.
    Beacon = 12,
    /// The receiver of a proposal does not coordinate; who does, as far as it knows.
    Redirect = 13,
    /// The proposal was not taken.
    Refused = 14,
    /// Replies to a client; read by [`super::Replies`].
    Replies = 15,
    /// An acceptor without memory asks to be re-admitted, or is (rule 6).
    Admission = 16,
}

impl Kind {
    /// From the wire.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        const KINDS: [Kind; 16] = [
            Kind::Propose,
            Kind::Prepare,
            Kind::Promise,
            Kind::Accept,
            Kind::Accepted,
            Kind::Decision,
            Kind::Heartbeat,
            Kind::RepairRequest,
            Kind::Repair,
            Kind::Trimmed,
            Kind::Position,
            Kind::Beacon,
            Kind::Redirect,
            Kind::Refused,
            Kind::Replies,
            Kind::Admission,
        ];
        if byte == 0 || byte as usize > KINDS.len() { None } else { Some(KINDS[byte as usize - 1]) }
    }
}

/// The ring as the coordinator laid it: position 0 starts the 2B, the coordinator is last.
#[derive(Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Layout {
    members: [NodeId; MAX_RING],
    length: u16,
    reserved: [u16; 3],
}

const _: () = assert!(size_of::<Layout>() == 24);

impl Layout {
    /// A layout of `members`, the coordinator last.
    ///
    /// # Panics
    /// If there are none or more than [`MAX_RING`].
    #[must_use]
    pub fn new(members: &[NodeId]) -> Self {
        assert!(!members.is_empty() && members.len() <= MAX_RING);
        let mut layout = Self::default();
        layout.members[..members.len()].copy_from_slice(members);
        layout.length = u16::try_from(members.len()).expect("at most eight");
        layout
    }

    /// The members in ring order.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members[..usize::from(self.length).min(MAX_RING)]
    }

    /// Where `node` stands.
    #[must_use]
    pub fn position(&self, node: NodeId) -> Option<usize> {
        self.members().iter().position(|member| *member == node)
    }

    /// The member after position `position`; none after the coordinator.
    #[must_use]
    pub fn successor(&self, position: usize) -> Option<NodeId> {
        self.members().get(position + 1).copied()
    }

    /// The last member.
    #[must_use]
    pub fn coordinator(&self) -> Option<NodeId> {
        self.members().last().copied()
    }

    fn check(&self) -> Result<(), DecodeError> {
        let length = usize::from(self.length);
        if length == 0 || length > MAX_RING { Err(DecodeError::Malformed) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.members().iter().map(|member| member.0)).finish()
    }
}

/// What one instance decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing: fills an instance that nobody had a value for. One slot.
    Noop,
    /// SKIP(n): n slots that an idle ring passes over. n >= 1.
    Skip(u64),
    /// Commands end to end. One slot.
    Batch(&'a [u8]),
}

impl Value<'_> {
    /// How many slots of the merge it takes.
    #[must_use]
    pub const fn slots(&self) -> u64 {
        match self {
            Self::Skip(n) => *n,
            Self::Noop | Self::Batch(_) => 1,
        }
    }

    const fn length(&self) -> usize {
        match self {
            Self::Batch(bytes) => bytes.len(),
            Self::Noop | Self::Skip(_) => 0,
        }
    }
}

/// Consecutive instances whose value ids are consecutive too: instance `first + i` has the id
/// whose counter is `id.counter + i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Range {
    /// The first instance.
    pub first: Instance,
    /// How many instances; at least 1.
    pub count: u64,
    /// The value id of the first.
    pub id: ValueId,
}

const _: () = assert!(size_of::<Range>() == 32);

impl Range {
    /// The range of one instance.
    #[must_use]
    pub const fn one(instance: Instance, id: ValueId) -> Self {
        Self { first: instance, count: 1, id }
    }

    /// Takes in `instance` if it follows on, id included; says whether it did.
    pub fn extend(&mut self, instance: Instance, id: ValueId) -> bool {
        let follows = instance.0 == self.first.0 + self.count
            && id == ValueId { counter: self.id.counter + self.count, ..self.id };
        self.count += u64::from(follows);
        follows
    }

    /// Each (instance, value id).
    pub fn iter(self) -> impl Iterator<Item = (Instance, ValueId)> {
        (0..self.count).map(move |i| {
            let counter = self.id.counter.wrapping_add(i);
            (Instance(self.first.0.wrapping_add(i)), ValueId { counter, ..self.id })
        })
    }
}

/// What a repair asks for (rule 7: two states, each with its own request).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Value and decision.
    Both = 0,
    /// The value of a decided instance.
    Value = 1,
    /// The decision of an instance whose value is here.
    Decision = 2,
}

/// A run of missing instances in a repair request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct WantedRange {
    /// The first.
    pub first: Instance,
    /// How many.
    pub count: u32,
    /// A [`Wanted`] as a number.
    pub wanted: u32,
}

macro_rules! pod_list {
    ($(#[$doc:meta])* $name:ident of $item:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name<'a>(&'a [u8]);

        impl<'a> $name<'a> {
            /// A list over items in memory.
            #[must_use]
            pub fn new(items: &'a [$item]) -> Self {
                Self(bytemuck::cast_slice(items))
            }

            /// How many items.
            #[must_use]
            pub const fn len(&self) -> usize {
                self.0.len() / size_of::<$item>()
            }

            /// Whether it is empty.
            #[must_use]
            pub const fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// The items.
            pub fn iter(&self) -> impl Iterator<Item = $item> + use<'a> {
                self.0.chunks_exact(size_of::<$item>()).map(bytemuck::pod_read_unaligned)
            }

            fn read(reader: &mut Reader<'a>, count: u32) -> Result<Self, DecodeError> {
                let count = usize::try_from(count).map_err(|_| DecodeError::Malformed)?;
                let length = count.checked_mul(size_of::<$item>()).ok_or(DecodeError::Malformed)?;
                Ok(Self(reader.take(length)?))
            }

            fn count(&self) -> u32 {
                u32::try_from(self.len()).expect("a list fits a datagram")
            }
        }

        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }

        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_list().entries(self.iter()).finish()
            }
        }
    };
}

pod_list! {
    /// Decided (or accepted) ranges. A receiver bounds each count by its own window before looping.
    DecidedRanges of Range
}
pod_list! {
    /// What a learner lacks.
    WantedRanges of WantedRange
}

/// Proposer -> coordinator: commands end to end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Propose<'a> {
    /// The proposer's own number of this proposal, from 1; with sender and incarnation its name.
    /// The coordinator drops one that is already in an undecided instance.
    pub number: u64,
    /// The commands, at most [`super::MAX_BATCH`] bytes.
    pub commands: &'a [u8],
}

/// 1A, coordinator -> all acceptors: covers every instance from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// The ballot.
    pub ballot: Ballot,
    /// The first instance.
    pub first: Instance,
}

/// One accepted instance in a Promise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromiseRecord<'a> {
    /// The instance.
    pub instance: Instance,
    /// The ballot at which it was accepted.
    pub ballot: Ballot,
    /// The value's name.
    pub id: ValueId,
    /// The value.
    pub value: Value<'a>,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RecordFixed {
    instance: Instance,
    ballot: Ballot,
    id: ValueId,
    value: ValueFixed,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ValueFixed {
    skip: u64,
    length: u32,
    kind: u32,
}

impl ValueFixed {
    fn of(value: &Value<'_>) -> Self {
        let length = u32::try_from(value.length()).expect("a batch fits a datagram");
        match value {
            Value::Noop => Self { skip: 0, length, kind: 0 },
            Value::Skip(n) => Self { skip: *n, length, kind: 1 },
            Value::Batch(_) => Self { skip: 0, length, kind: 2 },
        }
    }

    fn read<'a>(&self, reader: &mut Reader<'a>) -> Result<Value<'a>, DecodeError> {
        let length = usize::try_from(self.length).map_err(|_| DecodeError::Malformed)?;
        match self.kind {
            0 if length == 0 => Ok(Value::Noop),
            1 if length == 0 && self.skip > 0 => Ok(Value::Skip(self.skip)),
            2 => Ok(Value::Batch(reader.take(length)?)),
            _ => Err(DecodeError::Malformed),
        }
    }
}

impl PromiseRecord<'_> {
    /// Bytes on the wire.
    #[must_use]
    pub const fn encoded_length(&self) -> usize {
        size_of::<RecordFixed>() + self.value.length()
    }

    /// Writes it behind the others of its page.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        let Self { instance, ballot, id, value } = *self;
        writer.pod(&RecordFixed { instance, ballot, id, value: ValueFixed::of(&value) });
        if let Value::Batch(bytes) = value {
            writer.bytes(bytes);
        }
    }
}

/// The records of one Promise page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromiseRecords<'a>(&'a [u8]);

impl<'a> PromiseRecords<'a> {
    /// Records encoded end to end.
    #[must_use]
    pub const fn new(encoded: &'a [u8]) -> Self {
        Self(encoded)
    }

    /// The records; ends at the first malformed one.
    pub fn iter(&self) -> impl Iterator<Item = PromiseRecord<'a>> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            let RecordFixed { instance, ballot, id, value } = reader.pod().ok()?;
            let value = value.read(&mut reader).ok()?;
            Some(PromiseRecord { instance, ballot, id, value })
        })
    }
}

/// 1B, acceptor -> coordinator: one page of everything accepted from `first` to `last`.
///
/// One answer is a few pages, so that it fits a socket buffer; the coordinator asks again from
/// `last` + 1 on until `last` is [`Promise::INFINITY`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise<'a> {
    /// The ballot promised.
    pub ballot: Ballot,
    /// `Prepare::first` of the request that this answers.
    pub first: Instance,
    /// The last instance that these pages speak of.
    pub last: Instance,
    /// Everything up to here is decided and forgotten at this acceptor.
    pub trim: Instance,
    /// Some decided instance; with `slot` it tells a new coordinator where its ring stands.
    pub known: Instance,
    /// The first slot that no instance up to `known` takes.
    pub slot: Slot,
    /// This page's number, 0-based.
    pub page: u32,
    /// How many pages make the Promise.
    pub pages: u32,
    /// The accepted instances of the page.
    pub records: PromiseRecords<'a>,
}

impl Promise<'_> {
    /// As [`Promise::last`]: nothing else was accepted, however high.
    pub const INFINITY: Instance = Instance(u64::MAX);
    /// Bytes of a page without its records and its header.
    pub const FIXED_LENGTH: usize = 64;
}

/// 2A, coordinator multicast. The same body is a Repair when it is sent again to one learner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accept<'a> {
    /// The instance.
    pub instance: Instance,
    /// The ballot.
    pub ballot: Ballot,
    /// The value's name.
    pub id: ValueId,
    /// The ring of the ballot.
    pub layout: Layout,
    /// High-water mark: every instance up to here is decided.
    pub decided: Instance,
    /// Every instance up to here may be forgotten.
    pub trim: Instance,
    /// Decisions that ride along.
    pub decisions: DecidedRanges<'a>,
    /// The value.
    pub value: Value<'a>,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct AcceptFixed {
    instance: Instance,
    ballot: Ballot,
    id: ValueId,
    layout: Layout,
    decided: Instance,
    trim: Instance,
    value: ValueFixed,
    decisions: u32,
    reserved: u32,
}

/// 2B, acceptor -> ring successor, or -> coordinator when asked directly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accepted<'a> {
    /// The ballot.
    pub ballot: Ballot,
    /// The accepts it stands for: bit p for the member at position p of the ballot's layout; an
    /// acceptor outside the layout has no bit and sends no 2B.
    pub mask: u64,
    /// The slowest position of the learners that report to the senders.
    pub slowest: Instance,
    /// The instances and their value ids; equal masks only.
    pub ranges: DecidedRanges<'a>,
}

/// Decided ranges alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision<'a> {
    /// The coordinator's ballot.
    pub ballot: Ballot,
    /// Every instance up to here is decided.
    pub decided: Instance,
    /// Every instance up to here may be forgotten.
    pub trim: Instance,
    /// The decisions.
    pub ranges: DecidedRanges<'a>,
}

/// The coordinator lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Heartbeat {
    /// The ballot.
    pub ballot: Ballot,
    /// The ring.
    pub layout: Layout,
    /// Every instance up to here is decided.
    pub decided: Instance,
    /// The highest decided instance.
    pub highest: Instance,
    /// Every instance up to here may be forgotten.
    pub trim: Instance,
    /// The first slot that no decided instance takes.
    pub slot: Slot,
}

/// A learner or acceptor asks for what it lacks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RepairRequest<'a> {
    /// What is missing.
    pub wanted: WantedRanges<'a>,
}

/// An Accept again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repair<'a> {
    /// Whether the sender knows that (instance, id) is decided.
    pub is_decided: bool,
    /// The 2A.
    pub accept: Accept<'a>,
}

/// The answer to a request for forgotten instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Trimmed {
    /// Everything up to here is forgotten.
    pub trim: Instance,
}

/// Learner -> its preferential acceptor: how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Position {
    /// Every instance up to here is applied.
    pub applied: Instance,
    /// Every instance up to here is in a checkpoint.
    pub checkpointed: Instance,
    /// A stable number of the learner: trimming waits for every one configured.
    pub learner: u64,
}

/// A coordinator's slot position for the others (PROTOCOL 2, reactive skips).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Beacon {
    /// The first slot that no proposed instance of the ring takes.
    pub slot: Slot,
}

/// The receiver of a proposal is not the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Redirect {
    /// The highest ballot that it knows; its node is the coordinator to try.
    pub ballot: Ballot,
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The log or the window is full: try again later.
    Full,
    /// Fewer than f + 1 acceptors with memory.
    NoQuorum,
    /// Above the limit.
    TooLarge,
}

/// A proposal was not taken: certainly not ordered by this copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The proposal's number.
    pub number: u64,
    /// Why.
    pub refusal: Refusal,
}

/// Re-admission of an acceptor that has lost its memory (rule 6). From the acceptor: the request,
/// which also answers a Prepare that it must not promise to. From the coordinator: the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Admission {
    /// Request: the highest ballot heard, or that of the Prepare that it answers. Grant: the fresh
    /// ballot at which it has to accept.
    pub ballot: Ballot,
    /// The life of the acceptor in which it remembers nothing.
    pub life: Incarnation,
    /// Grant: once everything above the trim mark up to here is accepted, it votes again.
    pub last: Instance,
}

/// Any message.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is documented at its struct")]
pub enum Message<'a> {
    Propose(Propose<'a>),
    Prepare(Prepare),
    Promise(Promise<'a>),
    Accept(Accept<'a>),
    Accepted(Accepted<'a>),
    Decision(Decision<'a>),
    Heartbeat(Heartbeat),
    RepairRequest(RepairRequest<'a>),
    Repair(Repair<'a>),
    Trimmed(Trimmed),
    Position(Position),
    Beacon(Beacon),
    Redirect(Redirect),
    Refused(Refused),
    /// Replies end to end, for [`super::Replies`].
    Replies(&'a [u8]),
    Admission(Admission),
}

impl<'a> Message<'a> {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Propose(_) => Kind::Propose,
            Self::Prepare(_) => Kind::Prepare,
            Self::Promise(_) => Kind::Promise,
            Self::Accept(_) => Kind::Accept,
            Self::Accepted(_) => Kind::Accepted,
            Self::Decision(_) => Kind::Decision,
            Self::Heartbeat(_) => Kind::Heartbeat,
            Self::RepairRequest(_) => Kind::RepairRequest,
            Self::Repair(_) => Kind::Repair,
            Self::Trimmed(_) => Kind::Trimmed,
            Self::Position(_) => Kind::Position,
            Self::Beacon(_) => Kind::Beacon,
            Self::Redirect(_) => Kind::Redirect,
            Self::Refused(_) => Kind::Refused,
            Self::Replies(_) => Kind::Replies,
            Self::Admission(_) => Kind::Admission,
        }
    }

    /// Bytes of the whole datagram, header included.
    #[must_use]
    pub fn encoded_length(&self) -> usize {
        let accept = |accept: &Accept<'_>| {
            size_of::<AcceptFixed>() + accept.decisions.0.len() + accept.value.length()
        };
        HEADER_LENGTH
            + match self {
                Self::Propose(propose) => 8 + propose.commands.len(),
                Self::Prepare(_) => 24,
                Self::Promise(promise) => Promise::FIXED_LENGTH + promise.records.0.len(),
                Self::Accept(message) => accept(message),
                Self::Accepted(message) => 40 + message.ranges.0.len(),
                Self::Decision(message) => 40 + message.ranges.0.len(),
                Self::Heartbeat(_) => size_of::<Heartbeat>(),
                Self::RepairRequest(message) => 8 + message.wanted.0.len(),
                Self::Repair(repair) => 8 + accept(&repair.accept),
                Self::Trimmed(_) => size_of::<Trimmed>(),
                Self::Position(_) => size_of::<Position>(),
                Self::Beacon(_) => size_of::<Beacon>(),
                Self::Redirect(_) => size_of::<Redirect>(),
                Self::Refused(_) => 16,
                Self::Replies(bytes) => bytes.len(),
                Self::Admission(_) => size_of::<Admission>(),
            }
    }

    /// Writes the body; `writer` stands behind the header.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Message::encoded_length`] asked for.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Propose(Propose { number, commands }) => {
                writer.pod(number);
                writer.bytes(commands);
            }
            Self::Prepare(Prepare { ballot, first }) => {
                writer.pod(ballot);
                writer.pod(first);
            }
            Self::Promise(promise) => promise.encode(writer),
            Self::Accept(accept) => accept.encode(writer),
            Self::Accepted(Accepted { ballot, mask, slowest, ranges }) => {
                writer.pod(ballot);
                writer.pod(mask);
                writer.pod(slowest);
                writer.pod(&u64::from(ranges.count()));
                writer.bytes(ranges.0);
            }
            Self::Decision(Decision { ballot, decided, trim, ranges }) => {
                writer.pod(ballot);
                writer.pod(decided);
                writer.pod(trim);
                writer.pod(&u64::from(ranges.count()));
                writer.bytes(ranges.0);
            }
            Self::Heartbeat(heartbeat) => writer.pod(heartbeat),
            Self::RepairRequest(RepairRequest { wanted }) => {
                writer.pod(&u64::from(wanted.count()));
                writer.bytes(wanted.0);
            }
            Self::Repair(Repair { is_decided, accept }) => {
                writer.pod(&u64::from(*is_decided));
                accept.encode(writer);
            }
            Self::Trimmed(trimmed) => writer.pod(trimmed),
            Self::Position(position) => writer.pod(position),
            Self::Beacon(beacon) => writer.pod(beacon),
            Self::Redirect(redirect) => writer.pod(redirect),
            Self::Refused(Refused { number, refusal }) => {
                writer.pod(number);
                writer.pod(&(*refusal as u64));
            }
            Self::Replies(bytes) => writer.bytes(bytes),
            Self::Admission(admission) => writer.pod(admission),
        }
    }

    /// Reads the body of a datagram of kind `kind`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] or [`DecodeError::Malformed`].
    pub fn decode(kind: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        let kind = Kind::from_wire(kind).ok_or(DecodeError::Malformed)?;
        let mut reader = Reader::new(body);
        let r = &mut reader;
        let message = match kind {
            Kind::Propose => {
                Self::Propose(Propose { number: r.pod()?, commands: r.take(r.rest().len())? })
            }
            Kind::Prepare => Self::Prepare(Prepare { ballot: r.pod()?, first: r.pod()? }),
            Kind::Promise => Self::Promise(Promise::decode(r)?),
            Kind::Accept => Self::Accept(Accept::decode(r)?),
            Kind::Accepted => Self::Accepted(Accepted::decode(r)?),
            Kind::Decision => Self::Decision(Decision::decode(r)?),
            Kind::Heartbeat => {
                let heartbeat: Heartbeat = r.pod()?;
                heartbeat.layout.check()?;
                Self::Heartbeat(heartbeat)
            }
            Kind::RepairRequest => {
                let count = count(r)?;
                Self::RepairRequest(RepairRequest { wanted: WantedRanges::read(r, count)? })
            }
            Kind::Repair => {
                let flag: u64 = r.pod()?;
                Self::Repair(Repair { is_decided: flag == 1, accept: Accept::decode(r)? })
            }
            Kind::Trimmed => Self::Trimmed(r.pod()?),
            Kind::Position => Self::Position(r.pod()?),
            Kind::Beacon => Self::Beacon(r.pod()?),
            Kind::Redirect => Self::Redirect(r.pod()?),
            Kind::Refused => Self::Refused(Refused::decode(r)?),
            Kind::Replies => Self::Replies(r.take(r.rest().len())?),
            Kind::Admission => Self::Admission(r.pod()?),
        };
        if reader.rest().is_empty() { Ok(message) } else { Err(DecodeError::Malformed) }
    }
}

impl<'a> Promise<'a> {
    fn encode(&self, writer: &mut Writer<'_>) {
        let Self { ballot, first, last, trim, known, slot, page, pages, records } = self;
        writer.pod(ballot);
        for instance in [first, last, trim, known] {
            writer.pod(instance);
        }
        writer.pod(slot);
        writer.pod(page);
        writer.pod(pages);
        writer.bytes(records.0);
    }

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let ballot = r.pod()?;
        let (first, last, trim, known) = (r.pod()?, r.pod()?, r.pod()?, r.pod()?);
        let (slot, page, pages): (_, u32, u32) = (r.pod()?, r.pod()?, r.pod()?);
        if page >= pages {
            return Err(DecodeError::Malformed);
        }
        let records = PromiseRecords(r.rest());
        let counted: usize = records.iter().map(|record| record.encoded_length()).sum();
        if counted != r.rest().len() {
            return Err(DecodeError::Malformed);
        }
        r.take(counted)?;
        Ok(Self { ballot, first, last, trim, known, slot, page, pages, records })
    }
}

impl<'a> Accept<'a> {
    fn encode(&self, writer: &mut Writer<'_>) {
        let Self { instance, ballot, id, layout, decided, trim, decisions, value } = *self;
        writer.pod(&AcceptFixed {
            instance,
            ballot,
            id,
            layout,
            decided,
            trim,
            value: ValueFixed::of(&value),
            decisions: decisions.count(),
            reserved: 0,
        });
        writer.bytes(decisions.0);
        if let Value::Batch(bytes) = value {
            writer.bytes(bytes);
        }
    }

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let fixed: AcceptFixed = r.pod()?;
        fixed.layout.check()?;
        let decisions = DecidedRanges::read(r, fixed.decisions)?;
        let value = fixed.value.read(r)?;
        let AcceptFixed { instance, ballot, id, layout, decided, trim, .. } = fixed;
        Ok(Self { instance, ballot, id, layout, decided, trim, decisions, value })
    }
}

impl<'a> Accepted<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (ballot, mask, slowest) = (r.pod()?, r.pod()?, r.pod()?);
        let count = count(r)?;
        Ok(Self { ballot, mask, slowest, ranges: DecidedRanges::read(r, count)? })
    }
}

impl<'a> Decision<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (ballot, decided, trim) = (r.pod()?, r.pod()?, r.pod()?);
        let count = count(r)?;
        Ok(Self { ballot, decided, trim, ranges: DecidedRanges::read(r, count)? })
    }
}

impl Refused {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (number, refusal): (u64, u64) = (r.pod()?, r.pod()?);
        let refusal = match refusal {
            0 => Refusal::Full,
            1 => Refusal::NoQuorum,
            2 => Refusal::TooLarge,
            _ => return Err(DecodeError::Malformed),
        };
        Ok(Self { number, refusal })
    }
}

fn count(r: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let count: u64 = r.pod()?;
    u32::try_from(count).map_err(|_| DecodeError::Malformed)
}
