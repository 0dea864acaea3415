//! Every way to be wrong has its line, its column, its key and its remedy.

use super::{refusal, text};
use crate::config::{Config, Place};

/// A text, what becomes of it, where the mistake is then (behind the bar; without one nowhere but at
/// the beginning), the key, and a part of the remedy.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// The place of the bar of `marked` in `text`.
fn place(text: &str, marked: &str) -> Place {
    let Some(bar) = marked.find('|') else { return Place::START };
    let start = text.find(&marked.replacen('|', "", 1)).unwrap_or_else(|| panic!("{marked}"));
    let before = &text[..start + bar];
    let line = before.rsplit('\n').next().expect("a line");
    Place { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
}

fn assert_refused(cases: &[Case]) {
    for (from, to, marked, key, remedy) in cases {
        let (text, error) = refusal(from, to);
        assert_eq!(error.place, Some(place(&text, marked)), "{to}: {error}");
        assert_eq!(error.key, *key, "{to}: {error}");
        assert!(error.remedy.contains(remedy), "{to}: {error}");
        let Place { line, column } = place(&text, marked);
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("line {line}, column {column}: {key}")), "{shown}");
        assert!(!error.problem.is_empty() && shown.lines().count() == 1, "{shown}");
    }
}

#[test]
fn what_is_wrong_at_the_head_has_its_place() {
    const SCHEMA: &str = "schema = \"psmr.cluster/1\"";
    const ID: &str = "id = \"00000000000012ab\"";
    const MODEL: &str = "model = \"opt-psmr\"";
    const LAST: &str = "|[[ring]]\ngroup = \"all\"";
    assert_refused(&[
        (SCHEMA, "", "", "schema", "add `schema = "),
        (SCHEMA, "schema = 3", "schema = |3", "schema", "in quotes"),
        (SCHEMA, "schema = \"x\"", "|\"x\"", "schema", "psmr config init"),
        (SCHEMA, "schema = ", "schema = |", "", "toml.io"),
        ("[cluster]", "[clutser]", "[|clutser]", "clutser", "did you mean `cluster`?"),
        ("[cluster]", "[[cluster]]", "|[[cluster]]", "cluster", "write [cluster]"),
        (ID, "", "|[cluster]", "cluster.id", "add `id = \"0123456789abcdef\"`"),
        (ID, "id = \"12ab\"", "|\"12ab\"", "cluster.id", "write it like"),
        (ID, "idd = \"1\"", "|idd", "cluster.idd", "did you mean `id`?"),
        (MODEL, "model = \"psmr2\"", "|\"psmr2\"", "cluster.model", "did you mean \"psmr\"?"),
        (MODEL, "model = 3", "model = |3", "cluster.model", "in quotes"),
        (MODEL, "model = \"smr\"", "threads = |2", "cluster.threads", "leave it out"),
        ("threads = 2 ", "threads = 65 ", "threads = |65", "cluster.threads", "1 to 64"),
        ("threads = 2 ", "threads = -1 ", "threads = |-1", "cluster.threads", "0 or more"),
        ("threads = 2 ", "threads = \"2\" ", "threads = |\"2\"", "cluster.threads", "quotes"),
        ("threads = 2 ", "threads = 3 ", LAST, "ring", "add a [[ring]] with `group = 2`"),
        ("threads = 2 ", "threads = 1 ", "group = |1", "ring[1].group", "0 to 0"),
        ("wire = 3 ", "wire = 0 ", "wire = |0", "cluster.wire", "1 to 255"),
        ("wire = 3 ", "wire = 4 ", "wire = |4", "cluster.wire", "install a newer psmr"),
        ("wire = 3 ", "epoch = 0\nwire = 3 ", "epoch = |0", "cluster.epoch", "choose 1 to"),
        ("durability = \"memory\"", "durability = \"disk\"", "|\"disk\"", "cluster.durability", ""),
    ]);
}

