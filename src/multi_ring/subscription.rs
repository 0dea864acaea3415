//! What one worker subscribes to: the learners of its rings and the merge of what they learn.
//!
//! A host gives it every datagram of its rings, lets the worker read [`Subscription::deliveries`],
//! and ends each duty cycle with [`Subscription::on_cycle_end`]. The value that the worker is at
//! stays readable across all of these: a worker may stop in the middle of a batch, or wait in
//! synchronous mode for many cycles.

use super::{Merge, Turn};
use crate::mem::{Frame, Pool};
use crate::ring_paxos::{Envelope, Learner, LearnerConfig, LearnerCounters, Outbox, Role, Taken};
use crate::types::{Instance, NodeId, RingId, Slot, Time};
use crate::wire::{Header, Message};
use std::hash::{Hash, Hasher};

/// Which rings a worker subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionConfig {
    /// The rings by rising number, which is their order in the merge.
    pub rings: Vec<LearnerConfig>,
    /// M: consecutive slots of one ring in a turn of the merge.
    pub m: u64,
}

/// A delivered value's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The ring that ordered it.
    pub ring: RingId,
    /// Its slot in that ring.
    pub slot: Slot,
}

/// Where a subscriber stands in one ring. The rest of a skip is in the slot counter, which is
/// ahead of those of the other rings by as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPosition {
    /// The ring.
    pub ring: RingId,
    /// The next instance to deliver.
    pub next: Instance,
    /// The slot of that instance.
    pub slot: Slot,
}

/// What a subscription counts, over all its rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionCounters {
    /// The sums of the learners' counters.
    pub learners: LearnerCounters,
    /// Values delivered.
    pub values: u64,
    /// Datagrams and messages of rings that are not subscribed to.
    pub foreign: u64,
}

/// The value that the worker is at.
#[derive(Clone, Copy, Debug, Hash)]
struct Current {
    index: usize,
    slot: Slot,
}

/// The learners of one worker and their merge.
#[derive(Debug)]
pub struct Subscription {
    learners: Box<[Learner]>,
    merge: Merge,
    current: Option<Current>,
    values: u64,
    foreign: u64,
}

impl Subscription {
    /// A subscription from the first slot on. `seed` keeps the back-offs of repairs apart.
    ///
    /// # Panics
    /// If there is no ring, or they do not rise by number: all subscribers must merge alike.
    #[must_use]
    pub fn new(config: SubscriptionConfig, seed: u64, now: Time) -> Self {
        assert!(
            config.rings.is_sorted_by(|a, b| a.ring < b.ring),
            "the rings of a subscription are given by rising number"
        );
        let merge = Merge::new(config.rings.len(), config.m);
        let learner = |(ring, seed): (LearnerConfig, u64)| Learner::new(ring, seed, now);
        let learners = config.rings.into_iter().zip(seed..).map(learner).collect();
        Self { learners, merge, current: None, values: 0, foreign: 0 }
    }

    /// Goes on from a checkpoint's position: the first value delivered is the one that was current
    /// there, or the next after it if none was.
    ///
    /// # Panics
    /// If `position` is of other rings.
    pub fn resume(&mut self, position: &[RingPosition], pool: &mut impl Pool) {
        assert_eq!(position.len(), self.learners.len(), "a position names every ring");
        self.current = None;
        for (index, at) in position.iter().enumerate() {
            assert_eq!(at.ring, self.learners[index].ring(), "a position is of the same rings");
            self.learners[index].restart(at.next, pool);
            self.merge.resume(index, at.slot);
        }
    }

    /// The replica lacks its state: what comes is kept until [`Subscription::resume`].
    pub fn await_checkpoint(&mut self) {
        self.learners.iter_mut().for_each(Learner::await_checkpoint);
    }

    /// A complete checkpoint has everything before `position`: acceptors hear of it.
    pub fn set_checkpointed(&mut self, position: &[RingPosition]) {
        for (learner, at) in self.learners.iter_mut().zip(position) {
            learner.set_checkpointed(at.next);
        }
    }

    /// The rings have other acceptors from now on; `of` gives those of each, the preferential one
    /// first.
    pub fn take_up(&mut self, mut of: impl FnMut(RingId) -> Vec<NodeId>) {
        for learner in &mut self.learners {
            learner.take_up(of(learner.ring()));
        }
    }

    /// Whether it subscribes to `ring`.
    #[inline]
    #[must_use]
    pub fn hears(&self, ring: RingId) -> bool {
        self.learners.iter().any(|learner| learner.ring() == ring)
    }

    /// A datagram whose header was checked; `header` is its front. The frame is kept or released.
    pub fn on_frame(&mut self, frame: Frame, header: &Header, pool: &mut impl Pool) {
        match self.learners.iter_mut().find(|learner| learner.ring() == header.ring) {
            Some(learner) => learner.on_frame(frame, header, pool),
            None => {
                self.foreign += 1;
                pool.release(frame);
            }
        }
    }

