//! Who is who in a cluster: node numbers, rings, and which thread hosts whom.

use super::config::ClusterConfig;
use super::endpoint::Place;
use crate::types::{MAX_GROUPS, MAX_REPLICAS, NodeId, ReplicaId, ReplicaSet, RingId};
use std::collections::BTreeSet;

/// The numbers of the nodes on the wire: below this an acceptor's own, ...
const FIRST_WORKER: usize = 32;
/// ... then each replica's workers, and behind them the clients' threads. So a member's number
/// does not change when others come and go.
const FIRST_CLIENT: usize = FIRST_WORKER + MAX_REPLICAS * MAX_GROUPS;

/// The nodes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Roster {
    /// By rising number.
    acceptors: Vec<NodeId>,
    pub(super) groups: usize,
    /// By rising number.
    replicas: Vec<ReplicaId>,
    pub(super) clients: usize,
    /// Threads that host acceptors: the ith acceptor of every ring is on thread i mod this.
    pub(super) orderers: usize,
    /// Threads that run the workers of a replica: worker i is on thread i mod this.
    pub(super) crews: usize,
}

impl Roster {
    /// Members with these numbers; `crews` threads a replica, and so many of clients here.
    pub(super) fn of(
        acceptors: impl Iterator<Item = u16>,
        replicas: impl Iterator<Item = u16>,
        (groups, crews, clients): (usize, usize, usize),
    ) -> Self {
        let acceptors: Vec<NodeId> = acceptors.map(NodeId).collect();
        let replica = |number| ReplicaId(u8::try_from(number).expect("replicas are below 32"));
        let orderers = acceptors.len();
        let replicas = replicas.map(replica).collect();
        Self { acceptors, groups, replicas, clients, orderers, crews }
    }

    pub(super) fn new(config: &ClusterConfig) -> Self {
        let numbers = |count| 0..u16::try_from(count).expect("few members");
        let sizes = (config.groups, config.worker_threads, config.sessions.len());
        let members = Self::of(numbers(config.acceptors), numbers(config.replicas), sizes);
        Self { orderers: config.orderers, ..members }
    }

    /// One ring a group and one for g_all; with K = 1 one alone.
    pub(super) const fn ring_count(&self) -> usize {
        if self.groups == 1 { 1 } else { self.groups + 1 }
    }

    pub(super) fn rings(&self) -> impl Iterator<Item = RingId> + use<> {
        (0..self.ring_count()).map(ring)
    }

    /// The ring that everything concerns.
    pub(super) fn last_ring(&self) -> RingId {
        ring(self.ring_count() - 1)
    }

    /// The rings that the worker of group `group` delivers: its own and g_all's.
    pub(super) fn rings_of_worker(&self, group: usize) -> Vec<RingId> {
        if self.groups == 1 { vec![ring(0)] } else { vec![ring(group), ring(self.groups)] }
    }

    /// The learners that report their position to the acceptors of `ring`.
    pub(super) fn learners(&self, of: RingId) -> Vec<u64> {
        let hears = |group: &usize| self.rings_of_worker(*group).contains(&of);
        let groups: Vec<usize> = (0..self.groups).filter(hears).collect();
        let workers = |replica: &ReplicaId| {
            groups
                .iter()
                .map(|group| Self::learner(self.worker(*replica, *group)))
                .collect::<Vec<_>>()
        };
        self.replicas.iter().flat_map(workers).collect()
    }

    /// The number of the learners of worker `node`.
    pub(super) fn learner(node: NodeId) -> u64 {
        node.0.into()
    }

    pub(super) fn acceptors(&self) -> Vec<NodeId> {
        self.acceptors.clone()
    }

    pub(super) fn acceptors_of_orderer(&self, orderer: usize) -> Vec<NodeId> {
        self.acceptors.iter().copied().skip(orderer).step_by(self.orderers).collect()
    }

    pub(super) fn replicas(&self) -> &[ReplicaId] {
        &self.replicas
    }

    pub(super) fn replica_set(&self) -> ReplicaSet {
        ReplicaSet::of(self.replicas.iter().copied())
    }

    pub(super) fn worker(&self, replica: ReplicaId, group: usize) -> NodeId {
        assert!(usize::from(replica.0) < MAX_REPLICAS && group < self.groups, "a worker");
        node(FIRST_WORKER + usize::from(replica.0) * self.groups + group)
    }

    /// Who may have a checkpoint for `replica`: the first workers of the others.
    pub(super) fn peers(&self, replica: ReplicaId) -> Vec<NodeId> {
        let others = self.replicas.iter().filter(|other| **other != replica);
        others.map(|other| self.worker(*other, 0)).collect()
    }

    /// The acceptors of `ring`, for a learner of `replica` the preferential one first: learners of
    /// different replicas and rings prefer different ones.
    pub(super) fn preferred(&self, ring: RingId, replica: ReplicaId) -> Vec<NodeId> {
        let mut acceptors = self.acceptors();
        let turn = (usize::from(ring.0) + usize::from(replica.0)) % acceptors.len();
        acceptors.rotate_left(turn);
        acceptors
    }

    /// The groups whose workers are on thread `crew` of a replica.
    pub(super) fn groups_of_crew(&self, crew: usize) -> impl Iterator<Item = usize> + use<> {
        (crew..self.groups).step_by(self.crews)
    }

    pub(super) fn client(&self, index: usize) -> NodeId {
        assert!(index < self.clients, "a client of the cluster");
        node(FIRST_CLIENT + index)
    }

    /// One place a thread: ordering threads, then workers replica by replica, then clients.
    pub(super) fn places(&self) -> Vec<Place> {
        let orderers = (0..self.orderers).map(|orderer| Place {
            nodes: self.acceptors_of_orderer(orderer),
            subscribe: self.rings().collect(),
            is_client: false,
        });
        let workers = self.replicas.iter().flat_map(|replica| {
            (0..self.crews).map(move |crew| {
                let rings: BTreeSet<RingId> = self
                    .groups_of_crew(crew)
                    .flat_map(|group| self.rings_of_worker(group))
                    .collect();
                Place {
                    nodes: self.groups_of_crew(crew).map(|g| self.worker(*replica, g)).collect(),
                    subscribe: rings.into_iter().collect(),
                    is_client: false,
                }
            })
        });
        let clients = (0..self.clients).map(|client| Place {
            nodes: vec![self.client(client)],
            subscribe: Vec::new(),
            is_client: true,
        });
        orderers.chain(workers).chain(clients).collect()
    }
}

fn node(index: usize) -> NodeId {
    NodeId(u16::try_from(index).expect("a cluster has fewer than 65,535 nodes"))
}

fn ring(index: usize) -> RingId {
    RingId(u16::try_from(index).expect("at most 65 rings"))
}
