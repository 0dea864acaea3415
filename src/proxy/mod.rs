//! The client side, sans-io: command -> groups -> multicast -> first response -> retry. Layer 3.
//!
//! Many sessions share one proxy, so that many commands share a datagram. What was submitted in a
//! duty cycle leaves at its end as one proposal a ring, or earlier when a proposal is full. Every
//! command is kept until its answer or its deadline and is sent again when it has no answer; the
//! replicas' session tables see to it that it executes once. A command ends in one of three words:
//! done, certainly not applied, unknown.

mod attempts;
mod completion;
mod config;
mod flow;
mod lifetime;
mod parts;
mod pause;
mod resume;
mod rings;
mod round_trip;
mod session;
#[cfg(test)]
mod tests;

pub use completion::{Completion, NotApplied, Outcome};
pub use config::{Grouping, ProxyConfig, SubmitError};

use crate::ring_paxos::Outbox;
use crate::service::GroupMap;
use crate::types::{
    Ballot, GroupSet, MAX_REPLICAS, NodeId, Random, ReplicaId, ReplicaSet, RingId, Sequence,
    SessionId, Time,
};
use crate::wire::{Command, CommandHeader, Mode, Replies, Reply, SessionReport, Status};
use lifetime::Lifetime;
use rings::Rings;
use session::{Entry, Session};
use std::time::Duration;

/// What a proxy has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyCounters {
    /// Commands submitted.
    pub submitted: u64,
    /// Commands sent again for want of an answer.
    pub retries: u64,
    /// Commands sent again conservatively because a check had failed.
    pub failed_checks: u64,
    /// Answers to commands that had ended, or to nobody.
    pub duplicates: u64,
    /// Proposals that a coordinator refused.
    pub refused: u64,
    /// Commands given up at their deadline that may have been executed.
    pub unknown: u64,
    /// Commands given up at their deadline that a full cluster has kept from leaving.
    pub overloaded: u64,
}

/// The client side of many sessions.
#[derive(Debug)]
pub struct Proxy<M> {
    config: ProxyConfig,
    map: M,
    rings: Rings,
    sessions: Vec<Session>,
    /// Open-addressed index of `sessions` by id; 0 is free, otherwise place + 1.
    places: Box<[u32]>,
    /// Replicas that were silent, until when they are not named.
    silent: Vec<Time>,
    /// When each replica last answered anything.
    heard: Vec<Time>,
    random: Random,
    /// Commands without an answer.
    open: usize,
    ready: usize,
    next_scan: Time,
    next_opening: Time,
    lifetime: Lifetime,
    counters: ProxyCounters,
    /// Proposals refused since the last flush.
    refused: Vec<(RingId, u64)>,
}

impl<M: GroupMap> Proxy<M> {
    /// A proxy whose sessions are not open yet.
    ///
    /// # Panics
    /// If a number in `config` is out of its range.
    #[must_use]
    pub fn new(config: ProxyConfig, map: M, now: Time) -> Self {
        assert_eq!(config.groups, map.groups(), "the map's groups are the model's");
        let rings = if config.groups == 1 { 1 } else { config.groups + 1 };
        let first = resume::first_opening(config.client);
        let session = |n: usize| Session::new(first + n as u64, config.window);
        Self {
            map,
            rings: Rings::new(rings, &config, now),
            sessions: (0..config.sessions).map(session).collect(),
            places: vec![0; (config.sessions * 4).next_power_of_two()].into(),
            silent: vec![Time::ZERO; MAX_REPLICAS],
            heard: vec![Time::ZERO; MAX_REPLICAS],
            random: Random::new(config.client),
            open: 0,
            ready: 0,
            next_scan: now,
            next_opening: now,
            lifetime: Lifetime::new(config.session_timeout, now),
            counters: ProxyCounters::default(),
            refused: Vec::with_capacity(256),
            config,
        }
    }

    /// Takes a command of session `session` (0-based) and gives it its number. It leaves with the
    /// next [`Proxy::flush`], or before.
    ///
    /// # Errors
    /// If the session has no room or is not open, or the command is too large: it was not sent.
    ///
    /// # Panics
    /// If there is no such session.
    pub fn submit(
        &mut self,
        session: usize,
        command: &[u8],
        tag: u64,
        now: Time,
        out: &mut impl Outbox,
    ) -> Result<(SessionId, Sequence), SubmitError> {
        let limit = self.config.command_limit;
        if command.len() > limit {
            return Err(SubmitError::TooLarge { length: command.len(), limit });
        }
        let (groups, mode) = self.place(command);
        let designation = self.designate(session, now);
        let place = session;
        let session = &mut self.sessions[place];
        if !session.is_open() {
            return Err(SubmitError::NotReady);
        }
        if session.is_full() {
            return Err(SubmitError::WindowFull);
        }
        session.is_active = true;
        let (id, lowest) = (session.id, session.lowest);
        let entry = session.take();
        let sequence = entry.sequence;
        entry.tag = tag;
        entry.submitted = now;
        entry.sent = now;
        let ring = groups.ring(self.config.groups);
        entry.due = now + self.rings.timeout(ring);
        entry.attempt = 0;
        entry.has_left = false;
        entry.flags = 0;
        entry.header = CommandHeader {
            session: id,
            sequence,
            groups,
            length: 0,
            unanswered: unanswered(sequence, lowest),
            map_epoch: self.config.map_epoch,
            mode,
            designation,
        };
        entry.payload.clear();
        entry.payload.extend_from_slice(command);
        launch(&mut self.rings, ring, (place, entry), out);
        self.open += 1;
        self.counters.submitted += 1;
        Ok((id, sequence))
    }

