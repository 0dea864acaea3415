//! The hosts of a run, from their first life to their last.

use super::checkers::Agreement;
use super::client::{Client, ClientParts};
use super::disk::Image;
use super::host::{Host, Roles, Status};
use super::keeper::Keeper;
use super::lives::{self, Built, Life};
use super::members::{Archive, Epoch, HomeId, Seat};
use super::observed::Observed;
use super::operator::Operator;
use super::plan::Plan;
use super::replica::WorkerHost;
use super::services::SimService;
use super::tap::Tap;
use crate::config::Kind;
use crate::replica::{Checkpoint, Shared};
use crate::ring_paxos::Memory;
use crate::types::{Address, GroupId, Incarnation, NodeId, Random, RingId, Time};
use crate::wire::Identity;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// A replica as a whole.
#[derive(Debug)]
pub(super) struct Replica<S> {
    pub(super) service: Arc<Observed<S>>,
    pub(super) shared: Arc<Shared<Observed<S>>>,
    /// It has not ended for good.
    pub(super) is_live: bool,
    /// What it finds when it begins another life.
    disk: Option<Arc<Checkpoint>>,
    /// The hosts of its workers.
    pub(super) hosts: Range<usize>,
}

/// A machine with a directory of its own, and the process there.
#[derive(Debug)]
pub(super) struct Home {
    /// Its threads.
    pub(super) hosts: Vec<usize>,
    /// What is written down there.
    pub(super) epoch: Rc<Epoch>,
    /// Whether its process has begun.
    pub(super) has_lived: bool,
    /// Whether it began without a memory: in the place of another one, beside others that had, or
    /// newborn.
    is_late: bool,
    /// Whether one of its acceptors has had a vote.
    has_begun: bool,
}

impl Home {
    fn new(hosts: Vec<usize>, epoch: &Rc<Epoch>) -> Self {
        let (has_lived, is_late, has_begun) = (true, false, false);
        Self { hosts, epoch: Rc::clone(epoch), has_lived, is_late, has_begun }
    }

    /// The thread that has to do with ring or worker `number`.
    pub(super) fn thread(&self, number: usize) -> usize {
        self.hosts[number.min(self.hosts.len() - 1)]
    }
}

/// All hosts: those of the first acceptors, then the workers replica by replica, then the clients;
/// where members come and go, also who changes them and the homes of those that may come.
#[derive(Debug)]
pub(super) struct Cluster<S: SimService> {
    pub(super) hosts: Vec<Host<S>>,
    pub(super) replicas: Vec<Replica<S>>,
    /// Ring -> hosts that hear its multicasts.
    pub(super) groups: Vec<Vec<usize>>,
    pub(super) homes: Vec<Home>,
    /// Where the first thread of each home is reached.
    pub(super) doors: Vec<Address>,
    acceptor_hosts: Vec<usize>,
    /// What is left on the disks of hosts that are down.
    disks: Vec<Vec<Image>>,
    /// Hosts whose disks were put back from a copy once.
    pub(super) were_put_back: Vec<usize>,
    /// K, and the home of the first client.
    workers: usize,
    first_client: usize,
}

/// The tap for a plan's rings and learners.
pub(super) fn tap(plan: &Plan) -> Tap {
    let learners = plan.most_replicas() * plan.groups;
    Tap::new(Agreement::new(plan.rings(), learners), plan.rings())
}

