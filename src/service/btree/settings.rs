//! What makes a tree: all of it is replicated state, so replicas refuse each other's otherwise.

use super::{KeysAbove, digest};
use crate::types::{Digest, MAX_GROUPS};
use thiserror::Error;

/// Where bulk load and splits put the bounds of leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Separators {
    /// Where a B+-tree has them: at the first key of the right leaf.
    #[default]
    Natural,
    /// At partition bounds where possible, so that few leaves straddle two partitions. An underfull
    /// leaf is left alone rather than joined with another partition's.
    Aligned,
}

/// The immutable settings of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// K, the number of partitions: 1 to 64.
    pub groups: usize,
    /// Keys [0, `key_space`) are divided evenly among the groups.
    pub key_space: u64,
    /// What becomes of keys from `key_space` on.
    pub keys_above: KeysAbove,
    /// The most entries of a node: 4 to 512.
    pub capacity: usize,
    /// The least entries of a node that is not the root, in percent of the capacity: 1 to 50.
    pub minimum_percent: usize,
    /// How full a bulk load makes the nodes, in percent of the capacity, from the minimum to 100.
    pub fill_percent: usize,
    /// Where leaves are cut.
    pub separators: Separators,
    /// The most pairs that a range returns, whatever the command says.
    pub range_limit: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            groups: 1,
            key_space: u64::MAX,
            keys_above: KeysAbove::LastGroup,
            capacity: 64,
            minimum_percent: 50,
            fill_percent: 70,
            separators: Separators::Natural,
            range_limit: 4096,
        }
    }
}

/// A setting out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{setting} is {found}, but must be {least} to {most}")]
pub struct SettingsError {
    /// The setting.
    pub setting: &'static str,
    /// What it is.
    pub found: u64,
    /// The least that it may be.
    pub least: u64,
    /// The most that it may be.
    pub most: u64,
}

impl Settings {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let check = |setting, found: u64, least: u64, most: u64| {
            let is_valid = (least..=most).contains(&found);
            is_valid.then_some(()).ok_or(SettingsError { setting, found, least, most })
        };
        check("groups", self.groups as u64, 1, MAX_GROUPS as u64)?;
        check("key space", self.key_space, 1, u64::MAX)?;
        check("capacity", self.capacity as u64, 4, 512)?;
        check("minimum percent", self.minimum_percent as u64, 1, 50)?;
        let minimum = self.minimum_percent as u64;
        check("fill percent", self.fill_percent as u64, minimum, 100)?;
        check("range limit", u64::from(self.range_limit), 1, 1 << 20)
    }

    /// A digest of all settings, part of the configuration's identity.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.words().iter().fold(digest::SEED, |hash, &(_, word)| digest::mix(hash, word)))
    }

    /// Every setting with its name, as snapshots carry them.
    pub(super) const fn words(&self) -> [(&'static str, u64); 8] {
        [
            ("groups", self.groups as u64),
            ("key space", self.key_space),
            ("keys above", self.keys_above as u64),
            ("capacity", self.capacity as u64),
            ("minimum percent", self.minimum_percent as u64),
            ("fill percent", self.fill_percent as u64),
            ("separators", self.separators as u64),
            ("range limit", self.range_limit as u64),
        ]
    }

    /// The least entries of a leaf that is not the root.
    pub(super) fn leaf_minimum(&self) -> usize {
        (self.capacity * self.minimum_percent / 100).max(1)
    }

    /// The least children of an inner node that is not the root.
    pub(super) fn inner_minimum(&self) -> usize {
        self.leaf_minimum().max(2)
    }

    /// How many entries a bulk load puts into a leaf.
    pub(super) fn leaf_fill(&self) -> usize {
        (self.capacity * self.fill_percent / 100).max(self.leaf_minimum())
    }

    /// How many children a bulk load gives to an inner node.
    pub(super) fn inner_fill(&self) -> usize {
        self.leaf_fill().max(self.inner_minimum())
    }
}
