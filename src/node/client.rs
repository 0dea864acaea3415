//! The client agent: a proxy of many sessions, driven by a load.

use super::agent::Agent;
use super::census::Registrar;
use super::post::Post;
use super::{Book, DropCounters, Load, Submission};
use crate::mem::{Frame, Pool};
use crate::proxy::{Proxy, ProxyCounters};
use crate::ring_paxos::Outbox;
use crate::service::GroupMap;
use crate::sync::Waker;
use crate::transport::{Endpoint, Receive, ReceiveCounters, Transmit, TransmitCounters};
use crate::types::{NodeId, Time};
use crate::wire::{self, Gate, Kind, Message, Refusal};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Commands that one duty cycle submits before it looks at the network again.
const BURST: u32 = 1024;

/// How long the end of a load may wait for its sessions to be closed.
const CLOSING: Duration = Duration::from_millis(800);

/// A proxy, its load, and their thread's network.
#[derive(Debug)]
pub(super) struct ClientAgent<E, M, L> {
    me: NodeId,
    endpoint: E,
    gate: Gate,
    registrar: Registrar,
    book: Arc<Book>,
    proxy: Proxy<M>,
    load: L,
    command: Vec<u8>,
    /// What `command` is, if its session had no room for it yet.
    waiting: Option<Submission>,
    frames: Vec<Frame>,
    drops: DropCounters,
    /// When the closing of the sessions is no longer waited for.
    closing_until: Time,
    is_over: bool,
}

/// What a client agent counted.
#[derive(Clone, Debug)]
pub struct ClientFigures {
    /// The receiving half.
    pub received: ReceiveCounters,
    /// The sending half.
    pub sent: TransmitCounters,
    /// Datagrams dropped, by reason.
    pub drops: DropCounters,
    /// Commands, and how often they were sent again.
    pub proxy: ProxyCounters,
}

impl<E: Endpoint, M: GroupMap, L: Load> ClientAgent<E, M, L> {
    pub(super) fn new(
        endpoint: E,
        me: NodeId,
        (gate, registrar): (Gate, Registrar),
        book: Arc<Book>,
        (proxy, load): (Proxy<M>, L),
    ) -> Self {
        Self {
            me,
            endpoint,
            gate,
            registrar,
            book,
            proxy,
            load,
            command: Vec::with_capacity(wire::MAX_BATCH),
            waiting: None,
            frames: Vec::with_capacity(super::FRAMES),
            drops: DropCounters::default(),
            closing_until: Time::ZERO,
            is_over: false,
        }
    }

    /// The load, and what was counted.
    pub(super) fn finish(mut self) -> (L, ClientFigures) {
        let (receive, transmit) = self.endpoint.split();
        let (received, sent) = (receive.counters(), transmit.counters());
        let (drops, proxy) = (self.drops, self.proxy.counters());
        (self.load, ClientFigures { received, sent, drops, proxy })
    }
}

impl<E: Endpoint, M: GroupMap, L: Load> ClientAgent<E, M, L> {
    /// Another epoch has begun: its members are asked from now on.
    fn take_up(&mut self) {
        let Some(epoch) = self.registrar.moved() else { return };
        self.gate.move_to(epoch.name(), epoch.configuration());
        self.book = epoch.book.clone();
        self.proxy.take_up(epoch.roster.acceptors(), epoch.roster.replica_set());
    }
}

impl<E: Endpoint, M: GroupMap, L: Load> Agent for ClientAgent<E, M, L> {
    fn do_work(&mut self, now: Time) -> io::Result<u32> {
        self.take_up();
        let (receive, transmit) = self.endpoint.split();
        let Self { proxy, load, registrar, .. } = self;
        receive.poll(now, &mut self.frames);
        let mut work = u32::try_from(self.frames.len()).expect("bounded by FRAMES");
        let mut out = Post { me: self.me, gate: &mut self.gate, book: &self.book, transmit };
        for frame in self.frames.drain(..) {
            let message = out
                .gate
                .open(receive.bytes(&frame))
                .and_then(|(header, body)| Ok((header.ring, Message::decode(header.kind, body)?)));
            match message {
                Ok((_, Message::Replies(body))) => {
                    proxy.on_replies(body, now, &mut out, |done| load.on_completion(now, &done));
                }
                Ok((ring, Message::Redirect(redirect))) => {
                    proxy.on_redirect(ring, redirect.ballot);
                }
                Ok((ring, Message::Refused(refused))) => {
                    if refused.refusal == Refusal::NoQuorum {
                        load.on_no_quorum(now);
                    }
                    proxy.on_refused(ring, &refused, now);
                }
                Ok((ring, Message::Taken(taken))) => proxy.on_taken(ring, taken.number, now),
                Ok((ring, Message::Heartbeat(heartbeat))) => {
                    proxy.on_heartbeat(ring, heartbeat.ballot);
                }
                Ok((_, Message::Members(told))) => registrar.on_members(&told)?,
                Ok(_) => self.drops.count(wire::DecodeError::Malformed),
                Err(reason) => {
                    self.drops.count(reason);
                    let datagram = receive.bytes(&frame);
                    let is_late =
                        registrar.on_refused((reason, datagram), frame.from, now, &mut out);
                    if !is_late && wire::kind_of(datagram) == Some(Kind::Mismatch) {
                        load.on_mismatch(reason, frame.from);
                    }
                }
            }
            receive.release(frame);
        }
        if proxy.next_timeout().is_some_and(|due| due <= now) {
            proxy.on_timeout(now, &mut out, |done| load.on_completion(now, &done));
            work += 1;
        }
        if proxy.is_closing() {
            self.is_over = proxy.is_closed() || now >= self.closing_until;
        } else if proxy.is_ready() {
            work += submit((proxy, load), &mut self.waiting, &mut self.command, now, &mut out);
        } else if let Some(session) = proxy.lost_session() {
            load.on_session_lost(session);
        } else if proxy.is_refused() {
            load.on_refused();
        }
        if !proxy.is_closing() && load.is_over(now) {
            self.is_over = load.keeps_sessions();
            if !self.is_over {
                proxy.close(now);
                proxy.on_timeout(now, &mut out, |_| {});
                self.closing_until = now + CLOSING;
            }
        }
        proxy.flush(now, &mut out);
        transmit.flush()?;
        Ok(work)
    }

    fn next_timeout(&self) -> Option<Time> {
        self.proxy.next_timeout()
    }

    fn park(&mut self, timeout: Duration) -> io::Result<()> {
        self.endpoint.park(timeout)
    }

    fn waker(&self) -> Waker {
        self.endpoint.waker()
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

/// Takes what the load has to issue, up to a burst. A session whose oldest command is still open
/// may have no room although few of its commands are: its next one waits, and the others behind it.
fn submit<M: GroupMap, L: Load>(
    (proxy, load): (&mut Proxy<M>, &mut L),
    waiting: &mut Option<Submission>,
    command: &mut Vec<u8>,
    now: Time,
    out: &mut impl Outbox,
) -> u32 {
    for submitted in 0..BURST {
        if waiting.is_none() {
            command.clear();
            *waiting = load.next(now, command);
        }
        let Some(Submission { session, tag }) = *waiting else { return submitted };
        if !proxy.has_room(session) {
            return submitted;
        }
        let (id, sequence) = proxy
            .submit(session, command, tag, now, out)
            .expect("the session has room, and a load keeps to the command limit");
        load.on_submitted(tag, id, sequence);
        *waiting = None;
    }
    BURST
}
