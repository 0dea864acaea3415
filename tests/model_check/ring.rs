//! Ring Paxos with crashes and take-overs: three or five acceptors, any of which may stand at any
//! time, and a network that loses, doubles and reorders.
//!
//! A datagram that was sent stays: it may arrive at any time, any number of times, at each of its
//! receivers, or never. The state is who is in which state, what was sent, and what of the bounds is
//! left; it is checked that nobody ever says that two values were decided in one instance, or gives
//! two values one name.

use crate::acceptor::{Acceptors, Content, Durability, Event, MOST, Packet};
use crate::table::Digest;
use psmr::types::{Instance, ValueId};
use psmr::wire::{DecidedRanges, Kind, Message};
use stateright::{Model, Property};

/// How much of what may happen at any time may happen in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// Time-outs: a candidacy, or a coordinator that says again what it has said.
    pub(crate) timeouts: u8,
    /// Different values that are proposed.
    pub(crate) values: u8,
    /// Crashes of acceptors, which come back.
    pub(crate) crashes: u8,
}

/// One thing that happens to one acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step(pub(crate) usize, pub(crate) Event);

/// What somebody has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    /// What was decided in the instance.
    Decided(Instance),
    /// Which value the name is of.
    Named(Digest),
}

/// A state of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    acceptors: [Digest; MOST],
    /// By rising digest.
    packets: Vec<Digest>,
    left: Bounds,
    said: Vec<(Subject, Digest)>,
    pub(crate) has_conflict: bool,
    has_panicked: bool,
}

impl State {
    fn add(&mut self, digest: Digest, packet: &Packet) {
        let Err(place) = self.packets.binary_search(&digest) else { return };
        self.packets.insert(place, digest);
        match packet.message() {
            Message::Accept(accept) => {
                self.name(accept.id, &Content::of(&accept.value));
                self.decide(&accept.decisions);
            }
            Message::Decision(decision) => self.decide(&decision.ranges),
            Message::Repair(repair) => {
                self.name(repair.accept.id, &Content::of(&repair.accept.value));
                if repair.is_decided {
                    let instance = repair.accept.instance;
                    self.say(Subject::Decided(instance), Digest::of(&repair.accept.id));
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, id: ValueId, content: &Content) {
        self.say(Subject::Named(Digest::of(&id)), Digest::of(content));
    }

    fn decide(&mut self, ranges: &DecidedRanges<'_>) {
        for (instance, id) in ranges.iter().flat_map(|range| range.iter()) {
            self.say(Subject::Decided(instance), Digest::of(&id));
        }
    }

    fn say(&mut self, subject: Subject, what: Digest) {
        match self.said.binary_search_by_key(&subject, |(known, _)| *known) {
            Ok(place) => self.has_conflict |= self.said[place].1 != what,
            Err(place) => self.said.insert(place, (subject, what)),
        }
    }

    /// Instances of which somebody has said what was decided.
    pub(crate) fn decided(&self) -> usize {
        self.said.iter().filter(|(subject, _)| matches!(subject, Subject::Decided(_))).count()
    }
}

/// The model.
pub(crate) struct Ring {
    pub(crate) acceptors: Acceptors,
    start: State,
}

impl Ring {
    fn new(count: usize, durability: Durability, bounds: Bounds) -> Self {
        let acceptors = Acceptors::new(count, durability);
        let start = State {
            acceptors: acceptors.first(),
            packets: Vec::new(),
            left: bounds,
            said: Vec::new(),
            has_conflict: false,
            has_panicked: false,
        };
        Self { acceptors, start }
    }

    /// The same, from where `steps` lead; they count for no bound.
    fn after(mut self, steps: &[Happens]) -> Self {
        let bounds = self.start.left;
        self.start.left = Bounds { timeouts: u8::MAX, values: u8::MAX, crashes: u8::MAX };
        for happens in steps {
            self.start = self.follow(&self.start, *happens);
        }
        self.start.left = bounds;
        self
    }

    fn follow(&self, state: &State, happens: Happens) -> State {
        let mut state = state.clone();
        let step =
            |state: &State, step| self.next_state(state, step).expect("it changes something");
        match happens {
            Happens::Timeout(at) => step(&state, Step(at, Event::Timeout)),
            Happens::Propose(at, value) => step(&state, Step(at, Event::Propose(value))),
            Happens::Persist(at) => step(&state, Step(at, Event::Persist)),
            Happens::Arrives(kind, from, at) => {
                // All that it has sent of this kind, in whatever order.
                for digest in state.packets.clone() {
                    let packet = self.acceptors.packet(digest);
                    let is_meant = packet.is(kind) && usize::from(packet.from.0) == from;
                    if is_meant && packet.reaches(at) {
                        let next = self.next_state(&state, Step(at, Event::Packet(digest)));
                        state = next.unwrap_or(state);
                    }
                }
                state
            }
        }
    }

    /// How many acceptors coordinate.
    pub(crate) fn coordinators(&self, state: &State) -> usize {
        let leads = |acceptor: &&Digest| self.acceptors.state(**acceptor).member.is_coordinator();
        self.alive(state).iter().filter(leads).count()
    }

    /// Whether what somebody says is decided would survive a crash of all. Without disks it need not.
    fn is_on_disks(&self, state: &State) -> bool {
        let quorum = self.acceptors.count / 2 + 1;
        let is_safe = |(subject, id): &(Subject, Digest)| {
            let Subject::Decided(instance) = *subject else { return true };
            let holds = |digest: &&Digest| self.acceptors.state(**digest).holds(instance, *id);
            self.alive(state).iter().filter(holds).count() >= quorum
        };
        !self.acceptors.have_disks() || state.said.iter().all(is_safe)
    }

    fn alive<'a>(&self, state: &'a State) -> &'a [Digest] {
        &state.acceptors[..self.acceptors.count]
    }
}

/// A step of a beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happens {
    /// The time-outs of an acceptor come.
    Timeout(usize),
    /// It is sent a value.
    Propose(usize, u8),
    /// Its disk catches up.
    Persist(usize),
    /// What an acceptor has sent of a kind arrives at another one.
    Arrives(Kind, usize, usize),
}

