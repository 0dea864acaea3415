//! The way from settings to a running cluster, and from its counters to a report's.

use super::run::{Observed, RunError};
use super::{Generator, Separators, Service, Settings};
use crate::service::btree::{self, BTree, Pair, PartitionMap};
use crate::service::counters::{self, Bank};
use crate::service::null::Null;
use crate::service::{GroupMap, Optimistic};
use crate::types::{Digest, GroupSet, Random};
use std::sync::Arc;

/// Builds the services, launches the cluster, and waits for its end.
pub(super) fn launch(
    settings: &Settings,
    generators: Vec<Generator>,
) -> Result<Observed, RunError> {
    let environment = |error: &dyn std::error::Error| RunError::Environment(one_line(error));
    match settings.service {
        Service::Btree => {
            let tree = tree_settings(settings);
            let build = || build_tree(settings, tree).map(Arc::new);
            let services = replicas(settings, build).map_err(|error| environment(&error))?;
            run(settings, tree.digest(), services, &PartitionMap::new(&tree), generators)
        }
        Service::Null => {
            let build = || Ok::<_, RunError>(Arc::new(Null::new(settings.threads)));
            let services = replicas(settings, build)?;
            let map = MapOf(Arc::clone(&services[0]));
            run(settings, Digest(settings.threads as u64), services, &map, generators)
        }
        Service::Counters => {
            let groups = settings.threads;
            let counters = u32::try_from(settings.keys).expect("validated: below 2^32");
            let bank = counters::Settings { groups, counters, ..counters::Settings::default() };
            let build = || Bank::new(bank).map(Arc::new);
            let services = replicas(settings, build).map_err(|error| environment(&error))?;
            let map = MapOf(Arc::clone(&services[0]));
            let digest = Digest(groups as u64 | u64::from(counters) << 32);
            run(settings, digest, services, &map, generators)
        }
    }
}

fn replicas<S, E>(
    settings: &Settings,
    build: impl Fn() -> Result<Arc<S>, E>,
) -> Result<Vec<Arc<S>>, E> {
    (0..settings.replicas).map(|_| build()).collect()
}

fn tree_settings(settings: &Settings) -> btree::Settings {
    btree::Settings {
        groups: settings.threads,
        key_space: settings.key_space,
        capacity: settings.capacity,
        minimum_percent: settings.minimum,
        fill_percent: settings.fill,
        separators: match settings.separators {
            Separators::Natural => btree::Separators::Natural,
            Separators::Aligned => btree::Separators::Aligned,
        },
        ..btree::Settings::default()
    }
}

/// The even keys, each its own value.
fn build_tree(settings: &Settings, tree: btree::Settings) -> Result<BTree, btree::LoadError> {
    let pair = |key: u64| Pair { key, value: key };
    if !settings.grown {
        return BTree::load(tree, (0..settings.keys).map(|n| pair(2 * n)));
    }
    let mut keys: Vec<u64> = (0..settings.keys).map(|n| 2 * n).collect();
    Random::new(settings.seed).shuffle(&mut keys);
    BTree::grow(tree, keys.into_iter().map(pair))
}

/// A service as the map that clients use: they read nothing of it but its immutable settings.
#[derive(Debug)]
struct MapOf<S>(Arc<S>);

impl<S> Clone for MapOf<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: GroupMap> GroupMap for MapOf<S> {
    fn groups(&self) -> usize {
        self.0.groups()
    }

    fn conservative(&self, command: &[u8]) -> GroupSet {
        self.0.conservative(command)
    }

    fn optimistic(&self, command: &[u8]) -> GroupSet {
        self.0.optimistic(command)
    }

    fn is_read(&self, command: &[u8]) -> bool {
        self.0.is_read(command)
    }
}

fn run<S, M>(
    settings: &Settings,
    _service_digest: Digest,
    _services: Vec<Arc<S>>,
    _map: &M,
    _generators: Vec<Generator>,
) -> Result<Observed, RunError>
where
    S: Optimistic,
    M: GroupMap + Clone + Send + 'static,
{
    let transport = settings.transport;
    Err(RunError::Environment(format!("--transport {transport}: this build has no cluster yet")))
}

/// An error and its sources, told once each.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = cause.source();
    }
    message
}
