//! Which replicas a cluster has.

use super::ReplicaId;

/// The most replicas of a cluster: what a command's designation can name.
pub const MAX_REPLICAS: usize = 32;

/// A set of replicas, bit i for replica i. Numbers need not follow each other: one that was removed
/// leaves its own free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaSet(u32);

impl ReplicaSet {
    /// Replicas 0 to `count` - 1.
    ///
    /// # Panics
    /// If that is none, or more than [`MAX_REPLICAS`].
    #[must_use]
    pub const fn first(count: usize) -> Self {
        assert!(count > 0 && count <= MAX_REPLICAS, "1 to 32 replicas");
        Self(u32::MAX >> (MAX_REPLICAS - count))
    }

    /// These.
    ///
    /// # Panics
    /// If there are none, or a number is not below [`MAX_REPLICAS`].
    #[must_use]
    pub fn of(replicas: impl IntoIterator<Item = ReplicaId>) -> Self {
        let bit = |replica: ReplicaId| {
            assert!(usize::from(replica.0) < MAX_REPLICAS, "replicas have numbers below 32");
            1 << replica.0
        };
        let bits = replicas.into_iter().map(bit).fold(0, |bits, bit: u32| bits | bit);
        assert!(bits != 0, "a cluster has a replica");
        Self(bits)
    }

    /// A bit each, from the lowest on.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// From the wire. `None`: a cluster has a replica.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Never: a cluster has a replica.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `replica` is one of them.
    #[must_use]
    pub const fn contains(self, replica: ReplicaId) -> bool {
        self.0.unbounded_shr(replica.0 as u32) & 1 == 1
    }

    /// Member number `n` (0-based, in rising order) modulo the size.
    #[inline]
    #[must_use]
    pub const fn member(self, n: u64) -> ReplicaId {
        let mut skip = n % self.0.count_ones() as u64;
        let mut bits = self.0;
        while skip > 0 {
            bits &= bits - 1;
            skip -= 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below 32")]
        ReplicaId(bits.trailing_zeros() as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_take_turns_whatever_their_numbers() {
        let set = ReplicaSet::of([5, 0, 3].map(ReplicaId));
        let turns: Vec<u8> = (0..5).map(|n| set.member(n).0).collect();
        assert_eq!(turns, [0, 3, 5, 0, 3]);
        assert_eq!(
            (set.len(), set.contains(ReplicaId(3)), set.contains(ReplicaId(1))),
            (3, true, false)
        );
        assert!(!set.contains(ReplicaId(200)));
        assert_eq!(ReplicaSet::first(32).member(31), ReplicaId(31));
    }
}
