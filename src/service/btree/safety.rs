//! The safety check of opt-PSMR: may this group's worker alone execute an insert or a delete here?
//!
//! One descent finds the leaf and its range; the check looks at both, and the command is executed in
//! the leaf that was found. The bounds come first: until they are known to hold, another worker may
//! be in the leaf, and its count is not this worker's to read. Never a look at a sibling, which may
//! belong to another worker at any time: its count would differ between replicas.

use super::command::{Command, Outcome};
use super::execute::assert_group;
use super::node::{Node, Slot};
use super::races::Touch;
use super::tree::Place;
use super::{BTree, PartitionMap};
use crate::service::{Context, GroupMap, Lease, Optimistic, PartitionedService, Verdict};
use crate::types::{Bug, GroupId};
use crossbeam_utils::CachePadded;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// How many checks passed and failed, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckCounts {
    /// Executed at once.
    pub passed: u64,
    /// The leaf would split or underflow.
    pub failed_structure: u64,
    /// The leaf straddles partitions.
    pub failed_bounds: u64,
}

/// [`CheckCounts`] of each group, written by its worker alone.
#[derive(Debug)]
pub(super) struct Checks(Box<[CachePadded<[AtomicU64; 3]>]>);

impl Checks {
    pub(super) fn new(groups: usize) -> Self {
        Self((0..groups).map(|_| CachePadded::default()).collect())
    }

    #[inline]
    fn count(&self, group: GroupId, verdict: Verdict) {
        let word = &self.0[group.index()][verdict as usize];
        // One writer: a plain increment is enough.
        word.store(word.load(Relaxed) + 1, Relaxed);
    }
}

/// What a passed check allows.
enum Cleared<'a> {
    Insert(Node<'a>, Slot),
    Delete(Node<'a>, Slot),
    /// The key is there already, or not there: nothing changes.
    Nothing(u8),
}

impl BTree {
    /// The counts of all checks so far, every group's together.
    #[must_use]
    pub fn check_counts(&self) -> CheckCounts {
        self.checks.0.iter().fold(CheckCounts::default(), |sum, group| CheckCounts {
            passed: sum.passed + group[0].load(Relaxed),
            failed_structure: sum.failed_structure + group[1].load(Relaxed),
            failed_bounds: sum.failed_bounds + group[2].load(Relaxed),
        })
    }

    /// The check alone: whether `group`'s worker may execute `command` in parallel mode.
    #[must_use]
    pub fn safety_check(&self, group: GroupId, command: &Command) -> Verdict {
        match *command {
            Command::Insert { key, .. } => self.check_insert(group, key),
            Command::Delete { key } => self.check_delete(group, key),
            Command::Read { key } | Command::Update { key, .. } => {
                return in_bounds(self.map.group(key) == group);
            }
            Command::Range { from, to, .. } => {
                return in_bounds(self.map.groups_of_range(from, to).single() == Some(group));
            }
        }
        .map_or_else(|failure| failure, |_| Verdict::Pass)
    }

    #[inline]
    fn check_insert(&self, group: GroupId, key: u64) -> Result<Cleared<'_>, Verdict> {
        let place = self.place(key);
        self.check_bounds(group, &place)?;
        let slot = place.leaf.find(key);
        if slot.is_found {
            return Ok(Cleared::Nothing(Outcome::EXISTS));
        }
        if place.leaf.count() >= self.settings.capacity {
            return Err(Verdict::FailStructure);
        }
        Ok(Cleared::Insert(place.leaf, slot))
    }

    #[inline]
    fn check_delete(&self, group: GroupId, key: u64) -> Result<Cleared<'_>, Verdict> {
        let place = self.place(key);
        self.check_bounds(group, &place)?;
        let slot = place.leaf.find(key);
        if !slot.is_found {
            return Ok(Cleared::Nothing(Outcome::MISSING));
        }
        let can_lose_one = place.leaf.count() > self.leaf_minimum
            || Bug::SiblingPeek.is_planted() && self.sibling_can_lend(key);
        if !place.is_root && !can_lose_one {
            return Err(Verdict::FailStructure);
        }
        Ok(Cleared::Delete(place.leaf, slot))
    }

    /// Whether the leaf's whole range belongs to `group` (PROTOCOL, opt-PSMR): both bounds, and
    /// before anything in the leaf is looked at.
    #[inline]
    fn check_bounds(&self, group: GroupId, place: &Place<'_>) -> Result<(), Verdict> {
        if Bug::CheckWithoutBounds.is_planted() {
            return Ok(());
        }
        let is_lowest = group.index() == 0;
        let is_highest = group.index() + 1 == self.settings.groups;
        let lower_is_ok = is_lowest || self.map.group(place.first) == group;
        let upper_is_ok =
            is_highest || self.map.group(place.last) == group || Bug::OneSidedBound.is_planted();
        if lower_is_ok && upper_is_ok { Ok(()) } else { Err(Verdict::FailBounds) }
    }

    /// The planted bug's look at the leaf on the right.
    #[cold]
    fn sibling_can_lend(&self, key: u64) -> bool {
        self.path(key).steps().last().is_some_and(|&(parent, index)| {
            let parent = self.node(parent);
            let has_sibling = index + 1 < parent.count();
            has_sibling && self.child(parent, index + 1).count() > self.leaf_minimum
        })
    }
}

impl Optimistic for BTree {
    #[inline]
    fn try_execute(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) -> Verdict {
        assert_group(lease, group);
        let typed = Command::decode(command).filter(|command| !self.refuses(command));
        let cleared = match typed {
            Some(Command::Insert { key, value }) => {
                self.check_insert(group, key).map(|cleared| (cleared, key, value))
            }
            Some(Command::Delete { key }) => {
                self.check_delete(group, key).map(|cleared| (cleared, key, 0))
            }
            _ => return self.execute_independent(lease, group, context, command, reply),
        };
        let verdict = match cleared {
            Ok((cleared, key, value)) => {
                if let Some(leaf) = cleared.leaf() {
                    self.note(leaf, lease.access(), Touch::Move);
                    self.preserve(leaf, lease.access());
                }
                reply.push(cleared.execute(key, value));
                Verdict::Pass
            }
            Err(failure) => failure,
        };
        self.checks.count(group, verdict);
        verdict
    }
}

impl BTree {
    /// Reads, updates and what is no command: no check beyond the static groups.
    fn execute_independent(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let groups = PartitionMap::optimistic(&self.map, command);
        let is_valid = Command::decode(command).is_some_and(|command| !self.refuses(&command));
        if is_valid && groups.single() != Some(group) {
            return Verdict::FailBounds;
        }
        self.execute(lease, context, command, reply);
        Verdict::Pass
    }
}

impl<'a> Cleared<'a> {
    /// The leaf whose entries will move.
    #[inline]
    const fn leaf(&self) -> Option<Node<'a>> {
        match self {
            Self::Insert(leaf, _) | Self::Delete(leaf, _) => Some(*leaf),
            Self::Nothing(_) => None,
        }
    }

    #[inline]
    fn execute(self, key: u64, value: u64) -> u8 {
        match self {
            Self::Insert(leaf, slot) => leaf.insert_at(slot.index, key, value),
            Self::Delete(leaf, slot) => leaf.remove_at(slot.index),
            Self::Nothing(outcome) => return outcome,
        }
        Outcome::OK
    }
}

const fn in_bounds(is_inside: bool) -> Verdict {
    if is_inside { Verdict::Pass } else { Verdict::FailBounds }
}
