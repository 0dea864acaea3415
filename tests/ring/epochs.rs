//! Members come and go: who belongs to an epoch is decided once, and nothing decided is lost.

use super::net::{Net, Owned};
use psmr::ring_paxos::{Memory, RingConfig};
use psmr::types::{NodeId, RingId};
use psmr::wire::Kind;
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

fn nodes(numbers: &[u16]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

/// `count` acceptors that have decided something, and as many nodes beside them.
fn ring(count: u16) -> Net {
    let acceptors = (0..count).map(NodeId).collect();
    let config = RingConfig { decides_members: true, ..RingConfig::new(RingId(0), acceptors) };
    let mut net = Net::with_spares(config, usize::from(count), 5);
    net.run(5 * MILLI);
    for number in 1..=20 {
        net.propose(0, number, format!("<{number}>").as_bytes());
        net.run(MILLI);
    }
    net
}

fn is_whole(net: &Net) -> bool {
    assert!(net.violations.is_empty(), "{:?}", net.violations);
    (1..=20).all(|number| net.has_decided(format!("<{number}>").as_bytes()))
}

#[test]
fn a_dead_acceptor_is_replaced_and_the_new_one_carries_its_memory_on() {
    let mut net = ring(3);
    net.crash(1);
    net.reconfigure(0, 2, &nodes(&[0, 2, 3]));
    net.run(1_000 * MILLI);
    assert_eq!(net.latest(), (2, nodes(&[0, 2, 3])));
    net.join(3, 2);
    net.run(1_000 * MILLI);
    assert!(!net.member(3).is_inert(), "it was admitted");
    // The new one and one of the old ones are a quorum that knows everything.
    net.crash(0);
    net.run(1_000 * MILLI);
    let new = net.coordinator().expect("two of three lead");
    assert_eq!(net.member(new).decided(), net.decided.keys().next_back().copied().expect("some"));
    net.propose(new, 100, b"<100>");
    net.run(10 * MILLI);
    assert!(is_whole(&net) && net.has_decided(b"<100>"));
}

#[test]
fn the_coordinator_itself_is_removed_and_others_go_on_before_they_would_miss_it() {
    let mut net = ring(5);
    assert_eq!(net.coordinator(), Some(0));
    net.reconfigure(0, 2, &nodes(&[1, 2, 3, 4]));
    net.run(60 * MILLI);
    assert!(net.members[0].is_none(), "it has ended");
    let new = net.coordinator().expect("its heir leads");
    assert_eq!(net.member(new).config().epoch, 2);
    assert!(is_whole(&net));
}

#[test]
fn an_acceptor_that_missed_the_change_is_not_heard_before_it_has_caught_up() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| packet.to != NodeId(2) && packet.from != NodeId(2));
    net.reconfigure(0, 2, &nodes(&[0, 1, 2, 3]));
    net.run(50 * MILLI);
    assert_eq!((net.epoch_of[0], net.epoch_of[1], net.epoch_of[2]), (2, 2, 1));
    // Three of four are a quorum: without the third nothing is decided in epoch 2.
    net.propose(0, 50, b"<50>");
    net.run(50 * MILLI);
    assert!(!net.has_decided(b"<50>"), "a vote of another epoch counted");
    net.filter = Box::new(|_| true);
    net.run(500 * MILLI);
    assert_eq!(net.epoch_of[2], 2);
    let coordinator = net.coordinator().expect("three of four lead");
    net.propose(coordinator, 51, b"<51>");
    net.run(20 * MILLI);
    assert!(is_whole(&net) && net.has_decided(b"<51>"));
}

#[test]
fn one_change_is_decided_in_an_epoch_whoever_asks_for_another() {
    let mut net = ring(3);
    net.filter = Box::new(|_| false);
    net.reconfigure(0, 2, &nodes(&[0, 1, 3]));
    net.reconfigure(0, 2, &nodes(&[0, 2, 4]));
    // The coordinator is cut off with its proposal; another one takes over and gets the other change.
    net.filter = Box::new(|packet| packet.to != NodeId(0) && packet.from != NodeId(0));
    net.run(600 * MILLI);
    let other = net.coordinator().filter(|index| *index != 0);
    let other = other
        .or_else(|| (1..3).find(|i| net.members[*i].as_ref().is_some_and(|m| m.is_coordinator())));
    let other = other.expect("two of three lead");
    net.reconfigure(other, 2, &nodes(&[1, 2, 5]));
    net.run(100 * MILLI);
    net.filter = Box::new(|_| true);
    net.run(1_000 * MILLI);
    assert_eq!(net.latest(), (2, nodes(&[1, 2, 5])));
    assert!(net.members[0].is_none(), "it is no member any more");
    assert!(is_whole(&net));
}

