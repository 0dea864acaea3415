//! Acceptors that restart, perhaps with copies of earlier days, where nobody knows better any more.

use super::lives::{MILLI, decide, restart, ring};
use super::net::Net;
use psmr::ring_paxos::{FormerLives, Memory, RingConfig};
use psmr::types::{Incarnation, NodeId, RingId};
use psmr::wire::{Kind, Message, Vouch};

/// `commands` are decided by the ring's members, of whom nobody else hears; then the power goes
/// everywhere, and the disk of `copied` comes back as it was before.
fn lose_power(net: &mut Net, copied: usize, commands: &[u8]) {
    let members = net.member(0).layout().members().to_vec();
    let copy = net.member(copied).log_mut().clone();
    net.filter = Box::new(move |packet| members.contains(&packet.to));
    decide(net, 11, commands);
    net.filter = Box::new(|_| true);
    let count = net.members.len();
    (0..count).for_each(|index| net.crash(index));
    net.put_back(copied, copy);
    (0..count).for_each(|index| net.start(index, Memory::Restored));
}

#[test]
fn what_was_decided_with_a_disk_that_was_put_back_is_known_after_a_loss_of_all_power() {
    for (count, members) in [(3, 2), (5, 3)] {
        for place in 0..members {
            let mut net = ring(count);
            let copied = usize::from(net.member(0).layout().members()[place].0);
            lose_power(&mut net, copied, b"eleven");
            net.run(1_000 * MILLI);
            decide(&mut net, 12, b"twelve");
            assert!(net.has_decided(b"eleven"), "{copied} of {count}");
            assert!((0..usize::from(count)).all(|index| net.member(index).has_vote()));
        }
    }
}

/// The ring of three is led by 0 with 1. All restart, 1 with a copy; in Phase 1 nobody hears 0.
fn candidate_beside_a_copy(former_lives: FormerLives) -> Net {
    let config = RingConfig::new(RingId(0), (0..3).map(NodeId).collect());
    let mut net = Net::with(RingConfig { former_lives, ..config }, 9);
    net.run(5 * MILLI);
    lose_power(&mut net, 1, b"eleven");
    net.filter = Box::new(|packet| {
        let is_lives = matches!(packet.kind, Kind::Recall | Kind::Recollection);
        is_lives || (packet.from != NodeId(0) && packet.to != NodeId(0))
    });
    net
}

#[test]
fn a_candidate_waits_for_those_whom_it_can_have_beside_a_log_that_nobody_vouches_for() {
    let mut net = candidate_beside_a_copy(FormerLives::Vouched);
    while net.member(1).counters().candidacies + net.member(2).counters().candidacies == 0 {
        net.run(MILLI);
    }
    net.run(200 * MILLI);
    assert_eq!(net.coordinator(), None, "0 may know what 1 has forgotten");
    let ballot = net.member(1).ballot();
    net.filter = Box::new(|_| true);
    net.run(50 * MILLI);
    assert_eq!(net.member(1).ballot(), ballot, "nobody else stood meanwhile");
    decide(&mut net, 12, b"twelve");
    assert!(net.has_decided(b"eleven"));
}

#[test]
fn without_vouching_a_copy_makes_a_ring_forget() {
    // What the rule is for: of an older version, the ring decides something else there.
    let mut net = candidate_beside_a_copy(FormerLives::Asked);
    net.run(600 * MILLI);
    let coordinator = net.coordinator().expect("1 and 2 are a quorum");
    net.propose(coordinator, 12, b"twelve");
    net.run(20 * MILLI);
    assert!(!net.violations.is_empty());
}

#[test]
fn two_candidates_that_do_not_hear_each_other_let_each_other_wait() {
    for count in [3, 5] {
        let mut net = ring(count);
        lose_power(&mut net, 0, b"eleven");
        let pair = [NodeId(0), NodeId(1)];
        net.filter =
            Box::new(move |packet| !(pair.contains(&packet.from) && pair.contains(&packet.to)));
        net.run(4_000 * MILLI);
        let coordinator = net.coordinator().expect("one of them leads, or one that hears both");
        net.propose(coordinator, 12, b"twelve");
        net.run(50 * MILLI);
        assert!(net.has_decided(b"twelve"), "{count}");
    }
}

