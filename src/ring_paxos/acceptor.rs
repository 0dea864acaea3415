//! The acceptor's side of both phases: promise, accept, and what it learns of decisions.
//!
//! An acceptor accepts iff the ballot is at least its promise (rule 2). A 2A costs one copy into
//! the window, one record in the log, and a vote that leaves at the end of the duty cycle.

use super::birth::Birth;
use super::epoch::NextEpoch;
use super::lives::Lives;
use super::member::{Member, Memory};
use super::trim::Positions;
use super::votes::{Occasion, VoteQueue};
use super::{Destination, Envelope, Instance, Log, Lsn, Outbox, Record, Replay, RingConfig};
use crate::types::{Ballot, Bug, Incarnation, NodeId, Slot, Time, ValueId};
use crate::wire::{
    Accept, Admission, DecidedRanges, Decision, Heartbeat, Layout, Message, Prepare, Promise,
    PromiseRecord, PromiseRecords, Value, Writer,
};
use std::collections::VecDeque;

/// Pages of one answer to a Prepare: 64 KiB, a third of a stock socket buffer.
const BURST_PAGES: u32 = 8;

/// An answer to a Prepare that waits for its record.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct PromiseDue {
    ballot: Ballot,
    first: Instance,
    to: NodeId,
}

/// What an acceptor knows beside its window.
#[derive(Clone, Debug, Hash)]
pub(super) struct Acceptor {
    /// It accepts nothing below this ballot.
    pub(super) promised: Ballot,
    promise_lsn: Lsn,
    pub(super) promise_due: Option<PromiseDue>,
    /// The ballot whose coordinator it heard last, and that ballot's ring.
    pub(super) current: Ballot,
    pub(super) layout: Layout,
    /// Its place in that ring; none for a spare.
    pub(super) position: Option<usize>,
    /// Every instance up to here is decided, as the coordinator said.
    pub(super) decided: Instance,
    /// Every instance up to here is decided, as the coordinator of `current` said: what was
    /// accepted at `current` is what is decided.
    pub(super) marked: Instance,
    /// A decided instance, and the first slot that it and those before leave free.
    pub(super) known: (Instance, Slot),
    /// The last instance of an unbroken run that was accepted here, decided or not, and the first
    /// slot behind it: how far the ring has gone, as far as this acceptor can see. A hint for
    /// skips alone.
    pub(super) heard: (Instance, Slot),
    /// Up to here the log has a trim record.
    pub(super) logged_trim: Instance,
    /// Without memory: it neither promises nor votes.
    pub(super) is_inert: bool,
    /// It began this life with what a former one had written.
    pub(super) remembers: bool,
    /// It does not know whether there was a former life, or that did nothing.
    pub(super) birth: Option<Birth>,
    /// Those that it knows of, and what it asks the others of its own.
    pub(super) lives: Lives,
    /// The fresh ballot that re-admits it, and the last instance that it must hold.
    pub(super) grant: Option<(Ballot, Instance)>,
    /// The last instance that it asked for on the way there.
    pub(super) awaited: Instance,
    /// Accepted, but not yet persistent: no vote has left.
    pub(super) unpersisted: VecDeque<Instance>,
    pub(super) votes: VoteQueue,
    pub(super) positions: Positions,
    pub(super) next: NextEpoch,
}

impl Acceptor {
    pub(super) fn new(config: &RingConfig, memory: Memory) -> Self {
        Self {
            promised: Ballot::ZERO,
            promise_lsn: Lsn(0),
            promise_due: None,
            current: Ballot::ZERO,
            layout: Layout::default(),
            position: None,
            decided: Instance(0),
            marked: Instance(0),
            known: (Instance(0), Slot(0)),
            heard: (Instance(0), Slot(0)),
            logged_trim: Instance(0),
            is_inert: matches!(memory, Memory::Amnesiac | Memory::Newborn)
                && !Bug::AmnesiacVotes.is_planted()
                && !(config.epoch > 1 && Bug::NewcomerVotes.is_planted()),
            remembers: memory == Memory::Restored,
            birth: Birth::new(config.acceptors.len(), memory),
            lives: Lives::new(config, memory),
            grant: None,
            awaited: Instance(0),
            unpersisted: VecDeque::with_capacity(config.instances),
            votes: VoteQueue::new(),
            positions: Positions::new(config),
            next: NextEpoch::default(),
        }
    }