impl<S: SimService> Cluster<S> {
    pub(super) fn new(plan: &Rc<Plan>, source: &Random, epoch: &Rc<Epoch>) -> Self {
        let mut random = source.stream(3);
        let acceptor_hosts = plan.acceptor_hosts();
        let mut cluster = Self {
            hosts: Vec::new(),
            replicas: Vec::new(),
            groups: vec![Vec::new(); plan.rings()],
            homes: Vec::new(),
            doors: Vec::new(),
            acceptor_hosts: (0..acceptor_hosts).collect(),
            disks: Vec::new(),
            were_put_back: Vec::new(),
            workers: plan.groups,
            first_client: plan.acceptors + plan.replicas,
        };
        for home in 0..plan.acceptors {
            let hosts = (home..acceptor_hosts).step_by(plan.acceptors);
            cluster.homes.push(Home::new(hosts.collect(), epoch));
        }
        for host in 0..acceptor_hosts {
            let home = HomeId(host % plan.acceptors);
            let mut life = Life::first(plan, epoch, &mut random);
            if plan.begins_newborn {
                (life.memory, cluster.homes[home.0].is_late) = (Memory::Newborn, true);
            }
            let roles = lives::ordering(plan, (home, host / plan.acceptors), &life, &mut random);
            let roles = Roles::Ordering(Box::new(roles));
            cluster.hosts.push(Host::new(roles, life.identity, (home, epoch)));
        }
        for _ in 0..plan.replicas {
            cluster.add_replica(plan, epoch, &mut random);
        }
        let map = Arc::new(S::build(plan));
        for number in 0..plan.load.clients {
            let life = Life::first(plan, epoch, &mut random);
            let home = cluster.add_home(1, epoch);
            let host = cluster.homes[home.0].hosts[0];
            let config = lives::proxy_config(plan, host, &life);
            let parts =
                ClientParts { plan, number, config, map: Arc::clone(&map), seed: random.next() };
            let roles = Roles::Client(Box::new(Client::new(parts)));
            cluster.hosts[host] = Host::new(roles, life.identity, (home, epoch));
        }
        if plan.has_changes() {
            cluster.add_spares(plan, epoch, &mut random);
        }
        cluster.doors = cluster.homes.iter().map(|home| lives::address(home.hosts[0])).collect();
        cluster.disks.resize(cluster.hosts.len(), Vec::new());
        (0..cluster.hosts.len()).for_each(|host| cluster.listen(plan, host));
        cluster
    }

    /// A home with so many threads that do nothing yet.
    fn add_home(&mut self, threads: usize, epoch: &Rc<Epoch>) -> HomeId {
        let home = HomeId(self.homes.len());
        let first = self.hosts.len();
        let identity = Identity {
            cluster: epoch.members.immutable,
            configuration: 1,
            epoch: epoch.number(),
            version: epoch.members.wire,
            incarnation: Incarnation(0),
        };
        for _ in 0..threads {
            self.hosts.push(Host::new(Roles::Vacant, identity, (home, epoch)));
        }
        self.homes.push(Home::new((first..first + threads).collect(), epoch));
        home
    }

    /// Who changes members, and the homes of those that may come.
    fn add_spares(&mut self, plan: &Plan, epoch: &Rc<Epoch>, random: &mut Random) {
        let life = Life::first(plan, epoch, random);
        let home = self.add_home(1, epoch);
        let host = self.homes[home.0].hosts[0];
        let ring = RingId(u16::try_from(plan.rings() - 1).expect("few rings"));
        let roles = Roles::Operator(Box::new(Operator::new(plan.load.clients, ring)));
        self.hosts[host] = Host::new(roles, life.identity, (home, epoch));
        let kinds = [(Kind::Acceptor, plan.orderers()), (Kind::Replica, plan.groups)];
        for (kind, threads) in kinds {
            for _ in 0..plan.spares(kind) {
                let home = self.add_home(threads, epoch);
                self.homes[home.0].has_lived = false;
            }
        }
    }

    /// The operator's host, where there is one.
    pub(super) fn operator(&mut self) -> Option<(usize, &mut Operator)> {
        self.hosts.iter_mut().enumerate().find_map(|(index, host)| match &mut host.roles {
            Roles::Operator(operator) => Some((index, &mut **operator)),
            _ => None,
        })
    }

