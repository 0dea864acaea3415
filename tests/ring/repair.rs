//! Repairs, trimming and what learners report.

use super::net::{Net, OUTSIDER};
use super::packet::page_of_nothing;
use psmr::ring_paxos::{Memory, RingConfig};
use psmr::types::{Ballot, Incarnation, Instance, NodeId, RingId, Slot};
use psmr::wire::{Kind, Message, Promise, Redirect, Wanted};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);
const BOTH: u32 = Wanted::Both as u32;

/// A ring of three with `learners`, and `count` decided instances of `bytes` bytes.
fn ring(learners: u64, count: u64, bytes: usize) -> Net {
    let mut config = RingConfig::new(RingId(0), (0..3).map(NodeId).collect());
    config.learners = (1..=learners).collect();
    let mut net = Net::with(config, 2);
    net.run(5 * MILLI);
    for number in 1..=count {
        net.propose(0, number, &vec![1; bytes]);
        net.run(MILLI);
    }
    net.run(20 * MILLI);
    assert_eq!(net.decided.len() as u64, count);
    net.heard.clear();
    net
}

#[test]
fn an_acceptor_sends_the_2a_again_and_says_whether_it_is_decided() {
    let mut net = ring(1, 3, 100);
    net.ask(1, 0, (2, 2, BOTH));
    let repairs: Vec<_> = net
        .heard
        .iter()
        .map(|packet| match packet.message() {
            Message::Repair(repair) => (packet.to.0, repair.accept.instance.0, repair.is_decided),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(repairs, [(OUTSIDER + 50, 2, true), (OUTSIDER + 50, 3, true)]);
}

#[test]
fn who_has_heard_of_no_ring_in_its_new_life_sends_what_it_holds() {
    let mut net = ring(1, 3, 100);
    (0..3).for_each(|index| net.crash(index));
    net.start(1, Memory::Restored);
    net.heard.clear();
    net.ask(1, 0, (2, 2, BOTH));
    let repairs = net.heard.iter().map(|packet| match packet.message() {
        Message::Repair(repair) => (repair.accept.instance.0, repair.is_decided),
        other => panic!("{other:?}"),
    });
    assert!(repairs.eq([(2, false), (3, false)]));
}

#[test]
fn a_missing_decision_is_answered_without_the_value() {
    let mut net = ring(1, 3, 100);
    net.ask(1, 0, (1, 3, Wanted::Decision as u32));
    let answer = net.heard.last().unwrap();
    let Message::Decision(decision) = answer.message() else { panic!("{answer:?}") };
    assert_eq!(decision.ranges.iter().map(|range| range.count).sum::<u64>(), 3);
    assert_eq!(net.heard.len(), 1);
}

#[test]
fn a_candidate_does_not_tell_what_later_ballots_decided_under_the_name_of_its_former_one() {
    let mut net = ring(1, 3, 100);
    let former = net.member(0).ballot();
    // It steps down, and stands again.
    net.filter = Box::new(|_| false);
    let ballot = Ballot::new(former.round + 1, NodeId(1), Incarnation(5));
    net.inject(0, (NodeId(1), Incarnation(5)), &Message::Redirect(Redirect { ballot }));
    net.run(1_000 * MILLI);
    let ballot = net.member(0).ballot();
    assert!(ballot > former && ballot.node == NodeId(0));
    // Somebody that promises it has heard what was decided meanwhile.
    let promise = Promise {
        first: net.member(0).trim().next(),
        last: Instance(2),
        known: Instance(50),
        slot: Slot(50),
        ..page_of_nothing(ballot, 0, 1)
    };
    net.inject(0, (NodeId(2), Incarnation(6)), &Message::Promise(promise));
    net.heard.clear();
    net.ask(0, 0, (1, 3, Wanted::Decision as u32));
    let answer = net.heard.last().unwrap();
    let Message::Decision(decision) = answer.message() else { panic!("{answer:?}") };
    assert_eq!(decision.ballot, former);
    assert!(decision.decided <= Instance(3), "{decision:?}");
}

#[test]
fn two_askers_within_a_millisecond_are_answered_by_one_multicast() {
    let mut net = ring(1, 3, 100);
    net.ask(1, 0, (2, 1, BOTH));
    net.ask(1, 1, (2, 1, BOTH));
    net.ask(1, 2, (2, 1, BOTH));
    let kinds: Vec<_> = net.heard.iter().map(|packet| packet.is_multicast).collect();
    assert_eq!(kinds, [false, true], "the third hears the multicast");
    net.run(2 * MILLI);
    net.heard.clear();
    net.ask(1, 1, (2, 1, BOTH));
    assert!(!net.heard[0].is_multicast);
}

#[test]
fn repairs_have_a_share_of_the_bandwidth_and_no_more() {
    let mut net = ring(1, 200, 7_000);
    for _ in 0..50 {
        net.ask(1, 0, (1, 200, BOTH));
    }
    assert!(net.count(Kind::Repair) <= 14, "{} at once", net.count(Kind::Repair));
    assert!(net.member(1).counters().repairs_refused > 0);
    net.heard.clear();
    for _ in 0..20 {
        net.run(MILLI);
        net.ask(1, 0, (1, 200, BOTH));
    }
    // 32 KiB a millisecond are four of them.
    assert!((60..=120).contains(&net.count(Kind::Repair)), "{}", net.count(Kind::Repair));
}

#[test]
fn the_slowest_of_all_configured_learners_says_what_is_forgotten() {
    let mut net = ring(2, 30, 10);
    net.report(0, 1, 20);
    net.run(20 * MILLI);
    assert_eq!(net.member(0).trim(), Instance(0), "one has not reported");
    net.report(0, 3, 20);
    net.report(2, 77, 20);
    net.run(20 * MILLI);
    assert_eq!(net.member(0).trim(), Instance(0), "the ring has no such learners");
    let unknown = [0, 2].map(|index| net.member(index).counters().unknown_learners);
    assert_eq!(unknown, [1, 1], "what they say is not passed on");
    net.report(2, 2, 12); // by way of another acceptor
    net.run(30 * MILLI);
    for index in 0..3 {
        assert_eq!(net.member(index).trim(), Instance(12));
    }
    net.report(0, 2, 5);
    net.report(0, 2, 29);
    net.run(30 * MILLI);
    assert_eq!(net.member(1).trim(), Instance(20), "positions only rise");
}

#[test]
fn who_asks_for_a_forgotten_instance_is_told_so() {
    let mut net = ring(1, 30, 10);
    net.report(0, 1, 12);
    net.run(30 * MILLI);
    net.heard.clear();
    net.ask(1, 0, (10, 4, BOTH));
    let messages: Vec<_> = net.heard.iter().map(|packet| packet.kind).collect();
    assert_eq!(messages, [Kind::Repair, Kind::Trimmed]);
    assert!(net.heard.iter().any(|packet| {
        matches!(packet.message(), Message::Trimmed(trimmed) if trimmed.trim == Instance(12))
    }));
}