#[test]
fn what_is_accepted_of_a_change_is_taken_over_and_no_other_one_proposed() {
    let mut net = ring(3);
    // The 2A with the members reaches an acceptor, and no vote comes home.
    net.filter = Box::new(|packet| packet.kind == Kind::Accept);
    net.reconfigure(0, 2, &nodes(&[0, 1, 2, 3]));
    net.run(5 * MILLI);
    net.crash(0);
    net.filter = Box::new(|packet| packet.to != NodeId(0) && packet.from != NodeId(0));
    net.run(250 * MILLI);
    net.run(1_000 * MILLI);
    assert_eq!(net.latest(), (2, nodes(&[0, 1, 2, 3])), "what may have been decided is");
    let members = |value: &&Owned| matches!(value, Owned::Members(..));
    assert_eq!(net.sequence().into_iter().flatten().filter(members).count(), 1);
    assert!(is_whole(&net));
}

#[test]
fn nobody_changes_anything_before_the_epoch_has_begun_or_out_of_its_turn() {
    let mut net = ring(3);
    net.reconfigure(0, 3, &nodes(&[0, 1]));
    net.reconfigure(1, 2, &nodes(&[0, 1]));
    net.run(50 * MILLI);
    assert_eq!(net.latest().0, 1, "an epoch was passed over, or decided by a spare");
    let mut other = Net::new(3, 5);
    other.run(5 * MILLI);
    other.reconfigure(0, 2, &nodes(&[0, 1]));
    other.run(50 * MILLI);
    assert_eq!(other.latest().0, 1, "this ring does not decide members");
}

#[test]
fn a_change_survives_the_loss_of_power_at_all_acceptors() {
    let mut net = ring(3);
    net.reconfigure(0, 2, &nodes(&[0, 1, 3]));
    net.run(5 * MILLI);
    for index in 0..3 {
        if net.members[index].is_some() {
            net.crash(index);
            net.start(index, Memory::Restored);
        }
    }
    net.run(1_500 * MILLI);
    assert_eq!(net.latest(), (2, nodes(&[0, 1, 3])));
    net.join(3, 2);
    net.run(1_500 * MILLI);
    assert!(!net.member(3).is_inert());
    assert!(is_whole(&net));
}

#[test]
fn of_two_changes_in_one_epoch_the_first_in_the_log_counts_for_all() {
    let mut net = ring(4);
    let coordinator = net.coordinator().expect("four of four lead");
    // It is cut off with its proposal, which stands alone in its own log.
    let alone = NodeId(u16::try_from(coordinator).expect("small"));
    net.filter = Box::new(move |packet| packet.to != alone && packet.from != alone);
    let removed = if coordinator == 3 { 2 } else { 3 };
    let first: Vec<NodeId> = (0..4).filter(|node| *node != removed).map(NodeId).collect();
    net.reconfigure(coordinator, 2, &first);
    net.run(1_000 * MILLI);
    let is_led = |net: &mut Net, index: usize| net.member(index).is_established();
    let other = (0..4).find(|index| *index != coordinator && is_led(&mut net, *index));
    let other = other.expect("three of four lead");
    // Holes below the other one's change: their 2As are lost, its own comes through.
    net.filter = Box::new(move |packet| {
        packet.to != alone && packet.from != alone && packet.kind != Kind::Accept
    });
    for number in 60..62 {
        net.propose(other, number, b"<lost>");
        net.run(Duration::from_micros(300));
    }
    net.filter = Box::new(move |packet| packet.to != alone && packet.from != alone);
    let second: Vec<NodeId> = (0..4).map(NodeId).filter(|node| *node != alone).collect();
    net.reconfigure(other, 2, &second);
    net.run(Duration::from_micros(300));
    // Who took it up at once is cut off now; the first one is back, and leads with the two others.
    let gone = NodeId(u16::try_from(other).expect("small"));
    net.filter = Box::new(move |packet| packet.to != gone && packet.from != gone);
    net.run(2_000 * MILLI);
    net.filter = Box::new(|_| true);
    net.run(2_000 * MILLI);
    assert!(is_whole(&net));
    assert_eq!(net.latest().0, 2, "one of them was decided");
    let living = (0..4).filter(|index| net.members[*index].is_some()).collect::<Vec<_>>();
    assert!(living.iter().all(|index| net.epoch_of[*index] == 2), "{:?}", net.epoch_of);
}
