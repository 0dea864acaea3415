//! Every corpus, and mutations of it.

use super::{TARGETS, Target};
use crate::host::program::COMMIT;
use crate::types::Random;
use crate::wire::{Kind, Message};
use std::fs;
use std::path::Path;

/// Values that lengths and counts break at.
const NUMBERS: [u64; 10] =
    [0, 1, 7, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
const LONGEST: usize = 1 << 16;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus of {name} is empty");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Changes `data` at one place.
fn mutate(data: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let below = |random: &mut Random, limit: usize| {
        usize::try_from(random.below(limit.max(1) as u64)).expect("below a length")
    };
    let at = below(random, data.len() + 1);
    let end = (at + 1 + below(random, 32)).min(data.len());
    match random.below(9) {
        0 if at < data.len() => data[at] ^= 1 << random.below(8),
        1 if at < data.len() => data[at] = u8::try_from(random.below(256)).expect("a byte"),
        2 => data.truncate(at),
        3 => drop(data.drain(at..end.max(at))),
        4 => {
            let copy = data[at..end.max(at)].to_vec();
            data.splice(at..at, copy);
        }
        5 | 6 => {
            let number = NUMBERS[below(random, NUMBERS.len())].to_le_bytes();
            let width = [1, 2, 4, 8][below(random, 4)];
            let end = (at + width).min(data.len());
            data[at..end].copy_from_slice(&number[..end - at]);
        }
        7 => {
            let number = NUMBERS[below(random, NUMBERS.len())].to_string();
            data.splice(at..end.max(at), number.into_bytes());
        }
        _ => {
            let other = &others[below(random, others.len())];
            let from = below(random, other.len());
            let to = (from + 1 + below(random, 64)).min(other.len());
            data.splice(at..end.max(at), other[from.min(to)..to].iter().copied());
        }
    }
    data.truncate(LONGEST);
}

/// A million in all, most of them of those targets that take a microsecond.
fn sample(name: &str) -> u64 {
    match name {
        "checkpoint" => 10_000,
        "config" => 20_000,
        _ => 250_000,
    }
}

/// Feeds a target its corpus, then `count` mutations.
fn feed((name, target): (&str, Target), count: u64, seed: u64) {
    let corpus = corpus(name);
    corpus.iter().for_each(|data| target(data));
    for number in 0..count {
        let mut random = Random::new(seed).stream(number);
        let start = usize::try_from(random.below(corpus.len() as u64)).expect("a corpus");
        let mut data = corpus[start].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut data, &corpus, &mut random);
        }
        let outcome = std::panic::catch_unwind(|| target(&data));
        if outcome.is_err() {
            let path = std::env::temp_dir().join(format!("psmr-fuzz-{name}-{seed}-{number}"));
            fs::write(&path, &data).unwrap();
            let path = path.display();
            panic!("{name}: mutation {number} of seed {seed}, commit {COMMIT}, is in {path}");
        }
    }
}

#[test]
fn corpora_and_their_mutations_are_read_or_refused() {
    for (name, target) in TARGETS {
        feed((name, target), sample(name), 1);
    }
}

#[test]
fn the_corpus_of_the_wire_has_every_kind_of_message() {
    let mut kinds: Vec<u8> = corpus("wire").iter().map(|data| data[0]).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let all: Vec<u8> = (1..=u8::MAX).filter(|kind| Kind::from_wire(*kind).is_some()).collect();
    assert_eq!(kinds, all, "write one of the missing kind to fuzz/corpus/wire");
    for data in corpus("wire") {
        assert!(Message::decode(data[0], &data[1..]).is_ok(), "{data:?}");
    }
}

/// `PSMR_FUZZ_RUNS=10000000 PSMR_FUZZ_TARGET=wire cargo test --release --lib fuzz -- --ignored`
#[test]
#[ignore = "as many mutations as PSMR_FUZZ_RUNS says, of PSMR_FUZZ_TARGET or all"]
fn many_mutations_are_read_or_refused() {
    let setting = |name| std::env::var(name).ok();
    let runs = setting("PSMR_FUZZ_RUNS").map_or(1_000_000, |runs| runs.parse().unwrap());
    let seed = setting("PSMR_FUZZ_SEED").map_or(2, |seed| seed.parse().unwrap());
    let wanted = setting("PSMR_FUZZ_TARGET");
    let targets =
        TARGETS.into_iter().filter(|(name, _)| wanted.as_deref().is_none_or(|w| w == *name));
    for (name, target) in targets {
        feed((name, target), runs, seed);
        println!("{name}: {runs} mutations of seed {seed}, commit {COMMIT}");
    }
}
