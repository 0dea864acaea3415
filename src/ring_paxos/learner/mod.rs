//! The learner: gathers values and decisions of one ring and hands them over in instance order.
//!
//! On the data path it stands between the ring's multicast and the merge. Values come with a 2A or
//! a repair, decisions as ranges that ride on later 2As, alone, or with a repair; either may come
//! first, and a value counts only under the name that was decided. Costs a datagram: one decode,
//! one or two entries of the window; a batch that is not consumed within the duty cycle is copied
//! once (about 0.1 ns a byte). Nothing here allocates after the start.
//!
//! It never looks inside a batch, never votes, and never holds a received buffer across a duty
//! cycle: a blocked worker must not starve its receive ring.

mod identity;
mod repair;
mod report;
#[cfg(test)]
mod tests;
mod trail;
mod window;

pub use trail::{LINKS, Link};
pub use window::Taken;

use super::{Envelope, Outbox, Role};
use crate::mem::{Frame, Pool};
use crate::types::{Ballot, Instance, NodeId, RingId, Time, ValueId};
use crate::wire::{Accept, DecidedRanges, HEADER_LENGTH, Header, MAX_DATAGRAM, Message, Value};
use repair::{Horizon, Repairs};
use std::time::Duration;
use window::{Admission, Arrival, Window};

/// A batch below this is copied at once: it would pin a whole receive buffer for little.
const MIN_FRAMED: usize = 2 * 1024;

/// Instances that a learner holds whose replica lacks its state: what is ordered in the seconds in
/// which a checkpoint is made and fetched. Its arena takes memory as they come.
const SPOOL: usize = 32 * 1024;

/// How a learner follows its ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnerConfig {
    /// The ring.
    pub ring: RingId,
    /// The ring's acceptors, the preferential one first.
    pub acceptors: Vec<NodeId>,
    /// A stable number of this learner: trimming waits for every one configured.
    pub learner: u64,
    /// Instances held at most: a power of two. Its arena takes 8 KiB of address space for each.
    pub window: usize,
    /// How long a gap may be reordering before it is asked for.
    pub reordering: Duration,
    /// The first wait for an answer; it doubles, and up to as much again is added at random.
    pub backoff: Duration,
    /// Instances asked for at once, each answered by a datagram: what a socket buffer holds.
    pub repair_budget: u32,
    /// The longest wait before progress is reported.
    pub report: Duration,
    /// Whether its replica makes checkpoints, and comes back by them.
    pub has_checkpoints: bool,
}

impl LearnerConfig {
    /// The default timing.
    #[must_use]
    pub const fn new(ring: RingId, acceptors: Vec<NodeId>, learner: u64) -> Self {
        Self {
            ring,
            acceptors,
            learner,
            window: 512,
            reordering: Duration::from_micros(200),
            backoff: Duration::from_millis(1),
            repair_budget: 16,
            report: Duration::from_millis(5),
            has_checkpoints: false,
        }
    }
}

/// What a learner counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnerCounters {
    /// Instances handed over.
    pub instances: u64,
    /// Of these, SKIPs.
    pub skips: u64,
    /// Of these, no-ops.
    pub noops: u64,
    /// Values that were here or delivered already.
    pub duplicates: u64,
    /// Values that lost against a decision or a higher ballot.
    pub stale: u64,
    /// Values above the window: the worker is behind.
    pub beyond_window: u64,
    /// Requests for repair sent.
    pub repair_requests: u64,
    /// Repairs received.
    pub repairs: u64,
    /// Batches copied out of their frames.
    pub copies: u64,
    /// Datagrams that could not be read.
    pub malformed: u64,
    /// Decisions that contradict an earlier one: agreement is broken.
    pub conflicts: u64,
}

