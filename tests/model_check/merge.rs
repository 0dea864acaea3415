//! The merge of two rings, with skips: what subscribers hand out, whatever arrives when.
//!
//! Each ring decides values, no-ops and skips as the checker likes, or follows the other one as the
//! real `SkipPolicy` says. Every message that tells of them may arrive at any time, again, or never,
//! beside one of an older ballot's value that was not chosen. It is checked that every subscriber
//! hands out what plain sorting says, and nothing else, and that two never differ.

use crate::table::{Digest, Table};
use psmr::multi_ring::{NoFrames, SkipPolicy, Subscription, SubscriptionConfig};
use psmr::ring_paxos::{Destination, Envelope, LearnerConfig, Outbox};
use psmr::types::{Address, Ballot, Incarnation, Instance, NodeId, RingId, Slot, Time, ValueId};
use psmr::wire::{
    Accept, DecidedRanges, Decision, Heartbeat, Layout, Message, Range, Repair, Value,
};
use stateright::{Model, Property};
use std::sync::Arc;

const RINGS: usize = 2;
const NOW: Time = Time::ZERO;
const COORDINATOR: NodeId = NodeId(1);
const LIFE: Incarnation = Incarnation(5);
const OLD_LIFE: Incarnation = Incarnation(4);

/// What one instance decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Decided {
    Value,
    Noop,
    Skip(u64),
}

impl Decided {
    const fn slots(self) -> u64 {
        if let Self::Skip(slots) = self { slots } else { 1 }
    }
}

/// How a subscriber hears of an instance, which it knows by its index from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum News {
    /// An older ballot's 2A, of a value that was not chosen.
    Outvoted,
    /// The 2A.
    Accept,
    /// A decision that names the value.
    Decision,
    /// A heartbeat: everything up to here is decided.
    Mark,
    /// A repair, by who knows that it is decided or by who does not.
    Repair { is_decided: bool },
}

const NEWS: [News; 6] = [
    News::Outvoted,
    News::Accept,
    News::Decision,
    News::Mark,
    News::Repair { is_decided: true },
    News::Repair { is_decided: false },
];

/// News of one instance of one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Told {
    ring: usize,
    index: usize,
    decided: Decided,
    news: News,
}

impl Told {
    fn tell(&self, subscription: &mut Subscription) {
        let (ballot, id) = (Ballot::new(2, COORDINATOR, LIFE), self.id(LIFE));
        let instance = Instance(self.index as u64 + 1);
        let bytes = [self.name()];
        let value = match self.decided {
            Decided::Value => Value::Batch(&bytes),
            Decided::Noop => Value::Noop,
            Decided::Skip(slots) => Value::Skip(slots),
        };
        let trim = Instance(0);
        let accept = Accept {
            instance,
            ballot,
            id,
            layout: Layout::new(&[COORDINATOR]),
            decided: Instance(0),
            trim,
            decisions: DecidedRanges::new(&[]),
            value,
        };
        let mut hear = |incarnation, message: &Message<'_>| {
            let ring = RingId(u16::try_from(self.ring).expect("a small number"));
            let (sender, from) = (COORDINATOR, Address::NONE);
            let envelope = Envelope { ring, sender, incarnation, from };
            subscription.on_message(&envelope, message, NOW, &mut Nobody);
        };
        match self.news {
            News::Outvoted => {
                let ballot = Ballot::new(1, COORDINATOR, OLD_LIFE);
                let id = self.id(OLD_LIFE);
                let outvoted = Accept { ballot, id, value: Value::Batch(&[0]), ..accept };
                hear(OLD_LIFE, &Message::Accept(outvoted));
            }
            News::Accept => hear(LIFE, &Message::Accept(accept)),
            News::Decision => {
                let range = [Range::one(instance, id)];
                let ranges = DecidedRanges::new(&range);
                let decision = Decision { ballot, decided: Instance(0), trim, ranges };
                hear(LIFE, &Message::Decision(decision));
            }
            News::Mark => {
                let (layout, slot) = (accept.layout, Slot(0));
                let (decided, highest) = (instance, instance);
                let heartbeat = Heartbeat { ballot, layout, decided, highest, trim, slot };
                hear(LIFE, &Message::Heartbeat(heartbeat));
            }
            News::Repair { is_decided } => {
                // From an acceptor, which coordinates nothing.
                hear(Incarnation(9), &Message::Repair(Repair { is_decided, accept }));
            }
        }
    }

    /// What has another content has another name, in whatever run.
    const fn id(&self, life: Incarnation) -> ValueId {
        let content = match self.decided {
            Decided::Value => 0,
            Decided::Noop => 1,
            Decided::Skip(slots) => 1 + slots,
        };
        ValueId::new(COORDINATOR, life, content << 8 | (self.index as u64 + 1))
    }

    /// The value, in one byte that no other one has.
    fn name(&self) -> u8 {
        u8::try_from(self.ring * 16 + self.index + 1).expect("short rings")
    }
}

