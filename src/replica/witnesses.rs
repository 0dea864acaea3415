//! What the replicas found at the digest points, compared: whose state is wrong, if anybody's.
//!
//! At an ordered marker all replicas have the same state, or one of them has gone astray: by memory
//! that failed, by a file that lied, by a service that is not deterministic. Each tells the others
//! what it found. What more than half of the members have is right, and who has something else stops
//! before it tells clients more of it. Where no state can have more than half, nobody knows what is
//! right, and all stop. Those that have told nothing of the place might settle it, and are waited for
//! for a while.

use crate::types::{Digest, Incarnation, NodeId, Slot, Time};
use crate::wire::DigestPoint;
use std::collections::VecDeque;
use std::time::Duration;

/// Points of each replica that are kept: so far may one be behind another.
const KEPT: usize = 64;
/// How long a disagreement waits for those that might settle it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The replicas' states differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Where, and what this replica has there.
    pub point: DigestPoint,
    /// What others have told of the same place.
    pub others: Vec<(NodeId, Digest)>,
    /// More than half of the replicas have one and the same other state: this one is wrong.
    pub is_outvoted: bool,
}

/// What this replica found, and what the others say.
#[derive(Debug, Default)]
pub struct Witnesses {
    own: Points,
    others: Vec<Witness>,
    /// Since when a disagreement waits for those that might settle it.
    doubted: Option<Time>,
    /// Something was found or told since it looked last.
    has_news: bool,
}

/// Another replica.
#[derive(Debug)]
struct Witness {
    node: NodeId,
    life: Incarnation,
    points: Points,
}

/// By rising slot.
#[derive(Debug, Default)]
struct Points(VecDeque<DigestPoint>);

impl Points {
    /// The highest slots stay.
    fn insert(&mut self, point: DigestPoint) {
        match self.0.binary_search_by_key(&point.slot, |known| known.slot) {
            Ok(at) => self.0[at] = point,
            Err(at) => self.0.insert(at, point),
        }
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    fn at(&self, slot: Slot) -> Option<Digest> {
        let at = self.0.binary_search_by_key(&slot, |known| known.slot).ok()?;
        Some(self.0[at].digest)
    }
}

/// What a point comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// Nobody says otherwise.
    Undisputed,
    /// More than half have what this replica has.
    Right,
    /// More than half have something else, all the same.
    Outvoted,
    /// No state can have more than half.
    Hopeless,
    /// Those that have not told might settle it.
    Open,
}

impl Witnesses {
    /// From now on these are the other replicas.
    pub fn take_up(&mut self, others: impl Iterator<Item = NodeId>) {
        let mut known = std::mem::take(&mut self.others);
        let witness = |node| {
            let at = known.iter().position(|witness| witness.node == node);
            let new = || Witness { node, life: Incarnation(0), points: Points::default() };
            at.map_or_else(new, |at| known.swap_remove(at))
        };
        self.others = others.map(witness).collect();
        self.has_news = true;
    }

    /// This replica has found `point`, and will find nothing else there.
    pub fn find(&mut self, point: DigestPoint) {
        self.own.insert(point);
        self.has_news = true;
    }

    /// The replica at `sender` says in its life `life` that it has found `points`. What it said in
    /// another life is forgotten: it may have come back with another state.
    pub fn hear(
        &mut self,
        (sender, life): (NodeId, Incarnation),
        points: impl Iterator<Item = DigestPoint>,
    ) {
        let mut others = self.others.iter_mut();
        let Some(witness) = others.find(|witness| witness.node == sender) else { return };
        if witness.life != life {
            *witness = Witness { node: sender, life, points: Points::default() };
        }
        points.take(KEPT).for_each(|point| witness.points.insert(point));
        self.has_news = true;
    }

    /// Looks whether this replica must stop.
    pub fn look(&mut self, now: Time) -> Option<Divergence> {
        if !self.has_news && self.doubted.is_none() {
            return None;
        }
        self.has_news = false;
        let (mut is_right, mut open) = (false, None);
        for point in self.own.0.iter().rev() {
            match self.judge(*point) {
                Finding::Undisputed => {}
                Finding::Right => is_right = true,
                Finding::Outvoted => return Some(self.divergence(*point, true)),
                Finding::Hopeless => return Some(self.divergence(*point, false)),
                // More than half went on with this replica from there.
                Finding::Open if is_right => {}
                Finding::Open => open = Some(*point),
            }
        }
        let since = self.doubted.unwrap_or(now);
        self.doubted = open.map(|_| since);
        let is_over = now.since(since) >= PATIENCE;
        open.filter(|_| is_over).map(|point| self.divergence(point, false))
    }

    fn judge(&self, point: DigestPoint) -> Finding {
        let members = self.others.len() + 1;
        let told = || self.others.iter().filter_map(|other| other.points.at(point.slot));
        let have = |digest| told().filter(|told| *told == digest).count();
        let own = have(point.digest) + 1;
        if own * 2 > members {
            return Finding::Right;
        }
        let differ = told().filter(|digest| *digest != point.digest);
        let Some(most) = differ.map(have).max() else { return Finding::Undisputed };
        let silent = members - 1 - told().count();
        if most * 2 > members {
            Finding::Outvoted
        } else if (own.max(most) + silent) * 2 > members {
            Finding::Open
        } else {
            Finding::Hopeless
        }
    }

