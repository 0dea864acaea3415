//! The agent that orders: acceptors (and coordinators) of one or several rings on one thread.
//!
//! A datagram of a ring is opened once and shown to every member of that ring that lives here; an
//! acceptor copies what it accepts, so the buffer goes back at once. The multi-ring skip policy
//! runs here too: the positions of all rings are one cache line each.

use super::agent::Agent;
use super::desk::Desk;
use super::observer::RingFigures;
use super::post::Post;
use super::watchdog::Halt;
use super::{Book, DropCounters, Positions};
use crate::host::{affinity, clock};
use crate::mem::{Frame, Pool};
use crate::multi_ring::SkipPolicy;
use crate::ring_paxos::registrar::Leaving;
use crate::ring_paxos::{Counters, Envelope, Log, Lsn, Member, Memory, Role};
use crate::storage::{AcceptorLog, LogCounters};
use crate::sync::Waker;
use crate::transport::Files;
use crate::transport::{Endpoint, Receive, ReceiveCounters, Transmit, TransmitCounters};
use crate::types::{NodeId, RingId, Time};
use crate::wire::{self, DecodeError, Fact, Gate, Header, Identity, Kind, Message, Topic};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The role in a [`Topic::Process`].
const ACCEPTOR: u64 = 1;
/// How often the board is written.
const BOARD_INTERVAL: Duration = Duration::from_millis(10);
/// How long the end of what is being written is waited for when its thread ends.
const CLOSING: Duration = Duration::from_secs(1);

/// One acceptor of one ring, with what it needs to send.
#[derive(Debug)]
pub(super) struct Hosted {
    pub(super) ring: RingId,
    pub(super) node: NodeId,
    pub(super) member: Member<AcceptorLog>,
    pub(super) skips: SkipPolicy,
    /// What it began with.
    memory: Memory,
    /// Whether its log has anything to write.
    is_durable: bool,
    /// Whether its node's directory says that it has had a vote, where no log does.
    has_begun: bool,
    /// Up to where its member knows that the log is persistent.
    persisted: Lsn,
}

impl Hosted {
    pub(super) fn new(
        ring: RingId,
        node: NodeId,
        (member, memory): (Member<AcceptorLog>, Memory),
        skips: SkipPolicy,
    ) -> Self {
        let is_durable = member.log().is_durable();
        let (has_begun, persisted) = (is_durable, Lsn(0));
        Self { ring, node, member, skips, memory, is_durable, has_begun, persisted }
    }

    /// If it has a vote, or is about to: its directory says so before that is used.
    #[inline]
    fn note_vote(&mut self, is_due: bool, desk: &Desk) -> io::Result<()> {
        if self.has_begun || (self.member.is_inert() && !is_due) {
            return Ok(());
        }
        self.has_begun = true;
        desk.registrar.on_begin(desk.node())
    }

    /// Whether a datagram with this header is for this acceptor.
    fn is_meant(&self, header: &Header) -> bool {
        self.ring == header.ring && (header.target == NodeId::ALL || header.target == self.node)
    }

    /// What there is to say of it.
    fn facts(&self, facts: &mut Vec<Fact>) {
        let Self { ring, member, .. } = self;
        let values = [member.decided().0, member.trim().0, member.heard_slot().0];
        facts.push(Fact::new(Topic::Ring, ring.0, values));
        let ballot = member.ballot();
        let standing = u64::from(member.is_coordinator())
            | u64::from(!member.has_vote()) << 1
            | u64::from(member.is_established()) << 2;
        let values = [ballot.round.into(), ballot.node.0.into(), standing];
        facts.push(Fact::new(Topic::Ballot, ring.0, values));
    }

    fn with_post<'a, T: Transmit>(
        &'a mut self,
        gate: &'a mut Gate,
        book: &'a Book,
        transmit: &'a mut T,
    ) -> (&'a mut Member<AcceptorLog>, Post<'a, T>) {
        let Self { node, member, .. } = self;
        (member, Post { me: *node, gate, book, transmit })
    }
}

/// Acceptors of one or several rings on one thread.
#[derive(Debug)]
pub(super) struct OrderingAgent<E> {
    endpoint: E,
    /// By which logs are written; none: they write themselves, and wait.
    files: Option<Files>,
    gate: Gate,
    book: Arc<Book>,
    positions: Arc<Positions>,
    hosted: Vec<Hosted>,
    frames: Vec<Frame>,
    desk: Desk,
    board_at: Time,
    /// Its node is no member any more.
    leaving: Option<Leaving>,
}

