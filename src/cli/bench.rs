//! `psmr bench run`: one configuration under load.

use super::idle::Given;
use super::{Failure, fallback, show};
use crate::bench::{
    self, Barrier, ClientPath, Distribution, Durability, Executor, Io, Machine, Mix, Model, Pin,
    Reply, Report, Retry, Separators, Service, Settings, SettingsError, Transport, Wait,
};
use crate::host::affinity::allowed_cpus;
use crate::wire::Room;
use clap::Args;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// The options of `psmr bench run`. What is not given follows from the others and the machine.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct RunArgs {
    /// Execution model of the replicas
    #[arg(long, value_enum, default_value_t = Model::OptPsmr, help_heading = "Cluster")]
    model: Model,
    /// What is replicated
    #[arg(long, value_enum, default_value_t = Service::Btree, help_heading = "Cluster")]
    service: Service,
    /// K: groups, and workers a replica [default: clamp(cores / (replicas + 1), 2, 8); 1 with smr]
    #[arg(long, value_name = "K", help_heading = "Cluster")]
    threads: Option<usize>,
    /// Replicas
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Cluster")]
    replicas: usize,
    /// Acceptors a ring, an odd number
    #[arg(long, value_name = "A", default_value_t = 3, help_heading = "Cluster")]
    acceptors: usize,
    /// Threads that host the acceptors of all rings [default: 1 below 8 cores, else one an acceptor]
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    ordering_threads: Option<usize>,
    /// What the acceptors survive
    #[arg(long, value_enum, default_value_t = Durability::Memory, help_heading = "Cluster")]
    durability: Durability,
    /// Where acceptors keep their logs; missing or empty
    #[arg(long, value_name = "DIR", help_heading = "Cluster")]
    data_dir: Option<PathBuf>,
    /// How often the replicas make a checkpoint, in milliseconds; 0: never
    #[arg(long, value_name = "MS", default_value_t = 0, help_heading = "Cluster")]
    checkpoint_interval_ms: u64,
    /// Threads that run the workers of a replica; on fewer than K they take turns, which spares a
    /// switch of threads in every rendezvous [default: K if every thread has a core, else cores /
    /// replicas]
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    worker_threads: Option<usize>,
    /// How often workers meet in synchronous mode
    #[arg(long, value_enum, default_value_t = Barrier::Command, help_heading = "Cluster")]
    barrier: Barrier,
    /// Who executes in synchronous mode
    #[arg(long, value_enum, default_value_t = Executor::Rotate, help_heading = "Cluster")]
    executor: Executor,
    /// Who multicasts a command again whose check failed
    #[arg(long, value_enum, default_value_t = Retry::Replica, help_heading = "Cluster")]
    retry: Retry,
    /// Who answers a command that changes state
    #[arg(long, value_enum, default_value_t = Reply::One, help_heading = "Cluster")]
    reply: Reply,
    /// Slots of a ring in one turn of the merge (M)
    #[arg(long, value_name = "M", default_value_t = 1, help_heading = "Cluster")]
    turn: u64,
    /// Slots a second that an idle ring skips unasked; 0: as far as it hears of others
    #[arg(long, value_name = "SLOTS", default_value_t = 0, help_heading = "Cluster")]
    lambda: u64,
    /// How idle threads wait
    #[arg(long, value_enum, default_value_t = Wait::Park, help_heading = "Cluster")]
    wait: Wait,
    /// Ties threads to CPUs: plan (see `psmr topo`), none, or a list for ordering threads, workers
    /// and clients in turn, as in 0,2-3 [default: plan if there is a core a thread, else none]
    #[arg(long, value_name = "PIN", help_heading = "Cluster")]
    pin: Option<Pin>,

    #[command(flatten)]
    service_args: ServiceArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    network: NetworkArgs,

    /// Writes one JSON object to standard output
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Writes what every client asked and was told as JSON lines
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    history: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Service")]
struct ServiceArgs {
    /// Keys loaded: the even numbers below twice as many. Of the bank, its counters
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    keys: u64,
    /// Commands draw keys below this; the partitions divide it [default: 2 * keys]
    #[arg(long, value_name = "N")]
    key_space: Option<u64>,
    /// How full the load makes the leaves, percent
    #[arg(long, value_name = "PERCENT", default_value_t = 70)]
    fill: usize,
    /// The most entries of a node
    #[arg(long, value_name = "N", default_value_t = 64)]
    capacity: usize,
    /// The least entries of a node, percent of the capacity
    #[arg(long, value_name = "PERCENT", default_value_t = 50)]
    minimum: usize,
    /// Builds the tree by inserts in random order
    #[arg(long)]
    grown: bool,
    /// Where the tree cuts its leaves
    #[arg(long, value_enum, default_value_t = Separators::Natural)]
    separators: Separators,
    /// Rounds of a hash, some 2 ns each, that a command of the null service costs
    #[arg(long, value_name = "ROUNDS", default_value_t = 0)]
    work: u32,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub(super) struct LoadArgs {
    /// Share of inserts and deletes in equal parts, percent; the rest reads [default: 0]
    #[arg(long, value_name = "PERCENT")]
    dependent: Option<f64>,
    /// Shares of the operations, percent: read=..,update=..,insert=..,delete=..,range=..
    #[arg(long, value_name = "SHARES")]
    mix: Option<Mix>,
    /// How keys are drawn: uniform or zipf:THETA
    #[arg(long, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// Keys that a range covers
    #[arg(long, value_name = "N", default_value_t = 100)]
    range_keys: u64,
    /// Bytes of a command of the null service [default: 16]
    #[arg(long, value_name = "BYTES")]
    command_bytes: Option<usize>,
    /// Client sessions [default: 8, or fewer if fewer commands are outstanding]
    #[arg(long, value_name = "C")]
    clients: Option<usize>,
    /// Threads that the clients share [default: cores / 8, at least 1]
    #[arg(long, value_name = "N")]
    client_threads: Option<usize>,
    /// Commands without an answer, over all clients
    #[arg(long, value_name = "W", default_value_t = 1024)]
    outstanding: usize,
    /// Length of the measuring window
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before it
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    warmup: f64,
    /// Seeds commands, faults and back-offs
    #[arg(long, value_name = "X", default_value_t = 1)]
    seed: u64,
}

impl LoadArgs {
    /// These settings of a load, and of all others the defaults.
    pub(super) fn settings(&self, machine: &Machine) -> Settings {
        let clients = self.clients.unwrap_or(self.outstanding.clamp(1, 8));
        let most_client_threads = machine.suitable_client_threads().min(clients.max(1));
        Settings {
            dependent: self.dependent.or(if self.mix.is_none() { Some(0.0) } else { None }),
            mix: self.mix,
            distribution: self.distribution,
            range_keys: self.range_keys,
            command_bytes: self.command_bytes.unwrap_or(16),
            clients,
            client_threads: self.client_threads.unwrap_or(most_client_threads),
            outstanding: self.outstanding,
            seconds: self.seconds,
            warmup: self.warmup,
            seed: self.seed,
            ..Settings::default()
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
struct NetworkArgs {
    /// What carries the cluster's datagrams
    #[arg(long, value_enum, default_value_t = Transport::Uring)]
    transport: Transport,
    /// What its sockets are read and written by
    #[arg(long, value_enum, default_value_t = Io::Auto)]
    io: Io,
    /// How clients reach the cluster [default: datagram; in-process with --transport memory]
    #[arg(long, value_enum)]
    client_path: Option<ClientPath>,
    /// Drops received datagrams, 0 to 50 percent, each segment of a train alone
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f64,
    /// Address of the interface that carries the multicast, as `ip addr` shows it
    #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST)]
    #[arg(value_parser = interface)]
    interface: Ipv4Addr,
    /// Largest datagram [default: what the interface carries in one packet, up to 8192]
    #[arg(long, value_name = "BYTES")]
    datagram_bytes: Option<usize>,
    /// Authenticates every datagram by this key, which `psmr keygen` makes
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Socket buffer to ask for, bytes a socket
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    socket_buffer: usize,
    /// Lets a kernel thread submit; harmful with few cores
    #[arg(long)]
    sqpoll: bool,
    /// Sends without a copy; for large sends on real network cards
    #[arg(long)]
    send_zc: bool,
    /// How long a wait gathers completions, microseconds
    #[arg(long, value_name = "US", default_value_t = 0)]
    min_wait_us: u64,
    /// How long a wait polls the network card, microseconds
    #[arg(long, value_name = "US", default_value_t = 0)]
    busy_poll_us: u64,
}

impl NetworkArgs {
    /// An interface that cannot be asked is refused later, with the cause.
    fn datagram_bytes(&self) -> usize {
        let asked = || match self.transport {
            Transport::Uring => bench::datagram_bytes(self.interface),
            Transport::Memory => None,
        };
        self.datagram_bytes.or_else(asked).unwrap_or(Room::MOST.datagram())
    }
}

fn interface(text: &str) -> Result<Ipv4Addr, String> {
    let wanted = "write the IPv4 address of one interface as `ip addr` shows it, as in 127.0.0.1";
    text.parse().map_err(|_| wanted.to_owned())
}

/// Runs it.
pub(super) fn run(args: RunArgs, given: &Given) -> Result<(), Failure> {
    let json = args.json;
    let machine = Machine::read();
    let mut settings = args.settings(&machine, given);
    let outcome = settings.check(&machine).and_then(|()| {
        fallback::of_bench(&mut settings.settings);
        Ok(bench::run(&settings.settings)?)
    });
    let report = match outcome {
        Ok(report) => report,
        Err(failure) => {
            if json {
                show_report(&Report::failed(settings.settings, &failure))?;
            }
            return Err(failure);
        }
    };
    if json {
        show_report(&report)?;
    } else {
        show(&bench::human(&report))?;
    }
    match report.error {
        Some(error) => Err(Failure::Run(error)),
        None => Ok(()),
    }
}

/// The object of a command line that could not be read.
pub(super) fn show_failure(message: &str) -> Result<(), Failure> {
    show_report(&Report::failed(Settings::default(), message))
}

pub(super) fn show_report(report: &Report) -> Result<(), Failure> {
    let json = serde_json::to_string(report).expect("a report has nothing that JSON has not");
    show(&(json + "\n"))
}

/// The effective settings, and what was given beside them that makes no sense.
#[derive(Debug)]
struct Effective {
    settings: Settings,
    contradiction: Option<SettingsError>,
}

impl Effective {
    /// A setting that cannot be comes before one that has no effect.
    fn check(&self, machine: &Machine) -> Result<(), Failure> {
        self.settings.validate(machine)?;
        self.contradiction.clone().map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Decides how workers share threads and whether threads are tied to cores, as far as that was not
/// given.
fn place(settings: &mut Settings, machine: &Machine, given: (Option<usize>, Option<Pin>)) {
    let (worker_threads, pin) = given;
    settings.worker_threads = worker_threads.unwrap_or(machine.suitable_worker_threads(settings));
    let has_cores = settings.busy_threads() <= machine.cores;
    settings.pin = pin.unwrap_or(if has_cores { Pin::Plan } else { Pin::None });
}

impl RunArgs {
    fn settings(self, machine: &Machine, given: &Given) -> Effective {
        let foreign_cpu = self.foreign_cpu();
        let Self { service_args, load, network, .. } = self;
        let suitable = match self.model {
            Model::Smr => 1,
            Model::Psmr | Model::OptPsmr => machine.suitable_threads(self.replicas),
        };
        let threads = self.threads.unwrap_or(suitable);
        let mut settings = Settings {
            model: self.model,
            service: self.service,
            threads,
            replicas: self.replicas,
            acceptors: self.acceptors,
            durability: self.durability,
            data_dir: self.data_dir,
            checkpoint_interval_ms: self.checkpoint_interval_ms,
            worker_threads: threads,
            ordering_threads: self
                .ordering_threads
                .unwrap_or(machine.suitable_ordering_threads(self.acceptors)),
            keys: service_args.keys,
            key_space: service_args.key_space.unwrap_or(self.service.key_space(service_args.keys)),
            fill: service_args.fill,
            capacity: service_args.capacity,
            minimum: service_args.minimum,
            grown: service_args.grown,
            separators: service_args.separators,
            work: service_args.work,
            client_path: network.client_path.unwrap_or(match network.transport {
                Transport::Uring => ClientPath::Datagram,
                Transport::Memory => ClientPath::InProcess,
            }),
            transport: network.transport,
            io: network.io,
            interface: network.interface,
            datagram_bytes: network.datagram_bytes(),
            key_file: network.key_file,
            socket_buffer: network.socket_buffer,
            sqpoll: network.sqpoll,
            send_zc: network.send_zc,
            min_wait_us: network.min_wait_us,
            busy_poll_us: network.busy_poll_us,
            barrier: self.barrier,
            executor: self.executor,
            retry: self.retry,
            reply: self.reply,
            wait: self.wait,
            pin: Pin::None,
            turn: self.turn,
            lambda: self.lambda,
            loss: network.loss,
            json: self.json,
            history: self.history,
            ..load.settings(machine)
        };
        place(&mut settings, machine, (self.worker_threads, self.pin));
        let contradiction = foreign_cpu.or_else(|| given.without_effect(&settings));
        Effective { settings, contradiction }
    }

    /// CPUs to tie threads to that this process may not use.
    fn foreign_cpu(&self) -> Option<SettingsError> {
        let Some(pin @ Pin::List(cpus)) = &self.pin else { return None };
        let allowed = allowed_cpus();
        let cpu = cpus.iter().find(|cpu| !allowed.contains(cpu))?;
        let problem = format!("this process may not use CPU {cpu}");
        let remedy = format!("choose among {}", Pin::List(allowed));
        Some(SettingsError::new("pin", pin, problem, remedy))
    }
}
