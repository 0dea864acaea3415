//! Groups and sets of groups: the papers' gamma.

use super::RingId;
use bytemuck::{Pod, Zeroable};
use std::fmt;

/// The most groups, and so the most workers a replica, that a [`GroupSet`] can name.
pub const MAX_GROUPS: usize = 64;

/// A multicast group of P-SMR, 0-based: worker i of every replica executes group i.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u8);

impl GroupId {
    /// Group `index`.
    ///
    /// # Panics
    /// If `index` is not below [`MAX_GROUPS`].
    #[must_use]
    pub const fn new(index: usize) -> Self {
        assert!(index < MAX_GROUPS);
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        Self(index as u8)
    }

    /// Its index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The ring that orders it.
    #[must_use]
    pub const fn ring(self) -> RingId {
        RingId(self.0 as u16)
    }
}

/// A set of groups, one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct GroupSet(u64);

impl GroupSet {
    /// No group.
    pub const EMPTY: Self = Self(0);

    /// The set of one group.
    #[must_use]
    pub const fn one(group: GroupId) -> Self {
        Self(1 << group.0)
    }

    /// Groups 0 to `k` - 1.
    ///
    /// # Panics
    /// If `k` is 0 or above [`MAX_GROUPS`].
    #[must_use]
    pub const fn all(k: usize) -> Self {
        assert!(k > 0 && k <= MAX_GROUPS);
        Self(u64::MAX >> (MAX_GROUPS - k))
    }

    /// The set that `bits` names, bit i for group i.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Bit i for group i.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// With `group` in it.
    #[must_use]
    pub const fn with(self, group: GroupId) -> Self {
        Self(self.0 | 1 << group.0)
    }

    /// Groups of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `group` is in it.
    #[must_use]
    pub const fn contains(self, group: GroupId) -> bool {
        self.0 >> group.0 & 1 == 1
    }

    /// Whether every group of `other` is in it.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// How many groups are in it.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether no group is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lowest group.
    #[must_use]
    pub const fn lowest(self) -> Option<GroupId> {
        if self.0 == 0 { None } else { Some(GroupId::new(self.0.trailing_zeros() as usize)) }
    }

    /// The only group, if there is one and no other.
    #[must_use]
    pub const fn single(self) -> Option<GroupId> {
        if self.0.is_power_of_two() { self.lowest() } else { None }
    }

    /// Member number `n` (0-based, in rising order) modulo the size: who executes.
    ///
    /// # Panics
    /// If the set is empty.
    #[must_use]
    pub fn member(self, n: u64) -> GroupId {
        assert!(!self.is_empty(), "an empty set has no member");
        let skip = n % self.len() as u64;
        let mut bits = self.0;
        for _ in 0..skip {
            bits &= bits - 1;
        }
        GroupId::new(bits.trailing_zeros() as usize)
    }

    /// Its groups in rising order.
    pub fn iter(self) -> impl Iterator<Item = GroupId> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let group = Self(bits).lowest()?;
            bits &= bits - 1;
            Some(group)
        })
    }

    /// The ring that orders a message to this set: a single group's own, otherwise g_all's, which
    /// is ring `k` of `k` groups.
    ///
    /// # Panics
    /// If the set is empty.
    #[must_use]
    pub fn ring(self, k: usize) -> RingId {
        assert!(!self.is_empty(), "a message has at least one group");
        match self.single() {
            Some(group) => group.ring(),
            None => RingId(u16::try_from(k).expect("at most 64 groups")),
        }
    }
}

impl fmt::Debug for GroupSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(GroupId::index)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_rotate_in_rising_order() {
        let set = GroupSet::from_bits(0b1010_0010);
        let members: Vec<_> = (0..4).map(|n| set.member(n).index()).collect();
        assert_eq!(members, [1, 5, 7, 1]);
        assert_eq!(set.iter().map(GroupId::index).collect::<Vec<_>>(), [1, 5, 7]);
    }

    #[test]
    fn one_group_goes_to_its_own_ring_and_every_other_set_to_g_all() {
        assert_eq!(GroupSet::one(GroupId::new(3)).ring(8), RingId(3));
        assert_eq!(GroupSet::all(8).ring(8), RingId(8));
        assert_eq!(GroupSet::from_bits(0b11).ring(8), RingId(8));
        assert_eq!(GroupSet::all(64).len(), 64);
    }
}
