//! Who belongs to the cluster: asked for, told, and put forward to be decided.
//!
//! Other messages are heard within an epoch alone; these find their way between epochs, so that who
//! has missed a change learns of it (see `Header::is_of_any_epoch`).

use super::{DecodeError, Reader, Room, Writer};

/// An epoch and its members, as `config` writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch<'a> {
    /// The epoch that begins with them, or has begun.
    pub epoch: u32,
    /// The members: at least a byte.
    pub members: &'a [u8],
}

impl<'a> Epoch<'a> {
    /// Bytes of members that fit every cluster's datagrams.
    pub const MOST: usize = Room::LEAST.batch();

    pub(super) const fn encoded_length(&self) -> usize {
        8 + self.members.len()
    }

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        writer.pod(&u64::from(self.epoch));
        writer.bytes(self.members);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let epoch: u64 = reader.pod()?;
        let epoch = u32::try_from(epoch).map_err(|_| DecodeError::Malformed)?;
        let members = reader.take(reader.rest().len())?;
        if members.is_empty() || members.len() > Self::MOST {
            return Err(DecodeError::Malformed);
        }
        Ok(Self { epoch, members })
    }
}

/// Asks for the members of the receiver's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembersRequest<'a> {
    /// Zeroes: as many bytes as the answer's body may take, so that a forged sender gains nothing.
    pub room: &'a [u8],
}

impl MembersRequest<'_> {
    /// A request that leaves room for every answer.
    pub const WHOLE: MembersRequest<'static> = MembersRequest { room: &[0; 8 + Epoch::MOST] };
}
