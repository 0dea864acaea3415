//! The threads of a node or a cluster: how each kind is started, and how all of them end. The same
//! for a whole cluster in one process, for the nodes of a process, and for clients.

use super::bodies::{ClientBody, OrderingBody, Ran, Thread, WorkerBody};
use super::builder::Builder;
use super::config::ClusterError;
use super::digests::Markers;
use super::endpoint::{Body, Seed};
use super::ordering::Hosted;
use super::pulse::Pulse;
use super::worker::{Progressed, WorkerParts};
use super::{Book, Load, Positions, keeper};
use crate::host::affinity::{CpuId, allowed_cpus};
use crate::host::threads::{self, Ended};
use crate::multi_ring::NoFrames;
use crate::proxy::Proxy;
use crate::replica::Shared;
use crate::service::{GroupMap, Optimistic};
use crate::storage::CheckpointFile;
use crate::sync::Waker;
use crate::transport::middleware::Faults;
use crate::types::{GroupId, NodeId, ReplicaId, Time};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Where a thread runs, and what it hears.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) name: String,
    pub(super) seed: Seed,
    pub(super) cpu: Option<CpuId>,
    /// What a bad network does to what it receives.
    pub(super) faults: Option<Faults>,
}

/// Threads that are told to stop together.
#[derive(Debug)]
pub(super) struct Team<L> {
    /// What they have in common.
    pub(super) thread: Thread,
    threads: threads::Team<Result<Ran<L>, ClusterError>>,
    wakers: Vec<Waker>,
    /// Of each agent: its thread's name, and that it moves.
    pulses: Vec<(String, Arc<Pulse>)>,
}

impl<L: Send + 'static> Team<L> {
    pub(super) fn new(thread: Thread) -> Self {
        let threads = threads::Team::new(allowed_cpus());
        Self { thread, threads, wakers: Vec::new(), pulses: Vec::new() }
    }

    /// A thread of acceptors.
    pub(super) fn start_orderer(
        &mut self,
        spot: Spot,
        book: &Arc<Book>,
        positions: &Arc<Positions>,
        hosted: Vec<Hosted>,
    ) -> Result<(), ClusterError> {
        let (thread, book) = (self.thread.named(&spot.name), book.clone());
        self.watch(&thread);
        let body = OrderingBody { thread, book, positions: positions.clone(), hosted };
        self.start(spot, body, Ran::Ordering)
    }

    /// Thread `crew` of replica `replica`. Returns how far each of its workers will be, by group.
    pub(super) fn start_crew<S: Optimistic>(
        &mut self,
        spot: Spot,
        book: &Arc<Book>,
        (builder, shared): (&mut Builder, &Arc<Shared<S>>),
        (replica, crew): (ReplicaId, usize),
        markers: Markers,
    ) -> Result<Vec<(usize, Arc<Progressed>)>, ClusterError> {
        let (mut workers, mut progressed) = (Vec::new(), Vec::new());
        for group in builder.roster.groups_of_crew(crew) {
            shared.rendezvous().attach(GroupId::new(group), spot.seed.waker());
            let mut parts = builder.worker(replica, group, shared);
            if let Some(checkpoint) = shared.checkpoints().latest() {
                let WorkerParts { worker, subscription, .. } = &mut parts;
                let restored = worker.restore(&checkpoint, subscription, &mut NoFrames);
                restored.map_err(ClusterError::Checkpoint)?;
            }
            progressed.push((group, parts.progressed.clone()));
            workers.push(parts);
        }
        let (thread, book) = (self.thread.named(&spot.name), book.clone());
        self.watch(&thread);
        self.start(spot, WorkerBody { thread, book, workers, markers }, Ran::Workers)?;
        Ok(progressed)
    }

    /// The thread that keeps a replica's checkpoints in a file.
    pub(super) fn start_keeper<S: Optimistic>(
        &mut self,
        name: &str,
        file: CheckpointFile,
        shared: &Arc<Shared<S>>,
    ) -> Result<(), ClusterError> {
        let (shared, stop) = (shared.clone(), self.thread.stop.clone());
        let board = self.thread.board.clone();
        let run = move || {
            keeper::run(&file, shared.checkpoints(), &stop, &board);
            Ok(Ran::Workers(Vec::new()))
        };
        Ok(self.threads.spawn(name, None, run)?)
    }

    /// A thread of clients named `me`. `left` counts those whose loads are not over.
    pub(super) fn start_client<M>(
        &mut self,
        spot: Spot,
        book: &Arc<Book>,
        (me, proxy): (NodeId, Proxy<M>),
        load: L,
        left: &Arc<AtomicUsize>,
    ) -> Result<(), ClusterError>
    where
        M: GroupMap + Send + 'static,
        L: Load,
    {
        let (thread, book, left) = (self.thread.named(&spot.name), book.clone(), left.clone());
        let body = ClientBody { thread, me, book, proxy, load, left };
        self.start(spot, body, |ran| Ran::Client(Box::new(ran)))
    }

    fn start<B: Body + Send + 'static>(
        &mut self,
        spot: Spot,
        body: B,
        ran: fn(B::Output) -> Ran<L>,
    ) -> Result<(), ClusterError> {
        let Spot { name, seed, cpu, faults } = spot;
        self.wakers.push(seed.waker());
        self.thread.starting.fetch_add(1, Ordering::AcqRel);
        let run = move || seed.run(faults, body).map(ran);
        Ok(self.threads.spawn(&name, cpu, run)?)
    }

    fn watch(&mut self, thread: &Thread) {
        self.pulses.push((thread.name.clone(), thread.pulse.clone()));
    }

    /// Of the threads of acceptors and workers the one that has been silent for the longest at `now`.
    pub(super) fn most_silent(&self, now: Time) -> Option<(&str, Duration)> {
        let silence = self.pulses.iter().filter_map(|(name, pulse)| {
            let last = pulse.last()?;
            Some((name.as_str(), now.since(last)))
        });
        silence.max_by_key(|(_, silence)| *silence)
    }

    /// How many were started.
    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    /// The names of those that have ended already.
    pub(super) fn ended(&self) -> Vec<&str> {
        self.threads.ended()
    }

    /// The handle that wakes the `index`th.
    pub(super) fn waker(&self, index: usize) -> &Waker {
        &self.wakers[index]
    }

    /// Whether all of them serve.
    pub(super) fn is_ready(&self) -> bool {
        self.thread.starting.load(Ordering::Acquire) == 0
    }

    /// Has all of them look what there is to do.
    pub(super) fn wake(&self) {
        self.wakers.iter().for_each(Waker::wake);
    }

    /// Tells them to stop.
    pub(super) fn tell(&self) {
        self.thread.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
    }

    /// Stops and joins them: what each left behind, in the order of their start.
    pub(super) fn end(self) -> Vec<Result<Ran<L>, ClusterError>> {
        self.tell();
        let ran = |Ended { name, result }: Ended<Result<Ran<L>, ClusterError>>| match result {
            Ok(ran) => ran,
            Err(cause) => Err(ClusterError::Ended { name, cause: cause.to_string() }),
        };
        self.threads.join().into_iter().map(ran).collect()
    }
}
