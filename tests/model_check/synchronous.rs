//! Synchronous mode: the workers of one replica, polled a step at a time in any order, meet at the
//! commands of several groups.
//!
//! What the rings order is the checker's choice too: commands of every set of groups, one or two in
//! an instance, and commands of single groups beside them. It is checked that nobody passes a
//! command before all of its set have reached it and one of them, the one whose turn it is, has
//! executed it; that replies and state are those of one thread; and that nobody waits for ever.

use crate::replicas::cells::{ADD, Cells, MOVE, PUSH, cell_command};
use crate::replicas::oracle::Oracle;
use crate::replicas::{Cluster, LIMITS};
use crate::table::{Digest, Table};
use psmr::replica::{Barrier, Executor, Progress, PsmrWorker, WorkerConfig};
use psmr::service::GroupMap;
use psmr::types::{Address, GroupSet, Sequence, SessionId};
use psmr::wire::{
    Command, CommandHeader, Control, ControlKind, Mode, SessionReport, Status, Writer,
};
use stateright::{Model, Property};
use std::collections::BTreeMap;
use std::sync::Arc;

const CLIENT: u32 = 5;

/// A command, by what it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    /// Adds to the cell of a group.
    Add(u8),
    /// Moves from the cell of a group to that of another one.
    Move(u8, u8),
    /// May touch the cells of all groups.
    Push(u8),
}

impl Ask {
    fn payload(self) -> Vec<u8> {
        match self {
            Self::Add(cell) => cell_command(ADD, cell, 3),
            Self::Move(from, to) => cell_command(MOVE, from, to),
            Self::Push(cell) => cell_command(PUSH, cell, 30),
        }
    }
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// One slot of every ring is decided, with these commands.
    Decide(Vec<Ask>),
    /// A worker is polled, for one step.
    Poll(usize),
}

/// A command that was ordered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ordered {
    set: GroupSet,
    /// Its number among the commands of several groups, and that of the first of its meeting.
    place: Option<(u64, u64)>,
}

/// Where a worker is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    values: u64,
    /// Commands of several groups that it has begun.
    begun: u64,
    is_between_values: bool,
    is_meeting: bool,
    is_waiting: bool,
}

/// What can be seen of a replica: with what was ordered, all that decides what comes next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    ordered: Vec<Ordered>,
    slots: usize,
    places: Vec<Place>,
    rendezvous: String,
    /// By number: who executed it, and what came of it.
    executed: BTreeMap<u64, (usize, Vec<u8>)>,
    state: u64,
    /// Two answers to one command, or one that is none.
    has_odd_answer: bool,
}

/// A state of the replica, by a way that leads there.
#[derive(Debug)]
struct Replica {
    history: Vec<Step>,
    seen: Seen,
    /// Whether all of `executed` is what one thread would have answered, and so is the state if all
    /// is executed.
    is_sequential: bool,
    has_panicked: bool,
}

/// One replica with its rings, as a history is taken again.
struct Run<'a> {
    model: &'a Meetings,
    cluster: Cluster<Cells>,
    session: SessionId,
    ordered: Vec<Ordered>,
    executed: BTreeMap<u64, (usize, Vec<u8>)>,
    has_odd_answer: bool,
}

