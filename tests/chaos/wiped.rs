//! An acceptor whose disk was wiped, or put back from a copy of earlier days, has no vote: with one
//! that was cut off it could decide anew what the third and itself had decided.

use super::Trial;
use super::cluster::{Cluster, NODES, Setup};
use super::network::Network;
use super::switch::Rules;
use std::fs;
use std::path::Path;

/// Cuts a host off from the others and the client.
fn without(host: usize) -> Rules {
    let mut rules = Rules::default();
    rules[host].iter_mut().for_each(|path| path.is_cut = true);
    rules.iter_mut().for_each(|from| from[host].is_cut = true);
    rules
}

/// What has become of a1's disk when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Empty.
    Wiped,
    /// A copy that was made before a1 restarted.
    OldLife,
    /// A copy that was made while a1 ran, as a snapshot of its volume would be.
    SameLife,
}

/// Takes the memory of one of two acceptors that know what was acknowledged while the other is cut
/// off.
pub(crate) fn run(trial: &Trial, disk: Disk) {
    let network = Network::new(trial.seed).expect("a network of ours");
    let disks = [1, 2, 3].map(|number| trial.directory.join(format!("disk{number}")));
    let mut cluster = Cluster::new(&trial.directory, &Setup::usual(&disks));
    NODES.iter().for_each(|(id, _)| cluster.start(id));
    cluster.wait_until_whole();
    cluster.client(&["read 0".to_owned()]);
    let (data, copy) = (disks[0].join("a1"), trial.directory.join("copy"));
    let inserts: Vec<String> = (0..50).map(|n| format!("insert {} 7", 2 * n + 1)).collect();
    match disk {
        Disk::Wiped => network.set(without(2)),
        Disk::OldLife => {
            cluster.kill("a1");
            copy_all(&data, &copy);
            cluster.start("a1");
            cluster.wait_until_whole();
            network.set(without(2));
        }
        // The third hears that a1 votes, if not for all that is acknowledged.
        Disk::SameLife => {
            copy_all(&data, &copy);
            assert_eq!(cluster.client(&inserts[..10]), vec!["ok"; 10]);
            network.set(without(2));
        }
    }
    let answers = cluster.client(&inserts);
    let first = if disk == Disk::SameLife { 10 } else { 0 };
    assert_eq!(answers[first..], vec!["ok"; 50 - first]);
    for id in ["a1", "r1"] {
        cluster.kill(id);
        fs::remove_dir_all(disks[0].join(id)).expect("its directory is ours");
    }
    if disk != Disk::Wiped {
        copy_all(&copy, &data);
    }
    network.set(without(1));
    for id in ["a1", "r1"] {
        cluster.start(id);
    }
    // There is one acceptor that knows what it voted for, which is no quorum.
    let reads: Vec<String> = (0..50).map(|n| format!("read {}", 2 * n + 1)).collect();
    let answers = cluster.client_within("3s", &reads[..1]);
    assert!(answers.iter().all(|answer| !answer.starts_with("missing")), "{answers:?}");
    network.set(Rules::default());
    cluster.wait_until_whole();
    assert_eq!(cluster.client(&reads), vec!["value 7"; 50]);
    cluster.stop();
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a writable directory");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is there");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("it is there").is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a writable directory");
        }
    }
}
