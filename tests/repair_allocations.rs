//! Who is asked for votes, decisions and values answers without an allocation: repairs are part of
//! the data path.

use psmr::mem::{CountingAllocator, allocations};
use psmr::ring_paxos::{
    Destination, Envelope, Member, Memory, MemoryLog, Outbox, RingConfig, Role,
};
use psmr::types::{Address, Ballot, Incarnation, Instance, NodeId, RingId, Time, ValueId};
use psmr::wire::{
    Accept, DecidedRanges, Layout, Message, Range, RepairRequest, Value, Wanted, WantedRange,
    WantedRanges,
};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const RING: RingId = RingId(0);
const COORDINATOR: NodeId = NodeId(0);
const LEARNER: NodeId = NodeId(9);
const INSTANCES: u64 = 64;

/// Ranges of votes and of decisions, and values, that were sent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    votes: usize,
    decisions: usize,
    values: u64,
}

impl Outbox for Sent {
    fn send(&mut self, _: Destination, _: RingId, message: &Message<'_>) {
        match message {
            Message::Accepted(accepted) => self.votes += accepted.ranges.len(),
            Message::Decision(decision) => self.decisions += decision.ranges.len(),
            Message::Repair(_) => self.values += 1,
            _ => {}
        }
    }
}

fn envelope(sender: NodeId) -> Envelope {
    Envelope { ring: RING, sender, incarnation: Incarnation(1), from: Address::NONE }
}

/// Instances that do not follow each other, so that each is a range of its own.
fn sparse() -> impl Iterator<Item = (Instance, ValueId)> {
    (1..=INSTANCES).step_by(2).map(|instance| {
        let id = ValueId { incarnation: Incarnation(1), counter: 7 * instance };
        (Instance(instance), id)
    })
}

#[test]
fn repairs_are_answered_without_an_allocation() {
    let config = RingConfig::new(RING, (0..3).map(NodeId).collect());
    let me = (NodeId(1), Incarnation(5));
    let mut now = Time(1);
    let mut member = Member::new(config, me, Memory::Fresh, MemoryLog::new(), 3, now);
    let ballot = Ballot::new(1, COORDINATOR, Incarnation(1));
    let layout = Layout::new(&[NodeId(1), COORDINATOR]);
    let mut out = Sent::default();
    for (instance, id) in sparse() {
        let decisions = [Range::one(instance, id)];
        let accept = Accept {
            instance,
            ballot,
            id,
            layout,
            decided: Instance(0),
            trim: Instance(0),
            decisions: DecidedRanges::new(&decisions),
            value: Value::Batch(&[3; 100]),
        };
        member.on_message(&envelope(COORDINATOR), &Message::Accept(accept), now, &mut out);
    }
    member.on_cycle_end(now, &mut out);
    let ask = |wanted: Wanted| {
        [WantedRange {
            first: Instance(1),
            count: u32::try_from(INSTANCES).expect("few"),
            wanted: wanted as u32,
        }]
    };
    let questions = [
        (COORDINATOR, ask(Wanted::Decision)),
        (LEARNER, ask(Wanted::Decision)),
        (LEARNER, ask(Wanted::Both)),
    ];
    out = Sent::default();
    let before = allocations();
    for (sender, wanted) in &questions {
        now = now + Duration::from_millis(20);
        let request = RepairRequest { wanted: WantedRanges::new(wanted) };
        member.on_message(&envelope(*sender), &Message::RepairRequest(request), now, &mut out);
        member.on_cycle_end(now, &mut out);
    }
    let allocated = allocations() - before;
    let count = sparse().count();
    assert_eq!((out.votes, out.decisions, out.values), (count, count, count as u64));
    assert_eq!(allocated, 0);
}
