//! Configurations as they are written, and as they should not be.

mod wrong;

use super::*;
use std::net::Ipv4Addr;
use std::time::Duration;

fn text() -> String {
    Init::example().text().unwrap()
}

/// A file in which `from` became `to`, and what is said of it.
fn refusal(from: &str, to: &str) -> (String, ConfigError) {
    let text = text();
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    let error = Config::read(&text).unwrap_err();
    (text, error)
}

fn refused(from: &str, to: &str) -> String {
    refusal(from, to).1.to_string()
}

#[test]
fn a_first_configuration_is_read_back() {
    let Config { cluster, effective, .. } = Config::read(&text()).unwrap();
    assert_eq!((cluster.id, cluster.epoch, cluster.threads), (0x12ab, 1, 2));
    assert_eq!((cluster.wire, cluster.network.newest_wire, cluster.unspoken()), (3, 3, None));
    let ids: Vec<&str> = cluster.nodes().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["a1", "a2", "a3", "r1", "r2"]);
    let ports: Vec<u16> = cluster.nodes().map(|node| node.address.port()).collect();
    assert_eq!(ports, [21_001, 21_002, 21_003, 21_004, 21_006]);
    assert_eq!(cluster.rings.len(), 3);
    assert_eq!(cluster.rings[2].to_string(), "239.192.7.3:21000");
    let keys = effective.iter().find(|value| value.key == "keys").unwrap();
    assert!(keys.line.is_some() && keys.value == "1000");
    let turn = effective.iter().find(|value| value.key == "turn").unwrap();
    assert_eq!((turn.line, turn.table.as_str()), (None, "[ordering]"));
}

#[test]
fn effective_values_are_a_configuration_with_the_same_digests() {
    let config = Config::read(&text()).unwrap();
    let again = Config::read(&config.print()).unwrap();
    assert_eq!(config.cluster, again.cluster);
    assert!(again.effective.iter().all(|value| value.line.is_some()));
}

#[test]
fn hosts_get_their_nodes_in_turn_and_one_thread_has_one_ring() {
    let hosts = [1, 2, 3].map(|last| Ipv4Addr::new(10, 0, 0, last)).to_vec();
    let init = Init { hosts, threads: 1, model: Model::Smr, ..Init::example() };
    let cluster = Config::read(&init.text().unwrap()).unwrap().cluster;
    let hosts: Vec<u8> = cluster.nodes().map(|node| node.address.ip().octets()[3]).collect();
    assert_eq!((hosts, cluster.rings.len()), (vec![1, 2, 3, 1, 2], 1));
    assert!(!cluster.is_local() && cluster.authentication.is_insecure);
}

#[test]
fn smaller_datagrams_hold_smaller_batches_and_part_clusters() {
    let init = Init { datagram_bytes: Some(1_472), ..Init::example() };
    let Config { cluster, .. } = Config::read(&init.text().unwrap()).unwrap();
    assert_eq!((cluster.network.room.datagram(), cluster.ordering.batch_bytes), (1_472, 960));
    let whole = Config::read(&text()).unwrap().cluster;
    assert_eq!((whole.network.room.datagram(), whole.ordering.batch_bytes), (8_192, 7_680));
    assert_ne!(cluster.digests.immutable, whole.digests.immutable);
    let batch = text() + "\n[network]\ndatagram_bytes = 1472\n[ordering]\nbatch_bytes = 961\n";
    let message = Config::read(&batch).unwrap_err().to_string();
    assert!(message.contains("ordering.batch_bytes") && message.contains("64 to 960"), "{message}");
}

#[test]
fn a_file_without_a_wire_version_is_of_the_first_and_a_node_may_be_held_back() {
    let line = text().lines().find(|line| line.starts_with("wire")).unwrap().to_owned();
    let first = Config::read(&text().replace(&line, "")).unwrap().cluster;
    assert_eq!((first.wire, first.unspoken()), (1, None));
    let newest = Config::read(&text()).unwrap().cluster;
    assert_eq!(first.digests.immutable, newest.digests.immutable);
    assert_ne!(first.digests.members, newest.digests.members);
    let held = text() + "\n[network]\nnewest_wire = 1\n";
    let cluster = Config::read(&held).unwrap().cluster;
    let unspoken = Unspoken { version: 3, epoch: 1, newest: 1 };
    assert_eq!(cluster.unspoken(), Some(unspoken));
    assert_eq!(Config::read(&held.replace(&line, "")).unwrap().cluster.unspoken(), None);
}

