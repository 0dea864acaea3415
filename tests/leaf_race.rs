//! Readers of a leaf that straddles two partitions, beside writers of its neighbours.
//!
//! The threads do what parallel mode allows and nothing more: each group's worker reads and updates
//! keys of its own, some of them in the leaf that both share, and inserts and deletes where its
//! check passes; a third thread warms at random, which may race with anything. A reader must see
//! only values that were stored for its key.
//!
//! Under ThreadSanitizer:
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
//!   CARGO_TARGET_DIR=target/tsan TSAN_OPTIONS="suppressions=$PWD/.ci/tsan-suppressions.txt" \
//!   cargo test --test leaf_race --target x86_64-unknown-linux-gnu
//! ```
//!
//! All words of the tree are atomic, so the sanitizer watches what is around them. A move of entries
//! beside a reader of another group is found by the notes in the leaves (`BTree::races`), which a
//! failing run of [`BTree::check_invariants`] reports; tests/planted_btree.rs shows that they do.

use psmr::service::btree::{BTree, Command, Outcome, Pair, Settings};
use psmr::service::{Access, Context, GroupMap, Lease, Optimistic, PartitionedService, Verdict};
use psmr::types::{GroupId, Random};
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

const KEY_SPACE: u64 = 400;
const COMMANDS: u64 = 30_000;
const ROUNDS: u64 = 4;

/// Every value that is stored for a key names the key: the low half is the key, the high half a
/// number that rises with each of its owner's writes.
const fn value(key: u64, stamp: u64) -> u64 {
    stamp << 32 | key
}

fn assert_stored(key: u64, outcome: &Outcome) {
    match outcome {
        Outcome::Value(value) => assert_eq!(value & 0xffff_ffff, key, "a value of another key"),
        Outcome::Missing => {}
        other => panic!("{other:?}"),
    }
}

/// One group's worker in parallel mode; returns the changes whose check failed.
fn work(tree: &BTree, group: GroupId, seed: u64) -> Vec<Command> {
    let mut random = Random::new(seed);
    let start = tree.map().start(group);
    let half = KEY_SPACE / 2;
    let mut failed = Vec::new();
    let mut reply = Vec::with_capacity(64);
    for stamp in 0..COMMANDS {
        // Half of the draws are near the bound that both groups share.
        let offset = random.below(half);
        let near = if group.index() == 0 { half - 1 - offset % 8 } else { offset % 8 };
        let key = start + if random.below(2) == 0 { near } else { offset };
        let command = match random.below(8) {
            0 => Command::Insert { key, value: value(key, stamp) },
            1 => Command::Delete { key },
            2 | 3 => Command::Update { key, value: value(key, stamp) },
            _ => Command::Read { key },
        };
        let bytes = command.to_bytes();
        let mut lease = Lease::mint(Access::Keys(group));
        reply.clear();
        let context = Context::default();
        let verdict = tree.try_execute(&mut lease, group, &context, &bytes, &mut reply);
        match (verdict, command) {
            (Verdict::Pass, Command::Read { .. }) => {
                assert_stored(key, &Outcome::decode(&reply).expect("an outcome"));
            }
            (Verdict::Pass, _) => {}
            _ if failed.len() < 100 => failed.push(command),
            _ => {}
        }
    }
    failed
}

/// Warms at random until told to stop: a hint may race with anything.
fn warm(tree: &BTree, is_over: &AtomicBool, seed: u64) {
    let mut random = Random::new(seed);
    while !is_over.load(Relaxed) {
        let commands: Vec<_> = (0..32)
            .map(|_| Command::Insert { key: random.below(KEY_SPACE), value: 0 }.to_bytes())
            .collect();
        let commands: Vec<&[u8]> = commands.iter().map(Vec::as_slice).collect();
        tree.warm(&commands);
    }
}

#[test]
fn readers_of_a_straddling_leaf_see_stored_values_beside_writers_of_both_partitions() {
    let settings =
        Settings { groups: 2, key_space: KEY_SPACE, capacity: 16, ..Settings::default() };
    let pairs = (0..KEY_SPACE).step_by(2).map(|key| Pair { key, value: key });
    let tree = BTree::load(settings, pairs).expect("memory");
    assert_eq!(tree.count_straddling_leaves(), 1);
    let is_over = AtomicBool::new(false);
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|index| {
            let (tree, barrier) = (&tree, &barrier);
            scope.spawn(move || {
                let group = GroupId::new(index);
                for round in 0..ROUNDS {
                    barrier.wait();
                    let failed = work(tree, group, 77 + 10 * round + index as u64);
                    // Synchronous mode: one after the other, the rest parked.
                    for turn in 0..2 {
                        barrier.wait();
                        if turn == index {
                            retry(tree, &failed);
                        }
                    }
                    barrier.wait();
                }
            })
        });
        scope.spawn(|| warm(&tree, &is_over, 99));
        let results = workers.map(std::thread::ScopedJoinHandle::join);
        is_over.store(true, Relaxed);
        results.into_iter().for_each(|result| result.expect("no worker panics"));
    });
    assert_eq!(tree.check_invariants(), Ok(()));
    let counts = tree.check_counts();
    assert!(counts.passed > 0 && counts.failed_bounds > 0 && counts.failed_structure > 0);
}

/// Splits and merges under the lease of the whole, beside the thread that warms.
fn retry(tree: &BTree, failed: &[Command]) {
    for command in failed {
        let bytes = command.to_bytes();
        assert_eq!(tree.conservative(&bytes).len(), 2);
        let mut lease = Lease::mint(Access::Whole);
        tree.execute(&mut lease, &Context::default(), &bytes, &mut Vec::new());
    }
}
