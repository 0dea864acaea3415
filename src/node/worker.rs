//! The agent of one or several workers of a replica: learners, merge, execution and replies on one
//! thread.
//!
//! With a core for each worker there is one worker a thread. With fewer cores, workers that meet
//! must switch threads for every rendezvous (2 us and more, against 0.3 for the command); workers
//! that take turns on one thread meet for the price of a few loads.

use super::agent::Agent;
use super::board::{Board, Stand};
use super::desk::Desk;
use super::digests::Markers;
use super::post::Post;
use super::replies::OpenReplies;
use super::watchdog::{Halt, Watchdog};
use super::{Book, DropCounters, site};
use crate::mem::{Frame, Pool};
use crate::multi_ring::{Proposals, Subscription, SubscriptionCounters};
use crate::replica::{Delivery, Progress, PsmrWorker, Steps, Worker, WorkerCounters, WorkerOutbox};
use crate::ring_paxos::{Destination, Envelope, Outbox, Proposer};
use crate::service::Optimistic;
use crate::sync::Waker;
use crate::transport::{Endpoint, Receive, ReceiveCounters, Transmit, TransmitCounters};
use crate::types::{Address, GroupId, NodeId, RingId, Time};
use crate::wire::{
    CheckpointRequest, Command, Control, DigestReport, DigestVote, Gate, Header, Kind, Message,
    Reply,
};
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
/// Nor is the network left alone for longer than this, however slow the commands are.
const LONGEST: Duration = Duration::from_micros(100);

/// The role in a [`crate::wire::Topic::Process`].
const REPLICA: u64 = 2;
/// How old the board may be while the thread is awake.
const BOARD_INTERVAL: Duration = Duration::from_millis(1);

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

/// The workers of one thread, all of the same replica.
#[derive(Debug)]
pub(super) struct WorkerAgent<E, S: Optimistic> {
    endpoint: E,
    gate: Gate,
    book: Arc<Book>,
    seats: Vec<Seat<S>>,
    replies: OpenReplies,
    proposals: Proposals,
    frames: Vec<Frame>,
    desk: Desk,
    markers: Markers,
    watchdog: Watchdog,
    /// Votes on digests that have come in the order since the last cycle.
    votes: Vec<DigestVote>,
    /// When the board is written next.
    board_at: Time,
    /// Some worker goes on with a checkpoint.
    has_swept: bool,
    /// Cycles since the network was looked at: in which the worker went on, and did not.
    moved: u32,
    waited: u32,
    /// When that was.
    looked: Time,
}

/// One worker of the thread.
#[derive(Debug)]
struct Seat<S: Optimistic> {
    me: NodeId,
    subscription: Subscription,
    worker: PsmrWorker<S>,
    progressed: Arc<Progressed>,
    /// Its last poll found nothing decided to go on with.
    is_starving: bool,
}

impl<S: Optimistic> Seat<S> {
    /// What it is about, for those that wait for it.
    fn stand(&self) -> Stand {
        match self.worker.waiting() {
            Some((_, set)) => Stand::Meeting(set),
            None if self.is_starving => Stand::Starving,
            None => Stand::Going,
        }
    }
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

/// What a worker is made of.
pub(super) struct WorkerParts<S: Optimistic> {
    pub(super) me: NodeId,
    pub(super) subscription: Subscription,
    pub(super) worker: PsmrWorker<S>,
    /// What the replica multicasts again leaves under the name of the thread's first worker.
    pub(super) proposers: Vec<Proposer>,
    pub(super) progressed: Arc<Progressed>,
    /// When a rendezvous has been open for too long.
    pub(super) rendezvous_timeout: Duration,
}

/// What of an agent serves whichever of its workers has its turn.
struct Means<'a, T> {
    gate: &'a mut Gate,
    book: &'a Book,
    transmit: &'a mut T,
    replies: &'a mut OpenReplies,
    proposals: &'a mut Proposals,
    board: &'a Board,
    votes: &'a mut Vec<DigestVote>,
}

impl<T: Transmit> Means<'_, T> {
    /// The outbox of worker `me`.
    fn of(&mut self, me: NodeId) -> WorkerPost<'_, T> {
        let Self { gate, book, transmit, replies, proposals, board, votes } = self;
        let post = Post { me, gate, book, transmit: &mut **transmit };
        WorkerPost { post, replies, proposals, board, votes }
    }
}

