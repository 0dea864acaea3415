//! Lives that a coordinator vouches for (docs/adr/0032).
//!
//! An acceptor that restarts and finds nobody who knows better (`lives`) may still have the log of an
//! earlier day: those who heard how far the ring had decided may have lost that with their own
//! processes. But what its former life helped to decide, others have accepted, and have on disk. So
//! such a promise is none to rely on: a candidate that has it waits until the others would be a quorum
//! without it, and as many of them as it can have, for as long as such an acceptor waits for answers.
//! If no more than f acceptors are down, without memory, out of reach or old copies, those that are
//! not are a quorum and all promise within that time. The ballot then inherits all that was decided.
//!
//! Once it has decided that anew, nothing that an acceptor may have forgotten before is missed: what
//! matters from then on are votes at this ballot, and if the coordinator knows of its life, none of an
//! earlier life is among them (it began another ballot when it heard of that life). So it vouches for
//! every acceptor that asks, and whoever was vouched for says so with its promises.
//!
//! It costs two messages an acceptor after a restart, and a take-over waits only where an acceptor
//! has restarted since the last ballot came to lead and another one is missing.

use super::member::Member;
use super::{Destination, Envelope, FormerLives, Log, Outbox};
use crate::types::{Ballot, NodeId, Time};
use crate::wire::{Message, Recall, Vouch};

impl<L: Log> Member<L> {
    /// Whether its log is known to lack nothing that it helped to decide. Without that it promises and
    /// votes, but no candidate relies on it.
    #[must_use]
    pub fn is_vouched_for(&self) -> bool {
        !self.vouches() || self.acceptor.lives.is_vouched_for()
    }

    pub(super) fn vouches(&self) -> bool {
        self.config.former_lives == FormerLives::Vouched
    }

    /// The coordinator is alive, who may vouch for this life.
    pub(super) fn ask_to_be_vouched_for(&self, coordinator: NodeId, out: &mut impl Outbox) {
        let has_asked_all = self.acceptor.lives.are_settled() && !self.acceptor.is_inert;
        if self.is_vouched_for() || !has_asked_all {
            return;
        }
        if let Some(life) = self.own_life() {
            self.send(Destination::Node(coordinator), &Message::Recall(Recall { life }), out);
        }
    }

    /// A life was told: this coordinator vouches for it if it can.
    pub(super) fn vouch_for(&self, envelope: &Envelope, out: &mut impl Outbox) {
        let life = envelope.incarnation;
        let is_known = self.acceptor.lives.knows(envelope.sender, life);
        if self.vouches() && is_known && self.is_established() {
            let vouch = Vouch { ballot: self.coordinator.ballot, life };
            self.send(Destination::Node(envelope.sender), &Message::Vouch(vouch), out);
        }
    }

    /// A coordinator vouches for itself, too.
    pub(super) fn vouch_for_itself(&mut self) {
        if self.vouches() && self.is_established() {
            self.acceptor.lives.vouch();
        }
    }

    /// Before a promise.
    pub(super) fn show_vouch(&self, to: NodeId, ballot: Ballot, out: &mut impl Outbox) {
        if self.vouches() && self.acceptor.lives.is_vouched_for() {
            let vouch = Vouch { ballot, life: self.incarnation };
            self.send(Destination::Node(to), &Message::Vouch(vouch), out);
        }
    }

    /// A coordinator vouches for this acceptor, or another acceptor says that one has for it.
    pub(super) fn on_vouch(
        &mut self,
        envelope: &Envelope,
        vouch: &Vouch,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Vouch { ballot, life } = *vouch;
        if life == self.incarnation {
            let is_of_coordinator =
                ballot.node == envelope.sender && ballot == self.acceptor.promised;
            // What others knew of its promises must have been heard before.
            if is_of_coordinator && self.acceptor.lives.are_settled() && !self.acceptor.is_inert {
                self.acceptor.lives.vouch();
            }
        } else if life == envelope.incarnation {
            self.note_vouch(envelope, ballot, now, out);
        }
    }
}
