//! Changes of members that a seed wants: what, when, and whom they concern once it is known who is
//! there.

use crate::config::Kind;
use crate::types::{Random, Time};
use std::time::Duration;

/// What becomes of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// One more comes.
    Add,
    /// One goes.
    Remove,
    /// One goes and another one comes in its place.
    Replace,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) deed: Deed,
    pub(super) kind: Kind,
    pub(super) at: Time,
    /// When it is given up, though it may be decided yet.
    pub(super) patience: Duration,
    /// Whether another operator wants something else at the same time.
    pub(super) has_rival: bool,
    /// Chooses the member.
    pub(super) choice: u64,
}

impl Change {
    /// Whether it concerns a coordinator, if it concerns an acceptor.
    pub(super) const fn is_of_coordinator(&self) -> bool {
        self.choice >> 62 < 2
    }

    /// Whether it is the wire version that changes, and nobody comes or goes.
    pub(super) const fn is_of_version(&self) -> bool {
        self.choice & 7 == 0
    }

    /// Whether a home is needed for who comes.
    pub(super) fn needs_home(&self, kind: Kind) -> bool {
        self.kind == kind && self.deed != Deed::Remove
    }
}

/// Those of a seed, before `end`. Replicas come and go only where there are checkpoints to begin
/// with.
pub(super) fn draw(random: &mut Random, end: Time, has_checkpoints: bool) -> Vec<Change> {
    let is_some = random.chance(1, 3);
    let mut changes: Vec<Change> =
        (0..1 + random.below(6)).map(|_| one(random, end, has_checkpoints)).collect();
    changes.sort_by_key(|change| change.at);
    if !is_some {
        changes.clear();
    }
    changes
}

fn one(random: &mut Random, end: Time, has_checkpoints: bool) -> Change {
    let deeds = [Deed::Add, Deed::Remove, Deed::Replace];
    let is_replica = random.chance(1, 4);
    Change {
        deed: deeds[usize::try_from(random.below(3)).expect("an index")],
        kind: if is_replica && has_checkpoints { Kind::Replica } else { Kind::Acceptor },
        at: Time(10_000_000 + random.below(end.0 - 20_000_000)),
        patience: Duration::from_millis(5 << random.below(9)),
        has_rival: random.chance(1, 4),
        choice: random.next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_seeds_change_members_in_every_way() {
        let drawn =
            |seed: u64, checkpoints| draw(&mut Random::new(seed), Time(1 << 29), checkpoints);
        let all: Vec<Vec<Change>> = (0..300).map(|seed| drawn(seed, seed % 2 == 0)).collect();
        let share = all.iter().filter(|changes| !changes.is_empty()).count();
        assert!((70..130).contains(&share), "{share} of 300 seeds");
        for deed in [Deed::Add, Deed::Remove, Deed::Replace] {
            for kind in [Kind::Acceptor, Kind::Replica] {
                let is_one = |change: &&Change| (change.deed, change.kind) == (deed, kind);
                assert!(all.iter().flatten().filter(is_one).count() > 5, "{deed:?} {kind:?}");
            }
        }
        let of_version = all.iter().flatten().filter(|change| change.is_of_version());
        assert!(of_version.count() > 20);
        let is_odd = |(seed, _): &(usize, &Vec<Change>)| seed % 2 == 1;
        let without = all.iter().enumerate().filter(is_odd).flat_map(|(_, changes)| changes);
        assert!(without.into_iter().all(|change| change.kind == Kind::Acceptor));
    }
}
