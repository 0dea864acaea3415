//! Where each node of the cluster listens.

use crate::types::{Address, NodeId};

/// Node -> unicast address of the agent that hosts it. Of one epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct Book(Vec<Address>);

impl Book {
    /// Enters `node`.
    pub(super) fn enter(&mut self, node: NodeId, address: Address) {
        let index = usize::from(node.0);
        if self.0.len() <= index {
            self.0.resize(index + 1, Address::NONE);
        }
        self.0[index] = address;
    }

    /// Where anybody listens, each place once.
    pub(super) fn addresses(&self) -> Vec<Address> {
        let mut addresses: Vec<Address> = Vec::new();
        for address in self.0.iter().filter(|address| **address != Address::NONE) {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }

    /// Where `node` listens; [`Address::NONE`] leads nowhere and is counted as lost.
    pub(super) fn address(&self, node: NodeId) -> Address {
        self.0.get(usize::from(node.0)).copied().unwrap_or(Address::NONE)
    }
}