/// Takes requests for repair: the model repairs unasked.
struct Nobody;

impl Outbox for Nobody {
    fn send(&mut self, _: Destination, _: RingId, _: &Message<'_>) {}
}

/// One value handed out: its ring and slot, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Handed {
    turn: u64,
    ring: usize,
    slot: u64,
    name: u8,
}

/// A state of a subscriber, by a way that leads there: a subscription holds frames that cannot be
/// copied, but takes every way again.
#[derive(Debug)]
struct Subscriber {
    history: Vec<Told>,
    handed: Vec<Handed>,
    has_conflict: bool,
}

impl Subscriber {
    /// Whether it was told all that it needs of `rings`.
    fn knows(&self, rings: &[Vec<Decided>; RINGS]) -> bool {
        (0..RINGS).all(|ring| {
            (0..rings[ring].len()).all(|index| {
                let of = |is_it: &dyn Fn(News) -> bool| {
                    let mut history = self.history.iter();
                    history.any(|told| (told.ring, told.index) == (ring, index) && is_it(told.news))
                };
                let is_repaired = of(&|news| news == News::Repair { is_decided: true });
                let is_proposed = of(&|news| news == News::Accept);
                let is_held = is_proposed || of(&|news| news == News::Repair { is_decided: false });
                let is_named = of(&|news| news == News::Decision);
                let mut history = self.history.iter();
                let is_marked = history.any(|told| {
                    told.ring == ring && told.index >= index && told.news == News::Mark
                });
                is_repaired || (is_held && is_named) || (is_proposed && is_marked)
            })
        })
    }
}

/// What the contents of the rings come to.
#[derive(Debug)]
struct Order {
    handed: Vec<Handed>,
    /// How far each ring is behind the other one.
    lag: [Option<u64>; RINGS],
    /// Rings that are not behind hold nothing back.
    is_even: bool,
}

/// A state of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    rings: [Vec<Decided>; RINGS],
    /// By rising digest: they do not differ but in what they have heard.
    subscribers: Vec<Digest>,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A ring decides.
    Decide(usize, Decided),
    /// Something is told to a subscriber.
    Tell(usize, Told),
}

/// The model.
pub(crate) struct Merged {
    m: u64,
    /// Instances of a ring.
    length: usize,
    subscribers: usize,
    states: Table<Subscriber>,
    steps: Table<Digest>,
    orders: Table<Order>,
}

impl Merged {
    pub(crate) fn new(m: u64, length: usize, subscribers: usize) -> Self {
        let (states, steps, orders) = (Table::new(), Table::new(), Table::new());
        Self { m, length, subscribers, states, steps, orders }
    }

    /// Everything that was ordered before the slowest ring's end, by plain sorting.
    fn oracle(&self, rings: &[Vec<Decided>; RINGS]) -> Vec<Handed> {
        let (mut order, mut ends) = (Vec::new(), Vec::new());
        for (ring, instances) in rings.iter().enumerate() {
            let mut slot = 0;
            for (index, decided) in instances.iter().enumerate() {
                if *decided == Decided::Value {
                    let told = Told { ring, index, decided: *decided, news: News::Accept };
                    order.push(Handed { turn: slot / self.m, ring, slot, name: told.name() });
                }
                slot += decided.slots();
            }
            ends.push((slot / self.m, ring, slot));
        }
        order.sort_unstable();
        let end = ends.into_iter().min().expect("there are rings");
        order.retain(|handed| (handed.turn, handed.ring, handed.slot) < end);
        order
    }

    /// What is to be said of `rings`, found out once.
    fn order(&self, rings: &[Vec<Decided>; RINGS]) -> Arc<Order> {
        let digest = Digest::of(rings);
        self.orders.find(digest).unwrap_or_else(|| {
            let handed = self.oracle(rings);
            let values = rings.iter().flatten().filter(|one| **one == Decided::Value).count();
            let lag = [self.lag(rings, 0), self.lag(rings, 1)];
            let is_even = lag != [None, None] || handed.len() == values;
            self.orders.put(digest, Order { handed, lag, is_even })
        })
    }

    /// What `ring` skips by the policy when it has heard where the other one is.
    fn lag(&self, rings: &[Vec<Decided>; RINGS], ring: usize) -> Option<u64> {
        let end = |ring: usize| rings[ring].iter().map(|decided| decided.slots()).sum();
        let mut policy = SkipPolicy::new(0, SkipPolicy::INTERVAL).in_turns_of(self.m);
        policy.on_position(Slot(end(1 - ring)), NOW);
        // Once a busy ring has been patient, or an idle one at once.
        policy.due(Slot(end(ring)), NOW);
        policy.due(Slot(end(ring)), NOW + 2 * SkipPolicy::INTERVAL)
    }

