//! What a process takes for its nodes before any of them begins: names, directories and ports. What
//! can be refused is refused here.

use super::endpoint::Seed;
use super::home::{Home, HomeError};
use super::process::{Launch, NodeError, failed};
use super::site;
use crate::config::{self, Cluster};
use crate::host::{clock, ports};
use crate::transport::udp;
use crate::types::{NodeId, ReplicaId, RingId};
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::Duration;

/// How long a port may be in use that a process has, and one that none has any more.
const BIND_PATIENCE: Duration = Duration::from_secs(1);
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// What a node is, its number, and what a replica replicates.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role<S> {
    Acceptor(NodeId),
    Replica(ReplicaId, S),
}

impl Role<()> {
    /// The role with its service, if it has one.
    pub(super) fn equip<S, E>(self, build: impl Fn() -> Result<S, E>) -> Result<Role<S>, E> {
        Ok(match self {
            Self::Acceptor(me) => Role::Acceptor(me),
            Self::Replica(me, ()) => Role::Replica(me, build()?),
        })
    }
}

/// A node that is about to start: all that can be refused has been granted.
pub(super) struct Bound<'a> {
    pub(super) node: &'a config::Node,
    pub(super) role: Role<()>,
    pub(super) home: Home,
    /// The sockets of its threads.
    pub(super) seeds: Vec<Seed>,
}

/// What each id is.
pub(super) fn roles<'a>(
    launch: &Launch<'a>,
) -> Result<Vec<(&'a config::Node, Role<()>)>, NodeError> {
    let Cluster { acceptors, replicas, .. } = launch.cluster;
    let mut roles: Vec<(&config::Node, Role<()>)> = Vec::new();
    for id in launch.ids {
        let find = |nodes: &'a [config::Node]| nodes.iter().find(|node| node.id == *id);
        let replica = |node: &config::Node| {
            ReplicaId(u8::try_from(node.number).expect("replicas are below 32"))
        };
        let found = find(acceptors)
            .map(|node| (node, Role::Acceptor(NodeId(node.number))))
            .or_else(|| find(replicas).map(|node| (node, Role::Replica(replica(node), ()))));
        let Some(found) = found else {
            let known: Vec<&str> = launch.cluster.nodes().map(|node| node.id.as_str()).collect();
            let epoch = launch.cluster.epoch;
            return Err(NodeError::Unknown { id: id.clone(), epoch, known: known.join(", ") });
        };
        if roles.iter().any(|(node, _)| node.id == *id) {
            return Err(NodeError::Twice(id.clone()));
        }
        roles.push(found);
    }
    Ok(roles)
}

/// Takes what each node needs. One that waits for somebody to look at it keeps the others of its
/// process from nothing.
#[expect(clippy::type_complexity, reason = "two lists")]
pub(super) fn bind_all<'a>(
    launch: &Launch<'a>,
    roles: Vec<(&'a config::Node, Role<()>)>,
) -> Result<(Vec<Bound<'a>>, Vec<(String, HomeError)>), NodeError> {
    let (mut bound, mut left_out) = (Vec::new(), Vec::new());
    for (node, role) in roles {
        match bind(launch, (node, role)) {
            Err(NodeError::Home(error @ HomeError::Divided { .. })) => {
                left_out.push((node.id.clone(), error));
            }
            taken => bound.push(taken?),
        }
    }
    if bound.is_empty()
        && let Some((_, error)) = left_out.pop()
    {
        return Err(error.into());
    }
    Ok((bound, left_out))
}

/// Takes a node's directory and its ports.
fn bind<'a>(
    launch: &Launch<'a>,
    (node, role): (&'a config::Node, Role<()>),
) -> Result<Bound<'a>, NodeError> {
    let cluster = launch.cluster;
    let home = Home::take(&launch.data_dir, cluster, node)?;
    let roster = site::roster(cluster, 0);
    let subscriptions: Vec<BTreeSet<RingId>> = match role {
        Role::Acceptor(_) => vec![roster.rings().collect()],
        Role::Replica(..) => {
            let rings = |crew| {
                let groups = roster.groups_of_crew(crew);
                groups.flat_map(|group| roster.rings_of_worker(group)).collect()
            };
            (0..roster.crews).map(rings).collect()
        }
    };
    let bind = |(port, rings): (u16, BTreeSet<RingId>)| {
        let address = SocketAddrV4::new(*node.address.ip(), port);
        let config = site::sockets(cluster, address, rings.into_iter().collect());
        let sockets = bind_patiently(&config)?;
        Ok(Seed::Udp(Box::new(sockets), None))
    };
    let seeds = (node.address.port()..).zip(subscriptions).map(bind);
    let seeds = seeds
        .collect::<Result<_, _>>()
        .map_err(|error: udp::LaunchError| failed(&node.id, error.into()))?;
    Ok(Bound { node, role, home, seeds })
}

/// Binds sockets. The kernel closes those of a process that was killed a little after its end, since
/// an io_uring held them, and much later where all cores are busy: a port that is in use may be free
/// in a moment.
fn bind_patiently(config: &udp::Config) -> Result<udp::Sockets, udp::LaunchError> {
    let begin = clock::now();
    let mut patience = BIND_PATIENCE;
    loop {
        let bound = udp::Sockets::bind(config);
        let Err(udp::LaunchError::PortInUse { address, .. }) = bound else { return bound };
        let waited = clock::now().since(begin);
        if waited >= BIND_PATIENCE && patience == BIND_PATIENCE && ports::holder(address).is_none()
        {
            patience = RELEASE_PATIENCE;
        }
        if waited >= patience {
            return bound;
        }
        std::thread::park_timeout(BIND_PAUSE);
    }
}
