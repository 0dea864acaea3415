//! Properties against an oracle, and the cases that a toy skips.

use super::*;
use crate::service::{
    Access, Context, GroupMap, Lease, Optimistic, PartitionedService, Swept, Verdict,
};
use crate::types::{Digest, GroupId, Random};
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEY_SPACE: u64 = 200;

fn whole() -> Lease<'static> {
    Lease::mint(Access::Whole)
}

fn digest(tree: &BTree) -> Digest {
    tree.digest(&mut whole())
}

fn pairs(count: u64) -> impl Iterator<Item = Pair> {
    (0..count).map(|i| Pair { key: 2 * i, value: 2 * i })
}

/// What a sequential map answers.
fn oracle(map: &mut BTreeMap<u64, u64>, command: &Command) -> Outcome {
    match *command {
        Command::Read { key } => map.get(&key).map_or(Outcome::Missing, |&v| Outcome::Value(v)),
        Command::Update { key, value } => map.get_mut(&key).map_or(Outcome::Missing, |slot| {
            *slot = value;
            Outcome::Ok
        }),
        Command::Insert { key, value } => {
            if map.contains_key(&key) {
                return Outcome::Exists;
            }
            map.insert(key, value);
            Outcome::Ok
        }
        Command::Delete { key } => map.remove(&key).map_or(Outcome::Missing, |_| Outcome::Ok),
        Command::Range { from, to, limit } => {
            let range = map.range(from.min(to)..to).take(limit as usize);
            Outcome::Range(range.map(|(&key, &value)| Pair { key, value }).collect())
        }
    }
}

/// Executes optimistically where the check allows it, otherwise with the whole.
fn execute(tree: &BTree, command: &Command) -> Outcome {
    let bytes = command.to_bytes();
    let Some(group) = tree.optimistic(&bytes).single() else {
        return tree.apply(&mut whole(), command);
    };
    let structure = tree.digest_structure();
    let mut reply = Vec::new();
    let mut lease = Lease::mint(Access::Keys(group));
    let verdict = tree.try_execute(&mut lease, group, &Context::default(), &bytes, &mut reply);
    if verdict == Verdict::Pass {
        return Outcome::decode(&reply).unwrap();
    }
    assert!(reply.is_empty(), "a failed check says nothing");
    assert_eq!(tree.digest_structure(), structure, "a failed check changes nothing");
    assert_eq!(tree.safety_check(group, command), verdict);
    tree.apply(&mut whole(), command)
}

fn warm(tree: &BTree, commands: &[Command]) {
    let bytes: Vec<_> = commands.iter().map(Command::to_bytes).collect();
    let bytes: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    tree.warm(&bytes);
}

