//! What the replicas found at digest points, compared: whose state is wrong, if anybody's.
//!
//! At an ordered marker all replicas have the same state, or one of them has gone astray: by memory
//! that failed, by a file that lied, by a service that is not deterministic. Each has its word on it
//! ordered like any command, so all count the same votes in the same order. What more than half of the
//! members have is right, and who has something else stops. Where no state can have more than half,
//! nobody knows what is right, and all that disagree stop. While those that have not voted might
//! settle it they are waited for, for some seconds and until there are votes on some later places;
//! then more than half of those that have voted decide.
//!
//! A place where a majority agreed settles all before it. Who catches up has had no part in what was
//! voted on, and counts nothing of it.

use crate::types::{Digest, ReplicaId, ReplicaSet, Slot, Time};
use crate::wire::{DigestPoint, DigestVote};
use std::collections::VecDeque;
use std::time::Duration;

/// Places whose votes are kept: so far may one replica be behind another.
const KEPT: usize = 64;
/// Votes of this replica that may wait to be ordered.
const UNHEARD: usize = 8;
/// Later places with votes for which a dispute waits for those that have not voted, and for how long
/// at least: any client may ask for digest points.
const PLACES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(4);
/// When a vote that did not come in the order leaves again.
const REPEAT: Duration = Duration::from_millis(250);

/// The replicas' states differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Where.
    pub slot: Slot,
    /// What each replica has there that has voted.
    pub votes: Vec<(ReplicaId, Digest)>,
    /// A majority has another state than this replica, which is wrong; if not, nobody knows.
    pub is_outvoted: bool,
}

/// The votes, as one replica counts them.
#[derive(Debug)]
pub struct Witnesses {
    me: ReplicaId,
    life: u64,
    members: ReplicaSet,
    /// Points of its own that have not come back in the order, and when they left last.
    unheard: VecDeque<DigestPoint>,
    sent: Option<Time>,
    /// By rising slot.
    places: VecDeque<Place>,
    /// Up to this slot all is settled.
    settled: Option<Slot>,
    /// On some place those that have not voted might settle who is right.
    is_disputed: bool,
}

/// The votes on one place.
#[derive(Debug)]
struct Place {
    slot: Slot,
    /// Who is to vote: the members that the first vote names.
    members: ReplicaSet,
    /// When that came.
    since: Time,
    votes: Vec<(ReplicaId, Digest)>,
}

/// What a place comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// Nobody says otherwise than this replica, or this one has not voted.
    Undisputed,
    /// A majority has what this replica has.
    Right,
    /// A majority has something else, all the same.
    Outvoted,
    /// No state has a majority.
    Hopeless,
    /// Those that have not voted might settle it.
    Open,
}

impl Witnesses {
    /// Those of replica `me` in its life `life`, one of `members`.
    #[must_use]
    pub const fn new(me: ReplicaId, life: u64, members: ReplicaSet) -> Self {
        Self {
            me,
            life,
            members,
            unheard: VecDeque::new(),
            sent: None,
            places: VecDeque::new(),
            settled: None,
            is_disputed: false,
        }
    }

    /// From now on these are the replicas.
    pub const fn take_up(&mut self, members: ReplicaSet) {
        self.members = members;
    }

    /// This replica has found `point`, and no marker of its slot is to come: its vote leaves with the
    /// next [`Witnesses::look`].
    pub fn find(&mut self, point: DigestPoint) {
        self.unheard.push_back(point);
        if self.unheard.len() > UNHEARD {
            self.unheard.pop_front();
        }
        self.sent = None;
    }

    /// Votes, by `tell`, for what has not come in the order.
    pub fn look(&mut self, now: Time, mut tell: impl FnMut(DigestVote)) {
        if self.unheard.is_empty() || self.sent.is_some_and(|sent| now.since(sent) < REPEAT) {
            return;
        }
        self.sent = Some(now);
        for point in &self.unheard {
            tell(DigestVote::new(self.me, self.life, self.members, *point));
        }
    }

