//! A command as it stands in a batch: a 32-byte header, then its payload.

use super::{DecodeError, Reader, Writer};
use crate::types::{GroupSet, Sequence, SessionId};
use bytemuck::{Pod, Zeroable};

/// Bytes of a [`CommandHeader`].
pub const COMMAND_HEADER_LENGTH: usize = size_of::<CommandHeader>();

/// What stands before every command's payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CommandHeader {
    /// The client's session; 0 opens one.
    pub session: SessionId,
    /// The command's number in its session.
    pub sequence: Sequence,
    /// The groups that it concerns: gamma.
    pub groups: GroupSet,
    /// Bytes of payload.
    pub length: u16,
    /// `sequence` minus the lowest sequence of the session that has no answer yet.
    pub unanswered: u16,
    /// The epoch of the partition map under which `groups` was computed, modulo 2^16.
    pub map_epoch: u16,
    /// Bits of [`Mode`].
    pub mode: Mode,
    /// Who replies: low 5 bits the replica that the client names, high 3 bits the attempt, from 0,
    /// saturating at 7. At attempt > 0 every replica replies.
    pub designation: u8,
}

const _: () = assert!(COMMAND_HEADER_LENGTH == 32);

/// How a command is to be treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Mode(pub u8);

impl Mode {
    /// Executes only after the safety check of its single group has passed (opt-PSMR, OC-G).
    pub const OPTIMISTIC: Self = Self(1);
    /// Changes nothing; executed only by the named replica, or by all at attempt > 0.
    pub const READ: Self = Self(2);
    /// The payload opens with a [`Chunk`]: one part of a larger command.
    pub const CHUNK: Self = Self(4);
    /// Opens, resumes, closes or expires a session; the payload says which.
    pub const SESSION: Self = Self(8);
    /// Sent again with CC-G after a failed check: executes at most once beside its optimistic twin.
    pub const CONSERVATIVE_RETRY: Self = Self(16);
    /// An application message without session: delivered, never executed by a service.
    pub const MESSAGE: Self = Self(32);
    const KNOWN: u8 = 63;

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[must_use]
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// With the bits of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl CommandHeader {
    /// The replica that the client names.
    #[must_use]
    pub const fn replica(&self) -> u8 {
        self.designation & 31
    }

    /// The attempt, 0 to 7.
    #[must_use]
    pub const fn attempt(&self) -> u8 {
        self.designation >> 5
    }

    /// Packs the named replica and the attempt.
    #[must_use]
    pub const fn designate(replica: u8, attempt: u8) -> u8 {
        assert!(replica < 32, "at most 32 replicas");
        (if attempt > 7 { 7 } else { attempt }) << 5 | replica
    }

    /// The lowest sequence of the session that has no answer yet.
    #[must_use]
    pub const fn lowest_unanswered(&self) -> Sequence {
        Sequence(self.sequence.0.saturating_sub(self.unanswered as u64))
    }
}

/// One part of a command above the batch limit; stands at the front of the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Chunk {
    /// This part's number, 0-based.
    pub part: u32,
    /// How many parts there are.
    pub parts: u32,
    /// Bytes of the whole payload.
    pub total: u32,
    /// Where this part's bytes start in the whole payload.
    pub offset: u32,
    /// Of a reply the [`fingerprint`] of the whole: a read that was executed at two places of the
    /// order has two replies, whose parts must not be joined. Of a command 0: its name tells.
    pub whole: u64,
}

const _: () = assert!(size_of::<Chunk>() == 24);

/// Tells payloads apart, by 64 bits that nobody who forges is kept from.
#[must_use]
pub fn fingerprint(payload: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(FACTOR);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are folded")]
        let folded = product as u64 ^ (product >> 64) as u64;
        folded.rotate_left(23).wrapping_add(FACTOR)
    };
    let (words, rest) = payload.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    words.fold(FACTOR ^ payload.len() as u64, mix)
}

impl Chunk {
    /// How many parts a payload of `total` bytes has when each, its head included, has at most
    /// `room` bytes.
    #[must_use]
    pub const fn count(total: usize, room: usize) -> usize {
        total.div_ceil(room - size_of::<Self>())
    }

    /// The head and the bytes of part `part` of `payload`, in parts of `room` bytes; `whole` stands
    /// in each head.
    ///
    /// # Panics
    /// If there is no such part, or the payload has 4 GiB.
    #[must_use]
    pub fn cut(payload: &[u8], whole: u64, room: usize, part: usize) -> (Self, &[u8]) {
        let number = |n: usize| u32::try_from(n).expect("a payload is below 4 GiB");
        let bytes = room - size_of::<Self>();
        let offset = part * bytes;
        let chunk = Self {
            part: number(part),
            parts: number(Self::count(payload.len(), room)),
            total: number(payload.len()),
            offset: number(offset),
            whole,
        };
        (chunk, &payload[offset..payload.len().min(offset + bytes)])
    }
}

/// A command: header and payload, borrowed from the buffer that holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Command<'a> {
    /// The fixed part.
    pub header: CommandHeader,
    /// What the service reads.
    pub payload: &'a [u8],
}

impl<'a> Command<'a> {
    /// Bytes on the wire.
    #[must_use]
    pub const fn encoded_length(&self) -> usize {
        COMMAND_HEADER_LENGTH + self.payload.len()
    }

    /// Writes it; `header.length` is set from the payload.
    ///
    /// # Panics
    /// If the payload is above 64 KiB: larger ones travel as chunks.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        let length = u16::try_from(self.payload.len()).expect("a payload fits a batch");
        writer.pod(&CommandHeader { length, ..self.header });
        writer.bytes(self.payload);
    }

    /// Reads the next command of a batch.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] or [`DecodeError::Malformed`] (unknown mode bits, empty set).
    #[inline]
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let header: CommandHeader = reader.pod()?;
        if header.mode.0 & !Mode::KNOWN != 0 || header.groups.is_empty() {
            return Err(DecodeError::Malformed);
        }
        let payload = reader.take(usize::from(header.length))?;
        Ok(Self { header, payload })
    }
}
