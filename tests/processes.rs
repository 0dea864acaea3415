//! Clusters of real processes on loopback: what an operator does, and what a client then sees.
//!
//! Every test has ports of its own, and ends only the processes that it has started.

#[path = "processes/cuts.rs"]
mod cuts;
#[path = "processes/deployment.rs"]
mod deployment;
#[path = "processes/ends.rs"]
mod ends;
#[path = "processes/events.rs"]
mod events;
#[path = "processes/hostile.rs"]
mod hostile;
#[path = "processes/io.rs"]
mod io;
#[path = "processes/keys.rs"]
mod keys;
#[path = "processes/kills.rs"]
mod kills;
#[path = "processes/load.rs"]
mod load;
#[path = "processes/manager.rs"]
mod manager;
#[path = "processes/members.rs"]
mod members;
#[path = "processes/metrics.rs"]
mod metrics;
#[path = "processes/ordinary.rs"]
mod ordinary;
#[path = "processes/places.rs"]
mod places;
#[path = "processes/versions.rs"]
mod versions;

use deployment::{Deployment, is_supported, lines, nodes, psmr, refused};
use serde_json::Value;
use std::io::{BufRead, Write};

const ALL: [&str; 5] = ["a1", "a2", "a3", "r1", "r2"];

#[test]
fn clients_are_answered_line_by_line_over_processes() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", "1000"]);
    cluster.start(&ALL);
    let commands = [
        ("insert 1 5", "ok"),
        ("insert 1 6", "exists"),
        ("read 1", "value 5"),
        ("update 2 9", "ok"),
        ("update 3 9", "missing"),
        ("read 2", "value 9"),
        ("range 0 7", "0:0 1:5 2:9 4:4 6:6"),
        ("range 0 7 2", "0:0 1:5"),
        ("range 5000 6000", "empty"),
        ("delete 1", "ok"),
        ("delete 1", "missing"),
        ("read 1", "missing"),
        ("insert 18446744073709551615 1", "ok"),
        ("read 18446744073709551615", "value 1"),
    ];
    let input: String = commands.iter().map(|(command, _)| format!("{command}\n")).collect();
    let answers = cluster.client(&[], &input);
    assert_eq!(answers, commands.map(|(_, answer)| answer));
    let answers = cluster.client(&[], "read\n\nfrob 1\nread 2\nread x\nread 4");
    assert!(answers[0].starts_with("error ") && answers[1].starts_with("error "), "{answers:?}");
    assert!(answers[2].contains("frob") && answers[4].contains('x'), "{answers:?}");
    assert_eq!((answers[3].as_str(), answers[5].as_str()), ("value 9", "value 4"));
    assert_eq!(cluster.client(&["read", "2"], ""), ["value 9"]);
    cluster.stop();
}

#[test]
fn a_client_whose_answers_nobody_reads_executes_no_more_commands() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--model", "smr", "--replicas", "1", "--keys", "1000"]);
    cluster.start_together(&["a1", "a2", "a3", "r1"]);
    let input: String = (0..20_000).map(|n| format!("insert {} 7\n", 2 * n + 1)).collect();
    let told = cluster.client_of_which_one_line_is_read(&input);
    assert_eq!(told, "ok");
    let inserted = cluster.client(&[], "read 1\nread 39999\n");
    assert_eq!(inserted, ["value 7", "missing"]);
    cluster.stop();
}

#[test]
fn nodes_serve_without_multicast() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", "1000"]);
    let path = cluster.path("cluster.toml");
    let text = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, text + "\n[network]\ntransport = \"unicast\"\n").expect("it is ours");
    // One process hosts several nodes, and a datagram to a ring is copied to it once a thread.
    cluster.start_together(&["a1", "a2"]);
    cluster.start_with(&["a3", "r1", "r2"], &["--fault", "loss=1"]);
    let input: String = (0..100).map(|key| format!("update {} 7\n", 2 * key)).collect();
    assert_eq!(cluster.client(&[], &input), vec!["ok"; 100]);
    cluster.kill("a3");
    assert_eq!(cluster.client(&["range", "0", "3"], ""), ["0:7 2:7"]);
    cluster.stop();
}

