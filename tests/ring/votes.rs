//! 2Bs around the ring: early, late, lost, twice; and members that say nothing at all.

use super::net::{Net, Packet};
use psmr::ring_paxos::{Envelope, Role};
use psmr::types::{Address, Incarnation, Instance, NodeId, RingId};
use psmr::wire::{Accepted, DecidedRanges, Kind, Message, Range};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

/// A ring of five acceptors, three of them in the ring, and those three in its order.
fn ring() -> (Net, [NodeId; 3]) {
    let mut net = Net::new(5, 3);
    net.run(5 * MILLI);
    let members = net.member(0).layout().members().try_into().expect("f + 1 = 3");
    (net, members)
}

/// The masks of the 2Bs that `node` sent.
fn masks(net: &Net, node: NodeId) -> Vec<u64> {
    let sent = net.heard.iter().filter(|packet| packet.from == node);
    let masks = sent.filter_map(|packet| match packet.message() {
        Message::Accepted(accepted) if !accepted.ranges.is_empty() => Some(accepted.mask),
        _ => None,
    });
    masks.collect()
}

fn accept_of(net: &Net) -> Packet {
    net.heard.iter().find(|packet| packet.kind == Kind::Accept).expect("a 2A left").clone()
}

#[test]
fn a_2b_that_overtakes_its_2a_is_kept_until_the_value_is_here() {
    let (mut net, [_, second, _]) = ring();
    net.filter = Box::new(move |packet| packet.kind != Kind::Accept || packet.to != second);
    net.propose(0, 1, b"one");
    net.run(2 * MILLI);
    assert_eq!(masks(&net, second), [0; 0], "no vote without the value");
    net.filter = Box::new(|_| true);
    let (index, sender) = (usize::from(second.0), (NodeId(0), net.life(0)));
    net.inject(index, sender, &accept_of(&net).message());
    assert_eq!(masks(&net, second), [0b11]);
    net.run(MILLI);
    assert!(net.has_decided(b"one"));
}

#[test]
fn a_2a_lost_at_one_member_or_at_all_is_sent_again() {
    for lost_at_all in [false, true] {
        let (mut net, [first, ..]) = ring();
        let lost = move |packet: &Packet| {
            packet.kind == Kind::Accept && (lost_at_all || packet.to == first)
        };
        net.filter = Box::new(move |packet| !lost(packet));
        net.propose(0, 1, b"one");
        net.run(MILLI);
        net.filter = Box::new(|_| true);
        assert!(!net.has_decided(b"one"));
        net.run(10 * MILLI);
        assert!(net.has_decided(b"one"));
        assert_eq!(net.member(0).counters().resends, 1);
    }
}

#[test]
fn a_lost_2b_is_emitted_again_when_the_2a_comes_again() {
    for position in 0..2 {
        let (mut net, members) = ring();
        let deaf = members[position];
        net.filter = Box::new(move |packet| packet.kind != Kind::Accepted || packet.from != deaf);
        net.propose(0, 1, b"one");
        net.run(MILLI);
        assert!(!net.has_decided(b"one"));
        net.filter = Box::new(|_| true);
        net.run(10 * MILLI);
        assert!(net.has_decided(b"one"));
    }
}

#[test]
fn duplicates_make_a_member_emit_again_only_what_it_emitted() {
    let (mut net, [first, second, _]) = ring();
    net.filter = Box::new(|packet| packet.kind != Kind::Accepted);
    net.propose(0, 1, b"one");
    net.run(MILLI);
    let (accept, sender) = (accept_of(&net), (NodeId(0), net.life(0)));
    let again = |net: &mut Net, node: NodeId| {
        net.inject(usize::from(node.0), sender, &accept.message());
    };
    again(&mut net, second);
    again(&mut net, second);
    assert_eq!(masks(&net, second), [0; 0], "it has not heard the first member");
    again(&mut net, first);
    assert_eq!(masks(&net, first), [0b01, 0b01]);
    let vote =
        net.heard.iter().find(|packet| packet.from == first && packet.kind == Kind::Accepted);
    let (vote, from) = (vote.unwrap().clone(), (first, net.life(usize::from(first.0))));
    net.inject(usize::from(second.0), from, &vote.message());
    again(&mut net, second);
    assert_eq!(masks(&net, second), [0b11, 0b11]);
}

#[test]
fn a_broken_link_inside_the_ring_is_routed_around_by_direct_answers() {
    let (mut net, [first, second, _]) = ring();
    net.filter = Box::new(move |packet| (packet.from, packet.to) != (first, second));
    for number in 1..=20 {
        net.propose(0, number, format!("<{number}>").as_bytes());
        net.run(20 * MILLI);
    }
    assert!((1..=20).all(|number| net.has_decided(format!("<{number}>").as_bytes())));
    assert_eq!(net.member(0).counters().new_rings, 0);
}

#[test]
fn a_silent_member_is_replaced_by_a_spare_in_a_new_ballot() {
    let (mut net, [first, ..]) = ring();
    let before = net.member(0).ballot();
    net.crash(usize::from(first.0));
    net.propose(0, 1, b"one");
    net.run(400 * MILLI);
    assert!(net.has_decided(b"one"));
    let member = net.member(0);
    assert!(member.is_coordinator() && member.ballot() > before);
    assert_eq!(member.layout().position(first), None);
}