impl std::ops::AddAssign for LearnerCounters {
    fn add_assign(&mut self, rhs: Self) {
        self.instances += rhs.instances;
        self.skips += rhs.skips;
        self.noops += rhs.noops;
        self.duplicates += rhs.duplicates;
        self.stale += rhs.stale;
        self.beyond_window += rhs.beyond_window;
        self.repair_requests += rhs.repair_requests;
        self.repairs += rhs.repairs;
        self.copies += rhs.copies;
        self.malformed += rhs.malformed;
        self.conflicts += rhs.conflicts;
    }
}

/// What the newest coordinator says is decided.
#[derive(Clone, Copy, Debug, Default, Hash)]
struct Mark {
    ballot: Ballot,
    decided: Instance,
}

/// A learner of one ring.
#[derive(Debug)]
pub struct Learner {
    config: LearnerConfig,
    window: Window,
    repairs: Repairs,
    horizon: Horizon,
    mark: Mark,
    /// The newest ballot's layout was laid at this ballot.
    layout_ballot: Ballot,
    report_to: NodeId,
    reported: Instance,
    report_at: Time,
    repeat_at: Time,
    trimmed: Instance,
    /// Its replica lacks its state, wherever the window is: nothing is handed over before
    /// [`Learner::restart`], but everything is kept, so that acceptors need not.
    lacks_state: bool,
    /// Where a decision first contradicted an earlier one.
    conflict: Option<Instance>,
    /// What was decided when the first message since the start came.
    joined: Option<Instance>,
    /// The last complete checkpoint has everything up to here.
    checkpointed: Instance,
    /// It reports no position.
    is_hushed: bool,
    counters: LearnerCounters,
}

impl Learner {
    /// A learner from the first instance on. `seed` keeps the back-offs of learners apart.
    ///
    /// # Panics
    /// If the window is no power of two or the configuration names no acceptor.
    #[must_use]
    pub fn new(config: LearnerConfig, seed: u64, now: Time) -> Self {
        Self {
            window: Window::new(config.window),
            repairs: Repairs::new(&config, seed),
            horizon: Horizon::default(),
            mark: Mark::default(),
            layout_ballot: Ballot::ZERO,
            report_to: config.acceptors[0],
            reported: Instance::default(),
            report_at: now + config.report,
            repeat_at: now + config.report * report::REPEAT,
            trimmed: Instance::default(),
            lacks_state: false,
            conflict: None,
            joined: None,
            checkpointed: Instance::default(),
            is_hushed: false,
            counters: LearnerCounters::default(),
            config,
        }
    }

    /// Goes on at `next`, which a checkpoint named, with what was kept from there on. If the ring has
    /// forgotten what lies between that and what was kept, the state is still lacking.
    pub fn restart(&mut self, next: Instance, pool: &mut impl Pool) {
        self.joined = None;
        if !self.lacks_state {
            self.window.restart(next, pool);
            self.trimmed = Instance::default();
        } else if next >= self.window.position() {
            self.window.skip_to(next);
            self.lacks_state = false;
        }
        self.repairs.restart();
        self.reported = self.window.position().previous();
    }

    /// The replica lacks its state, of this ring or of another one: a checkpoint is on its way.
    pub fn await_checkpoint(&mut self) {
        if self.config.has_checkpoints && !self.lacks_state {
            (self.lacks_state, self.joined) = (true, None);
            self.repeat_at = self.report_at;
        }
    }

    /// A datagram whose header was checked: `header` is its front. Keeps the frame or releases it.
    pub fn on_frame(&mut self, frame: Frame, header: &Header, pool: &mut impl Pool) {
        let envelope = Envelope {
            ring: header.ring,
            sender: header.sender,
            incarnation: header.incarnation,
            from: frame.from,
        };
        let end = HEADER_LENGTH + header.length as usize;
        let body = pool.bytes(&frame).get(HEADER_LENGTH..end).unwrap_or(&[]);
        let Ok(message) = Message::decode(header.kind, body) else {
            self.counters.malformed += 1;
            pool.release(frame);
            return;
        };
        if let Some((instance, batch)) = self.receive(&envelope, &message) {
            if batch.len() >= MIN_FRAMED && !pool.is_scarce() {
                // The batch is the last part of an Accept.
                let length = u32::try_from(batch.len()).expect("a batch fits a datagram");
                let start = u32::try_from(end).expect("a frame fits a buffer") - length;
                self.window.put_frame(instance, frame, start, length);
                self.window.advance_frontiers();
                return;
            }
            self.window.put_copy(instance, batch);
            self.counters.copies += 1;
        }
        self.window.advance_frontiers();
        pool.release(frame);
    }