#[test]
fn an_unknown_key_has_its_place_and_the_name_that_was_meant() {
    let text = text() + "\n[ordering]\nturn = 2\n  heartbaet = \"5ms\"\n";
    let line = text.lines().count();
    let message = Config::read(&text).unwrap_err().to_string();
    let expected = format!(
        "line {line}, column 3: ordering.heartbaet: unknown key: did you mean `heartbeat`?"
    );
    assert_eq!(message, expected);
    let message = refused("[service]", "[servise]");
    assert!(message.contains("servise: unknown key: did you mean `service`?"), "{message}");
    let message = refused("port = 21001", "prot = 21001");
    assert!(message.contains("acceptor[0].prot: unknown key: did you mean `port`?"), "{message}");
}

#[test]
fn each_error_names_its_key_and_its_remedy_in_one_line() {
    let cases = [
        ("schema = \"psmr.cluster/1\"", "schema = \"psmr.cluster/9\"", "psmr.cluster/9"),
        ("schema = \"psmr.cluster/1\"", "", "schema: missing"),
        ("id = \"00000000000012ab\"", "id = \"12ab\"", "cluster.id: \"12ab\" cannot be used"),
        ("model = \"opt-psmr\"", "model = \"optpsmr\"", "did you mean \"opt-psmr\"?"),
        ("model = \"opt-psmr\"", "model = 3", "cluster.model: a value of type integer"),
        ("threads = 2 ", "threads = 65 ", "choose 1 to 64"),
        (
            "wire = 3 ",
            "wire = 4 ",
            "cluster.wire: 4 is not spoken by this psmr, which speaks 1 to 3",
        ),
        ("wire = 3 ", "wire = 0 ", "choose 1 to 255"),
        ("threads = 2 ", "threads = -1 ", "negative"),
        ("threads = 2 ", "threads = 3 ", "ring: no ring orders group 2"),
        ("threads = 2 ", "threads = 1 ", "ring[1].group: 1 is out of range"),
        ("address = \"127.0.0.1\"", "address = \"0.0.0.0\"", "host[0].address"),
        ("address = \"127.0.0.1\"", "address = \"lo\"", "host[0].address: \"lo\" cannot be used"),
        ("239.192.7.2:", "10.1.2.3:", "ring[1].address: 10.1.2.3:21000 is no multicast group"),
        ("239.192.7.2:", "239.192.7.1:", "ring[1].address: 239.192.7.1:21000 is there twice"),
        ("group = \"all\"", "group = 0", "ring[2].group: is there twice"),
        ("id = \"a2\"", "id = \"a1\"", "acceptor[1].id: \"a1\" is there twice"),
        ("id = \"r2\"", "id = \"a1\"", "replica[1].id: \"a1\" is an acceptor already"),
        ("host = \"h1\"", "host = \"h2\"", "acceptor[0].host: there is no host \"h2\""),
        ("port = 21002", "port = 21001", "acceptor[1].port: 127.0.0.1:21001 is also a1's"),
        ("port = 21006", "port = 21005", "replica[1].port: 127.0.0.1:21005 is also r1's"),
        ("port = 21006", "port = 65535", "ports beyond 65535"),
        ("port = 21006", "port = 0", "choose 1 to 65535"),
        ("keys = 1000", "keys = 1000\nkey_space = 7", "service.key_space: 1000 keys are loaded"),
        ("keys = 1000", "keys = \"many\"", "service.keys: a value of type string"),
        ("keys = 1000", "[authentication]\nclient_key_file = \"k\"", "nodes have no keys"),
        ("keys = 1000", "[metrics]\nlisten = \"x\"", "metrics.listen: \"x\" cannot be used"),
        ("keys = 1000", "[metrics]\nlisten = \"1.2.3.4:0\"", "\"127.0.0.1:9464\""),
        ("keys = 1000", "[metrics]\nlistens = \"x\"", "did you mean `listen`?"),
        ("keys = 1000", "[network]\ntransport = \"carrier\"", "unicast"),
        ("keys = 1000", "[network]\nio = \"epoll\"", "choose auto or uring or socket"),
        (
            "keys = 1000",
            "[network]\nio = \"socket\"\nsqpoll = true",
            "network.sqpoll: plain sockets",
        ),
        ("keys = 1000", "[network]\nbuffers = 100", "network.buffers: 100 is no power of two"),
        ("keys = 1000", "[ordering]\nheartbeat = \"fast\"", "write it like \"10ms\""),
        ("keys = 1000", "[ordering]\nheartbeat = \"100ms\"", "ordering.election_timeout"),
        ("keys = 1000", "keys = 1000\nkeys = 2", "duplicate key"),
        ("keys = 1000", "keys = = 2", "see https://toml.io"),
    ];
    for (from, to, expected) in cases {
        let message = refused(from, to);
        assert!(message.contains(expected), "{to}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn an_even_number_of_acceptors_is_refused() {
    let init = Init { acceptors: 2, ..Init::example() };
    let message = Config::read(&init.text().unwrap()).unwrap_err().to_string();
    assert!(message.contains("2 acceptors tolerate no more"), "{message}");
}

#[test]
fn a_first_configuration_stays_within_addresses_and_ports() {
    let groups = Init { group_base: Ipv4Addr::new(239, 255, 255, 255), ..Init::example() };
    assert!(groups.text().unwrap_err().to_string().contains("--group-base 239.255.255.255"));
    let ports = Init { port_base: 65_530, ..Init::example() };
    assert!(ports.text().unwrap_err().to_string().contains("--port-base 65530"));
}

#[test]
fn what_must_agree_is_in_the_digests_and_nothing_else_is() {
    let digests =
        |from: &str, to: &str| Config::read(&text().replacen(from, to, 1)).unwrap().cluster.digests;
    let base = digests("", "");
    let keys = digests("keys = 1000", "keys = 1001");
    assert!(keys.immutable != base.immutable && keys.members == base.members);
    let window = digests("keys = 1000", "[execution]\nwindow = 512");
    assert_ne!(window.immutable, base.immutable);
    let member = digests("id = \"r2\"", "id = \"r3\"");
    assert!(member.immutable == base.immutable && member.members != base.members);
    assert_ne!(digests("239.192.7.3", "239.192.7.4").members, base.members);
    assert_eq!(digests("keys = 1000", "keys = 1000\n[ordering]\nresend = \"9ms\""), base);
    assert_eq!(digests("keys = 1000", "keys = 1000\n[network]\nio = \"socket\""), base);
    assert_ne!(base.configuration(), keys.configuration());
    assert_ne!(base.configuration(), member.configuration());
}

#[test]
fn no_text_makes_the_reader_panic() {
    let text = text();
    for end in (0..text.len()).step_by(3) {
        let _ = Config::read(&text[..end]);
        let _ = Config::read(&text.replacen(&text[end..=end], "é\"", 1));
    }
}

#[test]
fn times_have_units() {
    let ms = Duration::from_millis;
    assert_eq!((duration("50us"), duration("2s")), (Some(ms(1) / 20), Some(ms(2000))));
    assert_eq!((duration("1.5s"), duration("2min")), (Some(ms(1500)), Some(ms(120_000))));
    for wrong in ["5", "", "s", "5h", "-1s", "1.2.3s", "99999999999999999999s"] {
        assert_eq!(duration(wrong), None, "{wrong}");
    }
}

#[test]
fn every_setting_is_in_the_documents() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SETTINGS.md");
    let document = std::fs::read_to_string(path).unwrap();
    for value in Config::read(&text()).unwrap().effective {
        assert!(
            document.contains(&format!("`{}`", value.key)),
            "docs/SETTINGS.md lacks {}",
            value.key
        );
    }
}
