//! The agent of one worker of one replica: learners, merge, execution and replies on one thread.

use super::agent::Agent;
use super::post::Post;
use super::replies::OpenReplies;
use super::{Book, DropCounters};
use crate::mem::{Frame, Pool};
use crate::multi_ring::{Subscription, SubscriptionCounters};
use crate::replica::{Progress, PsmrWorker, Steps, Worker, WorkerCounters, WorkerOutbox};
use crate::ring_paxos::{Destination, Outbox, Proposer};
use crate::service::Optimistic;
use crate::sync::Waker;
use crate::transport::{Endpoint, Receive, ReceiveCounters, Transmit, TransmitCounters};
use crate::types::{Address, NodeId, RingId, Time};
use crate::wire::{self, Command, Identity, Kind, MAX_BATCH, Message, Propose, Reply, Writer};
use crossbeam_utils::CachePadded;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Commands that one duty cycle executes before it looks at the network again.
const BUDGET: Steps = Steps(1024);

/// Duty cycles inside a rendezvous that leave the network alone: those in which the worker went on,
/// and those in a row in which it did not. A rendezvous takes well below a microsecond where the
/// workers have their cores, and a look at the network with a datagram of one reply costs several;
/// after as many cycles the replies have company. Below the yields that precede a sleep, so that
/// nothing is kept back in it.
const MOVING: u32 = 64;
const WAITING: u32 = 2;

/// How far a worker is, for whoever waits until replicas are level.
#[derive(Debug, Default)]
pub(super) struct Progressed(CachePadded<AtomicU64>);

impl Progressed {
    fn publish(&self, position: u64) {
        if self.0.load(Ordering::Relaxed) != position {
            self.0.store(position, Ordering::Relaxed);
        }
    }

    /// Values delivered so far.
    pub(super) fn position(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker of one replica.
#[derive(Debug)]
pub(super) struct WorkerAgent<E, S: Optimistic> {
    me: NodeId,
    endpoint: E,
    identity: Identity,
    book: Arc<Book>,
    counter: u64,
    subscription: Subscription,
    worker: PsmrWorker<S>,
    replies: OpenReplies,
    proposals: Proposals,
    frames: Vec<Frame>,
    drops: DropCounters,
    progressed: Arc<Progressed>,
    /// Cycles since the network was looked at: in which the worker went on, and did not.
    moved: u32,
    waited: u32,
}

/// What a worker agent counted.
#[derive(Clone, Debug)]
pub struct WorkerFigures {
    /// The execution.
    pub worker: WorkerCounters,
    /// Learners and merge.
    pub subscription: SubscriptionCounters,
    /// The receiving half.
    pub received: ReceiveCounters,
    /// The sending half.
    pub sent: TransmitCounters,
    /// Datagrams dropped, by reason.
    pub drops: DropCounters,
}

/// What a worker agent is made of.
pub(super) struct WorkerParts<S: Optimistic> {
    pub(super) me: NodeId,
    pub(super) identity: Identity,
    pub(super) book: Arc<Book>,
    pub(super) subscription: Subscription,
    pub(super) worker: PsmrWorker<S>,
    pub(super) proposers: Vec<Proposer>,
    pub(super) progressed: Arc<Progressed>,
}

impl<E: Endpoint, S: Optimistic> WorkerAgent<E, S> {
    pub(super) fn new(endpoint: E, parts: WorkerParts<S>) -> Self {
        let WorkerParts { me, identity, book, subscription, worker, proposers, progressed } = parts;
        Self {
            me,
            endpoint,
            identity,
            book,
            counter: 0,
            subscription,
            worker,
            replies: OpenReplies::new(),
            proposals: Proposals::new(proposers),
            frames: Vec::with_capacity(super::FRAMES),
            drops: DropCounters::default(),
            progressed,
            moved: 0,
            waited: 0,
        }
    }

    pub(super) fn figures(&mut self) -> WorkerFigures {
        let (receive, transmit) = self.endpoint.split();
        WorkerFigures {
            worker: self.worker.counters(),
            subscription: self.subscription.counters(),
            received: receive.counters(),
            sent: transmit.counters(),
            drops: self.drops,
        }
    }

    fn receive(&mut self, now: Time) -> usize {
        let (receive, _) = self.endpoint.split();
        receive.poll(now, &mut self.frames);
        let count = self.frames.len();
        for frame in self.frames.drain(..) {
            let (header, body) = match wire::open(&self.identity, receive.bytes(&frame)) {
                Ok(opened) => opened,
                Err(reason) => {
                    self.drops.count(reason);
                    receive.release(frame);
                    continue;
                }
            };
            match Kind::from_wire(header.kind) {
                Some(Kind::Redirect | Kind::Refused) => {
                    match Message::decode(header.kind, body) {
                        Ok(message) => self.proposals.on_answer(header.ring, &message),
                        Err(reason) => self.drops.count(reason),
                    }
                    receive.release(frame);
                }
                _ => {
                    if header.kind == Kind::Heartbeat as u8
                        && let Ok(message) = Message::decode(header.kind, body)
                    {
                        self.proposals.on_answer(header.ring, &message);
                    }
                    self.subscription.on_frame(frame, &header, receive);
                }
            }
        }
        count
    }
}

impl<E: Endpoint, S: Optimistic> WorkerAgent<E, S> {
    /// A cycle without the network, inside a rendezvous: how much was done, and whether a whole
    /// cycle is due.
    #[inline]
    fn meet(&mut self, now: Time) -> (u32, bool) {
        if !self.worker.is_meeting() || self.moved >= MOVING || self.waited >= WAITING {
            return (0, true);
        }
        let (receive, transmit) = self.endpoint.split();
        let post = Post {
            me: self.me,
            identity: &self.identity,
            book: &self.book,
            counter: &mut self.counter,
            transmit,
        };
        let Self { replies, proposals, .. } = self;
        let mut out = WorkerPost { post, replies, proposals };
        let mut feed = self.subscription.deliveries(receive);
        match self.worker.poll(&mut feed, BUDGET, now, &mut out) {
            Progress::Worked(steps) => {
                self.moved += 1;
                self.waited = 0;
                // Out of it with nothing more to do: the replies leave.
                (steps, !self.worker.is_meeting())
            }
            Progress::Idle | Progress::Blocked(_) => {
                self.waited += 1;
                (0, false)
            }
        }
    }
}

impl<E: Endpoint, S: Optimistic> Agent for WorkerAgent<E, S> {
    fn do_work(&mut self, now: Time) -> io::Result<u32> {
        let (mut work, is_whole) = self.meet(now);
        if !is_whole {
            return Ok(work);
        }
        (self.moved, self.waited) = (0, 0);
        work += u32::try_from(self.receive(now)).expect("bounded by FRAMES");
        let (receive, transmit) = self.endpoint.split();
        let post = Post {
            me: self.me,
            identity: &self.identity,
            book: &self.book,
            counter: &mut self.counter,
            transmit,
        };
        let Self { replies, proposals, .. } = self;
        let mut out = WorkerPost { post, replies, proposals };
        let mut feed = self.subscription.deliveries(receive);
        if let Progress::Worked(steps) = self.worker.poll(&mut feed, BUDGET, now, &mut out) {
            work += steps;
        }
        if self.worker.next_timeout().is_some_and(|due| due <= now) {
            self.worker.on_timeout(now, &mut out);
            work += 1;
        }
        if self.subscription.next_timeout().is_some_and(|due| due <= now) {
            self.subscription.on_timeout(now, &mut out.post);
        }
        self.subscription.on_cycle_end(receive, now, &mut out.post);
        out.flush();
        transmit.flush()?;
        self.progressed.publish(self.worker.position());
        Ok(work)
    }

    fn next_timeout(&self) -> Option<Time> {
        let due = [self.worker.next_timeout(), self.subscription.next_timeout()];
        due.into_iter().flatten().min()
    }

    fn awaits_handover(&self) -> bool {
        self.worker.is_meeting()
    }

    fn park(&mut self, timeout: Duration) -> io::Result<()> {
        self.endpoint.park(timeout)
    }

    fn waker(&self) -> Waker {
        self.endpoint.waker()
    }
}

/// What a worker says: replies by address, commands by ring.
struct WorkerPost<'a, T> {
    post: Post<'a, T>,
    replies: &'a mut OpenReplies,
    proposals: &'a mut Proposals,
}

impl<T: Transmit> WorkerPost<'_, T> {
    fn flush(&mut self) {
        let Self { post, replies, proposals } = self;
        replies.drain(|to, body| send_replies(post, to, body));
        proposals.flush(post);
    }
}

