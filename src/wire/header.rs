//! The fixed header of every datagram, its checksum, and the first line of defence.

use super::Kind;
use crate::types::{Address, Incarnation, KeyNumber, NodeId, RingId};
use bytemuck::{Pod, Zeroable};
use thiserror::Error;

/// "PSMR", little-endian.
pub const MAGIC: u32 = u32::from_le_bytes(*b"PSMR");
/// The oldest wire version that is spoken here.
pub const OLDEST: u8 = 1;
/// The newest wire version that is spoken here. Which one a cluster speaks, its members say.
pub const NEWEST: u8 = 3;
/// Bytes of a [`Header`].
pub const HEADER_LENGTH: usize = size_of::<Header>();

/// What stands at the front of every datagram: the same in every wire version, and so is what it is
/// authenticated by. So whoever meets a later version can tell, and learns who the members are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u32,
    /// The wire version of the sender's epoch.
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
    /// CRC-32C over the header with this field zero, then the body; of an authenticated datagram
    /// the number of the key.
    pub check: u32,
    /// Of an authenticated datagram what the sender's thread has drawn; else 0.
    pub salt: u64,
}

const _: () = assert!(HEADER_LENGTH == 64);

impl Header {
    /// Where an answer to this datagram, which came from `from`, goes.
    #[must_use]
    pub fn reply_to(&self, from: Address) -> Address {
        from.with_key(self.key().unwrap_or_default())
    }

    /// Whether it is heard across epochs: it is how members learn of a later one.
    #[inline]
    const fn is_of_any_epoch(&self) -> bool {
        matches!(Kind::from_wire(self.kind), Some(Kind::MembersRequest | Kind::Members))
    }

    /// The key by which it is authenticated; `None` if there is no such number.
    #[must_use]
    pub fn key(&self) -> Option<KeyNumber> {
        if self.salt == 0 {
            return Some(KeyNumber::NODES);
        }
        let number = u16::try_from(self.check).ok().map(KeyNumber);
        number.filter(|number| *number <= KeyNumber::LAST)
    }
}

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
    /// The wire version that its members speak.
    pub version: u8,
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
    /// Another wire version in the same epoch, or a kind that its version does not have.
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
    /// No tag, where every datagram has one.
    #[error("sender does not authenticate itself: it has no key file")]
    Unsigned,
    /// A tag, where nobody can check it.
    #[error("sender authenticates itself, and here is no key file")]
    Signed,
    /// The tag does not match.
    #[error("tag does not match: another key, or a forged or garbled datagram")]
    Forged,
    /// The same datagram again, or one that is too old to know.
    #[error("datagram came before, or is too old")]
    Replayed,
    /// What this key may not say.
    #[error("message of nodes by a client's key, or of another client")]
    Unentitled,
}

impl DecodeError {
    /// Every reason, in the order of [`DecodeError::index`].
    pub const ALL: [Self; 13] = [
        Self::Truncated,
        Self::Foreign,
        Self::Version,
        Self::Checksum,
        Self::Cluster,
        Self::Configuration,
        Self::Epoch,
        Self::Malformed,
        Self::Unsigned,
        Self::Signed,
        Self::Forged,
        Self::Replayed,
        Self::Unentitled,
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
    stamp(identity, &mut header, body.len());
    (header.salt, header.check) = (0, 0);
    header.check = checksum(&header, body);
    head.copy_from_slice(bytemuck::bytes_of(&header));
}

/// Fills in what does not differ between the datagrams of a life, and the body's length.
pub(super) fn stamp(identity: &Identity, header: &mut Header, length: usize) {
    header.magic = MAGIC;
    header.version = identity.version;
    header.cluster = identity.cluster;
    header.configuration = identity.configuration;
    header.epoch = identity.epoch;
    header.incarnation = identity.incarnation;
    header.length = u32::try_from(length).expect("a datagram is below 64 KiB");
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
    let Checked { header, body, .. } = check(identity, datagram)?;
    if header.salt != 0 {
        return Err(DecodeError::Signed);
    }
    if header.check != checksum(&Header { check: 0, ..header }, body) {
        return Err(DecodeError::Checksum);
    }
    agree(identity, &header)?;
    Ok((header, body))
}

/// A datagram whose lengths are right and which claims to be of this cluster.
pub(super) struct Checked<'a> {
    pub(super) header: Header,
    pub(super) body: &'a [u8],
    /// What comes behind the body.
    pub(super) rest: &'a [u8],
}

/// What costs nothing to check.
#[inline]
pub(super) fn check<'a>(
    identity: &Identity,
    datagram: &'a [u8],
) -> Result<Checked<'a>, DecodeError> {
    let (head, rest) = datagram.split_at_checked(HEADER_LENGTH).ok_or(DecodeError::Truncated)?;
    let header: Header = bytemuck::pod_read_unaligned(head);
    if header.magic != MAGIC {
        return Err(DecodeError::Foreign);
    }
    let length = usize::try_from(header.length).map_err(|_| DecodeError::Truncated)?;
    let (body, rest) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
    if header.cluster != identity.cluster {
        return Err(DecodeError::Cluster);
    }
    Ok(Checked { header, body, rest })
}

/// What the sender must have in common with us, once it is sure who it is.
#[inline]
pub(super) fn agree(identity: &Identity, header: &Header) -> Result<(), DecodeError> {
    if header.is_of_any_epoch() {
        return Ok(());
    }
    // The members of another epoch are others, and so is the digest.
    if header.epoch != identity.epoch {
        return Err(DecodeError::Epoch);
    }
    // The version is of the members: where it differs in one epoch, a file was changed by hand.
    if header.configuration != identity.configuration {
        return Err(DecodeError::Configuration);
    }
    let kind = Kind::from_wire(header.kind);
    let is_later = kind.is_some_and(|kind| kind.since() > identity.version);
    if header.version != identity.version || is_later {
        return Err(DecodeError::Version);
    }
    Ok(())
}

/// The header that a datagram claims to have, and its kind, checked by nothing: for answers to those
/// who are not heard.
#[must_use]
pub fn claimed(datagram: &[u8]) -> Option<(Header, Kind)> {
    let head = datagram.get(..HEADER_LENGTH)?;
    let header: Header = bytemuck::pod_read_unaligned(head);
    let kind = Kind::from_wire(header.kind).filter(|_| header.magic == MAGIC);
    kind.map(|kind| (header, kind))
}

/// The kind that a datagram claims to be of, checked by nothing.
#[must_use]
pub fn kind_of(datagram: &[u8]) -> Option<Kind> {
    claimed(datagram).map(|(_, kind)| kind)
}

fn checksum(header: &Header, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(bytemuck::bytes_of(header)), body)
}
