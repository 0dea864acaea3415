//! Which wire versions are spoken here, and what is said of a cluster that speaks another one.

use super::Cluster;
use crate::wire::{NEWEST, OLDEST};
use std::fmt;

/// A cluster speaks a wire version that is not spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unspoken {
    /// The cluster's version.
    pub version: u8,
    /// The epoch in which it speaks it.
    pub epoch: u32,
    /// The newest version here.
    pub newest: u8,
}

impl fmt::Display for Unspoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, epoch, newest } = self;
        write!(
            f,
            "the cluster speaks wire version {version} since epoch {epoch} at the latest, and "
        )?;
        if self.is_held_back() {
            write!(
                f,
                "newest_wire in [network] allows this process {OLDEST} to {newest}: remove it, and \
                 start again"
            )
        } else {
            write!(
                f,
                "this psmr speaks {OLDEST} to {newest}: install one that speaks it, and start again"
            )
        }
    }
}

impl std::error::Error for Unspoken {}

impl Unspoken {
    /// Whether this program speaks it, and may not.
    #[must_use]
    pub const fn is_held_back(&self) -> bool {
        self.version <= NEWEST
    }
}

impl Cluster {
    /// What keeps a node or client of this process out of the cluster, if anything does.
    #[must_use]
    pub fn unspoken(&self) -> Option<Unspoken> {
        self.unspoken_up_to(self.network.newest_wire)
    }

    /// What keeps whoever speaks up to `newest` from talking to the cluster, if anything does.
    #[must_use]
    pub fn unspoken_up_to(&self, newest: u8) -> Option<Unspoken> {
        let Self { wire: version, epoch, .. } = *self;
        (!(OLDEST..=newest).contains(&version)).then_some(Unspoken { version, epoch, newest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_not_spoken_is_named_with_what_to_do() {
        let held = Unspoken { version: NEWEST, epoch: 7, newest: 1 }.to_string();
        assert!(held.contains("version 3 since epoch 7") && held.contains("newest_wire"), "{held}");
        let old = Unspoken { version: NEWEST + 1, epoch: 7, newest: NEWEST }.to_string();
        assert!(old.contains("this psmr speaks 1 to 3: install"), "{old}");
    }
}
