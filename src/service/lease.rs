//! The permission to touch service state.

use crate::types::{GroupId, GroupSet};
use std::marker::PhantomData;

/// What a [`Lease`] lets its holder touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads and in-place updates of the keys of one group, and what its check has cleared.
    Keys(GroupId),
    /// All state of these groups: their workers are parked.
    Groups(GroupSet),
    /// All state: every worker of the replica is parked, or there is only one.
    Whole,
}

/// The one way to service state. Not `Clone`: minted by `replica` for one command, when the
/// execution model has made sure that nobody else touches what it covers.
#[derive(Debug)]
pub struct Lease<'a> {
    access: Access,
    scope: PhantomData<&'a mut ()>,
}

impl Lease<'_> {
    /// For `replica`, and for tests that own the service alone; tests/tidy.rs keeps it there.
    #[must_use]
    pub fn mint(access: Access) -> Self {
        Self { access, scope: PhantomData }
    }

    /// What it covers.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }

    /// Whether all state is covered.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.access == Access::Whole
    }

    /// Whether the keys of `group` are covered.
    #[must_use]
    pub fn covers(&self, group: GroupId) -> bool {
        match self.access {
            Access::Keys(own) => own == group,
            Access::Groups(set) => set.contains(group),
            Access::Whole => true,
        }
    }
}
