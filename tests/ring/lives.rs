//! Acceptors that restart with what their disks have, which may be a copy of earlier days.

use super::log::TestLog;
use super::net::Net;
use super::packet::page_of_nothing;
use psmr::ring_paxos::{FormerLives, Memory, RingConfig};
use psmr::types::{Ballot, Incarnation, Instance, Life, NodeId, RingId};
use psmr::wire::{Kind, KnownLives, Message, Prepare, Recall, Vouch};
use std::time::Duration;

pub(super) const MILLI: Duration = Duration::from_millis(1);

/// `count` acceptors that keep lives, and have decided ten values.
pub(super) fn ring(count: u16) -> Net {
    let config = RingConfig::new(RingId(0), (0..count).map(NodeId).collect());
    let former_lives = FormerLives::Vouched;
    let mut net = Net::with(RingConfig { former_lives, ..config }, 9);
    net.run(5 * MILLI);
    for number in 1..=10 {
        net.propose(0, number, format!("<{number}>").as_bytes());
        net.run(MILLI);
    }
    net
}

fn cut_off(net: &mut Net, node: u16) {
    net.filter = Box::new(move |packet| packet.to != NodeId(node) && packet.from != NodeId(node));
}

pub(super) fn restart(net: &mut Net, index: usize) {
    net.crash(index);
    net.start(index, Memory::Restored);
}

fn copy(net: &mut Net, index: usize) -> TestLog {
    net.member(index).log_mut().clone()
}

fn put_back(net: &mut Net, index: usize, copy: TestLog) {
    net.crash(index);
    net.put_back(index, copy);
    net.start(index, Memory::Restored);
}

#[track_caller]
pub(super) fn decide(net: &mut Net, number: u64, commands: &[u8]) {
    let coordinator = net.coordinator().expect("a coordinator");
    net.propose(coordinator, number, commands);
    net.run(20 * MILLI);
    assert!(net.has_decided(commands));
    assert!(net.violations.is_empty(), "{:?}", net.violations);
}

#[test]
fn all_restart_at_once_and_answer_each_other() {
    for count in [1, 3, 5] {
        let mut net = ring(count);
        (0..usize::from(count)).for_each(|index| restart(&mut net, index));
        net.run(5 * MILLI);
        for index in 0..usize::from(count) {
            assert!(net.member(index).has_vote(), "{index} of {count}");
        }
        net.run(400 * MILLI);
        decide(&mut net, 11, b"eleven");
        assert!((0..count).all(|index| net.member(index.into()).counters().old_copies == 0));
    }
}

#[test]
fn who_restarts_while_another_is_down_waits_a_little_and_votes() {
    let mut net = ring(3);
    net.crash(2);
    restart(&mut net, 1);
    net.run(100 * MILLI);
    assert!(!net.member(1).has_vote(), "the third may know better");
    net.run(400 * MILLI);
    assert!(net.member(1).has_vote());
    net.run(300 * MILLI); // And a candidate for what it may have forgotten.
    decide(&mut net, 11, b"eleven");
    // Alone it cannot know.
    net.crash(0);
    restart(&mut net, 1);
    net.run(2_000 * MILLI);
    assert!(!net.member(1).has_vote());
    assert_eq!(net.coordinator(), None);
}

#[test]
fn a_later_life_that_another_one_has_heard_of_gives_an_old_copy_away() {
    let mut net = ring(3);
    let old = copy(&mut net, 0);
    restart(&mut net, 0);
    net.run(500 * MILLI);
    // 2 misses what 0 and 1 decide.
    cut_off(&mut net, 2);
    net.run(500 * MILLI);
    decide(&mut net, 11, b"eleven");
    cut_off(&mut net, 1);
    put_back(&mut net, 0, old);
    net.run(2_000 * MILLI);
    assert!(!net.member(0).has_vote() && net.member(0).is_inert());
    assert_eq!(net.member(0).counters().old_copies, 1);
    net.filter = Box::new(|_| true);
    net.run(3_000 * MILLI);
    assert!(net.member(0).has_vote(), "it was admitted");
    decide(&mut net, 12, b"twelve");
    assert!(net.has_decided(b"eleven"));
}

