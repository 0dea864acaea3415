//! What a node says of itself: pages of facts, each page no longer than the request that asked for
//! it, so that a forged sender gains nothing by asking.

use super::{DecodeError, Reader, Writer};
use bytemuck::{Pod, Zeroable};

/// Asks for one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRequest<'a> {
    /// The asker's own number: the answer bears it.
    pub number: u64,
    /// Which page, 0-based.
    pub page: u32,
    /// Zeroes: as many bytes as the facts of an answer may take.
    pub room: &'a [u8],
}

impl<'a> StatusRequest<'a> {
    /// Bytes without the room and the header.
    pub const FIXED_LENGTH: usize = 16;

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        writer.pod(&self.number);
        writer.pod(&u64::from(self.page));
        writer.bytes(self.room);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (number, page): (u64, u64) = (reader.pod()?, reader.pod()?);
        let page = u32::try_from(page).map_err(|_| DecodeError::Malformed)?;
        Ok(Self { number, page, room: reader.take(reader.rest().len())? })
    }

    /// How many facts an answer may have.
    #[must_use]
    pub const fn facts(&self) -> usize {
        self.room.len() / size_of::<Fact>()
    }
}

/// One page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusPage<'a> {
    /// The request's.
    pub number: u64,
    /// Which page, 0-based.
    pub page: u32,
    /// How many there are now.
    pub pages: u32,
    /// The facts of the page.
    pub facts: Facts<'a>,
}

impl<'a> StatusPage<'a> {
    /// Bytes without the facts and the header: those of a request.
    pub const FIXED_LENGTH: usize = StatusRequest::FIXED_LENGTH;

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        writer.pod(&self.number);
        writer.pod(&self.page);
        writer.pod(&self.pages);
        writer.bytes(self.facts.0);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (number, page, pages): (u64, u32, u32) = (reader.pod()?, reader.pod()?, reader.pod()?);
        let facts = reader.take(reader.rest().len())?;
        if page >= pages || !facts.len().is_multiple_of(size_of::<Fact>()) {
            return Err(DecodeError::Malformed);
        }
        Ok(Self { number, page, pages, facts: Facts(facts) })
    }
}

/// What a [`Fact`] is about. Others than these are of a later version, and passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Topic {
    /// Values: epoch, resident bytes, 1 for an acceptor and 2 for a replica.
    Process = 1,
    /// Of acceptor and ring. Values: decided and forgotten instance, first slot behind what is
    /// decided.
    Ring = 2,
    /// Of acceptor and ring. Values: round and node of the highest ballot it knows; 1 if it
    /// coordinates by it, 2 if it has no vote, 4 if all that its ballot inherited is decided.
    Ballot = 3,
    /// Of replica and ring. Values: applied instance, first slot behind it, instance that must be
    /// fetched because what comes before is forgotten (0: none).
    Applied = 4,
    /// Datagrams dropped, by reason. Values: the count.
    Drop = 5,
    /// A digest point, the oldest first. Values: position, digest.
    Digest = 6,
    /// Of a replica. Values: commands executed, rejected, of unknown sessions.
    Executed = 7,
    /// Of a replica's worker and ring, where agreement is broken. Values: decisions that contradict
    /// earlier ones, the first such instance.
    Conflict = 9,
    /// Of a replica. Values: slot of its last complete checkpoint plus 1 (0: none), complete
    /// checkpoints of this life, state transfers.
    Checkpoint = 10,
    /// Of a replica that keeps its checkpoints in a file. Values: checkpoints of this life that could
    /// not be written, the operating system's error at the last one (0: it was written), those that
    /// were written.
    Kept = 11,
    /// Of a replica and ring: what its workers have handed over in a stretch of instances. Values: the
    /// last of them, the hash of all. Equal instances show equal hashes, or agreement is broken.
    Link = 13,
    /// Values: the wire version of its epoch, the oldest and the newest one that it speaks.
    Wire = 12,
}

impl Topic {
    /// From the wire.
    #[must_use]
    pub const fn from_wire(word: u16) -> Option<Self> {
        Some(match word {
            1 => Self::Process,
            2 => Self::Ring,
            3 => Self::Ballot,
            4 => Self::Applied,
            5 => Self::Drop,
            6 => Self::Digest,
            7 => Self::Executed,
            9 => Self::Conflict,
            10 => Self::Checkpoint,
            11 => Self::Kept,
            12 => Self::Wire,
            13 => Self::Link,
            _ => return None,
        })
    }
}

/// One thing that a node says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Fact {
    topic: u16,
    /// Which ring, which reason, which point.
    pub index: u16,
    reserved: u32,
    /// What the topic says.
    pub values: [u64; 3],
}

const _: () = assert!(size_of::<Fact>() == 32);

impl Fact {
    /// A fact.
    #[must_use]
    pub const fn new(topic: Topic, index: u16, values: [u64; 3]) -> Self {
        Self { topic: topic as u16, index, reserved: 0, values }
    }

    /// What it is about, if that is known here.
    #[must_use]
    pub const fn topic(&self) -> Option<Topic> {
        Topic::from_wire(self.topic)
    }
}

/// Facts end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a>(pub(super) &'a [u8]);

impl<'a> Facts<'a> {
    /// These.
    #[must_use]
    pub fn of(facts: &'a [Fact]) -> Self {
        Self(bytemuck::cast_slice(facts))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Fact> + use<'a> {
        self.0.chunks_exact(size_of::<Fact>()).map(bytemuck::pod_read_unaligned)
    }
}
