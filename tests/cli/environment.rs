//! What the machine may refuse: each refusal is one line that names the setting and the remedy.

use super::{psmr, refuses, text};
use std::process::{Command, Output};

#[expect(clippy::print_stdout, reason = "who runs the tests should know")]
fn skip(reason: &str) {
    println!("skipped: {reason}");
}

/// Runs `psmr` in a network of its own, after the commands of `setup`. `None` where users may not
/// have such.
fn isolated(setup: &str, arguments: &str) -> Option<Output> {
    let script = |line: &str| {
        let unshare = ["--user", "--map-root-user", "--net", "sh", "-c", line];
        Command::new("unshare").args(unshare).output().ok()
    };
    let possible = script("ip link set lo up && ip link set lo down");
    if !possible.is_some_and(|output| output.status.success()) {
        skip("this machine gives users no network of their own");
        return None;
    }
    script(&format!("{setup}\n{} {arguments}", env!("CARGO_BIN_EXE_psmr")))
}

/// Refused by the environment, in one line that has all of `parts`.
fn refused(output: Option<Output>, parts: &[&str]) {
    let Some(output) = output else { return };
    let errors = text(&output.stderr);
    if errors.contains("io_uring") {
        skip(&errors);
        return;
    }
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(output.stdout.is_empty());
    for part in parts {
        assert!(errors.contains(part), "{part:?} is not in {errors}");
    }
}

#[test]
fn an_interface_that_is_down_is_named_before_anything_is_loaded() {
    let parts = ["--interface 127.0.0.1", "`ip link set lo up`", "--transport memory"];
    for arguments in ["demo", "bench run"] {
        refused(isolated("", arguments), &parts);
    }
}

#[test]
fn an_interface_that_carries_too_small_packets_is_named() {
    let setup = "ip link set lo up; ip tuntap add d0 mode tun && ip addr add 10.9.9.9/24 dev d0 \
                 && ip link set d0 mtu 1500 up";
    let directory = std::env::temp_dir().join(format!("psmr-packets-{}", std::process::id()));
    let (directory, psmr) = (directory.display(), env!("CARGO_BIN_EXE_psmr"));
    let init = format!(
        "{setup} && mkdir -p {directory} && {psmr} config init --hosts 10.9.9.9 --threads 2 \
         --insecure --datagram-bytes 8192 --data-dir {directory}/data --out {directory}/cluster.toml >&2"
    );
    let config = format!("--config {directory}/cluster.toml");
    let bench = "bench run --interface 10.9.9.9 --datagram-bytes 8192";
    for (setup, arguments, words) in [
        (setup, bench, ["--interface", "(--datagram-bytes)"]),
        (&init, &format!("node {config} --id a1"), ["[[host]] address", "datagram_bytes"]),
        (&init, &format!("client {config} read 4"), ["--interface", "datagram_bytes"]),
    ] {
        let setup = format!("rm -rf {directory}; {setup}");
        let Some(output) = isolated(&setup, arguments) else { return };
        if text(&output.stderr).contains("/dev/net/tun") {
            skip("no device of one's own");
            return;
        }
        let interface = format!("{} 10.9.9.9", words[0]);
        let parts = [interface.as_str(), words[1], "8192 bytes", "1472", "mtu 9000"];
        refused(Some(output), &parts);
    }
    let _ = std::fs::remove_dir_all(directory.to_string());
}

#[test]
fn datagrams_are_as_large_as_the_packets_of_the_interface() {
    let setup = "ip link set lo up; ip tuntap add d0 mode tun && ip addr add 10.9.9.9/24 dev d0 \
                 && ip link set d0 mtu 1500 up";
    let run = "bench run --service null --model smr --interface 10.9.9.9 --seconds 0.2 --warmup 0 \
               --command-bytes 3000 --outstanding 8 --json";
    let Some(output) = isolated(setup, run) else { return };
    let errors = text(&output.stderr);
    if errors.contains("/dev/net/tun") || errors.contains("io_uring") {
        skip("no device of one's own, or no io_uring");
        return;
    }
    let report: serde_json::Value = serde_json::from_str(&text(&output.stdout))
        .unwrap_or_else(|error| panic!("{error}: {errors}"));
    assert_eq!(report["config"]["datagram_bytes"], 1472, "{report}");
    assert!(report["ok"] == true && report["commands"].as_u64() > Some(0), "{report}");
    let init = format!("{} config init --hosts 10.9.9.9 --out - >&2", env!("CARGO_BIN_EXE_psmr"));
    let Some(output) = isolated(&format!("{setup} && {init}"), "--version") else { return };
    let text = text(&output.stderr);
    assert!(text.lines().any(|line| line == "datagram_bytes = 1472"), "{text}");
}

#[test]
fn an_interface_of_another_machine_or_by_name_is_refused() {
    let interface = |value| ["bench", "run", "--interface", value];
    refuses(&interface("8.8.8.8"), 3, &["--interface 8.8.8.8", "`ip addr`"]);
    for wrong in ["8.8.8.8:", "nosuch", "lo", ""] {
        refuses(&interface(wrong), 2, &["--interface", "IPv4 address", "127.0.0.1"]);
    }
    for wrong in ["0.0.0.0", "239.1.1.1", "255.255.255.255"] {
        refuses(&interface(wrong), 2, &["--interface", wrong, "`ip addr`"]);
    }
}

#[test]
fn keys_beyond_the_machines_memory_are_refused_before_any_is_loaded() {
    let many = ["--keys", "2000000000"];
    let replicas = ["bench", "run", "--replicas", "32"];
    refuses(&[&replicas[..], &many].concat(), 3, &["--keys 2000000000", "GiB", "--replicas 32"]);
    let nodes = ["bench", "run", "--capacity", "4"];
    refuses(&[&nodes[..], &many].concat(), 2, &["--keys 2000000000", "64.0 GiB"]);
    let json = psmr(&[&["demo", "--json"], &["--keys", "99999999999"][..]].concat());
    assert_eq!(json.status.code(), Some(2), "{}", text(&json.stderr));
}

#[test]
fn memory_that_a_limit_withholds_is_told_by_the_setting_that_takes_it() {
    let line = format!(
        "ulimit -v 600000; {} bench run --transport memory --keys 20000000",
        env!("CARGO_BIN_EXE_psmr")
    );
    let output = Command::new("sh").args(["-c", &line]).output().expect("a shell");
    refused(Some(output), &["--keys 20000000", "ulimit -v"]);
}

#[test]
fn a_port_that_is_not_for_ordinary_users_is_named_with_the_remedy() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.ok().and_then(|first| first.trim().parse().ok()) < Some(90_u16) {
        skip("ordinary users have all ports here");
        return;
    }
    let directory = std::env::temp_dir().join(format!("psmr-port-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a writable directory");
    let config = directory.join("cluster.toml").display().to_string();
    let output = psmr(&["config", "init", "--port-base", "80", "--out", &config]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // A user without privileges over the network, whoever runs the tests.
    let node = ["--user", env!("CARGO_BIN_EXE_psmr"), "node", "--id", "a2", "--config", &config];
    let output = Command::new("unshare").args(node).output();
    let Some(output) = output.ok().filter(|output| !text(&output.stderr).contains("unshare"))
    else {
        skip("this machine gives users no privileges to do without");
        return;
    };
    let place = format!("{config}: line 25, column 8: acceptor[1].port: ");
    refused(Some(output), &[&place, "a2: port 127.0.0.1:82", "ordinary users", "port above 1023"]);
    let _ = std::fs::remove_dir_all(directory);
}
