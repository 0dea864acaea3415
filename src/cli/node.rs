//! `psmr node`: nodes of a cluster, until SIGTERM.

use super::fault::{self, Fault};
use super::journal::Journal;
use super::manager::Manager;
use super::metrics::Metrics;
use super::origin::Origin;
use super::{Failure, bug, complain, config, fallback, key, show};
use crate::config::Cluster;
use crate::host::clock;
use crate::host::signals::Termination;
use crate::node::{
    BuildError, ClusterError, Ended, Event, Growth, HomeError, Launch, NodeError, Process, Weight,
    WithService, latest_members, shortfalls, tell, with_service,
};
use crate::service::{GroupMap, Optimistic};
use crate::transport::middleware::Faults;
use crate::types::Time;
use crate::wire::Keyring;
use clap::Args;
use clap::builder::PossibleValuesParser;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often the main thread looks at the others.
const LOOK: Duration = Duration::from_millis(10);
/// How often it asks for events.
const EVENTS: Duration = Duration::from_millis(100);
/// So long nodes that are no members any more tell the others so.
const FAREWELL: Duration = Duration::from_secs(3);

/// The options of `psmr node`.
#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    /// The cluster
    #[arg(long, value_name = "FILE", default_value = "cluster.toml")]
    config: PathBuf,
    /// A node that lives in this process; may be given several times
    #[arg(long = "id", value_name = "ID", required_unless_present = "print_config")]
    ids: Vec<String>,
    /// Where the nodes keep their data, a directory each [default: as the file says]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Runs over several hosts although datagrams are not authenticated
    #[arg(long)]
    insecure: bool,
    /// Where this process answers `GET /metrics` [default: the file's `listen` in [metrics]; else
    /// nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddrV4>,
    /// Prints every setting, its effective value and where it came from, and does nothing else
    #[arg(long)]
    print_config: bool,
    /// For tests: what happens to received datagrams, in percent, as in
    /// loss=1,duplication=1,reordering=1,delay=1,delay-by=5ms,flip=0.1; cut=a1+r2 hears nothing of
    /// these nodes; with cut-for=300ms,cut-every=2s only for so long at a time, and without cut= of
    /// whom the seed draws
    #[arg(long, value_name = "SPEC", value_parser = fault::parse)]
    fault: Option<Fault>,
    /// Makes the faults repeatable [default: 1]
    #[arg(long, value_name = "N", requires = "fault")]
    fault_seed: Option<u64>,
    /// For tests: plants this bug in these nodes; needs a debug build or --features planted-bugs
    #[arg(long, hide = true, value_name = "NAME", value_parser = PossibleValuesParser::new(bug::names()))]
    bug: Option<String>,
}

/// Runs it.
pub(super) fn run(args: &NodeArgs) -> Result<(), Failure> {
    let mut config = config::read(&args.config)?;
    if args.print_config {
        return show(&config.print());
    }
    bug::plant(args.bug.as_deref()).map_err(Failure::Usage)?;
    fallback::of_cluster(&mut config, &args.config)?;
    let origin = Origin { path: &args.config, config: &config };
    let data_dir = args.data_dir.clone();
    let data_dir = data_dir.unwrap_or_else(|| config::data_dir(&args.config, &config));
    let refused = |error: NodeError| refused(origin, args, &error);
    let cluster = latest_members(&config.cluster, &data_dir, &args.ids)
        .map_err(|error| refused(error.into()))?;
    let keyring = key::of_nodes(origin, args.insecure)?;
    let ids = remaining(&args.ids, &config.cluster, &cluster);
    if ids.is_empty() {
        return Err(removed(&args.ids, &cluster, keyring));
    }
    if cluster.epoch > config.cluster.epoch {
        complain(&format!(
            "{} is of epoch {}, these nodes know of epoch {} and go on with its members: bring the \
             file up to date with `psmr member list --update`",
            args.config.display(),
            config.cluster.epoch,
            cluster.epoch
        ));
    }
    let fault = args.fault.clone().unwrap_or_default();
    fault.check(&cluster).map_err(Failure::Usage)?;
    let launch = Launch {
        cluster: &cluster,
        ids: &ids,
        data_dir,
        keyring,
        is_insecure: args.insecure,
        faults: args.fault.is_some().then(|| {
            let seed = args.fault_seed.unwrap_or(1);
            Faults { seed, ..fault.faults.clone() }
        }),
        cut: &fault.cut,
    };
    // Before any thread starts: none of them is to be interrupted.
    let termination = Termination::block()
        .map_err(|error| Failure::Environment(format!("signals cannot be blocked: {error}")))?;
    let metrics = Metrics::bind(origin, args.metrics_listen)?;
    let starts = Starts(&launch);
    let process =
        with_service(&config.cluster.service, config.cluster.threads, Growth::Loaded, starts)
            .map_err(NodeError::from)
            .and_then(|process| process)
            .map_err(refused)?;
    for (id, error) in process.left_out() {
        complain(&format!("{id} is left out: {error}"));
    }
    let is_left_out = |id: &String| process.left_out().iter().any(|(known, _)| known == id);
    let ids: Vec<String> = ids.iter().filter(|id| !is_left_out(id)).cloned().collect();
    for (id, aside) in process.former() {
        complain(&format!(
            "{id}: a former member of that name has left its data here: they are in {} now, and {id} \
             begins anew with nothing",
            aside.display()
        ));
    }
    for shortfall in shortfalls(&cluster) {
        complain(&format!("warning: {shortfall}"));
    }
    if let Some(metrics) = metrics {
        metrics.serve(process.observer())?;
    }
    watch(process, &ids, &termination)
}