impl<T: Transmit> WorkerOutbox for WorkerPost<'_, T> {
    #[inline]
    fn reply(&mut self, to: Address, reply: &Reply<'_>) {
        let Self { post, replies, .. } = self;
        replies.push(to, reply, |to, body| send_replies(post, to, body));
    }

    fn multicast(&mut self, command: &Command<'_>) {
        self.proposals.push(command, &mut self.post);
    }
}

fn send_replies<T: Transmit>(post: &mut Post<'_, T>, to: Address, body: &[u8]) {
    post.send(Destination::Address(to), RingId(0), &Message::Replies(body));
}

/// The open proposal of each ring: commands that this replica multicasts again.
#[derive(Debug)]
struct Proposals {
    rings: Vec<(Proposer, Vec<u8>)>,
}

impl Proposals {
    fn new(proposers: Vec<Proposer>) -> Self {
        let open = |proposer| (proposer, Vec::with_capacity(MAX_BATCH));
        Self { rings: proposers.into_iter().map(open).collect() }
    }

    fn on_answer(&mut self, ring: RingId, message: &Message<'_>) {
        let Some((proposer, _)) = self.rings.get_mut(usize::from(ring.0)) else { return };
        match message {
            Message::Redirect(redirect) => proposer.on_redirect(redirect.ballot),
            Message::Heartbeat(heartbeat) => proposer.on_heartbeat(heartbeat.ballot),
            _ => {} // Refused: the worker repeats by its own timer.
        }
    }

    fn push(&mut self, command: &Command<'_>, out: &mut impl Outbox) {
        let groups = self.rings.len().saturating_sub(1).max(1);
        let ring = command.header.groups.ring(groups);
        let length = command.encoded_length();
        let (proposer, open) = &mut self.rings[usize::from(ring.0)];
        if open.len() + length > MAX_BATCH {
            propose(ring, proposer, open, out);
        }
        let at = open.len();
        open.resize(at + length, 0);
        command.encode(&mut Writer::new(&mut open[at..]));
    }

    fn flush(&mut self, out: &mut impl Outbox) {
        for (ring, (proposer, open)) in (0u16..).map(RingId).zip(&mut self.rings) {
            if !open.is_empty() {
                propose(ring, proposer, open, out);
            }
        }
    }
}

fn propose(ring: RingId, proposer: &mut Proposer, open: &mut Vec<u8>, out: &mut impl Outbox) {
    let message = Message::Propose(Propose { number: proposer.next_number(), commands: open });
    out.send(Destination::Node(proposer.target()), ring, &message);
    open.clear();
}
