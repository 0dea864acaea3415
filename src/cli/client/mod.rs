//! `psmr client`: one line in, one line out.

mod exchange;
mod lines;
mod load;
mod silence;

#[cfg(any(test, fuzzing))]
pub(crate) use lines::parse as parse_line;

use super::origin::Origin;
use super::{Failure, complain, config, fallback, key, show, tell};
use crate::config::{Cluster, Service, duration};
use crate::host::clock;
use crate::node::{
    BuildError, Clients, ClusterError, Growth, Halt, RemoteClient, WithService, with_service,
};
use crate::service::{GroupMap, Optimistic};
use crate::types::{Address, SessionId, Time};
use crate::wire::DecodeError;
use clap::{Args, Subcommand};
use exchange::{Exchange, Lines, Told};
use silence::PATIENCE;
use std::io::{self, BufRead};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why a cluster whose nodes answer does not serve a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// This node refused to talk to us.
    Mismatch(DecodeError, Address),
    /// Too few acceptors.
    NoQuorum,
    /// No room for a session.
    Full,
}

/// What is wrong with a cluster that opens no session, and the remedy.
const FULL: &str = "the cluster has no free session: end clients that run, or raise `sessions` or \
                    lower `session_timeout` in [execution] of every node's cluster.toml";
/// How long the end waits for the session to be closed.
const END: Duration = Duration::from_secs(1);

/// The options of `psmr client`.
#[derive(Debug, Args)]
#[command(subcommand_precedence_over_arg = true)]
pub(super) struct ClientArgs {
    #[command(subcommand)]
    load: Option<Load>,
    /// The cluster
    #[arg(long, value_name = "FILE", default_value = "cluster.toml", global = true)]
    config: PathBuf,
    /// When a command without an answer is given up as unknown [default: as the file says]
    #[arg(long, value_name = "TIME", value_parser = parse_time, global = true)]
    deadline: Option<Duration>,
    /// Address of the interface to use [default: the one that leads to the cluster]
    #[arg(long, value_name = "ADDRESS", global = true)]
    interface: Option<Ipv4Addr>,
    /// The client's key [default: the client_key_file of the cluster's file]
    #[arg(long, value_name = "FILE", global = true)]
    key_file: Option<PathBuf>,
    /// Goes on with a session of an earlier client, by the number that it wrote to standard error
    #[arg(long, value_name = "ID")]
    session: Option<u64>,
    /// Leaves the session open at the end, and writes its number to standard error for `--session`
    #[arg(long)]
    keep_session: bool,
    /// One command: insert K V, update K V, delete K, read K or range A B [LIMIT]; without it
    /// commands are read from standard input, one a line
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Load {
    /// Issues commands by their shares, as `psmr bench run` does, and goes on through failures
    Load(Box<load::ClientLoadArgs>),
}

/// Runs it.
pub(super) fn run(args: &ClientArgs) -> Result<(), Failure> {
    let read = || {
        let mut config = config::read(&args.config)?;
        let key_file = args.key_file.as_deref();
        let origin = Origin { path: &args.config, config: &config };
        let keyring = key::of_client_of(origin, key_file)?;
        fallback::of_cluster(&mut config, &args.config)?;
        Ok((config, keyring))
    };
    let (config, keyring) = match (read(), &args.load) {
        (Ok(read), _) => read,
        (Err(failure), Some(Load::Load(load))) => {
            load.show_failure(&failure)?;
            return Err(failure);
        }
        (Err(failure), None) => return Err(failure),
    };
    let cluster = &config.cluster;
    let origin = Origin { path: &args.config, config: &config };
    if let Some(Load::Load(load)) = &args.load {
        let deadline = args.deadline.unwrap_or(cluster.client.deadline);
        let interface = args.interface;
        return load::run(
            load,
            origin,
            &RemoteClient { cluster, deadline, session: None, interface, keyring, faults: None },
        );
    }
    if !matches!(cluster.service, Service::Btree(_)) {
        let problem = "its commands have no lines: use a cluster of the service btree";
        return Err(Failure::Usage(origin.tell("service.name", problem)));
    }
    let deadline = args.deadline.unwrap_or(cluster.client.deadline);
    let client = RemoteClient {
        cluster,
        deadline,
        session: args.session.map(SessionId),
        interface: args.interface,
        keyring,
        faults: None,
    };
    let keeps_session = args.keep_session || args.session.is_some();
    let (lines, exchange) = exchange::pair(keeps_session);
    let connect = Connect { client: &client, lines };
    let clients = with_service(&cluster.service, cluster.threads, Growth::Loaded, connect)
        .map_err(|error| Failure::Usage(origin.tell("service", error)))?
        .map_err(|error| of_launch(origin, &error))?;
    let state = State::New;
    let mut session =
        Session { cluster, clients: &clients, exchange, deadline, keeps_session, state };
    let outcome = if args.command.is_empty() {
        session.serve(io::stdin().lock())
    } else {
        session.serve_one(&args.command.join(" "))
    };
    drop(session);
    clients.wait(END);
    clients.stop().map_err(|error| of_launch(origin, &error))?;
    outcome
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time = duration(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "write a time like 500ms or 2s".to_owned())
}

fn of_launch(origin: Origin<'_>, error: &ClusterError) -> Failure {
    let message = origin.of_clients(error);
    match error {
        ClusterError::Unspoken(_) | ClusterError::Halted { halt: Halt::Unspoken(_), .. } => {
            Failure::Usage(message)
        }
        _ => Failure::Environment(message),
    }
}

/// A map whose type is none of the client's business: one compiled client serves all services.
fn share(map: impl GroupMap + Send + Sync + 'static) -> Arc<dyn GroupMap + Send + Sync> {
    Arc::new(map)
}

/// Starts the client's thread once the service's map is known.
struct Connect<'a> {
    client: &'a RemoteClient<'a>,
    lines: Lines,
}

