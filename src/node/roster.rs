//! Who is who in an embedded cluster: node numbers, rings, and which thread hosts whom.

use super::config::ClusterConfig;
use super::endpoint::Place;
use crate::types::{NodeId, RingId};
use std::collections::BTreeSet;

/// The nodes of an embedded cluster. Numbers: acceptors first, then the workers of each replica,
/// then the client threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roster {
    pub(super) acceptors: usize,
    pub(super) groups: usize,
    pub(super) replicas: usize,
    pub(super) clients: usize,
    /// Threads that host acceptors: acceptor i of every ring is on thread i mod this.
    pub(super) orderers: usize,
    /// Threads that run the workers of a replica: worker i is on thread i mod this.
    pub(super) crews: usize,
}

impl Roster {
    pub(super) fn new(config: &ClusterConfig) -> Self {
        Self {
            acceptors: config.acceptors,
            groups: config.groups,
            replicas: config.replicas,
            clients: config.sessions.len(),
            orderers: config.orderers,
            crews: config.worker_threads,
        }
    }

    /// One ring a group and one for g_all; with K = 1 one alone.
    pub(super) const fn ring_count(&self) -> usize {
        if self.groups == 1 { 1 } else { self.groups + 1 }
    }

    pub(super) fn rings(&self) -> impl Iterator<Item = RingId> + use<> {
        (0..self.ring_count()).map(ring)
    }

    /// The rings that the worker of group `group` delivers: its own and g_all's.
    pub(super) fn rings_of_worker(&self, group: usize) -> Vec<RingId> {
        if self.groups == 1 { vec![ring(0)] } else { vec![ring(group), ring(self.groups)] }
    }

    /// How many learners report their position to the acceptors of `ring`.
    pub(super) fn learners(&self, of: RingId) -> usize {
        let is_all = self.groups > 1 && of == ring(self.groups);
        self.replicas * if is_all { self.groups } else { 1 }
    }

    pub(super) fn acceptors(&self) -> Vec<NodeId> {
        (0..self.acceptors).map(node).collect()
    }

    pub(super) fn acceptors_of_orderer(&self, orderer: usize) -> Vec<NodeId> {
        (orderer..self.acceptors).step_by(self.orderers).map(node).collect()
    }

    pub(super) fn worker(&self, replica: usize, group: usize) -> NodeId {
        assert!(replica < self.replicas && group < self.groups, "a worker of the cluster");
        node(self.acceptors + replica * self.groups + group)
    }

    /// The groups whose workers are on thread `crew` of a replica.
    pub(super) fn groups_of_crew(&self, crew: usize) -> impl Iterator<Item = usize> + use<> {
        (crew..self.groups).step_by(self.crews)
    }

    pub(super) fn client(&self, index: usize) -> NodeId {
        assert!(index < self.clients, "a client of the cluster");
        node(self.acceptors + self.replicas * self.groups + index)
    }

    /// One place a thread: ordering threads, then workers replica by replica, then clients.
    pub(super) fn places(&self) -> Vec<Place> {
        let orderers = (0..self.orderers).map(|orderer| Place {
            nodes: self.acceptors_of_orderer(orderer),
            subscribe: self.rings().collect(),
            is_client: false,
        });
        let workers = (0..self.replicas).flat_map(|replica| {
            (0..self.crews).map(move |crew| {
                let rings: BTreeSet<RingId> = self
                    .groups_of_crew(crew)
                    .flat_map(|group| self.rings_of_worker(group))
                    .collect();
                Place {
                    nodes: self.groups_of_crew(crew).map(|g| self.worker(replica, g)).collect(),
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