#[test]
fn votes_that_another_one_knows_of_give_a_copy_of_the_same_life_away() {
    let mut net = ring(3);
    let layout = net.member(0).layout().members().to_vec();
    let (first, coordinator) = (usize::from(layout[0].0), usize::from(layout[1].0));
    let old = copy(&mut net, first);
    decide(&mut net, 11, b"eleven");
    let spare = 3 - first - coordinator;
    cut_off(&mut net, u16::try_from(coordinator).expect("small"));
    put_back(&mut net, first, old);
    net.run(2_000 * MILLI);
    assert_eq!(net.member(first).counters().old_copies, 1, "{spare} has heard that it voted");
    assert!(net.member(first).is_inert());
    // Another life of the copy does not know better.
    restart(&mut net, first);
    net.run(2_000 * MILLI);
    assert!(net.member(first).is_inert());
    net.filter = Box::new(|_| true);
    net.run(3_000 * MILLI);
    assert!(net.member(first).has_vote());
    decide(&mut net, 12, b"twelve");
}

#[test]
fn a_copy_that_lacks_nothing_but_its_life_has_a_vote_only_if_nobody_lived_since() {
    let mut net = ring(3);
    net.run(100 * MILLI);
    let same = copy(&mut net, 2);
    put_back(&mut net, 2, same);
    net.run(100 * MILLI);
    assert!(net.member(2).has_vote());
    let before = copy(&mut net, 2);
    restart(&mut net, 2);
    net.run(100 * MILLI);
    put_back(&mut net, 2, before);
    net.run(100 * MILLI);
    assert_eq!(net.member(2).counters().old_copies, 1);
}

#[test]
fn a_promise_that_is_not_in_the_log_is_made_again() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| matches!(packet.kind, Kind::Recall | Kind::Recollection));
    let ballot = Ballot::new(99, NodeId(1), Incarnation(1));
    let prepare = Prepare { ballot, first: Instance(1) };
    net.inject(0, (NodeId(1), Incarnation(1)), &Message::Prepare(prepare));
    restart(&mut net, 2);
    net.run(100 * MILLI);
    assert!(net.member(2).has_vote() && net.member(2).ballot() >= ballot);
}

/// Lets through what belongs to Phase 1 between `candidate` and `promiser`, and what those say to each
/// other who are neither.
fn promise_alone(net: &mut Net, candidate: u16, promiser: u16) {
    let pair = [NodeId(candidate), NodeId(promiser)];
    net.filter = Box::new(move |packet| {
        let is_of = |node| pair.contains(&node);
        let is_phase_one = matches!(packet.kind, Kind::Prepare | Kind::KnownLives | Kind::Promise);
        (is_of(packet.from) && is_of(packet.to) && is_phase_one)
            || (packet.from != pair[0] && packet.to != pair[0])
    });
}

#[test]
fn a_candidate_that_is_cut_off_does_not_lead_by_a_promise_that_an_old_copy_has_forgotten() {
    let mut net = ring(5);
    let old = copy(&mut net, 3);
    // 4 stands, and 3 alone hears it, which tells nobody else.
    net.filter = Box::new(|packet| {
        let is_between = [packet.from, packet.to].iter().all(|node| [3, 4].contains(&node.0));
        is_between && matches!(packet.kind, Kind::Prepare | Kind::KnownLives | Kind::Promise)
    });
    while net.member(3).ballot().node != NodeId(4) {
        net.run(MILLI);
    }
    net.run(MILLI);
    let ballot = net.member(4).ballot();
    assert_eq!(net.member(3).ballot(), ballot);
    // 3 comes back as it was before. The others tell it nothing of a ballot that they do not know.
    cut_off(&mut net, 4);
    put_back(&mut net, 3, old);
    net.run(10 * MILLI);
    assert!(net.member(3).has_vote() && net.member(3).ballot() < ballot);
    // One of those that answered it promises now: with it 4 would have its f + 1.
    promise_alone(&mut net, 4, 2);
    while net.member(2).ballot() < ballot {
        net.run(MILLI);
    }
    net.run(2 * MILLI);
    assert_eq!(net.member(4).counters().take_overs, 0, "3 may vote below {ballot:?}");
    // Asked again, 3 promises.
    net.filter = Box::new(|_| true);
    net.run(1_000 * MILLI);
    decide(&mut net, 11, b"eleven");
    assert!((0..5).all(|index| net.member(index).has_vote()));
}

