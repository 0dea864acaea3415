//! Disks of acceptors that are put back from copies of earlier days (docs/adr/0032), no more of them
//! at a time than the decision promises to stand.
//!
//! Each is a failure like others from the end of its process until its acceptors have a vote again.
//! So long no other fault may leave it with fewer than f + 1 acceptors that have a vote, run, hear it
//! and are heard by it: no more than f are down, without a memory, out of reach or such a copy. And
//! these have heard of what was decided since the copy was made: each knows of an instance that it lacks.

use super::disk::Lack;
use super::faults::index;
use super::host::{Host, Roles, Status};
use super::ordering::{Hosted, Ordering};
use super::planned::{Fault, Planned};
use super::services::SimService;
use super::world::{Event, World};
use crate::types::{RingId, Time};
use std::time::Duration;

/// How old a copy is at least, in heartbeats: what it lacks was told more than once.
const LEAST: u32 = 10;
/// How old half of the copies are at most, beyond that: of the same life, as a rule.
const RECENT: Duration = Duration::from_millis(100);

impl<S: SimService> World<S> {
    /// Whether an acceptor whose disks were put back has no vote yet.
    pub(super) const fn has_doubt(&self) -> bool {
        !self.in_doubt.is_empty()
    }

    /// Those that have a vote again are acceptors like others.
    pub(super) fn end_doubt(&mut self) {
        let hosts = &self.cluster.hosts;
        self.in_doubt.retain(|host| match &hosts[*host] {
            Host { roles: Roles::Ordering(ordering), status, .. } => {
                *status == Status::Down || !has_votes(ordering)
            }
            _ => false,
        });
    }

    /// Whether old copies have enough others beside them even if more `fails`, and links are cut.
    pub(super) fn bears(
        &self,
        fails: impl Fn(usize) -> bool,
        is_cut: impl Fn(usize, usize) -> bool,
    ) -> bool {
        self.in_doubt.iter().all(|copy| self.has_company(*copy, &fails, &is_cut))
    }

    /// An acceptor's process ends, and its next life finds its disks as they were before.
    pub(super) fn put_back(&mut self, host: usize, planned: Planned) {
        let Planned { length, choice, .. } = planned;
        let now = self.queue.now();
        let Some(time) = self.time_of_copy(choice) else { return };
        let has_company = self.has_company(host, &|_| false, &|_, _| false);
        let is_asked = self.office.archive.latest().keeps_lives();
        if !self.is_calm() || !is_asked || !has_company || !self.is_known(host, time) {
            return;
        }
        self.crash_acceptor(host, length);
        if self.cluster.hosts[host].status != Status::Down {
            return;
        }
        self.trace.line(now, || format!("host {host} comes back with its disks of {time:?}"));
        self.cluster.put_back(host, time);
        self.in_doubt.push(host);
        if choice >> 62 & 1 == 1 {
            // Others have to lead then, perhaps with its promise.
            let at = now + length + self.plan.timing.heartbeat * 2;
            let length = self.plan.timing.election * 4;
            let planned = Planned { fault: Fault::CrashCoordinator, at, length, choice };
            self.queue.schedule(at, Event::Fault { planned });
        }
    }

    fn time_of_copy(&self, choice: u64) -> Option<Time> {
        let least = self.plan.timing.heartbeat * LEAST;
        let latest = self.queue.now().0.checked_sub(u64::try_from(least.as_nanos()).ok()?)?;
        let recent = u64::try_from(RECENT.as_nanos()).ok()?;
        let span = if choice >> 63 == 1 { latest.min(recent) } else { latest };
        let back = index(choice, usize::try_from(span).ok()?.max(1));
        Some(Time(latest - back as u64))
    }

    /// Whether a quorum beside `copy` is sound and in reach in each of its rings.
    fn has_company(
        &self,
        copy: usize,
        fails: &dyn Fn(usize) -> bool,
        is_cut: &dyn Fn(usize, usize) -> bool,
    ) -> bool {
        let Host { roles: Roles::Ordering(ordering), epoch, .. } = &self.cluster.hosts[copy] else {
            return true;
        };
        let count = epoch.acceptors().len();
        let least = count / 2 + 1;
        let is_cut = |a, b| self.network.is_cut(a, b) || is_cut(a, b);
        ordering.hosted.iter().all(|hosted| {
            let others = self.sound(copy, hosted.ring).map(|(other, _)| other);
            let reached = others
                .filter(|other| !fails(*other) && !is_cut(copy, *other) && !is_cut(*other, copy));
            reached.count() >= least
        })
    }

    /// Whether the sound ones beside `host` have heard of what it would lack with its disks of `time`,
    /// and there is something.
    fn is_known(&self, host: usize, time: Time) -> bool {
        let Roles::Ordering(ordering) = &self.cluster.hosts[host].roles else { return false };
        let mut lacks_something = false;
        let mut hosted = ordering.hosted.iter();
        let is_known = hosted.all(|hosted| match hosted.member.log().lacks(time) {
            Lack::Nothing => true,
            Lack::Other => false,
            Lack::From(first) => {
                lacks_something = true;
                self.sound(host, hosted.ring).all(|(_, other)| other.member.decided() >= first)
            }
        });
        is_known && lacks_something && has_votes(ordering)
    }

    /// The acceptors of `ring` beside that of `copy` that run, have a vote, and had it always.
    fn sound(&self, copy: usize, ring: RingId) -> impl Iterator<Item = (usize, &Hosted)> {
        let hosts = self.cluster.acceptor_hosts().iter().copied();
        let others = hosts.filter(move |other| *other != copy && !self.in_doubt.contains(other));
        others.filter_map(move |other| {
            let Host { roles: Roles::Ordering(ordering), status, .. } = &self.cluster.hosts[other]
            else {
                return None;
            };
            let mut hosted = ordering.hosted.iter();
            let hosted = hosted.find(|hosted| hosted.ring == ring && hosted.member.has_vote())?;
            let is_sound = *status == Status::Running && ordering.leaving.is_none();
            is_sound.then_some((other, hosted))
        })
    }
}

fn has_votes(ordering: &Ordering) -> bool {
    ordering.hosted.iter().all(|hosted| hosted.member.has_vote())
}
