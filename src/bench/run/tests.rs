//! Runs on a cluster of one tree and no network, in virtual time.

use super::*;
use crate::bench::{Mix, Settings};
use crate::node::Load;
use crate::proxy::{Completion, Outcome};
use crate::service::btree::{self, BTree, Pair};
use crate::service::{Access, Context, Lease, PartitionedService};
use crate::sim;
use crate::types::{Sequence, SessionId, Time};
use std::collections::VecDeque;

#[test]
fn a_run_fails_when_replicas_differ_or_commands_are_lost() {
    let mut report = Report::new(Settings::default());
    let mut tally = Tally::default();
    assert!(problem(&report, &tally).unwrap().contains("no command"));
    report.commands = 1;
    assert_eq!(problem(&report, &tally), None);
    tally.unknown = 3;
    assert!(problem(&report, &tally).unwrap().starts_with("3 commands were given up"));
    let replica = |digest: &str| Replica { id: 0, position: 1, digest: digest.to_owned() };
    report.replicas = vec![replica("a"), replica("b")];
    assert!(problem(&report, &tally).unwrap().starts_with("the replicas differ"));
}

#[test]
fn invalid_settings_start_nothing() {
    let settings = Settings { threads: 0, ..Settings::default() };
    let run = run_on(&settings, |_, _| unreachable!("the settings are checked first"));
    assert!(matches!(run, Err(RunError::Settings(_))));
}

/// Every command executes 100 us after it was issued, in the order of issue.
fn one_tree(settings: &Settings, mut generators: Vec<Generator>) -> Result<Observed, RunError> {
    let pairs = (0..settings.keys).map(|n| Pair { key: 2 * n, value: 2 * n });
    let tree = BTree::load(btree::Settings::default(), pairs).unwrap();
    let mut issued: Vec<VecDeque<(Time, u64, Vec<u8>)>> = vec![VecDeque::new(); generators.len()];
    let mut sequence = 0;
    for now in (1..).map(|step| Time(step * 50_000)) {
        for (generator, issued) in generators.iter_mut().zip(&mut issued) {
            while issued.front().is_some_and(|(at, ..)| now.0 - at.0 >= 100_000) {
                let (submitted, tag, command) = issued.pop_front().unwrap();
                sequence += 1;
                let mut payload = Vec::new();
                let mut lease = Lease::mint(Access::Whole);
                tree.execute(&mut lease, &Context::default(), &command, &mut payload);
                let (session, sequence) = (SessionId(1), Sequence(sequence));
                let (outcome, payload, flags) = (Outcome::Done, &payload[..], 0);
                let done =
                    Completion { tag, session, sequence, outcome, payload, submitted, flags };
                generator.on_completion(now, &done);
            }
            let mut command = Vec::new();
            while let Some(submission) = generator.next(now, &mut command) {
                issued.push_back((now, submission.tag, std::mem::take(&mut command)));
            }
        }
        if generators.iter().all(|generator| generator.is_over(now)) {
            break;
        }
    }
    let digest = tree.digest(&mut Lease::mint(Access::Whole));
    let state = |id| Replica { id, position: sequence, digest: format!("{:016x}", digest.0) };
    Ok(Observed {
        generators,
        network: Network::default(),
        logs: Logs::default(),
        rings: Vec::new(),
        replicas: vec![state(0), state(1)],
        synchronous: Synchronous::default(),
    })
}

fn short() -> Settings {
    Settings {
        keys: 1_000,
        key_space: 2_000,
        clients: 3,
        client_threads: 2,
        outstanding: 9,
        seconds: 0.2,
        warmup: 0.05,
        ..Settings::default()
    }
}

#[test]
fn half_of_the_inserts_and_deletes_take_effect() {
    let settings = Settings { dependent: Some(100.0), ..short() };
    let report = run_on(&settings, one_tree).unwrap();
    assert!(report.ok, "{:?}", report.error);
    // 9 commands in each 100 us of 0.2 s.
    assert!((17_000..=19_000).contains(&report.commands), "{}", report.commands);
    assert!((report.latency_us.p50 - 100.0).abs() < 1.0 && report.latency_us.max < 101.0);
    let (insert, delete) = (report.results.insert, report.results.delete);
    assert_eq!(report.commands, insert.ok + insert.exists + delete.ok + delete.missing);
    let effective = (insert.ok + delete.ok) * 100 / report.commands;
    assert!((45..=55).contains(&effective), "{effective} %");
}

#[test]
fn every_command_is_in_the_history_and_commands_of_any_kind_are_answered() {
    let path = std::env::temp_dir().join(format!("psmr-run-{}", std::process::id()));
    let mix: Mix = "read=20,update=20,insert=20,delete=20,range=20".parse().unwrap();
    let (mix, history) = (Some(mix), Some(path.clone()));
    let settings = Settings { mix, dependent: None, history, range_keys: 5, ..short() };
    let report = run_on(&settings, one_tree).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(report.ok, "{:?}", report.error);
    let executed = report.replicas[0].position;
    assert_eq!(text.lines().count() as u64, executed);
    assert!(report.commands < executed, "warm-up does not count");
    let history = sim::read_history(text.as_bytes()).unwrap();
    assert_eq!(sim::check_history(&history, |key| (key % 2 == 0).then_some(key)), []);
    let results = report.results;
    assert!(results.range.range > 0 && results.update.ok > 0 && results.update.missing > 0);
}