impl<E: Endpoint, S: Optimistic> WorkerAgent<E, S> {
    /// # Panics
    /// If there is no worker.
    pub(super) fn new(
        endpoint: E,
        gate: Gate,
        book: Arc<Book>,
        (workers, desk): (Vec<WorkerParts<S>>, Desk),
        markers: Markers,
    ) -> Self {
        let first = workers.first().expect("a thread has a worker");
        let (proposers, room) = (first.proposers.clone(), first.worker.config().room);
        let watchdog = Watchdog::new(first.rendezvous_timeout, workers.len());
        let seat = |parts: WorkerParts<S>| {
            let WorkerParts { me, subscription, worker, progressed, .. } = parts;
            Seat { me, subscription, worker, progressed, is_starving: false }
        };
        Self {
            endpoint,
            gate,
            book,
            seats: workers.into_iter().map(seat).collect(),
            replies: OpenReplies::new(room),
            proposals: Proposals::new(proposers, room),
            frames: Vec::with_capacity(super::FRAMES),
            desk,
            markers,
            watchdog,
            votes: Vec::new(),
            board_at: Time::ZERO,
            has_swept: false,
            moved: 0,
            waited: 0,
            looked: Time::ZERO,
        }
    }

    /// A worker each; what the thread counts as a whole stands with the first.
    pub(super) fn figures(&mut self) -> Vec<WorkerFigures> {
        let (receive, transmit) = self.endpoint.split();
        let mut thread = Some((receive.counters(), transmit.counters(), self.desk.drops));
        let figures = |seat: &Seat<S>| {
            let (received, sent, drops) = thread.take().unwrap_or_default();
            WorkerFigures {
                worker: seat.worker.counters(),
                subscription: seat.subscription.counters(),
                received,
                sent,
                drops,
            }
        };
        self.seats.iter().map(figures).collect()
    }

    /// What its workers have come to, for a message about one that panicked.
    pub(super) fn places(&self) -> String {
        let place = |seat: &Seat<S>| {
            let (group, place) = (seat.worker.config().me.index(), seat.worker.place()?);
            let Delivery { ring, slot } = place;
            Some(format!("worker {group} at slot {slot} of ring {ring}"))
        };
        let places: Vec<String> = self.seats.iter().filter_map(place).collect();
        if places.is_empty() { "before its first command".to_owned() } else { places.join(", ") }
    }

    fn receive(&mut self, now: Time) -> io::Result<u32> {
        let (receive, transmit) = self.endpoint.split();
        receive.poll(now, &mut self.frames);
        let count = u32::try_from(self.frames.len()).expect("bounded by FRAMES");
        for frame in self.frames.drain(..) {
            let (header, body) = match self.gate.open(receive.bytes(&frame)) {
                Ok(opened) => opened,
                Err(reason) => {
                    let (me, gate, book) = (self.seats[0].me, &mut self.gate, &*self.book);
                    let mut out = Post { me, gate, book, transmit: &mut *transmit };
                    let dropped = (reason, receive.bytes(&frame));
                    self.desk.refuse(dropped, frame.from, now, &mut out);
                    receive.release(frame);
                    continue;
                }
            };
            let kind = Kind::from_wire(header.kind);
            if matches!(
                kind,
                Some(
                    Kind::StatusRequest
                        | Kind::CheckpointRequest
                        | Kind::CheckpointPiece
                        | Kind::MembersRequest
                        | Kind::Members
                )
            ) {
                let counters = (receive.counters(), transmit.counters());
                let (gate, book) = (&mut self.gate, &*self.book);
                let Seat { me, worker, .. } = &mut self.seats[0];
                let from = header.reply_to(frame.from);
                let mut out = Post { me: *me, gate, book, transmit: &mut *transmit };
                let parts = (&mut self.desk, worker, &self.markers);
                aside(parts, (&header, body, from), counters, now, &mut out)?;
                receive.release(frame);
                continue;
            }
            if matches!(kind, Some(Kind::Redirect | Kind::Refused | Kind::Heartbeat)) {
                match Message::decode(header.kind, body) {
                    Ok(message) => self.proposals.on_answer(header.ring, &message),
                    Err(reason) => self.desk.drop(reason, frame.from),
                }
                if kind != Some(Kind::Heartbeat) {
                    receive.release(frame);
                    continue;
                }
            }
            // The last that hears the ring gets the frame itself, those before it copies.
            let hears = |seat: &Seat<S>| seat.subscription.hears(header.ring);
            let last = self.seats.iter().rposition(hears).unwrap_or(0);
            if last > 0
                && let Ok(message) = Message::decode(header.kind, body)
            {
                let envelope = Envelope {
                    ring: header.ring,
                    sender: header.sender,
                    incarnation: header.incarnation,
                    from: header.reply_to(frame.from),
                };
                for seat in self.seats[..last].iter_mut().filter(|seat| hears(seat)) {
                    let (me, gate, book) = (seat.me, &mut self.gate, &*self.book);
                    let mut out = Post { me, gate, book, transmit: &mut *transmit };
                    seat.subscription.on_message(&envelope, &message, now, &mut out);
                }
            }
            self.seats[last].subscription.on_frame(frame, &header, receive);
        }
        Ok(count)
    }

