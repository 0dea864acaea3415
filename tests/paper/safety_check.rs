//! The safety check of the B+-tree (section IV; PROTOCOL 4). Four groups of 100 keys each; leaves of
//! four entries, of which two is the minimum.

use psmr::service::btree::{BTree, Command as TreeCommand, Outcome, Pair, Settings};
use psmr::service::{Access, Context, GroupMap, Lease, Optimistic, Verdict};
use psmr::types::{GroupId, GroupSet};

fn tree(keys: impl IntoIterator<Item = u64>) -> BTree {
    let settings = Settings {
        groups: 4,
        key_space: 400,
        capacity: 4,
        minimum_percent: 50,
        fill_percent: 100,
        ..Settings::default()
    };
    BTree::load(settings, keys.into_iter().map(|key| Pair { key, value: key })).unwrap()
}

fn check(tree: &BTree, command: TreeCommand) -> Verdict {
    let bytes = command.to_bytes();
    let group = tree.optimistic(&bytes).single().unwrap();
    let before = tree.digest_structure();
    let mut reply = Vec::new();
    let mut lease = Lease::mint(Access::Keys(group));
    let verdict = tree.try_execute(&mut lease, group, &Context::default(), &bytes, &mut reply);
    if verdict != Verdict::Pass {
        assert_eq!(tree.digest_structure(), before, "a failed check leaves the tree unchanged");
        assert!(reply.is_empty());
    }
    verdict
}

fn insert(tree: &BTree, key: u64) -> Verdict {
    check(tree, TreeCommand::Insert { key, value: 0 })
}

fn delete(tree: &BTree, key: u64) -> Verdict {
    check(tree, TreeCommand::Delete { key })
}

#[test]
fn an_insert_passes_where_its_leaf_has_room_and_fails_where_it_would_split() {
    let tree = tree((0..400).step_by(10));
    assert_eq!(insert(&tree, 125), Verdict::FailStructure, "leaves are full");
    assert_eq!(delete(&tree, 120), Verdict::Pass);
    assert_eq!(insert(&tree, 125), Verdict::Pass);
    assert_eq!(insert(&tree, 126), Verdict::FailStructure);
}

#[test]
fn an_insert_of_a_present_key_and_a_delete_of_a_missing_one_pass() {
    let tree = tree((0..400).step_by(10));
    assert_eq!(insert(&tree, 120), Verdict::Pass);
    assert_eq!(delete(&tree, 121), Verdict::Pass);
}

#[test]
fn a_delete_passes_above_the_minimum_and_fails_at_it() {
    let tree = tree((0..400).step_by(10));
    assert_eq!(delete(&tree, 120), Verdict::Pass);
    assert_eq!(delete(&tree, 130), Verdict::Pass);
    assert_eq!(delete(&tree, 140), Verdict::FailStructure);
}

#[test]
fn a_root_leaf_may_lose_its_last_entry() {
    let settings = Settings { groups: 1, capacity: 4, ..Settings::default() };
    let tree = BTree::load(settings, [Pair { key: 5, value: 5 }]).unwrap();
    assert_eq!(delete(&tree, 5), Verdict::Pass);
}

#[test]
fn a_leaf_that_straddles_partitions_fails_its_check_whatever_its_count() {
    // The leaf [90, 120) belongs to the groups 0 and 1; 3 of its 4 places are taken.
    let tree = tree([0, 10, 20, 30, 90, 95, 105, 110, 120, 130, 140, 150]);
    for key in [91, 104] {
        assert_eq!(insert(&tree, key), Verdict::FailBounds, "key {key}");
    }
    assert_eq!(delete(&tree, 95), Verdict::FailBounds);
    assert_eq!(delete(&tree, 105), Verdict::FailBounds);
    assert_eq!(insert(&tree, 95), Verdict::FailBounds, "present, but not this worker's to see");
}

#[test]
fn the_first_group_needs_no_lower_bound_and_the_last_no_upper_one() {
    let tree = tree((0..400).step_by(10));
    assert_eq!(delete(&tree, 0), Verdict::Pass, "the leftmost leaf is unbounded below");
    assert_eq!(delete(&tree, 390), Verdict::Pass, "the rightmost leaf is unbounded above");
    let only_the_middle = self::tree((110..190).step_by(10));
    assert_eq!(delete(&only_the_middle, 110), Verdict::FailBounds, "for an inner group they bind");
    assert_eq!(delete(&only_the_middle, 180), Verdict::FailBounds);
}

#[test]
fn an_update_runs_unchecked_on_a_leaf_that_straddles_partitions() {
    let tree = tree([0, 10, 20, 30, 90, 95, 105, 110, 120, 130, 140, 150]);
    let update = TreeCommand::Update { key: 95, value: 1 };
    assert_eq!(tree.conservative(&update.to_bytes()), GroupSet::one(GroupId::new(0)));
    assert_eq!(check(&tree, update), Verdict::Pass);
    let read = TreeCommand::Read { key: 95 };
    assert_eq!(tree.apply(&mut Lease::mint(Access::Whole), &read), Outcome::Value(1));
}
