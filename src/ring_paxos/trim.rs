//! Forgetting what no learner needs any more.
//!
//! A learner reports to its preferential acceptor, which passes the report to the coordinator.
//! The coordinator's trim mark rides on all that it multicasts. Without configured learners half
//! the log is kept. Without checkpoints a ring waits for all learners; with them it waits for those
//! that it hears of, and keeps what is not in enough checkpoints yet: see [`Retention`].

use super::member::Member;
use super::{Destination, Instance, Log, Outbox, Record, Retention, RingConfig};
use crate::types::{NodeId, Time};
use crate::wire::{Message, Position};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// How far one learner is.
#[derive(Clone, Copy, Debug, Hash)]
struct Report {
    position: Position,
    /// What of it was passed on, and whether it was repeated since.
    relayed: Instance,
    is_fresh: bool,
    heard_at: Time,
}

impl Report {
    /// Whether the learner has not passed yet what was decided when it began.
    fn catches_up(&self) -> bool {
        self.position.applied > self.position.needed
    }
}

/// What a log has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogRoom {
    Plenty,
    /// Half of it is used.
    Half,
    /// Before long, commands are refused.
    Little,
}

impl LogRoom {
    const fn of(used: u64, instances: u64) -> Self {
        match used {
            _ if used < instances / 2 => Self::Plenty,
            _ if used < instances / 4 * 3 => Self::Half,
            _ => Self::Little,
        }
    }
}

/// Whom a log waits for before it forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This learner has not applied it, or was not heard of at all.
    Applies(u64),
    /// It is in too few checkpoints: the next one of this learner is waited for.
    Checkpoint(u64),
    /// Fewer learners are heard of than must have a checkpoint.
    TooFew,
}

/// How far the learners are, as far as this acceptor knows.
#[derive(Clone, Debug, Hash)]
pub(super) struct Positions {
    reports: Vec<Report>,
    /// The numbers of the learners that there are.
    expected: Vec<u64>,
    /// Those of them that a new coordinator waits to hear of: not who came with an epoch and was not
    /// heard yet, for its node may not run, and it has no state that anybody could need.
    awaited: Vec<u64>,
    retention: Retention,
    /// Whether enough of them were heard, when it was looked last, for checkpoints to be forgotten by.
    pub(super) can_trim: bool,
    /// The lowest applied instance of the learners that count, when it was looked at last.
    slowest: Option<Instance>,
    surveyed: Surveyed,
}

/// What a survey has found.
#[derive(Clone, Copy, Debug)]
struct Survey {
    /// Up to where nothing is needed.
    safe: Option<Instance>,
    /// For a coordinator since then, with a log that has so much left.
    since: Time,
    room: LogRoom,
    /// It stands until then, if nobody reports: nobody's patience ends before.
    until: Time,
}

/// The last survey, if it stands. It follows from the reports, and is no state of its own.
#[derive(Clone, Copy, Debug, Default)]
struct Surveyed(Option<Survey>);

impl Hash for Surveyed {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Positions {
    pub(super) fn new(config: &RingConfig) -> Self {
        Self {
            reports: Vec::with_capacity(config.learners.len()),
            expected: config.learners.clone(),
            awaited: config.learners.clone(),
            retention: config.retention,
            can_trim: false,
            slowest: None,
            surveyed: Surveyed::default(),
        }
    }

    /// Another epoch begins: those who left count no more. How far the others are is as true as it
    /// was, so that no change stops a ring until everybody was heard again.
    pub(super) fn take_up(&mut self, config: &RingConfig) {
        let stays = |learner: &u64| config.learners.contains(learner);
        self.reports.retain(|report| stays(&report.position.learner));
        self.awaited.retain(stays);
        self.expected.clone_from(&config.learners);
        self.retention = config.retention;
        self.surveyed = Surveyed(None);
    }