    /// The groups of a command, and how it is to be treated there.
    #[inline]
    fn place(&self, command: &[u8]) -> (GroupSet, Mode) {
        let mode = if self.map.is_read(command) { Mode::READ } else { Mode::default() };
        // A read has no check: it goes where nothing that it reads can change meanwhile.
        if self.config.grouping == Grouping::Conservative || mode.has(Mode::READ) {
            return (self.map.conservative(command), mode);
        }
        let optimistic = self.map.optimistic(command);
        if optimistic.single().is_none() || optimistic == self.map.conservative(command) {
            return (optimistic, mode);
        }
        (optimistic, mode.with(Mode::OPTIMISTIC))
    }

    /// The replica that answers the next command of a session: they take turns, but for silent
    /// ones.
    #[inline]
    fn designate(&self, session: usize, now: Time) -> u8 {
        let replicas = self.config.replicas;
        let turn = self.sessions[session].next.0 + session as u64;
        let named = |shift: u64| replicas.member(turn + shift);
        let is_heard = |replica: &ReplicaId| self.silent[usize::from(replica.0)] <= now;
        let all = 0..replicas.len() as u64;
        let replica = all.map(named).find(is_heard).unwrap_or_else(|| named(0));
        CommandHeader::designate(replica.0, 0)
    }

