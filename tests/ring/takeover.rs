//! Phase 1, take-over, two coordinators, and coordinators that wake.

use super::net::{Net, Owned};
use super::packet::page_of_nothing;
use psmr::ring_paxos::{Memory, RingConfig};
use psmr::types::{Ballot, Incarnation, Instance, NodeId, RingId, Slot, ValueId};
use psmr::wire::{
    Kind, Message, Prepare, Promise, PromiseRecord, PromiseRecords, Refusal, Value, Writer,
};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

fn ring(count: u16) -> Net {
    let mut net = Net::new(count, 5);
    net.run(5 * MILLI);
    net
}

/// Hands candidate 0 a Promise of `from` for its current ballot.
fn promise(net: &mut Net, from: u16, trim: u64, records: &[PromiseRecord<'_>]) {
    let mut encoded = vec![0; records.iter().map(PromiseRecord::encoded_length).sum()];
    let mut writer = Writer::new(&mut encoded);
    records.iter().for_each(|record| record.encode(&mut writer));
    let promise = Promise {
        trim: Instance(trim),
        known: Instance(trim),
        slot: Slot(10 * trim),
        records: PromiseRecords::new(&encoded),
        ..page_of_nothing(net.member(0).ballot(), 0, 1)
    };
    net.inject(0, (NodeId(from), Incarnation(1)), &Message::Promise(promise));
}

fn record(instance: u64, round: u32, value: Value<'_>) -> PromiseRecord<'_> {
    let (node, life) = (NodeId(4), Incarnation(9));
    PromiseRecord {
        instance: Instance(instance),
        ballot: Ballot::new(round, node, life),
        id: ValueId::new(node, life, u64::from(round) * 100 + instance),
        value,
    }
}

/// Five acceptors of which 0 stands, and the others hear nothing.
fn candidate() -> Net {
    let mut net = Net::new(5, 5);
    net.filter = Box::new(|_| false);
    net.run(MILLI);
    net
}

#[test]
fn nobody_is_sent_to_a_candidate_before_it_leads() {
    let mut net = ring(3);
    assert_eq!(net.coordinator(), Some(0));
    let candidate = net.member(0).ballot().above(NodeId(1), Incarnation(9));
    let prepare = Prepare { ballot: candidate, first: Instance(1) };
    net.inject(2, (NodeId(1), Incarnation(9)), &Message::Prepare(prepare));
    net.propose(2, 1, b"one");
    let named = |net: &Net| match net.heard.last().unwrap().message() {
        Message::Redirect(redirect) => redirect.ballot.node,
        other => panic!("{other:?}"),
    };
    assert_eq!(named(&net), NodeId(0), "what the candidate is sent it would drop");
    net.crash(0);
    net.run(2000 * MILLI);
    let coordinator = net.coordinator().unwrap();
    let other = (0..3).find(|index| ![0, coordinator].contains(index)).unwrap();
    net.propose(other, 2, b"two");
    assert_eq!(usize::from(named(&net).0), coordinator);
}

#[test]
fn the_value_of_the_highest_ballot_keeps_its_id_and_only_a_hole_becomes_a_noop() {
    let mut net = candidate();
    // Two in-flight values of several ballots, nothing at 2, and a skip above.
    promise(&mut net, 1, 0, &[record(1, 3, Value::Batch(b"new")), record(4, 1, Value::Skip(7))]);
    assert_eq!(net.coordinator(), None, "two are no quorum of five");
    promise(
        &mut net,
        2,
        0,
        &[record(1, 2, Value::Batch(b"old")), record(3, 1, Value::Batch(b"c"))],
    );
    assert_eq!(net.coordinator(), Some(0));
    net.propose(0, 1, b"mine");
    net.run(2 * MILLI);
    let sent: Vec<_> = net.heard.iter().filter(|packet| packet.kind == Kind::Accept).collect();
    let sent: Vec<_> = sent
        .iter()
        .map(|packet| match packet.message() {
            Message::Accept(accept) => (accept.instance.0, accept.id, Owned::of(&accept.value)),
            _ => unreachable!("only 2As"),
        })
        .collect();
    let values: Vec<_> =
        sent.iter().map(|(instance, _, value)| (*instance, value.clone())).collect();
    let batch = |bytes: &[u8]| Owned::Batch(bytes.to_vec());
    let expected = [
        (1, batch(b"new")),
        (2, Owned::Noop),
        (3, batch(b"c")),
        (4, Owned::Skip(7)),
        (5, batch(b"mine")),
    ];
    assert_eq!(values, expected, "nothing new before what was found");
    assert_eq!(sent[0].1, record(1, 3, Value::Noop).id);
    assert_eq!(net.member(0).slot(), Slot(11));
}

#[test]
fn phase_2_starts_above_the_highest_trim_mark_of_the_promisers() {
    let mut net = candidate();
    promise(&mut net, 1, 0, &[record(3, 1, Value::Batch(b"trimmed elsewhere"))]);
    promise(&mut net, 2, 5, &[record(7, 1, Value::Batch(b"seven"))]);
    net.run(2 * MILLI);
    let first = net.heard.iter().find_map(|packet| match packet.message() {
        Message::Accept(accept) => Some((accept.instance.0, Owned::of(&accept.value))),
        _ => None,
    });
    assert_eq!(first, Some((6, Owned::Noop)));
    assert_eq!(net.member(0).trim(), Instance(5));
    assert_eq!(net.member(0).slot(), Slot(52), "slots go on where the promiser knew them");
}

#[test]
fn a_coordinator_that_begins_a_new_ballot_proposes_nothing_before_phase_1_is_complete() {
    let mut net = candidate();
    let value = [7; 7_000];
    // More than the window in bytes: some of it waits when the silent ring is given up.
    let records: Vec<_> = (1..=20).map(|n| record(n, 1, Value::Batch(&value))).collect();
    promise(&mut net, 1, 0, &records);
    promise(&mut net, 2, 0, &[]);
    assert_eq!(net.coordinator(), Some(0));
    net.propose(0, 1, b"gathered, not sent");
    let before = net.member(0).ballot();
    net.run(400 * MILLI);
    let ballot = net.member(0).ballot();
    assert!(ballot > before && net.coordinator().is_none());
    let is_early = |packet: &super::net::Packet| match packet.message() {
        Message::Accept(accept) => accept.ballot == ballot,
        _ => false,
    };
    assert!(!net.heard.iter().any(is_early));
    net.filter = Box::new(|_| true);
    net.run(400 * MILLI);
    assert_eq!(net.member(0).decided(), Instance(20));
    assert!(net.violations.is_empty(), "{:?}", net.violations);
}

#[test]
fn a_promise_counts_only_when_all_its_pages_are_here() {
    let mut net = candidate();
    let ballot = net.member(0).ballot();
    let page = |page| Message::Promise(page_of_nothing(ballot, page, 2));
    promise(&mut net, 1, 0, &[]);
    let two = (NodeId(2), Incarnation(1));
    net.inject(0, two, &page(1));
    net.inject(0, two, &page(1));
    assert_eq!(net.coordinator(), None, "page 0 is missing");
    net.inject(0, two, &page(0));
    assert_eq!(net.coordinator(), Some(0));
}

#[test]
fn a_promise_of_a_full_log_travels_in_bursts_and_all_of_it_is_proposed_again() {
    let mut net = ring(3);
    for number in 1..=40 {
        net.propose(0, number, &[u8::try_from(number).unwrap(); 7_000]);
        net.run(MILLI);
    }
    assert_eq!(net.decided.len(), 40);
    net.heard.clear();
    net.crash(0);
    // One page in four is lost: what is missing is asked for again.
    net.faults.loss = 250;
    net.run(1_500 * MILLI);
    net.faults.loss = 0;
    net.run(500 * MILLI);
    let new = net.coordinator().expect("another one leads");
    assert!(net.count(Kind::Promise) > 40, "{} pages", net.count(Kind::Promise));
    assert_eq!(net.member(new).decided(), Instance(40));
    assert!(net.violations.is_empty(), "{:?}", net.violations);
}

#[test]
fn a_value_that_one_acceptor_holds_survives_its_coordinator() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| {
        !(packet.kind == Kind::Accept && packet.to == NodeId(2)) && packet.kind != Kind::Accepted
    });
    net.propose(0, 1, b"in flight");
    net.run(MILLI);
    net.crash(0);
    net.filter = Box::new(|_| true);
    net.run(500 * MILLI);
    assert_eq!(net.coordinator(), Some(1), "rank 1 stands first");
    assert!(net.has_decided(b"in flight"));
    net.propose(1, 2, b"after");
    net.run(MILLI);
    assert!(net.has_decided(b"after"));
}