#[test]
fn one_process_may_host_several_nodes_and_sequential_replication_has_one_ring() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--model", "smr", "--replicas", "1"]);
    cluster.start_together(&["a1", "a2", "a3", "r1"]);
    let answers = cluster.client(&[], "insert 7 70\nread 7\n");
    assert_eq!(answers, ["ok", "value 70"]);
    cluster.stop();
}

#[test]
fn a_killed_acceptor_is_done_without_and_comes_back_without_a_vote_until_it_is_admitted() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&[]);
    cluster.start(&ALL);
    assert_eq!(cluster.client(&["insert", "1", "10"], ""), ["ok"]);
    cluster.kill("a1");
    let answers = cluster.client(&[], "insert 2 20\nread 1\nread 2\n");
    assert_eq!(answers, ["ok", "value 10", "value 20"]);
    // With two of three gone nothing is ordered, and the client hears so in time.
    cluster.kill("a2");
    let answers = cluster.client(&["--deadline", "500ms"], "insert 3 30\n");
    assert!(answers[0].starts_with("not-applied ") || answers[0] == "unknown", "{answers:?}");
    cluster.stop();
}

#[test]
fn acceptors_that_come_back_one_by_one_are_admitted_and_nothing_is_lost() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&[]);
    cluster.start(&ALL);
    cluster.wait_for_votes();
    for (key, id) in (0..).zip(["a1", "a2", "a3"]) {
        cluster.kill(id);
        assert_eq!(cluster.client(&["insert", &format!("{key}"), "1"], ""), ["ok"]);
        cluster.start(&[id]);
        // Ordered without it, so that it must learn before it votes again.
        assert_eq!(cluster.client(&["update", &format!("{key}"), "2"], ""), ["ok"]);
        cluster.status_when(|status| {
            nodes(status)
                .filter(|node| node["role"] == "acceptor")
                .all(|node| node["votes"] == true)
        });
    }
    assert_eq!(cluster.client(&["range", "0", "9"], ""), ["0:2 1:2 2:2"]);
    cluster.stop();
}

#[test]
fn a_client_without_a_cluster_says_whom_it_tried() {
    if !is_supported() {
        return;
    }
    let cluster = Deployment::new(&[]);
    let output = cluster.client_output(&["--deadline", "300ms"], "insert 1 1\n");
    assert_eq!(output.status.code(), Some(1));
    let (answers, errors) = (lines(&output.stdout), lines(&output.stderr));
    assert!(answers[0].starts_with("not-applied no answer from the cluster"), "{answers:?}");
    for id in ["a1 127.0.0.1:", "a2 127.0.0.1:", "a3 127.0.0.1:"] {
        assert!(errors[0].contains(id), "{errors:?}");
    }
}

#[test]
fn a_client_of_a_cluster_without_a_quorum_says_so_early_and_at_the_deadline() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", "100", "--durability", "sync"]);
    cluster.start(&ALL);
    assert_eq!(cluster.client(&["read", "0"], ""), ["value 0"]);
    cluster.kill("a2");
    cluster.kill("a3");
    let mut client = cluster.spawn_client(&["--deadline", "4s", "read", "0"]);
    let mut errors = std::io::BufReader::new(client.stderr.take().expect("piped")).lines();
    let told = errors.next().expect("a line").expect("UTF-8");
    assert!(told.contains("no quorum") && told.contains("trying again"), "{told}");
    assert!(client.try_wait().expect("it is ours").is_none(), "long before the deadline");
    let output = client.wait_with_output().expect("it is ours");
    assert_eq!(output.status.code(), Some(1));
    let answers = lines(&output.stdout);
    assert!(answers[0].starts_with("not-applied the cluster has no quorum"), "{answers:?}");
    cluster.start(&["a2", "a3"]);
    assert_eq!(cluster.client(&["read", "0"], ""), ["value 0"]);
    cluster.stop();
}