/// The last life of `node` that acceptor `index` has written down.
fn known_of(net: &mut Net, index: usize, node: u16) -> Life {
    let life = Life { number: 0, incarnation: Incarnation(99) };
    net.heard.clear();
    net.inject(index, (NodeId(node), life.incarnation), &Message::Recall(Recall { life }));
    let answer = net.heard.last().expect("it knows one").clone();
    let Message::Recollection(told) = answer.message() else { panic!("{answer:?}") };
    told.lives[usize::from(node)]
}

#[test]
fn who_does_not_know_that_it_had_later_lives_is_told_by_a_candidate_and_tells_all() {
    let mut net = ring(5);
    // 1 alone has heard of a later life of 2, and is down while 2 asks.
    let life = Life { number: 7, incarnation: Incarnation(5) };
    net.inject(1, (NodeId(2), life.incarnation), &Message::Recall(Recall { life }));
    net.run(MILLI);
    net.crash(1);
    restart(&mut net, 2);
    net.run(500 * MILLI);
    assert!(net.member(2).has_vote(), "the other three have answered it");
    net.start(1, Memory::Restored);
    net.run(500 * MILLI);
    // Without 0 and 4 the three need each other's promises.
    net.crash(0);
    net.crash(4);
    net.run(2_000 * MILLI);
    decide(&mut net, 11, b"eleven");
    assert_eq!(known_of(&mut net, 3, 2).number, 8);
}

#[test]
fn who_is_put_back_learns_the_lives_of_all_others_again() {
    let mut net = ring(3);
    let old = copy(&mut net, 1);
    restart(&mut net, 0);
    net.run(500 * MILLI);
    net.filter = Box::new(|packet| packet.from != NodeId(0) || packet.to != NodeId(1));
    put_back(&mut net, 1, old);
    net.run(500 * MILLI);
    assert_eq!(known_of(&mut net, 1, 0).number, 1, "2 knew it");
}

#[test]
fn those_in_doubt_do_not_vouch_for_each_other() {
    let mut net = ring(5);
    net.crash(4);
    restart(&mut net, 2);
    restart(&mut net, 3);
    net.run(100 * MILLI);
    assert!(!net.member(2).has_vote(), "2 of the others are sound");
    net.run(400 * MILLI);
    assert!(net.member(2).has_vote() && net.member(3).has_vote());
    restart(&mut net, 2);
    net.run(100 * MILLI);
    assert!(net.member(2).has_vote(), "3 of the others are sound");
}

#[test]
fn pages_of_two_lives_make_no_answer() {
    for former_lives in [FormerLives::Unknown, FormerLives::Asked, FormerLives::Vouched] {
        let acceptors = (0..3).map(NodeId).collect();
        let config = RingConfig { former_lives, ..RingConfig::new(RingId(0), acceptors) };
        let mut net = Net::with(config, 9);
        net.run(5 * MILLI);
        net.crash(0);
        net.crash(2);
        while net.member(1).ballot().node != NodeId(1) {
            net.run(MILLI);
        }
        let ballot = net.member(1).ballot();
        let mut hear = |life, page| {
            let sender = (NodeId(2), Incarnation(life));
            let numbers = std::array::from_fn(|index| if index == 2 { life } else { 0 });
            let known = KnownLives { ballot, numbers };
            net.inject(1, sender, &Message::KnownLives(known));
            let vouch = Vouch { ballot, life: Incarnation(life) };
            net.inject(1, sender, &Message::Vouch(vouch));
            let promise = page_of_nothing(ballot, page, 2);
            net.inject(1, sender, &Message::Promise(promise));
            net.member(1).counters().take_overs
        };
        assert_eq!((hear(5, 0), hear(6, 1)), (0, 0));
        assert_eq!((hear(6, 0), hear(6, 0)), (1, 1), "both pages of one");
    }
}