    /// When a vote may have to leave again.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        (!self.unheard.is_empty()).then(|| self.sent.map_or(Time::ZERO, |sent| sent + REPEAT))
    }

    /// This replica catches up: it has missed votes, and its own are of what others have long passed.
    pub fn forget(&mut self) {
        self.unheard.clear();
        self.places.clear();
        self.is_disputed = false;
    }

    /// A vote has come in the order, while this replica was level. Says whether it must stop.
    pub fn on_vote(&mut self, vote: &DigestVote, now: Time) -> Option<Divergence> {
        let divergence = self.count_vote(vote, now);
        self.is_disputed = (0..self.places.len()).any(|at| self.judge(at) == Finding::Open);
        divergence
    }

    fn count_vote(&mut self, vote: &DigestVote, now: Time) -> Option<Divergence> {
        let replica = vote.replica()?;
        let is_own = replica == self.me;
        // One of a former life of this replica says nothing of what it has now.
        let is_former = is_own && vote.life != self.life;
        if vote.making != DigestVote::MAKING || is_former || !self.members.contains(replica) {
            return None;
        }
        if is_own {
            self.unheard.retain(|point| point.slot > vote.slot);
        }
        if self.settled.is_some_and(|settled| vote.slot <= settled) {
            return None;
        }
        let at = self.place(vote.slot, vote.members()?, now)?;
        let place = &mut self.places[at];
        if !place.members.contains(replica) {
            return None; // It came later.
        }
        match place.votes.iter_mut().find(|(voter, _)| *voter == replica) {
            // Of another life, perhaps with another state.
            Some((_, digest)) => *digest = vote.digest,
            None => place.votes.push((replica, vote.digest)),
        }
        match self.judge(at) {
            Finding::Right => {
                self.settle(at);
                return None;
            }
            Finding::Outvoted => return Some(self.divergence(at, true)),
            Finding::Hopeless => return Some(self.divergence(at, false)),
            Finding::Undisputed | Finding::Open => {}
        }
        self.lose_patience(now)
    }

    /// The index of the place at `slot`; `None` if it lies before all that are kept.
    fn place(&mut self, slot: Slot, members: ReplicaSet, since: Time) -> Option<usize> {
        let at = match self.places.binary_search_by_key(&slot, |place| place.slot) {
            Ok(at) => return Some(at),
            Err(at) => at,
        };
        self.places.insert(at, Place { slot, members, since, votes: Vec::new() });
        if self.places.len() <= KEPT {
            return Some(at);
        }
        self.places.pop_front();
        at.checked_sub(1)
    }

    /// Everything up to the place `at` is settled.
    fn settle(&mut self, at: usize) {
        self.settled = Some(self.places[at].slot);
        self.places.drain(..=at);
    }

    /// Looks at those disputes that are old enough.
    fn lose_patience(&mut self, now: Time) -> Option<Divergence> {
        for at in (0..self.places.len().saturating_sub(PLACES)).rev() {
            let is_young = now.since(self.places[at].since) < PATIENCE;
            if is_young || self.judge(at) != Finding::Open {
                continue;
            }
            let (own, most, _) = self.count(at).unwrap_or_default();
            let voted = self.places[at].votes.len();
            if own * 2 > voted {
                self.settle(at);
                return None;
            }
            return Some(self.divergence(at, most * 2 > voted));
        }
        None
    }

    /// How many have voted at the place `at` as this replica has, the most that have voted
    /// otherwise and all the same, and how many have not voted; `None` if this one has not.
    fn count(&self, at: usize) -> Option<(usize, usize, usize)> {
        let Place { members, votes, .. } = &self.places[at];
        let (_, own) = votes.iter().find(|(voter, _)| *voter == self.me)?;
        let have = |digest| votes.iter().filter(|(_, other)| *other == digest).count();
        let others = votes.iter().filter(|(_, digest)| digest != own);
        let most = others.map(|(_, digest)| have(*digest)).max().unwrap_or(0);
        Some((have(*own), most, members.len().saturating_sub(votes.len())))
    }

    fn judge(&self, at: usize) -> Finding {
        let Some((own, most, silent)) = self.count(at) else { return Finding::Undisputed };
        let members = self.places[at].members.len();
        if own * 2 > members {
            Finding::Right
        } else if most == 0 {
            Finding::Undisputed
        } else if most * 2 > members {
            Finding::Outvoted
        } else if (own.max(most) + silent) * 2 > members {
            Finding::Open
        } else {
            Finding::Hopeless
        }
    }

    fn divergence(&self, at: usize, is_outvoted: bool) -> Divergence {
        let Place { slot, votes, .. } = &self.places[at];
        Divergence { slot: *slot, votes: votes.clone(), is_outvoted }
    }

    /// Whether some replica says otherwise than this one, and it is not settled who is right: nobody
    /// is to take over the state of either.
    #[must_use]
    pub const fn is_disputed(&self) -> bool {
        self.is_disputed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Random;

    const LIFE: u64 = 7;
    const BOTH: ReplicaSet = ReplicaSet::first(2);
    /// No reason to stop.
    const NONE: [bool; 0] = [];

    fn point(slot: u64, digest: u64) -> DigestPoint {
        DigestPoint { slot: Slot(slot), digest: Digest(digest) }
    }

    /// Replica 0 of `count`.
    fn first_of(count: usize) -> Witnesses {
        Witnesses::new(ReplicaId(0), LIFE, ReplicaSet::first(count))
    }

    /// Votes of these replicas on `slot`, in this order; whether the first one must stop, and by a
    /// majority.
    fn votes(witnesses: &mut Witnesses, slot: u64, votes: &[(u8, u64)]) -> Vec<bool> {
        let vote = |(replica, digest): &(u8, u64)| {
            let members = witnesses.members;
            let vote = DigestVote::new(ReplicaId(*replica), LIFE, members, point(slot, *digest));
            // Each place a second after the one before.
            witnesses.on_vote(&vote, Time::ZERO + Duration::from_secs(slot))
        };
        votes.iter().filter_map(vote).map(|divergence| divergence.is_outvoted).collect()
    }

    #[test]
    fn who_has_another_state_than_more_than_half_stops_and_the_others_go_on() {
        let mut wrong = first_of(3);
        assert_eq!(votes(&mut wrong, 5, &[(0, 1), (1, 2)]), NONE, "the third may have the same");
        assert!(wrong.is_disputed());
        assert_eq!(votes(&mut wrong, 5, &[(2, 2)]), [true]);
        let mut right = first_of(3);
        assert_eq!(votes(&mut right, 5, &[(1, 1), (0, 2), (2, 2), (1, 1)]), NONE);
        assert!(!right.is_disputed());
        let mut late = first_of(3);
        assert_eq!(votes(&mut late, 5, &[(1, 2), (2, 2)]), NONE, "it has not come there");
        assert_eq!(votes(&mut late, 5, &[(0, 1)]), [true]);
    }

    #[test]
    fn without_a_majority_all_stop_at_once_if_nobody_can_settle_it() {
        assert_eq!(votes(&mut first_of(2), 5, &[(0, 1), (1, 2)]), [false]);
        assert_eq!(votes(&mut first_of(3), 5, &[(0, 1), (1, 2), (2, 3)]), [false]);
        assert_eq!(votes(&mut first_of(4), 5, &[(0, 1), (1, 1), (2, 2), (3, 2)]), [false]);
        assert_eq!(votes(&mut first_of(1), 5, &[(0, 1)]), NONE);
    }

    #[test]
    fn those_that_have_not_voted_are_waited_for_until_there_are_votes_on_later_places() {
        let mut pair = first_of(3);
        assert_eq!(votes(&mut pair, 5, &[(0, 1), (1, 2)]), NONE);
        for slot in 6..9 {
            assert_eq!(votes(&mut pair, slot, &[(0, 1), (1, 2)]), NONE);
        }
        assert_eq!(votes(&mut pair, 9, &[(0, 1)]), [false]);
        // Of four members two agree, one does not, and one is not there.
        let mut three = first_of(4);
        for slot in 5..9 {
            assert_eq!(votes(&mut three, slot, &[(0, 1), (1, 1), (2, 2)]), NONE);
        }
        assert_eq!(votes(&mut three, 9, &[(0, 1), (1, 1), (2, 2)]), NONE, "two of three that are");
        let mut lone = first_of(4);
        for slot in 5..9 {
            assert_eq!(votes(&mut lone, slot, &[(0, 2), (1, 1), (2, 1)]), NONE);
        }
        assert_eq!(votes(&mut lone, 9, &[(0, 2)]), [true]);
    }

    #[test]
    fn a_later_place_settles_those_before_it_whoever_comes_and_goes() {
        let mut settled = first_of(3);
        assert_eq!(votes(&mut settled, 5, &[(0, 1), (1, 2)]), NONE);
        assert_eq!(votes(&mut settled, 6, &[(0, 8), (2, 8)]), NONE);
        assert!(!settled.is_disputed());
        assert_eq!(votes(&mut settled, 5, &[(2, 2)]), NONE, "it is settled");
        // The wrong one has ended, and a fourth one is a member before it has begun: what was
        // settled is not judged by other members, nor what only the right ones have voted on.
        settled.take_up(ReplicaSet::first(4));
        for slot in 7..20 {
            assert_eq!(votes(&mut settled, slot, &[(0, 8), (2, 8)]), NONE);
        }
        settled.take_up(ReplicaSet::first(1));
        assert_eq!(votes(&mut settled, 21, &[(2, 3), (0, 8)]), NONE, "it is none any more");
    }

    #[test]
    fn the_first_vote_on_a_place_says_who_is_to_vote_there() {
        let vote = |replica, members, digest| {
            DigestVote::new(ReplicaId(replica), LIFE, ReplicaSet::first(members), point(5, digest))
        };
        let count = |votes: [DigestVote; 3]| {
            let mut witnesses = first_of(3);
            votes.iter().filter_map(|vote| witnesses.on_vote(vote, Time::ZERO)).count()
        };
        assert_eq!(count([vote(0, 2, 1), vote(2, 3, 2), vote(1, 3, 1)]), 0, "two of two");
        assert_eq!(count([vote(0, 3, 1), vote(2, 3, 2), vote(1, 2, 1)]), 0, "two of three");
        assert_eq!(count([vote(0, 2, 1), vote(1, 3, 2), vote(2, 3, 1)]), 1, "one of two");
    }

    #[test]
    fn a_client_that_asks_for_many_points_makes_nobody_impatient() {
        let mut witnesses = first_of(3);
        assert_eq!(votes(&mut witnesses, 5, &[(0, 1), (1, 2)]), NONE);
        let all = ReplicaSet::first(3);
        for slot in 6..50 {
            let vote = DigestVote::new(ReplicaId(0), LIFE, all, point(slot, 1));
            assert_eq!(witnesses.on_vote(&vote, Time::ZERO + Duration::from_secs(6)), None);
        }
        assert_eq!(votes(&mut witnesses, 5, &[(2, 1)]), NONE);
    }

    #[test]
    fn who_catches_up_knows_nothing_of_a_dispute_that_others_settled_meanwhile() {
        let mut witnesses = first_of(3);
        assert_eq!(votes(&mut witnesses, 5, &[(0, 1), (1, 2)]), NONE);
        witnesses.find(point(6, 1));
        witnesses.forget();
        for slot in 20..40 {
            assert_eq!(votes(&mut witnesses, slot, &[(0, 1)]), NONE);
        }
        assert!(!witnesses.is_disputed());
        witnesses.look(Time::ZERO, |_| panic!("it has nothing to say"));
    }

    #[test]
    fn what_this_replica_said_in_another_life_or_makes_otherwise_does_not_count() {
        let mut witnesses = first_of(2);
        let former = DigestVote::new(ReplicaId(0), LIFE + 1, BOTH, point(5, 9));
        assert_eq!(witnesses.on_vote(&former, Time::ZERO), None);
        let mut newer = DigestVote::new(ReplicaId(1), LIFE, BOTH, point(5, 9));
        newer.making += 1;
        assert_eq!(witnesses.on_vote(&newer, Time::ZERO), None);
        assert_eq!(votes(&mut witnesses, 5, &[(0, 1)]), NONE);
        // The other one begins another life, and says something else of the same place.
        let mut other = first_of(2);
        assert_eq!(votes(&mut other, 5, &[(1, 2), (1, 1), (0, 1)]), NONE);
    }

    #[test]
    fn a_vote_leaves_again_until_it_comes_in_the_order_and_few_wait() {
        let mut witnesses = first_of(2);
        let at = |milliseconds| Time::ZERO + Duration::from_millis(milliseconds);
        let sent = |witnesses: &mut Witnesses, milliseconds| {
            let mut slots = Vec::new();
            witnesses.look(at(milliseconds), |vote| slots.push(vote.slot.0));
            slots
        };
        witnesses.find(point(5, 1));
        assert_eq!(sent(&mut witnesses, 10), [5]);
        assert!(sent(&mut witnesses, 200).is_empty());
        assert_eq!(sent(&mut witnesses, 260), [5]);
        witnesses.find(point(6, 1));
        assert_eq!(sent(&mut witnesses, 261), [5, 6]);
        votes(&mut witnesses, 5, &[(0, 1)]);
        assert_eq!(sent(&mut witnesses, 600), [6]);
        (7..30).for_each(|slot| witnesses.find(point(slot, 1)));
        assert_eq!(sent(&mut witnesses, 601).len(), UNHEARD);
    }

    #[test]
    fn the_votes_of_the_last_places_alone_are_kept() {
        let mut witnesses = first_of(2);
        (0..200).for_each(|slot| assert_eq!(votes(&mut witnesses, slot, &[(1, 2)]), NONE));
        assert_eq!(votes(&mut witnesses, 100, &[(0, 1)]), NONE, "long past");
        assert_eq!(witnesses.places.len(), KEPT);
        assert_eq!(votes(&mut witnesses, 190, &[(0, 1)]), [false]);
    }

    /// A replica of a random history.
    struct Voter {
        witnesses: Witnesses,
        /// Votes of the order that it has passed, and up to where it catches up.
        passed: usize,
        level_at: usize,
        /// Its own on their way into the order, each with when it arrives.
        sent: Vec<(u64, DigestVote)>,
        has_stopped: bool,
    }

    /// Replica 0 of `count` has another state than the others, which take votes as they like, late
    /// and twice, and of which one at a time may begin another life. Who stops, and why.
    fn history(count: u8, restarts: bool, seed: u64) -> Vec<(u8, bool)> {
        let mut random = Random::new(seed);
        let members = ReplicaSet::first(count.into());
        let voter = |me, life| Witnesses::new(ReplicaId(me), life, members);
        let mut voters: Vec<Voter> = (0..count)
            .map(|me| Voter {
                witnesses: voter(me, LIFE),
                passed: 0,
                level_at: 0,
                sent: Vec::new(),
                has_stopped: false,
            })
            .collect();
        let (mut order, mut stops) = (Vec::new(), Vec::new());
        for tick in 1..3_000_u64 {
            let now = Time::ZERO + Duration::from_millis(20 * tick);
            if restarts && tick % 400 == 0 {
                // A healthy one comes back, and is level soon.
                let me = u8::try_from(1 + random.below(u64::from(count) - 1)).unwrap();
                let reborn = &mut voters[usize::from(me)];
                reborn.witnesses = voter(me, LIFE + tick);
                (reborn.level_at, reborn.passed) = (order.len(), order.len() / 2);
                reborn.sent.clear();
            }
            for voter in voters.iter_mut().filter(|voter| !voter.has_stopped) {
                let is_muted = voter.passed < voter.level_at;
                if tick % 50 == 0 && !is_muted {
                    let own = voter.witnesses.me.0;
                    voter.witnesses.find(point(tick / 50, 10 * tick + u64::from(own == 0)));
                }
                let delay = random.below(100);
                let sent = &mut voter.sent;
                voter.witnesses.look(now, |vote| sent.push((tick + delay, vote)));
                sent.retain(|(at, vote)| {
                    let has_come = *at <= tick;
                    order.extend(has_come.then_some(*vote));
                    !has_come
                });
            }
            for voter in voters.iter_mut().filter(|voter| !voter.has_stopped) {
                let most = usize::try_from(random.below(6)).unwrap();
                for vote in order.iter().skip(voter.passed).take(most) {
                    voter.passed += 1;
                    if voter.passed <= voter.level_at {
                        continue;
                    }
                    if let Some(divergence) = voter.witnesses.on_vote(vote, now) {
                        voter.has_stopped = true;
                        stops.push((voter.witnesses.me.0, divergence.is_outvoted));
                        break;
                    }
                }
            }
        }
        stops
    }

    #[test]
    fn of_a_majority_that_agrees_nobody_stops_and_who_is_wrong_does() {
        for seed in 0..200 {
            for (count, restarts) in [(3, false), (4, false), (5, true), (7, true)] {
                let stops = history(count, restarts, seed);
                assert_eq!(stops, [(0, true)], "seed {seed}, {count} replicas");
            }
            let mut pair = history(2, false, seed);
            pair.sort_unstable();
            assert_eq!(pair, [(0, false), (1, false)], "seed {seed}: nobody knows");
        }
    }
}
