//! The messages of Ring Paxos (PROTOCOL 1) and Multi-Ring Paxos, borrowed from their datagram.

use super::members::{Epoch, MembersRequest};
use super::parts::ValueFixed;
use super::status::{StatusPage, StatusRequest};
use super::{
    CheckpointPiece, CheckpointRequest, DecidedRanges, DecodeError, HEADER_LENGTH, Kind,
    KnownLives, Layout, Propose, Reader, Recall, Recollection, Redirect, Refused, Taken, Value,
    Vouch, WantedRanges, Writer,
};
use crate::types::{Ballot, Incarnation, Instance, Slot, ValueId};
use bytemuck::{Pod, Zeroable};

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
        writer.bytes(value.bytes());
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Position {
    /// Every instance up to here is applied.
    pub applied: Instance,
    /// Every instance up to here is of no use to it any more: what comes next it must still get.
    pub needed: Instance,
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

/// Acceptor -> acceptor: the sender knows of no former life of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Newborn {
    /// The sender's life.
    pub life: Incarnation,
    /// The life in which it has heard the same of the receiver; 0: it has not.
    pub yours: Incarnation,
    /// A [`Newborn::LACKS_SOME`], [`Newborn::KNOWS_ALL`] or [`Newborn::HAS_BEGUN`].
    pub is_ready: u64,
}

impl Newborn {
    /// Some acceptor has not told the sender the same, naming its life.
    pub const LACKS_SOME: u64 = 0;
    /// Every other one has.
    pub const KNOWS_ALL: u64 = 1;
    /// Every other one had, and the ring has begun at the sender: it answers one that is newborn
    /// still, and waits for no answer.
    pub const HAS_BEGUN: u64 = 2;
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
    Taken(Taken),
    /// Replies end to end, for [`super::Replies`].
    Replies(&'a [u8]),
    Admission(Admission),
    StatusRequest(StatusRequest<'a>),
    StatusPage(StatusPage<'a>),
    CheckpointRequest(CheckpointRequest),
    CheckpointPiece(CheckpointPiece<'a>),
    /// Nothing: the header says all.
    Mismatch,
    Reconfigure(Epoch<'a>),
    MembersRequest(MembersRequest<'a>),
    Members(Epoch<'a>),
    Newborn(Newborn),
    Recall(Recall),
    Recollection(Recollection),
    KnownLives(KnownLives),
    Vouch(Vouch),
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
            Self::Taken(_) => Kind::Taken,
            Self::Replies(_) => Kind::Replies,
            Self::Admission(_) => Kind::Admission,
            Self::StatusRequest(_) => Kind::StatusRequest,
            Self::StatusPage(_) => Kind::StatusPage,
            Self::CheckpointRequest(_) => Kind::CheckpointRequest,
            Self::CheckpointPiece(_) => Kind::CheckpointPiece,
            Self::Mismatch => Kind::Mismatch,
            Self::Reconfigure(_) => Kind::Reconfigure,
            Self::MembersRequest(_) => Kind::MembersRequest,
            Self::Members(_) => Kind::Members,
            Self::Newborn(_) => Kind::Newborn,
            Self::Recall(_) => Kind::Recall,
            Self::Recollection(_) => Kind::Recollection,
            Self::KnownLives(_) => Kind::KnownLives,
            Self::Vouch(_) => Kind::Vouch,
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
                Self::Propose(propose) => 16 + propose.commands.len(),
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
                Self::Taken(_) => size_of::<Taken>(),
                Self::Replies(bytes) => bytes.len(),
                Self::Admission(_) => size_of::<Admission>(),
                Self::StatusRequest(request) => StatusRequest::FIXED_LENGTH + request.room.len(),
                Self::StatusPage(status) => StatusPage::FIXED_LENGTH + status.facts.0.len(),
                Self::CheckpointRequest(_) => size_of::<CheckpointRequest>(),
                Self::CheckpointPiece(piece) => CheckpointPiece::FIXED_LENGTH + piece.bytes.len(),
                Self::Mismatch => 0,
                Self::Reconfigure(epoch) | Self::Members(epoch) => epoch.encoded_length(),
                Self::MembersRequest(request) => request.room.len(),
                Self::Newborn(_) => size_of::<Newborn>(),
                Self::Recall(_) => size_of::<Recall>(),
                Self::Recollection(_) => size_of::<Recollection>(),
                Self::KnownLives(_) => size_of::<KnownLives>(),
                Self::Vouch(_) => size_of::<Vouch>(),
            }
    }

    /// Writes the body; `writer` stands behind the header.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Message::encoded_length`] asked for.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Propose(propose) => propose.encode(writer),
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
            Self::Refused(refused) => refused.encode(writer),
            Self::Taken(taken) => writer.pod(taken),
            Self::Replies(bytes) => writer.bytes(bytes),
            Self::Admission(admission) => writer.pod(admission),
            Self::StatusRequest(request) => request.encode(writer),
            Self::StatusPage(status) => status.encode(writer),
            Self::CheckpointRequest(request) => writer.pod(request),
            Self::CheckpointPiece(piece) => piece.encode(writer),
            Self::Mismatch => {}
            Self::Reconfigure(epoch) | Self::Members(epoch) => epoch.encode(writer),
            Self::MembersRequest(request) => writer.bytes(request.room),
            Self::Newborn(newborn) => writer.pod(newborn),
            Self::Recall(recall) => writer.pod(recall),
            Self::Recollection(recollection) => writer.pod(recollection),
            Self::KnownLives(lives) => writer.pod(lives),
            Self::Vouch(vouch) => writer.pod(vouch),
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
            Kind::Propose => Self::Propose(Propose::decode(r)?),
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
            Kind::Taken => Self::Taken(r.pod()?),
            Kind::Replies => Self::Replies(r.take(r.rest().len())?),
            Kind::Admission => Self::Admission(r.pod()?),
            Kind::StatusRequest => Self::StatusRequest(StatusRequest::decode(r)?),
            Kind::StatusPage => Self::StatusPage(StatusPage::decode(r)?),
            Kind::CheckpointRequest => Self::CheckpointRequest(r.pod()?),
            Kind::CheckpointPiece => Self::CheckpointPiece(CheckpointPiece::decode(r)?),
            Kind::Mismatch => Self::Mismatch,
            Kind::Reconfigure => Self::Reconfigure(Epoch::decode(r)?),
            Kind::MembersRequest => {
                Self::MembersRequest(MembersRequest { room: r.take(r.rest().len())? })
            }
            Kind::Members => Self::Members(Epoch::decode(r)?),
            Kind::Newborn => Self::Newborn(r.pod()?),
            Kind::Recall => Self::Recall(r.pod()?),
            Kind::Recollection => Self::Recollection(r.pod()?),
            Kind::KnownLives => Self::KnownLives(r.pod()?),
            Kind::Vouch => Self::Vouch(r.pod()?),
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
        writer.bytes(value.bytes());
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

fn count(r: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let count: u64 = r.pod()?;
    u32::try_from(count).map_err(|_| DecodeError::Malformed)
}
