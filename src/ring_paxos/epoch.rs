//! Epochs of the configuration: their members are decided, one change at a time, and taken up by
//! each acceptor for itself (PROTOCOL, flow 9).
//!
//! One ring of a cluster decides: the members of epoch e + 1 are a value of epoch e, opaque bytes
//! here. The first such value in the order of the log is meant, and it is known once everything before
//! it is decided, too: one that a coordinator proposed alone, cut off, may stand before another one
//! that was decided meanwhile, and still be decided later. A coordinator proposes none while one
//! stands in its log above the trim mark; who forgets it has taken it up. An acceptor that takes up e + 1 never votes in e again,
//! for datagrams of another epoch are not heard. It keeps its promise and what it has accepted. So
//! the first ballot of e + 1 hears from a quorum of e + 1 what a quorum of e may have decided, if any
//! two such quorums meet among the acceptors that are in both and have a memory. They do for one
//! member more, or one less, or one in the place of another, who begins without memory and is
//! admitted like any acceptor that has lost its own; and if e itself had begun everywhere: in each
//! ring some ballot of e has led, and has decided all that it inherited. That is what
//! [`Member::is_established`] tells, and must be seen of every ring before a change is put forward.

use super::member::Member;
use super::window::Held;
use super::{Envelope, Epoch, Instance, Log, Outbox};
use crate::types::{Ballot, Bug, Time};
use crate::wire::{self, Message, Refusal, Refused, Taken, Value};

/// What an acceptor knows of the members of the next epoch.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct NextEpoch {
    /// The first instance where such stand or stood, decided or not.
    at: Option<Instance>,
    /// They are decided, and nobody has taken them yet.
    decided: Option<Box<[u8]>>,
    /// They were decided: nobody needs to look for that any more.
    is_noted: bool,
}

impl<L: Log> Member<L> {
    /// The planted bug of that name.
    #[cold]
    fn forget_undecided(&mut self) {
        for instance in self.window.trim().next().0..=self.window.highest().0 {
            if let Some(entry) = self.window.entry_mut(Instance(instance))
                && !entry.is_decided()
            {
                (entry.held, entry.ballot) = (Held::Nothing, Ballot::ZERO);
            }
        }
    }

    /// Somebody puts forward the members of an epoch.
    pub(super) fn on_reconfigure(
        &mut self,
        envelope: &Envelope,
        next: &wire::Epoch<'_>,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let wire::Epoch { epoch, members } = *next;
        let number = u64::from(epoch);
        if !self.coordinator.is_leading() {
            self.turn_away(envelope, number, now, out);
            return;
        }
        let is_next = self.config.decides_members && epoch == self.config.epoch + 1;
        if !is_next || members.len() > self.config.room.batch() {
            self.counters.malformed += 1;
            return;
        }
        if self.standing().is_none() {
            self.find_members(); // Another value may have come in their place.
        }
        let answer = match self.standing() {
            Some(standing) if standing == members => Message::Taken(Taken { number }),
            Some(_) => return, // Another change came first.
            None if !self.is_established() => full(number),
            None => match self.propose_members((epoch, members), now, out) {
                Some(instance) => {
                    self.acceptor.next.at = Some(instance);
                    Message::Taken(Taken { number })
                }
                None => full(number),
            },
        };
        self.answer(envelope, &answer, out);
    }

    /// Whether a ballot of this epoch leads, by this member, and has decided all that it inherited:
    /// a fact that stays true of the epoch.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.coordinator.is_leading() && self.coordinator.decided >= self.coordinator.inherited
    }

    /// The members of the next epoch that stand in the log, decided or not.
    fn standing(&self) -> Option<&[u8]> {
        match self.window.value(self.acceptor.next.at?) {
            Some(Value::Members(epoch, members)) if epoch == self.config.epoch + 1 => Some(members),
            _ => None,
        }
    }

    /// Looks for them in all of the log: a coordinator whose Phase 1 is complete, or an acceptor of
    /// another epoch than before.
    pub(super) fn find_members(&mut self) {
        let next = self.config.epoch + 1;
        let is_next = |instance: &u64| {
            let value = self.window.value(Instance(*instance));
            matches!(value, Some(Value::Members(epoch, _)) if epoch == next)
        };
        let mut log = self.window.trim().next().0..=self.window.highest().0;
        self.acceptor.next.at = log.find(is_next).map(Instance);
    }

    /// `value` was accepted at `instance`: if it names the next members, the decision of all up to it
    /// is waited for.
    #[inline]
    pub(super) fn await_members(&mut self, instance: Instance, value: &Value<'_>) {
        if let Value::Members(epoch, _) = value
            && *epoch == self.config.epoch + 1
        {
            let at = self.acceptor.next.at.map_or(instance, |at| at.min(instance));
            self.acceptor.next.at = Some(at);
        }
    }

    /// The end of a duty cycle: whether the next members are decided.
    #[inline]
    pub(super) fn note_members(&mut self) {
        while let Some(at) = self.acceptor.next.at
            && at <= self.acceptor.known.0
            && !self.acceptor.next.is_noted
        {
            if let Some(members) = self.standing() {
                self.acceptor.next.decided = Some(members.into());
                self.acceptor.next.is_noted = true;
            } else {
                // Another value was decided there: the next one that stands comes first now.
                self.find_members();
            }
        }
    }

    /// The members of the next epoch, once, after they were decided: the host has all of the cluster
    /// take them up.
    pub fn take_members(&mut self) -> Option<Box<[u8]>> {
        self.acceptor.next.decided.take()
    }

    /// Takes up `epoch`, which was decided. From now on this member hears its datagrams alone.
    /// Returns whether it belongs to it; if not, nothing more may be asked of it. Its host goes on
    /// for a while, to tell the others: perhaps nobody else has seen the decision, and those that
    /// stay are too few to come to it again.
    ///
    /// # Panics
    /// If the epoch is not a later one.
    pub fn take_up(&mut self, epoch: Epoch, now: Time, out: &mut impl Outbox) -> bool {
        let Epoch { number, acceptors, learners, retention, former_lives } = epoch;
        assert!(number > self.config.epoch, "epochs follow each other");
        let was_leading = self.coordinator.is_leading();
        self.retire();
        let config = &mut self.config;
        (config.epoch, config.acceptors) = (number, acceptors);
        (config.learners, config.retention) = (learners, retention);
        config.former_lives = former_lives;
        let Some(index) = self.config.index(self.me) else { return false };
        self.index = index;
        // What was asked, answered or granted was so in another epoch.
        self.coordinator.begin_epoch(&self.config, now);
        self.acceptor.promise_due = None;
        self.acceptor.grant = None;
        self.acceptor.birth = None; // Others had a life, in the epoch before.
        self.acceptor.next = NextEpoch::default();
        self.acceptor.votes.clear();
        self.acceptor.positions.take_up(&self.config);
        if Bug::AcceptedForgottenAtTakeUp.is_planted() {
            self.forget_undecided();
        }
        self.find_members();
        self.election.begin_epoch(&self.config, index, now);
        self.take_up_lives(now);
        let coordinator = self.acceptor.current.node;
        let is_orphaned = self.config.index(coordinator).is_none();
        let stands = was_leading || (is_orphaned && self.config.rank(index) == 0);
        if stands && self.has_vote() {
            self.stand(now, out);
        } else if stands && !self.acceptor.is_inert {
            self.election.wait_no_more(now); // But for what others know of it.
        }
        true
    }
}

fn full(number: u64) -> Message<'static> {
    Message::Refused(Refused { number, refusal: Refusal::Full })
}
