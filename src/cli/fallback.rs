//! The one line that says that plain sockets do the work of an io_uring, and why.

use super::origin::Origin;
use super::{Failure, complain};
use crate::bench::{self, Settings};
use crate::config::{Config, Io, Network};
use crate::node::refusal_of_io_uring;
use crate::transport::udp::LaunchError;
use std::path::Path;

/// Decides what the sockets of this process are read and written by, where cluster.toml leaves it
/// open; refuses what the machine does not permit.
pub(super) fn of_cluster(config: &mut Config, path: &Path) -> Result<(), Failure> {
    let cluster = &config.cluster;
    if cluster.network.io == Io::Socket {
        return Ok(());
    }
    match (refusal_of_io_uring(cluster), cluster.network.io) {
        (Some(cause), Io::Uring) => {
            return Err(Failure::Environment(Origin { path, config }.tell("network.io", cause)));
        }
        (Some(cause), _) => {
            let Network { sqpoll, send_zc, min_wait, .. } = cluster.network;
            warn(&cause, [sqpoll, send_zc, !min_wait.is_zero()], ["sqpoll", "send_zc", "min_wait"]);
            config.cluster.network.io = Io::Socket;
        }
        (None, _) => config.cluster.network.io = Io::Uring,
    }
    Ok(())
}

/// The same for a run of the benchmark.
pub(super) fn of_bench(settings: &mut Settings) {
    let Settings { sqpoll, send_zc, min_wait_us, .. } = *settings;
    if let Some(cause) = bench::settle_io(settings) {
        let names = ["--sqpoll", "--send-zc", "--min-wait-us"];
        warn(&cause, [sqpoll, send_zc, min_wait_us > 0], names);
    }
    for shortfall in bench::shortfalls(settings) {
        complain(&format!("warning: {shortfall}"));
    }
}

/// `is_set`: which of the settings `names` ask for what only an io_uring has.
fn warn(cause: &LaunchError, is_set: [bool; 3], names: [&str; 3]) {
    let idle = names.iter().zip(is_set).filter(|(_, is_set)| *is_set);
    let idle = idle.map(|(name, _)| *name).collect::<Vec<_>>();
    let idle = match idle[..] {
        [] => String::new(),
        _ => format!("; without effect: {}", idle.join(", ")),
    };
    complain(&format!(
        "warning: plain sockets instead of io_uring, slower by up to 15 % on loopback: {cause}{idle}"
    ));
}