    /// Hands over the next instance if it is decided and its value is here. The bytes of
    /// [`Taken::Value`] stay until [`Learner::release`], which must come before the next call.
    #[inline]
    pub fn take(&mut self) -> Option<Taken> {
        if self.lacks_state {
            return None;
        }
        let taken = self.window.take()?;
        self.counters.instances += 1;
        match taken {
            Taken::Value => {}
            Taken::Skip(_) => self.counters.skips += 1,
            Taken::Noop => self.counters.noops += 1,
        }
        Some(taken)
    }

    /// Lets go of the value in use.
    ///
    /// # Panics
    /// If none is.
    #[inline]
    pub fn release(&mut self, pool: &mut impl Pool) {
        self.window.release(pool);
    }

    /// Before the end of a duty cycle: copies what is still in frames and releases them.
    pub fn settle(&mut self, pool: &mut impl Pool) {
        if self.window.frames() > 0 {
            self.counters.copies += self.window.settle(pool);
        }
    }

    /// The bytes of the value in use.
    ///
    /// # Panics
    /// If none is.
    #[inline]
    pub fn bytes<'a>(&'a self, pool: &'a impl Pool) -> &'a [u8] {
        self.window.bytes(pool)
    }

    /// The ring.
    #[must_use]
    pub const fn ring(&self) -> RingId {
        self.config.ring
    }

    /// Hash chains of the last stretches that it has handed over whole, in no order; learners that
    /// agree have the same at the same instance.
    pub fn links(&self) -> impl Iterator<Item = Link> + use<> {
        self.window.links().into_iter().filter(|link| link.last > Instance::default())
    }

    /// The next instance to hand over; a value in use counts as not handed over yet.
    #[must_use]
    pub fn position(&self) -> Instance {
        self.window.position()
    }

    /// The last instance that it has heard is decided.
    #[must_use]
    pub const fn heard(&self) -> Instance {
        self.horizon.decided
    }

    /// A complete checkpoint has everything before `next`: reported soon.
    pub fn set_checkpointed(&mut self, next: Instance) {
        self.checkpointed = next.previous();
        self.repeat_at = self.report_at;
    }

    /// Whether it has handed over all that was decided when it began, or began again.
    #[must_use]
    pub fn has_caught_up(&self) -> bool {
        let has_passed = |joined| self.window.position() > joined;
        !self.lacks_state && self.joined.is_some_and(has_passed)
    }

    /// If what comes next is forgotten everywhere: up to where. Only a checkpoint helps.
    #[must_use]
    pub fn needs_state_transfer(&self) -> Option<Instance> {
        (self.lacks_state || self.is_cut_off()).then_some(self.trimmed)
    }

    /// Whether the ring has forgotten what is missing here.
    fn is_cut_off(&self) -> bool {
        self.trimmed >= self.window.frontier()
    }

    /// Where a decision first contradicted an earlier one: agreement is broken, and whoever executes
    /// must stop.
    #[must_use]
    pub const fn conflict(&self) -> Option<Instance> {
        self.conflict
    }

