//! Lives of acceptors with logs, and directories that are copies of earlier days (docs/adr/0032).
//!
//! A log that was put back from a copy is sound and says nothing of what was said after it was made.
//! Only others can know. So an acceptor numbers its lives, in its own log, and the first thing that
//! it does in one is to tell the others: each writes the life down, and answers with the last one
//! that it knows, the highest ballot that it has promised, and how far it knows this acceptor to have
//! voted. Before an acceptor has heard enough of that it neither promises nor votes:
//!
//! - of f others that remember their own lives, any quorum together with itself, and for a while
//!   longer of whoever else may answer, unless f + 1 have that are not in doubt themselves. What an
//!   acceptor has forgotten, f others helped to decide; if no more than f - 1 are missing, one of them
//!   is among those who answer.
//! - Somebody knows a later life, or another one of the same number, or more votes than the log has:
//!   it is an old copy. The acceptor has lost its memory then, and is admitted again (`admission`).
//! - A promise that the log does not have is made again: it rises to the highest that is told.
//!
//! One without memory asks, too: its next life must have a number above all that are known, and it
//! must know the lives of the others before it counts as one that remembers.
//!
//! It costs two messages a pair of acceptors at a start, and nothing after that.
//!
//! Lives may be kept from an epoch on, where the members speak a newer wire version than before
//! (docs/adr/0034). Every acceptor begins that epoch as if it had restarted, and with what it knows
//! by then: one that is put back from a copy of the time before it, and missed the change, would find
//! out that it had a life in that epoch.

use super::member::{Member, Memory};
use super::{Destination, Envelope, Log, Lsn, Outbox, Record, RingConfig};
use crate::types::{Ballot, Bug, Incarnation, Instance, Life, NodeId, Time};
use crate::wire::{KnownLives, MAX_ACCEPTORS, Message, Recall, Recollection};

/// How often who has heard enough asks the others: eight times in an election time-out. They are
/// counted, not timed: who stood still has not waited.
const ROUNDS: u32 = 16;

/// No acceptor begins so many lives unheard: what names a number so far above the known one is not
/// of this ring, and to believe it would leave no number for the next.
const LEAP: u64 = 1 << 20;

/// Whether life `number` may follow life `known`.
pub(super) const fn may_follow(number: u64, known: u64) -> bool {
    number > known && number - known <= LEAP
}

/// A life that is written down here.
#[derive(Clone, Copy, Debug, Hash)]
struct Known {
    node: NodeId,
    life: Life,
    lsn: Lsn,
    /// Which life of it has asked, and is answered once this one is persistent.
    asked_by: Option<Incarnation>,
}

/// What the members of a ballot's ring must have in their logs: that they promised it, and everything
/// from there to there accepted at it.
#[derive(Clone, Copy, Debug, Hash)]
struct Votes {
    ballot: Ballot,
    trim: Instance,
    decided: Instance,
}

/// What an acceptor asks at the beginning of its life.
#[derive(Clone, Debug, Hash)]
struct Inquiry {
    /// By acceptor: what it remembers of its former lives, as a [`Recollection`] says it; none: it has
    /// not answered.
    answers: Vec<Option<u64>>,
    /// The highest ballot that one of them has promised.
    promised: Ballot,
    /// Everybody was asked once.
    has_asked: bool,
    /// How often the others were asked since enough have answered.
    rounds: Option<u32>,
    /// Until it is over there is no promise and no vote.
    is_gate: bool,
}

impl Inquiry {
    /// How many answers are such.
    fn count(&self, is_such: impl Fn(u64) -> bool) -> usize {
        self.answers.iter().flatten().filter(|memory| is_such(**memory)).count()
    }

    fn new(acceptors: usize, is_gate: bool) -> Self {
        Self {
            answers: vec![None; acceptors],
            promised: Ballot::ZERO,
            has_asked: false,
            rounds: None,
            is_gate,
        }
    }
}

/// The lives that an acceptor knows of, its own among them.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Lives {
    /// See [`RingConfig::former_lives`].
    are_kept: bool,
    known: Vec<Known>,
    /// The highest ballot in the log that this life began with.
    promised: Ballot,
    /// The first trim mark that the coordinator of the current ballot told: what is above it was not
    /// forgotten when the ballot began.
    trim: Option<Instance>,
    /// By acceptor: what a ballot that is over has decided with its votes.
    votes: Vec<(NodeId, Votes)>,
    inquiry: Option<Inquiry>,
    /// Somebody waits for an answer.
    is_asked: bool,
    /// The log lacks nothing that this acceptor helped to decide: there was no former life, or what it
    /// may have forgotten was accepted anew since (`vouch`).
    is_vouched_for: bool,
}

