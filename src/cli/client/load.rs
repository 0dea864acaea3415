//! `psmr client load`: many sessions that issue commands by their shares, through failures.

use super::super::bench as run;
use super::silence::{News, Silence};
use super::{FULL, Failure, Obstacle, Origin, complain, nobody, of_launch, share, show};
use crate::bench::{self, Contact, Machine, Model, Observed, Report, RunError, Service, Settings};
use crate::config::{self, Cluster};
use crate::host::clock;
use crate::node::{
    BuildError, Clients, ClusterError, ClusterFigures, Growth, RemoteClient, WithService,
    with_service,
};
use crate::service::{GroupMap, Optimistic};
use crate::types::Time;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often the main thread looks at the clients.
const LOOK: Duration = Duration::from_millis(5);
/// Threads end a little later than they should.
const GRACE: Duration = Duration::from_secs(2);

/// The options of `psmr client load`: those of `psmr bench run` that concern the load.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct ClientLoadArgs {
    #[command(flatten)]
    load: run::LoadArgs,
    /// Half of the keys that commands draw, or all counters [default: as the cluster loads, at least
    /// 1000]
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// Commands draw keys below this [default: 2 * keys]
    #[arg(long, value_name = "N")]
    key_space: Option<u64>,
    /// Writes one JSON object to standard output
    #[arg(long)]
    json: bool,
    /// Writes what every client asked and was told as JSON lines
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(
    args: &ClientLoadArgs,
    origin: Origin<'_>,
    client: &RemoteClient<'_>,
) -> Result<(), Failure> {
    let settings = args.settings(client.cluster);
    let outcome = check(&settings, client.cluster).and_then(|()| {
        let mut unheard = None;
        let launch = |settings: &Settings, generators| {
            launch(origin, client, settings, generators, &mut unheard)
        };
        let mut report = bench::run_through_failures(&settings, launch)?;
        if let Some(why) = unheard {
            report.error = report.error.map(|error| format!("{error}: {why}"));
        }
        Ok(report)
    });
    let report = match outcome {
        Ok(report) => report,
        Err(failure) => {
            if args.json {
                run::show_report(&Report::failed(settings, &failure))?;
            }
            return Err(failure);
        }
    };
    if args.json {
        run::show_report(&report)?;
    } else {
        let Report { unknown, not_applied, .. } = report;
        let failures = format!("{unknown} unknown, {not_applied} certainly not applied\n");
        show(&(bench::human(&report) + &failures))?;
    }
    report.error.map_or(Ok(()), |error| Err(Failure::Run(error)))
}

/// What the cluster decides, not the command line.
fn check(settings: &Settings, cluster: &Cluster) -> Result<(), Failure> {
    let window = cluster.execution.window;
    let longest = settings.outstanding.div_ceil(settings.clients.max(1));
    if longest <= window {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "--outstanding {}: {longest} commands a client, but a session of this cluster has a window \
         of {window}: choose {} or less, or more --clients",
        settings.outstanding,
        window * settings.clients
    )))
}

impl ClientLoadArgs {
    /// With `--json`, the object of a load that cannot begin.
    pub(super) fn show_failure(&self, failure: &Failure) -> Result<(), Failure> {
        if self.json { run::show_failure(&failure.to_string()) } else { Ok(()) }
    }

    fn settings(&self, cluster: &Cluster) -> Settings {
        let (service, loaded) = match cluster.service {
            config::Service::Btree(tree) => (Service::Btree, tree.keys.max(1000)),
            config::Service::Counters(counters) => (Service::Counters, counters.into()),
            config::Service::Null { .. } => (Service::Null, 1000),
        };
        let keys = self.keys.unwrap_or(loaded);
        Settings {
            model: match cluster.model {
                config::Model::Smr => Model::Smr,
                config::Model::Psmr => Model::Psmr,
                config::Model::OptPsmr => Model::OptPsmr,
            },
            service,
            threads: cluster.threads,
            replicas: cluster.replicas.len(),
            acceptors: cluster.acceptors.len(),
            worker_threads: cluster.execution.worker_threads,
            keys,
            key_space: self.key_space.unwrap_or(service.key_space(keys)),
            datagram_bytes: cluster.network.room.datagram(),
            json: self.json,
            history: self.history.clone(),
            ..self.load.settings(&Machine::read())
        }
    }
}