#[test]
fn bad_configurations_and_bad_ids_are_refused_by_name_with_line_and_remedy() {
    let cluster = Deployment::new(&[]);
    let path = cluster.path("cluster.toml");
    let text = std::fs::read_to_string(&path).expect("it was written");
    let bad = cluster.path("bad.toml");
    std::fs::write(&bad, text.replace("durability", "durabilty")).expect("a writable directory");
    let parts = ["bad.toml", "line 9, column 1", "durabilty", "`durability`"];
    refused(&["node", "--config", &bad, "--id", "a1"], 2, &parts);
    refused(&["client", "--config", &bad, "read", "1"], 2, &parts);
    refused(&["node", "--config", "/nonexistent", "--id", "a1"], 2, &["psmr config init"]);
    refused(&["node", "--config", &path, "--id", "a9"], 2, &["--id a9", "a1, a2, a3, r1, r2"]);
    refused(&["node", "--config", &path, "--id", "a1", "--id", "a1"], 2, &["--id a1", "twice"]);
    refused(&["node", "--config", &path], 2, &["--id"]);
    let fault = ["node", "--config", &path, "--id", "a1", "--fault", "fire=3"];
    refused(&fault, 2, &["--fault", "fire"]);
    refused(&["client", "--config", &path, "frob"], 2, &["frob"]);
    refused(&["client", "--config", &path, "--deadline", "2", "read", "1"], 2, &["2s"]);
    refused(&["config", "init", "--out", &path], 2, &["--force"]);
    refused(&["config", "init", "--out", &path, "--acceptors", "2"], 2, &["2 acceptors"]);
    std::fs::write(&bad, text.replace("127.0.0.1", "203.0.113.7")).expect("a writable directory");
    refused(
        &["node", "--config", &bad, "--id", "a1"],
        2,
        &["line 15, column 11: host[0].address", "psmr keygen", "key_file", "--insecure"],
    );
    let far = ["node", "--config", &bad, "--id", "a1", "--insecure"];
    if is_supported() {
        let place = "bad.toml: line 15, column 11: host[0].address: ";
        refused(&far, 3, &[place, "[[host]] address 203.0.113.7", "ip addr"]);
    }
}

#[test]
fn a_node_that_runs_already_or_whose_ports_are_taken_is_refused() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&[]);
    let config = cluster.path("cluster.toml");
    cluster.start(&["a1"]);
    let again = ["node", "--config", &config, "--id", "a1"];
    refused(&again, 3, &["in use", "--id a1", "--data-dir"]);
    let elsewhere = cluster.path("elsewhere");
    let elsewhere = [&again[..], &["--data-dir", &elsewhere]].concat();
    refused(&elsewhere, 3, &["a1", "port is in use"]);
    cluster.stop();
    // The directory of another cluster.
    let text = std::fs::read_to_string(&config).expect("it was written");
    let other = text.replacen("id = \"", "id = \"f", 1);
    let id_end = other.find("id = \"f").expect("just written") + 6 + 16;
    let other = format!("{}{}", &other[..id_end], &other[id_end + 1..]);
    std::fs::write(cluster.path("cluster.toml"), other).expect("a writable directory");
    refused(&again, 3, &["is of cluster", "--data-dir"]);
}

#[test]
fn nodes_serve_through_a_bad_network() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&[]);
    let faults = ["--fault", "loss=3,duplication=3,reordering=3,flip=1", "--fault-seed", "7"];
    cluster.start_with(&ALL, &faults);
    let commands: String = (0..40).map(|key| format!("insert {key} {key}\n")).collect();
    let answers = cluster.client(&["--deadline", "20s"], &commands);
    assert!(answers.iter().all(|answer| answer == "ok"), "{answers:?}");
    cluster.stop();
}

#[test]
fn durable_acceptors_remember_through_the_end_of_all_of_them() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--durability", "sync"]);
    cluster.start(&ALL);
    assert_eq!(cluster.client(&[], "insert 1 10\ninsert 2 20\n"), ["ok", "ok"]);
    for id in ["a1", "a2", "a3"] {
        cluster.kill(id);
    }
    cluster.start(&["a1", "a2", "a3"]);
    let answers = cluster.client(&["--deadline", "20s"], "read 1\ninsert 2 21\ninsert 3 30\n");
    assert_eq!(answers, ["value 10", "exists", "ok"]);
    cluster.stop();
}