impl Lives {
    pub(super) fn new(config: &RingConfig, memory: Memory) -> Self {
        let is_gate = memory == Memory::Restored && !Bug::OldCopyVotes.is_planted();
        let asks = config.former_lives.are_kept() && memory != Memory::Fresh;
        let inquiry = asks.then(|| Inquiry::new(config.acceptors.len(), is_gate));
        Self {
            are_kept: config.former_lives.are_kept(),
            inquiry,
            is_vouched_for: memory == Memory::Fresh,
            ..Self::default()
        }
    }

    /// Whether there is no vote before others have answered.
    pub(super) fn is_gate(&self) -> bool {
        self.inquiry.as_ref().is_some_and(|inquiry| inquiry.is_gate)
    }

    /// Nothing that the log lacks can be missed any more.
    pub(super) const fn vouch(&mut self) {
        self.is_vouched_for = true;
    }

    pub(super) const fn is_vouched_for(&self) -> bool {
        self.is_vouched_for
    }

    /// Nobody had anything that this log could lack.
    pub(super) const fn open_gate(&mut self) {
        if let Some(inquiry) = &mut self.inquiry {
            inquiry.is_gate = false;
        }
    }

    /// Whether enough others have answered.
    pub(super) const fn are_settled(&self) -> bool {
        self.inquiry.is_none()
    }

    /// Another epoch begins: whoever is asked already is asked anew.
    fn begin_epoch(&mut self, config: &RingConfig) {
        if let Some(inquiry) = &self.inquiry {
            self.inquiry = Some(Inquiry::new(config.acceptors.len(), inquiry.is_gate));
        }
    }

    /// Lives are kept from now on, by an acceptor which has promised `promised`.
    fn begin_to_keep(&mut self, config: &RingConfig, promised: Ballot) {
        self.are_kept = true;
        self.promised = promised;
        let is_gate = !Bug::OldCopyVotes.is_planted();
        self.inquiry = Some(Inquiry::new(config.acceptors.len(), is_gate));
    }

    fn of(&self, node: NodeId) -> Option<Known> {
        self.known.iter().find(|known| known.node == node).copied()
    }

    /// Whether the last life of `node` that is known is this one.
    pub(super) fn knows(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.of(node).is_some_and(|known| known.life.incarnation == incarnation)
    }

    /// The number of the last life of `node` that is known; 0: of none.
    pub(super) fn number_of(&self, node: NodeId) -> u64 {
        self.of(node).map_or(0, |known| known.life.number)
    }

    /// The coordinator that is followed says that everything up to `trim` may be forgotten.
    #[inline]
    pub(super) fn note_trim(&mut self, trim: Instance) {
        if self.are_kept {
            self.trim.get_or_insert(trim);
        }
    }

    /// `ballot` is over, which decided up to `decided` by the votes of `members`.
    pub(super) fn note_votes(&mut self, members: &[NodeId], ballot: Ballot, decided: Instance) {
        let votes = self.votes_at(ballot, decided);
        self.trim = None;
        for node in members.iter().filter(|_| self.are_kept) {
            match self.votes.iter_mut().find(|(known, _)| known == node) {
                Some((_, known)) if known.decided <= decided => *known = votes,
                Some(_) => {}
                None => self.votes.push((*node, votes)),
            }
        }
    }

    fn votes_at(&self, ballot: Ballot, decided: Instance) -> Votes {
        Votes { ballot, trim: self.trim.unwrap_or(decided), decided }
    }

    /// The log holds no ballot above `promised`.
    pub(super) const fn begin_with(&mut self, promised: Ballot) {
        self.promised = promised;
    }

    /// `node` lives `life`, as a record says that is persistent once `lsn` is.
    pub(super) fn note(&mut self, node: NodeId, life: Life, lsn: Lsn) {
        let asked_by = self.of(node).and_then(|known| known.asked_by);
        self.known.retain(|known| known.node != node);
        self.known.push(Known { node, life, lsn, asked_by });
    }
}

impl<L: Log> Member<L> {
    /// Whether it may promise, vote and stand: it remembers its former lives, and has heard of enough
    /// others that its log is no copy of earlier days.
    #[must_use]
    pub fn has_vote(&self) -> bool {
        !self.acceptor.is_inert && !self.acceptor.lives.is_gate()
    }