    /// Another epoch has begun: the replica goes on with its members, if it is one of them.
    fn take_up(&mut self) -> Result<(), Halt> {
        let Some(epoch) = self.desk.registrar.moved() else { return Ok(()) };
        let replica = self.seats[0].worker.config().replica;
        if self.desk.number_in(&epoch.cluster.replicas) != Some(replica.0.into()) {
            return Err(Halt::Removed { epoch: epoch.number() });
        }
        self.gate.move_to(epoch.name(), epoch.configuration());
        self.book = epoch.book.clone();
        let roster = &epoch.roster;
        if let Some(comparison) = &mut self.markers.comparison {
            comparison.take_up(site::replica_names(&epoch.cluster));
        }
        self.proposals.take_up(&roster.acceptors());
        for Seat { subscription, worker, .. } in &mut self.seats {
            subscription.take_up(|ring| roster.preferred(ring, replica));
            worker.take_up(roster.replica_set(), roster.peers(replica));
        }
        Ok(())
    }

    /// Executes what is delivered, each worker in its turn and as long as one of them goes on.
    #[inline]
    fn execute(&mut self, now: Time) -> u32 {
        let (receive, transmit) = self.endpoint.split();
        let Self { gate, book, replies, proposals, seats, desk, votes, .. } = self;
        let board = desk.board();
        let mut means = Means { gate, book, transmit, replies, proposals, board, votes };
        let (mut steps, mut has_swept) = (0, false);
        loop {
            let before = steps;
            for Seat { me, subscription, worker, is_starving, .. } in &mut *seats {
                if worker.stands_by(subscription, receive, now, &mut means.of(*me)) {
                    *is_starving = true;
                    continue;
                }
                let mut feed = subscription.deliveries(receive);
                let progress = worker.poll(&mut feed, BUDGET, now, &mut means.of(*me));
                worker.keep_checkpoints(subscription);
                *is_starving = matches!(progress, Progress::Idle | Progress::Swept);
                has_swept |= progress == Progress::Swept;
                steps += if let Progress::Worked(steps) = progress { steps } else { 0 };
            }
            if seats.len() == 1 || steps == before || steps >= BUDGET.0 {
                self.has_swept = has_swept;
                return steps;
            }
        }
    }

    /// Whether the only worker of the thread is inside a rendezvous. Several look at the network in
    /// every cycle: when all of them wait it is for the network, or for other threads.
    fn is_meeting(&self) -> bool {
        matches!(&self.seats[..], [seat] if seat.worker.is_meeting())
    }

    /// Writes the board. Says why the replica must stop, if it must.
    fn publish(&mut self, now: Time) -> Result<(), Halt> {
        let board = self.desk.board();
        if board.is_silent() {
            self.seats.iter_mut().for_each(|seat| seat.subscription.hush());
        }
        for seat in &self.seats {
            let Seat { subscription, worker, .. } = seat;
            let group = worker.config().me.index();
            board.publish(group, subscription, (&worker.counters(), worker.is_muted()));
            worker.note_progress(subscription);
            board.stand(group, seat.stand());
        }
        let waiting = self.seats.iter().map(|seat| seat.worker.waiting());
        let Some((set, open)) = self.watchdog.look(board, waiting, now) else { return Ok(()) };
        let state = self.seats[0].worker.shared().rendezvous().state();
        let waits = |seat: &&Seat<S>| seat.worker.waiting().is_some_and(|(_, other)| other == set);
        let place = self.seats.iter().find(waits).and_then(|seat| seat.worker.place());
        let slot = place.expect("who waits has come to a value").slot;
        Err(Halt::Rendezvous { set, open, slot, state })
    }

