//! What an operator does on three hosts, by docs/OPERATIONS.md.

use super::Trial;
use super::cluster::{Cluster, NODES, Setup};
use super::network::{NAMES, Network};

/// The commands, and what they must say.
pub(crate) fn run(trial: &Trial) {
    let _network = Network::new(trial.seed).expect("a network of ours");
    let disks = [1, 2, 3].map(|number| trial.directory.join(format!("disk{number}")));
    let mut cluster = Cluster::new(&trial.directory, &Setup::usual(&disks));
    NODES.iter().for_each(|(id, _)| cluster.start(id));
    let status = cluster.wait_until_whole();
    assert_eq!((&status["schema"], &status["ok"]), (&"psmr.status/1".into(), &true.into()));
    let commands = ["insert 1 10", "insert 1 11", "read 1", "update 2 20", "range 0 4", "delete 0"];
    let answers = cluster.client(&commands.map(str::to_owned));
    assert_eq!(answers, ["ok", "exists", "value 10", "ok", "0:0 1:10 2:20", "ok"]);
    // A host of nodes is no place for clients: it has the nodes' key, and so may ask all the same.
    for (host, name) in NAMES.into_iter().enumerate() {
        let config = cluster.path(&format!("{name}/cluster.toml"));
        let mut command = Network::command(host, env!("CARGO_BIN_EXE_psmr"));
        let output = command.args(["status", "--config", &config]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        for (id, _) in NODES {
            assert!(said.lines().any(|line| line.starts_with(id)), "{name}, {id}: {said}");
        }
    }
    // A whole host goes, and comes back.
    for id in ["a1", "r1"] {
        cluster.kill(id);
    }
    let answers = cluster.client(&["insert 3 30".to_owned(), "read 2".to_owned()]);
    assert_eq!(answers, ["ok", "value 20"]);
    for id in ["a1", "r1"] {
        cluster.start(id);
    }
    cluster.wait_until_whole();
    assert_eq!(cluster.client(&["range 0 5".to_owned()]), ["1:10 2:20 3:30 4:4"]);
    cluster.stop();
}
