//! The first start, and acceptors that have lost all that said that there was one.

use super::net::Net;
use psmr::ring_paxos::{FormerLives, Memory, RingConfig};
use psmr::types::{Incarnation, NodeId, RingId};
use psmr::wire::{Kind, Message, Newborn};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

/// `count` acceptors of which those in `present` live, and know of no former life.
fn newborn(count: u16, present: &[usize]) -> Net {
    let mut net = Net::new(count, 5);
    for index in 0..usize::from(count) {
        net.crash(index);
        net.forget(index);
    }
    present.iter().for_each(|index| net.start(*index, Memory::Newborn));
    net
}

fn is_whole(net: &Net, commands: &[u8]) -> bool {
    assert!(net.violations.is_empty(), "{:?}", net.violations);
    net.has_decided(commands)
}

#[test]
fn a_ring_begins_once_all_acceptors_are_there_and_not_before() {
    let mut net = newborn(3, &[0, 1]);
    net.run(2_000 * MILLI);
    assert_eq!(net.coordinator(), None, "a quorum alone cannot know");
    net.start(2, Memory::Newborn);
    net.run(100 * MILLI);
    assert_eq!(net.coordinator(), Some(0));
    net.propose(0, 1, b"one");
    net.run(5 * MILLI);
    assert!(is_whole(&net, b"one"));
    let mut alone = newborn(1, &[0]);
    alone.run(100 * MILLI);
    assert_eq!(alone.coordinator(), Some(0));
}

#[test]
fn a_ring_begins_though_most_of_what_is_said_is_lost() {
    for seed in 1..30 {
        let mut net = newborn(5, &[0, 1, 2, 3, 4]);
        net.random = psmr::types::Random::new(seed);
        net.faults.loss = 500;
        net.run(2_000 * MILLI);
        net.faults.loss = 0;
        net.run(1_000 * MILLI);
        let coordinator = net.coordinator().expect("they are all there");
        net.propose(coordinator, 1, b"one");
        net.run(20 * MILLI);
        assert!(is_whole(&net, b"one"), "seed {seed}");
    }
}

#[test]
fn a_ring_of_which_too_few_know_that_it_began_begins_again_if_nobody_did_anything() {
    for former_lives in [FormerLives::Unknown, FormerLives::Vouched] {
        let config = RingConfig::new(RingId(0), (0..5).map(NodeId).collect());
        let mut net = Net::with(RingConfig { former_lives, ..config }, 5);
        for index in 0..5 {
            net.crash(index);
            net.forget(index);
        }
        // It begins, 0 stands, and nobody hears it; then the power goes, before most disks have it.
        (0..5).for_each(|index| net.start(index, Memory::Newborn));
        net.filter = Box::new(|packet| packet.kind != Kind::Prepare);
        net.run(20 * MILLI);
        assert!((0..5).all(|index| !net.member(index).is_inert()));
        (0..5).for_each(|index| net.crash(index));
        [1, 2, 3].into_iter().for_each(|index| net.forget(index));
        [1, 2, 3].into_iter().for_each(|index| net.start(index, Memory::Newborn));
        [0, 4].into_iter().for_each(|index| net.start(index, Memory::Restored));
        net.filter = Box::new(|_| true);
        net.run(1_000 * MILLI);
        let coordinator = net.coordinator().expect("they have nothing to lose");
        net.propose(coordinator, 1, b"one");
        net.run(20 * MILLI);
        assert!(is_whole(&net, b"one"));
    }
}

#[test]
fn who_has_promised_something_is_not_newborn() {
    let mut net = newborn(3, &[0, 1, 2]);
    net.run(100 * MILLI);
    net.propose(0, 1, b"one");
    net.run(20 * MILLI);
    (0..3).for_each(|index| net.crash(index));
    [0, 1].into_iter().for_each(|index| net.forget(index));
    [0, 1].into_iter().for_each(|index| net.start(index, Memory::Newborn));
    net.start(2, Memory::Restored);
    net.run(2_000 * MILLI);
    assert_eq!(net.coordinator(), None, "two of three have lost what they decided");
}