    /// Hears a coordinator: from now on `ballot` and its ring are current.
    pub(super) fn follow(&mut self, ballot: Ballot, layout: &Layout, me: NodeId) {
        if ballot == self.current {
            return;
        }
        self.lives.note_votes(self.layout.members(), self.current, self.marked);
        self.current = ballot;
        self.layout = *layout;
        self.position = layout.position(me);
        self.marked = Instance(0);
        // The ballot may have other values above what is decided.
        self.heard = self.known;
        self.votes.clear();
    }
}

impl<L: Log> Member<L> {
    /// Takes back what the log holds of a former life; before any message. Simulated and real disks
    /// come back through here.
    pub fn restore(&mut self, log: &impl Replay) {
        log.replay(&mut |record| self.restore_record(record));
        self.acceptor.lives.begin_with(self.acceptor.promised);
        self.be_as_newborn();
    }

    fn restore_record(&mut self, record: &Record<'_>) {
        match *record {
            Record::Promise(ballot) => {
                self.acceptor.promised = self.acceptor.promised.max(ballot);
            }
            Record::Trim { trim, known } => {
                self.acceptor.known = self.acceptor.known.max(known);
                self.acceptor.logged_trim = self.acceptor.logged_trim.max(trim);
                if trim > self.window.trim() {
                    self.window.set_trim(trim);
                }
            }
            Record::Accept { instance, ballot, id, value } => {
                self.acceptor.promised = self.acceptor.promised.max(ballot);
                let is_newer =
                    self.window.claim(instance).is_some_and(|entry| ballot >= entry.ballot);
                if is_newer {
                    self.window.accept(instance, (ballot, id), &value);
                    self.await_members(instance, &value);
                }
            }
            Record::Lost => self.acceptor.is_inert = !Bug::AmnesiacVotes.is_planted(),
            Record::Admitted => self.acceptor.is_inert = false,
            Record::Life { node, life } => self.acceptor.lives.note(node, life, Lsn(0)),
        }
    }

    /// Whether the coordinator or candidate of `ballot` is to be heeded: no later ballot is promised.
    /// It is alive then, and what this member began at a lower one ends. A stale one is told so.
    #[inline]
    fn heed(
        &mut self,
        envelope: &Envelope,
        ballot: Ballot,
        now: Time,
        out: &mut impl Outbox,
    ) -> bool {
        if ballot < self.acceptor.promised {
            self.on_stale(envelope, now, out);
            return false;
        }
        self.election.hear(ballot, now);
        self.step_down_below(ballot, now);
        true
    }

    /// 1A.
    pub(super) fn on_prepare(
        &mut self,
        envelope: &Envelope,
        prepare: &Prepare,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Prepare { ballot, first } = *prepare;
        if ballot.node != envelope.sender {
            self.counters.malformed += 1;
            return;
        }
        if self.acceptor.is_inert {
            // Rule 6. The candidate learns that nothing promised in a former life is alive here.
            self.request_admission(envelope.sender, ballot, out);
            return;
        }
        if !self.has_vote() {
            // It will be asked again; whoever stands for it need not be hindered.
            self.election.hear(ballot, now);
            return;
        }
        if !self.heed(envelope, ballot, now, out) {
            return;
        }
        self.promise(ballot);
        self.acceptor.promise_due = Some(PromiseDue { ballot, first, to: envelope.sender });
        self.send_due_promise(out);
    }

