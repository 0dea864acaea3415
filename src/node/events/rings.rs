//! How the rings of an acceptor stand: who coordinates, who has a vote, and what keeps them from
//! ordering.

use super::{Names, Told, Weight};
use crate::node::observer::RingFigures;
use crate::types::Time;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// So long an obstacle stands, or is gone, before it is told.
const LASTS: Duration = Duration::from_secs(1);
/// So long after an obstacle was told no other one of the same ring is.
const PAUSE: Duration = Duration::from_secs(10);
/// So long after a coordinator told its ballot it tells no other one of its own.
const CALM: Duration = Duration::from_secs(1);

/// What keeps a ring from ordering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    NoQuorum,
    LogFull,
    FarAhead,
}

/// What there is now, of a ring that was like `last` at the look before.
fn obstacle(last: &RingFigures, figures: &RingFigures) -> Option<Obstacle> {
    match figures.obstacle {
        0 => None,
        1 => Some(Obstacle::NoQuorum),
        // Under load a ring is often as far ahead as it may be, and moves.
        5 => (last.decided == figures.decided).then_some(Obstacle::FarAhead),
        _ => Some(Obstacle::LogFull),
    }
}

/// Whom a log waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Nobody,
    Applies(String),
    Checkpoint(String),
}

/// What may happen to several rings at once: one line for all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Inert,
    OldCopy,
    Newborn,
    Votes,
    NoQuorum,
    Quorum,
    LogFull(Holder),
    Room,
    FarAhead(String),
    Moves,
}

/// What was told of the rings.
#[derive(Debug, Default)]
pub(super) struct Rings(Vec<Option<Known>>);

impl Rings {
    pub(super) fn look(
        &mut self,
        rings: &[RingFigures],
        names: &Names,
        now: Time,
        told: &mut Told,
    ) {
        self.0.resize_with(rings.len(), || None);
        let mut changes: BTreeMap<Change, Vec<usize>> = BTreeMap::new();
        for (ring, (known, figures)) in self.0.iter_mut().zip(rings).enumerate() {
            if *figures == RingFigures::default() {
                continue; // Its thread has not written yet.
            }
            let is_new = known.is_none();
            let known = known.get_or_insert_with(|| Known::new(now));
            known.leads((ring, figures), names, now, told);
            let voted = known.votes(is_new, figures);
            let ordered = known.orders(figures, names, now);
            for change in voted.into_iter().chain([ordered]).flatten() {
                changes.entry(change).or_default().push(ring);
            }
            known.last = *figures;
        }
        told.extend(changes.into_iter().map(|(change, rings)| change.told(&Several(&rings))));
    }
}

/// What was told of one ring.
#[derive(Debug)]
struct Known {
    last: RingFigures,
    /// The round and number of the ballot by which it was last said to coordinate, and when.
    led: Option<(u64, Time)>,
    obstacle: Option<Obstacle>,
    /// When the ring was last seen as it was told.
    settled_at: Time,
    /// Before this, no obstacle is told.
    quiet_until: Time,
}

impl Known {
    fn new(now: Time) -> Self {
        Self {
            last: RingFigures::default(),
            led: None,
            obstacle: None,
            settled_at: now,
            quiet_until: Time::ZERO,
        }
    }

    /// Who coordinates.
    fn leads(
        &mut self,
        (ring, figures): (usize, &RingFigures),
        names: &Names,
        now: Time,
        told: &mut Told,
    ) {
        let RingFigures { round, leader, coordinates, .. } = *figures;
        let (did, does) = (self.last.coordinates > 0, coordinates > 0);
        match (self.led, does) {
            (Some((known, _)), true) if known == round => {}
            // A ballot of its own follows one of its own where a member is silent or admitted.
            (Some((_, at)), true) if did && now.since(at) < CALM => {}
            (Some(_), true) if did => {
                self.led = Some((round, now));
                let text = format!("coordinates ring {ring} by a new ballot {round} of its own");
                told.push((Weight::Notice, text));
            }
            (_, true) => {
                self.led = Some((round, now));
                let before = match self.last {
                    RingFigures { round: 0, .. } => String::new(),
                    last if last.leader == leader => String::new(),
                    last => format!(", after {} by ballot {}", names.name(last.leader), last.round),
                };
                let text = format!("coordinates ring {ring} by ballot {round}{before}");
                told.push((Weight::Notice, text));
            }
            (Some((known, _)), false) if did => {
                let text = if leader == self.last.leader {
                    format!(
                        "no longer coordinates ring {ring} by ballot {known}: asks the acceptors anew"
                    )
                } else {
                    let who = names.name(leader);
                    format!(
                        "no longer coordinates ring {ring}: {who} does, or tries to, by ballot {round}"
                    )
                };
                told.push((Weight::Warning, text));
            }
            _ => {}
        }
    }

