//! Who changes members: a process outside, as `psmr member` is one. It puts a change forward again
//! and again, and asks who the members are, until it hears of the next epoch or gives up.

use super::host::{Cycle, Received};
use super::members::{Epoch, client_node};
use super::post::Post;
use super::registrar::{Doors, doors_of};
use crate::config::Members;
use crate::ring_paxos::{Destination, Outbox, registrar};
use crate::types::{NodeId, RingId, Time};
use crate::wire::{self, Message};
use std::time::Duration;

/// Between two questions.
const REPEAT: Duration = Duration::from_millis(20);

/// The operator.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) me: NodeId,
    pub(super) counter: u64,
    /// The ring that decides members.
    ring: RingId,
    /// What is put forward: several where operators do not know of each other.
    wanted: Vec<Members>,
    repeat_at: Time,
    until: Time,
}

impl Operator {
    /// A node behind those of `clients` clients.
    pub(super) fn new(clients: usize, ring: RingId) -> Self {
        Self {
            me: client_node(clients),
            counter: 0,
            ring,
            wanted: Vec::new(),
            repeat_at: Time::NEVER,
            until: Time::NEVER,
        }
    }

    /// Puts the `wanted` members of the next epoch forward until it begins, or gives up at `until`.
    pub(super) fn put_forward(&mut self, wanted: Vec<Members>, until: Time, now: Time) {
        (self.wanted, self.until, self.repeat_at) = (wanted, until, now);
    }

    /// Nothing is put forward.
    pub(super) const fn is_idle(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Another epoch has begun: whoever wanted it, it is over.
    pub(super) fn take_up(&mut self) {
        self.wanted.clear();
        self.repeat_at = Time::NEVER;
    }

    /// It goes on until it knows.
    pub(super) fn insist(&mut self) {
        self.until = Time::NEVER;
    }

    /// One duty cycle.
    pub(super) fn run(
        &mut self,
        received: &mut Vec<Received>,
        (epoch, doors): (&Epoch, &Doors),
        cycle: &mut Cycle<'_>,
    ) {
        received.clear(); // Whether it was taken, or refused: it asks who the members are.
        let now = cycle.now;
        if now >= self.until {
            self.take_up();
        }
        if now < self.repeat_at || self.wanted.is_empty() {
            return;
        }
        self.repeat_at = now + REPEAT;
        let Self { me, counter, ring, wanted, .. } = self;
        let mut post = Post { me: *me, identity: cycle.identity, counter, office: cycle.office };
        wanted.rotate_left(1);
        for members in wanted.iter().map(Members::encode) {
            let change = wire::Epoch { epoch: epoch.number() + 1, members: &members };
            for acceptor in epoch.acceptors() {
                post.send(Destination::Node(acceptor), *ring, &Message::Reconfigure(change));
            }
        }
        registrar::ask(doors_of(epoch.homes(), doors), &mut post);
    }

    /// When it wants to run again although nothing arrives.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        Some(self.repeat_at.min(self.until)).filter(|_| !self.is_idle())
    }

    /// Where it stands, for the reader of a violation.
    pub(super) fn describe(&self) -> String {
        format!("operator: {} changes wanted", self.wanted.len())
    }
}
