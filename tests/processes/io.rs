//! Nodes and clients over plain sockets: because they are told to, or because a seccomp filter
//! forbids io_uring, as the default one of Docker does.

use super::ALL;
use super::deployment::{Deployment, is_supported, lines, psmr, refused};
use psmr::transport::{udp, uring};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;

/// Runs `body` on a thread on which io_uring_setup gives `error`, as in all processes that it starts.
fn without_io_uring(error: i32, body: impl FnOnce() + Send) {
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(error.unsigned_abs()),
        std::env::consts::ARCH.try_into().expect("an architecture with filters"),
    );
    let program: BpfProgram = filter.and_then(TryInto::try_into).expect("one rule");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            seccompiler::apply_filter(&program).expect("any process may give up a call");
            let refusal = uring::refusal(&udp::Config::default()).expect("the filter is in force");
            assert!(refusal.to_string().contains("seccomp"), "{refusal}");
            body();
        });
    });
}

/// One line that says what is done instead, why, what it costs, and what to do about it.
fn warns(errors: &[String], setting: &str) {
    assert_eq!(errors.len(), 1, "{errors:?}");
    let parts = ["psmr: warning: plain sockets", "slower", "seccomp", "--security-opt", setting];
    for part in parts {
        assert!(errors[0].contains(part), "{part:?} is not in {errors:?}");
    }
}

#[test]
fn nodes_and_clients_fall_back_to_plain_sockets_where_a_filter_forbids_io_uring() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", "1000"]);
    without_io_uring(libc::EPERM, || {
        let mut errors = cluster.start_heard(&ALL);
        let told = cluster.client_output(&[], "insert 1 10\nread 1\nrange 0 3\n");
        assert_eq!(lines(&told.stdout), ["ok", "value 10", "0:0 1:10 2:2"]);
        warns(&lines(&told.stderr), "io = \"socket\"");
        cluster.stop();
        let mut told = Vec::new();
        errors.read_to_end(&mut told).expect("a pipe");
        let told: Vec<String> =
            lines(&told).into_iter().filter(|line| line.starts_with("psmr: ")).collect();
        warns(&told, "io = \"socket\"");
        // What is wanted is not warned of.
        cluster.configure("[network]\nio = \"socket\"\n");
        let told = cluster.client_output(&["--deadline", "300ms"], "read 1\n");
        assert!(!lines(&told.stderr).iter().any(|line| line.contains("warning")));
    });
}

#[test]
fn who_insists_on_io_uring_is_refused_with_the_cause() {
    if !is_supported() {
        return;
    }
    let cluster = Deployment::new(&[]);
    cluster.configure("[network]\nio = \"uring\"\n");
    let config = cluster.path("cluster.toml");
    without_io_uring(libc::ENOSYS, || {
        let parts = ["io_uring", "seccomp", "--security-opt", "io = \"socket\""];
        refused(&["node", "--config", &config, "--id", "a1"], 3, &parts);
        refused(&["client", "--config", &config, "read", "1"], 3, &parts);
        let parts = ["io_uring", "seccomp", "--security-opt", "--io socket"];
        refused(&["bench", "run", "--io", "uring"], 3, &parts);
    });
}

#[test]
fn a_benchmark_says_by_what_it_ran() {
    if !is_supported() {
        return;
    }
    let run = ["bench", "run", "--json", "--service", "null", "--seconds", "0.2", "--warmup", "0"];
    without_io_uring(libc::EPERM, || {
        let output = psmr(&[&run[..], &["--sqpoll", "--min-wait-us", "50"]].concat());
        let errors = lines(&output.stderr);
        warns(&errors, "--io socket");
        assert!(errors[0].ends_with("without effect: --sqpoll, --min-wait-us"), "{errors:?}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
        let config = &report["config"];
        assert_eq!((&report["ok"], &config["io"]), (&true.into(), &"socket".into()));
        assert_eq!((&config["sqpoll"], &config["min_wait_us"]), (&false.into(), &0.into()));
        assert!(report["commands"].as_u64() > Some(0), "{report}");
    });
    let text = psmr(&[&run[..2], &run[3..], &["--io", "socket"]].concat()).stdout;
    assert!(lines(&text).iter().any(|line| line.contains("over plain sockets")), "{text:?}");
    let output = psmr(&[&run[..], &["--io", "socket"]].concat());
    assert!(output.stderr.is_empty(), "{:?}", lines(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&report["ok"], &report["config"]["io"]), (&true.into(), &"socket".into()));
}

#[test]
fn durable_acceptors_over_plain_sockets_remember_through_the_end_of_all_of_them() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--durability", "sync"]);
    cluster.configure("[network]\nio = \"socket\"\n");
    cluster.start(&ALL);
    let inserts: String = (0..200).map(|key| format!("insert {key} {key}\n")).collect();
    assert_eq!(cluster.client(&[], &inserts), vec!["ok"; 200]);
    for id in ["a1", "a2", "a3"] {
        cluster.kill(id);
    }
    cluster.start(&["a1", "a2", "a3"]);
    let input = "read 1\nread 199\ninsert 2 21\ninsert 200 30\n";
    let answers = cluster.client(&["--deadline", "20s"], input);
    assert_eq!(answers, ["value 1", "value 199", "exists", "ok"]);
    cluster.stop();
}
