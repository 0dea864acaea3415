//! Who belongs to a simulated cluster in one epoch, and where its members live.
//!
//! A home is a machine with a directory of its own, and the process there: its threads are the
//! simulated hosts. Members are written down and told as on real hosts (`config::Members`); the
//! port of a member's address says which home is its own.

use super::changes::Change;
use super::checkers::{Epochs, Violations};
use super::plan::Plan;
use crate::config::{Member, Members};
use crate::ring_paxos::{self, FormerLives, Retention};
use crate::types::{MAX_GROUPS, MAX_REPLICAS, NodeId, Random, ReplicaId, ReplicaSet, RingId};
use crate::wire::{self, NEWEST, OLDEST};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

/// The numbers of the nodes on the wire are those of real clusters: acceptors below this, ...
const FIRST_WORKER: usize = 32;
/// ... then each replica's workers, and behind them the clients and who changes members.
const FIRST_CLIENT: usize = FIRST_WORKER + MAX_REPLICAS * MAX_GROUPS;

/// A machine, by its place among all that may ever belong to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HomeId(pub(super) usize);

impl HomeId {
    /// Where a member that lives here listens.
    pub(super) fn address(self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, u16::try_from(self.0 + 1).expect("few homes"))
    }

    /// The name of a member that lives here.
    pub(super) fn name(self) -> String {
        format!("n{}", self.0)
    }

    /// Where `member` lives.
    pub(super) fn of(member: &Member) -> Self {
        Self(usize::from(member.address.port()) - 1)
    }
}

/// What a number on the wire stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// An acceptor of every ring.
    Acceptor(NodeId),
    /// A worker of a replica.
    Worker(ReplicaId, usize),
    /// A client, or who changes members.
    Client(usize),
}

impl Seat {
    /// Of `node`, where replicas have so many workers.
    pub(super) fn of(node: NodeId, groups: usize) -> Self {
        let number = usize::from(node.0);
        if number < FIRST_WORKER {
            return Self::Acceptor(node);
        }
        if number >= FIRST_CLIENT {
            return Self::Client(number - FIRST_CLIENT);
        }
        let (replica, worker) =
            ((number - FIRST_WORKER) / groups, (number - FIRST_WORKER) % groups);
        Self::Worker(ReplicaId(u8::try_from(replica).expect("a replica's number")), worker)
    }
}

/// The node of a worker of a replica with `groups` workers.
pub(super) fn worker_node(replica: ReplicaId, worker: usize, groups: usize) -> NodeId {
    node(FIRST_WORKER + usize::from(replica.0) * groups + worker)
}

/// The number of the learners of such a worker.
pub(super) fn learner(replica: ReplicaId, worker: usize, groups: usize) -> u64 {
    (usize::from(replica.0) * groups + worker) as u64
}

/// The node of a client.
pub(super) fn client_node(client: usize) -> NodeId {
    node(FIRST_CLIENT + client)
}

fn node(number: usize) -> NodeId {
    NodeId(u16::try_from(number).expect("few nodes"))
}

/// The members of one epoch.
#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) members: Members,
    /// As others are told.
    pub(super) record: Box<[u8]>,
}

impl Epoch {
    /// The first one of `plan`: acceptors live in the first homes, replicas behind them.
    pub(super) fn first(plan: &Plan) -> Self {
        let members = |first: usize, count: usize| {
            let member = |n: usize| {
                let home = HomeId(first + n);
                let number = u16::try_from(n).expect("few members");
                Member { number, since: 1, id: home.name(), address: home.address() }
            };
            (0..count).map(member).collect()
        };
        Self::of(Members {
            epoch: 1,
            wire: if plan.changes.iter().any(Change::is_of_version) {
                // Where it is to change, it begins with one of the older ones.
                let older = u64::from(NEWEST - OLDEST);
                let above = Random::new(plan.seed).stream(16).below(older);
                OLDEST + u8::try_from(above).expect("below the newest")
            } else {
                NEWEST
            },
            immutable: plan.seed,
            acceptors: members(0, plan.acceptors),
            replicas: members(plan.acceptors, plan.replicas),
        })
    }

    fn of(members: Members) -> Self {
        let record = members.encode().into();
        Self { members, record }
    }

