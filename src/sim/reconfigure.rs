//! Members come and go: what the world does about it. Changes are put forward as an operator may:
//! once the epoch has begun in every ring, and if enough of those that stay have a vote, and one the
//! state (`psmr member` looks at the same).

use super::changes::{Change, Deed};
use super::cluster::Cluster;
use super::faults::index;
use super::host::{Host, Roles, Status};
use super::lives;
use super::members::{Epoch, HomeId};
use super::ordering::{Hosted, Ordering};
use super::post::{Office, Post};
use super::registrar::{doors_of, screen};
use super::services::SimService;
use super::world::{Event, World};
use crate::config::{Kind, Members};
use crate::ring_paxos::registrar::{self, Leaving};
use crate::types::RingId;
use crate::wire::NEWEST;
use std::rc::Rc;
use std::time::Duration;

/// When a change that cannot be put forward is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// No cluster has more members of a kind.
const MOST: usize = 7;

impl<S: SimService> World<S> {
    /// The start of a duty cycle: a later epoch is taken up. Says whether the host goes on.
    pub(super) fn take_up(&mut self, index: usize) -> bool {
        let now = self.queue.now();
        let Cluster { hosts, homes, doors, .. } = &mut self.cluster;
        let Host { roles, identity, home, epoch, .. } = &mut hosts[index];
        let latest = &homes[home.0].epoch;
        let is_new = latest.number() > epoch.number();
        if is_new {
            (*epoch, identity.epoch) = (Rc::clone(latest), latest.number());
            identity.version = latest.members.wire;
            self.trace.line(now, || format!("host {index} lives in epoch {}", latest.number()));
        }
        match roles {
            Roles::Ordering(ordering) => {
                let me = epoch.acceptor_at(*home);
                if is_new && ordering.hosted.iter().any(|hosted| me != Some(hosted.node)) {
                    let stay = doors_of(epoch.acceptor_homes(), doors);
                    ordering.leaving = Some(Leaving::new(&epoch.told(), stay, now));
                }
                if ordering.leaving.as_ref().is_some_and(|leaving| leaving.is_over(now)) {
                    self.trace.line(now, || format!("host {index} has left"));
                    self.cluster.vacate(index);
                    return false;
                }
                let stays = is_new && ordering.leaving.is_none();
                for hosted in ordering.hosted.iter_mut().filter(|_| stays) {
                    let Hosted { ring, node, member, counter, .. } = hosted;
                    let office = &mut self.office;
                    let mut out = Post { me: *node, identity, counter, office };
                    member.take_up(epoch.of_ring(&self.plan, *ring), now, &mut out);
                }
            }
            Roles::Worker(worker) if is_new => {
                let Some(replica) = epoch.replica_at(*home) else {
                    let replica = worker.place.0;
                    self.end_for_good(replica);
                    return false;
                };
                worker.proposals.take_up(&epoch.acceptors());
                worker.subscription.take_up(|_| lives::preferred(epoch, replica));
                let peers = lives::peers(&self.plan, epoch, replica);
                worker.worker.take_up(epoch.replica_set(), peers);
                if let Some(comparison) = &mut worker.comparison {
                    comparison.witnesses.take_up(epoch.replica_set());
                }
            }
            Roles::Client(client) if is_new => client.take_up(epoch),
            Roles::Operator(operator) if is_new => operator.take_up(),
            Roles::Worker(_) | Roles::Client(_) | Roles::Operator(_) | Roles::Vacant => {}
        }
        true
    }

    /// Takes out of what has arrived what concerns epochs.
    pub(super) fn screen(&mut self, index: usize) {
        if !self.plan.has_changes() {
            return;
        }
        let now = self.queue.now();
        let Cluster { hosts, homes, doors, .. } = &mut self.cluster;
        let Host { roles, identity, home, registrar, .. } = &mut hosts[index];
        let (home, known) = (*home, &homes[home.0].epoch);
        let mut leaving = match roles {
            Roles::Ordering(ordering) => ordering.leaving.take(),
            _ => None,
        };
        let Some(mut post) = roles.post(identity, &mut self.office) else { return };
        let known = (&**known, &**doors);
        let of_now = (leaving.as_mut(), now);
        let news = screen(registrar, &mut self.received, known, of_now, &mut post);
        if let Roles::Ordering(ordering) = roles {
            ordering.leaving = leaving;
        }
        if let Some(record) = news {
            self.adopt(home, &record);
        }
    }

