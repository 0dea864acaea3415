//! The static partition map: which group a key belongs to. One implementation for client and
//! replica.
//!
//! Group of k = floor(k * K / M) for keys in [0, M), computed so that nothing overflows and k = M is
//! not out of range (the paper's formula is wrong there); keys from M on belong to the last group,
//! or are refused.

use super::{Command, Settings};
use crate::service::GroupMap;
use crate::types::{GroupId, GroupSet, MAX_GROUPS};

/// What becomes of keys above the partitioned range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeysAbove {
    /// They belong to the last group.
    #[default]
    LastGroup,
    /// Commands that name one are answered [`super::Outcome::Refused`].
    Refuse,
}

/// The partition map of a tree: all that a client needs of it.
#[derive(Clone, Debug)]
pub struct PartitionMap {
    groups: usize,
    key_space: u64,
    keys_above: KeysAbove,
    /// About 2^64 * K / M: multiplication instead of a division of 40 cycles.
    scale: u64,
    /// The first key of each group; an empty group begins where the next one does.
    starts: [u64; MAX_GROUPS],
}

impl PartitionMap {
    /// The map of these settings.
    ///
    /// # Panics
    /// If they are not valid, see [`Settings::validate`].
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let Settings { groups, key_space, keys_above, .. } = *settings;
        assert!((1..=MAX_GROUPS).contains(&groups), "K is 1 to {MAX_GROUPS}");
        assert!(key_space > 0, "the key space is not empty");
        let (k, m) = (groups as u128, u128::from(key_space));
        let word = |wide: u128| u64::try_from(wide).unwrap_or(u64::MAX);
        let scale = word((k << 64) / m);
        let mut starts = [u64::MAX; MAX_GROUPS];
        for (group, start) in starts[..groups].iter_mut().enumerate() {
            *start = word((group as u128 * m).div_ceil(k));
        }
        Self { groups, key_space, keys_above, scale, starts }
    }

    /// The group of `key`.
    #[inline]
    #[must_use]
    pub fn group(&self, key: u64) -> GroupId {
        let last = self.groups - 1;
        let estimate = (u128::from(key) * u128::from(self.scale)) >> 64;
        let mut group = usize::try_from(estimate).unwrap_or(last).min(last);
        // The estimate is at most one too low, unless K is above M.
        while group < last && key >= self.starts[group + 1] {
            group += 1;
        }
        debug_assert!(key >= self.starts[group], "the estimate is never too high");
        GroupId::new(group)
    }

    /// The first key of `group`. An empty group's is that of the next group with keys.
    #[must_use]
    pub fn start(&self, group: GroupId) -> u64 {
        self.starts[..self.groups][group.index()]
    }

    /// Whether `key` is above the partitioned range and such keys are refused.
    #[inline]
    #[must_use]
    pub fn is_refused(&self, key: u64) -> bool {
        key >= self.key_space && self.keys_above == KeysAbove::Refuse
    }

    /// Every group with a key in [`from`, `to`); that of `from` if there is none.
    #[must_use]
    pub fn groups_of_range(&self, from: u64, to: u64) -> GroupSet {
        let first = self.group(from);
        let last = self.group(to.saturating_sub(1).max(from));
        let up_to_last = GroupSet::all(last.index() + 1).to_bits();
        GroupSet::from_bits(up_to_last & (u64::MAX << first.index()))
    }

    /// Whether [`first`, `last`] lies in one group.
    #[inline]
    pub(super) fn is_of_one_group(&self, first: u64, last: u64) -> bool {
        self.group(first) == self.group(last)
    }

    /// The first partition bound in [`first`, `last`].
    pub(super) fn bound_in(&self, first: u64, last: u64) -> Option<u64> {
        self.bounds().find(|bound| (first..=last).contains(bound))
    }

    /// The keys at which a group begins, except the first.
    pub(super) fn bounds(&self) -> impl Iterator<Item = u64> {
        self.starts[1..self.groups].iter().copied()
    }
}

