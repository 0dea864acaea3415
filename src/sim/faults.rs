//! Faults of processes and links: whom they hit, and how they end.
//!
//! Faults stay within what the protocol promises to survive: without a disk at most f acceptors of
//! a ring are down or without memory at once, and one replica lives. What disks that were put back
//! from copies bear is in `copies`.

use super::cluster::{Keeps, Replica};
use super::host::{Host, Roles, Status};
use super::ordering::Hosted;
use super::planned::{Fault, Planned};
use super::services::SimService;
use super::world::{Event, World};
use crate::types::RingId;
use std::time::Duration;

impl<S: SimService> World<S> {
    /// A fault of the plan begins.
    pub(super) fn fault(&mut self, planned: Planned) {
        let Planned { fault, length, choice, .. } = planned;
        let coordinator = self.coordinator(choice);
        let acceptors = self.cluster.acceptor_hosts().to_vec();
        let any = index(choice, self.cluster.hosts.len());
        let some_acceptor = acceptors[index(choice, acceptors.len())];
        match fault {
            Fault::CrashAcceptor => self.crash_acceptor(some_acceptor, length),
            Fault::CrashCoordinator => {
                if let Some(host) = coordinator {
                    self.crash_acceptor(host, length);
                }
            }
            Fault::CrashMany => self.crash_many(choice, length),
            Fault::PowerCut if self.plan.is_durable => {
                self.crash_acceptors(length, |_, _| Duration::ZERO);
            }
            Fault::PowerCut => {}
            Fault::Blackout => self.black_out(length, choice),
            Fault::PowerCutAtDecision => self.armed = Some(planned),
            Fault::OldCopy => self.put_back(some_acceptor, planned),
            Fault::HalfMute => {
                let Some(host) = coordinator else { return };
                self.cut(length, |a, b| a == host && side(choice, b));
                if choice >> 62 > 0 {
                    let fault = Fault::CrashMany;
                    let planned = Planned { fault, at: self.queue.now() + length, ..planned };
                    self.queue.schedule(planned.at, Event::Fault { planned });
                }
            }
            Fault::CrashReplica => self.crash_replica(index(choice, self.cluster.replicas.len())),
            Fault::RestartReplica => {
                let keeps = if choice >> 63 == 1 { Keeps::Checkpoint } else { Keeps::Nothing };
                self.end_replica(index(choice, self.cluster.replicas.len()), keeps, length);
            }
            Fault::RestartClient => {
                self.restart_client(index(choice, self.plan.load.clients), length);
            }
            Fault::SilenceClient => {
                let client = index(choice, self.plan.load.clients);
                self.pause(self.cluster.client_host(client), length);
            }
            Fault::CloseSessions => self.close_sessions(index(choice, self.plan.load.clients)),
            Fault::Pause => self.pause(any, length),
            Fault::PauseCoordinator => {
                if let Some(host) = coordinator {
                    self.pause(host, length);
                }
            }
            Fault::Partition => self.cut(length, |a, b| side(choice, a) != side(choice, b)),
            Fault::PartitionOneWay => self.cut(length, |a, b| side(choice, a) && !side(choice, b)),
            Fault::Isolate => self.cut(length, |a, b| a == any || b == any),
            Fault::IsolateOneWay => {
                let is_deaf = choice >> 63 == 1;
                self.cut(length, |a, b| if is_deaf { b == any } else { a == any });
            }
        }
    }

    /// A host that stood still goes on.
    pub(super) fn wake(&mut self, host: usize) {
        let now = self.queue.now();
        if matches!(self.cluster.hosts[host].status, Status::Paused(until) if until <= now) {
            self.cluster.hosts[host].status = Status::Running;
            self.trace.line(now, || format!("host {host} goes on"));
            self.schedule_run(host);
        }
    }

    /// An acceptor's process begins another life.
    pub(super) fn restart(&mut self, host: usize) {
        if self.cluster.hosts[host].status != Status::Down {
            return;
        }
        let now = self.queue.now();
        let home = self.cluster.hosts[host].home;
        if self.cluster.homes[home.0].epoch.acceptor_at(home).is_none() {
            return self.cluster.vacate(host); // It finds that it is no member any more.
        }
        self.trace.line(now, || format!("host {host} restarts"));
        self.cluster.restart(&self.plan, host, now, &mut self.random);
        self.schedule_run(host);
    }