    /// Whether it restarted with a memory that may be of earlier days.
    fn is_in_doubt(&self) -> bool {
        !self.acceptor.is_inert && self.acceptor.lives.is_gate()
    }

    /// Whether its log was found to be a copy of earlier days.
    #[must_use]
    pub const fn has_old_copy(&self) -> bool {
        self.counters.old_copies > 0
    }

    /// The log of another ring in the same directory was found to be a copy of earlier days: so is
    /// this one, unless others have been heard on it.
    pub fn distrust(&mut self) {
        if self.is_in_doubt() {
            self.forget();
        }
    }

    /// Another epoch begins, perhaps the first one with lives.
    ///
    /// # Panics
    /// If lives were kept and are not any more: what is known of them would grow old in the logs, and
    /// be taken for the truth when they are kept again.
    pub(super) fn take_up_lives(&mut self, now: Time) {
        let promised = self.acceptor.promised;
        let lives = &mut self.acceptor.lives;
        match (lives.are_kept, self.config.former_lives.are_kept()) {
            (true, keeps) => {
                assert!(keeps, "a wire version is never lowered");
                lives.begin_epoch(&self.config);
            }
            (false, true) => lives.begin_to_keep(&self.config, promised),
            (false, false) => {}
        }
        if !self.acceptor.lives.are_settled() {
            self.election.tick_at = now; // It asks at once.
        }
    }

    /// Asks whoever has not answered yet, and looks whether there are enough.
    pub(super) fn inquire(&mut self, now: Time, out: &mut impl Outbox) {
        if self.acceptor.lives.inquiry.is_none() {
            return;
        }
        let own = self.acceptor.lives.of(self.me).map(|known| known.life);
        if own.is_none_or(|own| own.incarnation != self.incarnation) {
            self.begin_life(own.map_or(1, |own| own.number + 1));
        }
        self.ask(out);
        self.release_lives(out);
        if let Some(inquiry) = &mut self.acceptor.lives.inquiry {
            inquiry.rounds = inquiry.rounds.map(|rounds| rounds + 1);
        }
        self.conclude(now, out);
    }

    /// More is persistent: questions and answers that waited for it leave.
    #[inline]
    pub(super) fn release_lives(&mut self, out: &mut impl Outbox) {
        let lives = &self.acceptor.lives;
        if lives.inquiry.as_ref().is_some_and(|inquiry| !inquiry.has_asked) {
            self.ask(out);
        }
        if self.acceptor.lives.is_asked {
            self.answer_recalls(out);
        }
    }

    /// Numbers the life of now.
    fn begin_life(&mut self, number: u64) {
        let life = Life { number, incarnation: self.incarnation };
        self.write_life(self.me, life);
        if let Some(inquiry) = &mut self.acceptor.lives.inquiry {
            inquiry.answers.fill(None);
            (inquiry.has_asked, inquiry.rounds) = (false, None);
        }
    }

    fn write_life(&mut self, node: NodeId, life: Life) {
        let lsn = self.log.append(&Record::Life { node, life });
        self.acceptor.lives.note(node, life, lsn);
    }

    /// The life of now, once it is persistent: until then another one might get the same number. One
    /// that has no former life need not be numbered.
    pub(super) fn own_life(&self) -> Option<Life> {
        let unnumbered = Life { number: 0, incarnation: self.incarnation };
        match self.acceptor.lives.of(self.me) {
            Some(own) if own.life.incarnation == self.incarnation => {
                (own.lsn <= self.log.persisted()).then_some(own.life)
            }
            _ => self.acceptor.lives.are_settled().then_some(unnumbered),
        }
    }

    fn ask(&mut self, out: &mut impl Outbox) {
        let Some(life) = self.own_life() else { return };
        let Some(inquiry) = &mut self.acceptor.lives.inquiry else { return };
        inquiry.has_asked = true;
        let Some(inquiry) = &self.acceptor.lives.inquiry else { return };
        for (index, answer) in inquiry.answers.iter().enumerate() {
            // Who was in doubt itself, or without memory, may not be any more.
            let is_asked = answer.is_none_or(|memory| memory != Recollection::SOUND);
            if index != self.index && is_asked {
                let to = Destination::Node(self.config.acceptors[index]);
                self.send(to, &Message::Recall(Recall { life }), out);
            }
        }
    }

