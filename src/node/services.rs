//! From the service that a configuration names to its type.

use crate::config::{Btree, Service};
use crate::service::btree::{self, BTree, Pair, PartitionMap};
use crate::service::counters::{self, Bank};
use crate::service::null::Null;
use crate::service::{GroupMap, Optimistic};
use crate::types::Random;
use std::sync::Arc;
use thiserror::Error;

/// Why a service could not be made.
#[derive(Debug, Error)]
#[error("{0}: change the settings of the service in cluster.toml")]
pub struct BuildError(String);

impl BuildError {
    /// What stands in the way, without a remedy.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.0
    }
}

/// How a tree comes to the keys that it starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Growth {
    /// They are loaded in their order.
    #[default]
    Loaded,
    /// They are inserted in a random order, by this seed.
    Grown(u64),
}

/// What is done with a service of whatever type.
pub trait WithService {
    /// What comes of it.
    type Output;

    /// `build` makes a replica's copy, in the state that all of them start with; clients map
    /// commands with `map`.
    fn run<S, M>(self, build: impl Fn() -> Result<Arc<S>, BuildError>, map: M) -> Self::Output
    where
        S: Optimistic,
        M: GroupMap + Clone + Send + Sync + 'static;
}

/// Calls `visitor` with what `service` is.
///
/// # Errors
/// If the settings of the service contradict each other.
pub fn with_service<V: WithService>(
    service: &Service,
    groups: usize,
    growth: Growth,
    visitor: V,
) -> Result<V::Output, BuildError> {
    let failed = |error: &dyn std::error::Error| BuildError(error.to_string());
    match *service {
        Service::Btree(tree) => {
            let settings = tree_settings(&tree, groups);
            settings.validate().map_err(|error| failed(&error))?;
            let build = || {
                let tree = build_tree(settings, tree.keys, growth);
                tree.map(Arc::new).map_err(|error| failed(&error))
            };
            Ok(visitor.run(build, PartitionMap::new(&settings)))
        }
        Service::Counters(counters) => {
            let settings = counters::Settings { groups, counters, ..Default::default() };
            let build = || Bank::new(settings).map(Arc::new).map_err(|error| failed(&error));
            // Clients read nothing of a service but its immutable settings.
            let map = build()?;
            Ok(visitor.run(build, map))
        }
        Service::Null { work } => {
            let build = || Ok(Arc::new(Null::new(groups).with_work(work)));
            let map = Arc::new(Null::new(groups));
            Ok(visitor.run(build, map))
        }
    }
}

/// A tree of the even numbers below `2 * keys`, each its own value.
///
/// # Errors
/// If there is no memory for it.
pub fn build_tree(
    settings: btree::Settings,
    keys: u64,
    growth: Growth,
) -> Result<BTree, btree::LoadError> {
    let pair = |key: u64| Pair { key, value: key };
    match growth {
        Growth::Loaded => BTree::load(settings, (0..keys).map(|n| pair(2 * n))),
        Growth::Grown(seed) => {
            let mut keys: Vec<u64> = (0..keys).map(|n| 2 * n).collect();
            Random::new(seed).shuffle(&mut keys);
            BTree::grow(settings, keys.into_iter().map(pair))
        }
    }
}

/// What `tree` of so many groups is made by.
#[must_use]
pub fn tree_settings(tree: &Btree, groups: usize) -> btree::Settings {
    btree::Settings {
        groups,
        key_space: tree.key_space,
        capacity: tree.capacity,
        minimum_percent: tree.minimum,
        fill_percent: tree.fill,
        separators: if tree.is_aligned {
            btree::Separators::Aligned
        } else {
            btree::Separators::Natural
        },
        ..btree::Settings::default()
    }
}