    /// All faults end.
    pub(super) fn heal(&mut self) {
        let now = self.queue.now();
        self.trace.line(now, || "everything heals".to_owned());
        self.is_healed = true;
        self.network.heal();
        for host in 0..self.cluster.hosts.len() {
            if let Status::Paused(_) = self.cluster.hosts[host].status {
                self.cluster.hosts[host].status = Status::Paused(now);
                self.wake(host);
            }
            if self.cluster.acceptor_hosts().contains(&host) {
                self.restart(host);
            }
        }
        (0..self.cluster.replicas.len()).for_each(|replica| self.restart_replica(replica));
        for host in &mut self.cluster.hosts {
            if let Roles::Worker(worker) = &mut host.roles
                && let Some(keeper) = &mut worker.keeper
            {
                keeper.heal();
            }
        }
        if let Some((_, operator)) = self.cluster.operator() {
            operator.insist();
        }
        self.queue.schedule(now, Event::Look);
    }

    /// The power goes at the end of a duty cycle in which a coordinator on `host` has decided something,
    /// while its disk is writing: what is decided may be on the disks of those alone that voted.
    pub(super) fn strike(&mut self, host: usize) {
        let Some(Planned { length, choice, .. }) = self.armed else { return };
        let Host { roles: Roles::Ordering(ordering), epoch, .. } = &mut self.cluster.hosts[host]
        else {
            return;
        };
        let is_due = |hosted: &mut Hosted| {
            hosted.has_decided && hosted.member.log_mut().next_completion().is_some()
        };
        let Some(hosted) = ordering.hosted.iter_mut().find_map(|h| is_due(h).then_some(h)) else {
            return;
        };
        let (ring, layout, epoch) = (hosted.ring, *hosted.member.layout(), epoch.clone());
        self.armed = None;
        let voters = layout.members().split_last().map_or(&[][..], |(_, voters)| voters);
        let voters: Vec<_> =
            voters.iter().filter_map(|node| self.cluster.route(&epoch, *node, ring)).collect();
        // One of them comes back without what was decided, or all come back last: long enough for the
        // others to begin another ballot.
        let forgetful = voters.get(index(choice >> 8, voters.len().max(1)));
        let copy = forgetful.filter(|_| choice >> 62 & 1 == 1).and_then(|host| {
            let time = self.time_before(Duration::from_micros(1 << (choice >> 16 & 15)))?;
            self.may_put_back(*host, time).then_some((*host, time))
        });
        let late = self.plan.timing.election * 8;
        self.crash_acceptors(length, |world, host| match copy {
            None if voters.contains(&host) => late,
            None => Duration::ZERO,
            Some(_) => world.apart(host, choice),
        });
        if let Some((host, time)) = copy {
            self.replace_disks(host, time);
        }
    }

    /// All acceptors at once, for `length` and how much each is `late` beyond that.
    fn crash_acceptors(&mut self, length: Duration, late: impl Fn(&Self, usize) -> Duration) {
        for host in self.cluster.acceptor_hosts().to_vec() {
            let length = length + late(self, host) + Duration::from_micros(host as u64 * 90);
            self.crash_acceptor(host, length);
        }
    }

    /// How much later than others a host comes back, so that one of those that are sound is still
    /// asking while others stand: no later than they wait for it.
    fn apart(&self, host: usize, choice: u64) -> Duration {
        self.plan.timing.election * u32::try_from(choice >> (host % 14 * 2) & 3).expect("two bits")
            / 2
    }

    pub(super) fn crash_acceptor(&mut self, host: usize, length: Duration) {
        let now = self.queue.now();
        if self.is_healed || self.cluster.hosts[host].status != Status::Running {
            return;
        }
        if !self.plan.is_durable && !self.can_lose(host) {
            return;
        }
        if !self.bears(|other| other == host, |_, _| false) {
            return;
        }
        // Who is removed does not come back: it would be a failure for good.
        let home = self.cluster.hosts[host].home;
        if self.cluster.homes[home.0].epoch.acceptor_at(home).is_none() {
            return;
        }
        self.faults += 1;
        self.trace.line(now, || format!("host {host} crashes for {length:?}"));
        self.cluster.crash(host);
        let host = u16::try_from(host).expect("few hosts");
        self.queue.schedule(now + length, Event::Restart { host });
    }

