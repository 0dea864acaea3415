//! What must be on disk before it is said, and acceptors that have forgotten.

use super::net::Net;
use super::packet::page_of_nothing;
use psmr::ring_paxos::Memory;
use psmr::types::{Ballot, Incarnation, Instance, NodeId};
use psmr::wire::{Admission, Kind, Message, Prepare, Refusal};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

fn ring(count: u16) -> Net {
    let mut net = Net::new(count, 9);
    net.run(5 * MILLI);
    net
}

/// Amnesia of acceptor `index`.
fn forget(net: &mut Net, index: usize) {
    net.crash(index);
    net.start(index, Memory::Amnesiac);
}

#[test]
fn promise_and_vote_leave_only_once_their_record_is_persistent() {
    let mut net = ring(3);
    let first = net.member(0).layout().members()[0];
    let index = usize::from(first.0);
    net.member(index).log_mut().is_slow = true;
    net.faults.delay_us = 1;
    net.propose(0, 1, b"one");
    net.run(Duration::from_micros(25));
    assert_eq!(net.count(Kind::Accepted), 0, "the 2A is here, its record is not");
    net.run(MILLI);
    assert_eq!(net.count(Kind::Accepted), 1);
    let promises = net.count(Kind::Promise);
    let ballot = Ballot::new(99, NodeId(2), Incarnation(1));
    let prepare = Prepare { ballot, first: Instance(1) };
    net.inject(index, (NodeId(2), Incarnation(1)), &Message::Prepare(prepare));
    assert_eq!(net.count(Kind::Promise), promises);
    net.run(MILLI);
    assert_eq!(net.count(Kind::Promise), promises + 1);
}

#[test]
fn the_coordinators_own_vote_waits_for_its_own_record() {
    let mut net = ring(3);
    net.member(0).log_mut().is_slow = true;
    net.propose(0, 1, b"one");
    assert_eq!(net.count(Kind::Accept), 1, "the 2A does not wait");
    let mut alone = Net::new(1, 9);
    alone.run(MILLI);
    alone.member(0).log_mut().is_slow = true;
    alone.propose(0, 1, b"one");
    assert!(alone.decided.is_empty());
    alone.run(MILLI);
    assert!(alone.has_decided(b"one"));
}

#[test]
fn a_restored_acceptor_remembers_its_promise_and_what_it_accepted() {
    let mut net = ring(3);
    for number in 1..=20 {
        net.propose(0, number, format!("<{number}>").as_bytes());
        net.run(MILLI);
    }
    for index in 0..3 {
        net.crash(index);
    }
    for index in 1..3 {
        net.start(index, Memory::Restored);
    }
    net.run(600 * MILLI);
    let new = net.coordinator().expect("two of three lead");
    assert_eq!(net.member(new).decided(), Instance(20));
    assert!(net.violations.is_empty(), "{:?}", net.violations);
}

#[test]
fn an_amnesiac_votes_again_once_a_fresh_ballot_has_taught_it_everything() {
    let mut net = ring(3);
    for number in 1..=60 {
        net.propose(0, number, &[1; 5_000]);
        net.run(MILLI);
    }
    let first = usize::from(net.member(0).layout().members()[0].0);
    forget(&mut net, first);
    net.run(2 * MILLI);
    assert!(net.member(first).is_inert());
    net.run(1_000 * MILLI);
    assert!(!net.member(first).is_inert());
    // It alone carries the memory of the ring over to the next quorum.
    net.crash(0);
    let other = 3 - first;
    net.crash(other);
    net.start(other, Memory::Restored);
    net.run(1_000 * MILLI);
    let new = net.coordinator().expect("two lead");
    assert_eq!(net.member(new).decided(), Instance(60));
    assert!(net.violations.is_empty(), "{:?}", net.violations);
}

#[test]
fn an_amnesiac_answers_a_prepare_with_its_loss_and_a_2a_with_nothing() {
    let mut net = ring(3);
    let first = usize::from(net.member(0).layout().members()[0].0);
    forget(&mut net, first);
    net.filter = Box::new(|packet| packet.kind == Kind::Accept);
    net.heard.clear();
    net.propose(0, 1, b"one");
    net.run(MILLI);
    let ballot = Ballot::new(99, NodeId(2), Incarnation(1));
    let prepare = Prepare { ballot, first: Instance(1) };
    net.inject(first, (NodeId(2), Incarnation(1)), &Message::Prepare(prepare));
    let from_it = net.heard.iter().filter(|packet| usize::from(packet.from.0) == first);
    let kinds: Vec<_> = from_it.map(|packet| packet.kind).collect();
    assert_eq!(kinds, [Kind::Admission]);
}

#[test]
fn fewer_than_a_quorum_with_memory_refuse_to_serve_and_say_so() {
    let mut net = ring(3);
    net.propose(0, 1, b"one");
    net.run(MILLI);
    forget(&mut net, 1);
    forget(&mut net, 2);
    net.run(2_000 * MILLI);
    assert!(net.member(1).is_inert() && net.member(2).is_inert());
    for to in 0..3 {
        net.propose(to, 10 + to as u64, b"two");
        let last = net.heard.last().unwrap();
        let is_refused =
            matches!(last.message(), Message::Refused(r) if r.refusal == Refusal::NoQuorum);
        assert!(to > 0 || is_refused, "{:?}", last.message());
    }
    net.run(100 * MILLI);
    assert!(!net.has_decided(b"two"));
}

/// A complete Promise of nothing.
fn empty_promise(ballot: Ballot) -> Message<'static> {
    Message::Promise(page_of_nothing(ballot, 0, 1))
}

#[test]
fn a_loss_heard_of_during_phase_1_is_not_healed_by_that_ballot() {
    let mut net = Net::new(3, 9);
    net.filter = Box::new(|_| false);
    net.run(MILLI);
    let ballot = net.member(0).ballot();
    let lost = Admission { ballot, life: Incarnation(5), last: Instance(0) };
    net.inject(0, (NodeId(2), Incarnation(5)), &Message::Admission(lost));
    net.inject(0, (NodeId(1), Incarnation(1)), &empty_promise(ballot));
    assert_eq!(net.coordinator(), Some(0));
    assert_eq!(net.count(Kind::Admission), 0, "the promise may be older than the loss");
    net.run(200 * MILLI);
    net.inject(0, (NodeId(2), Incarnation(5)), &Message::Admission(lost));
    let fresh = net.member(0).ballot();
    assert!(fresh > ballot, "a fresh ballot begins");
    let lost = Admission { ballot: fresh, ..lost };
    net.inject(0, (NodeId(2), Incarnation(5)), &Message::Admission(lost));
    net.inject(0, (NodeId(1), Incarnation(1)), &empty_promise(fresh));
    assert_eq!(net.count(Kind::Admission), 1);
}

#[test]
fn of_five_a_dead_acceptor_might_hold_a_forgotten_promise_and_delays_re_admission() {
    let mut net = ring(5);
    net.propose(0, 1, b"one");
    net.run(MILLI);
    net.crash(4);
    forget(&mut net, 3);
    net.run(2_000 * MILLI);
    assert!(net.member(3).is_inert());
    net.propose(0, 2, b"two");
    net.run(200 * MILLI);
    assert!(net.has_decided(b"two"), "the other three serve");
    net.start(4, Memory::Amnesiac);
    net.run(12_000 * MILLI);
    assert!(!net.member(3).is_inert() && !net.member(4).is_inert());
}