    /// Promises `ballot`, which is not below the promise made before.
    pub(super) fn promise(&mut self, ballot: Ballot) -> Lsn {
        debug_assert!(ballot >= self.acceptor.promised, "a promise only rises");
        if ballot > self.acceptor.promised {
            self.acceptor.promised = ballot;
            self.acceptor.promise_lsn = self.log.append(&Record::Promise(ballot));
            self.acceptor.promise_due = None;
            self.acceptor.votes.clear();
            self.grow_up();
        }
        self.acceptor.promise_lsn
    }

    /// 2A.
    #[inline]
    pub(super) fn on_accept(
        &mut self,
        envelope: &Envelope,
        accept: &Accept<'_>,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Accept { instance, ballot, id, ref layout, trim, value, .. } = *accept;
        if ballot.node != envelope.sender || self.is_oversized(&value) {
            self.counters.malformed += 1;
            return;
        }
        if !self.heed(envelope, ballot, now, out) && !Bug::AcceptBelowPromise.is_planted() {
            return;
        }
        // Before anything is trimmed: the pages of a promise are those of one trim mark.
        self.promise(ballot.max(self.acceptor.promised));
        self.acceptor.follow(ballot, layout, self.me);
        self.trim_to(trim);
        self.repair.earn(&value);
        self.accept(instance, ballot, id, &value, out);
        self.learn(ballot, accept.decided, &accept.decisions);
    }

    /// Accepts `value` and votes, or votes again if it was accepted before.
    pub(super) fn accept(
        &mut self,
        instance: Instance,
        ballot: Ballot,
        id: ValueId,
        value: &Value<'_>,
        out: &mut impl Outbox,
    ) {
        if instance <= self.window.trim() {
            if Bug::NoopOverTrimmed.is_planted() {
                self.vote_for_trimmed(instance, id, out);
            }
            return;
        }
        let Some(entry) = self.window.claim(instance) else {
            self.counters.outside += 1;
            return;
        };
        if entry.is_accepted() && entry.ballot == ballot {
            debug_assert!(
                entry.id == id || Bug::is_any_planted(),
                "a coordinator proposes one value a ballot"
            );
            self.progress(instance, Occasion::Again, out);
            return;
        }
        self.window.accept(instance, (ballot, id), value);
        self.await_members(instance, value);
        self.advance_heard();
        let lsn = self.log_accept(instance);
        if ballot > self.acceptor.promised {
            self.acceptor.promised = ballot;
            self.acceptor.promise_lsn = lsn;
        }
        if ballot == self.acceptor.current && instance <= self.acceptor.marked {
            let entry = self.window.entry_mut(instance).expect("just accepted");
            entry.chosen = entry.id;
        }
        self.progress(instance, Occasion::First, out);
    }

    /// Writes the record of what `instance` holds; its vote waits for it.
    pub(super) fn log_accept(&mut self, instance: Instance) -> Lsn {
        let capacity = self.config.instances as u64;
        if instance.0 > self.acceptor.logged_trim.0 + capacity {
            // Replaying must find the place of `instance` free.
            self.log_trim();
        }
        let value = self.window.value(instance).expect("what is logged is held");
        let entry = self.window.entry(instance).expect("what is logged is held");
        let (ballot, id) = (entry.ballot, entry.id);
        let lsn = self.log.append(&Record::Accept { instance, ballot, id, value });
        self.window.entry_mut(instance).expect("what is logged is held").lsn = lsn;
        if lsn > self.log.persisted() {
            self.acceptor.unpersisted.push_back(instance);
        }
        lsn
    }

    /// Votes and promises whose records have become persistent.
    pub(super) fn release_persisted(&mut self, now: Time, out: &mut impl Outbox) {
        let persisted = self.log.persisted();
        while let Some(&instance) = self.acceptor.unpersisted.front() {
            if self.window.entry(instance).is_some_and(|entry| entry.lsn > persisted) {
                break;
            }
            self.acceptor.unpersisted.pop_front();
            self.progress(instance, Occasion::First, out);
        }
        self.send_due_promise(out);
        self.release_lives(out);
        self.follow_grant(out);
        self.check_promises(now, out);
        self.flush_votes(out);
    }