#[test]
fn a_load_says_that_nobody_answers_and_that_somebody_does_again() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", "500"]);
    let size = ["--clients", "2", "--outstanding", "4", "--warmup", "0", "--seconds", "1"];
    let options = [&["load", "--json", "--deadline", "500ms"][..], &size].concat();
    let output = cluster.client_output(&options, "");
    assert_eq!(output.status.code(), Some(1));
    let told = lines(&output.stderr);
    assert!(told[0].contains("no answer from the cluster, tried a1 127.0.0.1:"), "{told:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let error = report["error"].as_str().expect("why it is not well");
    assert!(error.contains("no command was answered") && error.contains("tried a1"), "{error}");
    for figure in ["commands", "commands_per_s", "cpu_ns_per_command"] {
        assert_eq!(report[figure].as_f64(), Some(0.0), "{figure}");
    }
    assert_eq!(report["latency_us"]["p50"].as_f64(), Some(0.0));
    // One that comes later is told of, too.
    let options = [&["load", "--json", "--deadline", "20s"][..], &size].concat();
    let mut load = cluster.spawn_client(&options);
    let mut errors = std::io::BufReader::new(load.stderr.take().expect("piped")).lines();
    let mut next = || errors.next().expect("a line").expect("UTF-8");
    let told = next();
    assert!(told.contains("no answer") && told.contains("trying again"), "{told}");
    cluster.start(&ALL);
    let told = next();
    assert!(told.contains("the cluster answers, after"), "{told}");
    let output = load.wait_with_output().expect("it is ours");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((output.status.code(), &report["ok"]), (Some(0), &true.into()), "{report}");
    cluster.stop();
}

#[test]
fn the_status_shows_every_node_and_replicas_agree_on_digests_at_equal_positions() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", "100"]);
    cluster.start(&["a1", "a2", "a3", "r1"]);
    cluster.start(&["r2"]);
    let commands: String = (0..300).map(|key| format!("insert {} {key}\n", 2 * key + 1)).collect();
    assert!(cluster.client(&[], &commands).iter().all(|answer| answer == "ok"));
    let digests = |node: &Value| -> Vec<(u64, String)> {
        let points = node["digests"].as_array().expect("a list");
        let point =
            |point: &Value| Some((point["position"].as_u64()?, point["digest"].to_string()));
        points.iter().map(|json| point(json).expect("a position")).collect()
    };
    let status = cluster.status_when(|status| {
        let replicas = nodes(status).filter(|node| node["role"] == "replica");
        let last: Vec<_> = replicas.map(|node| digests(node).last().cloned()).collect();
        last[0].is_some() && last[0] == last[1] && nodes(status).all(|node| node["lag"] == 0)
    });
    assert_eq!((&status["schema"], &status["ok"]), (&"psmr.status/1".into(), &true.into()));
    assert_eq!(status.get("error"), Some(&Value::Null));
    let ids: Vec<&str> = nodes(&status).filter_map(|node| node["id"].as_str()).collect();
    assert_eq!(ids, ALL);
    for node in nodes(&status) {
        assert_eq!(
            (&node["up"], &node["epoch"], &node["copies"]),
            (&true.into(), &1.into(), &2.into())
        );
        assert!(node["rss_bytes"].as_u64() > Some(1 << 20) && node["drops"].is_object(), "{node}");
        assert!(node["position"].as_u64() > Some(0), "{node}");
    }
    let of = |id| digests(nodes(&status).find(|node| node["id"] == id).expect("a replica"));
    let (first, second) = (of("r1"), of("r2"));
    let both = first.iter().filter(|point| second.iter().any(|other| other.0 == point.0));
    assert!(both.clone().count() > 0);
    assert!(both.clone().all(|point| second.contains(point)), "{first:?} {second:?}");
    let rings = status["rings"].as_array().expect("a list");
    assert_eq!(rings.len(), 3);
    for (ring, coordinator) in rings.iter().zip(["a1", "a2", "a3"]) {
        assert_eq!(ring["coordinator"], coordinator);
        assert!(ring["ballot"].as_u64() >= Some(1) && ring["decided"].as_u64() > Some(0));
    }
    cluster.kill("a2");
    let status = cluster.status_when(|status| status["rings"][1]["coordinator"] != "a2");
    let down = nodes(&status).find(|node| node["id"] == "a2").expect("it is listed");
    assert_eq!((&down["up"], &down["position"]), (&false.into(), &Value::Null));
    let error = status["error"].as_str().expect("why it is not well");
    assert!(error.starts_with("not every node answered, tried a2 127.0.0.1:"), "{error}");
    assert_eq!(status["ok"], false);
    cluster.stop();
    let output =
        psmr(&["status", "--config", &cluster.path("cluster.toml"), "--patience", "200ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(lines(&output.stderr)[0].contains("tried a1 127.0.0.1:"));
}

#[test]
fn a_client_goes_on_with_the_session_of_an_earlier_one_and_hears_of_one_that_is_gone() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&[]);
    cluster.start(&ALL);
    let output = cluster.client_output(&["--keep-session"], "insert 1 10\ninsert 2 20\n");
    let told = lines(&output.stderr);
    let session = told[0].rsplit(' ').next().expect("a number");
    for _ in 0..2 {
        let output =
            cluster.client_output(&["--session", session], "update 1 11\nread 1\nread 2\n");
        assert_eq!(lines(&output.stdout), ["ok", "value 11", "value 20"]);
        assert_eq!(lines(&output.stderr), told);
    }
    let answers = cluster.client(&["--session", "4660"], "read 1\nread 2\n");
    assert!(answers.iter().all(|line| line.contains("session 4660 is closed")), "{answers:?}");
    cluster.stop();
}

