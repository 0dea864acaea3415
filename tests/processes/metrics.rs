//! What a scraper, and whoever else finds the port, hears of nodes.

use crate::deployment::{Deployment, is_supported, lines, refused};
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

/// What is answered to these bytes; nothing if the connection is closed without an answer.
fn answer(address: SocketAddrV4, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
    // It may be closed before all is sent.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).expect("UTF-8")
}

fn metrics(address: SocketAddrV4) -> String {
    let text = answer(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    body.to_owned()
}

/// The value of a sample.
fn value(text: &str, sample: &str) -> Option<f64> {
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.map(|value| value.parse().expect("a number"))
}

/// A port that was free a moment ago.
fn free() -> SocketAddrV4 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string().parse().expect("IPv4")
}

#[test]
fn metrics_are_fetched_by_http_and_garbage_does_no_harm() {
    if !is_supported() {
        return;
    }
    let mut cluster = Deployment::new(&["--keys", "1000"]);
    let address = free();
    cluster.configure(&format!("[metrics]\nlisten = \"{address}\"\n"));
    cluster.start_together(&["a1", "a2", "a3", "r1", "r2"]);
    assert_eq!(cluster.client(&[], "insert 1 5\ninsert 3 5\n"), ["ok", "ok"]);
    for garbage in [
        &b"\0\xff\xfe\r\n\r\n"[..],
        b"GET /metrics\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\n\r\n",
        &[b'x'; 100_000],
    ] {
        let told = answer(address, garbage);
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 4"), "{told}");
    }
    // One that says nothing holds the port for a moment, not for ever.
    let silent = TcpStream::connect(address).expect("it listens");
    let has_executed = |text: &str| {
        let count = |id| value(text, &format!("psmr_replica_commands_total{{node=\"{id}\"}}"));
        count("r1") >= Some(2.0) && count("r2") >= Some(2.0)
    };
    let text = std::iter::repeat_with(|| metrics(address)).take(500);
    let text = text.into_iter().find(|text| has_executed(text)).expect("replicas execute");
    drop(silent);
    for id in ["a1", "a2", "a3"] {
        assert_eq!(value(&text, &format!("psmr_up{{node=\"{id}\",role=\"acceptor\"}}")), Some(1.0));
        let votes = format!("psmr_acceptor_votes{{node=\"{id}\",ring=\"0\"}}");
        assert_eq!(value(&text, &votes), Some(1.0));
    }
    let coordinates =
        |id| value(&text, &format!("psmr_acceptor_coordinates{{node=\"{id}\",ring=\"2\"}}"));
    assert_eq!(["a1", "a2", "a3"].into_iter().filter_map(coordinates).sum::<f64>(), 1.0);
    assert!(value(&text, "psmr_replica_position_slot{node=\"r1\",ring=\"2\"}") > Some(0.0));
    assert!(value(&text, "psmr_replica_lag_instances{node=\"r2\",ring=\"0\"}").is_some());
    assert_eq!(value(&text, "psmr_replica_lost{node=\"r1\"}"), Some(0.0));
    let forged = "psmr_datagrams_dropped_total{node=\"a1\",reason=\"forged\"}";
    assert_eq!(value(&text, forged), Some(0.0));
    assert!(value(&text, "psmr_process_resident_memory_bytes") > Some(1e6));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, number) = line.rsplit_once(' ').expect("a sample and its value");
        let name = sample.split('{').next().expect("a first");
        assert!(number.parse::<f64>().is_ok(), "{line}");
        assert!(text.contains(&format!("\n# TYPE {name} ")), "{line}");
    }
    cluster.stop();
}

#[test]
fn a_port_of_metrics_that_is_taken_is_named_with_the_remedy() {
    let cluster = Deployment::new(&[]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let config = cluster.path("cluster.toml");
    let command = ["node", "--config", &config, "--id", "a1"];
    let by_option = [&command[..], &["--metrics-listen", &address]].concat();
    refused(&by_option, 3, &["--metrics-listen", &address, "in use", "choose another port"]);
    cluster.configure(&format!("[metrics]\nlisten = \"{address}\"\n"));
    refused(
        &command,
        3,
        &[
            "cluster.toml: line ",
            " column 10: metrics.listen: ",
            &address,
            "in use",
            "choose another port",
        ],
    );
    let printed = crate::deployment::psmr(&[&command[..], &["--print-config"]].concat());
    let printed = lines(&printed.stdout);
    assert!(printed.iter().any(|line| line.contains(&format!("listen = \"{address}\""))));
}
