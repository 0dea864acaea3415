//! What the machine refuses is told with the line of cluster.toml that asked for it.

use super::deployment::{Deployment, is_supported, refused};
use std::fs;
use std::net::UdpSocket;

/// A cluster that does not run, its file, and another one to be wrong.
struct Files {
    cluster: Deployment,
    text: String,
    bad: String,
}

impl Files {
    fn new(options: &[&str]) -> Self {
        let cluster = Deployment::new(options);
        let text = fs::read_to_string(cluster.path("cluster.toml")).expect("it was written");
        let bad = cluster.path("bad.toml");
        Self { cluster, text, bad }
    }

    /// Writes the file with `to` for `from`, and says where in it `marked` is and of which `key`.
    fn change(&self, from: &str, to: &str, marked: &str, key: &str) -> String {
        let text = self.text.replacen(from, to, 1);
        let at = text.find(marked).unwrap_or_else(|| panic!("{marked} is not in {text}"));
        let column = at - text[..at].rfind('\n').expect("not on the first line");
        let line = text[..at].matches('\n').count() + 1;
        fs::write(&self.bad, &text).expect("a writable directory");
        format!("psmr: {}: line {line}, column {column}: {key}: ", self.bad)
    }

    fn refuses(&self, arguments: &[&str], status: i32, parts: &[&str]) {
        refused(&[arguments, &["--config", &self.bad]].concat(), status, parts);
    }
}

#[test]
fn ports_groups_and_directories_that_are_not_to_be_had_are_told_with_their_lines() {
    if !is_supported() {
        return;
    }
    let files = Files::new(&[]);
    let port = files.cluster.port;
    let insecure = ["node", "--insecure", "--id"];
    let node = |id| [&insecure[..], &[id]].concat();
    let _taken = [2, 5].map(|n| UdpSocket::bind(("127.0.0.1", port + n)).expect("it was free"));
    let second = (port + 2).to_string();
    let place = files.change("", "", &second, "acceptor[1].port");
    files.refuses(&node("a2"), 3, &[&place, "port is in use", "choose another port"]);
    // The second of a replica's threads.
    let place = files.change("", "", &(port + 4).to_string(), "replica[0].port");
    files.refuses(&node("r1"), 3, &[&place, "port is in use"]);
    let group = files.text.rsplit("address = \"").next().expect("a ring");
    let group = &group[..group.find('"').expect("its end")];
    let _group = UdpSocket::bind(group).expect("it was free");
    let place = files.change("", "", &format!("\"{group}\""), "ring[2].address");
    files.refuses(&node("a3"), 3, &[&place, group, "port is in use"]);
    let start = files.text.find("data_dir = ").expect("it is written out");
    let data_dir = files.text[start..].lines().next().expect("a line");
    let to = "data_dir = \"cluster.toml\"";
    let place = files.change(data_dir, to, "\"cluster.toml\"", "cluster.data_dir");
    files.refuses(&node("a1"), 3, &[&place, "make it writable", "--data-dir"]);
    let elsewhere = files.cluster.path("cluster.toml");
    let by_option = [&node("a1")[..], &["--data-dir", &elsewhere]].concat();
    files.refuses(&by_option, 3, &["psmr: data directory", "make it writable"]);
    let cores = format!("port = {}\ncores = [4000]", port + 3);
    let from = format!("port = {}", port + 3);
    let place = files.change(&from, &cores, "[4000]", "acceptor[2].cores");
    // Nobody else's group this time.
    drop(_group);
    files.refuses(&node("a3"), 3, &[&place, "CPU 4000", "psmr topo"]);
}

#[test]
fn what_keeps_a_client_or_an_operator_out_is_told_with_its_line() {
    let files = Files::new(&["--service", "counters"]);
    let place = files.change("", "", "\"counters\"", "service.name");
    files.refuses(&["client", "read", "1"], 2, &[&place, "service btree"]);
    let held = "[network]\nnewest_wire = 1\n\n[ordering]";
    let place = files.change("[ordering]", held, "1\n\n[ordering]", "network.newest_wire");
    for (who, status) in
        [(&["node", "--id", "a1"][..], 2), (&["client", "load", "--seconds", "1"], 3)]
    {
        files.refuses(who, status, &[&place, "newest_wire in [network]", "remove it"]);
    }
}
