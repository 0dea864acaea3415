//! Damaged logs: given back whole, cut where nobody was told that they went on, or refused; never
//! wrong.

use super::model::{Memory, NAME, Run};
use crate::mem::SECTOR;
use crate::ring_paxos::Log;
use crate::storage::format::Header;
use crate::storage::scan::{Finding, Image};
use crate::types::Random;

#[test]
fn a_log_gives_back_what_was_persistent_wherever_power_was_lost() {
    for seed in 0..20 {
        let mut run = Run::new(seed);
        for _ in 0..4 {
            run.write(200);
            let persisted = run.log.persisted().0;
            let image = run.crash();
            let scan = image.copy().scan(NAME).unwrap_or_else(|found| panic!("{seed}: {found:?}"));
            let last = scan.end.sequence - 1;
            assert!(last >= persisted, "seed {seed}: block {last} of {persisted}");
            assert_eq!(Memory::of(&scan), run.expected(last), "seed {seed}");
            run = run.reopen(&image);
        }
    }
}

#[test]
fn a_log_is_a_ring_of_segments_and_what_is_kept_moves_on() {
    let mut run = Run::new(1);
    // Nothing is forgotten but what would not fit, and every ballot writes all of it again.
    run.trims = 0;
    run.write(400);
    for _ in 0..120 {
        run.accept_all_again();
    }
    let counters = run.log.counters();
    assert!(counters.bytes > 4 * run.geometry.total() as u64, "{counters:?}");
    run.rest();
    let scan = run.image().scan(NAME).unwrap();
    assert_eq!(Memory::of(&scan), run.expected(scan.end.sequence - 1));
}

#[test]
fn one_instance_that_stays_does_not_stop_the_ring() {
    let mut run = Run::new(2);
    run.trims = 0;
    run.write(100);
    let newest = |run: &Run| run.log.counters().records;
    let before = newest(&run);
    // One instance is accepted again and again; the others stay where they were written first.
    while run.log.counters().bytes < 3 * run.geometry.total() as u64 {
        run.accept_newest_again();
    }
    assert!(newest(&run) > before && run.log.counters().cleaned > 0);
    run.rest();
    let scan = run.image().scan(NAME).unwrap();
    assert_eq!(Memory::of(&scan), run.expected(scan.end.sequence - 1));
}

/// What happens to a stretch of an image.
fn damage(image: &mut Image, random: &mut Random) -> (usize, usize, usize, &'static str) {
    let below =
        |random: &mut Random, bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
    // Where there is something: a block that begins somewhere.
    let geometry = image.geometry();
    let (slot, offset, length) = loop {
        let slot = below(random, geometry.segments);
        let offset = below(random, geometry.bytes / SECTOR) * SECTOR;
        if let Ok(header) = Header::read(&image.segment(slot)[offset..], NAME) {
            break (slot, offset, header.length as usize);
        }
    };
    let start = offset + below(random, length);
    let end = (start + 1 + below(random, length)).min(offset + length);
    let other = below(random, geometry.segments);
    let source = image.segment(other).to_vec();
    let target = image.segment_mut(slot);
    let kind = match random.below(6) {
        0 => {
            target[start] ^= 1 << random.below(8);
            "a flipped bit"
        }
        1 => {
            target[start..end].fill(0);
            "zeros"
        }
        2 => {
            target[start..end].iter_mut().for_each(|byte| *byte = random.next().to_le_bytes()[0]);
            "noise"
        }
        3 => {
            let from = below(random, geometry.bytes / SECTOR) * SECTOR;
            let length = length.next_multiple_of(SECTOR).min(geometry.bytes - from);
            let length = length.min(geometry.bytes - offset);
            target[offset..offset + length].copy_from_slice(&source[from..from + length]);
            return (slot, offset, offset + length, "a block of elsewhere");
        }
        4 => {
            target.copy_from_slice(&source);
            return (slot, 0, geometry.bytes, "a segment of elsewhere");
        }
        _ => {
            let (start, end) = (start / 512 * 512, end.next_multiple_of(512));
            let end = end.min(geometry.bytes);
            target[start..end].fill(0);
            return (slot, start, end, "a sector that was lost");
        }
    };
    (slot, start, end, kind)
}

/// A block of an image: where it is, and up to where it says that all were persistent.
struct Witness {
    slot: usize,
    offset: usize,
    length: usize,
    persisted: u64,
}

fn witnesses(image: &Image) -> Vec<Witness> {
    let geometry = image.geometry();
    let mut witnesses = Vec::new();
    for slot in 0..geometry.segments {
        for offset in (0..geometry.bytes).step_by(SECTOR) {
            if let Ok(header) = Header::read(&image.segment(slot)[offset..], NAME) {
                let (length, persisted) = (header.length as usize, header.persisted);
                witnesses.push(Witness { slot, offset, length, persisted });
            }
        }
    }
    witnesses
}

#[test]
fn a_thousand_damaged_logs_are_repaired_or_refused_and_never_wrong() {
    let (mut whole, mut cut, mut refused) = (0, 0, 0);
    for seed in 0..100 {
        let mut run = Run::new(1_000 + seed);
        run.write(50 + seed * 8);
        if seed % 2 == 0 {
            run.rest();
        }
        let persisted = run.log.persisted().0;
        let intact = run.crash();
        let witnesses = witnesses(&intact);
        let mut image = intact.copy();
        for nth in 0..10 {
            let mut random = Random::new(seed << 8 | nth);
            let (slot, start, end, kind) = damage(&mut image, &mut random);
            let is_hit =
                |w: &Witness| w.slot == slot && w.offset < end && w.offset + w.length > start;
            let known = witnesses.iter().filter(|w| !is_hit(w)).map(|w| w.persisted).max();
            let place = format!("seed {seed}.{nth}: {kind} in {slot} at {start}..{end}");
            match image.chain(NAME) {
                Ok(_) => {
                    let scan = image.scan(NAME).expect("it has a chain");
                    let last = scan.end.sequence - 1;
                    assert!(last >= known.unwrap_or(0), "{place}: cut at {last} of {known:?}");
                    assert_eq!(Memory::of(&scan), run.expected(last), "{place}");
                    *(if last >= persisted { &mut whole } else { &mut cut }) += 1;
                    image = scan.image;
                }
                Err(Finding::Damaged(what)) => {
                    assert!(!what.is_empty());
                    refused += 1;
                }
                Err(other) => panic!("{place}: {other:?}"),
            }
            image.segment_mut(slot).copy_from_slice(intact.segment(slot));
        }
    }
    assert_eq!(whole + cut + refused, 1_000);
    assert!(whole > 100 && refused > 300, "{whole} whole, {cut} cut, {refused} refused");
}
