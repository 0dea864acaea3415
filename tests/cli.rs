//! The binary as a user meets it: bad input, its status and its one line, and the report's keys.

#[path = "cli/environment.rs"]
mod environment;
#[path = "cli/sim.rs"]
mod sim;

use psmr::bench::{Kind, Machine, Replica, Report, Ring, Sample, Settings, Tally, demo_plan};
use psmr::types::Time;
use serde_json::Value;
use std::process::{Command, Output};

fn psmr(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_psmr")).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// Bad input: the status, one line on standard error that has all of `parts`, and no results.
fn refuses(arguments: &[&str], status: i32, parts: &[&str]) {
    let output = psmr(arguments);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {errors}");
    assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for part in parts {
        assert!(errors.contains(part), "{arguments:?}: {part:?} is not in {errors}");
    }
}

#[test]
fn an_unknown_setting_is_named() {
    refuses(&["bench", "run", "--colour", "red"], 2, &["--colour"]);
    refuses(&["frobnicate"], 2, &["frobnicate"]);
    refuses(&["bench", "run", "--model", "raft"], 2, &["--model", "raft", "opt-psmr"]);
    refuses(&["bench", "run", "--keys", "many"], 2, &["--keys", "many"]);
    refuses(&["demo", "--keys", "0"], 2, &["--keys 0"]);
    refuses(&[], 2, &["--help"]);
}

#[test]
fn a_setting_out_of_its_range_is_named_with_its_range() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--threads", "0"], &["--threads 0", "1 to 64"]),
        (&["--threads", "65"], &["--threads 65", "1 to 64"]),
        (&["--dependent", "101"], &["--dependent 101", "0 to 100"]),
        (&["--dependent", "-1"], &["--dependent -1", "0 to 100"]),
        (&["--dependent", "NaN"], &["--dependent", "0 to 100"]),
        (&["--loss", "100"], &["--loss 100"]),
        (&["--acceptors", "2"], &["--acceptors 2", "3"]),
        (&["--replicas", "0"], &["--replicas 0", "1 to 32"]),
        (&["--keys", "0"], &["--keys 0"]),
        (&["--fill", "101"], &["--fill 101", "50 to 100"]),
        (&["--seconds", "0"], &["--seconds 0"]),
        (&["--loss", "101"], &["--loss 101", "choose 0 to 50"]),
        (&["--outstanding", "0"], &["--outstanding 0", "choose 1 to"]),
        (
            &["--worker-threads", "9", "--threads", "2"],
            &["--worker-threads 9", "--threads 2", "1 to 2"],
        ),
        (
            &["--model", "smr", "--worker-threads", "2"],
            &["--worker-threads 2", "--model smr", "choose 1"],
        ),
        (&["--socket-buffer", "0"], &["--socket-buffer 0", "65536 to"]),
        (&["--datagram-bytes", "1231"], &["--datagram-bytes 1231", "1232 to 8192"]),
        (&["--min-wait-us", "99999999999"], &["--min-wait-us 99999999999", "0 to 10000"]),
        (&["--mix", "read=50,insert=49"], &["--mix", "99", "100"]),
        (&["--mix", "read=50,write=50"], &["--mix", "write=50", "update"]),
        (&["--distribution", "normal"], &["--distribution", "zipf:THETA"]),
    ];
    for (arguments, parts) in cases {
        refuses(&[&["bench", "run"], *arguments].concat(), 2, parts);
    }
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--dependent", "5", "--mix", "read=100"], &["--dependent 5", "--mix"]),
        (&["--model", "smr", "--threads", "2"], &["--threads 2", "--model smr"]),
        (&["--key-space", "100"], &["--key-space 100", "partitioned range", "2000000"]),
        (
            &["--service", "null", "--command-bytes", "2000000"],
            &["--command-bytes 2000000", "limit of a command"],
        ),
        (&["--command-bytes", "16"], &["--command-bytes 16", "leave it out"]),
        (&["--service", "null", "--mix", "read=100"], &["--mix", "--service null"]),
        (&["--service", "null", "--history", "x"], &["--history x", "--service null"]),
        (&["--outstanding", "3", "--clients", "4"], &["--outstanding 3", "--clients 4"]),
        (
            &["--transport", "memory", "--client-path", "datagram"],
            &["--client-path datagram", "in-process"],
        ),
        (&["--transport", "memory", "--sqpoll"], &["--sqpoll", "--transport uring"]),
    ];
    for (arguments, parts) in cases {
        refuses(&[&["bench", "run"], *arguments].concat(), 2, parts);
    }
}

