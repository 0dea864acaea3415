//! Clients of a cluster whose nodes live in other processes.

use super::bodies::Ran;
use super::census::Census;
use super::config::ClusterError;
use super::endpoint::Seed;
use super::team::{Spot, Team};
use super::{ClientFigures, Load, site};
use crate::config::Cluster;
use crate::host::clock;
use crate::proxy::Proxy;
use crate::service::GroupMap;
use crate::sync::{CoreUse, WaitPolicy, Waker};
use crate::transport::middleware::Faults;
use crate::transport::udp;
use crate::types::{KeyNumber, SessionId};
use crate::wire::Keyring;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often the end of loads is looked for.
const LOOK: Duration = Duration::from_millis(1);

/// How clients of a cluster behave.
#[derive(Clone, Debug)]
pub struct RemoteClient<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// When a command is given up as unknown.
    pub deadline: Duration,
    /// The session that the first of them goes on with; `None`: all are new.
    pub session: Option<SessionId>,
    /// The address of the interface that they use; `None`: the one that leads to the cluster.
    pub interface: Option<Ipv4Addr>,
    /// The client's keys, if datagrams are authenticated.
    pub keyring: Option<Arc<Keyring>>,
    /// What a bad network does to received datagrams.
    pub faults: Option<Faults>,
}

/// Threads of clients that run, one load each.
pub struct Clients<L> {
    team: Team<L>,
    left: Arc<AtomicUsize>,
}

impl<L> std::fmt::Debug for Clients<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<L: Load + 'static> Clients<L> {
    /// Starts a thread for each of `loads`, which come with the number of their sessions.
    ///
    /// # Errors
    /// If the environment refuses what they need.
    pub fn launch<M: GroupMap + Clone + Send + 'static>(
        client: &RemoteClient<'_>,
        map: &M,
        loads: Vec<(usize, L)>,
    ) -> Result<Self, ClusterError> {
        let cluster = client.cluster;
        if let Some(unspoken) = cluster.unspoken() {
            return Err(unspoken.into());
        }
        let mut builder = site::builder(cluster, loads.len())?;
        builder.blueprint.deadline = client.deadline;
        let first = cluster.acceptors[0].address;
        let interface = client.interface.unwrap_or_else(|| interface_to(first));
        let there = site::threads_at(cluster, interface);
        let mut thread = site::thread(cluster, there + loads.len())?;
        if thread.core == CoreUse::Shared && thread.wait == WaitPolicy::Spin {
            thread.wait = WaitPolicy::Yield;
        }
        thread.keyring = client.keyring.clone();
        thread.census = Some(Arc::new(Census::new(cluster, loads.len(), Vec::new())));
        let number = client.keyring.as_ref().map_or(KeyNumber::NODES, |keyring| keyring.holder());
        let book = Arc::new(site::book(cluster));
        let mut clients = Self { team: Team::new(thread), left: Arc::new(loads.len().into()) };
        for (index, (sessions, load)) in loads.into_iter().enumerate() {
            let config = site::client_sockets(cluster, interface);
            let seed = Seed::Udp(Box::new(udp::Sockets::bind(&config)?), None);
            let config = builder.proxy(seed.address().with_key(number), sessions);
            let mut proxy = Proxy::new(config, map.clone(), clock::now());
            if let Some(session) = client.session.filter(|_| index == 0) {
                proxy.resume(0, session);
            }
            let faults = client.faults.clone();
            let faults = faults.map(|faults| Faults { seed: builder.random.next(), ..faults });
            let spot = Spot { name: format!("client-{index}"), seed, cpu: None, faults };
            let client = (builder.roster.client(index), proxy);
            if let Err(error) = clients.team.start_client(spot, &book, client, load, &clients.left)
            {
                // Those that run would never be told.
                clients.team.tell();
                return Err(error);
            }
        }
        Ok(clients)
    }

    /// The handle that wakes client thread `index`: its load has something to issue.
    ///
    /// # Panics
    /// If there is no such thread.
    #[must_use]
    pub fn waker(&self, index: usize) -> &Waker {
        self.team.waker(index)
    }

    /// Whether a thread has ended although its load was not over, or all loads are.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0 || self.team.ended().len() == self.team.len()
    }

    /// Waits for the ends of all loads, at most `patience`.
    pub fn wait(&self, patience: Duration) {
        let until = clock::now() + patience;
        self.team.wake();
        while !self.is_over() && clock::now() < until {
            std::thread::park_timeout(LOOK);
        }
    }

    /// Ends all threads: their loads, and what was counted.
    ///
    /// # Errors
    /// If a thread failed.
    pub fn stop(self) -> Result<Vec<(L, ClientFigures)>, ClusterError> {
        let client = |ran| match ran {
            Ran::Client(ran) => *ran,
            _ => unreachable!("these threads are clients"),
        };
        self.team.end().into_iter().map(|ran| ran.map(client)).collect()
    }
}

/// The address of the interface by which the kernel would send to `target`. Sends nothing.
pub(super) fn interface_to(target: SocketAddrV4) -> Ipv4Addr {
    let local = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(target).and_then(|()| socket.local_addr()));
    match local {
        Ok(SocketAddr::V4(local)) if !local.ip().is_unspecified() => *local.ip(),
        // The endpoint says what is wrong.
        _ => *target.ip(),
    }
}
