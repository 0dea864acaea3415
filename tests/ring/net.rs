//! A tiny network of acceptors: it moves encoded messages between members, by a seed late, twice,
//! out of order or not at all, and notes whatever is said to be decided.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) use super::log::Owned;
use super::log::{TestLog, Written};
use super::packet::Outgoing;
pub(crate) use super::packet::Packet;
use psmr::ring_paxos::{Envelope, Epoch, FormerLives, Member, Memory, RingConfig, Role};
use psmr::types::{Address, Incarnation, Instance, NodeId, Random, RingId, Time, ValueId};
use psmr::wire::{DecidedRanges, Kind, Message, Position, Propose, WantedRange, WantedRanges};
use std::collections::BTreeMap;
use std::time::Duration;

/// The first node that is no acceptor: learners and proposers.
pub(crate) const OUTSIDER: u16 = 100;
/// The number of the proposal that asks to be confirmed.
pub(crate) const CONFIRMED: u64 = 77;

/// The numbers of proposals that make room from here on.
pub(crate) const VITAL: u64 = 1 << 20;

#[derive(Debug)]
enum Event {
    Packet(Packet),
    Disk(usize, Incarnation, u64),
    /// Somebody who leaves has told a node of its last epoch.
    Told(usize, u32),
}

/// Chances out of a thousand, and the longest delay.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) loss: u64,
    pub(crate) duplicates: u64,
    pub(crate) delay_us: u64,
}

type Filter = Box<dyn FnMut(&Packet) -> bool>;

pub(crate) struct Net {
    pub(crate) config: RingConfig,
    pub(crate) members: Vec<Option<Member<TestLog>>>,
    pub(crate) now: Time,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    /// Disks take up to half a millisecond.
    pub(crate) has_slow_disks: bool,
    /// What was sent to outsiders, and every multicast once.
    pub(crate) heard: Vec<Packet>,
    /// (instance) -> the id that somebody said is decided.
    pub(crate) decided: BTreeMap<Instance, ValueId>,
    /// (id) -> the value that it names.
    pub(crate) values: BTreeMap<ValueId, Owned>,
    /// What must not be: two ids decided at one instance, two values under one id.
    pub(crate) violations: Vec<String>,
    /// Decides whether a packet gets through.
    pub(crate) filter: Filter,
    paused_until: Vec<Time>,
    disks_busy: Vec<bool>,
    lives: Vec<u64>,
    /// The acceptors of each epoch that was decided.
    pub(crate) epochs: BTreeMap<u32, Vec<NodeId>>,
    /// The epoch from which on lives are kept, where `config` does not say so of all.
    pub(crate) upgraded_in: Option<u32>,
    /// The last epoch that was put forward: its acceptors may be decided at any time.
    pub(crate) pending: u32,
    /// The epoch that each node has taken up: it survives its lives.
    pub(crate) epoch_of: Vec<u32>,
    /// Who belongs to no later epoch, and the one that began without it: it tells those behind it.
    leaving: BTreeMap<u16, u32>,
    /// It has begun without a memory.
    is_newcomer: Vec<bool>,
    /// What a crash left on disk: all of it, and how much was persistent.
    disks: Vec<TestLog>,
    queue: BTreeMap<(Time, u64), Event>,
    sequence: u64,
}

impl Net {
    /// `count` acceptors 0.., fresh, at time 1 s, that have done nothing yet.
    pub(crate) fn new(count: u16, seed: u64) -> Self {
        Self::with(RingConfig::new(RingId(0), (0..count).map(NodeId).collect()), seed)
    }

    pub(crate) fn with(config: RingConfig, seed: u64) -> Self {
        Self::with_spares(config, 0, seed)
    }

    /// With so many nodes more, which may become acceptors in a later epoch.
    pub(crate) fn with_spares(config: RingConfig, spares: usize, seed: u64) -> Self {
        let acceptors = config.acceptors.len();
        let count = acceptors + spares;
        let mut net = Self {
            members: (0..count).map(|_| None).collect(),
            now: Time(1_000_000_000),
            random: Random::new(seed),
            faults: Faults::default(),
            has_slow_disks: false,
            heard: Vec::new(),
            decided: BTreeMap::new(),
            values: BTreeMap::new(),
            violations: Vec::new(),
            filter: Box::new(|_| true),
            paused_until: vec![Time::ZERO; count],
            disks_busy: vec![false; count],
            lives: vec![0; count],
            epochs: BTreeMap::from([(config.epoch, config.acceptors.clone())]),
            epoch_of: vec![config.epoch; count],
            upgraded_in: None,
            pending: config.epoch,
            leaving: BTreeMap::new(),
            is_newcomer: vec![false; count],
            disks: vec![TestLog::default(); count],
            queue: BTreeMap::new(),
            sequence: 0,
            config,
        };
        (0..acceptors).for_each(|index| net.start(index, Memory::Fresh));
        net
    }