    /// A datagram of replies. `done` hears of each command that has come to its end.
    pub fn on_replies(
        &mut self,
        body: &[u8],
        now: Time,
        out: &mut impl Outbox,
        mut done: impl FnMut(Completion<'_>),
    ) {
        for reply in Replies::new(body) {
            self.on_reply(&reply, now, out, &mut done);
        }
    }

    #[inline]
    fn on_reply(
        &mut self,
        reply: &Reply<'_>,
        now: Time,
        out: &mut impl Outbox,
        done: &mut impl FnMut(Completion<'_>),
    ) {
        if reply.status == Status::SessionOpened {
            return self.on_opened(reply);
        }
        let Some(place) = self.find(reply.session) else {
            self.counters.duplicates += 1;
            if reply.status == Status::NoSession {
                self.on_no_session(reply.session);
            }
            return self.on_control(reply);
        };
        let session = &mut self.sessions[place];
        let Some(entry) = session.open_entry(reply.sequence) else {
            self.counters.duplicates += 1;
            return self.on_control(reply);
        };
        let is_once = entry.attempt == 0 && !entry.is_held;
        let ring = entry.header.groups.ring(self.config.groups);
        self.rings.on_answer(ring, now, is_once.then_some(entry.sent));
        if let Some(heard) = self.heard.get_mut(usize::from(reply.replica)) {
            *heard = now;
        }
        let outcome = match reply.status {
            Status::Done => Outcome::Done,
            Status::Part => {
                let Some(whole) = parts::join(entry, reply.payload) else { return };
                let whole = Reply { status: Status::Done, payload: &whole, ..*reply };
                return self.end(place, &whole, Outcome::Done, done);
            }
            Status::CheckFailed => {
                entry.flags |= reply.flags | Reply::RETRIED;
                return self.go_conservative(place, reply.sequence, now, out);
            }
            Status::Rejected => Outcome::NotApplied(NotApplied::Rejected),
            Status::WrongEpoch => Outcome::NotApplied(NotApplied::WrongEpoch),
            Status::NoSession => Outcome::NotApplied(NotApplied::NoSession),
            // It was executed, or may have been: ask again until its deadline.
            Status::Forgotten | Status::SessionOpened => return,
        };
        self.end(place, reply, outcome, done);
    }

    #[inline]
    fn end(
        &mut self,
        place: usize,
        reply: &Reply<'_>,
        outcome: Outcome,
        done: &mut impl FnMut(Completion<'_>),
    ) {
        let session = &mut self.sessions[place];
        let entry = session.open_entry(reply.sequence).expect("looked up by the caller");
        let completion = Completion {
            tag: entry.tag,
            session: reply.session,
            sequence: reply.sequence,
            outcome,
            payload: reply.payload,
            submitted: entry.submitted,
            flags: entry.flags | reply.flags,
        };
        entry.joined = None;
        if !entry.is_held {
            let flow = self.rings.flow(entry.header.groups.ring(self.config.groups));
            flow.leave(outcome != Outcome::Unknown);
        }
        session.close(reply.sequence);
        self.open -= 1;
        done(completion);
    }

    /// The check failed: the command goes to every group that it could concern.
    fn go_conservative(
        &mut self,
        place: usize,
        sequence: Sequence,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let session = &mut self.sessions[place];
        let lowest = session.lowest;
        let Some(entry) = session.open_entry(sequence) else { return };
        if !entry.header.mode.has(Mode::OPTIMISTIC) {
            return; // Another replica's word of the same failed check.
        }
        if !entry.is_held {
            self.rings.flow(entry.header.groups.ring(self.config.groups)).leave(true);
        }
        entry.header.groups = self.map.conservative(&entry.payload);
        entry.header.mode =
            entry.header.mode.without(Mode::OPTIMISTIC).with(Mode::CONSERVATIVE_RETRY);
        entry.header.unanswered = unanswered(sequence, lowest);
        entry.sent = now;
        let ring = entry.header.groups.ring(self.config.groups);
        entry.due = now + self.rings.timeout(ring);
        self.counters.failed_checks += 1;
        launch(&mut self.rings, ring, (place, entry), out);
    }

    fn on_opened(&mut self, reply: &Reply<'_>) {
        let Ok(report) = bytemuck::try_pod_read_unaligned::<SessionReport>(reply.payload) else {
            return;
        };
        let first = resume::first_opening(self.config.client);
        let place = reply.sequence.0.checked_sub(first).and_then(|n| usize::try_from(n).ok());
        let Some((place, session)) = place.and_then(|n| Some((n, self.sessions.get(n)?))) else {
            return self.on_control(reply);
        };
        let is_open = session.is_open();
        if is_open || report.session == SessionId(0) || !self.is_resumed(place, reply, &report) {
            return;
        }
        let session = &mut self.sessions[place];
        if report.window < self.config.window as u64 {
            return; // No replica of this configuration says so.
        }
        session.id = report.session;
        self.ready += 1;
        let mut at = self.home(report.session);
        while self.places[at] != 0 {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = u32::try_from(place + 1).expect("a small number of sessions");
    }

    #[inline]
    fn home(&self, id: SessionId) -> usize {
        let mixed = id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed).expect("32 bits") & (self.places.len() - 1)
    }

    #[inline]
    fn find(&self, id: SessionId) -> Option<usize> {
        let mut at = self.home(id);
        loop {
            let place = (self.places[at] as usize).checked_sub(1)?;
            if self.sessions[place].id == id {
                return Some(place);
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }

    /// Sends what is open and what was held as far as there is room: the end of a duty cycle.
    pub fn flush(&mut self, now: Time, out: &mut impl Outbox) {
        self.flow(now, out);
        self.send_parts(now, out);
        self.rings.flush(out);
    }

    /// Another epoch has begun, with these members.
    ///
    /// # Panics
    /// If there is no acceptor.
    pub fn take_up(&mut self, acceptors: Vec<NodeId>, replicas: ReplicaSet) {
        self.config.replicas = replicas;
        self.rings.take_up(&acceptors);
        self.config.acceptors = acceptors;
        self.next_scan = Time::ZERO;
    }

    /// `ring`'s acceptor does not coordinate; the ballot says who does.
    pub fn on_redirect(&mut self, ring: RingId, ballot: Ballot) {
        if self.rings.on_redirect(ring, ballot) {
            self.next_scan = Time::ZERO;
        }
    }

    /// `ring`'s coordinator lives.
    pub fn on_heartbeat(&mut self, ring: RingId, ballot: Ballot) {
        if self.rings.on_heartbeat(ring, ballot) {
            self.next_scan = Time::ZERO;
        }
    }
}

impl<M> Proxy<M> {
    /// Whether every session is open.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready == self.sessions.len()
    }

    /// Whether session `session` has room for a command.
    #[must_use]
    pub fn has_room(&self, session: usize) -> bool {
        self.sessions[session].is_open() && !self.sessions[session].is_full()
    }

    /// Commands without an answer.
    #[must_use]
    pub const fn open_commands(&self) -> usize {
        self.open
    }

    /// What it has counted.
    #[must_use]
    pub const fn counters(&self) -> ProxyCounters {
        self.counters
    }
}

/// Sends a command, or has it wait for room.
#[inline]
fn launch(
    rings: &mut Rings,
    ring: RingId,
    (place, entry): (usize, &mut Entry),
    out: &mut impl Outbox,
) {
    if rings.is_long(&entry.payload) {
        entry.is_held = true;
        rings.parts(ring).push(place, entry.sequence);
        return;
    }
    entry.is_held = !rings.flow(ring).admit();
    if entry.is_held {
        rings.flow(ring).hold(place, entry.sequence);
    } else {
        send(rings, ring, entry, out);
    }
}

/// Appends a command to its ring's proposal.
#[inline]
fn send(rings: &mut Rings, ring: RingId, entry: &mut Entry, out: &mut impl Outbox) {
    let command = Command { header: entry.header, payload: &entry.payload };
    entry.proposal = rings.push(ring, &command, out);
    entry.has_left = true;
}

fn unanswered(sequence: Sequence, lowest: Sequence) -> u16 {
    u16::try_from(sequence.0 - lowest.0).expect("a window is at most 32,768")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
