//! An acceptor whose disk was wiped has no vote: with one that was cut off it could decide anew what
//! the third and itself had decided.

use super::Trial;
use super::cluster::{Cluster, NODES, Setup};
use super::network::Network;
use super::switch::Rules;
use std::fs;

/// Cuts a host off from the others and the client.
fn without(host: usize) -> Rules {
    let mut rules = Rules::default();
    rules[host].iter_mut().for_each(|path| path.is_cut = true);
    rules.iter_mut().for_each(|from| from[host].is_cut = true);
    rules
}

/// Takes the memory of one of two acceptors that know what was acknowledged while the other is cut
/// off.
pub(crate) fn run(trial: &Trial) {
    let network = Network::new(trial.seed).expect("a network of ours");
    let disks = [1, 2, 3].map(|number| trial.directory.join(format!("disk{number}")));
    let mut cluster = Cluster::new(&trial.directory, &Setup::usual(&disks));
    NODES.iter().for_each(|(id, _)| cluster.start(id));
    cluster.wait_until_whole();
    cluster.client(&["read 0".to_owned()]);
    network.set(without(2));
    let inserts: Vec<String> = (0..50).map(|n| format!("insert {} 7", 2 * n + 1)).collect();
    assert_eq!(cluster.client(&inserts), vec!["ok"; 50]);
    for id in ["a1", "r1"] {
        cluster.kill(id);
        fs::remove_dir_all(disks[0].join(id)).expect("its directory is ours");
    }
    network.set(without(1));
    for id in ["a1", "r1"] {
        cluster.start(id);
    }
    // There is one acceptor that knows what it voted for, which is no quorum.
    let reads: Vec<String> = (0..50).map(|n| format!("read {}", 2 * n + 1)).collect();
    let answers = cluster.client_within("3s", &reads[..2]);
    assert!(answers.iter().all(|answer| !answer.starts_with("missing")), "{answers:?}");
    network.set(Rules::default());
    cluster.wait_until_whole();
    assert_eq!(cluster.client(&reads), vec!["value 7"; 50]);
    cluster.stop();
}