impl WithService for Connect<'_> {
    type Output = Result<Clients<Lines>, ClusterError>;

    fn run<S, M>(self, _: impl Fn() -> Result<Arc<S>, BuildError>, map: M) -> Self::Output
    where
        S: Optimistic,
        M: GroupMap + Clone + Send + Sync + 'static,
    {
        Clients::launch(self.client, &share(map), vec![(1, self.lines)])
    }
}

/// Whether the cluster was ever heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was asked yet.
    New,
    /// It never answered.
    Silent,
    /// It answered.
    Heard,
}

/// The person or program in front of us.
struct Session<'a> {
    cluster: &'a Cluster,
    clients: &'a Clients<Lines>,
    exchange: Exchange,
    deadline: Duration,
    keeps_session: bool,
    state: State,
}

impl Session<'_> {
    fn serve(&mut self, input: impl BufRead) -> Result<(), Failure> {
        for line in input.split(b'\n') {
            let line =
                line.map_err(|error| Failure::Environment(format!("standard input: {error}")))?;
            let answer = match std::str::from_utf8(&line) {
                Ok(line) => self.answer(line)?.text,
                Err(_) => "error the line is not UTF-8".to_owned(),
            };
            if !tell(&(answer + "\n"))? {
                break; // Who does not read the answers wants no more commands executed.
            }
        }
        if self.state == State::Silent { Err(Failure::Run(self.nobody())) } else { Ok(()) }
    }

    fn serve_one(&mut self, line: &str) -> Result<(), Failure> {
        lines::parse(line).map_err(Failure::Usage)?;
        let answer = self.answer(line)?;
        show(&(answer.text.clone() + "\n"))?;
        if self.state == State::Silent {
            return Err(Failure::Run(self.nobody()));
        }
        if answer.is_executed { Ok(()) } else { Err(Failure::Run(answer.text)) }
    }

    fn answer(&mut self, line: &str) -> Result<lines::Answer, Failure> {
        let command = match lines::parse(line) {
            Ok(command) => command,
            Err(problem) => return Ok(lines::Answer::of(format!("error {problem}"))),
        };
        self.exchange.ask(command.to_bytes(), self.clients.waker(0));
        Ok(match self.wait() {
            Told::Ended { outcome, payload, session } => {
                if self.keeps_session && self.state != State::Heard {
                    complain(&format!("session {session}"));
                }
                self.state = State::Heard;
                lines::answer(outcome, &payload)
            }
            Told::Lost(session) => {
                self.state = State::Heard;
                lines::Answer::of(format!("not-applied session {session} is closed or unknown"))
            }
            Told::Unknown => lines::Answer::of("unknown".to_owned()),
            Told::Withdrawn => {
                if self.state == State::New {
                    self.state = State::Silent;
                }
                lines::Answer::of(format!("not-applied {}", self.nobody()))
            }
            Told::Gone | Told::Obstacle(_) => {
                return Err(Failure::Run("the client's thread has ended".to_owned()));
            }
        })
    }

    /// Waits for the end of what was asked, and says why when that takes long; at once, if there is no
    /// room for us.
    fn wait(&mut self) -> Told {
        let begin = clock::now();
        let (until, mut look_at) = (begin + self.deadline, begin + PATIENCE);
        loop {
            let next = until.min(look_at);
            match self.exchange.wait(next) {
                Some(Told::Obstacle(Obstacle::Full)) if look_at != Time::NEVER => {}
                Some(Told::Obstacle(_)) => continue,
                Some(told) => return told,
                None if next == until => return self.exchange.give_up(),
                None => {}
            }
            look_at = Time::NEVER;
            complain(&format!("{}; trying again until the deadline", self.nobody()));
        }
    }

    /// Whom we have tried in vain.
    fn nobody(&self) -> String {
        nobody(self.cluster, self.exchange.obstacle)
    }
}

/// Whom a client has tried in vain, and why, if a node said so.
fn nobody(cluster: &Cluster, obstacle: Option<Obstacle>) -> String {
    let tried = cluster.acceptors.iter().map(|node| format!("{} {}", node.id, node.address));
    let tried = tried.collect::<Vec<_>>().join(", ");
    match obstacle {
        Some(Obstacle::Mismatch(reason, by)) => {
            let by = by.as_udp().map_or_else(String::new, |address| address.to_string());
            format!("the node at {by} does not talk to this client: {}", told(reason))
        }
        Some(Obstacle::NoQuorum) => format!(
            "the cluster has no quorum: more than half of {tried} have to be up and have a memory; \
             start the others (`psmr status` says which)"
        ),
        Some(Obstacle::Full) => FULL.to_owned(),
        None => format!("no answer from the cluster, tried {tried}"),
    }
}

/// Why two that should talk do not, and the remedy.
pub(super) fn told(reason: DecodeError) -> &'static str {
    match reason {
        DecodeError::Cluster => "it is of another cluster: use that cluster's cluster.toml",
        DecodeError::Configuration => {
            "its immutable settings or its members differ: use the cluster.toml that the nodes have"
        }
        DecodeError::Epoch => "its configuration epoch differs: use the newest cluster.toml",
        DecodeError::Version => "its wire version differs: use a psmr of the same release",
        DecodeError::Unsigned => {
            "it has no key: remove `key_file` from [authentication], or run its node with it"
        }
        DecodeError::Signed => {
            "it authenticates datagrams: name `key_file` and `client_key_file` in [authentication], or \
             give --key-file"
        }
        DecodeError::Forged => "its key is another one: use a key file of this cluster",
        _ => "its datagrams cannot be read",
    }
}
