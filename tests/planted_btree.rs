//! Planted bugs of the services, each caught by seeded interleavings.
//!
//! Two replicas execute the same sequence of each group, interleaved differently, and meet after
//! every round to execute what failed its check with the whole, in one order. Without a bug they
//! agree at every meeting on verdicts, contents and structure. A planted bug is global to the
//! process: all cases run in one test.

mod planted;

use planted::{Catcher, bugs};
use psmr::service::btree::{self, BTree, Pair};
use psmr::service::counters::{self, Bank, Program};
use psmr::service::{
    Access, Context, GroupMap, Lease, Optimistic, PartitionedService, Swept, Verdict,
};
use psmr::types::{Bug, Digest, GroupId, Random};

const GROUPS: usize = 3;
const KEY_SPACE: u64 = 120;
const SEEDS: u64 = 60;

/// What a group's worker did in a round: each command's verdict and reply.
type Record = Vec<(Verdict, Vec<u8>)>;

/// One round of parallel mode: the groups' sequences, interleaved by `random`.
fn run_round<S: Optimistic>(
    service: &S,
    sequences: &[Vec<Vec<u8>>],
    random: &mut Random,
) -> Vec<Record> {
    let mut records = vec![Record::new(); sequences.len()];
    let mut open: Vec<_> = (0..sequences.len()).filter(|&i| !sequences[i].is_empty()).collect();
    while !open.is_empty() {
        let turn = usize::try_from(random.below(open.len() as u64)).expect("small");
        let index = open[turn];
        let group = GroupId::new(index);
        let command = &sequences[index][records[index].len()];
        let mut reply = Vec::new();
        let mut lease = Lease::mint(Access::Keys(group));
        let context = Context::default();
        let verdict = service.try_execute(&mut lease, group, &context, command, &mut reply);
        records[index].push((verdict, reply));
        if records[index].len() == sequences[index].len() {
            open.swap_remove(turn);
        }
    }
    records
}

/// Executes with the whole what failed, in the order of the groups.
fn retry<S: PartitionedService>(service: &S, sequences: &[Vec<Vec<u8>>], records: &[Record]) {
    for (sequence, record) in sequences.iter().zip(records) {
        for (command, (verdict, _)) in sequence.iter().zip(record) {
            if *verdict != Verdict::Pass {
                let mut lease = Lease::mint(Access::Whole);
                service.execute(&mut lease, &Context::default(), command, &mut Vec::new());
            }
        }
    }
}

/// The first difference between two replicas, or a state that is no tree.
fn run_trees(seed: u64) -> Result<(), String> {
    let settings = btree::Settings {
        groups: GROUPS,
        key_space: KEY_SPACE,
        capacity: 6,
        ..btree::Settings::default()
    };
    let load = || {
        let pairs = (0..KEY_SPACE).step_by(2).map(|key| Pair { key, value: key });
        BTree::load(settings, pairs).expect("memory")
    };
    let replicas = [load(), load()];
    let mut random = Random::new(seed);
    for round in 0..12 {
        let sequences = tree_sequences(&replicas[0], &mut random);
        let structure = replicas[0].digest_structure();
        replicas[0].cut(&mut Lease::mint(Access::Whole));
        let records = [0, 1].map(|i| {
            let mut interleaving = Random::new(seed * 1000 + round * 2 + i as u64);
            run_round(&replicas[i], &sequences, &mut interleaving)
        });
        if records[0] != records[1] {
            return Err(format!("verdicts or replies differ in round {round}"));
        }
        replicas.iter().try_for_each(BTree::check_invariants)?;
        replicas.iter().for_each(|replica| retry(replica, &sequences, &records[0]));
        replicas.iter().try_for_each(BTree::check_invariants)?;
        if replicas[0].digest_structure() != replicas[1].digest_structure() {
            return Err(format!("structures differ in round {round}"));
        }
        if cut_of(&replicas[0], &load())? != structure {
            return Err(format!("the cut is not as the tree was at round {round}"));
        }
    }
    Ok(())
}

