//! How long sessions live: an idle one is refreshed before the replicas take its client for dead, one
//! that is not needed any more is closed.
//!
//! Both are control commands of all groups, like the opening. Their numbers are above those of all
//! commands and openings, so that their answers cannot be taken for those of others.

use super::Proxy;
use crate::ring_paxos::Outbox;
use crate::types::{GroupSet, RingId, SessionId, Time};
use crate::wire::{Control, ControlKind, Reply, Status};
use std::time::Duration;

/// Marks the numbers of refreshes and closings; what remains is the session's place.
const REFRESH: u64 = Control::REFRESH;
const CLOSING: u64 = 1 << 63;

/// Looks at the sessions a session time-out.
const LOOKS: u32 = 12;
/// Looks at which a session was idle before it is refreshed: a third of the time-out.
const IDLE: u8 = 4;
/// Closings that an attempt time-out has room for.
const CLOSINGS: u32 = 4;

/// What a proxy knows of its sessions' lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    /// Between two looks for idle sessions; zero: sessions do not expire.
    interval: Duration,
    next_look: Time,
    /// The sessions are being closed; when that is asked for again.
    next_closing: Option<Time>,
    /// The replicas had no room for a session.
    pub(super) is_refused: bool,
}

impl Lifetime {
    pub(super) fn new(timeout: Duration, now: Time) -> Self {
        let interval = timeout / LOOKS;
        Self { interval, next_look: now + interval, next_closing: None, is_refused: false }
    }

    /// When the sessions are looked at next; none are before they are open.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let look = (!self.interval.is_zero()).then_some(self.next_look);
        self.next_closing.or(look)
    }
}

impl<M> Proxy<M> {
    /// Closes the sessions that are open, and opens no others: their commands are over, or nobody
    /// cares. The next [`Proxy::on_timeout`] begins.
    pub fn close(&mut self, now: Time) {
        self.lifetime.next_closing = Some(now);
    }

    /// Whether the sessions are being closed.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.lifetime.next_closing.is_some()
    }

    /// Whether no session is open any more, as far as the replicas have said.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sessions.iter().all(|session| !session.is_open() || session.is_closed)
    }

    /// Whether the replicas have no room for a session that is to be opened: it is asked for again
    /// and again.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.lifetime.is_refused && !self.is_ready()
    }

    /// Looks after the sessions. Says whether there is nothing else to do.
    pub(super) fn live(&mut self, now: Time, out: &mut impl Outbox) -> bool {
        match self.lifetime.next_closing {
            Some(due) if now >= due => {
                self.lifetime.next_closing = Some(now + self.config.attempt_timeout / CLOSINGS);
                self.close_sessions(now, out);
            }
            Some(_) => {}
            None if !self.lifetime.interval.is_zero() && now >= self.lifetime.next_look => {
                self.lifetime.next_look = now + self.lifetime.interval;
                self.refresh_sessions(out);
            }
            None => {}
        }
        self.is_closing()
    }

    fn close_sessions(&mut self, now: Time, out: &mut impl Outbox) {
        for place in 0..self.sessions.len() {
            let session = &self.sessions[place];
            if session.is_open() && !session.is_closed {
                let about = (session.id, CLOSING | place as u64);
                self.ask(ControlKind::Close, about, out);
            }
        }
        let ring = self.ring_of_all();
        self.rings.on_overdue(ring, now, self.config.attempt_timeout);
    }

    /// A session whose refreshing is not confirmed stays idle, and is refreshed at the next look.
    fn refresh_sessions(&mut self, out: &mut impl Outbox) {
        for place in 0..self.sessions.len() {
            let session = &mut self.sessions[place];
            if std::mem::take(&mut session.is_active) || !session.is_open() {
                session.idle = 0;
                continue;
            }
            session.idle = session.idle.saturating_add(1);
            if session.idle >= IDLE {
                let about = (session.id, REFRESH | place as u64);
                self.ask(ControlKind::Resume, about, out);
            }
        }
    }

    /// An answer to nobody's command: perhaps to what is asked here.
    #[cold]
    pub(super) fn on_control(&mut self, reply: &Reply<'_>) {
        let number = reply.sequence.0;
        if reply.session == SessionId(0) && reply.status == Status::Rejected {
            self.lifetime.is_refused = true;
            return;
        }
        let place = usize::try_from(number & (REFRESH - 1)).ok();
        let session = place.and_then(|place| self.sessions.get_mut(place));
        let Some(session) = session.filter(|session| session.id == reply.session) else { return };
        if number & CLOSING != 0 {
            session.is_closed = true;
        } else if number & REFRESH != 0 && reply.status == Status::SessionOpened {
            session.is_active = true;
        }
    }

    /// Sends a control command.
    pub(super) fn ask(
        &mut self,
        kind: ControlKind,
        (session, number): (SessionId, u64),
        out: &mut impl Outbox,
    ) {
        let mut control = Control::new(kind);
        control.session = session;
        control.reply_to = self.config.reply_to;
        control.client = self.config.client;
        control.number = number;
        let mut command = control.command(self.config.groups);
        command.header.map_epoch = self.config.map_epoch;
        let ring = self.ring_of_all();
        self.rings.push(ring, &command, out);
    }

    pub(super) fn ring_of_all(&self) -> RingId {
        GroupSet::all(self.config.groups).ring(self.config.groups)
    }
}