#[test]
fn what_is_wrong_with_a_host_a_node_or_a_ring_has_its_place() {
    const HOST: &str = "[[host]]\nname = \"h1\"\naddress = \"127.0.0.1\"";
    const A3: &str = "[[acceptor]]\nid = \"a3\"\nhost = \"h1\"\nport = 21003";
    assert_refused(&[
        (HOST, "", "", "host", "write a table [[host]] for each"),
        ("[[host]]", "[host]", "|[host]", "host", "write a table [[host]] for each"),
        ("name = \"h1\"", "", "|[[host]]", "host[0].name", "add `name = "),
        ("\"127.0.0.1\"", "\"lo\"", "|\"lo\"", "host[0].address", "write it like \"10.0.0.1\""),
        ("\"127.0.0.1\"", "\"0.0.0.0\"", "|\"0.0.0.0\"", "host[0].address", "`ip addr`"),
        (A3, "", "|\"a2\"", "acceptor", "choose 1, 3, 5"),
        ("port = 21001", "", "|[[acceptor]]\nid = \"a1\"", "acceptor[0].port", "add `port = 1`"),
        ("port = 21001", "prot = 21001", "|prot", "acceptor[0].prot", "did you mean `port`?"),
        ("\"a2\"", "\"a 2\"", "|\"a 2\"", "acceptor[1].id", "write it like \"a1\""),
        ("\"a2\"", "\"a1\"", "|\"a1\"\nhost = \"h1\"\nport = 21002", "acceptor[1].id", "rename"),
        ("\"a2\"", "\"a2\"\nnumber = 0", "number = |0", "acceptor[1].number", "rise"),
        ("\"a2\"", "\"a2\"\nsince = 0", "since = |0", "acceptor[1].since", "choose 1 to"),
        ("host = \"h1\"", "host = \"h2\"", "|\"h2\"", "acceptor[0].host", "name one of h1"),
        (
            "port = 21002",
            "port = 21001",
            "|21001\n\n[[acceptor]]\nid = \"a3\"",
            "acceptor[1].port",
            "differ",
        ),
        (
            "port = 21002",
            "port = 21002\ncores = 3",
            "|3\n\n",
            "acceptor[1].cores",
            "`cores = [0, 1]`",
        ),
        (
            "\"r2\"",
            "\"a1\"",
            "|\"a1\"\nhost = \"h1\"\nport = 21006",
            "replica[1].id",
            "`psmr node --id a1 --id r2` runs both",
        ),
        ("\"r2\"", "\"r1\"", "|\"r1\"\nhost = \"h1\"\nport = 21006", "replica[1].id", "rename one"),
        ("port = 21006", "port = 21005", "|21005", "replica[1].port", "r2 has 2"),
        ("port = 21006", "port = 65535", "|65535", "replica[1].port", "65534 or less"),
        ("group = 0", "group = \"0\"", "|\"0\"", "ring[0].group", "without quotes"),
        (
            "group = \"all\"",
            "group = 0",
            "group = |0\naddress = \"239.192.7.3",
            "ring[2].group",
            "one ring",
        ),
        ("\"239.192.7.2:", "\"10.1.2.3:", "|\"10.1.2.3:", "ring[1].address", "239.0.0.0/8"),
        (
            "\"239.192.7.2:",
            "\"239.192.7.3:",
            "|\"239.192.7.3:21000\"\n\n[service]",
            "ring[2].address",
            "of its own",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_setting_has_its_place() {
    const KEYS: &str = "keys = 1000";
    assert_refused(&[
        ("name = \"btree\"", "name = \"tree\"", "|\"tree\"", "service.name", "\"btree\""),
        ("name = \"btree\"", "name = \"null\"", "keys = |1000", "service.keys", "leave it out"),
        (KEYS, "work = 3", "work = |3", "service.work", "leave it out"),
        (KEYS, "keys = 1000\nkey_space = 7", "key_space = |7", "service.key_space", "2000 or more"),
        (KEYS, "keys = 1\nkeys = 2", "|keys = 2", "", "toml.io"),
        (KEYS, "[ordering]\nheartbeat = \"fast\"", "|\"fast\"", "ordering.heartbeat", "\"10ms\""),
        // What is missing is too little for what is there.
        (
            KEYS,
            "[ordering]\nheartbeat = \"100ms\"",
            "|[ordering]",
            "ordering.election_timeout",
            "400ms",
        ),
        (KEYS, "[ordering]\nlog_instances = 300", "= |300", "ordering.log_instances", "choose 512"),
        (KEYS, "[ordering]\napply_bound = 9999", "= |9999", "ordering.apply_bound", "2048 or less"),
        (KEYS, "[execution]\nwindow = 100", "window = |100", "execution.window", "choose 128"),
        (
            KEYS,
            "[execution]\nworker_threads = 3",
            "threads = |3",
            "execution.worker_threads",
            "1 to 2",
        ),
        (KEYS, "[client]\ndeadline = \"0s\"", "|\"0s\"", "client.deadline", "choose 1ms to"),
        (KEYS, "[network]\nio = \"epoll\"", "|\"epoll\"", "network.io", "auto or uring or socket"),
        (KEYS, "[network]\nbuffers = 100", "buffers = |100", "network.buffers", "choose 128"),
        (KEYS, "[network]\nsqpoll = 1", "sqpoll = |1", "network.sqpoll", "true or false"),
        (KEYS, "[network]\nio = \"socket\"\nsend_zc = true", "|true", "network.send_zc", "uring"),
        (
            KEYS,
            "[threads]\nwait = \"sleep\"",
            "|\"sleep\"",
            "threads.wait",
            "park or yield or spin",
        ),
        (
            KEYS,
            "[authentication]\nclient_key_file = \"k\"",
            "|\"k\"",
            "authentication.client_key_file",
            "`key_file` too",
        ),
        (KEYS, "[metrics]\nlisten = \"x\"", "|\"x\"", "metrics.listen", "127.0.0.1:9464"),
        (KEYS, "[metrics]\nlistens = \"x\"", "|listens", "metrics.listens", "`listen`?"),
    ]);
}

#[test]
fn a_key_that_is_not_there_has_the_place_of_its_table_or_of_the_file() {
    let text = text();
    let config = Config::read(&text).unwrap();
    for (key, marked) in [
        ("schema", "schema = |\""),
        ("cluster", "|[cluster]"),
        ("cluster.wire", "wire = |3"),
        ("cluster.epoch", "|[cluster]"),
        ("host[0].address", "|\"127.0.0.1\""),
        ("acceptor[1].port", "|21002"),
        ("acceptor[1].cores", "|[[acceptor]]\nid = \"a2\""),
        ("ring[2].address", "|\"239.192.7.3:21000\""),
        ("service", "|[service]"),
        ("network.io", ""),
        ("acceptor[9].port", ""),
    ] {
        assert_eq!(config.place(key), place(&text, marked), "{key}");
    }
    let known = ["cluster", "cluster.wire", "cluster.epoch", "network", "host[0].name"];
    assert_eq!(known.map(|key| config.has(key)), [true, true, false, false, true]);
}