#[test]
fn who_has_lost_everything_has_no_vote_while_one_that_knows_is_cut_off() {
    let mut net = newborn(3, &[0, 1, 2]);
    net.run(100 * MILLI);
    // 2 misses what 0 and 1 decide.
    net.filter = Box::new(|packet| packet.to != NodeId(2) && packet.from != NodeId(2));
    net.propose(0, 1, b"one");
    net.run(20 * MILLI);
    assert!(is_whole(&net, b"one"));
    // 0 loses its directory, and comes back with 2 alone.
    net.crash(0);
    net.forget(0);
    net.start(0, Memory::Newborn);
    net.filter = Box::new(|packet| packet.to != NodeId(1) && packet.from != NodeId(1));
    net.run(2_000 * MILLI);
    assert!(net.member(0).is_inert(), "it voted for what it had decided otherwise");
    assert!(net.coordinator().is_none_or(|index| index == 1));
    net.filter = Box::new(|_| true);
    net.run(2_000 * MILLI);
    assert!(!net.member(0).is_inert(), "it was admitted");
    let coordinator = net.coordinator().expect("all are there");
    net.propose(coordinator, 2, b"two");
    net.run(20 * MILLI);
    assert!(is_whole(&net, b"one") && net.has_decided(b"two"));
}

#[test]
fn a_late_word_to_a_ring_that_has_begun_is_not_answered_without_end() {
    let mut net = newborn(3, &[0, 1, 2]);
    net.run(100 * MILLI);
    assert!((0..3).all(|index| !net.member(index).is_inert()));
    // It was sent before its sender had begun.
    let (life, yours) = (net.life(1), net.life(0));
    let late = Newborn { life, yours, is_ready: Newborn::KNOWS_ALL };
    let before = net.count(Kind::Newborn);
    net.inject(0, (NodeId(1), life), &Message::Newborn(late));
    net.run(100 * MILLI);
    assert_eq!(net.count(Kind::Newborn) - before, 1, "to one that might be newborn still");
}

#[test]
fn words_to_a_former_life_begin_nothing() {
    let mut net = newborn(3, &[0]);
    let stale = |net: &mut Net, from: u16, (yours, is_ready): (Incarnation, u64)| {
        let life = Incarnation(u64::from(from) + 70);
        net.inject(0, (NodeId(from), life), &Message::Newborn(Newborn { life, yours, is_ready }));
    };
    let former = Incarnation(net.life(0).0 - 1);
    stale(&mut net, 1, (former, 1));
    stale(&mut net, 2, (former, 1));
    net.run(2_000 * MILLI);
    assert!(net.member(0).is_inert(), "they were newborn before it was");
    // It answers each with what it has heard of it.
    assert!(net.count(Kind::Newborn) > 2);
    let life = net.life(0);
    stale(&mut net, 1, (life, 1));
    net.run(2_000 * MILLI);
    assert!(net.member(0).is_inert(), "the third has said nothing");
    stale(&mut net, 2, (life, 0));
    net.run(100 * MILLI);
    assert!(net.member(0).is_inert(), "the third may know less");
    // It knows enough itself: in the end it waits for nobody.
    net.run(1_000 * MILLI);
    assert!(!net.member(0).is_inert());
}

#[test]
fn who_begins_first_and_ends_leaves_the_others_what_they_need() {
    for micros in (0..40_000).step_by(500) {
        let mut net = newborn(3, &[0, 1, 2]);
        net.run(Duration::from_micros(micros));
        let had_begun = !net.member(0).is_inert();
        net.crash(0);
        net.run(2_000 * MILLI);
        if had_begun {
            let coordinator = net.coordinator().expect("two of three begin");
            net.propose(coordinator, 1, b"one");
            net.run(20 * MILLI);
            assert!(is_whole(&net, b"one"), "after {micros} us");
            net.start(0, Memory::Amnesiac);
        } else {
            net.forget(0);
            net.start(0, Memory::Newborn);
        }
        net.run(2_000 * MILLI);
        assert!((0..3).all(|index| !net.member(index).is_inert()), "after {micros} us");
    }
}
