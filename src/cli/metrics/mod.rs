//! The figures of the nodes of a process for Prometheus, by HTTP on a thread of its own.
//!
//! It reads what `psmr status` reads, the boards, and nothing waits for it: a scraper that is slow
//! or hostile costs this thread alone. Nobody is authenticated, so it listens where only the
//! operator reaches it.

mod http;
mod text;

use super::Failure;
use super::origin::Origin;
use crate::host::affinity::allowed_cpus;
use crate::host::threads;
use crate::node::Observer;
use std::io::ErrorKind;
use std::net::{SocketAddrV4, TcpListener};

/// A socket that listens, before anything is there to be told.
#[derive(Debug)]
pub(super) struct Metrics {
    listener: TcpListener,
}

impl Metrics {
    /// Takes the port that the file asks for, or by `option` who has started this process.
    pub(super) fn bind(
        origin: Origin<'_>,
        option: Option<SocketAddrV4>,
    ) -> Result<Option<Self>, Failure> {
        let by_file = origin.config.cluster.metrics.listen;
        let Some(address) = option.or(by_file) else { return Ok(None) };
        let refused = |error: std::io::Error| {
            let remedy = match error.kind() {
                ErrorKind::AddrInUse => {
                    "is in use: choose another port, for one process by --metrics-listen".to_owned()
                }
                ErrorKind::AddrNotAvailable => "is no address of this host: choose one of `ip \
                                                address`, or 127.0.0.1"
                    .to_owned(),
                ErrorKind::PermissionDenied => {
                    "is not for ordinary users: choose a port above 1023".to_owned()
                }
                _ => format!("cannot be listened at ({error}): choose another address"),
            };
            let problem = format!("{address} {remedy}");
            Failure::Environment(match option {
                Some(_) => format!("--metrics-listen: {problem}"),
                None => origin.tell("metrics.listen", problem),
            })
        };
        TcpListener::bind(address).map(|listener| Some(Self { listener })).map_err(refused)
    }

    /// Answers from now on, until the process ends.
    pub(super) fn serve(self, observer: Observer) -> Result<(), Failure> {
        let mut thread = threads::Team::new(allowed_cpus());
        let run = move || http::serve(&self.listener, || text::exposition(&observer));
        // Nobody joins it: it has nothing to hand over, and answers to the last.
        thread
            .spawn("metrics", None, run)
            .map_err(|error| Failure::Environment(format!("metrics.listen: {error}")))
    }
}