#[test]
fn who_still_asks_others_is_waited_for() {
    // Of five, 1, 2 and 0 have decided; 0 comes back with a copy, 1 not at all, and 2 so late that it
    // is told that others are in doubt, who are not for long.
    let mut net = ring(5);
    let members: Vec<usize> =
        net.member(0).layout().members().iter().map(|node| usize::from(node.0)).collect();
    let [copied, down, late] = members[..] else { panic!("{members:?}") };
    let copy = net.member(copied).log_mut().clone();
    net.filter = Box::new(move |packet| members.contains(&usize::from(packet.to.0)));
    decide(&mut net, 11, b"eleven");
    net.filter = Box::new(|_| true);
    (0..5).for_each(|index| net.crash(index));
    net.put_back(copied, copy);
    for index in (0..5).filter(|index| ![down, late].contains(index)) {
        net.start(index, Memory::Restored);
    }
    net.run(318 * MILLI);
    net.start(late, Memory::Restored);
    net.run(2_000 * MILLI);
    assert!(net.coordinator().is_some());
    decide(&mut net, 12, b"twelve");
    assert!(net.has_decided(b"eleven"));
}

#[test]
fn who_is_missing_for_long_is_not_waited_for() {
    let mut net = ring(3);
    net.crash(2);
    net.crash(0);
    restart(&mut net, 1);
    net.start(0, Memory::Restored);
    net.run(1_500 * MILLI);
    decide(&mut net, 11, b"eleven");
    assert!(net.member(0).is_vouched_for() && net.member(1).is_vouched_for());
}

#[test]
fn a_coordinator_vouches_for_whoever_restarts_and_a_take_over_does_not_wait_then() {
    for restarted in [1, 2] {
        let mut net = ring(3);
        restart(&mut net, restarted);
        assert!(!net.member(restarted).is_vouched_for());
        net.run(100 * MILLI);
        assert!(net.member(restarted).is_vouched_for());
        decide(&mut net, 11, b"eleven");
        let coordinator = net.coordinator().expect("one leads");
        net.crash(coordinator);
        let before = net.now;
        while net.coordinator().is_none() {
            net.run(MILLI);
        }
        assert!(net.now.since(before) < 250 * MILLI, "{:?}", net.now.since(before));
        decide(&mut net, 12, b"twelve");
    }
}

#[test]
fn a_word_from_anybody_but_the_coordinator_that_leads_vouches_for_nobody() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| packet.kind != Kind::Vouch);
    restart(&mut net, 2);
    net.run(100 * MILLI);
    assert!(net.member(2).has_vote() && !net.member(2).is_vouched_for());
    let (ballot, life) = (net.member(2).ballot(), net.life(2));
    let leads = ballot.node;
    let other = NodeId(1 - leads.0);
    let say = |net: &mut Net, from, ballot, life| {
        net.inject(2, (from, Incarnation(77)), &Message::Vouch(Vouch { ballot, life }));
        net.member(2).is_vouched_for()
    };
    assert!(!say(&mut net, other, ballot, life), "it does not lead");
    assert!(!say(&mut net, leads, ballot, Incarnation(4)), "another life");
    let former = psmr::types::Ballot { round: ballot.round - 1, ..ballot };
    assert!(!say(&mut net, leads, former, life), "it leads no more");
    assert!(say(&mut net, leads, ballot, life));
}

#[test]
fn who_has_no_vote_yet_is_vouched_for_by_nobody() {
    let mut net = ring(3);
    cut_answers(&mut net);
    restart(&mut net, 2);
    net.run(50 * MILLI);
    assert!(!net.member(2).has_vote());
    let (ballot, life) = (net.member(2).ballot(), net.life(2));
    net.inject(2, (ballot.node, Incarnation(77)), &Message::Vouch(Vouch { ballot, life }));
    assert!(!net.member(2).is_vouched_for(), "others may know of promises above");
}

fn cut_answers(net: &mut Net) {
    net.filter = Box::new(|packet| packet.kind != Kind::Recollection);
}
