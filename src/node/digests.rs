//! When a replica asks for a digest point, an ordered marker at which every replica digests its
//! state, and how replicas compare what they find there.

use super::board::Board;
use super::watchdog::Halt;
use crate::replica::{CheckpointTimer, Divergence, SessionTimer, Witnesses};
use crate::types::{Incarnation, NodeId, Time};
use crate::wire::{Command, Control, ControlKind, DigestPoint, DigestPoints};
use std::time::Duration;

/// Points that a replica tells each time: one that comes after a few were lost still does.
const TOLD: usize = 8;
/// How often it tells them although there is none new: the last may have been lost.
const REPEAT: Duration = Duration::from_secs(1);
/// Where no state is that of more than half the others must stop too, and may know it only from this
/// replica: it goes on for so long, and tells its points so often.
const LAST_WORDS: Duration = Duration::from_millis(200);
const HURRY: Duration = Duration::from_millis(20);

/// What the first thread of a replica has ordered now and then, and looks after.
#[derive(Debug, Default)]
pub(super) struct Markers {
    pub(super) digests: Option<DigestTimer>,
    pub(super) sessions: Option<SessionTimer>,
    pub(super) checkpoints: Option<CheckpointTimer>,
    pub(super) comparison: Option<Comparison>,
}

/// The comparison of this replica's digest points with those of others.
#[derive(Debug)]
pub(super) struct Comparison {
    me: String,
    /// The first worker of each of the others, and its name.
    others: Vec<(NodeId, String)>,
    witnesses: Witnesses,
    /// Points of the board that the witnesses know.
    known: u64,
    told_at: Time,
    /// What makes the replica stop, and when it was found.
    found: Option<(Divergence, Time)>,
}

impl Comparison {
    /// Of the replica named `me`.
    pub(super) fn new(me: &str, others: Vec<(NodeId, String)>) -> Self {
        let mut comparison = Self {
            me: me.to_owned(),
            others: Vec::new(),
            witnesses: Witnesses::default(),
            known: 0,
            told_at: Time::ZERO,
            found: None,
        };
        comparison.take_up(others);
        comparison
    }

    /// From now on these are the other replicas.
    pub(super) fn take_up(&mut self, others: Vec<(NodeId, String)>) {
        self.witnesses.take_up(others.iter().map(|(node, _)| *node));
        self.others = others;
    }

    /// The replica at `sender` has told what it found.
    pub(super) fn hear(&mut self, sender: (NodeId, Incarnation), points: &DigestPoints<'_>) {
        if points.making == DigestPoints::MAKING {
            self.witnesses.hear(sender, points.iter());
        }
    }

    /// Takes what this replica has found from the board, tells the others by `tell`, and says
    /// whether the replica must stop.
    pub(super) fn look(
        &mut self,
        board: &Board,
        now: Time,
        mut tell: impl FnMut(NodeId, &DigestPoints<'_>),
    ) -> Result<(), Halt> {
        let settled = board.settled(self.known, |point| self.witnesses.find(point));
        if self.found.is_none() {
            self.found = self.witnesses.look(now).map(|divergence| (divergence, now));
        }
        let pause = if self.found.is_some() { HURRY } else { REPEAT };
        let is_due = settled > self.known || now.since(self.told_at) >= pause;
        self.known = settled;
        if is_due {
            self.told_at = now;
            let mut points = [DigestPoint::default(); TOLD];
            let last = points.iter_mut().zip(self.witnesses.last(TOLD));
            let count = last.map(|(place, point)| *place = point).count();
            if count > 0 {
                let points = DigestPoints::of(&points[..count]);
                self.others.iter().for_each(|(node, _)| tell(*node, &points));
            }
        }
        match &self.found {
            Some((divergence, since))
                if divergence.is_outvoted || now.since(*since) >= LAST_WORDS =>
            {
                Err(self.halt(divergence))
            }
            _ => Ok(()),
        }
    }

    #[cold]
    fn halt(&self, divergence: &Divergence) -> Halt {
        let Divergence { point: DigestPoint { slot, digest }, others, is_outvoted } = divergence;
        let name = |node| {
            let known = self.others.iter().find(|(known, _)| known == node);
            known.map_or("?", |(_, name)| name)
        };
        let mut found = vec![format!("{:016x} at {}", digest.0, self.me)];
        found.extend(
            others.iter().map(|(node, digest)| format!("{:016x} at {}", digest.0, name(node))),
        );
        let found = found.join(", ");
        if *is_outvoted {
            Halt::Outvoted { slot: *slot, found }
        } else {
            Halt::Divided { slot: *slot, found }
        }
    }
}

/// Asks at most once an interval, and only while the state changes. The replica of rank r waits
/// r + 1 intervals for a point of another one, so that one alone asks while it lives.
#[derive(Debug)]
pub(super) struct DigestTimer {
    groups: usize,
    client: u64,
    rank: usize,
    interval: Duration,
    due: Time,
    /// Points that were taken when it looked last.
    taken: u64,
    number: u64,
}

impl DigestTimer {
    /// Of the replica of rank `rank`; `client` is its life. None if the interval is zero.
    pub(super) fn new(interval: Duration, rank: usize, groups: usize, client: u64) -> Option<Self> {
        let ranks = u32::try_from(rank).ok()? + 1;
        let due = Time::ZERO;
        let interval = interval * ranks;
        let timer = Self { groups, client, rank, interval, due, taken: 0, number: 0 };
        (!interval.is_zero()).then_some(timer)
    }

    /// Asks by `multicast` if it is time to.
    pub(super) fn look(&mut self, board: &Board, now: Time, multicast: impl FnOnce(&Command<'_>)) {
        if now < self.due {
            return;
        }
        let is_first = self.due == Time::ZERO;
        self.due = now + self.interval;
        let taken = board.taken();
        // The first replica asks as a rule: there the points that come are its own.
        let is_taken = self.rank > 0 && std::mem::replace(&mut self.taken, taken) != taken;
        if is_first || is_taken || !board.has_changed() {
            return;
        }
        self.number += 1;
        let mut control = Control::new(ControlKind::Digest);
        (control.client, control.number) = (self.client, self.number);
        multicast(&control.command(self.groups));
    }
}
