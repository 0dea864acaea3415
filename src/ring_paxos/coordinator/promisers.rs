//! Who has promised so far, and in which of their lives (docs/adr/0032).
//!
//! A promise is of one life. All pages of an answer come from the same: what two lives of an acceptor
//! have trimmed may differ, and so may what is on a page. Where lives are kept, more is asked: the
//! next life may have come back from a copy of a log that lacks the promise. It asks others before it
//! votes. Whoever answers it after having promised this ballot tells it so; whoever answers it before
//! knows of that life, and says so with its own promise ([`KnownLives`]). f + 1 answer it, and beside
//! it the quorum has f members, the candidate among them, so one of them does both. A promise of an
//! earlier life is forgotten then, and asked for again.

use super::Phase;
use crate::ring_paxos::lives::may_follow;
use crate::ring_paxos::member::Member;
use crate::ring_paxos::{Envelope, Instance, Log, Outbox};
use crate::types::{Incarnation, Time};
use crate::wire::{KnownLives, Prepare};

/// What one acceptor has promised so far.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Answer {
    /// The first instance that it was asked about last.
    pub(super) asked: Instance,
    /// Bit p: page p of the answer is here.
    pub(super) pages: u64,
    pub(super) is_complete: bool,
    /// It has no memory and may not promise.
    pub(super) is_inert: bool,
    /// The life that answers, once something is here of it.
    life: Option<Incarnation>,
    /// Where lives are kept: the number of the last life that this candidate or a promiser knows of.
    /// If `life` is here, it is that one's.
    number: u64,
}

impl Answer {
    /// None yet, from `first` on; lives before `number` do not count.
    pub(super) const fn awaited(first: Instance, number: u64) -> Self {
        let (pages, life) = (0, None);
        Self { asked: first, pages, is_complete: false, is_inert: false, life, number }
    }

    /// Whether a page of `life` belongs to this answer: of another life than before, the answer begins
    /// anew at `first`, unless that life has to tell its number first.
    pub(super) fn is_by(&mut self, life: Incarnation, first: Instance, has_number: bool) -> bool {
        if !has_number {
            self.begin((life, self.number), first);
        }
        self.life == Some(life)
    }

    /// A life and its number answer.
    fn begin(&mut self, (life, number): (Incarnation, u64), first: Instance) {
        if self.life != Some(life) {
            self.forget(first);
            self.life = Some(life);
        }
        self.number = number;
    }

    /// Forgets what a life has answered, if one has, which says so. The next one is asked from `first`
    /// on.
    fn forget(&mut self, first: Instance) -> bool {
        let has_answered = self.life.is_some();
        if has_answered {
            *self = Self { is_inert: self.is_inert, ..Self::awaited(first, self.number) };
        }
        has_answered
    }
}

impl<L: Log> Member<L> {
    /// An acceptor is about to answer: in which life, and which lives of the others it knows.
    pub(in crate::ring_paxos) fn on_known_lives(
        &mut self,
        envelope: &Envelope,
        known: &KnownLives,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let first = self.first_open();
        let Some(index) = self.config.index(envelope.sender) else { return };
        let Phase::Preparing(preparing) = &mut self.coordinator.phase else { return };
        if known.ballot != self.coordinator.ballot || !self.config.keeps_lives {
            return;
        }
        let answer = &mut preparing.answers[index];
        let (number, last) = (known.numbers[index], answer.number);
        if number < last {
            // The same life may have got another number since.
            if !self.acceptor.lives.knows(envelope.sender, envelope.incarnation) {
                self.tell_later_life(envelope, last, out);
            }
            return;
        }
        answer.begin((envelope.incarnation, number), first);
        for other in 0..self.config.acceptors.len() {
            self.note_number(other, known.numbers[other], out);
        }
        self.check_promises(now, out);
    }

    /// Somebody knows life `number` of acceptor `index`: what an earlier one promised is asked again.
    pub(in crate::ring_paxos) fn note_number(
        &mut self,
        index: usize,
        number: u64,
        out: &mut impl Outbox,
    ) {
        let first = self.first_open();
        let Phase::Preparing(preparing) = &mut self.coordinator.phase else { return };
        let answer = &mut preparing.answers[index];
        if !may_follow(number, answer.number) {
            return;
        }
        answer.number = number;
        if answer.forget(first) {
            let prepare = Prepare { ballot: self.coordinator.ballot, first };
            self.send_prepare(index, prepare, out);
        }
    }
}