#[test]
fn who_was_admitted_is_not_taken_for_an_old_copy_later() {
    let mut net = ring(3);
    for _ in 0..3 {
        restart(&mut net, 1);
        net.run(500 * MILLI);
    }
    // Its directory is lost, and with it the number of its life.
    net.crash(1);
    net.forget(1);
    net.start(1, Memory::Amnesiac);
    net.run(3_000 * MILLI);
    assert!(net.member(1).has_vote());
    decide(&mut net, 11, b"eleven");
    (0..3).for_each(|index| restart(&mut net, index));
    net.run(1_000 * MILLI);
    for index in 0..3 {
        assert!(net.member(index).has_vote());
        assert_eq!(net.member(index).counters().old_copies, 0);
    }
    decide(&mut net, 12, b"twelve");
}

#[test]
fn who_was_admitted_knows_the_lives_of_the_others() {
    let mut net = ring(3);
    let old = copy(&mut net, 0);
    net.crash(2);
    restart(&mut net, 0);
    net.run(1_000 * MILLI);
    // 1 alone has written down that 0 lives again, and loses it.
    net.start(2, Memory::Restored);
    net.run(1_000 * MILLI);
    net.crash(1);
    net.forget(1);
    net.start(1, Memory::Amnesiac);
    net.run(3_000 * MILLI);
    assert!(net.member(1).has_vote());
    cut_off(&mut net, 2);
    put_back(&mut net, 0, old);
    net.run(1_000 * MILLI);
    assert_eq!(net.member(0).counters().old_copies, 1);
}

#[test]
fn who_restarts_before_a_new_ballot_has_decided_anything_is_no_old_copy() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| packet.kind != Kind::Accept);
    net.crash(0);
    net.run(600 * MILLI);
    assert_eq!(net.coordinator(), Some(1));
    // It hears who leads, and by whose votes, and that ten instances are decided.
    net.start(0, Memory::Restored);
    net.run(200 * MILLI);
    restart(&mut net, 2);
    net.run(200 * MILLI);
    assert_eq!(net.member(2).counters().old_copies, 0);
    net.filter = Box::new(|_| true);
    net.run(500 * MILLI);
    decide(&mut net, 11, b"eleven");
}

#[test]
fn who_was_admitted_knows_in_its_next_life_what_it_had_not_to_know() {
    for former_lives in [FormerLives::Unknown, FormerLives::Asked, FormerLives::Vouched] {
        let config = RingConfig::new(RingId(0), (0..3).map(NodeId).collect());
        let small = RingConfig { former_lives, instances: 16, apply_bound: 12, ..config };
        let mut net = Net::with(small, 9);
        net.run(5 * MILLI);
        for number in 1..=30 {
            net.propose(0, number, format!("<{number}>").as_bytes());
            net.run(MILLI);
        }
        net.crash(2);
        net.forget(2);
        net.start(2, Memory::Amnesiac);
        net.run(3_000 * MILLI);
        let trim = net.member(2).trim();
        assert!(net.member(2).has_vote() && trim > Instance(0));
        net.crash(2);
        net.filter = Box::new(|_| false);
        net.start(2, Memory::Restored);
        assert!(net.member(2).trim() >= trim, "nothing of it was accepted, as far as it knows");
    }
}