/// The structure that the last cut of `tree` has, restored into `other`.
fn cut_of(tree: &BTree, other: &BTree) -> Result<Digest, String> {
    let (mut snapshot, mut whole) = (Vec::new(), Lease::mint(Access::Whole));
    for group in (0..GROUPS).map(GroupId::new) {
        while tree.sweep(&mut whole, group, 4, &mut snapshot) == Swept::More {}
    }
    other.restore(&mut whole, &snapshot).map_err(|error| error.to_string())?;
    Ok(other.digest_structure())
}

fn tree_sequences(tree: &BTree, random: &mut Random) -> Vec<Vec<Vec<u8>>> {
    let mut sequences = vec![Vec::new(); GROUPS];
    for _ in 0..60 {
        let key = random.below(KEY_SPACE);
        let command = match random.below(3) {
            0 => btree::Command::Insert { key, value: random.below(1000) },
            1 => btree::Command::Delete { key },
            _ => btree::Command::Read { key },
        };
        sequences[tree.map().group(key).index()].push(command.to_bytes());
    }
    sequences
}

/// As [`run_trees`], for counters whose attempts fail and are undone; the second replica sees each
/// group's failing attempts once more, as after a lost retry, so an incomplete undo shows.
fn run_banks(seed: u64) -> Result<(), String> {
    let settings =
        counters::Settings { groups: GROUPS, counters: 24, bound: 100, initial: 50, reserve: 1000 };
    let replicas = [(); 2].map(|()| Bank::new(settings).expect("valid"));
    let mut random = Random::new(seed);
    for round in 0..6 {
        let mut sequences = vec![Vec::new(); GROUPS];
        for _ in 0..30 {
            let start = u32::try_from(random.below(24)).expect("small");
            let amount = i32::try_from(random.below(60)).expect("small") - 30;
            let program = Program::new(start, &[amount, -amount, amount]).expect("three steps");
            let command = counters::Command::Program(program).to_bytes();
            let group = replicas[0].optimistic(&command).single().expect("one group");
            sequences[group.index()].push(command);
        }
        let records = [0, 1].map(|i| {
            let mut interleaving = Random::new(seed * 1000 + round * 2 + i as u64);
            run_round(&replicas[i], &sequences, &mut interleaving)
        });
        if records[0] != records[1] {
            return Err(format!("verdicts or replies differ in round {round}"));
        }
        replicas.iter().for_each(|replica| retry(replica, &sequences, &records[0]));
        // Who has seen an attempt fail must be as who has not.
        let hostile = counters::Command::Add { counter: 0, amount: i64::MAX }.to_bytes();
        let (mut lease, mut reply) = (Lease::mint(Access::Keys(GroupId::new(0))), Vec::new());
        let context = Context::default();
        replicas[1].try_execute(&mut lease, GroupId::new(0), &context, &hostile, &mut reply);
        let away = Program::new(7, &[0, 0, 0, 0, 0, 0, 0, 0]).expect("eight steps");
        let away = counters::Command::Program(away).to_bytes();
        replicas[1].try_execute(&mut lease, GroupId::new(0), &context, &away, &mut reply);
        let digest = |bank: &Bank| bank.digest(&mut Lease::mint(Access::Whole));
        if digest(&replicas[0]) != digest(&replicas[1]) {
            return Err(format!("digests differ in round {round}"));
        }
    }
    Ok(())
}

/// The first seed that catches the planted bug, if any.
fn catch(run: fn(u64) -> Result<(), String>) -> Option<u64> {
    (1..=SEEDS).find(|&seed| run(seed).is_err())
}

#[test]
fn every_planted_bug_of_the_services_is_caught_and_without_one_replicas_agree() {
    if !Bug::plant(None) {
        return;
    }
    for seed in 1..=SEEDS {
        assert_eq!(run_trees(seed), Ok(()), "run_trees({seed}) replays it");
        assert_eq!(run_banks(seed), Ok(()), "run_banks({seed}) replays it");
    }
    for bug in bugs(Catcher::Tree) {
        Bug::plant(Some(bug));
        assert!(catch(run_trees).is_some(), "{} is not caught", bug.name());
    }
    for bug in bugs(Catcher::Counters) {
        Bug::plant(Some(bug));
        assert!(catch(run_banks).is_some(), "{} is not caught", bug.name());
    }
    Bug::plant(None);
}