    /// Whether its learners contradict each other or themselves: then nothing more is executed.
    fn check_agreement(&mut self, now: Time) -> Result<(), Halt> {
        let conflict = self.seats.iter().find_map(|seat| seat.subscription.conflict());
        let Some((ring, instance)) = conflict else { return Ok(()) };
        self.publish(now)?;
        Err(Halt::Conflict { ring, instance })
    }

    /// Compares the replica's state with what the others have found.
    #[inline]
    fn count_votes(&mut self, now: Time) -> Result<(), Halt> {
        if self.votes.is_empty() {
            return Ok(());
        }
        let Self { markers, votes, desk, .. } = self;
        let comparison = markers.comparison.as_mut();
        comparison.map_or(Ok(()), |comparison| {
            votes.iter().try_for_each(|vote| comparison.on_vote(vote, desk.board(), now))
        })?;
        votes.clear();
        Ok(())
    }

    /// A cycle without the network, inside a rendezvous: how much was done, and whether a whole
    /// cycle is due.
    #[inline]
    fn meet(&mut self, now: Time) -> (u32, bool) {
        let is_due = self.moved >= MOVING || self.waited >= WAITING;
        if !self.is_meeting() || is_due || now.since(self.looked) >= LONGEST {
            return (0, true);
        }
        let steps = self.execute(now);
        if steps == 0 {
            self.waited += 1;
            return (0, false);
        }
        self.moved += 1;
        self.waited = 0;
        // Out of it with nothing more to do: the replies leave.
        (steps, !self.is_meeting())
    }
}

impl<E: Endpoint, S: Optimistic> Agent for WorkerAgent<E, S> {
    fn goes_on(&self) -> bool {
        self.has_swept
    }

    fn do_work(&mut self, now: Time) -> io::Result<u32> {
        let (mut work, is_whole) = self.meet(now);
        if !is_whole {
            return Ok(work);
        }
        (self.moved, self.waited, self.looked) = (0, 0, now);
        self.take_up().map_err(io::Error::other)?;
        work += self.receive(now)?;
        self.check_agreement(now).map_err(io::Error::other)?;
        work += self.execute(now);
        self.count_votes(now).map_err(io::Error::other)?;
        let is_board_due = now >= self.board_at;
        if is_board_due {
            self.board_at = now + BOARD_INTERVAL;
            self.publish(now).map_err(io::Error::other)?;
            let (receive, transmit) = self.endpoint.split();
            self.desk.publish_losses(receive.counters(), transmit.counters());
        }
        let (receive, transmit) = self.endpoint.split();
        let Self { gate, book, replies, proposals, seats, desk, markers, votes, .. } = self;
        let board = desk.board();
        let mut means = Means { gate, book, transmit, replies, proposals, board, votes };
        for Seat { me, subscription, worker, progressed, .. } in &mut *seats {
            let mut out = means.of(*me);
            if worker.next_timeout().is_some_and(|due| due <= now) {
                worker.on_timeout(now, &mut out);
                work += 1;
            }
            if subscription.next_timeout().is_some_and(|due| due <= now) {
                subscription.on_timeout(now, &mut out.post);
            }
            subscription.on_cycle_end(receive, now, &mut out.post);
            progressed.publish(worker.position());
        }
        if is_board_due {
            let is_disputed = markers.is_disputed();
            let Markers { digests, sessions, checkpoints, comparison } = markers;
            let Seat { me, worker, .. } = &seats[0];
            let shared = worker.shared();
            if worker.config().me.index() == 0 {
                board.publish_checkpoint(shared.checkpoints(), shared.recovery());
            }
            // Whoever catches up has nothing to ask for.
            if let Some(timer) = checkpoints.as_mut().filter(|_| !worker.is_muted()) {
                timer.look(shared.checkpoints(), now, |command| means.of(*me).multicast(command));
            }
            if let Some(digests) = digests {
                let is_due = board.has_changed() || is_disputed;
                let state = (board.taken(), is_due);
                digests.look(state, now, |command| means.of(seats[0].me).multicast(command));
            }
            if let Some(comparison) = comparison {
                let Seat { me, worker, .. } = &seats[0];
                let shared = worker.shared();
                let transfers = shared.recovery().count();
                let standing = (shared.checkpoints(), transfers, worker.is_muted());
                let multicast = |command: &Command<'_>| means.of(*me).multicast(command);
                comparison.look(board, standing, now, multicast).map_err(io::Error::other)?;
            }
            if let Some(sessions) = sessions {
                let shared = seats[0].worker.shared();
                let multicast = |command: &Command<'_>| means.of(seats[0].me).multicast(command);
                board.expect(sessions.life());
                let has_passed = |number| board.has_passed(number);
                sessions.look(has_passed, |place| shared.activity(place), now, multicast);
            }
        }
        means.of(seats[0].me).flush();
        transmit.flush()?;
        Ok(work)
    }