    /// Whether the promise of the ballot that was promised last is persistent.
    pub(super) fn is_promise_persisted(&self) -> bool {
        self.acceptor.promise_lsn <= self.log.persisted() || Bug::VoteBeforePersist.is_planted()
    }

    /// Decisions without a 2A.
    pub(super) fn on_decision(
        &mut self,
        envelope: &Envelope,
        decision: &Decision<'_>,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Decision { ballot, decided, trim, ref ranges } = *decision;
        if !self.heed(envelope, ballot, now, out) {
            return;
        }
        self.promise(ballot);
        self.trim_to(trim);
        self.learn(ballot, decided, ranges);
    }

    /// The coordinator lives.
    pub(super) fn on_heartbeat(
        &mut self,
        envelope: &Envelope,
        heartbeat: &Heartbeat,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Heartbeat { ballot, ref layout, decided, trim, slot, .. } = *heartbeat;
        if !self.heed(envelope, ballot, now, out) {
            return;
        }
        self.promise(ballot);
        self.acceptor.follow(ballot, layout, self.me);
        self.acceptor.known = self.acceptor.known.max((decided, slot));
        self.trim_to(trim);
        self.learn(ballot, decided, &DecidedRanges::new(&[]));
        self.relay_positions(envelope.sender, out);
        self.ask_to_be_vouched_for(envelope.sender, out);
        if self.acceptor.is_inert {
            self.request_admission(envelope.sender, ballot, out);
            self.follow_grant(out);
        }
    }

    /// What the coordinator of `ballot` says is decided.
    fn learn(&mut self, ballot: Ballot, decided: Instance, ranges: &DecidedRanges<'_>) {
        for range in ranges.iter().filter(|range| range.count > 0) {
            let first = range.first.max(self.window.trim().next());
            let last = range.first.0.saturating_add(range.count - 1);
            for instance in first.0..=last.min(self.window.end().0) {
                let counter = range.id.counter.wrapping_add(instance - range.first.0);
                let entry = self.window.claim(Instance(instance)).expect("inside the window");
                entry.chosen = ValueId { counter, ..range.id };
            }
        }
        if ballot == self.acceptor.current {
            // One ballot has one value an instance: what was accepted at it is what is decided.
            let first = self.acceptor.marked.max(self.window.trim()).next();
            for instance in first.0..=decided.0.min(self.window.end().0) {
                if let Some(entry) = self.window.entry_mut(Instance(instance))
                    && entry.is_accepted()
                    && entry.ballot == ballot
                {
                    entry.chosen = entry.id;
                }
            }
            self.acceptor.marked = self.acceptor.marked.max(decided);
        }
        self.acceptor.decided = self.acceptor.decided.max(decided);
        self.advance_known();
    }

    /// Up to where everything is decided at the ballot that it follows, as far as it knows.
    pub(super) fn decided_at_current(&self) -> Instance {
        if self.coordinator.is_leading() { self.coordinator.decided } else { self.acceptor.marked }
    }

    /// Counts the slots of what is decided, without a gap, behind the last known place.
    pub(super) fn advance_known(&mut self) {
        let (mut instance, mut slot) = self.acceptor.known;
        while let Some(entry) = self.window.entry(instance.next())
            && entry.is_decided()
        {
            instance = instance.next();
            slot = slot.plus(entry.held.slots());
        }
        self.acceptor.known = (instance, slot);
    }