#[test]
fn a_life_is_answered_once_it_is_persistent() {
    let mut net = ring(3);
    net.member(1).log_mut().is_slow = true;
    net.heard.clear();
    let life = Life { number: 7, incarnation: Incarnation(5) };
    net.inject(1, (NodeId(2), life.incarnation), &Message::Recall(Recall { life }));
    assert_eq!(net.count(Kind::Recollection), 0);
    net.run(MILLI);
    assert_eq!(net.count(Kind::Recollection), 1);
    // A word of an earlier life changes nothing.
    let earlier = Life { number: 6, incarnation: Incarnation(4) };
    let recall = Recall { life: earlier };
    net.inject(1, (NodeId(2), earlier.incarnation), &Message::Recall(recall));
    let answer = net.heard.last().expect("it answers").clone();
    let Message::Recollection(told) = answer.message() else { panic!("{answer:?}") };
    assert_eq!((told.to, told.lives[2]), (earlier.incarnation, life));
}

/// `count` acceptors that do not keep lives, and have restarted one by one; they have decided ten
/// values.
fn old_ring(count: u16) -> Net {
    let acceptors = (0..count).map(NodeId).collect();
    let config = RingConfig { decides_members: true, ..RingConfig::new(RingId(0), acceptors) };
    let mut net = Net::with(config, 9);
    net.run(5 * MILLI);
    for index in (0..usize::from(count)).rev() {
        restart(&mut net, index);
        net.run(500 * MILLI);
    }
    (1..=10).for_each(|number| decide(&mut net, number, format!("<{number}>").as_bytes()));
    net
}

/// Lives are kept from the next epoch on, or no more.
fn upgrade(net: &mut Net) {
    let coordinator = net.coordinator().expect("a coordinator");
    net.upgrade(coordinator);
}

/// Everybody who lives is in the last epoch with a vote, and was never taken for an old copy.
#[track_caller]
fn all_vote(net: &mut Net) {
    let (epoch, _) = net.latest();
    for index in 0..net.members.len() {
        assert_eq!(net.epoch_of[index], epoch, "{index}");
        assert!(net.member(index).has_vote(), "{index}");
        assert_eq!(net.member(index).counters().old_copies, 0, "{index}");
    }
}

#[test]
fn lives_are_kept_from_an_epoch_on_and_nobody_loses_its_vote_or_much_time() {
    for count in [1, 3, 5] {
        let mut net = old_ring(count);
        upgrade(&mut net);
        // As after any change of members, and two writes and two messages more.
        net.run(60 * MILLI);
        all_vote(&mut net);
        assert!(net.coordinator().is_some(), "of {count} nobody leads");
        decide(&mut net, 11, b"eleven");
        (0..usize::from(count)).for_each(|index| restart(&mut net, index));
        net.run(500 * MILLI);
        all_vote(&mut net);
        decide(&mut net, 12, b"twelve");
    }
}

#[test]
fn who_restarts_while_lives_begin_to_be_kept_has_its_vote_again() {
    for knows in [false, true] {
        let mut net = old_ring(3);
        net.crash(1);
        upgrade(&mut net);
        while net.latest().0 == 1 {
            net.run(MILLI);
        }
        // Its directory may have the new epoch already.
        net.epoch_of[1] = if knows { 2 } else { 1 };
        net.start(1, Memory::Restored);
        net.run(500 * MILLI);
        all_vote(&mut net);
        decide(&mut net, 11, b"eleven");
    }
}

#[test]
fn a_copy_of_before_lives_were_kept_is_found_out_though_it_has_missed_that() {
    let mut net = old_ring(3);
    let old = copy(&mut net, 0);
    upgrade(&mut net);
    net.run(100 * MILLI);
    all_vote(&mut net);
    // 2 misses what 0 and 1 decide.
    cut_off(&mut net, 2);
    net.run(500 * MILLI);
    decide(&mut net, 11, b"eleven");
    cut_off(&mut net, 1);
    net.epoch_of[0] = 1;
    put_back(&mut net, 0, old);
    net.run(2_000 * MILLI);
    assert_eq!((net.epoch_of[0], net.member(0).counters().old_copies), (2, 1));
    assert!(net.member(0).is_inert());
    net.filter = Box::new(|_| true);
    net.run(3_000 * MILLI);
    assert!(net.member(0).has_vote(), "it was admitted");
    decide(&mut net, 12, b"twelve");
    assert!(net.has_decided(b"eleven"));
}