/// `ids` without those that were removed since the `file` was written: a process goes on without
/// them.
fn remaining(ids: &[String], file: &Cluster, cluster: &Cluster) -> Vec<String> {
    let is_in = |of: &Cluster, id: &str| of.nodes().any(|node| node.id == id);
    let is_gone = |id: &&String| is_in(file, id) && !is_in(cluster, id);
    let gone: Vec<&String> = ids.iter().filter(is_gone).collect();
    for id in gone.iter().filter(|_| gone.len() < ids.len()) {
        complain(&format!("{id}: no member in epoch {}: it is left out", cluster.epoch));
    }
    ids.iter().filter(|id| !gone.contains(id)).cloned().collect()
}

/// None of `ids` is a member any more. They tell the others, who may not know: one that was removed
/// can have been killed as the only one that had heard of it.
fn removed(ids: &[String], cluster: &Cluster, keyring: Option<Arc<Keyring>>) -> Failure {
    let (epoch, ids) = (cluster.epoch, ids.join(", "));
    let rest = match tell(cluster, FAREWELL, keyring) {
        Ok(true) => "which more than half of the acceptors know".to_owned(),
        Ok(false) => format!(
            "of which too few acceptors could be told within {} s: start them, and this node once more",
            FAREWELL.as_secs()
        ),
        Err(error) => format!("of which nobody could be told: {error}"),
    };
    let message = format!("--id {ids}: the cluster has no such node in epoch {epoch}, {rest}");
    Failure::Usage(message)
}

/// Starts the nodes once their service's type is known.
struct Starts<'a>(&'a Launch<'a>);

impl WithService for Starts<'_> {
    type Output = Result<Process, NodeError>;

    fn run<S, M>(self, build: impl Fn() -> Result<Arc<S>, BuildError>, _: M) -> Self::Output
    where
        S: Optimistic,
        M: GroupMap + Clone + Send + Sync + 'static,
    {
        Process::launch(self.0, build)
    }
}

/// Until the nodes are told to stop, or have stopped.
fn watch(mut process: Process, ids: &[String], termination: &Termination) -> Result<(), Failure> {
    let (mut is_told, mut has_failed) = (false, false);
    let (mut manager, journal) = (Manager::of_environment(), Journal::of_environment());
    let mut events_at = Time::ZERO;
    loop {
        let now = clock::now();
        if now >= events_at {
            events_at = now + EVENTS;
            process.take_events(now).iter().for_each(|event| journal.say(event));
        }
        for Ended { id, cause, is_removed } in process.take_ended() {
            let weight = if is_removed { Weight::Notice } else { Weight::Error };
            journal.say(&Event { node: id.clone(), weight, text: format!("stopped: {cause}") });
            manager.on_ended(&id);
            has_failed |= !is_removed;
        }
        if process.is_empty() && !has_failed {
            manager.on_stop();
            return Ok(());
        }
        if process.is_empty() {
            return Err(Failure::Run("no node is left in this process".to_owned()));
        }
        if !is_told && process.is_ready() {
            let lines: String = ids.iter().map(|id| format!("ready {id}\n")).collect();
            show(&lines)?;
            manager.on_ready(ids);
            is_told = true;
        }
        if is_told {
            manager.look(process.most_silent(now), now);
        }
        if termination.wait(LOOK) {
            break;
        }
    }
    manager.on_stop();
    for (node, text) in process.stop() {
        journal.say(&Event { node, weight: Weight::Error, text });
    }
    Ok(())
}

/// Why the nodes do not start, and where in the file, if it is there.
fn refused(origin: Origin<'_>, args: &NodeArgs, error: &NodeError) -> Failure {
    let message = origin.of_nodes(error, args.data_dir.as_deref());
    match error {
        // Nothing changes until somebody has looked: a service manager does not try again.
        NodeError::Home(HomeError::Divided { .. }) => Failure::Usage(message),
        NodeError::Home(_) => Failure::Environment(message),
        NodeError::Start { source, .. } => match **source {
            ClusterError::Transport(_)
            | ClusterError::Thread(_)
            | ClusterError::Storage(_)
            | ClusterError::CheckpointFile { .. } => Failure::Environment(message),
            _ => Failure::Run(message),
        },
        _ => Failure::Usage(message),
    }
}