    /// Whether it has a vote. It may have got one before the first look.
    fn votes(&self, is_new: bool, figures: &RingFigures) -> [Option<Change>; 2] {
        let is_old = figures.old_copies > 0;
        let lost = match figures.began {
            1 => Change::Inert,
            2 => Change::Newborn,
            _ if is_old => Change::OldCopy,
            _ => return [None, None],
        };
        let votes = figures.votes > 0;
        let is_news = is_new || (is_old && self.last.old_copies == 0);
        let has_begun = is_news.then_some(lost);
        [has_begun, (votes && (is_new || self.last.votes == 0)).then_some(Change::Votes)]
    }

    /// What keeps the ring from ordering, once it lasts.
    fn orders(&mut self, figures: &RingFigures, names: &Names, now: Time) -> Option<Change> {
        let found = obstacle(&self.last, figures);
        if found == self.obstacle {
            self.settled_at = now;
            return None;
        }
        let begins = found.is_some();
        if now.since(self.settled_at) < LASTS || begins && now < self.quiet_until {
            return None;
        }
        let ended = std::mem::replace(&mut self.obstacle, found);
        self.settled_at = now;
        if begins {
            self.quiet_until = now + PAUSE;
        }
        Some(match (ended, found) {
            (_, Some(Obstacle::NoQuorum)) => Change::NoQuorum,
            (_, Some(Obstacle::LogFull)) => Change::LogFull(match figures.obstacle {
                3 => Holder::Applies(names.name(figures.holder)),
                4 => Holder::Checkpoint(names.name(figures.holder)),
                _ => Holder::Nobody,
            }),
            (_, Some(Obstacle::FarAhead)) => Change::FarAhead(names.name(figures.holder)),
            (Some(Obstacle::LogFull), None) => Change::Room,
            (Some(Obstacle::FarAhead), None) => Change::Moves,
            (_, None) => Change::Quorum,
        })
    }
}

impl Change {
    /// The line for `rings`.
    fn told(self, rings: &Several<'_>) -> (Weight, String) {
        match self {
            Self::Inert => (
                Weight::Warning,
                format!(
                    "is inert in {rings}: it has lost what it promised and has no vote until the \
                     coordinator admits it, which takes an answer of every other acceptor; restart \
                     none of them before that"
                ),
            ),
            Self::OldCopy => (
                Weight::Warning,
                format!(
                    "is inert in {rings}: the log is a copy of earlier days, for others know of later \
                     lives or votes of it; it has no vote until the coordinator admits it, which \
                     takes an answer of every other acceptor; restart none of them before that"
                ),
            ),
            Self::Newborn => (
                Weight::Notice,
                format!(
                    "knows of no former life in {rings}: it has no vote there until all acceptors say \
                     the same, or the coordinator admits it"
                ),
            ),
            Self::Votes => (Weight::Notice, format!("is admitted to {rings}: it votes")),
            Self::NoQuorum => (
                Weight::Warning,
                format!(
                    "finds no quorum in {rings}: fewer than f + 1 acceptors with memory answer, and \
                     nothing is ordered; start those that are down (see `psmr status`); if all \
                     are up and inert, see docs/OPERATIONS.md, Failures"
                ),
            ),
            Self::Quorum => (
                Weight::Notice,
                format!("has a quorum again in {rings}: it hears of a coordinator, or is one"),
            ),
            Self::LogFull(holder) => (
                Weight::Warning,
                match holder {
                    Holder::Nobody => format!(
                        "the log of {rings} is almost full: fewer replicas are heard of than must \
                         have a checkpoint; start those that are down"
                    ),
                    Holder::Applies(name) => format!(
                        "the log of {rings} is almost full because of {name}, which has not applied \
                         it: see its `lag` in `psmr status`, start it if it is down, or raise \
                         log_instances in [ordering]"
                    ),
                    Holder::Checkpoint(name) => format!(
                        "the log of {rings} is almost full because of {name}, whose next checkpoint \
                         is waited for: see what it says of its file, or raise log_instances in \
                         [ordering]"
                    ),
                },
            ),
            Self::Room => (Weight::Notice, format!("the log of {rings} has room again")),
            Self::FarAhead(name) => (
                Weight::Warning,
                format!(
                    "refuses commands of {rings} because of {name}, which is apply_bound instances \
                     behind: start it if it is down; if it is gone for good, `psmr member remove`"
                ),
            ),
            Self::Moves => (Weight::Notice, format!("takes commands of {rings} again")),
        }
    }
}