#[test]
fn votes_of_one_duty_cycle_leave_as_one_range() {
    let (mut net, [first, ..]) = ring();
    net.config.batch_limit = 1;
    for number in 1..=8 {
        let packet = net.heard.len();
        net.propose(0, number, &[1; 7_680]);
        assert!(net.heard.len() > packet);
    }
    net.run(MILLI);
    assert_eq!(net.decided.len(), 8);
    assert!(masks(&net, first).len() < 8, "{} datagrams", masks(&net, first).len());
}

#[test]
fn only_votes_of_equal_masks_share_a_2b() {
    let mut net = Net::new(7, 3);
    net.run(5 * MILLI);
    let third = net.member(0).layout().members()[2];
    net.filter = Box::new(|packet| packet.kind != Kind::Accepted);
    for number in 1..=2 {
        net.propose(0, number, b"one");
        net.run(Duration::from_micros(200));
    }
    let accepts: Vec<_> = net.heard.iter().filter(|packet| packet.kind == Kind::Accept).collect();
    let named = accepts.iter().map(|packet| match packet.message() {
        Message::Accept(accept) => (accept.instance, accept.ballot, accept.id),
        other => panic!("{other:?}"),
    });
    let named: Vec<_> = named.collect();
    let now = net.now;
    // Of the first instance it hears one member before it, of the second both, in one duty cycle.
    net.step(usize::from(third.0), |member, out| {
        for ((instance, ballot, id), mask) in named.into_iter().zip([0b001, 0b011]) {
            let ranges = [Range::one(instance, id)];
            let ranges = DecidedRanges::new(&ranges);
            let accepted = Accepted { ballot, mask, slowest: Instance(0), ranges };
            let (ring, from) = (RingId(0), Address::NONE);
            let envelope = Envelope { ring, sender: NodeId(9), incarnation: Incarnation(1), from };
            member.on_message(&envelope, &Message::Accepted(accepted), now, out);
        }
        member.on_cycle_end(now, out);
    });
    assert_eq!(masks(&net, third), [0b101, 0b111]);
}

#[test]
fn a_late_request_for_votes_gets_none_below_the_promise() {
    use psmr::wire::{RepairRequest, Wanted, WantedRange, WantedRanges};
    let mut net = Net::new(5, 5);
    net.run(Duration::from_millis(20));
    let start = net.now;
    let layout = *net.member(0).layout();
    let a = layout.members()[0].0;
    let b = layout.members()[1].0;
    let spares: Vec<u16> = (1..5).filter(|n| *n != a && *n != b).collect();
    let (d, f) = (spares[0], spares[1]);
    let ms = Duration::from_millis;
    // 0's 2A of v reaches b only; b answers 0's request for votes.
    net.filter = Box::new(move |p| {
        (p.from.0 == 0 && p.to.0 == b && matches!(p.kind, Kind::Accept | Kind::RepairRequest))
            || (p.from.0 == b && p.to.0 == 0 && p.kind == Kind::Accepted)
    });
    net.propose(0, 1, b"vvvv");
    net.run(ms(20));
    let v = net
        .heard
        .iter()
        .rev()
        .find_map(|p| match p.message() {
            Message::Accept(accept) => Some((accept.instance, accept.id)),
            _ => None,
        })
        .expect("a 2A");
    assert!(!net.has_decided(b"vvvv"));
    // Everybody but d sleeps; d stands, a and f promise to it. b and 0 hear nothing of it.
    net.pause(0, ms(850));
    net.pause(usize::from(b), ms(800));
    net.pause(usize::from(a), ms(600));
    net.pause(usize::from(f), ms(600));
    net.filter = Box::new(move |p| {
        let among = |x: u16| x == d || x == a || x == f;
        (among(p.from.0) && among(p.to.0) && matches!(p.kind, Kind::Prepare | Kind::Promise))
            || (p.from.0 == d && p.to.0 == f)
            || (p.from.0 == f && p.to.0 == d)
    });
    net.run(ms(605));
    assert_eq!(net.coordinator(), Some(usize::from(d)));
    net.propose(usize::from(d), 2, b"wwww");
    net.run(ms(5));
    net.pause(usize::from(d), ms(400));
    net.pause(usize::from(f), ms(400));
    // a stands; only b hears it.
    net.filter = Box::new(move |p| {
        (p.from.0 == a && p.to.0 == b && p.kind == Kind::Prepare)
            || (p.from.0 == b && p.to.0 == a && p.kind == Kind::Promise)
            || (p.from.0 == a && p.to.0 == 0 && p.kind == Kind::Accepted)
    });
    let until = start + ms(20) + ms(840);
    net.run_until(until);
    // The request for votes that 0 sent before it paused comes late.
    let wanted = [WantedRange { first: v.0, count: 1, wanted: Wanted::Decision as u32 }];
    let request = RepairRequest { wanted: WantedRanges::new(&wanted) };
    let life = net.life(0);
    net.inject(usize::from(a), (NodeId(0), life), &Message::RepairRequest(request));
    net.run(ms(40));
    // From here 0 is alone, and all others hear each other.
    net.filter = Box::new(move |p| p.from.0 != 0 && p.to.0 != 0);
    net.run(ms(2000));
    assert!(net.violations.is_empty(), "{:?}", net.violations);
}
