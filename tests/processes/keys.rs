//! Clusters whose datagrams are authenticated, and who is kept out.

use super::ALL;
use super::deployment::{Deployment, is_supported, lines, nodes, psmr, refused};
use std::os::unix::fs::PermissionsExt;

/// A cluster with keys, and the files of the nodes and of client 1.
pub(super) fn keyed(options: &[&str]) -> (Deployment, String, String) {
    let cluster = Deployment::new(&[&["--key-file", "cluster.key"], options].concat());
    let (nodes, client) = (cluster.path("cluster.key"), cluster.path("cluster.client.key"));
    let output = psmr(&["keygen", "--out", &nodes]);
    assert_eq!(output.status.code(), Some(0), "{:?}", lines(&output.stderr));
    (cluster, nodes, client)
}

fn make_client(from: &str, number: &str, out: &str) {
    let output = psmr(&["keygen", "--client", number, "--from", from, "--out", out]);
    assert_eq!(output.status.code(), Some(0), "{:?}", lines(&output.stderr));
}

#[test]
fn nodes_and_clients_with_keys_serve_through_a_bad_network() {
    if !is_supported() {
        return;
    }
    let (mut cluster, nodes_key, _) = keyed(&[]);
    let fault = "loss=1,duplication=5,reordering=5,delay=1,delay-by=5ms,flip=1";
    cluster.start_with(&ALL, &["--fault", fault]);
    let input: String = (0..200).map(|key| format!("insert {key} {key}\n")).collect();
    assert_eq!(cluster.client(&[], &input), vec!["ok"; 200]);
    // Another client, with a key of its own.
    let other = cluster.path("second.key");
    make_client(&nodes_key, "2", &other);
    assert_eq!(cluster.client(&["--key-file", &other, "read", "7"], ""), ["value 7"]);
    // What the network repeats and spoils is counted.
    let has = |status: &serde_json::Value, reason: &str| {
        nodes(status).any(|node| node["drops"][reason].as_u64().is_some_and(|count| count > 0))
    };
    cluster.status_when(|status| has(status, "forged") && has(status, "replayed"));
    cluster.stop();
}

#[test]
fn whoever_has_no_key_or_another_one_is_told_and_has_no_effect() {
    if !is_supported() {
        return;
    }
    let (mut cluster, ..) = keyed(&[]);
    cluster.start(&ALL);
    assert_eq!(cluster.client(&["insert", "1", "10"], ""), ["ok"]);
    let config = cluster.path("cluster.toml");
    let text = std::fs::read_to_string(&config).expect("it was written");
    let (bare, _) = text.split_once("[authentication]").expect("a part of the file");
    let bare_config = cluster.path("bare.toml");
    std::fs::write(&bare_config, bare).expect("a writable directory");
    let other = cluster.path("other.key");
    assert_eq!(psmr(&["keygen", "--out", &other]).status.code(), Some(0));
    let stranger = cluster.path("other.client.key");
    let forger = ["--config", &config, "--key-file", &stranger];
    for (who, word) in
        [(&["--config", &bare_config][..], "--key-file"), (&forger, "its key is another one")]
    {
        let output =
            psmr(&[&["client", "--deadline", "500ms"], who, &["insert", "2", "2"]].concat());
        let errors = lines(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors:?}");
        assert!(errors.iter().any(|line| line.contains(word)), "{word} is not in {errors:?}");
        let output = psmr(&[&["status", "--patience", "300ms"], who].concat());
        assert!(lines(&output.stdout).concat().contains(word), "{who:?}");
    }
    assert_eq!(cluster.client(&[], "read 1\nread 2\n"), ["value 10", "missing"]);
    let drops = |status: &serde_json::Value, reason: &str| {
        nodes(status).any(|node| node["drops"][reason].as_u64().is_some_and(|count| count > 0))
    };
    cluster.status_when(|status| drops(status, "unsigned") && drops(status, "forged"));
    cluster.stop();
}