    fn divergence(&self, point: DigestPoint, is_outvoted: bool) -> Divergence {
        let told = |other: &Witness| Some((other.node, other.points.at(point.slot)?));
        Divergence { point, others: self.others.iter().filter_map(told).collect(), is_outvoted }
    }

    /// The last points that this replica has found, the newest last: not more than `most`.
    pub fn last(&self, most: usize) -> impl Iterator<Item = DigestPoint> {
        let skipped = self.own.0.len().saturating_sub(most);
        self.own.0.iter().skip(skipped).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Incarnation = Incarnation(7);

    fn point(slot: u64, digest: u64) -> DigestPoint {
        DigestPoint { slot: Slot(slot), digest: Digest(digest) }
    }

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    /// One of `members` replicas, which has found `digest` at slot 5.
    fn found(members: u16, digest: u64) -> Witnesses {
        let mut witnesses = Witnesses::default();
        witnesses.take_up((1..members).map(NodeId));
        witnesses.find(point(5, digest));
        witnesses
    }

    fn told(witnesses: &mut Witnesses, node: u16, slot: u64, digest: u64) {
        witnesses.hear((NodeId(node), LIFE), [point(slot, digest)].into_iter());
    }

    #[test]
    fn who_has_another_state_than_more_than_half_stops_and_the_others_go_on() {
        let mut wrong = found(3, 1);
        told(&mut wrong, 1, 5, 2);
        assert_eq!(wrong.look(at(0)), None, "the third one might have the same");
        told(&mut wrong, 2, 5, 2);
        let divergence = wrong.look(at(1)).expect("two of three have something else");
        let others = vec![(NodeId(1), Digest(2)), (NodeId(2), Digest(2))];
        assert_eq!(divergence, Divergence { point: point(5, 1), others, is_outvoted: true });

        let mut right = found(3, 2);
        told(&mut right, 1, 5, 1);
        told(&mut right, 2, 5, 2);
        assert_eq!((right.look(at(0)), right.look(at(9_999))), (None, None));
    }

    #[test]
    fn without_a_majority_all_stop_at_once_if_nobody_can_settle_it() {
        let mut pair = found(2, 1);
        assert_eq!(pair.look(at(0)), None);
        told(&mut pair, 1, 4, 2);
        assert_eq!(pair.look(at(0)), None, "of another place");
        told(&mut pair, 1, 5, 2);
        assert!(pair.look(at(0)).is_some_and(|divergence| !divergence.is_outvoted));

        let mut each = found(3, 1);
        told(&mut each, 1, 5, 2);
        told(&mut each, 2, 5, 3);
        assert!(each.look(at(0)).is_some_and(|divergence| !divergence.is_outvoted));

        let mut halves = found(4, 1);
        told(&mut halves, 1, 5, 1);
        told(&mut halves, 2, 5, 2);
        assert_eq!(halves.look(at(0)), None);
        told(&mut halves, 3, 5, 2);
        assert!(halves.look(at(0)).is_some_and(|divergence| !divergence.is_outvoted));
    }

    #[test]
    fn those_that_might_settle_it_are_waited_for_and_a_later_point_can_tell_as_well() {
        let mut alone = found(3, 1);
        told(&mut alone, 1, 5, 2);
        assert_eq!((alone.look(at(0)), alone.look(at(1_999))), (None, None));
        assert!(alone.look(at(2_000)).is_some_and(|divergence| !divergence.is_outvoted));

        let mut settled = found(3, 1);
        told(&mut settled, 1, 5, 2);
        assert_eq!(settled.look(at(0)), None);
        settled.find(point(6, 8));
        told(&mut settled, 2, 6, 8);
        assert_eq!((settled.look(at(3_000)), settled.look(at(9_000))), (None, None));
    }

    #[test]
    fn what_a_replica_said_in_another_life_or_as_a_former_member_does_not_count() {
        let mut witnesses = found(3, 1);
        told(&mut witnesses, 1, 5, 2);
        witnesses.hear((NodeId(1), Incarnation(8)), [point(6, 3)].into_iter());
        told(&mut witnesses, 2, 5, 2);
        assert_eq!(witnesses.look(at(0)), None);
        // A stranger tells nothing, and who is no member any more neither.
        told(&mut witnesses, 9, 5, 2);
        witnesses.take_up([NodeId(1), NodeId(3)].into_iter());
        assert_eq!((witnesses.look(at(1)), witnesses.look(at(9_999))), (None, None));
        told(&mut witnesses, 3, 5, 1);
        assert_eq!(witnesses.look(at(10_000)), None);
    }

    #[test]
    fn a_replica_that_is_behind_finds_what_others_told_before() {
        let mut behind = Witnesses::default();
        behind.take_up([NodeId(1)].into_iter());
        behind.hear((NodeId(1), LIFE), (1..=100).map(|slot| point(slot, slot)));
        behind.hear((NodeId(1), LIFE), (1..=100).rev().map(|slot| point(slot, slot)));
        behind.find(point(30, 1));
        assert_eq!(behind.look(at(0)), None, "long past");
        behind.find(point(90, 1));
        assert!(behind.look(at(0)).is_some());
        let last: Vec<_> = behind.last(1).collect();
        assert_eq!((last, behind.last(9).count()), (vec![point(90, 1)], 2));
    }
}