/// Starts the clients once the service's map is known.
struct Connect<'a> {
    client: &'a RemoteClient<'a>,
    loads: Vec<(usize, bench::Generator)>,
}

impl WithService for Connect<'_> {
    type Output = Result<Clients<bench::Generator>, ClusterError>;

    fn run<S, M>(self, _: impl Fn() -> Result<Arc<S>, BuildError>, map: M) -> Self::Output
    where
        S: Optimistic,
        M: GroupMap + Clone + Send + Sync + 'static,
    {
        Clients::launch(self.client, &share(map), self.loads)
    }
}

/// Runs the generators to their end. Writes to `unheard` why, if none of them was ever answered.
fn launch(
    origin: Origin<'_>,
    client: &RemoteClient<'_>,
    settings: &Settings,
    generators: Vec<bench::Generator>,
    unheard: &mut Option<String>,
) -> Result<Observed, RunError> {
    let Cluster { service, threads, .. } = client.cluster;
    let failed = |error: Failure| RunError::Failed(error.to_string());
    let mut attention = Attention {
        cluster: client.cluster,
        contacts: generators.iter().map(bench::Generator::contact).collect(),
        silence: Silence::new(clock::now()),
        is_full: false,
    };
    let loads = generators.into_iter().map(|load| (load.sessions(), load)).collect();
    let clients = with_service(service, *threads, Growth::Loaded, Connect { client, loads })
        .map_err(|error| RunError::Failed(origin.tell("service", error)))?
        .map_err(|error| RunError::Environment(origin.of_clients(&error)))?;
    let run = Duration::from_secs_f64(settings.warmup + settings.seconds);
    // The sessions open, the commands run, the last of them come back.
    let until = clock::now() + client.deadline + run + settings.deadline() + GRACE;
    let opened_until = clock::now() + client.deadline;
    while !clients.is_over() && clock::now() < until {
        std::thread::park_timeout(LOOK);
        if attention.look(clock::now()) && clock::now() >= opened_until {
            clients.stop().map_err(|error| failed(of_launch(origin, &error)))?;
            return Err(RunError::Failed(FULL.to_owned()));
        }
    }
    if !attention.silence.has_heard() {
        *unheard = Some(attention.nobody());
    }
    let ended = clients.stop().map_err(|error| failed(of_launch(origin, &error)))?;
    let (generators, clients): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
    let figures = ClusterFigures { clients, ..ClusterFigures::default() };
    Ok(Observed {
        generators,
        network: bench::network(&figures),
        rings: Vec::new(),
        logs: Default::default(),
        replicas: Vec::new(),
        synchronous: bench::Synchronous::default(),
    })
}

/// What the main thread makes of the silence, or the answers, of a cluster.
struct Attention<'a> {
    cluster: &'a Cluster,
    contacts: Vec<Arc<Contact>>,
    silence: Silence,
    /// It was told that the cluster has no room for sessions.
    is_full: bool,
}

impl Attention<'_> {
    /// Says what is new. Whether the cluster has no room for a session.
    fn look(&mut self, now: Time) -> bool {
        let is_full = self.contacts.iter().any(|contact| contact.is_full());
        if is_full && !std::mem::replace(&mut self.is_full, true) {
            complain(&format!("{FULL}; trying again until the deadline"));
        }
        // Who is told that there is no room is answered.
        let answered_at = self.contacts.iter().map(|contact| contact.answered_at()).max();
        let answered_at = if is_full { now } else { answered_at.unwrap_or(Time::ZERO) };
        match self.silence.look(answered_at, now) {
            Some(News::Silent(time)) => complain(&format!(
                "{}; nothing for {:.1} s, trying again until the load ends",
                self.nobody(),
                time.as_secs_f64()
            )),
            Some(News::Answers(time)) => {
                complain(&format!("the cluster answers, after {:.1} s", time.as_secs_f64()));
            }
            None => {}
        }
        is_full
    }

    fn nobody(&self) -> String {
        let mismatch = self.contacts.iter().find_map(|contact| contact.mismatch());
        let obstacle = match mismatch {
            Some((reason, by)) => Some(Obstacle::Mismatch(reason, by)),
            None if self.contacts.iter().any(|contact| contact.lacks_quorum()) => {
                Some(Obstacle::NoQuorum)
            }
            None => None,
        };
        nobody(self.cluster, obstacle)
    }
}
