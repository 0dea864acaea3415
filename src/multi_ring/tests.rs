//! The merge, the subscription and the skip policy, against the rules of Multi-Ring Paxos.

use super::*;
use crate::types::{Slot, Time};
use std::collections::VecDeque;
use std::time::Duration;

/// Merges scripted rings until one runs dry: (ring, slot) of each value.
fn merge(rings: &[&[Turn]], m: u64) -> Vec<(usize, u64)> {
    let mut queues: Vec<VecDeque<Turn>> =
        rings.iter().map(|ring| ring.iter().copied().collect()).collect();
    let mut merge = Merge::new(rings.len(), m);
    std::iter::from_fn(|| merge.advance(|ring| queues[ring].pop_front()))
        .map(|(ring, slot)| (ring, slot.0))
        .collect()
}

const V: Turn = Turn::Value;

#[test]
fn rings_take_turns_and_the_first_that_lacks_one_holds_up_the_rest() {
    assert_eq!(merge(&[&[V, V, V]], 1), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!(merge(&[&[V, V, V], &[V]], 1), [(0, 0), (1, 0), (0, 1)]);
    assert_eq!(merge(&[&[], &[V, V]], 1), []);
    assert_eq!(merge(&[&[V], &[V], &[V, V]], 1), [(0, 0), (1, 0), (2, 0)]);
}

#[test]
fn with_m_above_one_a_turn_is_m_slots_of_a_ring() {
    let expected = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (0, 4)];
    assert_eq!(merge(&[&[V; 5], &[V; 4]], 3), expected);
    // A skip that ends within a turn leaves the rest of the turn.
    let expected = [(0, 2), (1, 0), (1, 1), (1, 2), (0, 3)];
    assert_eq!(merge(&[&[Turn::Skip(2), V, V], &[V; 3]], 3), expected);
}

#[test]
fn a_noop_takes_one_slot_and_delivers_nothing() {
    assert_eq!(merge(&[&[Turn::Skip(1), V], &[V, V]], 1), [(1, 0), (0, 1), (1, 1)]);
}

#[test]
fn long_skips_against_each_other_cost_one_step_each() {
    let long = 1 << 40;
    let end = Turn::Skip(1 << 60);
    let first = [Turn::Skip(long), V, V, end];
    let second = [Turn::Skip(long - 1), V, V, V, end];
    let third = [V, Turn::Skip(2 * long), end];
    let expected = [(2, 0), (1, long - 1), (0, long), (1, long), (0, long + 1), (1, long + 1)];
    assert_eq!(merge(&[&first, &second, &third], 1), expected);
    for m in [2, 3, 1000, 1 << 40] {
        assert_eq!(merge(&[&first, &second, &third], m).len(), 6, "M = {m}");
    }
}

#[test]
fn a_skip_beyond_the_last_slot_stays_there() {
    let first = [Turn::Skip(u64::MAX), Turn::Skip(u64::MAX), V];
    assert_eq!(merge(&[&first, &[V, V]], 1), [(1, 0), (1, 1)]);
    assert_eq!(merge(&[&first, &[V, V]], 7), [(1, 0), (1, 1)]);
}

#[test]
fn a_merge_that_resumes_within_a_skip_goes_on_as_if_it_had_not_stopped() {
    let rings = [[Turn::Skip(1000), V, V], [V, V, Turn::Skip(5000)], [V, Turn::Skip(998), V]];
    for m in [1, 2, 7] {
        let whole = merge(&[&rings[0], &rings[1], &rings[2]], m);
        for stop in 0..whole.len() {
            let mut taken = [0; 3];
            let mut first = Merge::new(3, m);
            for expected in &whole[..stop] {
                let (ring, slot) = first.advance(|ring| next(&rings, &mut taken, ring)).unwrap();
                assert_eq!((ring, slot.0), *expected);
            }
            let mut second = Merge::new(3, m);
            for ring in 0..3 {
                second.resume(ring, first.slot(ring));
            }
            let rest = std::iter::from_fn(|| second.advance(|r| next(&rings, &mut taken, r)));
            let rest: Vec<_> = rest.map(|(ring, slot)| (ring, slot.0)).collect();
            assert_eq!(rest, whole[stop..], "M = {m}, stopped after {stop}");
        }
    }
}

fn next(rings: &[[Turn; 3]], taken: &mut [usize; 3], ring: usize) -> Option<Turn> {
    let turn = rings[ring].get(taken[ring]).copied();
    taken[ring] += usize::from(turn.is_some());
    turn
}

const US: Duration = Duration::from_micros(1);

