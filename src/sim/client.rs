//! A process of clients: one proxy, a few sessions, and a load that is drawn from the seed.

use super::checkers::{Operation, Outcome};
use super::host::{Cycle, Received};
use super::members::{Epoch, client_node};
use super::plan::Plan;
use super::post::Post;
use super::services::SimService;
use super::trace::hash_bytes;
use crate::proxy::{self, Completion, NotApplied, Proxy, ProxyConfig};
use crate::service::{Context, GroupMap};
use crate::types::{NodeId, Random, Sequence, SessionId, Time};
use crate::wire::{self, Message};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A command that came to its end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) context: Context,
    pub(super) is_read: bool,
    /// The hash of the answer, if there was one.
    pub(super) reply: Option<u64>,
    /// It was told that it was not executed, nor will be.
    pub(super) is_refused: bool,
    pub(super) operation: Option<Operation>,
}

/// The load of a client: what is open, what is over, and when the next command may go.
#[derive(Debug)]
struct Load<S> {
    plan: Rc<Plan>,
    map: Arc<S>,
    random: Random,
    /// Commands that each session has open.
    open: Vec<usize>,
    /// By tag: the session, the command and when it was issued.
    commands: BTreeMap<u64, (usize, Vec<u8>, Time)>,
    issued: u64,
    quota: u64,
    /// A session was said to be closed or expired.
    has_lost_session: bool,
    /// The time between two commands, so that they last as long as the faults do.
    pace: Duration,
    ended: Vec<Ended>,
}

/// Clients behind one proxy.
#[derive(Debug)]
pub(super) struct Client<S: SimService> {
    me: NodeId,
    config: ProxyConfig,
    proxy: Proxy<Arc<S>>,
    load: Load<S>,
    /// The sessions that it has had last, for the next life.
    sessions: Vec<Option<SessionId>>,
    /// It closes its sessions with commands open.
    gives_up: bool,
    counter: u64,
}

/// What a client begins with.
pub(super) struct ClientParts<'a, S> {
    pub(super) plan: &'a Rc<Plan>,
    pub(super) number: usize,
    pub(super) config: ProxyConfig,
    pub(super) map: Arc<S>,
    pub(super) seed: u64,
}

impl<S: SimService> Client<S> {
    pub(super) fn new(parts: ClientParts<'_, S>) -> Self {
        let ClientParts { plan, number, config, map, seed } = parts;
        let random = Random::new(seed);
        let quota = plan.load.commands / plan.load.clients as u64;
        // A tenth of the commands comes after everything has healed.
        let span = plan.timing.heals_at.0 + plan.timing.heals_at.0 / 10;
        Self {
            me: client_node(number),
            proxy: Proxy::new(config.clone(), Arc::clone(&map), Time::ZERO),
            config,
            load: Load {
                plan: Rc::clone(plan),
                map,
                random,
                open: vec![0; plan.load.sessions],
                commands: BTreeMap::new(),
                issued: 0,
                quota,
                has_lost_session: false,
                pace: Duration::from_nanos(span / quota.max(1)),
                ended: Vec::new(),
            },
            sessions: vec![None; plan.load.sessions],
            gives_up: false,
            counter: 0,
        }
    }

    /// Another life begins, which knows the sessions of the former one and nothing else.
    pub(super) fn restart(&mut self, config: ProxyConfig, now: Time) {
        for (place, session) in self.sessions.iter_mut().enumerate() {
            *session = self.proxy.session(place).or(*session);
        }
        self.begin(config, now);
        for (place, session) in self.sessions.iter().enumerate() {
            if let Some(session) = session {
                self.proxy.resume(place, *session);
            }
        }
    }

    fn begin(&mut self, config: ProxyConfig, now: Time) {
        self.proxy = Proxy::new(config.clone(), Arc::clone(&self.load.map), now);
        self.config = config;
        self.gives_up = false;
        self.load.abandon();
    }