    /// Another acceptor has begun a life.
    pub(super) fn on_recall(
        &mut self,
        envelope: &Envelope,
        recall: &Recall,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let (node, life) = (envelope.sender, recall.life);
        let is_acceptor = self.config.index(node).is_some_and(|index| index != self.index);
        if !is_acceptor
            || !self.config.former_lives.are_kept()
            || envelope.incarnation != life.incarnation
        {
            return;
        }
        self.learn_life(node, life, now, out);
        let lives = &mut self.acceptor.lives;
        if let Some(known) = lives.known.iter_mut().find(|known| known.node == node) {
            known.asked_by = Some(life.incarnation);
            lives.is_asked = true;
        }
        self.answer_recalls(out);
        self.vouch_for(envelope, out);
    }

    /// Writes down that `node` lives `life`, unless that or a later one is known.
    fn learn_life(&mut self, node: NodeId, life: Life, now: Time, out: &mut impl Outbox) {
        if !may_follow(life.number, self.acceptor.lives.number_of(node)) {
            return;
        }
        self.write_life(node, life);
        if let Some(index) = self.config.index(node) {
            self.note_number(index, life.number, out);
        }
        if self.coordinator.is_leading() && self.acceptor.layout.position(node).is_some() {
            // Votes of its life before may be on their way: nothing is decided by them any more, for
            // it will be told how far they are known.
            self.stand(now, out);
        }
    }

    /// The lives that are known, by acceptor, with `own` as the present one.
    fn table(&self, own: Life) -> [Life; MAX_ACCEPTORS] {
        let mut table = [Life::default(); MAX_ACCEPTORS];
        for (life, node) in table.iter_mut().zip(&self.config.acceptors) {
            *life = self.acceptor.lives.of(*node).map_or(*life, |known| known.life);
        }
        table[self.index] = own;
        table
    }

    /// What a candidate must know of lives, who has promised `ballot`; none: the own life has no
    /// number yet that f others know, who would tell it to a later one.
    pub(super) fn known_lives(&self, ballot: Ballot) -> Option<KnownLives> {
        let own = self.own_life()?;
        let others = self.config.quorum() - 1;
        let is_known = |inquiry: &Inquiry| inquiry.count(|_| true) >= others;
        let numbers = self.table(own).map(|life| life.number);
        self.acceptor
            .lives
            .inquiry
            .as_ref()
            .is_none_or(is_known)
            .then_some(KnownLives { ballot, numbers })
    }

    /// As a [`Recollection`] says it.
    fn memory(&self) -> u64 {
        if self.acceptor.is_inert {
            Recollection::FORGETFUL
        } else if self.acceptor.lives.is_gate() {
            Recollection::IN_DOUBT
        } else {
            Recollection::SOUND
        }
    }

    /// An acceptor does not know that it had life `number`: when it asked, too many of those were
    /// missing who do. It begins a later one.
    pub(super) fn tell_later_life(&self, envelope: &Envelope, number: u64, out: &mut impl Outbox) {
        let (own, index) = (self.own_life(), self.config.index(envelope.sender));
        let (Some(own), Some(index)) = (own, index) else { return };
        let mut lives = self.table(own);
        lives[index] = Life { number, incarnation: Incarnation(0) };
        let recollection = Recollection {
            to: envelope.incarnation,
            lives,
            promised: self.acceptor.promised,
            voted: Ballot::ZERO,
            trim: Instance(0),
            decided: Instance(0),
            memory: self.memory(),
        };
        self.send(Destination::Node(envelope.sender), &Message::Recollection(recollection), out);
    }

    /// Answers those whose life is persistent here.
    fn answer_recalls(&mut self, out: &mut impl Outbox) {
        let Some(own) = self.own_life() else { return };
        let persisted = self.log.persisted();
        self.acceptor.lives.is_asked = false;
        for at in 0..self.acceptor.lives.known.len() {
            let known = self.acceptor.lives.known[at];
            let Some(asker) = known.asked_by else { continue };
            if known.lsn <= persisted {
                self.acceptor.lives.known[at].asked_by = None;
                self.tell(asker, &known, own, out);
            } else {
                self.acceptor.lives.is_asked = true;
            }
        }
    }

    /// What is known here of an acceptor, to the life of it that asks.
    fn tell(&self, asker: Incarnation, known: &Known, own: Life, out: &mut impl Outbox) {
        let acceptor = &self.acceptor;
        let before = acceptor.lives.votes.iter().find(|(node, _)| *node == known.node);
        let now = acceptor.lives.votes_at(acceptor.current, self.decided_at_current());
        let is_in_ring = acceptor.layout.position(known.node).is_some();
        let none = Votes { ballot: Ballot::ZERO, trim: Instance(0), decided: Instance(0) };
        let votes = match before {
            Some((_, before)) if !is_in_ring || before.decided > now.decided => *before,
            _ if is_in_ring => now,
            _ => none,
        };
        let recollection = Recollection {
            to: asker,
            lives: self.table(own),
            promised: acceptor.promised,
            voted: votes.ballot,
            trim: votes.trim,
            decided: votes.decided,
            memory: self.memory(),
        };
        self.send(Destination::Node(known.node), &Message::Recollection(recollection), out);
    }