#[test]
fn a_setting_that_others_leave_without_effect_is_refused_if_it_is_given() {
    let memory = ["--transport", "memory"];
    let counters = ["--service", "counters"];
    let null = ["--service", "null"];
    let smr = ["--model", "smr"];
    let psmr_model = ["--model", "psmr"];
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&memory, &["--interface", "127.0.0.1"], "--transport uring"),
        (&memory, &["--socket-buffer", "65536"], "--transport uring"),
        (&memory, &["--min-wait-us", "5"], "--transport uring"),
        (&memory, &["--send-zc"], "--transport uring"),
        (&memory, &["--io", "socket"], "--transport uring"),
        (&["--io", "socket"], &["--min-wait-us", "5"], "--io uring"),
        (&counters, &["--capacity", "64"], "--service btree"),
        (&counters, &["--grown"], "--service btree"),
        (&null, &["--keys", "1000"], "--key-space"),
        (&null, &["--separators", "aligned"], "--service btree"),
        (&smr, &["--barrier", "instance"], "--model psmr or opt-psmr"),
        (&smr, &["--executor", "lowest"], "--model psmr or opt-psmr"),
        (&smr, &["--turn", "2"], "--model psmr or opt-psmr"),
        (&["--threads", "1"], &["--lambda", "9000"], "--threads 2"),
        (&smr, &["--retry", "client"], "--model opt-psmr"),
        (&psmr_model, &["--retry", "client"], "--model opt-psmr"),
        (&["--grown"], &["--fill", "80"], "--grown"),
        (&[], &["--range-keys", "10"], "--mix"),
    ];
    for (other, idle, remedy) in cases {
        let (named, other_named) = (idle.join(" "), other.join(" "));
        let parts = [named.as_str(), other_named.as_str(), remedy, "leave it out"];
        refuses(&[&["bench", "run"], *other, *idle].concat(), 2, &parts);
    }
}

#[test]
fn an_error_names_the_help_of_its_subcommand() {
    let cases: &[(&[&str], &str)] = &[
        (&["frobnicate"], "`psmr --help`"),
        (&["bench"], "`psmr bench --help`"),
        (&["bench", "run", "--colour"], "`psmr bench run --help`"),
        (&["sim", "--runs", "x"], "`psmr sim --help`"),
        (&["sim", "--runs", "-1"], "not a whole number"),
        (&["sim", "--loss", "some"], "not a number"),
        (&["topo", "--threads", "-"], "`psmr topo --help`"),
        (&["demo", "--seconds", "x"], "`psmr demo --help`"),
        (&["demo", "--seconds", "-1"], "--seconds -1"),
    ];
    for (arguments, help) in cases {
        refuses(arguments, 2, &[help]);
    }
}

#[test]
fn the_object_of_a_demonstration_has_its_runs() {
    let output = psmr(&["demo", "--json", "--keys", "1000", "--seconds", "0.05"]);
    let errors = text(&output.stderr);
    let json: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(json["schema"], "psmr.demo/1");
    assert_eq!(json["ok"], output.status.success(), "{errors}");
    if output.status.code() == Some(3) {
        println!("skipped: {errors}");
        return;
    }
    let runs = json["runs"].as_array().expect("runs");
    if output.status.success() {
        assert_eq!((runs.len(), &json["error"]), (15, &Value::Null));
    }
    assert!(runs.iter().all(|run| run["schema"] == "psmr.bench/1"));
    assert_eq!(runs[0]["config"]["model"], "smr");
}

#[test]
fn more_groups_than_a_socket_may_join_are_refused() {
    let most = Machine::read().memberships;
    if most < 64 {
        let threads = most.to_string();
        let setting = format!("--threads {threads}");
        let parts = [setting.as_str(), "igmp_max_memberships", "sysctl -w"];
        refuses(&["bench", "run", "--threads", &threads], 2, &parts);
    }
}

