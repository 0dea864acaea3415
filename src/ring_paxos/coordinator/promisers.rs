//! Who has promised so far, and in which of their lives (docs/adr/0032).
//!
//! A promise is of one life. All pages of an answer come from the same: what two lives of an acceptor
//! have trimmed may differ, and so may what is on a page. Where lives are kept, more is asked: the
//! next life may have come back from a copy of a log that lacks the promise. It asks others before it
//! votes. Whoever answers it after having promised this ballot tells it so; whoever answers it before
//! knows of that life, and says so with its own promise ([`KnownLives`]). f + 1 answer it, and beside
//! it the quorum has f members, the candidate among them, so one of them does both. A promise of an
//! earlier life is forgotten then, and asked for again.
//!
//! f + 1 promises are enough only if logs that nobody vouches for yet are not needed for a quorum, or
//! nobody else is to be had (`vouch`).

use super::Phase;
use crate::ring_paxos::lives::may_follow;
use crate::ring_paxos::member::Member;
use crate::ring_paxos::{Envelope, Instance, Log, Outbox};
use crate::types::{Ballot, Bug, Incarnation, Time};
use crate::wire::{KnownLives, Prepare};

/// How often a candidate asks those that are missing, beside promises that nobody vouches for: eight
/// times in an election time-out. Longer than who restarts waits before it may answer (`lives`). They
/// are counted, not timed: a candidate that stood still has not waited.
const ROUNDS: u32 = 24;

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
    /// A coordinator has vouched for this life of it.
    vouched_for: Option<Incarnation>,
}

impl Answer {
    /// None yet, from `first` on; lives before `number` do not count.
    pub(super) const fn awaited(first: Instance, number: u64) -> Self {
        let (pages, life, vouched_for) = (0, None, None);
        Self { asked: first, pages, is_complete: false, is_inert: false, life, number, vouched_for }
    }

    /// Whether it has promised with a log that may be a copy of an earlier day.
    fn is_doubtful(&self) -> bool {
        self.is_complete && (self.life.is_none() || self.vouched_for != self.life)
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
            let Self { is_inert, vouched_for, number, .. } = *self;
            *self = Self { is_inert, vouched_for, ..Self::awaited(first, number) };
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
        if known.ballot != self.coordinator.ballot || !self.config.former_lives.are_kept() {
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

    /// An acceptor that promises `ballot` was vouched for in its life of now.
    pub(in crate::ring_paxos) fn note_vouch(
        &mut self,
        envelope: &Envelope,
        ballot: Ballot,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Some(index) = self.config.index(envelope.sender) else { return };
        let Phase::Preparing(preparing) = &mut self.coordinator.phase else { return };
        if ballot == self.coordinator.ballot {
            preparing.answers[index].vouched_for = Some(envelope.incarnation);
            self.check_promises(now, out);
        }
    }

    /// Time-outs go by.
    pub(in crate::ring_paxos) fn count_round(&mut self) {
        if let Phase::Preparing(preparing) = &mut self.coordinator.phase {
            preparing.rounds = preparing.rounds.map(|rounds| rounds + 1);
        }
    }

    /// Whether more promises than a quorum are waited for.
    pub(in crate::ring_paxos) fn waits_for_more(&self) -> bool {
        matches!(&self.coordinator.phase, Phase::Preparing(preparing) if preparing.rounds.is_some())
    }

    /// Whether a quorum is not enough, since nobody vouches for some of it: they may have forgotten what
    /// was decided with them. Who had no memory before there was one is asked again: it may have been
    /// admitted since, and have had a part in something.
    pub(super) fn needs_others(&mut self, out: &mut impl Outbox) -> bool {
        let (count, quorum) = (self.config.acceptors.len(), self.config.quorum());
        let (vouches, is_vouched_for) = (self.vouches(), self.is_vouched_for());
        let Phase::Preparing(preparing) = &mut self.coordinator.phase else { return false };
        let doubtful = preparing.answers.iter().filter(|answer| answer.is_doubtful()).count()
            + usize::from(!is_vouched_for);
        if doubtful == 0 || !vouches || Bug::UnvouchedCounts.is_planted() {
            return false;
        }
        // No more than so many are copies, for no more may fail.
        let enough = quorum + doubtful.min(count - quorum);
        if preparing.complete() + 1 >= enough || preparing.rounds >= Some(ROUNDS) {
            return false;
        }
        if preparing.rounds.is_none() {
            preparing.rounds = Some(0);
            preparing.answers.iter_mut().for_each(|answer| answer.is_inert = false);
            self.prepare_again(out);
        }
        !self.has_answer_of_all_but(self.index)
    }
}