    /// Another acceptor says what it knows of this one.
    pub(super) fn on_recollection(
        &mut self,
        envelope: &Envelope,
        recollection: &Recollection,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Recollection { to, ref lives, promised, memory, .. } = *recollection;
        let known = lives[self.index];
        let Some(index) = self.config.index(envelope.sender) else { return };
        let mine = self.acceptor.lives.of(self.me).map(|known| known.life);
        let Some(mine) = mine.filter(|mine| mine.incarnation == self.incarnation) else { return };
        // Of another life, or of a number that this one had before.
        let is_of_mine = known.number == mine.number || may_follow(known.number, mine.number);
        if to != self.incarnation || !is_of_mine || index == self.index {
            return;
        }
        // What it has known itself of their lives may be what it lost.
        for (other, life) in lives.iter().enumerate().take(self.config.acceptors.len()) {
            if other != self.index {
                self.learn_life(self.config.acceptors[other], *life, now, out);
            }
        }
        if known != mine {
            // Another life had the number, or a later one.
            if self.is_in_doubt() {
                self.forget();
            }
            // Others must know the new number, too, before anything is said in that life.
            let inquiry = || Inquiry::new(self.config.acceptors.len(), false);
            self.acceptor.lives.inquiry.get_or_insert_with(inquiry);
            self.begin_life(known.number + 1);
            self.ask(out);
            return;
        }
        if self.is_in_doubt() && self.has_forgotten(recollection) {
            self.forget();
        }
        if let Some(inquiry) = &mut self.acceptor.lives.inquiry {
            inquiry.answers[index] = Some(memory);
            inquiry.promised = inquiry.promised.max(promised);
            self.conclude(now, out);
        }
    }

    /// Whether the log lacks a promise, or votes by which something was decided.
    fn has_forgotten(&self, recollection: &Recollection) -> bool {
        let Recollection { voted, trim, decided, .. } = *recollection;
        let first = self.window.trim().max(trim).next();
        let holds = |instance: u64| {
            let entry = self.window.entry(Instance(instance));
            entry.is_some_and(|entry| entry.is_accepted() && entry.ballot >= voted)
        };
        voted > self.acceptor.lives.promised || !(first.0..=decided.0).all(holds)
    }

    /// The log is a copy of earlier days: what was promised and accepted since is lost.
    fn forget(&mut self) {
        self.counters.old_copies += 1;
        self.acceptor.is_inert = true;
        self.acceptor.grant = None;
        self.acceptor.promise_due = None;
        self.acceptor.votes.clear();
        // Before it is admitted, another life would not know better than this log.
        self.log.append(&Record::Lost);
    }

    /// Whether enough have answered.
    fn conclude(&mut self, now: Time, out: &mut impl Outbox) {
        let is_inert = self.acceptor.is_inert;
        let (others, quorum) = (self.config.acceptors.len() - 1, self.config.quorum());
        let Some(inquiry) = &mut self.acceptor.lives.inquiry else { return };
        let answered = inquiry.count(|_| true);
        let remembering = inquiry.count(|memory| memory != Recollection::FORGETFUL);
        let sound = inquiry.count(|memory| memory == Recollection::SOUND);
        let is_over = if is_inert {
            // Its admission takes an answer of everybody, too.
            answered == others && inquiry.has_asked
        } else if remembering + 1 >= quorum && inquiry.has_asked {
            let is_late = *inquiry.rounds.get_or_insert(0) >= ROUNDS;
            // Two that are in doubt could vouch for each other.
            answered == others || sound >= quorum || is_late
        } else {
            false
        };
        if !is_over {
            return;
        }
        let Inquiry { promised, is_gate, .. } = *inquiry;
        self.acceptor.lives.inquiry = None;
        if is_gate && !is_inert && promised > self.acceptor.promised {
            self.promise(promised);
        }
        if is_gate && self.election.is_silent(now) {
            self.election.tick_at = now; // It stands at once.
        }
        // Who asked while the own life was not known is answered now.
        self.answer_recalls(out);
    }
}