/// "ring 0", "rings 0, 2".
struct Several<'a>(&'a [usize]);

impl fmt::Display for Several<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.len() == 1 { "ring " } else { "rings " })?;
        for (index, ring) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{ring}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that is looked at every 100 ms.
    struct Scene {
        rings: Rings,
        names: Names,
        now: Time,
    }

    impl Scene {
        fn new() -> Self {
            let names = [(0, "a1"), (1, "a2"), (2, "a3"), (32, "r1"), (33, "r2")];
            let names = names.into_iter().map(|(number, name)| (number, name.to_owned()));
            Self { rings: Rings::default(), names: Names(names.collect()), now: Time(1) }
        }

        fn look(&mut self, rings: &[RingFigures]) -> Vec<String> {
            self.now = self.now + Duration::from_millis(100);
            let mut told = Told::new();
            self.rings.look(rings, &self.names, self.now, &mut told);
            told.into_iter().map(|(_, line)| line).collect()
        }

        /// The lines of so many looks at the same.
        fn stays(&mut self, looks: usize, rings: &[RingFigures]) -> Vec<String> {
            (0..looks).flat_map(|_| self.look(rings)).collect()
        }
    }

    fn follows(round: u64, leader: u64) -> RingFigures {
        RingFigures { round, leader, votes: 1, free: 512, ..RingFigures::default() }
    }

    fn leads(round: u64) -> RingFigures {
        RingFigures { coordinates: 1, ..follows(round, 0) }
    }

    fn meets(obstacle: u64, holder: u64) -> RingFigures {
        RingFigures { obstacle, holder, ..follows(1, 1) }
    }

    fn starts(told: &[String], start: &str) {
        assert!(told.len() == 1 && told[0].starts_with(start), "{told:?} and not {start:?}");
    }

    #[test]
    fn a_coordinator_tells_that_it_takes_over_and_that_another_one_does() {
        let mut scene = Scene::new();
        assert_eq!(scene.look(&[RingFigures::default(); 2]), [""; 0]);
        assert_eq!(scene.look(&[follows(1, 0), follows(1, 1)]), [""; 0]);
        let told = ["coordinates ring 1 by ballot 2, after a2 by ballot 1"];
        assert_eq!(scene.look(&[follows(1, 0), leads(2)]), told);
        assert_eq!(scene.look(&[follows(1, 0), leads(2)]), [""; 0]);
        let told = ["no longer coordinates ring 1: a3 does, or tries to, by ballot 3"];
        assert_eq!(scene.look(&[follows(1, 0), follows(3, 2)]), told);
        assert_eq!(scene.look(&[follows(1, 0), follows(3, 2)]), [""; 0]);
    }

    #[test]
    fn new_ballots_of_the_same_coordinator_are_told_once_a_second() {
        let mut scene = Scene::new();
        let lines: Vec<String> = (1..=21).flat_map(|round| scene.look(&[leads(round)])).collect();
        let again = |round: u64| format!("coordinates ring 0 by a new ballot {round} of its own");
        let first = "coordinates ring 0 by ballot 1".to_owned();
        assert_eq!(lines, [first, again(11), again(21)]);
        let told = ["no longer coordinates ring 0 by ballot 21: asks the acceptors anew"];
        assert_eq!(scene.look(&[follows(22, 0)]), told);
        assert_eq!(scene.look(&[leads(22)]), ["coordinates ring 0 by ballot 22"]);
    }

    #[test]
    fn an_acceptor_without_memory_tells_it_of_all_rings_at_once() {
        let mut scene = Scene::new();
        let inert = RingFigures { votes: 0, began: 1, ..follows(1, 1) };
        let admitted = RingFigures { votes: 1, ..inert };
        starts(&scene.look(&[inert, inert, follows(1, 1)]), "is inert in rings 0, 1: ");
        let told = scene.look(&[inert, admitted, follows(1, 1)]);
        assert_eq!(told, ["is admitted to ring 1: it votes"]);
        assert_eq!(scene.look(&[inert, admitted, follows(1, 1)]), [""; 0]);
        let asks = RingFigures { votes: 0, ..follows(1, 1) };
        let old = RingFigures { old_copies: 1, ..asks };
        let mut scene = Scene::new();
        assert_eq!(scene.look(&[asks, asks]), [""; 0]);
        starts(&scene.look(&[old, old]), "is inert in rings 0, 1: the log is a copy");
        assert_eq!(scene.look(&[old, old]), [""; 0]);
        let told = scene.look(&[RingFigures { votes: 1, ..old }, old]);
        assert_eq!(told, ["is admitted to ring 0: it votes"]);
        let newborn = RingFigures { began: 2, ..inert };
        starts(&Scene::new().look(&[newborn]), "knows of no former life in ring 0: ");
    }

    #[test]
    fn a_vote_that_came_back_before_the_first_look_is_told_as_well() {
        let told = Scene::new().look(&[RingFigures { began: 1, ..follows(1, 1) }]);
        assert!(told.len() == 2 && told[0].starts_with("is inert in ring 0: "), "{told:?}");
        assert_eq!(told[1], "is admitted to ring 0: it votes");
    }

    #[test]
    fn an_obstacle_is_told_when_it_lasts_and_when_it_has_ended() {
        let mut scene = Scene::new();
        let (free, stuck) = ([follows(1, 1)], [meets(1, 0)]);
        scene.look(&free);
        assert_eq!(scene.stays(9, &stuck), [""; 0], "it may be short");
        scene.look(&free);
        starts(&scene.stays(40, &stuck), "finds no quorum in ring 0: ");
        starts(&scene.stays(40, &free), "has a quorum again in ring 0");
    }

    #[test]
    fn a_log_that_is_almost_full_names_whom_it_waits_for() {
        for (found, named) in [
            (meets(2, 0), "fewer replicas are heard of"),
            (meets(3, 33), "because of r2, which has not applied"),
            (meets(4, 32), "because of r1, whose next checkpoint"),
            (meets(4, 77), "because of node number 77"),
        ] {
            let mut scene = Scene::new();
            scene.look(&[follows(1, 1)]);
            let told = scene.stays(40, &[found]);
            starts(&told, "the log of ring 0 is almost full");
            assert!(told[0].contains(named), "{told:?}");
            starts(&scene.stays(40, &[follows(1, 1)]), "the log of ring 0 has room again");
        }
    }

    #[test]
    fn a_ring_that_waits_for_a_replica_names_it_unless_it_moves() {
        let mut scene = Scene::new();
        for decided in 0..40 {
            let moves = RingFigures { decided, ..meets(5, 32) };
            assert_eq!(scene.look(&[moves]), [""; 0]);
        }
        let stuck = RingFigures { decided: 39, ..meets(5, 32) };
        starts(&scene.stays(40, &[stuck]), "refuses commands of ring 0 because of r1, which");
        starts(&scene.stays(40, &[follows(1, 1)]), "takes commands of ring 0 again");
    }

    #[test]
    fn obstacles_that_come_and_go_are_told_every_ten_seconds_at_most() {
        let mut scene = Scene::new();
        let (free, stuck) = ([follows(1, 1)], [meets(3, 32)]);
        let mut told = Vec::new();
        for _ in 0..20 {
            told.extend(scene.stays(15, &stuck));
            told.extend(scene.stays(15, &free));
        }
        // 60 s.
        let begun = told.iter().filter(|line| line.contains("almost full"));
        let ended = told.iter().filter(|line| line.contains("has room again"));
        assert!((4..=6).contains(&begun.count()) && (4..=6).contains(&ended.count()), "{told:?}");
    }
}
