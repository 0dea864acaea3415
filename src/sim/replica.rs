//! A process that executes: one worker of one replica with its learners, as on one thread of a real
//! host. Workers of a replica are processes of their own here: each can stand still alone.

use super::digesting::{Comparison, Found};
use super::host::{Cycle, Received};
use super::keeper::Keeper;
use super::observed::Observed;
use super::pool::FramePool;
use super::post::Post;
use super::services::SimService;
use super::trace::hash_bytes;
use crate::mem::Pool;
use crate::multi_ring::{Proposals, RingPosition, Subscription};
use crate::replica::{
    CheckpointTimer, Deliveries, Delivery, Progress, PsmrWorker, SessionTimer, Steps, Worker,
    WorkerOutbox,
};
use crate::ring_paxos::{Destination, Outbox};
use crate::types::{Address, GroupId, NodeId, RingId, Slot, Time};
use crate::wire::{
    self, CheckpointRequest, Command, Control, DigestReport, DigestVote, Kind, Message, Reply,
    Room, Writer,
};
use std::cell::Cell;
use std::rc::Rc;

/// A delivered batch: its place and the hash of its bytes.
pub(super) type Batch = (Delivery, u64);

/// One worker of one replica.
#[derive(Debug)]
pub(super) struct WorkerHost<S: SimService> {
    pub(super) me: NodeId,
    /// Its replica and its number in it.
    pub(super) place: (usize, usize),
    pub(super) subscription: Subscription,
    pub(super) worker: PsmrWorker<Observed<S>>,
    pub(super) pool: FramePool,
    pub(super) proposals: Proposals,
    /// Asks for checkpoints.
    pub(super) timer: Option<CheckpointTimer>,
    /// Expires sessions of silent clients.
    pub(super) silence: Option<SessionTimer>,
    /// The life of its replica.
    pub(super) life: u64,
    /// By worker of the replica: to which of its markers of silence it has come.
    pub(super) passed: Rc<[Cell<u64>]>,
    /// What the workers of its replica find at digest points, and how the first one compares that with
    /// what others have found.
    pub(super) found: Rc<Found>,
    pub(super) comparison: Option<Comparison>,
    /// Votes that have come in the order in this cycle.
    pub(super) votes: Vec<DigestVote>,
    /// Keeps the checkpoints of its replica, if it is the first worker.
    pub(super) keeper: Option<Keeper>,
    /// Its replica lacked its state when it was looked last.
    pub(super) stands_by: bool,
    /// Where it went on, if it took up a checkpoint since the checkers looked.
    pub(super) jumped: Option<Vec<RingPosition>>,
    /// What was delivered since the checkers looked.
    pub(super) delivered: Vec<Batch>,
    pub(super) progress: Progress,
    pub(super) counter: u64,
}