#[test]
fn clients_give_their_sessions_back_and_one_that_was_left_open_expires() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&[]);
    let config = cluster.path("cluster.toml");
    let text = std::fs::read_to_string(&config).expect("it was written");
    let few = "\n[execution]\nsessions = 1\nsession_timeout = \"3s\"\n";
    std::fs::write(&config, text + few).expect("a writable directory");
    cluster.start(&ALL);
    for value in ["1", "2", "3"] {
        let output = cluster.client_output(&["insert", value, value], "");
        assert_eq!((lines(&output.stdout), lines(&output.stderr)), (vec!["ok".to_owned()], vec![]));
    }
    let output = cluster.client_output(&["--keep-session"], "read 3\n");
    let told = lines(&output.stderr);
    let session = told[0].rsplit(' ').next().expect("a number").to_owned();
    // Nobody closes it: the next client hears why it has to wait, and is served in the end.
    let output = cluster.client_output(&["--deadline", "600ms", "read", "3"], "");
    assert_eq!(output.status.code(), Some(1));
    let answers = lines(&output.stdout).join(" ");
    assert!(answers.contains("not-applied the cluster has no free session"), "{answers}");
    let told = lines(&output.stderr).join(" ");
    assert!(told.contains("session_timeout") && told.contains("until the deadline"), "{told}");
    assert_eq!(cluster.client(&["--deadline", "20s", "read", "3"], ""), ["value 3"]);
    let answers = cluster.client(&["--session", &session], "read 1\n");
    assert!(answers[0].contains("is closed or unknown"), "{answers:?}");
    cluster.stop();
}