    /// Takes a report; the learner's entry, if the ring has such a learner.
    fn take(&mut self, position: &Position, now: Time) -> Option<&mut Report> {
        if !self.expected.contains(&position.learner) {
            return None;
        }
        self.surveyed = Surveyed(None);
        if !self.awaited.contains(&position.learner) {
            self.awaited.push(position.learner);
        }
        let index = self.reports.iter().position(|r| r.position.learner == position.learner);
        let index = index.unwrap_or_else(|| {
            self.reports.push(Report {
                position: *position,
                relayed: Instance(0),
                is_fresh: true,
                heard_at: now,
            });
            self.reports.len() - 1
        });
        let report = &mut self.reports[index];
        (report.heard_at, report.is_fresh) = (now, true);
        if self.retention == Retention::Applied {
            let known = &mut report.position;
            known.applied = known.applied.max(position.applied);
        } else {
            // One that was restored begins anew.
            report.position = *position;
        }
        Some(report)
    }

    /// The lowest applied instance of all learners that count, once that is known: nothing is
    /// proposed far beyond it.
    pub(super) const fn slowest(&self) -> Option<Instance> {
        self.slowest
    }

    /// The lowest applied instance of those that have reported; 0 if none has.
    pub(super) fn slowest_reported(&self) -> Instance {
        self.reports.iter().map(|report| report.position.applied).min().unwrap_or_default()
    }

    /// Who counts, for a coordinator that has been one `since`: up to where nothing is needed. `room`
    /// is what the log has left. Asked in every duty cycle, it looks anew only if something is new.
    #[inline]
    fn survey(&mut self, (since, now): (Time, Time), room: LogRoom) -> Option<Instance> {
        let stands = |last: &Survey| last.since == since && last.room == room && now <= last.until;
        if let Some(last) = self.surveyed.0.filter(stands) {
            return last.safe;
        }
        let safe = self.look((since, now), room);
        let until = self.next_silence((since, now));
        self.surveyed = Surveyed(Some(Survey { safe, since, room, until }));
        safe
    }

    /// The last moment at which everybody whose time counts now is still within patience.
    fn next_silence(&self, (since, now): (Time, Time)) -> Time {
        let Retention::Checkpoints { patience, .. } = self.retention else { return Time::NEVER };
        let times = self.reports.iter().map(|report| report.heard_at).chain([since]);
        let ends = times.map(|at| at + patience).filter(|end| *end >= now);
        ends.min().unwrap_or(Time::NEVER)
    }

    /// The learners that count at `now`.
    fn members(&self, now: Time) -> impl Iterator<Item = &Position> {
        let patience = match self.retention {
            Retention::Applied => Duration::MAX,
            Retention::Checkpoints { patience, .. } => patience,
        };
        let is_heard = move |report: &&Report| now.since(report.heard_at) <= patience;
        self.reports.iter().filter(is_heard).map(|report| &report.position)
    }

    /// The learner that has applied least, or was never heard of where all are waited for.
    pub(super) fn hindmost(&self, now: Time) -> Option<u64> {
        let is_silent =
            |learner: &&u64| self.reports.iter().all(|report| report.position.learner != **learner);
        let silent = self.expected.iter().find(is_silent);
        let silent = silent.filter(|_| self.retention == Retention::Applied).copied();
        let slowest = || self.members(now).min_by_key(|position| position.applied);
        silent.or_else(|| slowest().map(|position| position.learner))
    }

    /// Whom the log waits for.
    pub(super) fn holder(&self, now: Time) -> Holder {
        let Retention::Checkpoints { copies, .. } = self.retention else {
            return self.hindmost(now).map_or(Holder::TooFew, Holder::Applies);
        };
        let mut members: Vec<&Position> = self.members(now).collect();
        members.sort_by_key(|position| std::cmp::Reverse(position.checkpointed));
        let Some(kept) = copies.checked_sub(1).and_then(|last| members.get(last)) else {
            return Holder::TooFew;
        };
        match members.iter().min_by_key(|position| position.needed) {
            Some(slowest) if slowest.needed < kept.checkpointed => Holder::Applies(slowest.learner),
            _ => Holder::Checkpoint(kept.learner),
        }
    }