    /// As others are told.
    pub(super) fn told(&self) -> wire::Epoch<'_> {
        wire::Epoch { epoch: self.number(), members: &self.record }
    }

    /// Its number.
    pub(super) const fn number(&self) -> u32 {
        self.members.epoch
    }

    /// Its acceptors.
    pub(super) fn acceptors(&self) -> Vec<NodeId> {
        self.members.acceptors.iter().map(|member| NodeId(member.number)).collect()
    }

    /// Its replicas.
    pub(super) fn replicas(&self) -> impl Iterator<Item = ReplicaId> {
        self.members.replicas.iter().map(replica_of)
    }

    /// The same.
    pub(super) fn replica_set(&self) -> ReplicaSet {
        ReplicaSet::of(self.replicas())
    }

    /// The acceptor that lives at `home`.
    pub(super) fn acceptor_at(&self, home: HomeId) -> Option<NodeId> {
        let mut acceptors = self.members.acceptors.iter();
        let member = acceptors.find(|member| HomeId::of(member) == home);
        member.map(|member| NodeId(member.number))
    }

    /// The replica that does.
    pub(super) fn replica_at(&self, home: HomeId) -> Option<ReplicaId> {
        let mut replicas = self.members.replicas.iter();
        replicas.find(|member| HomeId::of(member) == home).map(replica_of)
    }

    /// Where an acceptor lives.
    pub(super) fn home_of_acceptor(&self, acceptor: NodeId) -> Option<HomeId> {
        let mut acceptors = self.members.acceptors.iter();
        acceptors.find(|member| member.number == acceptor.0).map(HomeId::of)
    }

    /// Where a replica lives.
    pub(super) fn home_of_replica(&self, replica: ReplicaId) -> Option<HomeId> {
        let mut replicas = self.members.replicas.iter();
        replicas.find(|member| replica_of(member) == replica).map(HomeId::of)
    }

    /// Where acceptors live.
    pub(super) fn acceptor_homes(&self) -> impl Iterator<Item = HomeId> {
        self.members.acceptors.iter().map(HomeId::of)
    }

    /// Where members live.
    pub(super) fn homes(&self) -> impl Iterator<Item = HomeId> {
        self.acceptor_homes().chain(self.members.replicas.iter().map(HomeId::of))
    }

    /// Whether a member lives at `home`.
    pub(super) fn has(&self, home: HomeId) -> bool {
        self.homes().any(|other| other == home)
    }

    /// What its members can tell each other of their lives, as on real hosts: where the log is on
    /// disk.
    pub(super) fn former_lives(&self, plan: &Plan) -> FormerLives {
        if plan.is_durable {
            FormerLives::in_version(self.members.wire)
        } else {
            FormerLives::Unknown
        }
    }

    /// What it makes of `ring`.
    pub(super) fn of_ring(&self, plan: &Plan, ring: RingId) -> ring_paxos::Epoch {
        let is_own = usize::from(ring.0) < plan.groups;
        let hears = |number: &usize| !is_own || *number == usize::from(ring.0);
        let of =
            |replica| (0..plan.groups).filter(hears).map(move |n| learner(replica, n, plan.groups));
        let learners: Vec<u64> = self.replicas().flat_map(of).collect();
        let retention = retention(plan, self.members.replicas.len(), learners.len());
        let (number, acceptors) = (self.number(), self.acceptors());
        let former_lives = self.former_lives(plan);
        ring_paxos::Epoch { number, acceptors, learners, retention, former_lives }
    }
}

fn replica_of(member: &Member) -> ReplicaId {
    ReplicaId(u8::try_from(member.number).expect("replicas have numbers below 32"))
}

/// f + 1 of 2f + 1 replicas keep what is forgotten, with all their learners of a ring.
fn retention(plan: &Plan, replicas: usize, learners: usize) -> Retention {
    if plan.checkpoints.is_none() {
        return Retention::Applied;
    }
    let copies = (replicas.div_ceil(2)) * learners / replicas;
    // Some reports of who stands still, one each 100 ms, may be lost.
    let patience = Duration::from_millis(500);
    Retention::Checkpoints { copies, is_strict: plan.is_durable, patience }
}

/// Every epoch that somebody lives by, or has lived by.
#[derive(Debug)]
pub(super) struct Archive {
    epochs: Vec<Rc<Epoch>>,
    checker: Epochs,
}

impl Archive {
    /// With the first one alone.
    pub(super) fn new(plan: &Plan) -> Self {
        let first = Epoch::first(plan);
        let checker = Epochs::new(&first.record);
        Self { epochs: vec![Rc::new(first)], checker }
    }

    /// The last one.
    pub(super) fn latest(&self) -> &Rc<Epoch> {
        self.epochs.last().expect("there was a first")
    }

    /// Somebody is about to live by what `record` says.
    pub(super) fn take(&mut self, record: &[u8], out: &mut Violations) -> Option<Rc<Epoch>> {
        let members = Members::decode(record)?;
        self.checker.on_members(members.epoch, record, out);
        let place = usize::try_from(members.epoch).expect("few epochs").checked_sub(1)?;
        if place == self.epochs.len() {
            self.epochs.push(Rc::new(Epoch::of(members)));
        }
        self.epochs.get(place).cloned()
    }
}