    /// Closes its sessions at once, whatever is open; once they are closed it goes on with others.
    pub(super) fn give_up(&mut self, now: Time) {
        if self.proxy.is_ready() && !self.proxy.is_closing() {
            self.proxy.close(now);
            self.gives_up = true;
        }
    }

    /// Goes on with other sessions where those that it had are gone: expired, or closed by itself.
    fn renew_sessions(&mut self, now: Time) {
        let is_lost = self.load.has_lost_session || self.proxy.lost_session().is_some();
        let has_closed = self.gives_up && self.proxy.is_closed();
        if has_closed || (is_lost && !self.proxy.is_closing()) {
            // Openings are named by the client's life.
            let client = Random::new(self.config.client).next();
            self.sessions.fill(None);
            self.begin(ProxyConfig { client, ..self.config.clone() }, now);
        }
    }

    /// Another epoch has begun: its members are asked from now on.
    pub(super) fn take_up(&mut self, epoch: &Epoch) {
        self.proxy.take_up(epoch.acceptors(), epoch.replica_set());
        (self.config.acceptors, self.config.replicas) = (epoch.acceptors(), epoch.replica_set());
    }

    /// Its node and the counter of what it sends.
    pub(super) const fn name(&mut self) -> (NodeId, &mut u64) {
        (self.me, &mut self.counter)
    }

    /// One duty cycle.
    pub(super) fn run(&mut self, received: &mut Vec<Received>, cycle: &mut Cycle<'_>) {
        let now = cycle.now;
        self.renew_sessions(now);
        let Self { me, proxy, load, counter, .. } = self;
        let identity = cycle.identity;
        let mut out = Post { me: *me, identity, counter, office: cycle.office };
        for datagram in received.drain(..) {
            let message = wire::open(cycle.identity, &datagram.bytes)
                .and_then(|(header, body)| Ok((header.ring, Message::decode(header.kind, body)?)));
            match message {
                Ok((_, Message::Replies(body))) => {
                    proxy.on_replies(body, now, &mut out, |done| load.on_completion(now, &done));
                }
                Ok((ring, Message::Redirect(redirect))) => proxy.on_redirect(ring, redirect.ballot),
                Ok((ring, Message::Heartbeat(beat))) => proxy.on_heartbeat(ring, beat.ballot),
                Ok((ring, Message::Refused(refused))) => proxy.on_refused(ring, &refused, now),
                Ok((ring, Message::Taken(taken))) => proxy.on_taken(ring, taken.number, now),
                Ok(_) | Err(_) => *cycle.dropped += 1,
            }
        }
        if proxy.next_timeout().is_some_and(|due| due <= now) {
            proxy.on_timeout(now, &mut out, |done| load.on_completion(now, &done));
        }
        if proxy.is_ready() && !proxy.is_closing() {
            while let Some((session, tag)) = load.next(now, |session| proxy.has_room(session)) {
                let command = &load.commands[&tag].1;
                let named = proxy.submit(session, command, tag, now, &mut out);
                assert!(named.is_ok(), "a command within its window is taken: {named:?}");
            }
        }
        if load.plan.load.closes && load.is_over() && !proxy.is_closing() {
            proxy.close(now);
        }
        proxy.flush(now, &mut out);
    }

    /// When it wants to run again although nothing arrives.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let issue = self.load.next_issue(|session| self.proxy.has_room(session));
        let issue = issue.filter(|_| self.proxy.is_ready() && !self.proxy.is_closing());
        [self.proxy.next_timeout(), issue].into_iter().flatten().min()
    }

    /// Takes what came to its end.
    pub(super) fn ended(&mut self) -> impl Iterator<Item = Ended> {
        self.load.ended.drain(..)
    }

    /// What is still open, as operations that may or may not have taken effect.
    pub(super) fn open_operations(&self) -> impl Iterator<Item = Operation> {
        self.load.commands.values().filter_map(|(_, command, invoked)| open::<S>(command, *invoked))
    }

    /// Whether all its commands were issued and came to an end, and its sessions are closed if they
    /// are to be.
    pub(super) fn is_over(&self) -> bool {
        let is_closed = !self.load.plan.load.closes || self.proxy.is_closed();
        self.load.is_over() && is_closed
    }

    /// Where it stands, for the reader of a violation.
    pub(super) fn describe(&self) -> String {
        let Load { issued, quota, commands, .. } = &self.load;
        format!(
            "client {}: ready {}, closed {}, {issued} of {quota} issued, {} open",
            self.me,
            self.proxy.is_ready(),
            self.proxy.is_closed(),
            commands.len()
        )
    }
}