fn any_command() -> impl Strategy<Value = Command> {
    let key = || prop_oneof![8 => 0..KEY_SPACE + 20, 1 => Just(u64::MAX), 1 => Just(0u64)];
    prop_oneof![
        2 => key().prop_map(|key| Command::Read { key }),
        2 => (key(), any::<u64>()).prop_map(|(key, value)| Command::Update { key, value }),
        6 => (key(), any::<u64>()).prop_map(|(key, value)| Command::Insert { key, value }),
        6 => key().prop_map(|key| Command::Delete { key }),
        1 => (key(), key(), 0u32..50).prop_map(|(from, to, limit)| Command::Range {
            from,
            to,
            limit
        }),
    ]
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let groups = prop_oneof![Just(1usize), Just(2), Just(3), Just(8), Just(64)];
    let separators = prop_oneof![Just(Separators::Natural), Just(Separators::Aligned)];
    let (minimum, fill) = (prop_oneof![Just(25usize), Just(50)], 50usize..=100);
    let key_space = prop_oneof![9 => Just(KEY_SPACE), 1 => Just(5u64)];
    (groups, 4usize..20, minimum, fill, separators, key_space).prop_map(
        |(groups, capacity, minimum_percent, fill_percent, separators, key_space)| Settings {
            groups,
            key_space,
            capacity,
            minimum_percent,
            fill_percent,
            separators,
            ..Settings::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_answers_as_a_sorted_map_and_keeps_its_invariants(
        settings in any_settings(),
        loaded in 0..100u64,
        warmed in 0..40usize,
        commands in prop::collection::vec(any_command(), 0..400),
    ) {
        let tree = BTree::load(settings, pairs(loaded)).unwrap();
        let mut map: BTreeMap<_, _> = pairs(loaded).map(|pair| (pair.key, pair.value)).collect();
        prop_assert_eq!(tree.check_invariants(), Ok(()));
        for batch in commands.chunks(warmed.max(1)) {
            if warmed > 0 {
                warm(&tree, batch);
            }
            for command in batch {
                prop_assert_eq!(execute(&tree, command), oracle(&mut map, command), "{:?}", command);
                prop_assert_eq!(tree.check_invariants(), Ok(()));
            }
        }
        let limit = tree.settings().range_limit;
        let all = tree.apply(&mut whole(), &Command::Range { from: 0, to: u64::MAX, limit });
        let expected = oracle(&mut map, &Command::Range { from: 0, to: u64::MAX, limit });
        prop_assert_eq!(all, expected);
        prop_assert_eq!(tree.count_pairs(), map.len());
    }

    #[test]
    fn a_snapshot_restores_the_same_leaves_into_a_tree_with_another_past(
        settings in any_settings(),
        commands in prop::collection::vec(any_command(), 0..200),
        others in prop::collection::vec(any_command(), 0..200),
    ) {
        let tree = BTree::load(settings, pairs(40)).unwrap();
        let other = BTree::load(settings, pairs(10)).unwrap();
        commands.iter().for_each(|command| { execute(&tree, command); });
        others.iter().for_each(|command| { execute(&other, command); });
        let mut snapshot = Vec::new();
        tree.snapshot(&mut whole(), &mut snapshot);
        other.restore(&mut whole(), &snapshot).unwrap();
        prop_assert_eq!(other.check_invariants(), Ok(()));
        prop_assert_eq!(other.digest_structure(), tree.digest_structure());
        prop_assert_eq!(digest(&other), digest(&tree));
        for command in &others {
            prop_assert_eq!(execute(&other, command), execute(&tree, command));
        }
        prop_assert_eq!(other.digest_structure(), tree.digest_structure());
        for length in 0..snapshot.len() {
            let cut = other.restore(&mut whole(), &snapshot[..length]);
            prop_assert!(cut.is_err());
        }
    }

    #[test]
    fn a_cut_is_given_out_as_it_was_whatever_is_executed_between_the_sweeps(
        settings in any_settings(),
        before in prop::collection::vec(any_command(), 0..100),
        after in prop::collection::vec((any_command(), 0usize..64, 0usize..4), 0..300),
        again in prop::collection::vec(any_command(), 0..20),
    ) {
        let tree = BTree::load(settings, pairs(60)).unwrap();
        before.iter().for_each(|command| { execute(&tree, command); });
        for _ in 0..2 {
            let structure = tree.digest_structure();
            tree.cut(&mut whole());
            let mut snapshot = Vec::new();
            let sweep = |group: usize, budget, snapshot: &mut Vec<u8>| {
                let group = GroupId::new(group % settings.groups);
                tree.sweep(&mut Lease::mint(Access::Keys(group)), group, budget, snapshot)
            };
            for (command, group, budget) in &after {
                execute(&tree, command);
                sweep(*group, *budget, &mut snapshot);
            }
            for group in 0..settings.groups {
                while sweep(group, 1, &mut snapshot) == Swept::More {}
            }
            let other = BTree::load(settings, pairs(3)).unwrap();
            other.restore(&mut whole(), &snapshot).unwrap();
            prop_assert_eq!(other.check_invariants(), Ok(()));
            prop_assert_eq!(other.digest_structure(), structure);
            // A cut that is never swept is no obstacle to the next one.
            tree.cut(&mut whole());
            again.iter().for_each(|command| { execute(&tree, command); });
        }
    }

    #[test]
    fn the_digest_of_contents_does_not_depend_on_k_or_on_the_leaves(
        (one, two) in (any_settings(), any_settings()),
        commands in prop::collection::vec(any_command(), 0..200),
    ) {
        let one = BTree::load(one, pairs(30)).unwrap();
        let two = BTree::grow(two, pairs(30)).unwrap();
        for command in &commands {
            prop_assert_eq!(execute(&one, command), execute(&two, command));
        }
        prop_assert_eq!(digest(&one), digest(&two));
    }

    #[test]
    fn no_snapshot_makes_restore_panic(
        word in 0usize..40, value: u64, commands in prop::collection::vec(any_command(), 0..50),
    ) {
        let settings = Settings { capacity: 4, ..Settings::default() };
        let tree = BTree::load(settings, pairs(20)).unwrap();
        commands.iter().for_each(|command| { execute(&tree, command); });
        let mut snapshot = Vec::new();
        tree.snapshot(&mut whole(), &mut snapshot);
        let at = (word * 8).min(snapshot.len() - 8);
        snapshot[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let _ = tree.restore(&mut whole(), &snapshot);
    }
}

#[test]
fn a_large_load_has_full_leaves_and_its_invariants_under_every_setting() {
    for separators in [Separators::Natural, Separators::Aligned] {
        for fill_percent in [50, 70, 99, 100] {
            for count in [0, 1, 31, 64, 65, 127, 128, 129, 5000, 100_000] {
                let settings = Settings {
                    groups: 8,
                    key_space: 2 * count.max(1),
                    fill_percent,
                    separators,
                    ..Settings::default()
                };
                let tree = BTree::load(settings, pairs(count)).unwrap();
                assert_eq!(tree.check_invariants(), Ok(()), "{settings:?}");
                assert_eq!(tree.count_pairs() as u64, count);
                if separators == Separators::Aligned && count >= 5000 {
                    assert_eq!(tree.count_straddling_leaves(), 0);
                }
            }
        }
    }
}

#[test]
fn a_tree_grows_to_many_levels_and_merges_back_to_an_empty_root_leaf() {
    let settings = Settings { capacity: 4, ..Settings::default() };
    let tree = BTree::grow(settings, pairs(5000)).unwrap();
    assert_eq!(tree.check_invariants(), Ok(()));
    assert!(tree.root().level() >= 6);
    for Pair { key, .. } in pairs(5000) {
        let key = key.wrapping_mul(2_654_435_761) % 5000 * 2;
        let _ = tree.apply(&mut whole(), &Command::Delete { key });
    }
    for Pair { key, .. } in pairs(5000) {
        let _ = tree.apply(&mut whole(), &Command::Delete { key });
    }
    assert_eq!(tree.check_invariants(), Ok(()));
    assert_eq!((tree.root().level(), tree.count_pairs()), (0, 0));
}

#[test]
fn extreme_keys_and_values_are_keys_and_values() {
    let settings = Settings { groups: 3, key_space: 1000, ..Settings::default() };
    let tree = BTree::load(settings, []).unwrap();
    for key in [0, 333, 334, 999, 1000, 1001, u64::MAX - 1, u64::MAX] {
        let value = u64::MAX - key;
        assert_eq!(tree.apply(&mut whole(), &Command::Read { key }), Outcome::Missing);
        assert_eq!(tree.apply(&mut whole(), &Command::Insert { key, value }), Outcome::Ok);
        assert_eq!(tree.apply(&mut whole(), &Command::Insert { key, value }), Outcome::Exists);
        assert_eq!(tree.apply(&mut whole(), &Command::Read { key }), Outcome::Value(value));
    }
    let below_max = Command::Range { from: 1001, to: u64::MAX, limit: 9 };
    let Outcome::Range(pairs) = tree.apply(&mut whole(), &below_max) else { panic!() };
    assert_eq!(pairs.iter().map(|pair| pair.key).collect::<Vec<_>>(), [1001, u64::MAX - 1]);
    assert_eq!(tree.apply(&mut whole(), &Command::Delete { key: u64::MAX }), Outcome::Ok);
    assert_eq!(tree.check_invariants(), Ok(()));
}

#[test]
fn keys_above_the_range_are_refused_where_the_settings_say_so() {
    let keys_above = KeysAbove::Refuse;
    let settings = Settings { groups: 2, key_space: 10, keys_above, ..Settings::default() };
    let tree = BTree::load(settings, [Pair { key: 9, value: 9 }]).unwrap();
    assert_eq!(execute(&tree, &Command::Insert { key: 10, value: 0 }), Outcome::Refused);
    assert_eq!(execute(&tree, &Command::Read { key: u64::MAX }), Outcome::Refused);
    assert_eq!(execute(&tree, &Command::Read { key: 9 }), Outcome::Value(9));
    let above = BTree::load(settings, [Pair { key: 10, value: 0 }]);
    assert!(matches!(above, Err(LoadError::AboveKeySpace { key: 10, key_space: 10 })));
    let unsorted = BTree::load(settings, [1, 1].map(|key| Pair { key, value: 0 }));
    assert!(matches!(unsorted, Err(LoadError::Unsorted { first: 1, second: 1 })));
}

#[test]
fn bytes_that_are_no_command_are_refused_and_change_nothing() {
    let tree = BTree::load(Settings::default(), pairs(9)).unwrap();
    let before = digest(&tree);
    let bytes: [&[u8]; 4] = [b"", b"\x01", b"\xff12345678", b"\x03123456781234567"];
    for bytes in bytes {
        let mut reply = Vec::new();
        tree.warm(&[bytes]);
        tree.execute(&mut whole(), &Context::default(), bytes, &mut reply);
        assert_eq!(Outcome::decode(&reply), Some(Outcome::Refused));
    }
    assert_eq!(digest(&tree), before);
}

#[test]
#[should_panic(expected = "owns the whole")]
fn a_dependent_command_without_check_or_whole_lease_is_a_programmers_error() {
    let tree = BTree::load(Settings { groups: 2, ..Settings::default() }, pairs(9)).unwrap();
    let mut lease = Lease::mint(Access::Keys(GroupId::new(0)));
    let _ = tree.apply(&mut lease, &Command::Insert { key: 1, value: 1 });
}

#[test]
fn the_check_is_the_protocols_box() {
    let settings = Settings { groups: 2, key_space: 16, capacity: 4, ..Settings::default() };
    let load = |keys: &[u64]| {
        let pairs = keys.iter().map(|&key| Pair { key, value: key });
        BTree::load(Settings { fill_percent: 100, ..settings }, pairs).unwrap()
    };
    let (zero, one) = (GroupId::new(0), GroupId::new(1));
    let insert = |key| Command::Insert { key, value: 0 };
    // A root leaf straddles when K = 2: bounds come first, even for commands without effect.
    let root = load(&[1, 9]);
    assert_eq!(root.safety_check(zero, &insert(1)), Verdict::FailBounds);
    assert_eq!(root.safety_check(one, &Command::Delete { key: 10 }), Verdict::FailBounds);
    // Leaves [0, 8), [8, 12), [12, ..), full.
    let tree = load(&[0, 2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15]);
    assert_eq!(tree.safety_check(zero, &insert(1)), Verdict::FailStructure);
    assert_eq!(tree.safety_check(zero, &insert(2)), Verdict::Pass, "present: changes nothing");
    assert_eq!(tree.safety_check(zero, &Command::Delete { key: 2 }), Verdict::Pass);
    assert_eq!(tree.safety_check(one, &insert(100)), Verdict::FailStructure);
    assert_eq!(tree.safety_check(one, &insert(1)), Verdict::FailBounds, "another group's key");
    // Leaves [0, 9), [9, ..): the first straddles, whoever asks.
    let tree = load(&[0, 2, 4, 8, 9, 10, 11, 12]);
    assert_eq!(tree.safety_check(zero, &Command::Delete { key: 2 }), Verdict::FailBounds);
    assert_eq!(tree.safety_check(one, &Command::Delete { key: 8 }), Verdict::FailBounds);
    assert_eq!(tree.safety_check(one, &Command::Delete { key: 9 }), Verdict::Pass);
    // At the minimum of two a leaf loses nothing, unless nothing is there to lose.
    execute(&tree, &Command::Delete { key: 9 });
    execute(&tree, &Command::Delete { key: 10 });
    assert_eq!(tree.safety_check(one, &Command::Delete { key: 11 }), Verdict::FailStructure);
    assert_eq!(tree.safety_check(one, &Command::Delete { key: 13 }), Verdict::Pass, "missing");
    assert_eq!(tree.check_counts().passed, 2);
}

#[test]
fn an_only_group_and_a_root_leaf_fail_for_fullness_alone() {
    let settings = Settings { capacity: 4, ..Settings::default() };
    let tree = BTree::load(settings, pairs(1)).unwrap();
    let zero = GroupId::new(0);
    assert_eq!(tree.safety_check(zero, &Command::Delete { key: 0 }), Verdict::Pass);
    for key in 1..4 {
        execute(&tree, &Command::Insert { key, value: 0 });
    }
    let insert = Command::Insert { key: 9, value: 0 };
    assert_eq!(tree.safety_check(zero, &insert), Verdict::FailStructure);
}

/// Half inserts, half deletes, uniform over twice the loaded keys, as the leaf-level model has it.
fn fail_rate(tree: &BTree, keys: u64, commands: u64) -> f64 {
    let before = tree.check_counts();
    let mut random = Random::new(1);
    for _ in 0..commands {
        let key = random.below(2 * keys);
        let insert = Command::Insert { key, value: key };
        let command = if random.chance(1, 2) { insert } else { Command::Delete { key } };
        let bytes = command.to_bytes();
        let group = tree.optimistic(&bytes).single().unwrap();
        let mut lease = Lease::mint(Access::Keys(group));
        let mut reply = Vec::new();
        let context = Context::default();
        if tree.try_execute(&mut lease, group, &context, &bytes, &mut reply) != Verdict::Pass {
            tree.apply(&mut whole(), &command);
        }
    }
    let after = tree.check_counts();
    let failed = |counts: CheckCounts| counts.failed_bounds + counts.failed_structure;
    (failed(after) - failed(before)) as f64 / commands as f64
}

#[test]
fn fail_rates_are_those_of_the_leaf_level_model() {
    let keys = 100_000;
    let load = |fill_percent, minimum_percent| {
        let settings = Settings {
            groups: 4,
            key_space: 2 * keys,
            fill_percent,
            minimum_percent,
            ..Settings::default()
        };
        BTree::load(settings, pairs(keys)).unwrap()
    };
    let loaded = load(70, 50);
    let first = fail_rate(&loaded, keys, 200_000);
    assert!(first < 0.002, "{first}");
    assert_eq!(loaded.check_invariants(), Ok(()));
    let full = fail_rate(&load(100, 50), keys, 50_000);
    assert!((0.005..0.1).contains(&full), "a full load splits often: {full}");
    let mut disorder: Vec<_> = pairs(keys).collect();
    Random::new(2).shuffle(&mut disorder);
    let pairs = disorder.iter().copied();
    let settings = Settings { groups: 4, key_space: 2 * keys, ..Settings::default() };
    let grown = fail_rate(&BTree::grow(settings, pairs.clone()).unwrap(), keys, 200_000);
    let lazy = Settings { minimum_percent: 25, ..settings };
    let grown_lazy = fail_rate(&BTree::grow(lazy, pairs).unwrap(), keys, 200_000);
    eprintln!("loaded {first} full {full} grown {grown} grown, minimum 1/4 {grown_lazy}");
    assert!((0.002..0.02).contains(&grown) && grown_lazy < grown / 2.0, "{grown} {grown_lazy}");
}

#[test]
fn a_hint_holds_until_the_structure_changes_and_for_its_own_tree_alone() {
    let settings = Settings { capacity: 4, fill_percent: 100, ..Settings::default() };
    let load = || BTree::load(settings, pairs(40)).unwrap();
    let (tree, other) = (load(), load());
    let (read, delete) = (Command::Read { key: 10 }, Command::Delete { key: 8 });
    warm(&tree, &[delete, read]);
    assert!(other.hint(8).is_none(), "another tree's");
    assert_eq!(tree.apply(&mut whole(), &delete), Outcome::Ok);
    assert!(tree.hint(10).is_some(), "entries move without making a hint wrong");
    assert!(tree.hint(10).is_none(), "taken up once");
    warm(&tree, &[read, read]);
    let insert = Command::Insert { key: 31, value: 0 };
    assert_eq!(tree.apply(&mut whole(), &insert), Outcome::Ok);
    assert!(tree.hint(10).is_none(), "a leaf was split");
}