    /// Begins a life of acceptor `index`.
    pub(crate) fn start(&mut self, index: usize, memory: Memory) {
        assert!(self.members[index].is_none(), "it lives already");
        self.lives[index] += 1;
        let me = (NodeId(u16::try_from(index).expect("a small number")), self.life(index));
        let disk = std::mem::take(&mut self.disks[index]);
        let log = TestLog { is_slow: self.has_slow_disks, ..TestLog::default() };
        let seed = self.random.next();
        self.is_newcomer[index] |= memory == Memory::Amnesiac;
        let was_admitted =
            || disk.records[..disk.kept()].iter().any(|r| matches!(r, Written::Admitted));
        let lacks = memory == Memory::Restored && self.is_newcomer[index] && !was_admitted();
        let memory = if lacks { Memory::Amnesiac } else { memory };
        let epoch = self.epoch_of[index];
        let acceptors = self.epochs[&epoch].clone();
        let former_lives = self.former_lives_in(epoch);
        let config = RingConfig { epoch, acceptors, former_lives, ..self.config.clone() };
        let mut member = Member::new(config, me, memory, log, seed, self.now);
        if memory == Memory::Restored {
            let kept = disk.kept();
            member.restore(&disk);
            let log = member.log_mut();
            log.records = disk.records[..kept].to_vec();
            log.persisted = disk.persisted;
        }
        self.disks_busy[index] = false;
        self.members[index] = Some(member);
    }

    pub(crate) fn crash(&mut self, index: usize) {
        if let Some(mut member) = self.members[index].take() {
            self.disks[index] = member.log_mut().clone();
        }
    }

    /// It does nothing for so long; what is sent to it waits.
    pub(crate) fn pause(&mut self, index: usize, duration: Duration) {
        self.paused_until[index] = self.now + duration;
    }

    /// What it left on disk is lost.
    pub(crate) fn forget(&mut self, index: usize) {
        self.disks[index] = TestLog::default();
    }

    /// What it left on disk is replaced by `copy`, as far as that was persistent.
    pub(crate) fn put_back(&mut self, index: usize, mut copy: TestLog) {
        copy.records.truncate(copy.kept());
        self.disks[index] = copy;
    }

    /// Whether it stands still.
    pub(crate) fn is_paused(&self, index: usize) -> bool {
        self.paused_until[index] > self.now
    }

    /// How often it has begun.
    pub(crate) fn lives(&self, index: usize) -> u64 {
        self.lives[index]
    }

    pub(crate) fn life(&self, index: usize) -> Incarnation {
        Incarnation((index as u64 + 1) << 32 | self.lives[index])
    }

    #[track_caller]
    pub(crate) fn member(&mut self, index: usize) -> &mut Member<TestLog> {
        self.members[index].as_mut().expect("it lives")
    }

    /// The coordinator with the highest ballot, if any member leads.
    pub(crate) fn coordinator(&self) -> Option<usize> {
        let leading = self.members.iter().enumerate().filter_map(|(index, member)| {
            let member = member.as_ref().filter(|member| member.is_coordinator())?;
            Some((member.ballot(), index))
        });
        leading.max().map(|(_, index)| index)
    }

    /// Proposal `number` of the one proposer, to acceptor `to`, from outside and at once.
    pub(crate) fn propose(&mut self, to: usize, number: u64, commands: &[u8]) {
        let proposer = (NodeId(OUTSIDER), Incarnation(7));
        let propose = Propose {
            number,
            is_confirmed: number == CONFIRMED,
            is_vital: number >= VITAL,
            commands,
        };
        self.inject(to, proposer, &Message::Propose(propose));
    }

    /// A learner's progress, told to acceptor `to`.
    pub(crate) fn report(&mut self, to: usize, learner: u64, applied: u64) {
        self.report_checkpoint(to, learner, (applied, 0));
    }

    /// The same, with what its last checkpoint has.
    pub(crate) fn report_checkpoint(&mut self, to: usize, learner: u64, at: (u64, u64)) {
        let (applied, checkpointed) = (Instance(at.0), Instance(at.1));
        let position = Position { applied, needed: applied, checkpointed, learner };
        let node = NodeId(OUTSIDER + 50 + u16::try_from(learner).expect("a small number"));
        self.inject(to, (node, Incarnation(learner)), &Message::Position(position));
    }