#[test]
fn an_idle_client_keeps_its_session() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--model", "smr", "--replicas", "1"]);
    let config = cluster.path("cluster.toml");
    let text = std::fs::read_to_string(&config).expect("it was written");
    let short = "\n[execution]\nsession_timeout = \"2s\"\n";
    std::fs::write(&config, text + short).expect("a writable directory");
    cluster.start_together(&["a1", "a2", "a3", "r1"]);
    let mut client = cluster.spawn_client(&[]);
    let mut input = client.stdin.take().expect("piped");
    let mut output = std::io::BufReader::new(client.stdout.take().expect("piped"));
    let mut ask = |command: &str| {
        let mut answer = String::new();
        writeln!(input, "{command}").expect("it reads");
        output.read_line(&mut answer).expect("it answers");
        answer
    };
    assert_eq!(ask("insert 1 10"), "ok\n");
    // As long as a session lives of which nothing is heard.
    let kept = cluster.client_output(&["--keep-session", "read", "1"], "");
    let session = lines(&kept.stderr)[0].rsplit(' ').next().expect("a number").to_owned();
    let is_gone = || {
        // Longer than a time-out, so that asking does not keep it alive.
        std::thread::park_timeout(std::time::Duration::from_millis(3500));
        cluster.client(&["--session", &session], "read 1\n")[0].contains("is closed or unknown")
    };
    assert!((0..10).any(|_| is_gone()), "the session of a client that has gone expires");
    assert_eq!(ask("insert 2 20"), "ok\n");
    drop(input);
    assert!(client.wait().expect("it is ours").success());
    cluster.stop();
}

#[test]
fn a_client_and_an_asker_with_other_settings_hear_why_nobody_answers() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&[]);
    cluster.start(&["a1", "a2", "a3"]);
    let text = std::fs::read_to_string(cluster.path("cluster.toml")).expect("it was written");
    let other = cluster.path("other.toml");
    std::fs::write(&other, text.replace("[service]\n", "[service]\nkeys = 7\n"))
        .expect("a writable directory");
    let output = psmr(&["client", "--config", &other, "--deadline", "500ms", "read", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let told = lines(&output.stderr).join(" ");
    assert!(told.contains("immutable settings") && told.contains("127.0.0.1:"), "{told}");
    refused_after_output(
        &["status", "--config", &other, "--patience", "300ms"],
        "immutable settings",
    );
    let status = cluster.status_when(|_| true);
    let counted = |node: &Value| node["drops"]["configuration"].as_u64() > Some(0);
    assert!(nodes(&status).any(counted), "{status}");
    cluster.stop();
}

fn refused_after_output(arguments: &[&str], part: &str) {
    let output = psmr(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(lines(&output.stderr).join(" ").contains(part), "{arguments:?}");
}

#[test]
fn effective_settings_are_printed_with_their_sources() {
    let cluster = Deployment::new(&["--keys", "10"]);
    let output = psmr(&["node", "--config", &cluster.path("cluster.toml"), "--print-config"]);
    assert_eq!(output.status.code(), Some(0));
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let line =
        |part: &str| printed.lines().find(|line| line.starts_with(part)).expect(part).to_owned();
    assert!(line("heartbeat = \"10ms\"").ends_with("# default"));
    assert!(line("keys = 10").contains("# line "));
}

#[test]
fn a_client_of_another_cluster_or_of_other_settings_is_told_so_and_changes_nothing() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", "1000"]);
    cluster.start(&ALL);
    assert_eq!(cluster.client(&["update", "2", "7"], ""), ["ok"]);
    let config = std::fs::read_to_string(cluster.path("cluster.toml")).expect("it was written");
    let changed = |name: &str, from: &str, to: &str| {
        assert!(config.contains(from), "{from:?} is not in {config}");
        let path = cluster.path(name);
        std::fs::write(&path, config.replacen(from, to, 1)).expect("a writable directory");
        path
    };
    let id = config.lines().find(|line| line.starts_with("id = ")).expect("a cluster has an id");
    let strangers = [
        (changed("other.toml", id, "id = \"0123456789abcdef\""), "it is of another cluster"),
        (changed("fuller.toml", "keys = 1000", "keys = 2000"), "its immutable settings"),
    ];
    for (path, reason) in &strangers {
        let told = psmr(&["client", "--config", path, "--deadline", "1s", "update", "2", "8"]);
        let said = String::from_utf8(told.stderr).expect("UTF-8");
        assert_eq!(told.status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{said}");
        assert!(!told.stdout.starts_with(b"ok"), "{said}");
    }
    assert_eq!(cluster.client(&["read", "2"], ""), ["value 7"]);
    cluster.stop();
}
