//! Disks of acceptors that are put back from copies of earlier days (docs/adr/0032), no more of them
//! at a time than the decision promises to stand.
//!
//! Each is a failure like others from the end of its process until a coordinator vouches for its
//! acceptors. So long no other fault may leave it, or any acceptor that is none, with fewer than f + 1
//! that are sound, have a vote, run, hear it and are heard by it: no more than f are down, without a
//! memory, out of reach or such a copy.

use super::faults::index;
use super::host::{Host, Roles, Status};
use super::ordering::{Hosted, Ordering};
use super::planned::{Fault, Planned};
use super::services::SimService;
use super::world::{Event, World};
use crate::ring_paxos::FormerLives;
use crate::types::{RingId, Time};
use std::time::Duration;

/// How old half of the copies are at most: of the same life, as a rule.
const RECENT: Duration = Duration::from_millis(100);

impl<S: SimService> World<S> {
    /// Whether nobody vouches yet for an acceptor whose disks were put back.
    pub(super) const fn has_doubt(&self) -> bool {
        !self.in_doubt.is_empty()
    }

    /// Those that somebody vouches for are acceptors like others.
    pub(super) fn end_doubt(&mut self) {
        let hosts = &self.cluster.hosts;
        self.in_doubt.retain(|host| match &hosts[*host] {
            Host { roles: Roles::Ordering(ordering), status, .. } => {
                *status == Status::Down || !is_sound(ordering)
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
        self.in_doubt.is_empty() || self.is_borne(&self.in_doubt, &fails, &is_cut)
    }

    /// Whether a quorum without `copies` is left to each of them, and to each that could lead at all,
    /// now or when it goes on.
    fn is_borne(
        &self,
        copies: &[usize],
        fails: &dyn Fn(usize) -> bool,
        is_cut: &dyn Fn(usize, usize) -> bool,
    ) -> bool {
        let hosts = self.cluster.acceptor_hosts();
        let fails = |host| fails(host) || copies.contains(&host);
        let hears = |a: usize, b: usize| !self.network.is_cut(a, b) && !is_cut(a, b);
        hosts.iter().all(|host| {
            let f = self.cluster.hosts[*host].epoch.acceptors().len() / 2;
            let is_copy = copies.contains(host);
            let is_reached = |other: &&usize| hears(*host, **other) && hears(**other, *host);
            let could_lead = hosts.iter().filter(is_reached).count() > f; // itself among them
            let company = self.company(*host, &fails, is_cut);
            !could_lead || company >= f + usize::from(is_copy)
        })
    }

    /// An acceptor's process ends, and its next life finds its disks as they were before.
    pub(super) fn put_back(&mut self, host: usize, planned: Planned) {
        let Planned { length, choice, .. } = planned;
        let now = self.queue.now();
        let Some(time) = self.time_of_copy(choice) else { return };
        if !self.may_put_back(host, time) {
            return;
        }
        self.crash_acceptor(host, length);
        self.replace_disks(host, time);
        if choice >> 62 & 1 == 1 {
            // Others have to lead then, perhaps with its promise.
            let at = now + length + self.plan.timing.heartbeat * 2;
            let length = self.plan.timing.election * 4;
            let planned = Planned { fault: Fault::CrashCoordinator, at, length, choice };
            self.queue.schedule(at, Event::Fault { planned });
        }
    }

    /// So long before now.
    pub(super) fn time_before(&self, back: Duration) -> Option<Time> {
        let back = u64::try_from(back.as_nanos()).ok()?;
        self.queue.now().0.checked_sub(back).map(Time)
    }

    fn time_of_copy(&self, choice: u64) -> Option<Time> {
        let latest = self.queue.now().0.checked_sub(1)?;
        let recent = u64::try_from(RECENT.as_nanos()).ok()?;
        let span = if choice >> 63 == 1 { latest.min(recent) } else { latest };
        let back = index(choice, usize::try_from(span).ok()?.max(1));
        Some(Time(latest - back as u64))
    }

    /// An acceptor, and the time of a copy of its disks, where it may be put back when the power goes
    /// everywhere: whoever has heard what it helped to decide loses that, too.
    pub(super) fn copy_for_blackout(&self, choice: u64) -> Option<(usize, Time)> {
        let hosts = self.cluster.acceptor_hosts();
        let host = hosts[index(choice >> 8, hosts.len())];
        let time = self.time_of_copy(choice)?;
        self.may_put_back(host, time).then_some((host, time))
    }

    /// Whether `host` would lack something with its disks of `time`, and the others can make up for it.
    pub(super) fn may_put_back(&self, host: usize, time: Time) -> bool {
        let Host { roles: Roles::Ordering(ordering), status, .. } = &self.cluster.hosts[host]
        else {
            return false;
        };
        let former_lives = self.office.archive.latest().former_lives(&self.plan);
        *status == Status::Running
            && self.is_calm()
            && former_lives == FormerLives::Vouched
            && self.is_borne(&[&[host], &self.in_doubt[..]].concat(), &|_| false, &|_, _| false)
            && ordering.hosted.iter().all(|hosted| hosted.member.has_vote())
            && ordering.hosted.iter().any(|hosted| hosted.member.log().lacks(time))
    }

    /// The disks of `host`, if it is down, become what they were.
    pub(super) fn replace_disks(&mut self, host: usize, time: Time) {
        if self.cluster.hosts[host].status != Status::Down {
            return;
        }
        let now = self.queue.now();
        self.trace.line(now, || format!("host {host} comes back with its disks of {time:?}"));
        self.cluster.put_back(host, time);
        self.in_doubt.push(host);
    }

    /// How many acceptors beside that of `host` are sound and in its reach, in each of its rings.
    fn company(
        &self,
        host: usize,
        fails: &dyn Fn(usize) -> bool,
        is_cut: &dyn Fn(usize, usize) -> bool,
    ) -> usize {
        let Roles::Ordering(ordering) = &self.cluster.hosts[host].roles else { return 0 };
        let is_cut = |a, b| self.network.is_cut(a, b) || is_cut(a, b);
        let reached = ordering.hosted.iter().map(|hosted| {
            let others = self.sound(host, hosted.ring).map(|(other, _)| other);
            let is_reached =
                |other: &usize| !fails(*other) && !is_cut(host, *other) && !is_cut(*other, host);
            others.filter(is_reached).count()
        });
        reached.min().unwrap_or(0)
    }

    /// The acceptors of `ring` beside that of `host` that run, have a vote, and are no copies.
    fn sound(&self, host: usize, ring: RingId) -> impl Iterator<Item = (usize, &Hosted)> {
        let hosts = self.cluster.acceptor_hosts().iter().copied();
        let others = hosts.filter(move |other| *other != host && !self.in_doubt.contains(other));
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

/// Whether all of its acceptors are like those that never ended.
fn is_sound(ordering: &Ordering) -> bool {
    let mut members = ordering.hosted.iter().map(|hosted| &hosted.member);
    members.all(|member| member.has_vote() && member.is_vouched_for())
}