/// What an ordering agent counted.
#[derive(Clone, Debug)]
pub struct OrderingFigures {
    /// Per hosted acceptor: its ring and its counters.
    pub members: Vec<(RingId, Counters)>,
    /// The receiving half.
    pub received: ReceiveCounters,
    /// The sending half.
    pub sent: TransmitCounters,
    /// Datagrams dropped, by reason.
    pub drops: DropCounters,
    /// Per hosted acceptor with a durable log: its ring and what the log counted.
    pub logs: Vec<(RingId, LogCounters)>,
}

/// Whether a datagram is what a coordinator here has multicast itself, and nobody else here waits
/// for: it is not worth the look at all its bytes that opening it takes. Who forges that has nothing
/// dropped but this.
#[inline]
fn is_echo(hosted: &[Hosted], datagram: &[u8]) -> bool {
    let Some((header, Kind::Accept)) = wire::claimed(datagram) else { return false };
    let mut of_ring = hosted.iter().filter(|hosted| hosted.ring == header.ring);
    of_ring.all(|hosted| hosted.node == header.sender)
}

impl<E: Endpoint> OrderingAgent<E> {
    pub(super) fn new(
        endpoint: E,
        gate: Gate,
        book: Arc<Book>,
        positions: Arc<Positions>,
        (mut hosted, desk): (Vec<Hosted>, Desk),
    ) -> io::Result<Self> {
        let frames = Vec::with_capacity(super::FRAMES);
        let files = endpoint.files();
        let mut buffers = Vec::new();
        for (owner, hosted) in (0..).zip(&mut hosted) {
            hosted.member.log_mut().set_owner(owner);
            buffers.extend(hosted.member.log_mut().buffers_mut());
        }
        if let Some(files) = files.as_ref().filter(|_| !buffers.is_empty()) {
            // Without it every write pins its pages anew: slower, and nothing else.
            files.register(&mut buffers);
            files.start(hosted.len(), affinity::unpin)?;
        }
        Ok(Self {
            endpoint,
            files,
            gate,
            book,
            positions,
            hosted,
            frames,
            desk,
            board_at: Time::ZERO,
            leaving: None,
        })
    }

    /// The end: what is on its way is waited for, and the logs say that it is persistent.
    pub(super) fn close(&mut self) -> io::Result<()> {
        let until = clock::now() + CLOSING;
        while clock::now() < until {
            let is_writing = |hosted: &mut Hosted| hosted.member.log_mut().is_writing();
            if !self.hosted.iter_mut().any(is_writing) {
                break;
            }
            self.endpoint.park(Duration::from_millis(10))?;
            let (receive, _) = self.endpoint.split();
            receive.poll(clock::now(), &mut self.frames);
            self.frames.drain(..).for_each(|frame| receive.release(frame));
            self.take_written()?;
        }
        for hosted in &mut self.hosted {
            hosted.member.log_mut().close()?;
        }
        Ok(())
    }

    pub(super) fn figures(&mut self) -> OrderingFigures {
        let (receive, transmit) = self.endpoint.split();
        OrderingFigures {
            members: self.hosted.iter().map(|h| (h.ring, h.member.counters())).collect(),
            received: receive.counters(),
            sent: transmit.counters(),
            drops: self.desk.drops,
            logs: self
                .hosted
                .iter()
                .filter_map(|h| Some((h.ring, h.member.log().counters()?)))
                .collect(),
        }
    }