const ELECTED: [Happens; 3] = [
    Happens::Timeout(0),
    Happens::Arrives(Kind::Prepare, 0, 1),
    Happens::Arrives(Kind::Promise, 1, 0),
];

/// Where a run begins, and what may happen from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// Nothing has happened; two candidacies.
    Start,
    /// The first coordinator leads; somebody else may take over, and two values are proposed.
    Elected,
    /// The first coordinator has proposed what has reached nobody, and the second one has proposed
    /// something else; who knows nothing of the other may stand again.
    TakenOver,
    /// A value is decided, without a disk; an acceptor forgets everything.
    Forgotten,
    /// The first coordinator leads; disks are slow, and crashes lose what is not persistent.
    OnDisk,
    /// Four values are decided, two of them forgotten by two acceptors; the third one may stand.
    Trimmed,
    /// Five acceptors, rings of three: a value has gone half around the first ring, and another
    /// coordinator has been elected by who knows nothing of it.
    Five,
}

impl Case {
    pub(crate) const ALL: [Self; 7] = [
        Self::Start,
        Self::Elected,
        Self::TakenOver,
        Self::Forgotten,
        Self::OnDisk,
        Self::Trimmed,
        Self::Five,
    ];

    pub(crate) fn model(self) -> Ring {
        let (count, durability, (timeouts, values, crashes)) = match self {
            Self::Start => (3, Durability::Memory, (2, 1, 0)),
            Self::Elected => (3, Durability::Memory, (1, 2, 0)),
            Self::TakenOver => (3, Durability::Memory, (1, 0, 0)),
            Self::Forgotten => (3, Durability::Memory, (1, 1, 1)),
            Self::OnDisk => (3, Durability::SlowDisk, (1, 1, 1)),
            Self::Trimmed => (3, Durability::Memory, (1, 1, 0)),
            Self::Five => (5, Durability::Memory, (1, 1, 0)),
        };
        let bounds = Bounds { timeouts, values, crashes };
        Ring::new(count, durability, bounds).after(&self.beginning())
    }