#[test]
fn a_key_is_replaced_node_by_node_while_clients_go_on() {
    if !is_supported() {
        return;
    }
    let (mut cluster, key, client) = keyed(&["--durability", "sync"]);
    let fresh = cluster.path("fresh.key");
    assert_eq!(psmr(&["keygen", "--out", &fresh]).status.code(), Some(0));
    let secret = |path: &str| {
        let text = std::fs::read_to_string(path).expect("a key file");
        text.lines().nth(1).expect("a secret").to_owned()
    };
    let (old, new) = (secret(&key), secret(&fresh));
    let (old_client, new_client) = (secret(&client), secret(&cluster.path("fresh.client.key")));
    let write = |path: &str, secrets: &[&String]| {
        let lines: String = secrets.iter().map(|secret| format!("{secret}\n")).collect();
        std::fs::write(path, format!("psmr.key/1\n{lines}")).expect("ours");
    };
    write(&key, &[&old, &new]);
    write(&client, &[&old_client, &new_client]);
    cluster.start(&ALL);
    assert_eq!(cluster.client(&["insert", "0", "0"], ""), ["ok"]);
    // Acceptors go over to the new key one by one, and the clients; the replicas have both.
    write(&key, &[&new, &old]);
    for (number, id) in (1..).zip(["a1", "a2", "a3"]) {
        cluster.kill(id);
        cluster.start(&[id]);
        let key = format!("{number}");
        assert_eq!(cluster.client(&["insert", &key, &key], ""), ["ok"]);
        write(&client, &[&new_client, &old_client]);
    }
    assert_eq!(cluster.client(&["range", "0", "9"], ""), ["0:0 1:1 2:2 3:3"]);
    // What ends a rotation: the new key alone is enough for whoever has gone over.
    write(&key, &[&new]);
    cluster.kill("a1");
    cluster.start(&["a1"]);
    write(&client, &[&new_client]);
    cluster.status_when(|status| nodes(status).filter(|node| node["up"] == true).count() >= 3);
    cluster.stop();
}

#[test]
fn key_files_that_are_bad_or_that_others_can_read_are_refused() {
    let (cluster, key, client) = keyed(&[]);
    for path in [&key, &client] {
        let mode = std::fs::metadata(path).expect("it was made").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    refused(&["keygen", "--out", &key], 2, &[&key, "not replaced"]);
    let third = cluster.path("third.key");
    refused(&["keygen", "--client", "3", "--from", &client, "--out", &third], 2, &["a client's"]);
    refused(&["keygen", "--client", "5000", "--out", &third], 2, &["--client", "4095"]);
    let config = cluster.path("cluster.toml");
    let node = ["node", "--config", &config, "--id", "a1"];
    let permit = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&key, permissions).expect("it is ours");
    };
    permit(0o640);
    let text = std::fs::read_to_string(&config).expect("it was written");
    let place = |key: &str| {
        let line = text.lines().position(|line| line.starts_with(&format!("{key} = ")));
        let (line, column) = (line.expect("it is there") + 1, key.len() + 4);
        format!("{config}: line {line}, column {column}: authentication.{key}: ")
    };
    let named = place("key_file");
    refused(&node, 3, &[&named, "cluster.key", "mode 640", "chmod 600"]);
    refused(&["member", "list", "--config", &config], 3, &[&named, "mode 640", "chmod 600"]);
    permit(0o600);
    let permissions = std::fs::Permissions::from_mode(0o604);
    std::fs::set_permissions(&client, permissions).expect("it is ours");
    let named = place("client_key_file");
    for who in [&["client", "read", "1"][..], &["status"]] {
        refused(&[who, &["--config", &config]].concat(), 3, &[&named, "mode 604", "chmod 600"]);
    }
    // Who names it himself knows where.
    let by_option = ["status", "--config", &config, "--key-file", &client];
    refused(&by_option, 3, &["psmr: key file", "mode 604"]);
    let permissions = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&client, permissions).expect("it is ours");
    std::fs::write(&key, "psmr.key/1\nnodes = xyz\n").expect("it is ours");
    refused(&node, 2, &["cluster.key", "line 2"]);
    std::fs::copy(&client, &key).expect("both are ours");
    refused(&node, 2, &[&place("key_file"), "a client's"]);
    std::fs::remove_file(&key).expect("it is ours");
    refused(&node, 3, &["cluster.key", "psmr keygen"]);
    let missing = ["bench", "run", "--key-file", &key, "--json"];
    assert_eq!(psmr(&missing).status.code(), Some(3));
}