    /// A coordinator and the acceptors behind it, f in all.
    fn crash_many(&mut self, choice: u64, length: Duration) {
        let Some((ring, host)) = self.leading(choice) else { return };
        let Roles::Ordering(ordering) = &self.cluster.hosts[host].roles else { return };
        let hosted = ordering.hosted.iter().find(|hosted| hosted.ring == ring);
        let Some(layout) = hosted.map(|hosted| *hosted.member.layout()) else { return };
        self.crash_acceptor(host, length);
        // The next members of the ring, or those after them, until f are down.
        let epoch = self.cluster.hosts[host].epoch.clone();
        let f = (epoch.acceptors().len() - 1) / 2;
        let members = layout.members();
        let others = members.iter().rev().skip(1 + usize::from(choice >> 61 & 1 == 1));
        for member in others.take(f.saturating_sub(1)) {
            if let Some(host) = self.cluster.route(&epoch, *member, ring) {
                self.crash_acceptor(host, length * 2);
            }
        }
    }

    /// Whether every ring has a quorum of acceptors with memory beside those of `host`: of the last
    /// epoch, if nobody lives in another one and none is to come.
    fn can_lose(&self, host: usize) -> bool {
        if !self.is_calm() {
            return false;
        }
        let quorum = self.office.archive.latest().acceptors().len() / 2 + 1;
        let mut left = vec![0; self.plan.rings()];
        for (index, other) in self.cluster.hosts.iter().enumerate() {
            let Host { roles: Roles::Ordering(ordering), status, .. } = other else { continue };
            for hosted in &ordering.hosted {
                let is_lost = index == host || *status == Status::Down || hosted.member.is_inert();
                left[usize::from(hosted.ring.0)] += usize::from(!is_lost);
            }
        }
        left.into_iter().all(|left| left >= quorum)
    }

    fn crash_replica(&mut self, replica: usize) {
        let is_live = self.cluster.replicas[replica].is_live;
        if self.is_healed || !is_live || !self.is_calm() || !self.has_others(replica) {
            return;
        }
        let now = self.queue.now();
        self.faults += 1;
        self.trace.line(now, || format!("replica {replica} crashes"));
        self.cluster.replicas[replica].is_live = false;
        for host in self.cluster.replicas[replica].hosts.clone() {
            self.cluster.hosts[host].status = Status::Down;
            self.cluster.hosts[host].inbox.clear();
        }
    }

    /// Whether another replica has its state and serves. One that is not heard for a while counts as
    /// gone: acceptors forget what the others alone have, so these are the last then.
    pub(super) fn has_others(&self, replica: usize) -> bool {
        let mut others = (0..self.cluster.replicas.len()).filter(|other| *other != replica);
        let is_heard = |host: usize| {
            let mut acceptors = self.cluster.acceptor_hosts().iter();
            self.cluster.hosts[host].status == Status::Running
                && !acceptors.any(|acceptor| self.network.is_cut(host, *acceptor))
        };
        others.any(|other| {
            self.cluster.is_healthy(other)
                && self.cluster.replicas[other].hosts.clone().all(is_heard)
                && self.cluster.covers(other, replica)
        })
    }

    fn end_replica(&mut self, replica: usize, keeps: Keeps, length: Duration) {
        let is_live = self.cluster.is_healthy(replica);
        if self.is_healed || !is_live || !self.is_calm() || !self.has_others(replica) {
            return;
        }
        self.stop_replica(replica, keeps, length);
    }

    fn stop_replica(&mut self, replica: usize, keeps: Keeps, length: Duration) {
        let now = self.queue.now();
        self.faults += 1;
        self.has_wiped |= keeps == Keeps::Nothing;
        self.trace.line(now, || format!("replica {replica} ends for {length:?}, leaves {keeps:?}"));
        self.cluster.end_replica(replica, keeps);
        self.queue.schedule(now + length, Event::RestartReplica { replica });
    }

    /// All processes with disks end. What is in none of the checkpoints is in the logs, unless a
    /// replica has lost its own: then the others may not have kept theirs yet.
    fn black_out(&mut self, length: Duration, choice: u64) {
        if self.is_healed || self.has_wiped || !self.is_calm() || self.has_doubt() {
            return;
        }
        let copy = if choice >> 62 & 1 == 1 { self.copy_for_blackout(choice) } else { None };
        self.crash_acceptors(length, |world, host| {
            copy.map_or(Duration::ZERO, |_| world.apart(host, choice))
        });
        if let Some((host, time)) = copy {
            self.replace_disks(host, time);
        }
        for replica in 0..self.cluster.replicas.len() {
            let Replica { is_live, hosts, .. } = &self.cluster.replicas[replica];
            if *is_live && self.cluster.hosts[hosts.start].status != Status::Down {
                // Some come back before there is anybody to ask, others long after.
                let length =
                    length * u32::try_from(choice >> (replica % 31 * 2) & 3).expect("two bits");
                self.stop_replica(replica, Keeps::Checkpoint, length + Duration::from_micros(70));
            }
        }
    }

