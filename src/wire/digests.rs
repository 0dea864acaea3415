//! What a replica found at its last digest points, for the others.

use super::{DecodeError, Reader, Writer};
use crate::types::{Digest, Slot};
use bytemuck::{Pod, Zeroable};

/// The state of a replica at a place of the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DigestPoint {
    /// The last marker of this slot of the ring of all groups stands here.
    pub slot: Slot,
    /// The state behind it.
    pub digest: Digest,
}

/// Replica -> replica: its last digest points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestPoints<'a> {
    /// How the digests were made: those of another making are not comparable.
    pub making: u64,
    points: &'a [u8],
}

impl<'a> DigestPoints<'a> {
    /// The making of this version of psmr. Another one with each change of what any service's digest
    /// is made of.
    pub const MAKING: u64 = 1;
    /// Bytes without the points and the header.
    const FIXED_LENGTH: usize = 8;

    /// These, made here.
    #[must_use]
    pub fn of(points: &'a [DigestPoint]) -> Self {
        Self { making: Self::MAKING, points: bytemuck::cast_slice(points) }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = DigestPoint> + use<'a> {
        self.points.chunks_exact(size_of::<DigestPoint>()).map(bytemuck::pod_read_unaligned)
    }

    pub(super) const fn encoded_length(&self) -> usize {
        Self::FIXED_LENGTH + self.points.len()
    }

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        writer.pod(&self.making);
        writer.bytes(self.points);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let making = reader.pod()?;
        let points = reader.take(reader.rest().len())?;
        if !points.len().is_multiple_of(size_of::<DigestPoint>()) {
            return Err(DecodeError::Malformed);
        }
        Ok(Self { making, points })
    }
}
