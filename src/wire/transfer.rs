//! State transfer: a replica asks another one for ranges of its last complete checkpoint.

use super::{DecodeError, Reader, Writer};
use crate::types::Slot;
use bytemuck::{Pod, Zeroable};

/// Asks for pieces of a checkpoint, each in a datagram of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CheckpointRequest {
    /// Which checkpoint: the slot of its marker; [`CheckpointRequest::LATEST`] for the last one. Who
    /// has another one answers with the beginning of that.
    pub slot: Slot,
    /// The first byte. Of the last checkpoint: it must be of this slot or a later one, for its
    /// beginning.
    pub offset: u64,
    /// Bytes of a piece.
    pub size: u32,
    /// How many pieces.
    pub count: u32,
}

impl CheckpointRequest {
    /// Any checkpoint, the last one of whoever is asked.
    pub const LATEST: Slot = Slot(u64::MAX);
}

/// One piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPiece<'a> {
    /// Which checkpoint.
    pub slot: Slot,
    /// Bytes of all of it.
    pub length: u64,
    /// The first byte.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> CheckpointPiece<'a> {
    /// Bytes without the piece and the header.
    pub const FIXED_LENGTH: usize = 24;

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        [self.slot.0, self.length, self.offset].iter().for_each(|word| writer.pod(word));
        writer.bytes(self.bytes);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (slot, length, offset): (Slot, u64, u64) =
            (reader.pod()?, reader.pod()?, reader.pod()?);
        let bytes = reader.take(reader.rest().len())?;
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > length) {
            return Err(DecodeError::Malformed);
        }
        Ok(Self { slot, length, offset, bytes })
    }
}