impl<'a> Run<'a> {
    /// A replica at which a session is open.
    fn new(model: &'a Meetings) -> Self {
        let groups = model.groups;
        let service = || Cells::new(groups, groups);
        let cluster = Cluster::new(1, 0, service, |config| model.set(config));
        let mut run = Self {
            model,
            cluster,
            session: SessionId::default(),
            ordered: Vec::new(),
            executed: BTreeMap::new(),
            has_odd_answer: false,
        };
        let mut control = Control::new(ControlKind::Open);
        (control.client, control.number) = (u64::from(CLIENT), 1);
        control.reply_to = Address::memory(CLIENT);
        let header = CommandHeader {
            groups: GroupSet::all(groups),
            mode: Mode::SESSION,
            ..CommandHeader::default()
        };
        let payload = bytemuck::bytes_of(&control);
        run.decide(groups, &Command { header, payload });
        run.fill();
        for worker in 0..groups {
            while !matches!(run.cluster.poll(worker, 8), Progress::Idle) {}
        }
        let opened = run.cluster.answers.drain(..).find(|one| one.status == Status::SessionOpened);
        let opened = opened.expect("there is room for a session");
        run.session = bytemuck::pod_read_unaligned::<SessionReport>(&opened.payload).session;
        run
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Decide(asks) => self.order(asks),
            Step::Poll(worker) => {
                let _ = self.cluster.poll(*worker, 1);
                for answer in std::mem::take(&mut self.cluster.answers) {
                    let known = self.executed.insert(answer.sequence.0, (*worker, answer.payload));
                    self.has_odd_answer |= known.is_some() || answer.status != Status::Done;
                }
            }
        }
    }

    fn order(&mut self, asks: &[Ask]) {
        let groups = self.model.groups;
        // The opening of the session was the first.
        let epoch = |ordered: &[Ordered]| {
            1 + ordered.iter().filter(|one| one.place.is_some()).count() as u64
        };
        let first = epoch(&self.ordered);
        for ask in asks {
            let payload = ask.payload();
            let set = self.cluster.service(0).conservative(&payload);
            let number = self.ordered.len() as u64 + 1;
            let header = CommandHeader {
                session: self.session,
                sequence: Sequence(number),
                unanswered: u16::try_from(number - 1).expect("a small number"),
                groups: set,
                designation: CommandHeader::designate(0, 0),
                ..CommandHeader::default()
            };
            self.decide(usize::from(set.ring(groups).0), &Command { header, payload: &payload });
            let place = epoch(&self.ordered);
            let begins = if self.model.barrier == Barrier::Instance { first } else { place };
            let place = (set.len() > 1).then_some((place, begins));
            self.ordered.push(Ordered { set, place });
        }
        self.fill();
    }

    /// Adds a command to the slot that is being decided.
    fn decide(&mut self, ring: usize, command: &Command<'_>) {
        let slot = self.cluster.order.rings.iter().map(Vec::len).min().unwrap_or(0);
        let mut bytes = vec![0; command.encoded_length()];
        command.encode(&mut Writer::new(&mut bytes));
        let values = &mut self.cluster.order.rings[ring];
        values.resize(slot + 1, None);
        values[slot].get_or_insert_default().extend(bytes);
    }

    /// Rings with nothing to say skip.
    fn fill(&mut self) {
        let rings = &mut self.cluster.order.rings;
        let slots = rings.iter().map(Vec::len).max().unwrap_or(0);
        rings.iter_mut().for_each(|values| values.resize(slots, None));
    }

    fn seen(&self) -> Seen {
        let place = |worker: &PsmrWorker<Cells>| Place {
            values: worker.position(),
            begun: worker.synchronous_epoch(),
            is_between_values: worker.is_between_values(),
            is_meeting: worker.is_meeting(),
            is_waiting: worker.waiting().is_some(),
        };
        Seen {
            ordered: self.ordered.clone(),
            slots: self.cluster.order.rings[0].len(),
            places: self.cluster.workers.iter().map(place).collect(),
            rendezvous: self.cluster.shared[0].rendezvous().state().to_string(),
            executed: self.executed.clone(),
            state: self.cluster.digest(0).0,
            has_odd_answer: self.has_odd_answer,
        }
    }

    fn is_sequential(&self) -> bool {
        let mut oracle = Oracle::default();
        let service = Cells::new(self.model.groups, self.model.groups);
        let digest = oracle.run(&self.cluster.order, &service);
        let answers_alike = self.executed.iter().all(|(number, (_, reply))| {
            oracle.writes.get(&(self.session, Sequence(*number))) == Some(reply)
        });
        let is_whole = self.executed.len() == self.ordered.len();
        answers_alike && (!is_whole || digest == self.cluster.digest(0))
    }
}

/// The model.
pub(crate) struct Meetings {
    groups: usize,
    barrier: Barrier,
    executor: Executor,
    /// Slots at most.
    length: usize,
    /// What one slot may have.
    slots: Vec<Vec<Ask>>,
    states: Table<Replica>,
    steps: Table<Digest>,
}

/// Where the replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State(Digest);

impl Meetings {
    pub(crate) fn new(
        groups: usize,
        (barrier, executor): (Barrier, Executor),
        length: usize,
    ) -> Self {
        let last = u8::try_from(groups - 1).expect("a small number");
        let mut slots = vec![
            vec![Ask::Push(0)],
            vec![Ask::Add(0), Ask::Move(0, 1), Ask::Move(last, 0)],
            vec![Ask::Add(last), Ask::Move(last, 0)],
        ];
        if groups > 2 {
            slots.push(vec![Ask::Add(1), Ask::Move(1, 2)]);
            slots.push(vec![Ask::Move(0, 1), Ask::Push(2)]);
        }
        let (states, steps) = (Table::new(), Table::new());
        Self { groups, barrier, executor, length, slots, states, steps }
    }

    fn set(&self, config: &mut WorkerConfig) {
        (config.barrier, config.executor) = (self.barrier, self.executor);
        (config.retries, config.assemblies, config.command_limit) = (1, 1, 64);
    }