impl<S: SimService> WorkerHost<S> {
    /// One duty cycle.
    pub(super) fn run(&mut self, received: &mut Vec<Received>, cycle: &mut Cycle<'_>) {
        let now = cycle.now;
        for datagram in received.drain(..) {
            self.receive(datagram, cycle);
        }
        let post = Post {
            me: self.me,
            identity: cycle.identity,
            counter: &mut self.counter,
            office: cycle.office,
        };
        let mut out = WorkerPost {
            post,
            replies: Vec::new(),
            proposals: &mut self.proposals,
            room: self.worker.config().room,
            life: self.life,
            passed: &self.passed,
            found: &self.found,
            votes: &mut self.votes,
        };
        let Self { worker, subscription, pool, timer, .. } = self;
        let was_muted = worker.is_muted();
        let lacked = subscription.needs_state_transfer().is_some();
        let stood_by = std::mem::replace(
            &mut self.stands_by,
            worker.stands_by(subscription, pool, now, &mut out),
        );
        if self.stands_by {
            self.progress = Progress::Idle;
        } else {
            if stood_by {
                // It may well be where it was: then the value that was in use comes again.
                self.jumped = Some(subscription.position().collect());
            }
            let feed = subscription.deliveries(pool);
            let mut watched = Watched { feed, delivered: &mut self.delivered };
            self.progress = worker.poll(&mut watched, Steps(cycle.budget), now, &mut out);
            worker.keep_checkpoints(subscription);
            worker.note_progress(subscription);
            let shared = worker.shared();
            if let Some(timer) = timer.as_mut().filter(|_| !was_muted) {
                timer.look(shared.checkpoints(), now, |command| out.multicast(command));
            }
        }
        // Whoever catches up has nothing to say: what it delivers was answered long ago.
        let catches_up = was_muted && (lacked || !subscription.has_caught_up());
        if catches_up && !out.replies.is_empty() {
            out.report_answer(self.place);
        }
        if let Some(silence) = &mut self.silence {
            let has_passed = |number| self.passed.iter().all(|passed| passed.get() >= number);
            let activity = |place| self.worker.shared().activity(place);
            silence.look(has_passed, activity, now, |command| out.multicast(command));
        }
        let at = self.subscription.position().last().map_or(Slot(0), |position| position.slot);
        self.found.publish(self.place.1, at, self.worker.counters().executed);
        if let Some(comparison) = &mut self.comparison {
            let (place, is_muted) = (self.place, self.worker.is_muted());
            compare(comparison, (place, is_muted), now, &mut out);
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.run(self.worker.shared().checkpoints(), now);
        }
        if self.worker.next_timeout().is_some_and(|due| due <= now) {
            self.worker.on_timeout(now, &mut out);
        }
        if self.subscription.next_timeout().is_some_and(|due| due <= now) {
            self.subscription.on_timeout(now, &mut out.post);
        }
        self.subscription.on_cycle_end(&mut self.pool, now, &mut out.post);
        out.flush();
        assert_eq!(self.pool.out(), 0, "a learner holds no frame beyond its duty cycle");
    }

    /// Where it stands, for the reader of a violation.
    pub(super) fn describe(&self) -> String {
        let checkpoints = self.worker.shared().checkpoints();
        let is_muted = self.worker.is_muted();
        let (slot, is_busy) = (checkpoints.slot(), checkpoints.is_busy());
        let moved = checkpoints.moved();
        format!(
            "worker {:?}: {:?}, muted {is_muted}, checkpoint {slot:?}, under way {is_busy}, moved {moved}",
            self.place, self.progress
        )
    }

    /// When it wants to run again although nothing arrives.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let timer = self.timer.as_ref().filter(|_| !self.worker.is_muted());
        let timer = timer.map(CheckpointTimer::next_timeout);
        let keeper = self.keeper.as_ref().map(Keeper::next_timeout);
        let silence = self.silence.as_ref().map(SessionTimer::next_timeout);
        let (worker, subscription) = (self.worker.next_timeout(), self.subscription.next_timeout());
        let digests = self.comparison.as_ref().and_then(Comparison::next_timeout);
        let others = [worker, subscription, timer, keeper, silence, digests];
        others.into_iter().flatten().min()
    }

    fn receive(&mut self, datagram: Received, cycle: &mut Cycle<'_>) {
        let Received { bytes, from } = datagram;
        let frame = self.pool.receive(bytes, from);
        let opened = wire::open(cycle.identity, self.pool.bytes(&frame));
        let Ok((header, body)) = opened else {
            *cycle.dropped += 1;
            return self.pool.release(frame);
        };
        match Kind::from_wire(header.kind) {
            Some(Kind::Redirect | Kind::Refused) => {
                if let Ok(message) = Message::decode(header.kind, body) {
                    self.proposals.on_answer(header.ring, &message);
                }
                self.pool.release(frame);
            }
            Some(Kind::Beacon) => self.pool.release(frame),
            Some(Kind::CheckpointRequest | Kind::CheckpointPiece) => {
                if let Ok(message) = Message::decode(header.kind, body) {
                    let post = Post {
                        me: self.me,
                        identity: cycle.identity,
                        counter: &mut self.counter,
                        office: cycle.office,
                    };
                    on_transfer(&mut self.worker, header.sender, &message, cycle.now, post);
                }
                self.pool.release(frame);
            }
            kind => {
                if kind == Some(Kind::Heartbeat)
                    && let Ok(message) = Message::decode(header.kind, body)
                {
                    self.proposals.on_answer(header.ring, &message);
                }
                self.subscription.on_frame(frame, &header, &mut self.pool);
            }
        }
    }
}