    /// A replica's process begins another life.
    pub(super) fn restart_replica(&mut self, replica: usize) {
        let hosts = self.cluster.replicas[replica].hosts.clone();
        let is_down = self.cluster.hosts[hosts.start].status == Status::Down;
        if !is_down || !self.cluster.replicas[replica].is_live {
            return;
        }
        let now = self.queue.now();
        let home = self.cluster.hosts[hosts.start].home;
        if self.cluster.homes[home.0].epoch.replica_at(home).is_none() {
            return self.end_for_good(replica); // It finds that it is no member any more.
        }
        let checkpoint = self.cluster.begin_replica(&self.plan, replica, now, &mut self.random);
        let at = checkpoint.as_ref().map(|checkpoint| checkpoint.slot());
        self.trace.line(now, || format!("replica {replica} begins again, at {at:?}"));
        self.checks.on_restart(replica, checkpoint.as_deref(), &mut self.office);
        for host in hosts {
            self.schedule_run(host);
        }
    }

    /// A client's process ends, and another one goes on with its sessions; what the former one had
    /// open may have been executed, or may be.
    fn restart_client(&mut self, number: usize, length: Duration) {
        let host = self.cluster.client_host(number);
        if self.is_healed || self.cluster.hosts[host].status != Status::Running {
            return;
        }
        let now = self.queue.now();
        self.trace.line(now, || format!("client {number} begins again"));
        self.cluster.restart_client(&self.plan, number, now, &mut self.random);
        self.pause(host, length);
    }

    /// A client closes its sessions with commands open.
    fn close_sessions(&mut self, number: usize) {
        let (host, now) = (self.cluster.client_host(number), self.queue.now());
        if self.is_healed || self.cluster.hosts[host].status != Status::Running {
            return;
        }
        let Roles::Client(client) = &mut self.cluster.hosts[host].roles else { return };
        client.give_up(now);
        self.faults += 1;
        self.trace.line(now, || format!("client {number} closes its sessions"));
        self.schedule_run(host);
    }

    fn pause(&mut self, host: usize, length: Duration) {
        let now = self.queue.now();
        let is_borne = self.bears(|other| other == host, |_, _| false);
        if self.is_healed || !is_borne || self.cluster.hosts[host].status != Status::Running {
            return;
        }
        self.faults += 1;
        self.trace.line(now, || format!("host {host} stands still for {length:?}"));
        self.cluster.hosts[host].status = Status::Paused(now + length);
        let host = u16::try_from(host).expect("few hosts");
        self.queue.schedule(now + length, Event::Wake { host });
    }

    fn cut(&mut self, length: Duration, is_cut: impl Fn(usize, usize) -> bool) {
        if self.is_healed || !self.bears(|_| false, &is_cut) {
            return;
        }
        let now = self.queue.now();
        let hosts = self.cluster.hosts.len();
        let mut links = Vec::new();
        for source in 0..hosts {
            for target in 0..hosts {
                if source != target && is_cut(source, target) {
                    self.network.cut(source, target);
                    let number = |host| u16::try_from(host).expect("few hosts");
                    links.push((number(source), number(target)));
                }
            }
        }
        self.faults += 1;
        self.trace.line(now, || format!("links cut for {length:?}: {links:?}"));
        self.queue.schedule(now + length, Event::Mend { links: links.into() });
    }

    /// The host of the coordinator of a ring that `choice` names, if it has one.
    pub(super) fn coordinator(&self, choice: u64) -> Option<usize> {
        self.leading(choice).map(|(_, host)| host)
    }

    fn leading(&self, choice: u64) -> Option<(RingId, usize)> {
        let ring = index(choice, self.plan.rings());
        let ring = RingId(u16::try_from(ring).expect("few rings"));
        let host = self.cluster.hosts.iter().position(|host| match &host.roles {
            Roles::Ordering(ordering) => {
                let mut hosted = ordering.hosted.iter();
                host.status == Status::Running
                    && ordering.leaving.is_none()
                    && hosted.any(|h| h.ring == ring && h.member.is_coordinator())
            }
            _ => false,
        })?;
        Some((ring, host))
    }
}

/// The side of a partition on which a host finds itself.
const fn side(choice: u64, host: usize) -> bool {
    choice >> (host % 61) & 1 == 1
}

/// A place below `length` that `choice` names.
pub(super) fn index(choice: u64, length: usize) -> usize {
    usize::try_from((choice >> 8) % length as u64).expect("below a length")
}