    /// Looks who counts: what all of them have applied, and up to where nothing is needed.
    fn look(&mut self, (since, now): (Time, Time), room: LogRoom) -> Option<Instance> {
        let Retention::Checkpoints { copies, is_strict, patience } = self.retention else {
            let applied = self.reports.iter().map(|report| report.position.applied).min();
            self.slowest = applied.filter(|_| self.reports.len() >= self.expected.len());
            return self.slowest;
        };
        let is_heard = |at: Time| now.since(at) <= patience;
        // What others reported to an earlier coordinator says nothing of now.
        let fresh = self.reports.iter().filter(|report| report.heard_at >= since);
        let fresh = fresh.filter(|report| self.awaited.contains(&report.position.learner));
        if fresh.count() < self.awaited.len() && is_heard(since) {
            return None; // Others may be there that have not been heard yet.
        }
        let members = || self.reports.iter().filter(|report| is_heard(report.heard_at));
        self.can_trim = members().count() >= copies;
        self.slowest = members().map(|report| report.position.applied).min();
        if !self.can_trim || members().all(Report::catches_up) {
            // The state may be with somebody who is silent just now: another worker of a replica
            // needs more than those that are heard, and is heard again.
            return None;
        }
        // The ring does not wait for who catches up: it comes back by a later checkpoint.
        let counts = |report: &&Report| room != LogRoom::Little || !report.catches_up();
        let needed = members().filter(counts).map(|report| report.position.needed).min()?;
        if room != LogRoom::Plenty && !is_strict {
            return Some(needed);
        }
        // The highest instance that is in so many checkpoints: there are few learners.
        let held = |instance: &Instance| {
            let copy = |report: &&Report| report.position.checkpointed >= *instance;
            members().filter(copy).count() >= copies
        };
        let kept = members().map(|report| report.position.checkpointed).filter(held).max()?;
        Some(kept.min(needed))
    }
}

impl<L: Log> Member<L> {
    /// A learner's progress, from itself or passed on by its preferential acceptor.
    pub(super) fn on_position(&mut self, position: &Position, now: Time, out: &mut impl Outbox) {
        let stride = self.config.instances as u64 / 16;
        let coordinator = self.acceptor.current.node;
        let is_known = self.acceptor.current != crate::types::Ballot::ZERO;
        let is_leading = self.coordinator.is_leading();
        let Some(report) = self.acceptor.positions.take(position, now) else {
            self.counters.unknown_learners += 1;
            return;
        };
        let is_due = report.position.applied.0 >= report.relayed.0 + stride;
        if !is_leading && is_known && is_due {
            (report.relayed, report.is_fresh) = (report.position.applied, false);
            let message = Message::Position(report.position);
            self.send(Destination::Node(coordinator), &message, out);
        }
    }

    /// Passes on what the coordinator may not have heard, a new one or after a loss.
    pub(super) fn relay_positions(&mut self, coordinator: NodeId, out: &mut impl Outbox) {
        for index in 0..self.acceptor.positions.reports.len() {
            let keeps_silent = self.config.retention != Retention::Applied;
            let report = &mut self.acceptor.positions.reports[index];
            // Who is silent must not seem to speak.
            if keeps_silent && !report.is_fresh {
                continue;
            }
            (report.relayed, report.is_fresh) = (report.position.applied, false);
            let message = Message::Position(report.position);
            self.send(Destination::Node(coordinator), &message, out);
        }
    }

    /// Forgets everything up to `trim`, which a coordinator says is safe.
    pub(super) fn trim_to(&mut self, trim: Instance) {
        // What a new coordinator needs to count slots is never forgotten: a mark beyond what is known
        // here waits for the next heartbeat.
        self.advance_known();
        self.acceptor.lives.note_trim(trim);
        let trim = trim.min(self.acceptor.known.0);
        if trim <= self.window.trim() {
            return;
        }
        self.note_members(); // it may be forgotten now
        self.window.set_trim(trim);
        let stride = self.config.instances as u64 / 8;
        if trim.0 >= self.acceptor.logged_trim.0 + stride {
            self.log_trim();
        }
    }

    /// Writes how far the log is forgotten.
    pub(super) fn log_trim(&mut self) {
        let trim = self.window.trim();
        self.log.append(&Record::Trim { trim, known: self.acceptor.known });
        self.acceptor.logged_trim = trim;
    }

