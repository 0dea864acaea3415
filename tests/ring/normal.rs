//! The normal case: batches, votes around the ring, decisions, refusals.

use super::net::{CONFIRMED, Net, OUTSIDER, Owned, VITAL};
use psmr::ring_paxos::{Holder, Obstacle, Retention, RingConfig};
use psmr::types::{NodeId, RingId, Slot};
use psmr::wire::{Kind, MAX_BATCH, Message, Refusal};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

/// A ring whose first coordinator leads.
fn ring(count: u16) -> Net {
    let mut net = Net::new(count, 1);
    net.run(5 * MILLI);
    assert_eq!(net.coordinator(), Some(0));
    net
}

fn ring_with(count: u16, set: impl FnOnce(&mut RingConfig)) -> Net {
    let mut config = RingConfig::new(RingId(0), (0..count).map(NodeId).collect());
    set(&mut config);
    let mut net = Net::with(config, 1);
    net.run(5 * MILLI);
    net
}

fn refusals(net: &Net) -> Vec<Refusal> {
    let refused = net.heard.iter().filter_map(|packet| match packet.message() {
        Message::Refused(refused) => Some(refused.refusal),
        _ => None,
    });
    refused.collect()
}

#[test]
fn a_lone_proposal_takes_one_2a_one_2b_and_one_decision() {
    let mut net = ring(3);
    net.propose(0, 1, b"one");
    assert_eq!(net.count(Kind::Accept), 1, "nothing is in flight: it leaves at once");
    net.run(MILLI);
    assert_eq!(net.sequence(), [Some(&Owned::Batch(b"one".to_vec()))]);
    let counts = [Kind::Accept, Kind::Accepted, Kind::Decision].map(|kind| net.count(kind));
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn a_ring_of_one_decides_alone() {
    let mut net = ring(1);
    net.propose(0, 1, b"one");
    assert!(net.has_decided(b"one"));
}

#[test]
fn a_batch_waits_for_its_delay_while_something_is_in_flight() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| packet.kind != Kind::Accepted);
    net.propose(0, 1, b"one");
    net.propose(0, 2, b"two");
    net.propose(0, 3, b"three");
    assert_eq!(net.count(Kind::Accept), 1);
    net.run(Duration::from_micros(49));
    assert_eq!(net.count(Kind::Accept), 1);
    net.run(Duration::from_micros(2));
    assert_eq!(net.count(Kind::Accept), 2, "two and three share a batch");
}

#[test]
fn a_full_batch_does_not_wait_and_decisions_ride_on_2as() {
    let mut net = ring_with(3, |config| config.batch_limit = 4);
    for number in 1..=50 {
        net.propose(0, number, b"1234");
        net.run(Duration::from_micros(30));
    }
    net.run(MILLI);
    assert_eq!(net.decided.len(), 50);
    assert!(net.count(Kind::Decision) < 10, "{} decisions alone", net.count(Kind::Decision));
}

#[test]
fn a_batch_holds_exactly_the_limit_and_not_a_byte_more() {
    let mut net = ring(3);
    net.propose(0, 1, &[7; MAX_BATCH]);
    net.propose(0, 2, &[7; MAX_BATCH + 1]);
    net.propose(0, 3, b"");
    net.run(MILLI);
    assert_eq!(net.sequence(), [Some(&Owned::Batch(vec![7; MAX_BATCH]))]);
    assert_eq!(refusals(&net), [Refusal::TooLarge]);
}

#[test]
fn a_proposal_that_an_undecided_instance_holds_is_dropped() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| packet.kind != Kind::Accepted);
    net.propose(0, 1, b"one");
    net.propose(0, 1, b"one");
    net.propose(0, 2, b"two");
    net.propose(0, 2, b"two");
    assert_eq!(net.member(0).counters().duplicates, 2);
}

#[test]
fn a_proposal_that_asks_for_it_is_confirmed_once_it_stands_and_again_if_it_comes_again() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| packet.kind != Kind::Accepted);
    net.propose(0, 1, b"one");
    let confirmations = |net: &Net| {
        let numbers = net.heard.iter().filter_map(|packet| match packet.message() {
            Message::Taken(taken) => Some((packet.to, taken.number)),
            _ => None,
        });
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(confirmations(&net), []);
    net.propose(0, CONFIRMED, b"two");
    net.propose(0, CONFIRMED, b"two");
    net.propose(1, CONFIRMED, b"two");
    assert_eq!(confirmations(&net), [(NodeId(OUTSIDER), CONFIRMED); 2]);
    net.propose(0, CONFIRMED, &[7; MAX_BATCH + 1]);
    assert_eq!(confirmations(&net).len(), 2);
}

#[test]
fn a_spare_accepts_what_it_hears_and_sends_no_vote() {
    let mut net = ring(3);
    net.propose(0, 1, b"one");
    net.run(MILLI);
    let layout = *net.member(0).layout();
    assert_eq!(layout.coordinator(), Some(NodeId(0)));
    let spare = (1..3).find(|index| layout.position(NodeId(*index)).is_none()).unwrap();
    assert!(net.heard.iter().all(|p| p.kind != Kind::Accepted || p.from != NodeId(spare)));
    net.ask(usize::from(spare), 0, (1, 1, 0));
    let repaired = net.heard.last().unwrap();
    assert!(matches!(repaired.message(), Message::Repair(repair) if repair.is_decided));
}

#[test]
fn a_proposal_to_another_acceptor_is_sent_on_to_the_coordinator() {
    let mut net = ring(3);
    net.propose(2, 1, b"one");
    let answer = net.heard.last().unwrap();
    assert_eq!(answer.to, NodeId(OUTSIDER));
    assert!(matches!(answer.message(), Message::Redirect(to) if to.ballot.node == NodeId(0)));
    net.run(MILLI);
    assert!(net.decided.is_empty());
}

