//! What a replica found at a digest point, as all replicas hear it in the order.

use super::authentication::TAG_LENGTH;
use super::{Command, CommandHeader, Keyring};
use crate::types::{Digest, ReplicaId, ReplicaSet, Slot};
use bytemuck::{Pod, Zeroable};

/// The state of a replica at a place of the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigestPoint {
    /// The last marker of this slot of the ring of all groups stands here.
    pub slot: Slot,
    /// The state behind it.
    pub digest: Digest,
}

/// A replica's word on its state at a digest point: the payload of a command of
/// [`super::Mode::SESSION`] for all groups, told from a [`super::Control`] by its length and kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DigestVote {
    kind: u64,
    /// How the digest was made: those of another making are not comparable.
    pub making: u64,
    /// Where: as in [`DigestPoint`].
    pub slot: Slot,
    /// The state there.
    pub digest: Digest,
    /// Who says so, ...
    replica: u64,
    /// ... in which life: 64 random bits.
    pub life: u64,
    /// Who the replicas are, a bit each, as far as the voter knows.
    members: u64,
    /// Where datagrams are authenticated: that a node says so. Any client may propose a command.
    tag: [u8; TAG_LENGTH],
}

const _: () = assert!(size_of::<DigestVote>() == 56 + TAG_LENGTH);

impl DigestVote {
    /// The making of this version of psmr. Another one with each change of what any service's digest
    /// is made of.
    pub const MAKING: u64 = 1;
    /// Behind those of [`super::ControlKind`].
    const KIND: u64 = 7;

    /// That `replica`, one of `members`, has found `point` in its life `life`.
    #[must_use]
    pub fn new(replica: ReplicaId, life: u64, members: ReplicaSet, point: DigestPoint) -> Self {
        let DigestPoint { slot, digest } = point;
        let (replica, members) = (replica.0.into(), members.to_bits().into());
        let tag = [0; TAG_LENGTH];
        Self { kind: Self::KIND, making: Self::MAKING, slot, digest, replica, life, members, tag }
    }

    /// Who the replicas are; `None`: these can be none.
    #[must_use]
    pub fn members(&self) -> Option<ReplicaSet> {
        u32::try_from(self.members).ok().and_then(ReplicaSet::from_bits)
    }

    /// Who says so; `None`: no replica has such a number.
    #[must_use]
    pub fn replica(&self) -> Option<ReplicaId> {
        u8::try_from(self.replica).ok().map(ReplicaId)
    }

    /// The same with the tag of a node of cluster `cluster`.
    #[must_use]
    pub fn signed(mut self, cluster: u64, keyring: &Keyring) -> Self {
        self.tag = keyring.sign(&self.content(cluster));
        self
    }

    /// Whether a node of cluster `cluster` has signed it.
    #[must_use]
    pub fn is_signed(&self, cluster: u64, keyring: &Keyring) -> bool {
        keyring.has_signed(&self.content(cluster), &self.tag)
    }

    fn content(&self, cluster: u64) -> Vec<u8> {
        let content = bytemuck::bytes_of(self).split_last_chunk::<TAG_LENGTH>();
        [content.map_or(&[][..], |(content, _)| content), &cluster.to_le_bytes()].concat()
    }

    /// The command of all `groups` that carries it.
    #[must_use]
    pub fn command(&self, groups: usize) -> Command<'_> {
        Command { header: CommandHeader::of_all(groups), payload: bytemuck::bytes_of(self) }
    }

    /// Reads a payload. `None`: not a vote.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let vote: Self = bytemuck::try_pod_read_unaligned(payload).ok()?;
        (vote.kind == Self::KIND).then_some(vote)
    }
}