fn at(us: u64) -> Time {
    Time(us * 1000)
}

#[test]
fn an_idle_ring_skips_up_to_what_it_hears_at_once_and_then_falls_silent() {
    let mut policy = SkipPolicy::new(0, 20 * US);
    assert_eq!(policy.due(Slot(0), at(0)), None);
    policy.on_position(Slot(7), at(100));
    assert_eq!(policy.due(Slot(0), at(100)), Some(7));
    policy.on_position(Slot(7), at(101));
    policy.on_position(Slot(3), at(102));
    for us in 101..1000 {
        assert_eq!(policy.due(Slot(7), at(us)), None);
    }
    assert_eq!(policy.next_timeout(), None, "the leading ring stands still");
}

#[test]
fn an_idle_ring_fills_the_turn_that_it_hears_of() {
    let mut policy = SkipPolicy::new(0, 20 * US).in_turns_of(5);
    policy.on_position(Slot(6), at(0));
    assert_eq!(policy.due(Slot(0), at(0)), Some(10), "slot 5 waits for all of turn 1");
    policy.on_position(Slot(10), at(50));
    assert_eq!(policy.due(Slot(10), at(50)), None);
}

#[test]
fn skips_are_an_interval_apart_and_then_cover_all_that_was_heard() {
    let mut policy = SkipPolicy::new(0, 20 * US);
    policy.on_position(Slot(1), at(0));
    assert_eq!(policy.due(Slot(0), at(0)), Some(1));
    policy.on_position(Slot(2), at(5));
    assert_eq!(policy.due(Slot(1), at(5)), None);
    assert_eq!(policy.next_timeout(), Some(at(20)));
    policy.on_position(Slot(9), at(15));
    assert_eq!(policy.due(Slot(1), at(20)), Some(8));
    // One that could not be proposed is due again after the interval.
    assert_eq!(policy.due(Slot(1), at(21)), None);
    assert_eq!(policy.due(Slot(1), at(40)), Some(8));
}

#[test]
fn a_busy_ring_skips_only_when_it_stays_behind() {
    let mut policy = SkipPolicy::new(0, 20 * US);
    policy.on_position(Slot(3), at(0));
    assert_eq!(policy.due(Slot(2), at(0)), None, "it has just proposed");
    assert_eq!(policy.next_timeout(), Some(at(20)));
    assert_eq!(policy.due(Slot(3), at(5)), None, "its own value closed the gap");
    policy.on_position(Slot(10), at(10));
    assert_eq!(policy.due(Slot(4), at(10)), None);
    assert_eq!(policy.due(Slot(5), at(29)), None);
    assert_eq!(policy.due(Slot(6), at(30)), Some(4));
}

#[test]
fn with_lambda_the_target_rises_with_the_time_since_it_was_heard() {
    let mut policy = SkipPolicy::new(1_000_000, 20 * US);
    policy.on_position(Slot(10), at(0));
    assert_eq!(policy.due(Slot(0), at(0)), Some(10));
    assert_eq!(policy.next_timeout(), Some(at(20)));
    assert_eq!(policy.due(Slot(10), at(20)), Some(20));
    assert_eq!(policy.due(Slot(30), at(1_000_000)), Some(1_000_010 - 30));
}

/// Rings that hear each other late rise together by lambda a second, and by no more.
#[test]
fn lambda_is_cumulative_and_does_not_feed_on_itself() {
    let mut policies = vec![SkipPolicy::new(9000, Duration::from_millis(1)); 3];
    let mut own = [Slot(8000), Slot(0), Slot(0)];
    for us in (0..2_000_000).step_by(100) {
        for ring in 0..3 {
            let heard = own[(ring + 1) % 3];
            policies[ring].on_position(heard, at(us + 50));
            own[ring] = own[ring].plus(policies[ring].due(own[ring], at(us + 50)).unwrap_or(0));
        }
    }
    for slot in own {
        assert!((8000 + 17_900..=8000 + 18_000).contains(&slot.0), "{own:?}");
    }
}

#[test]
fn an_announcement_is_repeated_ever_more_slowly_while_nothing_moves() {
    let mut policy = SkipPolicy::new(0, 20 * US);
    assert_eq!(policy.announcement(Slot(5), at(0)), Some(Slot(5)));
    assert_eq!(policy.announcement(Slot(6), at(1)), Some(Slot(6)));
    let said = (2..1_000_000).filter(|us| policy.announcement(Slot(6), at(*us)).is_some()).count();
    assert_eq!(said, 7 + 6, "after 1, 3, 7, .. 127 ms, then each 128 ms");
    assert!(policy.next_timeout().is_some());
}