    /// The end of a duty cycle: whoever has seen members decided tells all that it knows.
    pub(super) fn announce(&mut self, index: usize) {
        let Host { roles, home, .. } = &mut self.cluster.hosts[index];
        let Roles::Ordering(ordering) = roles else { return };
        let Some(record) = ordering.decided.take() else { return };
        let home = *home;
        let before = Rc::clone(&self.cluster.homes[home.0].epoch);
        self.adopt(home, &record);
        let Cluster { hosts, homes, doors, .. } = &mut self.cluster;
        let Host { roles, identity, .. } = &mut hosts[index];
        let Some(mut post) = roles.post(identity, &mut self.office) else { return };
        registrar::tell(&homes[home.0].epoch.told(), doors_of(before.homes(), doors), &mut post);
    }

    /// A process writes down who the members are, if it did not know; its threads look at once.
    fn adopt(&mut self, home: HomeId, record: &[u8]) {
        let now = self.queue.now();
        let Office { archive, violations, .. } = &mut self.office;
        let before = archive.latest().number();
        let Some(epoch) = archive.take(record, violations) else { return };
        let latest = Rc::clone(archive.latest());
        if latest.number() > before {
            self.trace.line(now, || format!("epoch {} is {:?}", latest.number(), latest.members));
            for home in latest.homes().filter(|home| !self.cluster.homes[home.0].has_lived) {
                let delay = Duration::from_micros(100 << self.random.below(12));
                self.queue.schedule(now + delay, Event::Join { home });
            }
        }
        let place = &mut self.cluster.homes[home.0];
        if epoch.number() > place.epoch.number() {
            place.epoch = epoch;
            place.hosts.clone().into_iter().for_each(|host| self.schedule_run(host));
        }
    }

    /// The process of a new member begins, if it is one still.
    pub(super) fn join(&mut self, home: HomeId) {
        let now = self.queue.now();
        let epoch = Rc::clone(self.office.archive.latest());
        if self.cluster.homes[home.0].has_lived || !epoch.has(home) {
            return;
        }
        self.trace.line(now, || format!("home {} begins in epoch {}", home.0, epoch.number()));
        let hosts = self.cluster.join(&self.plan, (home, &epoch), now, &mut self.random);
        if epoch.replica_at(home).is_some() {
            self.checks.on_restart(self.cluster.replicas.len() - 1, None, &mut self.office);
        }
        hosts.into_iter().for_each(|host| self.schedule_run(host));
    }

    /// The process of a replica ends that is no member any more.
    pub(super) fn end_for_good(&mut self, replica: usize) {
        let now = self.queue.now();
        self.trace.line(now, || format!("replica {replica} has left"));
        self.cluster.replicas[replica].is_live = false;
        for host in self.cluster.replicas[replica].hosts.clone() {
            self.cluster.vacate(host);
        }
    }

    /// After the faults: new members begin, and who knows of no member that is left is told by hand.
    pub(super) fn rescue(&mut self) {
        let latest = Rc::clone(self.office.archive.latest());
        if !self.plan.has_changes() || latest.number() == 1 {
            return;
        }
        latest.homes().for_each(|home| self.join(home));
        let homes = &mut self.cluster.homes;
        for place in 0..homes.len() {
            let known = Rc::clone(&homes[place].epoch);
            let knows_better =
                |home: HomeId| latest.has(home) && homes[home.0].epoch.number() > known.number();
            if known.number() < latest.number() && !known.homes().any(knows_better) {
                homes[place].epoch = Rc::clone(&latest);
            }
        }
    }

    /// Nobody lives in another epoch than the last one, and no other one is to come: a failure is
    /// one among these members.
    pub(super) fn is_calm(&self) -> bool {
        let archive = &self.office.archive;
        !self.plan.has_changes()
            || (self.cluster.is_settled(archive) && self.pending <= archive.latest().number())
    }

    /// Somebody wants other members: puts it forward, or tries again later.
    pub(super) fn change(&mut self, change: Change) {
        let now = self.queue.now();
        if self.is_healed {
            return;
        }
        // An old copy and a newcomer would be two that lack a memory.
        let wanted = if self.has_doubt() { Vec::new() } else { self.wanted(&change) };
        let latest = Rc::clone(self.office.archive.latest());
        let (host, _) = self.cluster.operator().expect("there is one where members change");
        let home = self.cluster.hosts[host].home;
        // It looks who the members are before it does anything.
        self.cluster.homes[home.0].epoch = Rc::clone(&latest);
        self.take_up(host);
        let (_, operator) = self.cluster.operator().expect("it is still there");
        if wanted.is_empty() || !operator.is_idle() {
            return self.queue.schedule(now + RETRY, Event::Change { change });
        }
        self.trace.line(now, || format!("put forward: {wanted:?}"));
        self.pending = latest.number() + 1;
        operator.put_forward(wanted, now + change.patience, now);
        self.schedule_run(host);
    }