    /// A home in which nobody has lived, for a member of `kind`.
    pub(super) fn spare(&self, plan: &Plan, kind: Kind, taken: &[HomeId]) -> Option<HomeId> {
        let acceptors = self.first_client + plan.load.clients + 1;
        let replicas = acceptors + plan.spares(Kind::Acceptor);
        let mut homes = match kind {
            Kind::Acceptor => acceptors..replicas,
            Kind::Replica => replicas..self.homes.len(),
        };
        let is_free =
            |home: &usize| !self.homes[*home].has_lived && !taken.contains(&HomeId(*home));
        homes.find(is_free).map(HomeId)
    }

    /// Hears the multicasts of the rings that it has to do with.
    fn listen(&mut self, plan: &Plan, host: usize) {
        let rings: Vec<RingId> = match &self.hosts[host].roles {
            Roles::Ordering(ordering) => ordering.hosted.iter().map(|h| h.ring).collect(),
            Roles::Worker(worker) => plan.rings_of(worker.place.1).collect(),
            Roles::Client(_) | Roles::Operator(_) | Roles::Vacant => return,
        };
        for RingId(ring) in rings {
            self.groups[usize::from(ring)].push(host);
        }
    }

    /// Where `node`'s role for `ring` runs, as somebody in `epoch` knows it.
    pub(super) fn route(&self, epoch: &Epoch, node: NodeId, ring: RingId) -> Option<usize> {
        let (home, thread) = match Seat::of(node, self.workers) {
            Seat::Acceptor(node) => (epoch.home_of_acceptor(node)?, usize::from(ring.0)),
            Seat::Worker(replica, worker) => (epoch.home_of_replica(replica)?, worker),
            Seat::Client(client) => (HomeId(self.first_client + client), 0),
        };
        self.homes.get(home.0).map(|home| home.thread(thread))
    }

    /// The host of client `number`.
    pub(super) fn client_host(&self, number: usize) -> usize {
        self.homes[self.first_client + number].hosts[0]
    }

    /// The hosts of acceptors.
    pub(super) fn acceptor_hosts(&self) -> &[usize] {
        &self.acceptor_hosts
    }

    /// Whether everybody lives in the last epoch, and nobody else lives.
    pub(super) fn is_settled(&self, archive: &Archive) -> bool {
        let latest = archive.latest();
        let is_late = |home: &HomeId| !self.homes[home.0].has_lived;
        let is_behind = |host: &Host<S>| {
            let lives = match &host.roles {
                Roles::Ordering(_) => true,
                Roles::Worker(worker) => self.replicas[worker.place.0].is_live,
                Roles::Client(_) | Roles::Operator(_) | Roles::Vacant => false,
            };
            lives && (!latest.has(host.home) || host.epoch.number() != latest.number())
        };
        !latest.homes().any(|home| is_late(&home)) && !self.hosts.iter().any(is_behind)
    }

    /// The process of a host with acceptors ends.
    pub(super) fn crash(&mut self, host: usize) {
        let Host { roles: Roles::Ordering(ordering), status, inbox, home, .. } =
            &mut self.hosts[host]
        else {
            unreachable!("only acceptors have another life");
        };
        self.disks[host] = ordering.crash();
        self.homes[home.0].has_begun |= ordering.has_begun;
        *status = Status::Down;
        inbox.clear();
    }

    /// What is on the disks of a host that is down becomes what it was at `time`.
    pub(super) fn put_back(&mut self, host: usize, time: Time) {
        self.disks[host].iter_mut().for_each(|image| image.put_back(time));
        if !self.were_put_back.contains(&host) {
            self.were_put_back.push(host);
        }
    }

    /// The process of a host with acceptors begins another life.
    pub(super) fn restart(&mut self, plan: &Plan, host: usize, now: Time, random: &mut Random) {
        let disks = std::mem::take(&mut self.disks[host]);
        let home = self.hosts[host].home;
        let Home { epoch, is_late, has_begun, hosts, .. } = &self.homes[home.0];
        let (is_late, has_begun, epoch) = (*is_late, *has_begun, Rc::clone(epoch));
        let first = Life::first(plan, &epoch, random);
        let was_put_back = self.were_put_back.contains(&host);
        let mut life = Life { disks, is_late, was_put_back, has_begun, now, ..first };
        life.memory = if plan.is_durable { Memory::Restored } else { life.without_memory(plan) };
        let thread = hosts.iter().position(|other| *other == host).expect("its own home's");
        let roles = lives::ordering(plan, (home, thread), &life, random);
        self.renew(host, Roles::Ordering(Box::new(roles)), &life);
    }

