//! Lookups and changes in a large tree: one at a time, interleaved, and std's `BTreeMap` beside it.
//!
//! `PSMR_BENCH_KEYS=10000000 cargo bench --bench btree`; 1 M keys unless told otherwise. Each
//! iteration runs a batch of 1,024 commands over uniform keys, so the throughput column is commands.

use divan::{Bencher, counter::ItemsCount};
use psmr::service::btree::{BTree, Command, Pair, Settings, WARM_BATCH};
use psmr::service::{Access, Context, Lease, PartitionedService};
use psmr::types::Random;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const BATCH: usize = 1024;

static KEYS: LazyLock<u64> = LazyLock::new(|| {
    std::env::var("PSMR_BENCH_KEYS").map_or(1_000_000, |keys| keys.parse().expect("a number"))
});

static TREE: LazyLock<BTree> = LazyLock::new(|| {
    let settings = Settings { key_space: 2 * *KEYS, ..Settings::default() };
    BTree::load(settings, pairs()).expect("memory")
});

#[expect(clippy::print_stderr, reason = "a bench says on what it ran")]
fn main() {
    eprintln!("{} keys on {}", *KEYS, TREE.rung());
    divan::main();
}

fn pairs() -> impl Iterator<Item = Pair> {
    (0..*KEYS).map(|i| Pair { key: 2 * i, value: 2 * i })
}

/// Uniform keys of [0, 2 * keys), the same for everyone.
struct Keys(Random);

impl Keys {
    const fn new() -> Self {
        Self(Random::new(1))
    }

    fn next(&mut self) -> u64 {
        self.0.below(2 * *KEYS)
    }

    fn coin(&mut self) -> bool {
        self.0.chance(1, 2)
    }

    /// A batch of commands; the bool draws one of two kinds.
    fn batch(&mut self, make: impl Fn(u64, bool) -> Command) -> Vec<Vec<u8>> {
        let mut command = || {
            let key = self.next();
            make(key, self.coin()).to_bytes()
        };
        (0..BATCH).map(|_| command()).collect()
    }
}

fn run(bencher: Bencher<'_, '_>, warm: usize, make: impl Fn(u64, bool) -> Command) {
    let tree = &*TREE;
    let mut keys = Keys::new();
    let mut reply = Vec::with_capacity(1 << 20);
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| keys.batch(&make)).bench_local_refs(
        |commands| {
            let commands: Vec<&[u8]> = commands.iter().map(Vec::as_slice).collect();
            let mut lease = Lease::mint(Access::Whole);
            for batch in commands.chunks(WARM_BATCH) {
                if warm > 0 {
                    tree.warm(batch);
                }
                reply.clear();
                for command in batch {
                    tree.execute(&mut lease, &Context::default(), command, &mut reply);
                }
            }
            reply.len()
        },
    );
}

const fn insert_or_delete(key: u64, is_insert: bool) -> Command {
    if is_insert { Command::Insert { key, value: key } } else { Command::Delete { key } }
}

#[divan::bench(args = [0, 32])]
fn read(bencher: Bencher<'_, '_>, warm: usize) {
    run(bencher, warm, |key, _| Command::Read { key });
}

#[divan::bench(args = [0, 32])]
fn update(bencher: Bencher<'_, '_>, warm: usize) {
    run(bencher, warm, |key, _| Command::Update { key, value: key });
}

#[divan::bench(args = [0, 32])]
fn change(bencher: Bencher<'_, '_>, warm: usize) {
    run(bencher, warm, insert_or_delete);
}

/// The hint alone: what overlapping saves must be more than this.
#[divan::bench]
fn warm_only(bencher: Bencher<'_, '_>) {
    let tree = &*TREE;
    let mut keys = Keys::new();
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| keys.batch(|key, _| Command::Read { key }))
        .bench_local_refs(|commands| {
            let commands: Vec<&[u8]> = commands.iter().map(Vec::as_slice).collect();
            commands.chunks(WARM_BATCH).for_each(|batch| tree.warm(batch));
        });
}

/// A read of what is in the nearest cache already: 32 commands again and again.
#[divan::bench]
fn read_cached(bencher: Bencher<'_, '_>) {
    let tree = &*TREE;
    let commands = Keys::new().batch(|key, _| Command::Read { key });
    let mut reply = Vec::with_capacity(1 << 20);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let mut lease = Lease::mint(Access::Whole);
        for command in commands[..WARM_BATCH].iter().cycle().take(BATCH) {
            reply.clear();
            tree.execute(&mut lease, &Context::default(), command, &mut reply);
        }
    });
}

#[divan::bench]
fn std_read(bencher: Bencher<'_, '_>) {
    let map = std_map();
    let mut keys = Keys::new();
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| (0..BATCH).map(|_| keys.next()).collect())
        .bench_local_refs(|keys: &mut Vec<u64>| {
            keys.iter().filter_map(|key| map.get(key)).fold(0, |sum, value| sum ^ value)
        });
}

#[divan::bench]
fn std_change(bencher: Bencher<'_, '_>) {
    let mut map = std_map();
    let mut keys = Keys::new();
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| (0..BATCH).map(|_| (keys.next(), keys.coin())).collect())
        .bench_local_refs(|keys: &mut Vec<(u64, bool)>| {
            for &mut (key, is_insert) in keys {
                if is_insert {
                    map.entry(key).or_insert(key);
                } else {
                    map.remove(&key);
                }
            }
        });
}

fn std_map() -> BTreeMap<u64, u64> {
    pairs().map(|pair| (pair.key, pair.value)).collect()
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn load(bencher: Bencher<'_, '_>) {
    let settings = Settings { key_space: 2 * *KEYS, ..Settings::default() };
    bencher.counter(ItemsCount::new(*KEYS)).bench_local(|| BTree::load(settings, pairs()));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn digest(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(*KEYS))
        .bench_local(|| TREE.digest(&mut Lease::mint(Access::Whole)));
}
