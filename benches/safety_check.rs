//! The safety check of opt-PSMR: alone, with the execution that it clears, and that without it.
//!
//! 100,000 keys, in the caches: the misses of a large tree would hide the difference.

use divan::{Bencher, counter::ItemsCount};
use psmr::service::btree::{BTree, Command, Pair, Settings};
use psmr::service::{Access, Context, GroupMap, Lease, Optimistic, PartitionedService, Verdict};
use psmr::types::{GroupId, Random};

const KEYS: u64 = 100_000;
const BATCH: usize = 1024;

fn main() {
    divan::main();
}

fn tree(groups: usize) -> BTree {
    let settings = Settings { groups, key_space: 2 * KEYS, ..Settings::default() };
    let pairs = (0..KEYS).map(|i| Pair { key: 2 * i, value: i });
    BTree::load(settings, pairs).expect("memory")
}

struct Draw(Random);

impl Draw {
    fn command(&mut self) -> Command {
        let key = self.0.below(2 * KEYS);
        let insert = Command::Insert { key, value: key };
        if self.0.chance(1, 2) { insert } else { Command::Delete { key } }
    }

    fn batch(&mut self, tree: &BTree) -> Vec<(GroupId, Command, Vec<u8>)> {
        let mut draw = || {
            let command = self.command();
            (tree.map().group(command.key()), command, command.to_bytes())
        };
        (0..BATCH).map(|_| draw()).collect()
    }
}

#[divan::bench(args = [1, 2, 8])]
fn check_alone(bencher: Bencher<'_, '_>, groups: usize) {
    let tree = tree(groups);
    let mut draw = Draw(Random::new(1));
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| draw.batch(&tree)).bench_local_refs(
        |commands| {
            let passes = |&&(group, command, _): &&(GroupId, Command, Vec<u8>)| {
                tree.safety_check(group, &command) == Verdict::Pass
            };
            commands.iter().filter(passes).count()
        },
    );
}

#[divan::bench(args = [1, 2, 8])]
fn check_and_execute(bencher: Bencher<'_, '_>, groups: usize) {
    let tree = tree(groups);
    let mut draw = Draw(Random::new(1));
    let context = Context::default();
    let mut reply = Vec::with_capacity(64);
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| draw.batch(&tree)).bench_local_refs(
        |commands| {
            for (group, _, bytes) in commands {
                reply.clear();
                let mut lease = Lease::mint(Access::Keys(*group));
                let verdict = tree.try_execute(&mut lease, *group, &context, bytes, &mut reply);
                if verdict != Verdict::Pass {
                    let mut lease = Lease::mint(Access::Whole);
                    tree.execute(&mut lease, &context, bytes, &mut reply);
                }
            }
        },
    );
}

#[divan::bench]
fn execute_with_the_whole(bencher: Bencher<'_, '_>) {
    let tree = tree(2);
    let mut draw = Draw(Random::new(1));
    let mut reply = Vec::with_capacity(64);
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| draw.batch(&tree)).bench_local_refs(
        |commands| {
            for (_, _, bytes) in commands {
                reply.clear();
                let mut lease = Lease::mint(Access::Whole);
                tree.execute(&mut lease, &Context::default(), bytes, &mut reply);
            }
        },
    );
}

#[divan::bench]
fn map_of_a_client(bencher: Bencher<'_, '_>) {
    let tree = tree(8);
    let mut draw = Draw(Random::new(1));
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| draw.batch(&tree)).bench_local_refs(
        |commands| {
            let bits = |(_, _, bytes): &(GroupId, Command, Vec<u8>)| {
                tree.map().optimistic(bytes).to_bits() ^ tree.map().conservative(bytes).to_bits()
            };
            commands.iter().map(bits).fold(0, |sum, bits| sum ^ bits)
        },
    );
}