#[test]
fn two_skips_are_in_flight_at_most_and_slots_count_them() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| packet.kind != Kind::Accepted);
    net.propose(0, 1, b"one");
    let now = net.now;
    let mut taken = Vec::new();
    net.step(1, |member, out| assert!(!member.skip(1, now, out), "no coordinator"));
    net.step(0, |member, out| {
        taken = [10, 1_000_000_000, 5].map(|slots| member.skip(slots, now, out)).to_vec();
        assert_eq!(member.slot(), Slot(1_000_000_011));
    });
    assert_eq!(taken, [true, true, false]);
    net.filter = Box::new(|_| true);
    net.run(50 * MILLI);
    assert_eq!(net.decided.len(), 3);
    assert_eq!(net.sequence()[2], Some(&Owned::Skip(1_000_000_000)));
    assert_eq!(net.member(1).slot(), Slot(1_000_000_011), "others know it by heartbeat");
    net.step(0, |member, out| assert!(member.skip(5, now, out)));
}

#[test]
fn the_window_in_bytes_holds_batches_back_and_votes_let_them_go() {
    let mut net = ring_with(3, |config| {
        (config.batch_limit, config.window_bytes, config.queue_limit) = (1_000, 9_100, 4);
    });
    net.filter = Box::new(|packet| packet.kind != Kind::Accepted);
    for number in 1..=10 {
        net.propose(0, number, &[1; 1_000]);
    }
    // Charged twice 1000 and 1024: three fit.
    assert_eq!(net.count(Kind::Accept), 3);
    assert!(!refusals(&net).is_empty() && refusals(&net).iter().all(|r| *r == Refusal::Full));
    let taken = 10 - refusals(&net).len();
    net.run(MILLI);
    net.filter = Box::new(|_| true);
    net.run(100 * MILLI);
    assert_eq!(net.decided.len(), taken);
}

#[test]
fn nothing_is_proposed_beyond_the_bound_on_what_learners_have_applied() {
    let mut net = ring_with(3, |config| {
        (config.learners, config.apply_bound, config.batch_limit) = (vec![1], 8, 1);
    });
    for number in 1..=20 {
        net.propose(0, number, b"x");
        net.run(MILLI);
    }
    assert_eq!(net.decided.len(), 8);
    assert_eq!(refusals(&net).len(), 12);
    let now = net.now;
    assert_eq!(net.member(0).obstacle(now), Some(Obstacle::FarAhead(1)), "it was never heard of");
    net.report(0, 1, 8);
    net.propose(0, 21, b"x");
    net.run(MILLI);
    assert_eq!(net.decided.len(), 9);
}

#[test]
fn the_end_of_a_log_that_waits_for_a_checkpoint_is_kept_for_its_marker_and_lasts() {
    let patience = Duration::from_secs(10);
    let retention = Retention::Checkpoints { copies: 1, is_strict: true, patience };
    let mut net = ring_with(3, |config| {
        (config.instances, config.apply_bound, config.batch_limit) = (256, 1_000, 1);
        (config.learners, config.retention) = (vec![1], retention);
    });
    for number in 1..=230 {
        net.propose(0, number, b"x");
        net.run(Duration::from_micros(200));
        net.report(0, 1, number.min(224));
    }
    assert_eq!((net.decided.len(), refusals(&net).len()), (224, 6));
    // Markers, again and again, do not use up what is left.
    for number in 0..1_000 {
        net.propose(0, VITAL + number, b"m");
        net.run(MILLI);
    }
    let vital = net.decided.len() - 224;
    assert!((10..20).contains(&vital), "{vital} of 32 in a second");
    let (now, full) = (net.now, Obstacle::LogFull(Holder::Checkpoint(1)));
    assert_eq!(net.member(0).obstacle(now), Some(full));
    assert_eq!(net.member(1).obstacle(now), None, "the coordinator knows");
    net.report_checkpoint(0, 1, (230, 100));
    net.propose(0, 231, b"x");
    net.run(10 * MILLI);
    let now = net.now;
    assert_eq!(net.member(0).obstacle(now), None);
    assert_eq!(net.decided.len(), 224 + vital + 1);
}

#[test]
fn a_log_wraps_many_times_around() {
    let mut net = ring_with(3, |config| {
        (config.instances, config.apply_bound, config.batch_limit) = (16, 12, 1);
    });
    for number in 1..=500 {
        net.propose(0, number, b"x");
        net.run(Duration::from_micros(200));
    }
    net.run(10 * MILLI);
    assert_eq!(net.decided.len(), 500);
    assert!(net.member(2).trim().0 >= 480, "{:?}", net.member(2).trim());
}

#[test]
fn the_tail_of_a_sequence_is_known_everywhere_after_a_heartbeat() {
    let mut net = ring(3);
    net.filter = Box::new(|packet| packet.kind != Kind::Decision);
    net.propose(0, 1, b"one");
    net.run(MILLI);
    assert_eq!(net.member(2).decided().0, 0);
    net.run(20 * MILLI);
    assert_eq!(net.member(2).decided().0, 1);
}

#[test]
fn full_load_with_nothing_killed_sees_no_take_over() {
    let mut net = ring(5);
    for number in 1..=20_000 {
        net.propose(0, number, b"some command");
        net.run(Duration::from_micros(500));
    }
    let take_overs: u64 = (0..5).map(|index| net.member(index).counters().take_overs).sum();
    assert_eq!((take_overs, net.member(0).counters().resends), (1, 0));
}