/// A command without an answer: it may or may not have taken effect.
fn open<S: SimService>(command: &[u8], invoked: Time) -> Option<Operation> {
    let (key, verb, outcome) = S::operation(command, None)?;
    Some(Operation { invoked: invoked.0, returned: None, key, verb, outcome })
}

impl<S: SimService> Load<S> {
    fn is_over(&self) -> bool {
        self.issued == self.quota && self.commands.is_empty()
    }

    /// Nobody waits any more for what is open.
    fn abandon(&mut self) {
        self.open.fill(0);
        self.has_lost_session = false;
        for (_, (_, command, invoked)) in std::mem::take(&mut self.commands) {
            self.ended.push(Ended {
                context: Context { session: SessionId(0), sequence: Sequence(0) },
                is_read: self.map.is_read(&command),
                reply: None,
                is_refused: false,
                operation: open::<S>(&command, invoked),
            });
        }
    }

    fn next(&mut self, now: Time, has_room: impl Fn(usize) -> bool) -> Option<(usize, u64)> {
        self.next_issue(&has_room).filter(|due| *due <= now)?;
        let session = self.free_session(has_room)?;
        let command = S::draw(&self.plan, &mut self.random);
        self.issued += 1;
        self.open[session] += 1;
        self.commands.insert(self.issued, (session, command, now));
        Some((session, self.issued))
    }

    /// When the next command may go; none while every session is full.
    fn next_issue(&self, has_room: impl Fn(usize) -> bool) -> Option<Time> {
        let pace_ns = u64::try_from(self.pace.as_nanos()).expect("below a second");
        let is_left = self.issued < self.quota && self.free_session(has_room).is_some();
        is_left.then(|| Time(self.issued * pace_ns))
    }

    fn free_session(&self, has_room: impl Fn(usize) -> bool) -> Option<usize> {
        let sessions = self.open.len();
        let first = usize::try_from(self.issued % sessions as u64).expect("a session's index");
        let order = (first..sessions).chain(0..first);
        let is_free = |n: &usize| self.open[*n] < self.plan.load.window && has_room(*n);
        order.into_iter().find(is_free)
    }

    fn on_completion(&mut self, now: Time, completion: &Completion<'_>) {
        let Completion { tag, session, sequence, outcome, payload, .. } = *completion;
        let Some((index, command, invoked)) = self.commands.remove(&tag) else {
            panic!("command {tag} came to two ends");
        };
        self.open[index] -= 1;
        let lost = proxy::Outcome::NotApplied(NotApplied::NoSession);
        self.has_lost_session |= completion.outcome == lost;
        let is_done = outcome == proxy::Outcome::Done;
        let reply = is_done.then_some(payload);
        let operation = S::operation(&command, reply).map(|(key, verb, outcome)| Operation {
            invoked: invoked.0,
            returned: is_done.then_some(now.0),
            key,
            verb,
            outcome: match completion.outcome {
                proxy::Outcome::NotApplied(_) => Outcome::NotApplied,
                proxy::Outcome::Done | proxy::Outcome::Unknown => outcome,
            },
        });
        self.ended.push(Ended {
            context: Context { session, sequence },
            is_read: self.map.is_read(&command),
            reply: reply.map(hash_bytes),
            is_refused: matches!(outcome, proxy::Outcome::NotApplied(_)),
            operation,
        });
    }
}