    fn next_timeout(&self) -> Option<Time> {
        let due = |seat: &Seat<S>| [seat.worker.next_timeout(), seat.subscription.next_timeout()];
        self.seats.iter().flat_map(due).flatten().min()
    }

    fn awaits_handover(&self) -> bool {
        self.is_meeting()
    }

    fn park(&mut self, timeout: Duration) -> io::Result<()> {
        self.endpoint.park(timeout)
    }

    fn waker(&self) -> Waker {
        self.endpoint.waker()
    }
}

/// What is no matter of a ring: somebody asks for the state, a checkpoint or the members, or sends
/// them.
#[cold]
fn aside<S: Optimistic, T: Transmit>(
    (desk, worker, markers): (&mut Desk, &mut PsmrWorker<S>, &Markers),
    (header, body, from): (&Header, &[u8], Address),
    counters: (ReceiveCounters, TransmitCounters),
    now: Time,
    out: &mut Post<'_, T>,
) -> io::Result<()> {
    let sender = header.sender;
    match Message::decode(header.kind, body) {
        Ok(Message::StatusRequest(request)) => {
            desk.gather(REPLICA, counters, (header.epoch, header.version), now);
            desk.answer(&request, from, out);
        }
        Ok(Message::MembersRequest(request)) => desk.registrar.on_request(&request, from, out),
        Ok(Message::Members(told)) => desk.registrar.on_members(&told)?,
        Ok(Message::CheckpointRequest(request)) if !markers.is_disputed() => {
            worker.on_request((sender, &request), now, |piece| {
                let piece = Message::CheckpointPiece(*piece);
                out.send(Destination::Node(sender), RingId(0), &piece);
            });
        }
        Ok(Message::CheckpointPiece(piece)) => {
            worker.on_piece(sender, &piece, now);
        }
        Ok(_) => {}
        Err(reason) => desk.drop(reason, from),
    }
    Ok(())
}

/// What a worker says: replies by address, commands by ring.
struct WorkerPost<'a, T> {
    post: Post<'a, T>,
    replies: &'a mut OpenReplies,
    proposals: &'a mut Proposals,
    board: &'a Board,
    votes: &'a mut Vec<DigestVote>,
}

impl<T: Transmit> WorkerPost<'_, T> {
    fn flush(&mut self) {
        let Self { post, replies, proposals, board, .. } = self;
        replies.drain(|to, body| send_replies((post, board), to, body));
        proposals.flush(post);
    }
}

impl<T: Transmit> WorkerOutbox for WorkerPost<'_, T> {
    #[inline]
    fn reply(&mut self, to: Address, reply: &Reply<'_>) {
        let Self { post, replies, board, .. } = self;
        replies.push(to, reply, |to, body| send_replies((post, board), to, body));
    }

    fn ask(&mut self, to: NodeId, request: &CheckpointRequest) {
        let message = Message::CheckpointRequest(*request);
        self.post.send(Destination::Node(to), RingId(0), &message);
    }

    fn multicast(&mut self, command: &Command<'_>) {
        self.proposals.multicast(command, &mut self.post);
    }

    fn digest(&mut self, report: &DigestReport) {
        self.board.push(report.slot, report.digest);
    }

    fn vote(&mut self, vote: &DigestVote) {
        self.votes.push(*vote);
    }

    fn marker(&mut self, worker: GroupId, control: &Control) {
        self.board.pass(worker.index(), control.client, control.number);
    }
}

fn send_replies<T: Transmit>((post, board): (&mut Post<'_, T>, &Board), to: Address, body: &[u8]) {
    if board.is_silent() {
        return;
    }
    post.send(Destination::Address(to), RingId(0), &Message::Replies(body));
}