    /// Where `history` leads.
    fn follow(&self, history: Vec<Told>) -> Digest {
        let window = (self.length + 1).next_power_of_two().max(4);
        let learner = |ring| LearnerConfig {
            window,
            ..LearnerConfig::new(RingId(ring), vec![COORDINATOR], 7)
        };
        let rings = (0..2).map(learner).collect();
        let mut subscription = Subscription::new(SubscriptionConfig { rings, m: self.m }, 0, NOW);
        let mut handed = Vec::new();
        for told in &history {
            told.tell(&mut subscription);
            let mut pool = NoFrames;
            let mut feed = subscription.deliveries(&mut pool);
            while let Some(at) = feed.advance() {
                let (ring, slot) = (usize::from(at.ring.0), at.slot.0);
                let name = *feed.bytes().first().expect("values are a byte long");
                handed.push(Handed { turn: slot / self.m, ring, slot, name });
            }
            subscription.on_cycle_end(&mut pool, NOW, &mut Nobody);
        }
        let digest = Digest::of(&(&subscription, &handed));
        let has_conflict = subscription.conflict().is_some();
        self.states.put(digest, Subscriber { history, handed, has_conflict });
        digest
    }

    fn hear(&self, subscriber: Digest, told: Told) -> Digest {
        let name = subscriber.then(Digest::of(&told));
        let next = self.steps.find(name).unwrap_or_else(|| {
            let mut history = self.states.get(subscriber).history.clone();
            history.push(told);
            self.steps.put(name, self.follow(history))
        });
        *next
    }

    fn subscribers(&self, state: &State) -> Vec<Arc<Subscriber>> {
        state.subscribers.iter().map(|digest| self.states.get(*digest)).collect()
    }

    fn is_ordered(&self, state: &State) -> bool {
        let order = &self.order(&state.rings).handed;
        self.subscribers(state)
            .iter()
            .all(|subscriber| !subscriber.has_conflict && order.starts_with(&subscriber.handed))
    }

    fn is_complete(&self, state: &State) -> bool {
        let order = &self.order(&state.rings).handed;
        let mut all = self.subscribers(state).into_iter();
        all.all(|one| one.handed.len() == order.len() || !one.knows(&state.rings))
    }

    /// Nobody's values wait once every ring has skipped as far as its policy says.
    fn is_even(&self, state: &State) -> bool {
        self.order(&state.rings).is_even
    }

    fn do_agree(&self, state: &State) -> bool {
        let all = self.subscribers(state);
        all.windows(2).all(|two| {
            let shared = two[0].handed.len().min(two[1].handed.len());
            two[0].handed[..shared] == two[1].handed[..shared]
        })
    }
}

impl Model for Merged {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let subscribers = vec![self.follow(Vec::new()); self.subscribers];
        vec![State { rings: [Vec::new(), Vec::new()], subscribers }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        for (ring, instances) in state.rings.iter().enumerate() {
            if instances.len() < self.length {
                let free = [Decided::Value, Decided::Noop, Decided::Skip(3)];
                actions.extend(free.map(|decided| Step::Decide(ring, decided)));
                let lag = self.order(&state.rings).lag[ring].filter(|slots| *slots != 3);
                actions.extend(lag.map(|slots| Step::Decide(ring, Decided::Skip(slots))));
            }
            for (index, decided) in instances.iter().copied().enumerate() {
                let told = NEWS.map(|news| Told { ring, index, decided, news });
                let to = 0..state.subscribers.len();
                actions.extend(to.flat_map(|to| told.map(|told| Step::Tell(to, told))));
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        match step {
            Step::Decide(ring, decided) => next.rings[ring].push(decided),
            Step::Tell(to, told) => {
                next.subscribers[to] = self.hear(state.subscribers[to], told);
                next.subscribers.sort_unstable();
                if next.subscribers == state.subscribers {
                    return None;
                }
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a subscriber hands out what was ordered", Self::is_ordered),
            Property::always("two subscribers hand out the same", Self::do_agree),
            Property::always("who knows all hands out all", Self::is_complete),
            Property::always("who follows lets all be handed out", Self::is_even),
            Property::sometimes("something of both rings is handed out", |model: &Self, state| {
                let all = model.subscribers(state);
                all.iter()
                    .any(|one| (0..RINGS).all(|ring| one.handed.iter().any(|h| h.ring == ring)))
            }),
        ]
    }
}
