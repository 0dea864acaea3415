//! A simulated process: what it has received, when it runs, and the roles that it hosts.

use super::client::Client;
use super::members::{Epoch, HomeId};
use super::operator::Operator;
use super::ordering::Ordering;
use super::post::{Office, Post};
use super::replica::WorkerHost;
use super::services::SimService;
use crate::ring_paxos::registrar::Registrar;
use crate::types::{Address, Time};
use crate::wire::Identity;
use std::collections::VecDeque;
use std::rc::Rc;

/// Datagrams that a socket buffer holds; more are lost.
const INBOX: usize = 1_024;

/// A datagram that has arrived.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) bytes: Rc<[u8]>,
    pub(super) from: Address,
}

/// What a role needs during one duty cycle.
#[derive(Debug)]
pub(super) struct Cycle<'a> {
    /// The host's clock, read once.
    pub(super) now: Time,
    pub(super) identity: &'a Identity,
    pub(super) office: &'a mut Office,
    /// Counts datagrams that a receiver refused.
    pub(super) dropped: &'a mut u64,
    /// The most steps that a worker takes.
    pub(super) budget: u32,
}

/// What a process does.
#[derive(Debug)]
pub(super) enum Roles<S: SimService> {
    /// Acceptors.
    Ordering(Box<Ordering>),
    /// One worker of one replica.
    Worker(Box<WorkerHost<S>>),
    /// Clients behind one proxy.
    Client(Box<Client<S>>),
    /// Who changes members.
    Operator(Box<Operator>),
    /// Nothing: its time has not come, or is over.
    Vacant,
}

impl<S: SimService> Roles<S> {
    /// The way to the network of what concerns the whole process.
    pub(super) fn post<'a>(
        &'a mut self,
        identity: &'a Identity,
        office: &'a mut Office,
    ) -> Option<Post<'a>> {
        let (me, counter) = match self {
            Self::Ordering(ordering) => {
                let first = ordering.hosted.first_mut()?;
                (first.node, &mut first.counter)
            }
            Self::Worker(worker) => (worker.me, &mut worker.counter),
            Self::Client(client) => client.name(),
            Self::Operator(operator) => (operator.me, &mut operator.counter),
            Self::Vacant => return None,
        };
        Some(Post { me, identity, counter, office })
    }
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It runs.
    Running,
    /// It stands still until this time; what arrives waits in its socket buffer.
    Paused(Time),
    /// It has ended; another life may begin.
    Down,
}

/// A simulated process.
#[derive(Debug)]
pub(super) struct Host<S: SimService> {
    pub(super) roles: Roles<S>,
    pub(super) identity: Identity,
    /// Whose thread it is.
    pub(super) home: HomeId,
    /// The epoch that it has taken up.
    pub(super) epoch: Rc<Epoch>,
    pub(super) registrar: Registrar,
    pub(super) status: Status,
    pub(super) inbox: VecDeque<Received>,
    /// A duty cycle is scheduled.
    pub(super) is_scheduled: bool,
    /// The earliest timer event that is scheduled.
    pub(super) timer_at: Time,
    /// Datagrams lost for want of socket buffer.
    pub(super) overflows: u64,
}

impl<S: SimService> Host<S> {
    pub(super) fn new(
        roles: Roles<S>,
        identity: Identity,
        (home, epoch): (HomeId, &Rc<Epoch>),
    ) -> Self {
        let status = if matches!(roles, Roles::Vacant) { Status::Down } else { Status::Running };
        Self {
            roles,
            identity,
            home,
            epoch: Rc::clone(epoch),
            registrar: Registrar::default(),
            status,
            inbox: VecDeque::new(),
            is_scheduled: false,
            timer_at: Time::NEVER,
            overflows: 0,
        }
    }

    /// A datagram reaches its socket; says whether the host should run.
    pub(super) fn arrive(&mut self, received: Received) -> bool {
        if self.status == Status::Down {
            return false;
        }
        if self.inbox.len() >= INBOX {
            self.overflows += 1;
            return false;
        }
        self.inbox.push_back(received);
        self.status == Status::Running
    }

    /// When it wants to run again although nothing arrives.
    pub(super) fn next_timeout(&mut self) -> Option<Time> {
        match &mut self.roles {
            Roles::Ordering(ordering) => ordering.next_timeout(),
            Roles::Worker(worker) => worker.next_timeout(),
            Roles::Client(client) => client.next_timeout(),
            Roles::Operator(operator) => operator.next_timeout(),
            Roles::Vacant => None,
        }
    }

    /// It ends for good.
    pub(super) fn vacate(&mut self) {
        self.roles = Roles::Vacant;
        self.status = Status::Down;
        self.inbox.clear();
    }
}
