//! What must agree, as two digests: what is fixed for ever, and who belongs to an epoch.

use super::Cluster;
use super::cluster::{Btree, Service};
use crate::types::Random;
use crate::wire::OLDEST;

/// Nodes whose digests differ refuse each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Of what decides how commands are ordered, executed and remembered. Fixed for ever.
    pub immutable: u64,
    /// Of the members, their order, their groups and their wire version in this epoch.
    pub members: u64,
}

impl Digests {
    /// Of `cluster`, whatever its field `digests` says.
    pub(super) fn of(cluster: &Cluster) -> Self {
        let Cluster { execution, ordering, .. } = cluster;
        let mut immutable = Hash::default();
        let words = [
            cluster.model as u64,
            cluster.threads as u64,
            cluster.durability as u64,
            ordering.turn,
            execution.barrier as u64,
            execution.executor as u64,
            execution.retry as u64,
            execution.command_bytes as u64,
            execution.sessions as u64,
            execution.window as u64,
            cluster.network.room.datagram() as u64,
        ];
        immutable.words(&words);
        match cluster.service {
            Service::Btree(tree) => {
                let Btree { keys, key_space, capacity, minimum, fill, is_aligned } = tree;
                let sizes = [capacity as u64, minimum as u64, fill as u64, is_aligned.into()];
                immutable.words(&[1, keys, key_space]);
                immutable.words(&sizes);
            }
            Service::Counters(counters) => immutable.words(&[2, counters.into()]),
            Service::Null { work } => immutable.words(&[3, work.into()]),
        }
        let mut members = Hash::default();
        for (role, nodes) in [(1, &cluster.acceptors), (2, &cluster.replicas)] {
            members.words(&[role, nodes.len() as u64]);
            for node in nodes {
                members.words(&[node.number.into(), node.since.into()]);
                members.text(&node.id);
            }
        }
        for ring in &cluster.rings {
            members.text(&ring.to_string());
        }
        if cluster.network.is_unicast {
            members.words(&[3]);
        }
        if cluster.wire != OLDEST {
            members.words(&[4, cluster.wire.into()]);
        }
        Self { immutable: immutable.0, members: members.0 }
    }

    /// Both in one: what datagrams carry.
    #[must_use]
    pub const fn configuration(&self) -> u64 {
        Random::new(self.immutable ^ self.members.rotate_left(32)).next()
    }
}

#[derive(Default)]
struct Hash(u64);

impl Hash {
    fn words(&mut self, words: &[u64]) {
        for word in words {
            self.0 = Random::new(self.0 ^ word).next();
        }
    }

    fn text(&mut self, text: &str) {
        self.words(&[text.len() as u64]);
        text.bytes().for_each(|byte| self.words(&[byte.into()]));
    }
}