    /// Counts the slots of what was accepted at the ballot of now, without a gap, behind the last
    /// such place. What an earlier ballot left there may become something else with other slots:
    /// whoever counted it once would be wrong for ever, and rings that follow such a position drive
    /// each other on without end.
    fn advance_heard(&mut self) {
        let (mut instance, mut slot) = self.acceptor.heard.max(self.acceptor.known);
        let current = self.acceptor.current;
        while let Some(entry) = self.window.entry(instance.next())
            && entry.is_accepted()
            && (entry.ballot == current || entry.is_decided())
        {
            instance = instance.next();
            slot = slot.plus(entry.held.slots());
        }
        self.acceptor.heard = (instance, slot);
    }

    fn send_due_promise(&mut self, out: &mut impl Outbox) {
        if !self.is_promise_persisted() {
            return;
        }
        let Some(due) = self.acceptor.promise_due.take() else { return };
        if self.config.former_lives.are_kept() {
            let Some(lives) = self.known_lives(due.ballot) else {
                self.acceptor.promise_due = Some(due);
                return;
            };
            self.send(Destination::Node(due.to), &Message::KnownLives(lives), out);
            self.show_vouch(due.to, due.ballot, out);
        }
        self.send_promise(&due, out);
    }

    /// Everything accepted from `due.first` on, as many pages as one answer may have.
    fn send_promise(&mut self, due: &PromiseDue, out: &mut impl Outbox) {
        let start = due.first.max(self.window.trim().next());
        let room = self.page_bytes();
        let (pages, last) = self.measure_pages(start);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut instance = start.0;
        let end = last.min(self.window.highest()).0;
        for page in 0..pages {
            let mut writer = Writer::new(&mut scratch[..room]);
            while instance <= end {
                if let Some(record) = self.promise_record(Instance(instance)) {
                    if writer.written() + record.encoded_length() > room {
                        break;
                    }
                    record.encode(&mut writer);
                }
                instance += 1;
            }
            let written = writer.written();
            let promise = Promise {
                ballot: due.ballot,
                first: due.first,
                last,
                trim: self.window.trim(),
                known: self.acceptor.known.0,
                slot: self.acceptor.known.1,
                page,
                pages,
                records: PromiseRecords::new(&scratch[..written]),
            };
            self.send(Destination::Node(due.to), &Message::Promise(promise), out);
        }
        self.scratch = scratch;
    }

    /// Bytes of records in one page.
    const fn page_bytes(&self) -> usize {
        self.config.room.body() - Promise::FIXED_LENGTH
    }

    /// How many pages the answer from `start` on has, and up to which instance it speaks.
    fn measure_pages(&self, start: Instance) -> (u32, Instance) {
        let room = self.page_bytes();
        let (mut pages, mut used) = (1, 0);
        for instance in start.0..=self.window.highest().0 {
            let Some(record) = self.promise_record(Instance(instance)) else { continue };
            let length = record.encoded_length();
            if used + length > room {
                if pages == BURST_PAGES {
                    return (pages, Instance(instance - 1));
                }
                pages += 1;
                used = 0;
            }
            used += length;
        }
        (pages, Promise::INFINITY)
    }

    fn promise_record(&self, instance: Instance) -> Option<PromiseRecord<'_>> {
        let entry = self.window.entry(instance).filter(|entry| entry.is_accepted())?;
        let value = self.window.value(instance)?;
        Some(PromiseRecord { instance, ballot: entry.ballot, id: entry.id, value })
    }

    /// Whether a value is above what a datagram has room for; no member makes one.
    pub(super) fn is_oversized(&self, value: &Value<'_>) -> bool {
        value.bytes().len() > self.config.room.batch()
    }

    /// Asks `coordinator` to be re-admitted (rule 6).
    pub(super) fn request_admission(
        &self,
        coordinator: NodeId,
        ballot: Ballot,
        out: &mut impl Outbox,
    ) {
        let life: Incarnation = self.incarnation;
        let request = Admission { ballot, life, last: Instance(0) };
        self.send(Destination::Node(coordinator), &Message::Admission(request), out);
    }
}