    /// Frames held now.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.window.frames()
    }

    /// What it has counted.
    #[must_use]
    pub const fn counters(&self) -> LearnerCounters {
        LearnerCounters { repair_requests: self.repairs.requests(), ..self.counters }
    }

    /// Takes note of a message. A batch that is wanted is returned: the caller puts it into the
    /// window in its way.
    fn receive<'a>(
        &mut self,
        envelope: &Envelope,
        message: &Message<'a>,
    ) -> Option<(Instance, &'a [u8])> {
        match message {
            Message::Accept(accept) => {
                // Decisions and marks first: they concern earlier instances.
                self.on_ranges(&accept.decisions);
                self.on_layout(accept.ballot, &accept.layout);
                self.on_mark(envelope, accept.ballot, accept.decided);
                let proposed =
                    if is_of(envelope, accept.ballot) { accept.ballot } else { Ballot::ZERO };
                self.on_value(accept, proposed)
            }
            Message::Repair(repair) => {
                self.counters.repairs += 1;
                self.on_ranges(&repair.accept.decisions);
                if repair.is_decided {
                    self.on_decided(repair.accept.instance, repair.accept.id);
                }
                // An acceptor's marks may be of another ballot than the value: a horizon, no more.
                self.horizon.decided = self.horizon.decided.max(repair.accept.decided);
                self.on_value(&repair.accept, Ballot::ZERO)
            }
            Message::Decision(decision) => {
                self.on_ranges(&decision.ranges);
                self.on_mark(envelope, decision.ballot, decision.decided);
                None
            }
            Message::Heartbeat(heartbeat) => {
                self.on_layout(heartbeat.ballot, &heartbeat.layout);
                self.on_mark(envelope, heartbeat.ballot, heartbeat.decided);
                self.horizon.decided = self.horizon.decided.max(heartbeat.highest);
                None
            }
            Message::Trimmed(trimmed) => {
                // Nothing is forgotten that was not decided, nor does anybody else know.
                let is_known = trimmed.trim <= self.horizon.decided;
                if !is_known || !self.config.acceptors.contains(&envelope.sender) {
                    self.counters.malformed += 1;
                    return None;
                }
                self.trimmed = self.trimmed.max(trimmed.trim);
                if self.is_cut_off() && self.config.has_checkpoints {
                    self.await_checkpoint();
                    // What is left is gathered while the checkpoint is fetched.
                    self.window.skip_to(self.trimmed.next());
                    self.repairs.restart();
                }
                None
            }
            // For the other roles of the ring.
            _ => None,
        }
    }

    fn on_value<'a>(
        &mut self,
        accept: &Accept<'a>,
        proposed: Ballot,
    ) -> Option<(Instance, &'a [u8])> {
        let Accept { instance, ballot, id, .. } = *accept;
        if id == ValueId::NONE || accept.value.bytes().len() > MAX_DATAGRAM {
            self.counters.malformed += 1;
            return None;
        }
        self.horizon.value = self.horizon.value.max(instance);
        match self.window.admit(&Arrival { instance, id, ballot, proposed }) {
            Admission::Wanted => {}
            Admission::Duplicate => {
                self.counters.duplicates += 1;
                // Now the ballot may be one that a mark speaks of.
                self.on_proposed(instance, proposed);
                return None;
            }
            Admission::Stale => {
                self.counters.stale += 1;
                return None;
            }
            Admission::Beyond => {
                self.counters.beyond_window += 1;
                return None;
            }
        }
        self.on_proposed(instance, proposed);
        match accept.value {
            // Members are the acceptors' affair.
            Value::Noop | Value::Members(..) => self.window.put_noop(instance),
            Value::Skip(slots) => self.window.put_skip(instance, slots),
            Value::Batch(batch) => return Some((instance, batch)),
        }
        None
    }

    /// A value came after the mark that covers it.
    fn on_proposed(&mut self, instance: Instance, proposed: Ballot) {
        if proposed == self.mark.ballot && instance <= self.mark.decided {
            self.window.decide_proposed(instance, instance, proposed);
        }
    }

    fn on_ranges(&mut self, ranges: &DecidedRanges<'_>) {
        for range in ranges.iter() {
            let last = Instance(range.first.0.saturating_add(range.count).saturating_sub(1));
            self.horizon.decided = self.horizon.decided.max(last);
            // The count is the network's word: clipped to the window before the loop.
            let first = range.first.max(self.window.position());
            for instance in first.0..last.next().min(self.window.end()).0 {
                let counter = range.id.counter.wrapping_add(instance - range.first.0);
                self.on_decided(Instance(instance), ValueId { counter, ..range.id });
            }
        }
    }

    fn on_decided(&mut self, instance: Instance, id: ValueId) {
        self.horizon.decided = self.horizon.decided.max(instance);
        if id == ValueId::NONE {
            self.counters.malformed += 1;
        } else if !self.window.decide(instance, id) {
            self.counters.conflicts += 1;
            self.conflict.get_or_insert(instance);
        }
    }

    /// `decided` came with `ballot`. It counts for values only if that ballot's coordinator itself
    /// says so; from anyone it shows how far the ring is.
    fn on_mark(&mut self, envelope: &Envelope, ballot: Ballot, decided: Instance) {
        self.horizon.decided = self.horizon.decided.max(decided);
        if self.joined.is_none() && is_of(envelope, ballot) {
            self.joined = Some(self.horizon.decided);
        }
        if ballot < self.mark.ballot || !is_of(envelope, ballot) {
            return;
        }
        if ballot > self.mark.ballot {
            self.mark = Mark { ballot, decided: Instance::default() };
        }
        if decided > self.mark.decided {
            let first = self.mark.decided.next().max(self.window.frontier());
            self.window.decide_proposed(first, decided, ballot);
            self.mark.decided = decided;
        }
    }

    /// The ring has other `acceptors` from now on, the preferential one first.
    pub(crate) fn take_up(&mut self, acceptors: Vec<NodeId>) {
        self.report_to = acceptors[0];
        self.repairs.take_up(&acceptors);
        self.config.acceptors = acceptors;
    }

    /// A large window for as long as much must be kept.
    fn fit_window(&mut self) {
        let Self { window, config, horizon, .. } = self;
        if self.lacks_state {
            if window.size() < SPOOL {
                window.resize(SPOOL);
            }
        } else if window.size() > config.window {
            let latest = horizon.decided.max(horizon.value);
            if latest < window.position().plus(config.window as u64 / 2) {
                window.resize(config.window);
            }
        }
    }
}