    fn receive(&mut self, now: Time) -> io::Result<u32> {
        let (receive, transmit) = self.endpoint.split();
        receive.poll(now, &mut self.frames);
        let count = u32::try_from(self.frames.len()).expect("bounded by FRAMES");
        for frame in self.frames.drain(..) {
            if is_echo(&self.hosted, receive.bytes(&frame)) {
                receive.release(frame);
                continue;
            }
            let opened = self
                .gate
                .open(receive.bytes(&frame))
                .and_then(|(header, body)| Ok((header, Message::decode(header.kind, body)?)));
            match opened {
                Ok((header, Message::StatusRequest(request))) => {
                    let counters = (receive.counters(), transmit.counters());
                    let Identity { epoch, version, .. } = *self.gate.identity();
                    let facts = self.desk.gather(ACCEPTOR, counters, (epoch, version), now);
                    self.hosted.iter().for_each(|hosted| hosted.facts(facts));
                    if let Some(hosted) = self.hosted.first_mut() {
                        let (_, mut out) = hosted.with_post(&mut self.gate, &self.book, transmit);
                        self.desk.answer(&request, header.reply_to(frame.from), &mut out);
                    }
                }
                Ok((header, Message::MembersRequest(request))) => {
                    let hosted = self.hosted.first_mut().expect("a thread hosts an acceptor");
                    let (_, mut out) = hosted.with_post(&mut self.gate, &self.book, transmit);
                    let from = header.reply_to(frame.from);
                    self.desk.registrar.on_request(&request, from, &mut out);
                }
                Ok((_, Message::Members(told))) => {
                    if let Some(leaving) = &mut self.leaving {
                        leaving.on_members(&told, frame.from);
                    }
                    self.desk.registrar.on_members(&told)?;
                }
                Ok(_) if self.leaving.is_some() => {}
                Ok((_, Message::Reconfigure(next))) if !self.desk.registrar.may_follow(&next) => {
                    self.desk.drops.count(DecodeError::Malformed);
                }
                Ok((header, message)) => {
                    let envelope = Envelope {
                        ring: header.ring,
                        sender: header.sender,
                        incarnation: header.incarnation,
                        from: header.reply_to(frame.from),
                    };
                    for hosted in self.hosted.iter_mut().filter(|h| h.is_meant(&header)) {
                        let (member, mut out) =
                            hosted.with_post(&mut self.gate, &self.book, transmit);
                        member.on_message(&envelope, &message, now, &mut out);
                        hosted.note_vote(false, &self.desk)?; // It may have been admitted.
                    }
                }
                Err(reason) => {
                    let hosted = self.hosted.first_mut().expect("a thread hosts an acceptor");
                    let (_, mut out) = hosted.with_post(&mut self.gate, &self.book, transmit);
                    let dropped = (reason, receive.bytes(&frame));
                    self.desk.refuse(dropped, frame.from, now, &mut out);
                }
            }
            receive.release(frame);
        }
        Ok(count)
    }

    /// Takes the writes that are over. Returns how many there were.
    fn take_written(&mut self) -> io::Result<u32> {
        let Some(files) = &self.files else { return Ok(0) };
        let mut count = 0;
        while let Some(written) = files.take() {
            let hosted = &mut self.hosted[usize::from(written.owner)];
            hosted.member.log_mut().on_written(written)?;
            count += 1;
        }
        Ok(count)
    }

    /// What became persistent since the last look may be spoken of.
    fn release_persisted(&mut self, now: Time) -> u32 {
        let mut released = 0;
        for hosted in &mut self.hosted {
            let persisted = hosted.member.log_mut().persisted();
            if hosted.is_durable && persisted > hosted.persisted {
                hosted.persisted = persisted;
                let (_, transmit) = self.endpoint.split();
                let (member, mut out) = hosted.with_post(&mut self.gate, &self.book, transmit);
                member.on_persisted(now, &mut out);
                released += 1;
            }
        }
        released
    }

    /// Hands the records of this duty cycle to the disk.
    fn write(&mut self, now: Time) -> io::Result<u32> {
        for hosted in self.hosted.iter_mut().filter(|hosted| hosted.is_durable) {
            let is_awaited = hosted.member.is_in_ring();
            let log = hosted.member.log_mut();
            log.set_awaited(is_awaited);
            log.submit(now, self.files.as_ref())?;
        }
        // Those that write themselves are done already.
        Ok(self.release_persisted(now))
    }

    /// Writes the board.
    fn publish(&mut self, now: Time) {
        for Hosted { ring, member, memory, .. } in &self.hosted {
            self.desk.board().publish_ring(*ring, &RingFigures::of(member, *memory, now));
        }
        let (receive, transmit) = self.endpoint.split();
        self.desk.publish_losses(receive.counters(), transmit.counters());
    }

    /// Another epoch has begun: every acceptor here takes it up, if its node is a member still.
    fn take_up(&mut self, now: Time) -> io::Result<()> {
        let Some(epoch) = self.desk.registrar.moved() else { return Ok(()) };
        let me = self.desk.number_in(&epoch.cluster.acceptors).map(NodeId);
        if self.hosted.iter().any(|hosted| me != Some(hosted.node)) {
            self.leaving = Some(epoch.leaving(now));
        }
        self.gate.move_to(epoch.name(), epoch.configuration());
        self.book = epoch.book.clone();
        let (_, transmit) = self.endpoint.split();
        if let Some(groups) = &epoch.groups {
            transmit.regroup(groups)?;
        }
        for hosted in &mut self.hosted {
            let of_ring = epoch.checkpoints.epoch(&epoch.roster, hosted.ring, epoch.number());
            let (member, mut out) = hosted.with_post(&mut self.gate, &self.book, transmit);
            // Who takes the place of another one has its number: this member is none nevertheless.
            if self.leaving.is_none() && !member.take_up(of_ring, now, &mut out) {
                self.leaving = Some(epoch.leaving(now));
            }
        }
        Ok(())
    }

