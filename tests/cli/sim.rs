//! `psmr sim` as a user meets it.

use super::{psmr, refuses, text};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// A file of this process in the system's directory for such; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("psmr-{}-{name}", std::process::id()));
        fs::write(&path, content).expect("a temporary file");
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A history of reads that each found the key's own value.
fn reads(keys: impl Iterator<Item = u64>) -> String {
    let line = |key| {
        format!(
            r#"{{"invoke_ns":"1","return_ns":"2","op":"read","key":"{key}","result":"value","read":"{key}"}}"#
        ) + "\n"
    };
    keys.map(line).collect()
}

#[test]
fn seeds_end_at_the_last_one_and_those_behind_it_are_refused() {
    let last = u64::MAX.to_string();
    let before = (u64::MAX - 1).to_string();
    refuses(&["sim", "--seed", &last], 2, &["--seed 18446744073709551615", "--runs 500"]);
    refuses(&["sim", "--seed", &last, "--runs", "5"], 2, &["--seed", "--runs 5", "fewer --runs"]);
    refuses(&["sim", "--seed", &before, "--runs", "3"], 2, &["--seed", "--runs 3"]);
    let short = ["--commands", "20", "--model", "smr"];
    for (seed, runs) in [(&last, "1 run "), (&before, "2 runs ")] {
        let arguments = ["sim", "--seed", seed, "--runs", &runs[..1]];
        let output = psmr(&[&arguments[..], &short].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).starts_with(&format!("{runs}from seed {seed}: ")));
    }
    let output = psmr(&[&["sim", "--replay", &last][..], &short].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn what_would_run_nothing_or_without_end_is_refused() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--runs", "0"], &["--runs 0", "1 or more"]),
        (&["--commands", "0"], &["--commands 0", "1 to 10000"]),
        (&["--commands", "99999999"], &["--commands 99999999", "1 to 10000"]),
        (&["--jobs", "0"], &["--jobs 0", "1 to 1024"]),
        (&["--jobs", "9999999"], &["--jobs 9999999", "1 to 1024"]),
        (&["--loss", "100"], &["--loss 100", "below 100 percent"]),
        (&["--loss", "-1"], &["--loss -1", "at least 0"]),
        (&["--trace"], &["--replay"]),
        (&["--replay", "1", "--runs", "2"], &["--replay", "--runs"]),
        (&["--keys", "7"], &["--check-history"]),
    ];
    for (arguments, parts) in cases {
        refuses(&[&["sim"], *arguments].concat(), 2, parts);
    }
}

#[test]
fn the_help_and_the_error_list_the_same_bugs() {
    let help = text(&psmr(&["sim", "--help"]).stdout);
    let refusal = text(&psmr(&["sim", "--bug", "nosuch"]).stderr);
    for bug in psmr::types::Bug::ALL {
        let name = bug.name();
        assert!(help.contains(name) && refusal.contains(name), "{name}");
    }
    refuses(&["sim", "--bug", "nosuch"], 2, &["--bug", "nosuch", "psmr sim --help"]);
}

#[test]
fn a_history_is_checked_against_the_keys_that_were_loaded() {
    let file = Scratch::new("reads", &reads((0..100).map(|n| 2 * n)));
    let check = |keys| psmr(&["sim", "--check-history", file.name(), "--keys", keys]);
    let output = check("100");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "100 operations: no violation\n");
    let output = check("50");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "100 operations: 50 violations\n");
    let errors = text(&output.stderr);
    assert_eq!(errors.lines().count(), 13, "ten, how many more, a hint, and how many: {errors}");
    assert!(errors.contains("and 40 more"), "{errors}");
    let json = psmr(&["sim", "--json", "--check-history", file.name(), "--keys", "50"]).stdout;
    let json: Value = serde_json::from_slice(&json).expect("one object");
    assert_eq!((&json["commands"], &json["error"]), (&100.into(), &Value::Null));
    assert_eq!(json["violations"].as_array().map(Vec::len), Some(50));
}

#[test]
fn a_history_is_not_checked_without_what_is_needed_or_beside_a_run() {
    let file = Scratch::new("one", &reads(0..1));
    let check = ["sim", "--check-history", file.name()];
    refuses(&check, 2, &["--check-history", "--keys", "1000000"]);
    let others: [&[&str]; 5] = [
        &["--runs", "3"],
        &["--seed", "3"],
        &["--model", "smr"],
        &["--jobs", "1"],
        &["--loss", "1"],
    ];
    for other in others {
        let arguments = [&check[..], &["--keys", "1"], other].concat();
        refuses(&arguments, 2, &["--check-history", other[0]]);
    }
    let arguments = ["sim", "--check-history", "/nonexistent/history", "--keys", "1"];
    refuses(&arguments, 3, &["--check-history /nonexistent/history", "No such file"]);
    refuses(&["sim", "--check-history", "/tmp", "--keys", "1"], 3, &["--check-history /tmp"]);
    let file = Scratch::new("text", "no history\n");
    let arguments = ["sim", "--check-history", file.name(), "--keys", "1"];
    refuses(&arguments, 2, &["line 1", "not JSON", "bench run --history"]);
}

#[test]
fn an_object_always_has_an_error_which_is_null_after_a_run() {
    let object = |arguments: &[&str]| -> Value {
        let output = psmr(&[&["sim", "--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).expect("one object")
    };
    let run = object(&["--runs", "1", "--commands", "20", "--model", "smr"]);
    assert_eq!((run.get("error"), &run["ok"]), (Some(&Value::Null), &true.into()));
    for (arguments, part) in [
        (&["--loss", "100"][..], "--loss 100"),
        (&["--runs", "many"], "--runs"),
        (&["--check-history", "/nonexistent/history", "--keys", "1"], "No such file"),
    ] {
        let failed = object(arguments);
        let error = failed["error"].as_str().expect("the error's text");
        assert!(error.contains(part) && failed["ok"] == false, "{error}");
    }
}

#[test]
fn a_seed_that_fails_is_told_with_the_commit_and_the_line_that_replays_it() {
    let line = include_str!("../scenarios/planted.txt").lines();
    let mut words = line.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let planted = words.find(|words| words.len() == 3 && words[0] != "#");
    let planted = planted.expect("a bug that needs no options");
    let arguments = ["sim", "--json", "--bug", planted[0], "--seed", planted[1]];
    let output = psmr(&[&arguments[..], &["--runs", planted[2]]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let (commit, seed) = (&json["commit"], &json["violations"][0]["seed"]);
    let commit = commit.as_str().expect("the commit or that it is unknown");
    assert!(text(&psmr(&["--version"]).stdout).ends_with(&format!(" (commit {commit})\n")));
    let replay = format!(
        "at commit {commit} replay it with: psmr sim --replay {seed} --bug {} --trace\n",
        planted[0]
    );
    let errors = text(&output.stderr);
    assert!(errors.contains(&replay), "{errors}");
}