    /// At the coordinator: raises the trim mark as far as the learners allow.
    pub(super) fn update_trim(&mut self, now: Time) {
        let decided = self.coordinator.decided;
        let safe = if self.config.learners.is_empty() {
            Instance(decided.0.saturating_sub(self.config.instances as u64 / 2))
        } else {
            let used = decided.0.saturating_sub(self.window.trim().0);
            let times = (self.coordinator.stood_at, now);
            let room = LogRoom::of(used, self.config.instances as u64);
            let safe = self.acceptor.positions.survey(times, room);
            safe.unwrap_or_default().min(decided)
        };
        self.trim_to(safe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{NodeId, Random, RingId};

    const MILLI: Duration = Duration::from_millis(1);

    fn positions(retention: Retention) -> Positions {
        let defaults = RingConfig::new(RingId(0), vec![NodeId(0)]);
        Positions::new(&RingConfig { learners: vec![3, 4, 5], retention, ..defaults })
    }

    /// One step of a random history: time passes, a learner may report, the coordinator looks.
    fn step(positions: &mut Positions, random: &mut Random, now: &mut Time, since: Time) {
        *now = *now + MILLI * u32::try_from(random.below(8)).unwrap();
        if random.chance(1, 3) {
            let applied = Instance(random.below(100));
            let [needed, checkpointed] = [0, 1].map(|_| Instance(random.below(100)));
            let learner = 3 + random.below(4);
            let position = Position { applied, needed, checkpointed, learner };
            assert_eq!(positions.take(&position, *now).is_some(), learner < 6);
        }
        let room = [LogRoom::Plenty, LogRoom::Half, LogRoom::Little];
        let room = room[usize::try_from(random.below(16) / 6).unwrap()];
        let mut fresh = positions.clone();
        fresh.surveyed = Surveyed(None);
        let (found, expected) =
            (positions.survey((since, *now), room), fresh.survey((since, *now), room));
        assert_eq!(found, expected);
        assert_eq!(positions.slowest, fresh.slowest);
        assert_eq!(positions.can_trim, fresh.can_trim);
    }

    #[test]
    fn a_survey_that_stands_says_what_a_new_one_would() {
        let patience = 20 * MILLI;
        for is_strict in [false, true] {
            let retention = Retention::Checkpoints { copies: 2, is_strict, patience };
            for retention in [Retention::Applied, retention] {
                let mut random = Random::new(7);
                let (mut positions, mut now, mut since) = (positions(retention), Time(1), Time(1));
                for _ in 0..20_000 {
                    step(&mut positions, &mut random, &mut now, since);
                    since = if random.chance(1, 50) { now } else { since };
                }
            }
        }
    }

    #[test]
    fn a_log_waits_for_who_is_slowest_or_for_the_checkpoint_that_would_be_enough() {
        let patience = 20 * MILLI;
        let at = |milliseconds: u32| Time(1) + MILLI * milliseconds;
        let report =
            |positions: &mut Positions, learner, [applied, checkpointed]: [u64; 2], now| {
                let applied = Instance(applied);
                let checkpointed = Instance(checkpointed);
                let position = Position { applied, needed: applied, checkpointed, learner };
                positions.take(&position, now);
            };
        let mut applied = positions(Retention::Applied);
        report(&mut applied, 3, [5, 0], at(0));
        report(&mut applied, 5, [9, 0], at(0));
        assert_eq!(applied.holder(at(100)), Holder::Applies(4), "nobody has heard of it");
        report(&mut applied, 4, [7, 0], at(100));
        assert_eq!(applied.holder(at(100)), Holder::Applies(3));
        let retention = Retention::Checkpoints { copies: 2, is_strict: true, patience };
        let mut kept = positions(retention);
        report(&mut kept, 3, [50, 40], at(0));
        assert_eq!(kept.holder(at(0)), Holder::TooFew);
        report(&mut kept, 4, [60, 10], at(1));
        assert_eq!(kept.holder(at(1)), Holder::Checkpoint(4));
        report(&mut kept, 5, [70, 30], at(2));
        assert_eq!(kept.holder(at(2)), Holder::Checkpoint(5), "two of three are enough");
        report(&mut kept, 4, [20, 10], at(3));
        assert_eq!(kept.holder(at(3)), Holder::Applies(4));
        assert_eq!((kept.hindmost(at(3)), kept.hindmost(at(22))), (Some(4), Some(4)));
        assert_eq!(kept.holder(at(23)), Holder::TooFew, "only one is heard still");
    }

    #[test]
    fn who_came_with_an_epoch_is_waited_for_once_it_was_heard_of() {
        let patience = 20 * MILLI;
        let retention = Retention::Checkpoints { copies: 1, is_strict: false, patience };
        let mut positions = positions(retention);
        let report = |positions: &mut Positions, learner, applied, now| {
            let (applied, checkpointed) = (Instance(applied), Instance(0));
            let position = Position { applied, needed: applied, checkpointed, learner };
            positions.take(&position, now);
        };
        (3..6).for_each(|learner| report(&mut positions, learner, 10 * learner, Time(1)));
        let survey = |positions: &mut Positions| {
            (positions.survey((Time(1), Time(1)), LogRoom::Half), positions.slowest())
        };
        assert_eq!(survey(&mut positions), (Some(Instance(30)), Some(Instance(30))));
        let defaults = RingConfig::new(RingId(0), vec![NodeId(0)]);
        let next = RingConfig { learners: vec![4, 5, 6], retention, ..defaults };
        positions.take_up(&next);
        assert_eq!(survey(&mut positions), (Some(Instance(40)), Some(Instance(40))), "3 has left");
        report(&mut positions, 6, 20, Time(1));
        assert_eq!(survey(&mut positions), (Some(Instance(20)), Some(Instance(20))));
        let later = Time(1) + MILLI;
        assert_eq!(positions.survey((later, later), LogRoom::Half), None, "6 is awaited, too");
    }

    #[test]
    fn while_too_few_are_heard_nothing_is_forgotten_however_full_the_log_is() {
        let patience = 20 * MILLI;
        let retention = Retention::Checkpoints { copies: 2, is_strict: false, patience };
        let mut positions = positions(retention);
        let at = |milliseconds: u32| Time(1) + MILLI * milliseconds;
        let report = |positions: &mut Positions, learner, applied, now| {
            let (applied, checkpointed) = (Instance(applied), Instance(0));
            let position = Position { applied, needed: applied, checkpointed, learner };
            positions.take(&position, now);
        };
        [(3, 30), (4, 60)].iter().for_each(|(learner, applied)| {
            report(&mut positions, *learner, *applied, at(0));
        });
        let survey = |positions: &mut Positions, now| {
            [LogRoom::Half, LogRoom::Little].map(|room| positions.survey((at(0), now), room))
        };
        assert_eq!(survey(&mut positions, at(1)), [None; 2], "5 is awaited");
        report(&mut positions, 4, 60, at(30));
        assert_eq!(
            survey(&mut positions, at(30)),
            [None; 2],
            "3 may be another worker of its replica"
        );
        report(&mut positions, 3, 40, at(31));
        assert_eq!(survey(&mut positions, at(31)), [Some(Instance(40)); 2]);
    }

    #[test]
    fn a_survey_is_made_anew_only_when_something_is_new() {
        let patience = 20 * MILLI;
        let retention = Retention::Checkpoints { copies: 1, is_strict: false, patience };
        let mut positions = positions(retention);
        let at = |milliseconds: u32| Time(1) + MILLI * milliseconds;
        let position = |applied: u64| Position {
            applied: Instance(applied),
            needed: Instance(applied),
            checkpointed: Instance(0),
            learner: 3,
        };
        // What a survey would find is changed without a report: one that stands does not see it.
        let survey = |positions: &mut Positions, now, room| {
            positions.reports[0].position = position(9);
            positions.survey((at(0), now), room) == Some(Instance(9))
        };
        positions.take(&position(5), at(30));
        assert_eq!(positions.survey((at(0), at(30)), LogRoom::Half), Some(Instance(5)));
        assert!(!survey(&mut positions, at(50), LogRoom::Half), "it stands");
        assert!(survey(&mut positions, at(50), LogRoom::Little), "the room is another");
        positions.take(&position(5), at(40));
        assert_eq!(positions.survey((at(0), at(51)), LogRoom::Half), Some(Instance(5)));
        assert!(!survey(&mut positions, at(60), LogRoom::Half), "it stands");
        assert_eq!(positions.survey((at(0), at(61)), LogRoom::Half), None, "it is silent now");
    }
}