    fn follow(&self, history: Vec<Step>) -> Digest {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut run = Run::new(self);
            history.iter().for_each(|step| run.take(step));
            (run.seen(), run.is_sequential())
        }));
        let Ok((seen, is_sequential)) = done else {
            let digest = Digest::of(&history);
            let seen = Run::new(self).seen();
            let replica = Replica { history, seen, is_sequential: false, has_panicked: true };
            self.states.put(digest, replica);
            return digest;
        };
        let digest = Digest::of(&seen);
        if self.states.find(digest).is_none() {
            let replica = Replica { history, seen, is_sequential, has_panicked: false };
            self.states.put(digest, replica);
        }
        digest
    }

    fn step(&self, state: State, step: &Step) -> State {
        let name = state.0.then(Digest::of(step));
        let next = self.steps.find(name).unwrap_or_else(|| {
            let mut history = self.states.get(state.0).history.clone();
            history.push(step.clone());
            self.steps.put(name, self.follow(history))
        });
        State(*next)
    }

    fn replica(&self, state: &State) -> Arc<Replica> {
        self.states.get(state.0)
    }

    /// Nobody passes a command of several groups before it is executed, and it is executed when all
    /// have come.
    fn do_meet(&self, state: &State) -> bool {
        let replica = self.replica(state);
        let Seen { ordered, places, executed, .. } = &replica.seen;
        ordered.iter().zip(1..).all(|(one, number)| {
            let Some((place, begins)) = one.place else { return true };
            let members = || one.set.iter().map(|group| &places[group.index()]);
            let have_come = members().all(|member| member.begun > place);
            let has_passed = |member: &Place| {
                let is_here = member.is_meeting && meeting(ordered, member.begun) == Some(begins);
                member.begun > place && !is_here
            };
            let is_executed = executed.contains_key(&number);
            (have_come || !is_executed) && (is_executed || !members().any(has_passed))
        })
    }

    fn take_turns(&self, state: &State) -> bool {
        let replica = self.replica(state);
        let Seen { ordered, executed, .. } = &replica.seen;
        ordered.iter().zip(1..).all(|(one, number)| {
            let Some((worker, _)) = executed.get(&number) else { return true };
            let Some((_, begins)) = one.place else { return true };
            // With a barrier an instance all commands of a meeting are of who is first in its union.
            let meeting = ordered
                .iter()
                .filter(|other| other.place.is_some_and(|(_, first)| first == begins));
            let set = meeting.fold(GroupSet::EMPTY, |set, other| set.union(other.set));
            let turn = if self.executor == Executor::Rotate { begins } else { 0 };
            set.member(turn).index() == *worker
        })
    }

    fn is_alive(&self, state: &State) -> bool {
        let replica = self.replica(state);
        let Seen { places, ordered, executed, .. } = &replica.seen;
        let is_done =
            places.iter().all(|place| place.is_between_values) && executed.len() == ordered.len();
        is_done
            || replica.has_panicked
            || (0..self.groups).any(|worker| self.step(*state, &Step::Poll(worker)) != *state)
    }
}

/// The first command of the meeting in which the last of `begun` commands is.
fn meeting(ordered: &[Ordered], begun: u64) -> Option<u64> {
    let mut places = ordered.iter().filter_map(|one| one.place);
    places.find(|(place, _)| place + 1 == begun).map(|(_, first)| first)
}

impl Model for Meetings {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State(self.follow(Vec::new()))]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        let replica = self.replica(state);
        if replica.has_panicked {
            return;
        }
        // The session's own slot is the first.
        if replica.seen.slots < self.length + 1 {
            let room = LIMITS.window - replica.seen.ordered.len();
            let slots = self.slots.iter().filter(|asks| asks.len() <= room);
            actions.extend(slots.cloned().map(Step::Decide));
        }
        actions.extend((0..self.groups).map(Step::Poll));
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let next = self.step(*state, &step);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no worker ends", |model: &Self, state| {
                !model.replica(state).has_panicked
            }),
            Property::always(
                "all of a set meet before one executes, and pass after it",
                |m: &Self, s| m.do_meet(s),
            ),
            Property::always("who executes is whose turn it is", |m: &Self, s| m.take_turns(s)),
            Property::always("replies and state are those of one thread", |m: &Self, s| {
                let replica = m.replica(s);
                replica.is_sequential && !replica.seen.has_odd_answer
            }),
            Property::always("nobody waits for ever", |m: &Self, s| m.is_alive(s)),
            Property::sometimes("all that may be ordered is executed", |m: &Self, s| {
                let seen = &m.replica(s).seen;
                seen.slots == m.length + 1 && seen.executed.len() == seen.ordered.len()
            }),
        ]
    }
}