/// Counts votes, and votes: nobody may come to stop.
fn compare(
    comparison: &mut Comparison,
    (place, is_muted): ((usize, usize), bool),
    now: Time,
    out: &mut WorkerPost<'_>,
) {
    if let Some(divergence) = comparison.count(out.votes, now) {
        let detail = || format!("worker {place:?} would stop: {divergence:?}");
        out.post.office.violations.report("witnesses", detail);
    }
    comparison
        .look(out.found, is_muted, now, |command| out.proposals.multicast(command, &mut out.post));
}

/// A replica lacks its state, or gets it.
fn on_transfer<S: SimService>(
    worker: &mut PsmrWorker<Observed<S>>,
    sender: NodeId,
    message: &Message<'_>,
    now: Time,
    mut post: Post<'_>,
) {
    match message {
        Message::CheckpointRequest(request) => worker.on_request((sender, request), now, |piece| {
            post.send(Destination::Node(sender), RingId(0), &Message::CheckpointPiece(*piece));
        }),
        Message::CheckpointPiece(piece) => {
            worker.on_piece(sender, piece, now);
        }
        _ => {}
    }
}

/// Deliveries that are noted down as they are taken.
struct Watched<'a, D> {
    feed: D,
    delivered: &'a mut Vec<Batch>,
}

impl<D: Deliveries> Deliveries for Watched<'_, D> {
    fn advance(&mut self) -> Option<Delivery> {
        let delivery = self.feed.advance()?;
        self.delivered.push((delivery, hash_bytes(self.feed.bytes())));
        Some(delivery)
    }

    fn bytes(&self) -> &[u8] {
        self.feed.bytes()
    }
}

/// What a worker says: replies gathered by address, commands by ring.
struct WorkerPost<'a> {
    post: Post<'a>,
    replies: Vec<(Address, Vec<u8>)>,
    proposals: &'a mut Proposals,
    room: Room,
    life: u64,
    passed: &'a [Cell<u64>],
    found: &'a Found,
    votes: &'a mut Vec<DigestVote>,
}

impl WorkerPost<'_> {
    fn report_answer(&mut self, place: (usize, usize)) {
        let detail = || format!("worker {place:?} answers before it has caught up");
        self.post.office.violations.report("recovery", detail);
    }

    fn flush(&mut self) {
        let Self { post, replies, proposals, .. } = self;
        for (to, body) in replies.drain(..) {
            post.send(Destination::Address(to), RingId(0), &Message::Replies(&body));
        }
        proposals.flush(post);
    }
}

impl WorkerOutbox for WorkerPost<'_> {
    fn reply(&mut self, to: Address, reply: &Reply<'_>) {
        let room = self.room.body() - reply.encoded_length();
        let open =
            self.replies.iter().position(|(address, body)| *address == to && body.len() <= room);
        let index = open.unwrap_or_else(|| {
            self.replies.push((to, Vec::new()));
            self.replies.len() - 1
        });
        let body = &mut self.replies[index].1;
        let at = body.len();
        body.resize(at + reply.encoded_length(), 0);
        reply.encode(&mut Writer::new(&mut body[at..]));
    }

    fn ask(&mut self, to: NodeId, request: &CheckpointRequest) {
        let message = Message::CheckpointRequest(*request);
        self.post.send(Destination::Node(to), RingId(0), &message);
    }

    fn multicast(&mut self, command: &Command<'_>) {
        self.proposals.multicast(command, &mut self.post);
    }

    fn digest(&mut self, report: &DigestReport) {
        self.found.push(report.slot, report.digest);
    }

    fn vote(&mut self, vote: &DigestVote) {
        self.votes.push(*vote);
    }

    fn marker(&mut self, worker: GroupId, control: &Control) {
        if control.client == self.life {
            self.passed[worker.index()].set(control.number);
        }
    }
}