    /// Another life begins on a host.
    fn renew(&mut self, index: usize, roles: Roles<S>, life: &Life) {
        let Host { home, is_scheduled, overflows, .. } = self.hosts[index];
        let fresh = Host::new(roles, life.identity, (home, &life.epoch));
        self.hosts[index] = Host { is_scheduled, overflows, ..fresh };
    }

    /// A member's process ends for good.
    pub(super) fn vacate(&mut self, index: usize) {
        self.hosts[index].vacate();
        self.acceptor_hosts.retain(|host| *host != index);
        self.groups.iter_mut().for_each(|hosts| hosts.retain(|host| *host != index));
    }

    /// The process of a member begins that came with `epoch`.
    pub(super) fn join(
        &mut self,
        plan: &Plan,
        (home, epoch): (HomeId, &Rc<Epoch>),
        now: Time,
        random: &mut Random,
    ) -> Vec<usize> {
        let place = &mut self.homes[home.0];
        (place.epoch, place.has_lived, place.is_late) = (Rc::clone(epoch), true, true);
        let hosts = place.hosts.clone();
        if epoch.acceptor_at(home).is_some() {
            for (thread, &host) in hosts.iter().enumerate() {
                let first = Life::first(plan, epoch, random);
                let life = Life { memory: Memory::Amnesiac, now, ..first };
                let roles = lives::ordering(plan, (home, thread), &life, random);
                self.renew(host, Roles::Ordering(Box::new(roles)), &life);
                self.acceptor_hosts.push(host);
            }
        } else {
            let Built { service, shared, .. } = lives::build_replica(plan);
            let range = hosts[0]..hosts[0] + hosts.len();
            let fresh = Replica { service, shared, is_live: true, disk: None, hosts: range };
            self.replicas.push(fresh);
            self.begin_replica(plan, self.replicas.len() - 1, now, random);
        }
        hosts.iter().for_each(|host| self.listen(plan, *host));
        hosts
    }

    /// The process of client `number` begins another life.
    pub(super) fn restart_client(
        &mut self,
        plan: &Plan,
        number: usize,
        now: Time,
        random: &mut Random,
    ) {
        let index = self.client_host(number);
        let host = &mut self.hosts[index];
        let life = Life::first(plan, &self.homes[host.home.0].epoch, random);
        let Roles::Client(client) = &mut host.roles else {
            unreachable!("a client's host is a client");
        };
        client.restart(lives::proxy_config(plan, index, &life), now);
        host.identity = life.identity;
        host.epoch = life.epoch;
        host.inbox.clear();
    }

    fn add_replica(&mut self, plan: &Plan, epoch: &Rc<Epoch>, random: &mut Random) {
        let life = Life::first(plan, epoch, random);
        let built = lives::build_replica(plan);
        let place = self.replicas.len();
        let home = self.add_home(plan.groups, epoch);
        let hosts = self.homes[home.0].hosts.clone();
        for (number, &index) in hosts.iter().enumerate() {
            let host = lives::worker_host(plan, (place, home, number), &built, &life, random);
            self.renew(index, Roles::Worker(Box::new(host)), &life);
        }
        let hosts = hosts[0]..hosts[0] + hosts.len();
        let Built { service, shared, .. } = built;
        self.replicas.push(Replica { service, shared, is_live: true, disk: None, hosts });
    }

