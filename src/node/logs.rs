//! Where the acceptors of a process keep what they must not forget.

use crate::ring_paxos::{Memory, MemoryLog};
use crate::storage::{AcceptorLog, Identity, Opened, Recovered, StorageError, Store};
use crate::types::{NodeId, RingId};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the acceptors survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The crash of f of 2f + 1 of them.
    Memory,
    /// The loss of power at all of them, on disks that honour a flush. In this directory each has one
    /// of its own.
    Sync(PathBuf),
}

/// The logs of the acceptors of a process.
#[derive(Debug)]
pub(super) enum Logs {
    /// None: an acceptor begins with this.
    Memory(Memory),
    /// A data directory each, and what an acceptor knows whose log is not there.
    Sync(BTreeMap<NodeId, Store>, Memory),
}

impl Logs {
    /// Fresh logs for a first life of `nodes`.
    pub(super) fn create(
        durability: &Durability,
        identity: impl Fn(NodeId) -> Identity,
        nodes: &[NodeId],
    ) -> Result<Self, StorageError> {
        let Durability::Sync(directory) = durability else {
            return Ok(Self::Memory(Memory::Fresh));
        };
        Store::require_fresh(directory)?;
        let create = |node: &NodeId| {
            let directory = directory.join(format!("acceptor-{node}"));
            Ok((*node, Store::create(&directory, &identity(*node))?))
        };
        let stores = nodes.iter().map(create).collect::<Result<_, StorageError>>()?;
        Ok(Self::Sync(stores, Memory::Fresh))
    }

    /// The log of one node that may have lived before, in `directory` if it is durable. `memory` is
    /// what an acceptor knows that has no log, or whose log is gone.
    pub(super) fn reopen(
        durability: &Durability,
        identity: &Identity,
        memory: Memory,
    ) -> Result<Self, StorageError> {
        let Durability::Sync(directory) = durability else { return Ok(Self::Memory(memory)) };
        let store = Store::open(directory, identity)?;
        Ok(Self::Sync(BTreeMap::from([(identity.node, store)]), memory))
    }

    /// The log of `node` in `ring`, and what it remembers.
    ///
    /// # Panics
    /// If `node` is not among those that were asked for.
    pub(super) fn open(
        &mut self,
        node: NodeId,
        ring: RingId,
        instances: usize,
    ) -> Result<(AcceptorLog, Recovered), StorageError> {
        match self {
            Self::Memory(memory) => {
                Ok((AcceptorLog::Memory(MemoryLog::new()), Recovered::nothing(*memory)))
            }
            Self::Sync(stores, memory) => {
                let store = stores.get_mut(&node).expect("a store a node");
                let Opened { log, recovered } = store.ring_or(ring, instances, *memory)?;
                let is_newborn = *memory == Memory::Newborn;
                let recovered = if is_newborn { recovered.or_newborn() } else { recovered };
                Ok((AcceptorLog::Sync(Box::new(log)), recovered))
            }
        }
    }
}