#[test]
fn a_history_that_cannot_be_written_is_the_environments_fault() {
    let arguments = ["bench", "run", "--history", "/nonexistent/history"];
    refuses(&arguments, 3, &["--history /nonexistent/history"]);
}

#[test]
fn the_machine_and_the_plan_of_its_threads_are_printed() {
    let counts = ["--threads", "3", "--worker-threads", "3", "--replicas", "2", "--acceptors", "5"];
    let output = psmr(&[&["topo"][..], &counts].concat());
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let drawn = text(&output.stdout);
    for part in ["package 0", "core 0", "CPU ", "ordering 0", "replica 1 worker 2", "clients 0"] {
        assert!(drawn.contains(part), "{part} is not in {drawn}");
    }
    assert!(drawn.contains("unless told --pin"), "{drawn}");
    let shared = psmr(&["topo", "--threads", "2", "--worker-threads", "1"]).stdout;
    assert!(text(&shared).contains("replica 1 workers 0,1"), "{}", text(&shared));
    let output = psmr(&[&["topo", "--json"][..], &counts].concat());
    let json: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&json["schema"], json.get("error")), (&"psmr.topo/1".into(), Some(&Value::Null)));
    let cpus: Vec<_> =
        json["cpus"].as_array().expect("CPUs").iter().map(|cpu| &cpu["id"]).collect();
    let threads = json["threads"].as_array().expect("threads");
    assert!(threads.iter().all(|thread| cpus.contains(&&thread["cpu"])), "{threads:?}");
    let workers =
        threads.iter().filter(|t| t["thread"].as_str().is_some_and(|t| t.contains("worker")));
    assert_eq!(workers.count(), 2 * 3);
    refuses(&["topo", "--threads", "0"], 2, &["--threads 0", "1 to 64"]);
    refuses(&["topo", "--threads", "2", "--worker-threads", "3"], 2, &["--worker-threads 3", "2"]);
    refuses(&["topo", "--acceptors", "2"], 2, &["--acceptors 2", "3"]);
}

#[test]
fn threads_are_tied_to_cpus_that_there_are() {
    let arguments = ["bench", "run", "--pin", "0,60000"];
    refuses(&arguments, 2, &["--pin 0,60000", "CPU 60000", "choose among"]);
    refuses(&["bench", "run", "--pin", "true"], 2, &["--pin", "plan", "none"]);
}