    /// Tells those who stay, until enough of them know: perhaps nobody else has seen it decided.
    fn leave(&mut self, now: Time) -> io::Result<()> {
        let Some(leaving) = &mut self.leaving else { return Ok(()) };
        if leaving.is_over(now) {
            return Err(io::Error::other(Halt::Removed { epoch: leaving.epoch() }));
        }
        let hosted = self.hosted.first_mut().expect("a thread hosts an acceptor");
        let (_, transmit) = self.endpoint.split();
        let (_, mut out) = hosted.with_post(&mut self.gate, &self.book, transmit);
        leaving.tell(now, &mut out);
        transmit.flush()
    }

    /// Lets every ring follow the furthest one: at each coordinator that lives here.
    fn skip(&mut self, now: Time) -> u32 {
        let mut skipped = 0;
        for hosted in &self.hosted {
            self.positions.publish(hosted.ring, hosted.member.heard_slot());
        }
        for index in 0..self.hosted.len() {
            let hosted = &mut self.hosted[index];
            if !hosted.member.is_coordinator() {
                continue;
            }
            let own = hosted.member.slot();
            for slot in self.positions.others(hosted.ring) {
                hosted.skips.on_position(slot, now);
            }
            if let Some(slots) = hosted.skips.due(own, now) {
                let (_, transmit) = self.endpoint.split();
                let (member, mut out) = hosted.with_post(&mut self.gate, &self.book, transmit);
                skipped += u32::from(member.skip(slots, now, &mut out));
            }
        }
        skipped
    }
}

impl<E: Endpoint> Agent for OrderingAgent<E> {
    fn do_work(&mut self, now: Time) -> io::Result<u32> {
        self.take_up(now)?;
        let mut work = self.receive(now)?;
        if self.leaving.is_some() {
            return self.leave(now).map(|()| work);
        }
        work += self.take_written()?;
        self.release_persisted(now);
        let (_, transmit) = self.endpoint.split();
        for hosted in &mut self.hosted {
            let (member, mut out) = hosted.with_post(&mut self.gate, &self.book, transmit);
            if member.next_timeout().is_some_and(|due| due <= now) {
                member.on_timeout(now, &mut out);
                work += 1;
            }
        }
        if self.hosted.iter().any(|hosted| hosted.member.has_old_copy()) {
            self.hosted.iter_mut().for_each(|hosted| hosted.member.distrust());
        }
        work += self.skip(now);
        let (_, transmit) = self.endpoint.split();
        for hosted in &mut self.hosted {
            let is_due = hosted.member.may_begin(now);
            hosted.note_vote(is_due, &self.desk)?;
            if is_due {
                hosted.member.begin(now);
            }
            let (member, mut out) = hosted.with_post(&mut self.gate, &self.book, transmit);
            member.on_cycle_end(now, &mut out);
            if let Some(members) = member.take_members() {
                self.desk.registrar.on_decided(&members, &mut out)?;
                work += 1;
            }
        }
        work += self.write(now)?;
        if now >= self.board_at {
            self.board_at = now + BOARD_INTERVAL;
            self.publish(now);
        }
        let (_, transmit) = self.endpoint.split();
        transmit.flush()?;
        Ok(work)
    }

    fn next_timeout(&self) -> Option<Time> {
        if let Some(leaving) = &self.leaving {
            return Some(leaving.next_timeout());
        }
        let members = self.hosted.iter().filter_map(|hosted| hosted.member.next_timeout());
        let coordinators = self.hosted.iter().filter(|hosted| hosted.member.is_coordinator());
        let logs = self.hosted.iter().filter_map(|hosted| hosted.member.log().next_timeout());
        let skips = coordinators.filter_map(|hosted| hosted.skips.next_timeout());
        members.chain(skips).chain(logs).min()
    }

    fn park(&mut self, timeout: Duration) -> io::Result<()> {
        self.endpoint.park(timeout)
    }

    fn waker(&self) -> Waker {
        self.endpoint.waker()
    }
}