impl Role for Learner {
    /// Copies what it keeps.
    fn on_message(
        &mut self,
        envelope: &Envelope,
        message: &Message<'_>,
        _now: Time,
        _out: &mut impl Outbox,
    ) {
        if let Some((instance, batch)) = self.receive(envelope, message) {
            self.window.put_copy(instance, batch);
        }
        self.window.advance_frontiers();
    }

    /// Repairs and reports; [`Learner::settle`] has been called.
    fn on_cycle_end(&mut self, now: Time, out: &mut impl Outbox) {
        debug_assert_eq!(self.window.frames(), 0, "no frame outlives its duty cycle");
        self.fit_window();
        self.on_timeout(now, out);
    }

    fn on_timeout(&mut self, now: Time, out: &mut impl Outbox) {
        self.window.advance_frontiers();
        if self.is_cut_off() {
            self.repairs.rest();
        } else {
            self.repairs.step(&self.window, &self.horizon, now, out);
        }
        self.report(now, out);
    }

    fn next_timeout(&self) -> Option<Time> {
        let has_news = self.window.position().previous() > self.reported;
        let report = if has_news { self.report_at.min(self.repeat_at) } else { self.repeat_at };
        Some(self.repairs.next_timeout().map_or(report, |repair| repair.min(report)))
    }
}

/// Whether the sender coordinates `ballot`.
fn is_of(envelope: &Envelope, ballot: Ballot) -> bool {
    let coordinator = (ballot.node, ballot.incarnation);
    ballot > Ballot::ZERO && (envelope.sender, envelope.incarnation) == coordinator
}
