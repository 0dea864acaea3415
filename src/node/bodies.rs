//! What each kind of thread runs: from the parts that cross to it, to what it leaves behind.

use super::agent::{self, Agent};
use super::board::Board;
use super::census::{Census, Registrar};
use super::client::ClientAgent;
use super::config::ClusterError;
use super::desk::Desk;
use super::digests::Markers;
use super::endpoint::Body;
use super::ordering::{Hosted, OrderingAgent};
use super::pulse::Pulse;
use super::watchdog::Halt;
use super::worker::{WorkerAgent, WorkerParts};
use super::{Book, ClientFigures, Load, OrderingFigures, Positions, WorkerFigures};
use crate::host::threads::ThreadError;
use crate::host::usage::draw_incarnation;
use crate::proxy::Proxy;
use crate::service::{GroupMap, Optimistic};
use crate::storage::StorageError;
use crate::sync::{CoreUse, WaitPolicy, Waiter};
use crate::transport::Endpoint;
use crate::types::NodeId;
use crate::wire::{Gate, Identity, Keyring};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What every thread has in common.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub(super) name: String,
    pub(super) identity: Identity,
    /// By which its datagrams are authenticated, if they are.
    pub(super) keyring: Option<Arc<Keyring>>,
    pub(super) wait: WaitPolicy,
    pub(super) core: CoreUse,
    /// What is decided is on disks first.
    pub(super) is_durable: bool,
    pub(super) stop: Arc<AtomicBool>,
    /// Threads whose agents do not run yet.
    pub(super) starting: Arc<AtomicUsize>,
    /// What the threads of the same node tell each other.
    pub(super) board: Arc<Board>,
    /// Its own: that it moves.
    pub(super) pulse: Arc<Pulse>,
    /// The node that it is a thread of; none of a cluster that is one process, or of a client.
    pub(super) node: String,
    /// The epoch in which that node came.
    pub(super) since: u32,
    /// Who the members are; none where they stay.
    pub(super) census: Option<Arc<Census>>,
}

impl Thread {
    pub(super) fn new(wait: WaitPolicy, identity: Identity, core: CoreUse) -> Self {
        Self {
            name: String::new(),
            identity,
            keyring: None,
            wait,
            core,
            is_durable: false,
            stop: Arc::default(),
            starting: Arc::default(),
            board: Arc::new(Board::new(0)),
            pulse: Arc::default(),
            node: String::new(),
            since: 1,
            census: None,
        }
    }

    pub(super) fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), pulse: Arc::default(), ..self.clone() }
    }

    fn desk(&self) -> Desk {
        Desk::new(self.board.clone(), self.registrar(), (&self.node, self.since))
    }

    fn registrar(&self) -> Registrar {
        Registrar::new(self.census.clone(), self.identity.epoch)
    }

    /// A gate of its own.
    fn gate(&self) -> Result<Gate, ClusterError> {
        let Some(keyring) = &self.keyring else { return Ok(Gate::new(self.identity)) };
        let salt = draw_incarnation().map_err(ClusterError::Random)?.0.max(1);
        Ok(Gate::with_keys(self.identity, keyring.clone(), salt))
    }

    fn run(&self, agent: &mut impl Agent) -> Result<(), ClusterError> {
        let waiter = Waiter::new(self.wait, self.core);
        let waiter = if self.is_durable { waiter.behind_disks() } else { waiter };
        agent::run(agent, waiter, &self.stop, &self.pulse).map_err(|source| self.failed(source))
    }

    /// Its network failed, or the log of one of its acceptors, or it stopped itself.
    fn failed(&self, source: io::Error) -> ClusterError {
        let name = self.name.clone();
        let source = match source.downcast::<StorageError>() {
            Ok(error) => return ClusterError::Log { name, error },
            Err(source) => source,
        };
        match source.downcast::<Halt>() {
            Ok(halt) => ClusterError::Halted { name, halt },
            Err(source) => ClusterError::Network { name, source },
        }
    }
}

/// What a thread leaves behind.
#[derive(Debug)]
pub(super) enum Ran<L> {
    Ordering(OrderingFigures),
    Workers(Vec<WorkerFigures>),
    Client(Box<(L, ClientFigures)>),
}

/// A thread of acceptors.
pub(super) struct OrderingBody {
    pub(super) thread: Thread,
    pub(super) book: Arc<Book>,
    pub(super) positions: Arc<Positions>,
    pub(super) hosted: Vec<Hosted>,
}

impl Body for OrderingBody {
    type Output = OrderingFigures;

    fn run<E: Endpoint>(self, endpoint: E) -> Result<OrderingFigures, ClusterError> {
        let Self { thread, book, positions, hosted } = self;
        let gate = thread.gate()?;
        let agent = OrderingAgent::new(endpoint, gate, book, positions, (hosted, thread.desk()));
        let mut agent = agent.map_err(|source| thread.failed(source))?;
        thread.starting.fetch_sub(1, Ordering::Release);
        let ran = thread.run(&mut agent);
        ran.and_then(|()| agent.close().map_err(|source| thread.failed(source)))?;
        Ok(agent.figures())
    }
}

/// A thread of one or several workers of a replica.
pub(super) struct WorkerBody<S: Optimistic> {
    pub(super) thread: Thread,
    pub(super) book: Arc<Book>,
    pub(super) workers: Vec<WorkerParts<S>>,
    /// Of one thread of a replica; the others have none.
    pub(super) markers: Markers,
}

impl<S: Optimistic> Body for WorkerBody<S> {
    type Output = Vec<WorkerFigures>;

    fn run<E: Endpoint>(self, endpoint: E) -> Result<Vec<WorkerFigures>, ClusterError> {
        let Self { thread, book, workers, markers } = self;
        let gate = thread.gate()?;
        thread.starting.fetch_sub(1, Ordering::Release);
        let mut agent = WorkerAgent::new(endpoint, gate, book, (workers, thread.desk()), markers);
        // Nothing of the agent is used after a panic but where it stood.
        let ran = catch_unwind(AssertUnwindSafe(|| thread.run(&mut agent)));
        ran.unwrap_or_else(|panic| {
            let cause = ThreadError::of(&*panic).to_string();
            Err(ClusterError::Panicked { name: thread.name, cause, places: agent.places() })
        })?;
        Ok(agent.figures())
    }
}

/// A thread of clients.
pub(super) struct ClientBody<M, L> {
    pub(super) thread: Thread,
    pub(super) me: NodeId,
    pub(super) book: Arc<Book>,
    pub(super) proxy: Proxy<M>,
    pub(super) load: L,
    /// Client threads whose loads are not over.
    pub(super) left: Arc<AtomicUsize>,
}

impl<M: GroupMap, L: Load> Body for ClientBody<M, L> {
    type Output = (L, ClientFigures);

    fn run<E: Endpoint>(self, endpoint: E) -> Result<(L, ClientFigures), ClusterError> {
        let Self { thread, me, book, proxy, load, left } = self;
        let gate = thread.gate()?;
        // A proposal that nobody hears yet would wait for its time-out.
        thread.starting.fetch_sub(1, Ordering::Release);
        while thread.starting.load(Ordering::Acquire) > 0 && !thread.stop.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let registrar = thread.registrar();
        let mut agent = ClientAgent::new(endpoint, me, (gate, registrar), book, (proxy, load));
        let result = thread.run(&mut agent);
        left.fetch_sub(1, Ordering::Release);
        result?;
        Ok(agent.finish())
    }
}
