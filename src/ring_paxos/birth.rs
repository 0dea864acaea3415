//! The first start of a ring (docs/adr/0031).
//!
//! An acceptor that finds nothing where its memory should be cannot know whether there was any: a
//! directory that was lost looks like one that never was. So it begins without a vote, and tells the
//! others that it knows of no former life, and which life of theirs it has heard the same of. Only
//! when every other one says so, naming the present life of this one, does the ring begin: each of
//! them had nothing at some time after this life had begun. If an earlier life of this one had a part
//! in a decision, a quorum had, and whoever of it has not lost its memory says nothing of the kind:
//! only if f + 1 lose theirs does a ring begin that had begun before. Where it has begun, a newborn
//! is admitted like any acceptor that has lost its memory.
//!
//! One that begins first and ends at once must not leave the others with less than they need. So each
//! waits a while until all of them know enough to begin, whoever ends then; and who has begun goes
//! on telling the lives that it had heard of before: it was newborn after they had begun, and they
//! may have missed it.
//!
//! The power may go everywhere while a ring begins, and leave too few that know of it. Those that do,
//! and have accepted nothing, are as good as newborn at their next start: where nobody has anything
//! more nothing was decided, and the candidates that they promised something have ended with their
//! lives. So they say that they are newborn until they promise something in this life, beside what
//! they do as acceptors with a vote.

use super::member::{Member, Memory};
use super::{Destination, Envelope, Instance, Log, Outbox, Record};
use crate::types::{Incarnation, Time};
use crate::wire::{Message, Newborn};

/// How long who knows enough waits for the others to, in election time-outs.
const PATIENCE: u32 = 4;

/// What a newborn has heard of the others.
#[derive(Clone, Debug, Hash)]
pub(super) struct Birth {
    /// The life in which each acceptor is newborn, too.
    lives: Vec<Option<Incarnation>>,
    /// Whether it was so after the present life of this one had begun.
    knows_me: Vec<bool>,
    /// Whether each knows as much of all others.
    is_ready: Vec<bool>,
    /// Since when this one does.
    ready_at: Option<Time>,
    /// The ring has begun here: what was heard before stands, nothing is added.
    is_over: bool,
}

impl Birth {
    pub(super) fn new(acceptors: usize, memory: Memory) -> Option<Self> {
        let birth = Self {
            lives: vec![None; acceptors],
            knows_me: vec![false; acceptors],
            is_ready: vec![false; acceptors],
            ready_at: None,
            is_over: false,
        };
        (memory == Memory::Newborn).then_some(birth)
    }
}

impl<L: Log> Member<L> {
    /// Another acceptor knows of no former life of its own.
    pub(super) fn on_newborn(
        &mut self,
        envelope: &Envelope,
        newborn: &Newborn,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Newborn { life, yours, is_ready } = *newborn;
        let (me, mine) = (self.incarnation, self.index);
        let index = self.config.index(envelope.sender).filter(|index| *index != mine);
        let Some(index) = index.filter(|_| envelope.incarnation == life) else { return };
        let Some(birth) = &mut self.acceptor.birth else { return };
        if birth.is_over {
            // Two for which it is over would answer each other for ever.
            if birth.lives[index] == Some(life) && is_ready != Newborn::HAS_BEGUN {
                self.declare(index, out);
            }
            return;
        }
        if birth.lives[index] != Some(life) {
            birth.lives[index] = Some(life);
            (birth.knows_me[index], birth.is_ready[index]) = (false, false);
            birth.ready_at = None;
        }
        birth.knows_me[index] |= yours == me;
        birth.is_ready[index] = is_ready != Newborn::LACKS_SOME;
        let mut is_news = false;
        let mut others = birth.knows_me.iter().enumerate();
        if others.all(|(other, knows)| *knows || other == mine) {
            is_news = birth.ready_at.is_none();
            birth.ready_at.get_or_insert(now);
        }
        if is_news {
            self.declare_birth(out);
        } else if yours != me {
            self.declare(index, out);
        }
    }

    /// Tells everybody else, again and again.
    pub(super) fn declare_birth(&self, out: &mut impl Outbox) {
        if self.acceptor.birth.as_ref().is_some_and(|birth| !birth.is_over) {
            let others = (0..self.config.acceptors.len()).filter(|index| *index != self.index);
            others.for_each(|index| self.declare(index, out));
        }
    }

    fn declare(&self, index: usize, out: &mut impl Outbox) {
        let Some(birth) = &self.acceptor.birth else { return };
        let yours = birth.lives[index].unwrap_or(Incarnation(0));
        let is_ready = match (birth.is_over, birth.ready_at) {
            (true, _) => Newborn::HAS_BEGUN,
            (false, Some(_)) => Newborn::KNOWS_ALL,
            (false, None) => Newborn::LACKS_SOME,
        };
        let newborn = Newborn { life: self.incarnation, yours, is_ready };
        let to = Destination::Node(self.config.acceptors[index]);
        self.send(to, &Message::Newborn(newborn), out);
    }

    /// If its log tells of a vote in the first epoch, and of nothing that was accepted by it: later
    /// epochs begin where the one before had begun.
    pub(super) fn be_as_newborn(&mut self) {
        let holds_nothing = self.window.highest() == Instance(0)
            && self.acceptor.logged_trim == Instance(0)
            && self.config.epoch == 1;
        if holds_nothing && self.acceptor.remembers && !self.acceptor.is_inert {
            self.acceptor.birth = Birth::new(self.config.acceptors.len(), Memory::Newborn);
        }
    }

    /// It has a vote, and uses it.
    #[inline]
    pub(super) fn grow_up(&mut self) {
        let is_as_newborn = |birth: &Birth| !birth.is_over;
        if !self.acceptor.is_inert && self.acceptor.birth.as_ref().is_some_and(is_as_newborn) {
            self.acceptor.birth = None;
        }
    }

    /// Whether all acceptors are newborn: the ring may begin with [`Member::begin`], once the host
    /// has made persistent that it has.
    #[must_use]
    #[inline]
    pub fn may_begin(&self, now: Time) -> bool {
        let Some(birth) = self.acceptor.birth.as_ref().filter(|birth| !birth.is_over) else {
            return false;
        };
        if self.config.acceptors.len() == 1 {
            return true;
        }
        let mut others = birth.is_ready.iter().enumerate();
        birth.ready_at.is_some_and(|since| {
            now.since(since) >= self.config.election_timeout * PATIENCE
                || others.all(|(other, is_ready)| *is_ready || other == self.index)
        })
    }

    /// The ring begins: this acceptor promises and votes from now on.
    pub fn begin(&mut self, now: Time) {
        self.acceptor.birth.iter_mut().for_each(|birth| birth.is_over = true);
        self.acceptor.is_inert = false;
        self.acceptor.lives.vouch();
        self.acceptor.lives.open_gate();
        self.log.append(&Record::Admitted);
        let rank = self.config.rank(self.index);
        self.election.begin(rank, now);
    }
}