    /// What may be put forward now of `change`, and of what somebody else wants.
    fn wanted(&self, change: &Change) -> Vec<Members> {
        let first = self.next_members(change, &[]);
        let rival = first.as_ref().filter(|_| change.has_rival).and_then(|first| {
            let deed = match change.deed {
                Deed::Add => Deed::Replace,
                Deed::Remove => Deed::Add,
                Deed::Replace => Deed::Remove,
            };
            let choice = change.choice.rotate_left(23);
            let members = first.acceptors.iter().chain(&first.replicas);
            let taken: Vec<HomeId> = members.map(HomeId::of).collect();
            self.next_members(&Change { deed, choice, ..*change }, &taken)
        });
        first.into_iter().chain(rival).collect()
    }

    fn next_members(&self, change: &Change, taken: &[HomeId]) -> Option<Members> {
        let Change { deed, kind, choice, .. } = *change;
        let latest = self.office.archive.latest();
        let members = &latest.members;
        if !self.plan.ring_ids().all(|ring| self.is_established(latest, ring)) {
            return None;
        }
        let comes = self.cluster.spare(&self.plan, kind, taken);
        let goes = match kind {
            Kind::Acceptor => self.acceptor_of(change, latest)?,
            Kind::Replica => self.replica_of(change, latest)?,
        };
        let (of_kind, least) = match kind {
            Kind::Acceptor => (members.acceptors.len(), 3 - index(choice, 2)),
            Kind::Replica => (members.replicas.len(), 1),
        };
        let next = match deed {
            _ if change.is_of_version() => members.upgrade(NEWEST),
            Deed::Add if of_kind < MOST => {
                let home = comes?;
                members.add(kind, &home.name(), home.address())
            }
            Deed::Remove if of_kind > least => members.remove(&goes.name()),
            Deed::Replace => {
                let home = comes?;
                members.replace(&goes.name(), &home.name(), home.address())
            }
            Deed::Add | Deed::Remove => return None,
        };
        let next = next.ok()?;
        let has_quorum = |ring| {
            let homes = next.acceptors.iter().map(HomeId::of);
            let staying = homes.filter(|home| self.has_vote(latest, *home, ring)).count();
            staying > next.acceptors.len() / 2
        };
        self.plan.ring_ids().all(has_quorum).then_some(next)
    }

    /// The acceptor that a change concerns.
    fn acceptor_of(&self, change: &Change, latest: &Epoch) -> Option<HomeId> {
        let homes: Vec<HomeId> = latest.acceptor_homes().collect();
        if change.is_of_coordinator() {
            let host = self.coordinator(change.choice)?;
            let home = self.cluster.hosts[host].home;
            return Some(home).filter(|home| homes.contains(home));
        }
        Some(homes[index(change.choice, homes.len())])
    }

    /// The replica that a change concerns: others have its state.
    fn replica_of(&self, change: &Change, latest: &Epoch) -> Option<HomeId> {
        let replica = index(change.choice, self.cluster.replicas.len());
        let home = self.cluster.hosts[self.cluster.replicas[replica].hosts.start].home;
        (latest.has(home) && self.has_others(replica)).then_some(home)
    }

    /// Whether a ballot of the epoch leads `ring`, and has decided all that it inherited.
    fn is_established(&self, latest: &Epoch, ring: RingId) -> bool {
        self.hosted(latest, ring).any(|(_, hosted)| hosted.member.is_established())
    }

    /// Whether the acceptor at `home` answers and has a vote in `ring`.
    fn has_vote(&self, latest: &Epoch, home: HomeId, ring: RingId) -> bool {
        let mut hosted = self.hosted(latest, ring);
        hosted.any(|(at, hosted)| at == home && hosted.member.has_vote())
    }

    /// The acceptors of `ring` that run in `latest`.
    fn hosted<'a>(
        &'a self,
        latest: &'a Epoch,
        ring: RingId,
    ) -> impl Iterator<Item = (HomeId, &'a Hosted)> {
        let hosts = self.cluster.acceptor_hosts().iter().map(|host| &self.cluster.hosts[*host]);
        let live = hosts.filter_map(|host| match &host.roles {
            Roles::Ordering(ordering) if host.status == Status::Running => {
                Some((host, &**ordering))
            }
            _ => None,
        });
        let is_in = |(host, ordering): &(&Host<S>, &Ordering)| {
            host.epoch.number() == latest.number() && ordering.leaving.is_none()
        };
        live.filter(is_in).flat_map(move |(host, ordering)| {
            let hosted = ordering.hosted.iter().filter(move |hosted| hosted.ring == ring);
            hosted.map(|hosted| (host.home, hosted))
        })
    }
}