    /// Whether a replica has its state and serves.
    pub(super) fn is_healthy(&self, replica: usize) -> bool {
        let is_well = |host: usize| match &self.hosts[host] {
            Host { roles: Roles::Worker(worker), status, .. } => {
                *status != Status::Down && !worker.worker.is_muted()
            }
            _ => false,
        };
        let Replica { is_live, hosts, .. } = &self.replicas[replica];
        *is_live && hosts.clone().all(is_well)
    }

    /// Whether `replica` is where all logs begin that it needs, or further, and has what `other` has
    /// in checkpoints.
    pub(super) fn covers(&self, replica: usize, other: usize) -> bool {
        let checkpoint = self.replicas[other].shared.checkpoints().latest();
        let trim = |ring: RingId| {
            let trims = self.acceptor_hosts.iter().filter_map(|host| {
                let Roles::Ordering(ordering) = &self.hosts[*host].roles else { return None };
                let hosted = ordering.hosted.iter().find(|hosted| hosted.ring == ring)?;
                Some(hosted.member.trim())
            });
            trims.max().unwrap_or_default()
        };
        self.hosts[self.replicas[replica].hosts.clone()].iter().all(|host| {
            let Roles::Worker(worker) = &host.roles else { return false };
            let WorkerHost { subscription, place, .. } = &**worker;
            let copies = checkpoint.as_ref();
            let saved = copies.map_or(&[][..], |copy| copy.position(GroupId::new(place.1)));
            let is_behind = |next, ring| saved.iter().any(|at| at.ring == ring && at.next > next);
            let mut at = subscription.position();
            at.all(|at| at.next > trim(at.ring) && !is_behind(at.next, at.ring))
        })
    }

    /// The process of a replica ends; its last checkpoint is left if `keeps` is.
    pub(super) fn end_replica(&mut self, replica: usize, keeps: Keeps) {
        let Replica { shared, hosts, disk, .. } = &mut self.replicas[replica];
        let keeper = match &mut self.hosts[hosts.start].roles {
            Roles::Worker(worker) => worker.keeper.as_mut(),
            _ => None,
        };
        let left = keeper.map_or_else(|| shared.checkpoints().latest(), Keeper::crash);
        *disk = left.filter(|_| keeps == Keeps::Checkpoint);
        for host in hosts.clone() {
            self.hosts[host].status = Status::Down;
            self.hosts[host].inbox.clear();
        }
    }

    /// The process of a replica begins another life. Says where its workers begin, if that is not at
    /// the beginning.
    pub(super) fn begin_replica(
        &mut self,
        plan: &Plan,
        replica: usize,
        now: Time,
        random: &mut Random,
    ) -> Option<Arc<Checkpoint>> {
        let Replica { hosts, disk, .. } = &self.replicas[replica];
        let (hosts, disk) = (hosts.clone(), disk.clone());
        let home = self.hosts[hosts.start].home;
        let life = Life { now, ..Life::first(plan, &self.homes[home.0].epoch, random) };
        let built = lives::build_replica(plan);
        if let Some(checkpoint) = &disk {
            built.shared.restore(checkpoint).expect("its own checkpoint");
            built.shared.checkpoints().publish(Arc::clone(checkpoint));
        }
        for (number, index) in hosts.clone().enumerate() {
            let mut host = lives::worker_host(plan, (replica, home, number), &built, &life, random);
            if let Some(keeper) = &mut host.keeper {
                keeper.begin(disk.clone());
            }
            if let Some(checkpoint) = &disk {
                let WorkerHost { worker, subscription, pool, .. } = &mut host;
                worker.restore(checkpoint, subscription, pool).expect("its own checkpoint");
            }
            host.worker.join();
            self.renew(index, Roles::Worker(Box::new(host)), &life);
        }
        let Built { service, shared, .. } = built;
        let fresh = Replica { service, shared, is_live: true, disk: None, hosts };
        self.replicas[replica] = fresh;
        disk
    }
}

/// What is left of a replica whose process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeps {
    /// Its last complete checkpoint.
    Checkpoint,
    /// Nothing.
    Nothing,
}