#[test]
fn what_was_decided_before_the_crash_is_decided_again_under_its_id() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| !matches!(packet.kind, Kind::Decision | Kind::Heartbeat));
    net.propose(0, 1, b"decided, and nobody knows");
    net.run(MILLI);
    assert_eq!(net.member(0).decided(), Instance(1));
    let before = net.decided.clone();
    net.crash(0);
    net.filter = Box::new(|_| true);
    net.run(500 * MILLI);
    assert_eq!(net.member(1).decided(), Instance(1));
    assert_eq!(net.decided, before);
}

#[test]
fn of_two_coordinators_alive_only_one_decides() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| (packet.from == NodeId(0)) == (packet.to == NodeId(0)));
    net.run(400 * MILLI);
    assert!(net.member(1).is_coordinator());
    net.propose(0, 1, b"of the old one");
    net.propose(1, 2, b"of the new one");
    net.run(5 * MILLI);
    assert!(net.has_decided(b"of the new one") && !net.has_decided(b"of the old one"));
    net.filter = Box::new(|_| true);
    net.run(400 * MILLI);
    assert!(!net.member(0).is_coordinator());
    net.propose(1, 3, b"after");
    net.run(5 * MILLI);
    assert!(net.has_decided(b"after"));
    assert!(net.violations.is_empty(), "{:?}", net.violations);
}