    fn beginning(self) -> Vec<Happens> {
        let decides = |value| {
            [
                Happens::Propose(0, value),
                Happens::Arrives(Kind::Accept, 0, 1),
                Happens::Arrives(Kind::Accepted, 1, 0),
            ]
        };
        let more = match self {
            Self::Start => return Vec::new(),
            Self::OnDisk => {
                return vec![
                    Happens::Timeout(0),
                    Happens::Persist(0),
                    Happens::Arrives(Kind::Prepare, 0, 1),
                    Happens::Persist(1),
                    Happens::Arrives(Kind::Promise, 1, 0),
                    Happens::Propose(0, 100),
                    Happens::Arrives(Kind::Accept, 0, 1),
                ];
            }
            Self::Five => {
                return vec![
                    Happens::Timeout(0),
                    Happens::Arrives(Kind::Prepare, 0, 1),
                    Happens::Arrives(Kind::Prepare, 0, 2),
                    Happens::Arrives(Kind::Promise, 1, 0),
                    Happens::Arrives(Kind::Promise, 2, 0),
                    Happens::Arrives(Kind::Heartbeat, 0, 2),
                    Happens::Propose(0, 100),
                    Happens::Arrives(Kind::Accept, 0, 1),
                    Happens::Arrives(Kind::Accepted, 1, 0),
                    Happens::Arrives(Kind::Accepted, 1, 2),
                    Happens::Arrives(Kind::Accepted, 2, 0),
                    Happens::Timeout(3),
                    Happens::Arrives(Kind::Prepare, 3, 4),
                    Happens::Arrives(Kind::Prepare, 3, 2),
                    Happens::Arrives(Kind::Promise, 4, 3),
                    Happens::Arrives(Kind::Promise, 2, 3),
                ];
            }
            Self::Elected => Vec::new(),
            Self::TakenOver => vec![
                Happens::Propose(0, 100),
                Happens::Timeout(2),
                Happens::Arrives(Kind::Prepare, 2, 1),
                Happens::Arrives(Kind::Promise, 1, 2),
                Happens::Propose(2, 101),
            ],
            Self::Forgotten => decides(100).to_vec(),
            Self::Trimmed => (100..104).flat_map(decides).collect(),
        };
        ELECTED.into_iter().chain(more).collect()
    }
}

impl Model for Ring {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.start.clone()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if state.has_conflict || state.has_panicked {
            return;
        }
        for (index, digest) in self.alive(state).iter().enumerate() {
            let acceptor = self.acceptors.state(*digest);
            if state.left.timeouts > 0 {
                actions.push(Step(index, Event::Timeout));
            }
            if acceptor.member.is_coordinator() && state.left.values > 0 {
                actions.push(Step(index, Event::Propose(state.left.values)));
            }
            if acceptor.has_unpersisted() {
                actions.push(Step(index, Event::Persist));
            }
            if state.left.crashes > 0 {
                let survivors = acceptor.survivors();
                actions.extend(survivors.map(|kept| Step(index, Event::Restart(kept))));
            }
        }
        for digest in &state.packets {
            let packet = self.acceptors.packet(*digest);
            let receivers = (0..self.acceptors.count).filter(|index| packet.reaches(*index));
            actions.extend(receivers.map(|index| Step(index, Event::Packet(*digest))));
        }
    }

    fn next_state(&self, state: &State, Step(index, event): Step) -> Option<State> {
        let outcome = self.acceptors.step(state.acceptors[index], event);
        let is_new = |digest: &&Digest| state.packets.binary_search(digest).is_err();
        let is_still = outcome.next == state.acceptors[index] && !outcome.has_panicked;
        if is_still && outcome.sent.iter().find(is_new).is_none() {
            return None;
        }
        let mut next = state.clone();
        next.acceptors[index] = outcome.next;
        next.has_panicked = outcome.has_panicked;
        match event {
            Event::Timeout => next.left.timeouts -= 1,
            Event::Propose(_) => next.left.values -= 1,
            Event::Restart(_) => next.left.crashes -= 1,
            Event::Packet(_) | Event::Persist => {}
        }
        for digest in &outcome.sent {
            next.add(*digest, &self.acceptors.packet(*digest));
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one value an instance, one value a name", |_, state: &State| {
                !state.has_conflict
            }),
            Property::always("what is decided is on f + 1 disks", Self::is_on_disks),
            Property::always("no acceptor ends", |_, state: &State| !state.has_panicked),
            Property::sometimes("something is decided", |_, state: &State| state.decided() > 0),
            Property::sometimes("two coordinate at once", |model: &Self, state: &State| {
                model.coordinators(state) > 1
            }),
        ]
    }
}
