//! The fixed header of every datagram, its checksum, and the first line of defence.

use super::Kind;
use crate::types::{Incarnation, NodeId, RingId};
use bytemuck::{Pod, Zeroable};
use thiserror::Error;

/// "PSMR", little-endian.
pub const MAGIC: u32 = u32::from_le_bytes(*b"PSMR");
/// The wire version; others are refused and counted.
pub const VERSION: u8 = 1;
/// Bytes of a [`Header`].
pub const HEADER_LENGTH: usize = size_of::<Header>();

/// What stands at the front of every datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u8,
    /// A message kind's number.
    pub kind: u8,
    /// The ring it concerns.
    pub ring: RingId,
    /// The cluster's id: a foreign cluster on the same group is inert.
    pub cluster: u64,
    /// Digest of the immutable configuration: nodes that differ in it refuse each other.
    pub configuration: u64,
    /// The sender's life.
    pub incarnation: Incarnation,
    /// Counts the sender's datagrams in that life, from 1.
    pub counter: u64,
    /// The configuration epoch.
    pub epoch: u32,
    /// Who sends.
    pub sender: NodeId,
    /// Which role shall read it; [`NodeId::ALL`] for a multicast.
    pub target: NodeId,
    /// Bytes of the body behind the header. A segment of a train may be padded beyond it.
    pub length: u32,
    /// CRC-32C over the header with this field zero, then the body.
    pub checksum: u32,
    /// Zero; the place of the key number when datagrams are authenticated.
    pub reserved: u64,
}

const _: () = assert!(HEADER_LENGTH == 64);

/// What identifies this cluster and this node's life on the wire: stamped on all that it sends,
/// checked on all that it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id.
    pub cluster: u64,
    /// Digest of the immutable configuration.
    pub configuration: u64,
    /// The configuration epoch.
    pub epoch: u32,
    /// This process's life.
    pub incarnation: Incarnation,
}

/// Why a datagram was dropped. Each reason has a counter; none has any other effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Shorter than its header or its lengths say.
    #[error("truncated datagram")]
    Truncated,
    /// Not a psmr datagram.
    #[error("foreign datagram: wrong magic number")]
    Foreign,
    /// Another wire version.
    #[error("wire version differs")]
    Version,
    /// The checksum does not match.
    #[error("garbled datagram: checksum differs")]
    Checksum,
    /// Another cluster on the same address.
    #[error("datagram of another cluster")]
    Cluster,
    /// A node whose immutable settings differ.
    #[error("sender's immutable configuration differs")]
    Configuration,
    /// A node of another epoch.
    #[error("sender's configuration epoch differs")]
    Epoch,
    /// A kind, count or value outside its range.
    #[error("malformed message")]
    Malformed,
}

impl DecodeError {
    /// Every reason, in the order of [`DecodeError::index`].
    pub const ALL: [Self; 8] = [
        Self::Truncated,
        Self::Foreign,
        Self::Version,
        Self::Checksum,
        Self::Cluster,
        Self::Configuration,
        Self::Epoch,
        Self::Malformed,
    ];

    /// The reason's place in an array of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Stamps the header of a datagram whose body already stands in `datagram[HEADER_LENGTH..]`.
///
/// `header` brings kind, ring, sender, target and counter; the rest is filled in here.
///
/// # Panics
/// If `datagram` is shorter than a header.
pub fn seal(identity: &Identity, mut header: Header, datagram: &mut [u8]) {
    let (head, body) = datagram.split_at_mut(HEADER_LENGTH);
    header.magic = MAGIC;
    header.version = VERSION;
    header.cluster = identity.cluster;
    header.configuration = identity.configuration;
    header.epoch = identity.epoch;
    header.incarnation = identity.incarnation;
    header.length = u32::try_from(body.len()).expect("a datagram is below 64 KiB");
    header.checksum = 0;
    header.checksum = checksum(&header, body);
    head.copy_from_slice(bytemuck::bytes_of(&header));
}

/// Checks a datagram and splits it into header and body. Padding behind the body is ignored.
///
/// # Errors
/// The first reason to drop it, cheap ones first.
#[inline]
pub fn open<'a>(
    identity: &Identity,
    datagram: &'a [u8],
) -> Result<(Header, &'a [u8]), DecodeError> {
    let (head, rest) = datagram.split_at_checked(HEADER_LENGTH).ok_or(DecodeError::Truncated)?;
    let header: Header = bytemuck::pod_read_unaligned(head);
    if header.magic != MAGIC {
        return Err(DecodeError::Foreign);
    }
    if header.version != VERSION {
        return Err(DecodeError::Version);
    }
    let length = usize::try_from(header.length).map_err(|_| DecodeError::Truncated)?;
    let body = rest.get(..length).ok_or(DecodeError::Truncated)?;
    if header.cluster != identity.cluster {
        return Err(DecodeError::Cluster);
    }
    if header.checksum != checksum(&Header { checksum: 0, ..header }, body) {
        return Err(DecodeError::Checksum);
    }
    if header.configuration != identity.configuration {
        return Err(DecodeError::Configuration);
    }
    if header.epoch != identity.epoch {
        return Err(DecodeError::Epoch);
    }
    Ok((header, body))
}

/// The kind that a datagram claims to be of, checked by nothing: for answers to those who are not
/// heard.
#[must_use]
pub fn kind_of(datagram: &[u8]) -> Option<Kind> {
    let head = datagram.get(..HEADER_LENGTH)?;
    let header: Header = bytemuck::pod_read_unaligned(head);
    Kind::from_wire(header.kind).filter(|_| header.magic == MAGIC)
}

fn checksum(header: &Header, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(bytemuck::bytes_of(header)), body)
}