#[test]
fn a_paused_coordinator_that_wakes_with_an_old_ballot_decides_nothing_and_steps_down() {
    let mut net = ring(3);
    net.propose(0, 1, b"one");
    net.run(MILLI);
    net.pause(0, 600 * MILLI);
    net.run(500 * MILLI);
    assert_eq!(net.coordinator(), Some(1));
    net.propose(1, 2, b"two");
    net.propose(0, 3, b"put into its hands while it sleeps");
    net.run(150 * MILLI);
    assert!(!net.member(0).is_coordinator());
    assert!(net.has_decided(b"two"));
    assert!(net.violations.is_empty(), "{:?}", net.violations);
}

#[test]
fn a_member_that_was_paused_listens_before_it_stands() {
    let mut net = ring(3);
    let ballot = net.member(0).ballot();
    net.pause(1, 2_000 * MILLI);
    // What its coordinator said meanwhile is lost to it.
    net.filter = Box::new(|packet| packet.to != NodeId(1));
    net.run(1_999 * MILLI);
    net.filter = Box::new(|_| true);
    net.run(500 * MILLI);
    assert_eq!(net.member(1).counters().candidacies, 0);
    assert_eq!((net.coordinator(), net.member(1).ballot()), (Some(0), ballot));
}

#[test]
fn a_full_log_survives_its_coordinator_and_goes_on_when_learners_report() {
    let mut config = RingConfig::new(RingId(0), (0..3).map(NodeId).collect());
    (config.instances, config.apply_bound, config.learners) = (16, 1_000, vec![1]);
    let mut net = Net::with(config, 5);
    net.run(5 * MILLI);
    for number in 1..=30 {
        net.propose(0, number, format!("<{number}>").as_bytes());
        net.run(MILLI);
    }
    assert_eq!(net.decided.len(), 16);
    net.crash(0);
    net.run(500 * MILLI);
    assert_eq!(net.member(1).decided(), Instance(16));
    net.propose(1, 31, b"no room");
    let last = net.heard.last().unwrap();
    assert!(matches!(last.message(), Message::Refused(r) if r.refusal == Refusal::Full));
    net.report(2, 1, 10); // reaches the coordinator through another acceptor
    net.run(20 * MILLI);
    net.propose(1, 32, b"room");
    net.run(5 * MILLI);
    assert!(net.has_decided(b"room"));
}

#[test]
fn a_restarted_coordinator_names_its_values_anew() {
    let mut net = ring(3);
    net.propose(0, 1, b"one");
    net.run(MILLI);
    net.crash(0);
    net.run(400 * MILLI);
    net.start(0, Memory::Amnesiac);
    net.run(2_000 * MILLI);
    assert!(!net.member(0).is_inert());
    net.crash(1);
    net.crash(2);
    net.start(2, Memory::Amnesiac);
    net.run(1_000 * MILLI);
    assert_eq!(net.coordinator(), None, "of three one has a memory");
    assert!(net.violations.is_empty(), "{:?}", net.violations);
}

#[test]
fn slots_that_another_ballot_takes_otherwise_are_counted_once() {
    let mut net = ring(3);
    let is_cut = |node: NodeId| node == NodeId(0);
    net.filter = Box::new(move |packet| !is_cut(packet.to) && !is_cut(packet.from));
    // Nobody else hears of a long skip, and another one leads meanwhile.
    let now = net.now;
    net.step(0, |member, out| assert!(member.skip(50, now, out)));
    net.run(500 * MILLI);
    let leader = net.coordinator().filter(|index| *index != 0).expect("another one leads");
    net.propose(leader, 1, b"one");
    net.run(5 * MILLI);
    net.filter = Box::new(|_| true);
    net.propose(leader, 2, b"two");
    net.run(500 * MILLI);
    assert!(net.has_decided(b"one") && net.has_decided(b"two"));
    let slots: Vec<Slot> = (0..3).map(|index| net.member(index).heard_slot()).collect();
    assert_eq!(slots, [slots[leader]; 3]);
}