    /// Learner `learner` asks acceptor `to` for `count` instances.
    pub(crate) fn ask(&mut self, to: usize, learner: u16, (first, count, wanted): (u64, u32, u32)) {
        let wanted = [WantedRange { first: Instance(first), count, wanted }];
        let request = psmr::wire::RepairRequest { wanted: WantedRanges::new(&wanted) };
        let node = NodeId(OUTSIDER + 50 + learner);
        self.inject(to, (node, Incarnation(1)), &Message::RepairRequest(request));
    }

    /// Hands a message to a member, as one duty cycle.
    pub(crate) fn inject(
        &mut self,
        to: usize,
        (sender, incarnation): (NodeId, Incarnation),
        message: &Message<'_>,
    ) {
        let now = self.now;
        let envelope = Envelope { ring: RingId(0), sender, incarnation, from: Address::NONE };
        self.step(to, |member, out| {
            member.on_message(&envelope, message, now, out);
            member.on_cycle_end(now, out);
        });
    }

    /// Lets `act` work on a member, and takes what it sends.
    pub(crate) fn step(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Member<TestLog>, &mut Outgoing),
    ) {
        let life = self.life(index);
        let Some(member) = &mut self.members[index] else { return };
        let from = NodeId(u16::try_from(index).expect("a small number"));
        let mut outgoing = Outgoing { from, life, sent: Vec::new() };
        act(member, &mut outgoing);
        if member.may_begin(self.now) {
            member.begin(self.now);
        }
        let epoch = member.config().epoch;
        let decided = member.take_members();
        let log = member.log_mut();
        let written = log.records.len() as u64;
        if log.persisted < written && !self.disks_busy[index] {
            self.disks_busy[index] = true;
            let at = self.now + Duration::from_micros(20 + self.random.below(500));
            self.push(at, Event::Disk(index, life, written));
        }
        for packet in outgoing.sent {
            let packet = Packet { epoch, ..packet };
            self.observe(&packet);
            self.route(packet);
        }
        if let Some(members) = decided {
            self.note_epoch(epoch + 1, &members);
            self.take_up(index, epoch + 1);
        }
    }

    /// Puts forward `acceptors` as those of `epoch`.
    pub(crate) fn reconfigure(&mut self, to: usize, epoch: u32, acceptors: &[NodeId]) {
        let members: Vec<u8> = acceptors.iter().flat_map(|node| node.0.to_le_bytes()).collect();
        let change = psmr::wire::Epoch { epoch, members: &members };
        let from = (NodeId(OUTSIDER), Incarnation(7));
        self.inject(to, from, &Message::Reconfigure(change));
    }

    fn former_lives_in(&self, epoch: u32) -> FormerLives {
        let is_upgraded = self.upgraded_in.is_some_and(|first| first <= epoch);
        if is_upgraded { FormerLives::Vouched } else { self.config.former_lives }
    }

    /// Puts forward the same acceptors, which keep lives from the next epoch on.
    pub(crate) fn upgrade(&mut self, to: usize) {
        let (epoch, acceptors) = self.latest();
        self.upgraded_in.get_or_insert(epoch + 1);
        self.reconfigure(to, epoch + 1, &acceptors);
    }

    /// The latest epoch that was decided, and its acceptors.
    pub(crate) fn latest(&self) -> (u32, Vec<NodeId>) {
        let (epoch, acceptors) = self.epochs.last_key_value().expect("there was a first");
        (*epoch, acceptors.clone())
    }

    fn note_epoch(&mut self, epoch: u32, members: &[u8]) {
        let chunks = members.as_chunks().0.iter();
        let acceptors: Vec<NodeId> = chunks.map(|node| NodeId(u16::from_le_bytes(*node))).collect();
        let known = self.epochs.entry(epoch).or_insert_with(|| acceptors.clone());
        if *known != acceptors {
            self.violations.push(format!("epoch {epoch} is {known:?} and {acceptors:?}"));
        }
    }

    /// Node `index` has heard of `epoch`. Who does not belong to it ends.
    pub(crate) fn take_up(&mut self, index: usize, epoch: u32) {
        let acceptors = self.epochs[&epoch].clone();
        self.epoch_of[index] = epoch;
        let RingConfig { learners, retention, .. } = self.config.clone();
        let former_lives = self.former_lives_in(epoch);
        let next = Epoch { number: epoch, acceptors, learners, retention, former_lives };
        let (mut is_member, now) = (true, self.now);
        self.step(index, |member, out| is_member = member.take_up(next, now, out));
        if !is_member {
            self.leaving.insert(u16::try_from(index).expect("few nodes"), epoch);
            self.crash(index);
        }
    }

    /// An acceptor of a later epoch than the first begins with nothing.
    pub(crate) fn join(&mut self, index: usize, epoch: u32) {
        self.epoch_of[index] = epoch;
        self.disks[index] = TestLog::default();
        self.start(index, Memory::Amnesiac);
    }

    /// Lets time pass until `until`, and all happen that happens in it.
    pub(crate) fn run_until(&mut self, until: Time) {
        let mut steps = 0;
        loop {
            let timer = self.next_timer();
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let at = timer.map_or(Time::NEVER, |(at, _)| at).min(event.unwrap_or(Time::NEVER));
            if at > until {
                self.now = until;
                return;
            }
            steps = if at > self.now { 0 } else { steps + 1 };
            assert!(steps < 100_000, "time stands still at {at:?}");
            self.now = self.now.max(at);
            match timer {
                Some((timer, index)) if event.is_none_or(|event| timer < event) => {
                    let now = self.now;
                    self.step(index, |member, out| {
                        member.on_timeout(now, out);
                        member.on_cycle_end(now, out);
                    });
                }
                _ => self.deliver(),
            }
        }
    }

    pub(crate) fn run(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Everything heals: nothing is lost any more, nobody pauses, and the dead come back.
    pub(crate) fn heal(&mut self, memory: Memory) {
        self.faults = Faults { delay_us: 50, ..Faults::default() };
        self.filter = Box::new(|_| true);
        self.paused_until.fill(Time::ZERO);
        let (_, acceptors) = self.latest();
        for index in acceptors.into_iter().map(|node| usize::from(node.0)) {
            if self.members[index].is_none() && self.lives[index] > 0 {
                self.start(index, memory);
            }
        }
        self.heal_members();
    }

    /// Acceptors of the latest epoch that have never lived begin.
    pub(crate) fn heal_members(&mut self) {
        let (epoch, acceptors) = self.latest();
        for index in acceptors.into_iter().map(|node| usize::from(node.0)) {
            if self.lives[index] == 0 {
                self.join(index, epoch);
            }
        }
    }

    /// The values decided so far, in order of instance; none where only the id is known.
    pub(crate) fn sequence(&self) -> Vec<Option<&Owned>> {
        self.decided.values().map(|id| self.values.get(id)).collect()
    }

    /// Whether a decided value holds `commands`.
    pub(crate) fn has_decided(&self, commands: &[u8]) -> bool {
        self.sequence().into_iter().flatten().any(|value| match value {
            Owned::Batch(bytes) => bytes.windows(commands.len()).any(|part| part == commands),
            _ => false,
        })
    }

    /// How many messages of `kind` went out so far.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.heard.iter().filter(|packet| packet.kind == kind).count()
    }

    /// What a failing run looks like at its end.
    #[expect(clippy::print_stderr, reason = "asked for by whoever replays a seed")]
    pub(crate) fn dump(&self) {
        eprintln!("{:?} {:?} decided {}", self.now, self.config, self.decided.len());
        eprintln!("epochs {:?}, of nodes {:?}, lives {:?}", self.epochs, self.epoch_of, self.lives);
        let mut expected = 1;
        for instance in self.decided.keys() {
            if instance.0 != expected {
                eprintln!("decided: hole {expected}..{instance}");
            }
            expected = instance.0 + 1;
        }
        for (index, member) in self.members.iter().enumerate() {
            let Some(member) = member else { continue };
            eprintln!(
                "{index}: leads {} inert {} ballot {:?} layout {:?} decided {} trim {} {:?}",
                member.is_coordinator(),
                member.is_inert(),
                member.ballot(),
                member.layout(),
                member.decided(),
                member.trim(),
                member.counters()
            );
        }
        for packet in self.heard.iter().rev().take(30) {
            eprintln!("{:?} -> {:?} {:?}", packet.from, packet.to, packet.message());
        }
    }

    fn next_timer(&self) -> Option<(Time, usize)> {
        let timers = self.members.iter().enumerate().filter_map(|(index, member)| {
            let at = member.as_ref()?.next_timeout()?;
            Some((at.max(self.now).max(self.paused_until[index]), index))
        });
        timers.min()
    }

    fn push(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn route(&mut self, packet: Packet) {
        let count = u16::try_from(self.members.len()).expect("a small number");
        self.heard.push(packet.clone());
        let receivers = if packet.is_multicast { 0..count } else { packet.to.0..packet.to.0 + 1 };
        for receiver in receivers.filter(|receiver| *receiver < count) {
            let packet = Packet { to: NodeId(receiver), ..packet.clone() };
            if !(self.filter)(&packet) {
                continue;
            }
            let Faults { loss, duplicates, delay_us } = self.faults;
            if let Some(epoch) = self.leaving.get(&receiver).copied()
                && packet.epoch < epoch
                && self.random.chance(1, 3)
            {
                let at = self.now + Duration::from_micros(40);
                self.push(at, Event::Told(usize::from(packet.from.0), epoch));
            }
            let copies = if self.random.chance(loss, 1000) && packet.to != packet.from {
                0
            } else {
                1 + u32::from(self.random.chance(duplicates, 1000))
            };
            for _ in 0..copies {
                let late = 20 + self.random.below(delay_us.max(1));
                self.push(self.now + Duration::from_micros(late), Event::Packet(packet.clone()));
            }
        }
    }

    /// The next event; packets to one member that are due within 10 us make one duty cycle.
    fn deliver(&mut self) {
        let Some((_, event)) = self.queue.pop_first() else { return };
        let now = self.now;
        match event {
            Event::Told(index, epoch) => {
                if self.members[index].is_some() && self.epoch_of[index] < epoch {
                    self.take_up(index, epoch);
                }
            }
            Event::Disk(index, life, written) => {
                if self.members[index].is_some() && self.life(index) == life {
                    self.disks_busy[index] = false;
                    self.step(index, |member, out| {
                        member.log_mut().persisted = written;
                        member.on_persisted(now, out);
                        member.on_cycle_end(now, out);
                    });
                }
            }
            Event::Packet(packet) => {
                let index = usize::from(packet.to.0);
                if self.paused_until[index] > now {
                    self.push(self.paused_until[index], Event::Packet(packet));
                    return;
                }
                let mut cycle = vec![packet];
                let horizon = now + Duration::from_micros(10);
                let due = self.queue.range(..=(horizon, u64::MAX));
                let here = due.filter(|(_, event)| {
                    matches!(event, Event::Packet(next) if usize::from(next.to.0) == index)
                });
                let keys: Vec<_> = here.map(|(key, _)| *key).collect();
                for key in keys {
                    if let Some(Event::Packet(next)) = self.queue.remove(&key) {
                        cycle.push(next);
                    }
                }
                let mine = self.epoch_of[index];
                let later = cycle.iter().map(|packet| packet.epoch).max().filter(|e| *e > mine);
                cycle.retain(|packet| packet.epoch == mine);
                self.step(index, |member, out| {
                    for packet in &cycle {
                        let envelope = Envelope {
                            ring: RingId(0),
                            sender: packet.from,
                            incarnation: packet.life,
                            from: Address::NONE,
                        };
                        member.on_message(&envelope, &packet.message(), now, out);
                    }
                    member.on_cycle_end(now, out);
                });
                // It asks, and may be answered.
                if let Some(later) = later
                    && self.members[index].is_some()
                    && self.epoch_of[index] < later
                    && self.random.chance(1, 3)
                {
                    self.take_up(index, later);
                }
            }
        }
    }

    /// Notes values and decisions, and what contradicts what was noted before.
    fn observe(&mut self, packet: &Packet) {
        let packet = packet.clone();
        match packet.message() {
            Message::Accept(accept) => {
                self.note_value(accept.id, Owned::of(&accept.value));
                self.note_decisions(&accept.decisions);
            }
            Message::Decision(decision) => self.note_decisions(&decision.ranges),
            Message::Repair(repair) => {
                self.note_value(repair.accept.id, Owned::of(&repair.accept.value));
                if repair.is_decided {
                    self.note_decision(repair.accept.instance, repair.accept.id);
                }
            }
            _ => {}
        }
    }

    fn note_value(&mut self, id: ValueId, value: Owned) {
        let known = self.values.entry(id).or_insert_with(|| value.clone());
        if *known != value {
            self.violations.push(format!("{id:?} names two values: {known:?} and {value:?}"));
        }
    }

    fn note_decisions(&mut self, ranges: &DecidedRanges<'_>) {
        for range in ranges.iter() {
            for (instance, id) in range.iter() {
                self.note_decision(instance, id);
            }
        }
    }

    fn note_decision(&mut self, instance: Instance, id: ValueId) {
        let known = *self.decided.entry(instance).or_insert(id);
        if known != id {
            self.violations.push(format!("{instance} is decided as {known:?} and as {id:?}"));
        }
    }
}
