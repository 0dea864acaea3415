//! The one line that says that plain sockets do the work of an io_uring, and why.

use super::{Failure, complain};
use crate::bench::{self, Settings};
use crate::config::{Cluster, Io};
use crate::node::refusal_of_io_uring;
use crate::transport::udp::LaunchError;

/// Decides what the sockets of this process are read and written by, where cluster.toml leaves it
/// open; refuses what the machine does not permit.
pub(super) fn of_cluster(cluster: &mut Cluster) -> Result<(), Failure> {
    if cluster.network.io == Io::Socket {
        return Ok(());
    }
    match (refusal_of_io_uring(cluster), cluster.network.io) {
        (Some(cause), Io::Uring) => return Err(Failure::Environment(cause.to_string())),
        (Some(cause), _) => {
            warn(&cause);
            cluster.network.io = Io::Socket;
        }
        (None, _) => cluster.network.io = Io::Uring,
    }
    Ok(())
}

/// The same for a run of the benchmark.
pub(super) fn of_bench(settings: &mut Settings) {
    if let Some(cause) = bench::settle_io(settings) {
        warn(&cause);
    }
}

fn warn(cause: &LaunchError) {
    complain(&format!(
        "warning: plain sockets instead of io_uring, slower by 10 to 15 % on loopback: {cause}"
    ));
}
