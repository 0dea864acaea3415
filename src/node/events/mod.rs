//! What a node tells whoever operates it: the difference between its board of the last look and that
//! of now.
//!
//! Threads write on the board how they stand; the main thread looks there a few times a second, and
//! what has changed is a line. So nothing is told by the data path and nothing is told twice; what
//! may come and go under load is told only once it lasts, and what goes on for ever now and then.

mod drops;
mod replica;
mod rings;

use super::observer::NodeFigures;
use super::roster::Roster;
use crate::config::Cluster;
use crate::types::Time;
use drops::Drops;
use replica::Replica;
use rings::Rings;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// As it should be, and worth knowing.
    Notice,
    /// Something is missing, and the cluster goes on.
    Warning,
    /// Something has failed.
    Error,
}

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The node.
    pub node: String,
    /// How much it matters.
    pub weight: Weight,
    /// What.
    pub text: String,
}

/// Events of one look.
type Told = Vec<(Weight, String)>;

/// Who has which number on the wire: acceptors, and the workers of replicas.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<u64, String>);

impl Names {
    pub(super) fn of(cluster: &Cluster, roster: &Roster) -> Self {
        let acceptors = cluster.acceptors.iter();
        let acceptors = acceptors.map(|node| (u64::from(node.number), node.id.clone()));
        let replicas = roster.replicas().iter().zip(&cluster.replicas);
        let workers = replicas.flat_map(|(replica, node)| {
            (0..roster.groups)
                .map(|group| (Roster::learner(roster.worker(*replica, group)), node.id.clone()))
        });
        Self(acceptors.chain(workers).collect())
    }

    /// The name of a node or learner.
    fn name(&self, number: u64) -> String {
        self.0.get(&number).cloned().unwrap_or_else(|| format!("node number {number}"))
    }
}

/// What was told of a node.
#[derive(Debug)]
pub(super) struct Events {
    rings: Rings,
    replica: Replica,
    drops: Drops,
}

impl Events {
    /// Of a node that keeps its checkpoint, if it has one, in the file `checkpoint`.
    pub(super) fn new(checkpoint: PathBuf) -> Self {
        let replica = Replica::new(checkpoint);
        Self { rings: Rings::default(), replica, drops: Drops::default() }
    }

    /// Tells what has happened since the last look.
    pub(super) fn look(
        &mut self,
        figures: &NodeFigures,
        names: &Names,
        now: Time,
        told: &mut Told,
    ) {
        self.rings.look(&figures.rings, names, now, told);
        if let Some(replica) = &figures.replica {
            self.replica.look(replica, names, now, told);
        }
        self.drops.look(&figures.drops, now, told);
    }
}