    /// A message of a ring; what is kept of it is copied.
    pub fn on_message(
        &mut self,
        envelope: &Envelope,
        message: &Message<'_>,
        now: Time,
        out: &mut impl Outbox,
    ) {
        match self.learners.iter_mut().find(|learner| learner.ring() == envelope.ring) {
            Some(learner) => learner.on_message(envelope, message, now, out),
            None => self.foreign += 1,
        }
    }

    /// The values that can be delivered now. Made anew for each poll of the worker.
    pub const fn deliveries<'a, P: Pool>(&'a mut self, pool: &'a mut P) -> Feed<'a, P> {
        Feed { subscription: self, pool }
    }

    /// The end of a duty cycle, after the worker was polled: no frame is held beyond it; repairs
    /// and positions leave.
    pub fn on_cycle_end(&mut self, pool: &mut impl Pool, now: Time, out: &mut impl Outbox) {
        for learner in &mut self.learners {
            learner.settle(pool);
            learner.on_cycle_end(now, out);
        }
    }

    /// [`Subscription::next_timeout`] has come.
    pub fn on_timeout(&mut self, now: Time, out: &mut impl Outbox) {
        for learner in &mut self.learners {
            learner.on_timeout(now, out);
        }
    }

    /// When [`Subscription::on_timeout`] is wanted next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.learners.iter().filter_map(Role::next_timeout).min()
    }

    /// The position, ring by ring. The value that the worker is at counts as not delivered: who
    /// resumes here gets it again and goes on within it where the worker was.
    pub fn position(&self) -> impl Iterator<Item = RingPosition> {
        self.learners.iter().enumerate().map(|(index, learner)| {
            let current = self.current.filter(|current| current.index == index);
            let slot = current.map_or_else(|| self.merge.slot(index), |current| current.slot);
            RingPosition { ring: learner.ring(), next: learner.position(), slot }
        })
    }

    /// If a ring has forgotten what comes next: the ring, and up to where. Only a checkpoint helps.
    #[must_use]
    pub fn needs_state_transfer(&self) -> Option<(RingId, Instance)> {
        self.learners
            .iter()
            .find_map(|learner| Some((learner.ring(), learner.needs_state_transfer()?)))
    }

    /// Where agreement is broken, if a learner has seen it: the ring and the first instance of which
    /// two values were decided. Whoever executes must stop.
    #[must_use]
    pub fn conflict(&self) -> Option<(RingId, Instance)> {
        self.learners.iter().find_map(|learner| Some((learner.ring(), learner.conflict()?)))
    }

    /// Whether it has delivered all that was decided when it began, or began again.
    #[must_use]
    pub fn has_caught_up(&self) -> bool {
        self.learners.iter().all(Learner::has_caught_up)
    }

    /// The learners, by rising ring.
    #[must_use]
    pub const fn learners(&self) -> &[Learner] {
        &self.learners
    }

    /// From now on its learners report no position, as [`Learner::hush`] says.
    pub fn hush(&mut self) {
        self.learners.iter_mut().for_each(Learner::hush);
    }

    /// What it has counted.
    #[must_use]
    pub fn counters(&self) -> SubscriptionCounters {
        let mut sum = LearnerCounters::default();
        for learner in &self.learners {
            sum += learner.counters();
        }
        SubscriptionCounters { learners: sum, values: self.values, foreign: self.foreign }
    }
}

/// All that decides what it delivers next, for whoever must know two states for the same one.
impl Hash for Subscription {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { learners, merge, current, values: _, foreign: _ } = self;
        (learners, merge, current).hash(state);
    }
}

/// The values of a subscription that can be delivered now, in merged order.
#[derive(Debug)]
pub struct Feed<'a, P> {
    subscription: &'a mut Subscription,
    pool: &'a mut P,
}

impl<P: Pool> Feed<'_, P> {
    /// Moves on to the next value and lets go of the one before. `None`: nothing more is decided
    /// in order yet; the one before stays gone.
    #[inline]
    pub fn advance(&mut self) -> Option<Delivered> {
        let Subscription { learners, merge, current, values, .. } = &mut *self.subscription;
        if let Some(last) = current.take() {
            learners[last.index].release(self.pool);
        }
        let (index, slot) = merge.advance(|ring| match learners[ring].take()? {
            Taken::Value => Some(Turn::Value),
            Taken::Skip(slots) => Some(Turn::Skip(slots)),
            Taken::Noop => Some(Turn::Skip(1)),
        })?;
        *current = Some(Current { index, slot });
        *values += 1;
        Some(Delivered { ring: learners[index].ring(), slot })
    }

    /// The bytes of the value that the worker is at.
    ///
    /// # Panics
    /// If [`Feed::advance`] has not moved to one.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let current = self.subscription.current.expect("advance has moved to a value");
        self.subscription.learners[current.index].bytes(self.pool)
    }
}

/// The pool of a subscription that is fed by [`Subscription::on_message`] alone: it has no frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFrames;

impl Pool for NoFrames {
    fn bytes(&self, _frame: &Frame) -> &[u8] {
        unreachable!("there are no frames")
    }

    fn release(&mut self, _frame: Frame) {
        unreachable!("there are no frames")
    }

    fn is_scarce(&self) -> bool {
        false
    }
}