impl GroupMap for PartitionMap {
    fn groups(&self) -> usize {
        self.groups
    }

    #[inline]
    fn conservative(&self, command: &[u8]) -> GroupSet {
        match Command::decode(command) {
            Some(command) if command.is_dependent() => GroupSet::all(self.groups),
            _ => self.optimistic(command),
        }
    }

    #[inline]
    fn optimistic(&self, command: &[u8]) -> GroupSet {
        match Command::decode(command) {
            Some(Command::Range { from, to, .. }) => self.groups_of_range(from, to),
            Some(command) => GroupSet::one(self.group(command.key())),
            None => GroupSet::one(GroupId::new(0)),
        }
    }

    #[inline]
    fn is_read(&self, command: &[u8]) -> bool {
        Command::decode(command).is_some_and(|command| command.is_read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(groups: usize, key_space: u64) -> PartitionMap {
        PartitionMap::new(&Settings { groups, key_space, ..Settings::default() })
    }

    fn by_definition(groups: usize, key_space: u64, key: u64) -> usize {
        let group = u128::from(key) * groups as u128 / u128::from(key_space);
        usize::try_from(group).unwrap_or(usize::MAX).min(groups - 1)
    }

    #[test]
    fn the_map_is_the_papers_formula_at_every_bound_and_beyond_the_range() {
        for groups in [1, 2, 3, 7, 8, 63, 64] {
            for key_space in [1, 2, 3, 10, 63, 64, 65, 1_000_003, u64::MAX - 1, u64::MAX] {
                let map = map(groups, key_space);
                let near = |at: u64| [at.saturating_sub(1), at, at.saturating_add(1)];
                let keys = map.bounds().chain([0, key_space, u64::MAX]).flat_map(near);
                for key in keys.collect::<Vec<_>>() {
                    let expected = by_definition(groups, key_space, key);
                    assert_eq!(map.group(key).index(), expected, "{groups} {key_space} {key}");
                }
            }
        }
    }

    #[test]
    fn a_range_concerns_every_group_that_it_covers_and_no_other() {
        let map = map(4, 100);
        assert_eq!(map.groups_of_range(0, 25).to_bits(), 0b0001);
        assert_eq!(map.groups_of_range(24, 26).to_bits(), 0b0011);
        assert_eq!(map.groups_of_range(30, 80).to_bits(), 0b1110);
        assert_eq!(map.groups_of_range(0, u64::MAX).to_bits(), 0b1111);
        assert_eq!(map.groups_of_range(60, 60).to_bits(), 0b0100);
        assert_eq!(map.groups_of_range(60, 10).to_bits(), 0b0100);
        assert_eq!(map.groups_of_range(0, 0).to_bits(), 0b0001);
    }

    #[test]
    fn only_inserts_and_deletes_are_dependent() {
        let map = map(4, 100);
        let (key, value) = (30, 1);
        let sets = |command: Command| {
            let bytes = command.to_bytes();
            (map.optimistic(&bytes).to_bits(), map.conservative(&bytes).to_bits())
        };
        assert_eq!(sets(Command::Read { key }), (2, 2));
        assert_eq!(sets(Command::Update { key, value }), (2, 2));
        assert_eq!(sets(Command::Insert { key, value }), (2, 15));
        assert_eq!(sets(Command::Delete { key }), (2, 15));
        assert_eq!(sets(Command::Range { from: 30, to: 51, limit: 9 }), (6, 6));
    }

    proptest! {
        #[test]
        fn the_map_is_the_papers_formula(groups in 1usize..=64, key_space in 1u64.., key: u64) {
            let expected = by_definition(groups, key_space, key);
            prop_assert_eq!(map(groups, key_space).group(key).index(), expected);
        }

        #[test]
        fn the_map_is_the_papers_formula_in_small_spaces(
            groups in 1usize..=64, key_space in 1u64..200, key in 0u64..300,
        ) {
            let expected = by_definition(groups, key_space, key);
            prop_assert_eq!(map(groups, key_space).group(key).index(), expected);
        }
    }
}
