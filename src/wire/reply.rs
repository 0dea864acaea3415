//! Replies: many in one datagram, each with a 24-byte header.

use super::{DecodeError, Reader, Writer};
use crate::types::{Sequence, SessionId};
use bytemuck::{Pod, Zeroable};

/// Bytes of a [`ReplyHeader`].
pub const REPLY_HEADER_LENGTH: usize = size_of::<ReplyHeader>();

/// What a replica says of a command. The service's own outcome stands in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Executed; the payload is the service's reply.
    Done = 0,
    /// The safety check failed and the command was not executed: send it again with CC-G.
    CheckFailed = 1,
    /// A session was opened or resumed; the payload is its id.
    SessionOpened = 2,
    /// The session is unknown, closed or expired: certainly not executed by this copy.
    NoSession = 3,
    /// The command's map epoch is not the replicas': certainly not executed by this copy.
    WrongEpoch = 4,
    /// The reply was dropped because the client said that it had it.
    Forgotten = 5,
    /// One part of a larger reply; the payload opens with a [`super::Chunk`].
    Part = 6,
    /// The command is malformed or above the limit: not executed.
    Rejected = 7,
}

impl Status {
    /// From the wire.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Done,
            1 => Self::CheckFailed,
            2 => Self::SessionOpened,
            3 => Self::NoSession,
            4 => Self::WrongEpoch,
            5 => Self::Forgotten,
            6 => Self::Part,
            7 => Self::Rejected,
            _ => return None,
        })
    }
}

/// What stands before every reply's payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ReplyHeader {
    /// The session of the command.
    pub session: SessionId,
    /// The command's number.
    pub sequence: Sequence,
    /// Bytes of payload.
    pub length: u16,
    /// A [`Status`].
    pub status: u8,
    /// The replica that answers.
    pub replica: u8,
    /// Bits of [`Reply::CHECKED`] and [`Reply::RETRIED`].
    pub flags: u32,
}

const _: () = assert!(REPLY_HEADER_LENGTH == 24);

/// One reply, borrowed from its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The session of the command.
    pub session: SessionId,
    /// The command's number.
    pub sequence: Sequence,
    /// What became of it.
    pub status: Status,
    /// The replica that answers.
    pub replica: u8,
    /// How it came to be executed: the flags of this type.
    pub flags: u32,
    /// The service's reply.
    pub payload: &'a [u8],
}

impl<'a> Reply<'a> {
    /// It ran as an optimistic command whose safety check passed.
    pub const CHECKED: u32 = 1;
    /// It ran conservatively after a failed check.
    pub const RETRIED: u32 = 2;
    /// The check failed for its structural part (a leaf full or at its minimum).
    pub const FAILED_STRUCTURE: u32 = 4;
    /// The check failed for its bounds (a leaf that straddles partitions).
    pub const FAILED_BOUNDS: u32 = 8;

    /// Bytes on the wire.
    #[must_use]
    pub const fn encoded_length(&self) -> usize {
        REPLY_HEADER_LENGTH + self.payload.len()
    }

    /// Writes it.
    ///
    /// # Panics
    /// If the payload is above 64 KiB: larger ones travel as parts.
    #[inline]
    pub fn encode(&self, writer: &mut Writer<'_>) {
        let length = u16::try_from(self.payload.len()).expect("a payload fits a datagram");
        writer.pod(&ReplyHeader {
            session: self.session,
            sequence: self.sequence,
            length,
            status: self.status as u8,
            replica: self.replica,
            flags: self.flags,
        });
        writer.bytes(self.payload);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let header: ReplyHeader = reader.pod()?;
        let status = Status::from_wire(header.status).ok_or(DecodeError::Malformed)?;
        let payload = reader.take(usize::from(header.length))?;
        let ReplyHeader { session, sequence, replica, flags, .. } = header;
        Ok(Self { session, sequence, status, replica, flags, payload })
    }
}

/// Iterates the replies of a datagram's body. Ends at the first malformed one.
#[derive(Clone, Debug)]
pub struct Replies<'a>(Reader<'a>);

impl<'a> Replies<'a> {
    /// The replies of `body`.
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Self {
        Self(Reader::new(body))
    }
}

impl<'a> Iterator for Replies<'a> {
    type Item = Reply<'a>;

    #[inline]
    fn next(&mut self) -> Option<Reply<'a>> {
        if self.0.rest().is_empty() {
            return None;
        }
        Reply::decode(&mut self.0).ok()
    }
}