#[test]
fn help_and_version_are_no_failures() {
    for arguments in [&["--help"][..], &["--version"], &["bench", "run", "--help"]] {
        let output = psmr(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn with_json_standard_output_is_one_object_whatever_happens() {
    let whole = keys(&serde_json::to_value(synthetic()).expect("a report is JSON"));
    for wrong in [&["--threads", "0"][..], &["--colour"], &["--mix", "read=1"]] {
        let output = psmr(&[&["bench", "run", "--json"], wrong].concat());
        assert_eq!(output.status.code(), Some(2));
        let json: Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!((&json["ok"], &json["schema"]), (&Value::Bool(false), &"psmr.bench/1".into()));
        let error = json["error"].as_str().expect("the error's text");
        assert!(text(&output.stderr).contains(error.lines().next().expect("a line")), "{error}");
        let found = keys(&json);
        let missing: Vec<_> = whole
            .iter()
            .filter(|key| !key.starts_with(".rings.") && !key.starts_with(".replicas."))
            .filter(|key| !found.contains(key))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn the_object_of_a_failure_is_its_subcommands() {
    for (arguments, schema) in [
        (&["topo", "--threads", "0"][..], "psmr.topo/1"),
        (&["topo", "--colour"], "psmr.topo/1"),
        (&["demo", "--keys", "0"], "psmr.demo/1"),
        (&["demo", "--colour"], "psmr.demo/1"),
        (&["sim", "--loss", "100"], "psmr.sim/1"),
        (&["sim", "--runs", "many"], "psmr.sim/1"),
        (&["status", "--patience", "long"], "psmr.status/1"),
        (&["status", "--colour"], "psmr.status/1"),
        (&["status", "--config", "/nonexistent"], "psmr.status/1"),
        (&["client", "load", "--colour"], "psmr.bench/1"),
        (&["client", "load", "--config", "/nonexistent"], "psmr.bench/1"),
    ] {
        let output = psmr(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let json: Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!((&json["ok"], &json["schema"]), (&Value::Bool(false), &schema.into()));
        assert!(json["error"].is_string(), "{json}");
    }
}

#[test]
fn a_report_has_every_key_of_its_schema() {
    let found = keys(&serde_json::to_value(synthetic()).expect("a report is JSON"));
    let latency = ["mean", "p50", "p90", "p99", "p999", "max"];
    let mut expected: Vec<String> = [
        ".schema",
        ".version",
        ".commit",
        ".ok",
        ".error",
        ".host",
        ".config",
        ".commands",
        ".seconds",
        ".commands_per_s",
        ".cpu_ns_per_command",
        ".silence_us",
        ".results.read.value",
        ".results.read.missing",
        ".results.update.ok",
        ".results.update.missing",
        ".results.insert.ok",
        ".results.insert.exists",
        ".results.delete.ok",
        ".results.delete.missing",
        ".results.range.range",
        ".checks.passed",
        ".checks.failed",
        ".checks.failed_structure",
        ".checks.failed_bounds",
        ".synchronous.barriers",
        ".synchronous.commands",
        ".synchronous.wait_ns_mean",
        ".network.datagrams_sent",
        ".network.datagrams_received",
        ".network.trains",
        ".network.repairs",
        ".network.duplicates",
        ".network.buffer_drops",
        ".network.attempts",
        ".network.retries",
        ".network.refused",
        ".logs.records",
        ".logs.blocks",
        ".logs.bytes",
        ".logs.waited",
        ".logs.indirect",
        ".rings.ring",
        ".rings.instances",
        ".rings.skips",
        ".rings.commands_per_instance",
        ".replicas.id",
        ".replicas.position",
        ".replicas.digest",
        ".allocations_after_warmup",
        ".memory.rss_after_warmup_bytes",
        ".memory.rss_at_end_bytes",
        ".memory.heap_growth_bytes",
    ]
    .map(str::to_owned)
    .to_vec();
    for of in [".latency_us", ".checks.latency_us_passed", ".checks.latency_us_failed"] {
        expected.extend(latency.map(|figure| format!("{of}.{figure}")));
    }
    for key in &expected {
        assert!(found.contains(key), "{key} is missing");
    }
}

#[test]
fn the_config_of_a_report_has_every_long_option() {
    let help = text(&psmr(&["bench", "run", "--help"]).stdout);
    let config = keys(&serde_json::to_value(Settings::default()).expect("settings are JSON"));
    let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
    let mut options = 0;
    for line in help.lines().map(str::trim).filter_map(|line| {
        line.strip_prefix("--").or_else(|| line.split_once(", --").map(|(_, option)| option))
    }) {
        let name: String = line.chars().take_while(|&c| is_name(c)).collect();
        if name != "help" {
            options += 1;
            let key = format!(".{}", name.replace('-', "_"));
            assert!(config.contains(&key), "--{name} is not in the config");
        }
    }
    assert_eq!(options, config.len(), "every key of the config is an option");
}

#[test]
fn a_plan_of_the_demonstration_runs_every_model_at_every_share() {
    let plan = demo_plan(1_000_000, 2.0, &Machine::read());
    assert_eq!(plan.len(), 15);
    assert!(plan.iter().all(|settings| settings.replicas == 2 && settings.acceptors == 3));
}

/// A report as a run makes it, of figures that no run made.
fn synthetic() -> Report {
    let mut tally = Tally::default();
    tally.results[Kind::Read as usize] = [5, 5];
    tally.unchecked.record(1_000);
    let mut report = Report::new(Settings::default());
    let sample = |at, cpu_ns| Sample { at: Time(at), cpu_ns, ..Sample::default() };
    report.measure(&tally, (sample(1, 0), sample(1_000_001, 1_000)));
    report.rings.push(Ring::default());
    report.replicas.push(Replica::default());
    report.ok = true;
    report
}

/// The paths of all keys; those of a list's items as if there were one.
fn keys(json: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(json, "", &mut found);
    found
}

fn collect(json: &Value, path: &str, found: &mut Vec<String>) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                collect(value, &path, found);
                found.push(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, found)),
        _ => {}
    }
}
