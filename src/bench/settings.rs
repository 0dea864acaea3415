//! The settings of a run: complete, checked, and part of its report.

use super::{
    Barrier, ClientPath, Distribution, Durability, Executor, Io, Machine, Mix, Model, Pin, Reply,
    Retry, Separators, Service, Transport, Wait,
};
use crate::host::plan::Demand;
use crate::host::text::counted;
use crate::types::MAX_GROUPS;
use crate::wire::Room;
use serde::Serialize;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// A setting that cannot be run: one line that names it and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{setting}: {problem}: {remedy}")]
pub struct SettingsError {
    /// The option as it was given, or would be.
    pub setting: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl SettingsError {
    /// Option `option` with its `value`, what is wrong, and what to do.
    pub fn new(
        option: &str,
        value: impl ToString,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let value = value.to_string();
        let setting = format!("--{option} {value}").trim_end().to_owned();
        Self { setting, problem: problem.into(), remedy: remedy.into() }
    }
}

/// Everything that a run depends on besides the machine. Field names are the long options of
/// `psmr bench run`; as JSON it is the `config` of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The execution model.
    pub model: Model,
    /// The service.
    pub service: Service,
    /// K: groups, and workers a replica.
    pub threads: usize,
    /// Replicas.
    pub replicas: usize,
    /// Acceptors a ring.
    pub acceptors: usize,
    /// Threads that host the acceptors of all rings.
    pub ordering_threads: usize,
    /// What the acceptors survive.
    pub durability: Durability,
    /// How often the replicas make a checkpoint, in memory; 0: never.
    pub checkpoint_interval_ms: u64,
    /// Where they keep their logs; missing or empty.
    pub data_dir: Option<PathBuf>,
    /// Threads that run the workers of a replica.
    pub worker_threads: usize,
    /// Keys loaded: the even numbers below twice as many. Of the bank, its counters.
    pub keys: u64,
    /// Commands draw keys below this; the partitions divide it.
    pub key_space: u64,
    /// How full the load makes the leaves, percent.
    pub fill: usize,
    /// The most entries of a node.
    pub capacity: usize,
    /// The least entries of a node, percent of the capacity.
    pub minimum: usize,
    /// Whether the tree is built by inserts at random.
    pub grown: bool,
    /// Where the tree cuts its leaves.
    pub separators: Separators,
    /// Share of inserts and deletes in equal parts, percent; the rest reads. Or a mix.
    pub dependent: Option<f64>,
    /// Shares of the operations.
    pub mix: Option<Mix>,
    /// How keys are drawn.
    pub distribution: Distribution,
    /// Keys that a range covers.
    pub range_keys: u64,
    /// Bytes of a command of the null service.
    pub command_bytes: usize,
    /// Further rounds of the hash that a command of the null service costs.
    pub work: u32,
    /// Client sessions.
    pub clients: usize,
    /// Threads that the clients share.
    pub client_threads: usize,
    /// Commands without an answer, over all clients.
    pub outstanding: usize,
    /// How clients reach the cluster.
    pub client_path: ClientPath,
    /// What carries the cluster's datagrams.
    pub transport: Transport,
    /// What its sockets are read and written by.
    pub io: Io,
    /// Address of the interface that carries the multicast.
    pub interface: Ipv4Addr,
    /// The largest datagram, bytes.
    pub datagram_bytes: usize,
    /// The key by which datagrams are authenticated.
    pub key_file: Option<PathBuf>,
    /// Socket buffer that is asked for, bytes a socket.
    pub socket_buffer: usize,
    /// Whether a kernel thread submits.
    pub sqpoll: bool,
    /// Whether sends are without a copy.
    pub send_zc: bool,
    /// How long a wait gathers completions, microseconds.
    pub min_wait_us: u64,
    /// How long a wait polls the network card, microseconds.
    pub busy_poll_us: u64,
    /// How often workers meet in synchronous mode.
    pub barrier: Barrier,
    /// Who executes in synchronous mode.
    pub executor: Executor,
    /// Who sends a command again after a failed check.
    pub retry: Retry,
    /// Who answers.
    pub reply: Reply,
    /// How idle threads wait.
    pub wait: Wait,
    /// Which CPUs the threads are tied to.
    pub pin: Pin,
    /// M: slots of a ring in one turn of the merge.
    pub turn: u64,
    /// Slots a second that an idle ring skips unasked.
    pub lambda: u64,
    /// Length of the measuring window.
    pub seconds: f64,
    /// Time before it.
    pub warmup: f64,
    /// Seeds commands, faults and back-offs.
    pub seed: u64,
    /// Received datagrams that are dropped, percent.
    pub loss: f64,
    /// Whether standard output is one JSON object.
    pub json: bool,
    /// Where the history goes.
    pub history: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: Model::OptPsmr,
            service: Service::Btree,
            threads: 2,
            replicas: 2,
            acceptors: 3,
            ordering_threads: 1,
            durability: Durability::Memory,
            checkpoint_interval_ms: 0,
            data_dir: None,
            worker_threads: 2,
            keys: 1_000_000,
            key_space: 2_000_000,
            fill: 70,
            capacity: 64,
            minimum: 50,
            grown: false,
            separators: Separators::Natural,
            dependent: Some(0.0),
            mix: None,
            distribution: Distribution::Uniform,
            range_keys: 100,
            command_bytes: 16,
            work: 0,
            clients: 8,
            client_threads: 1,
            outstanding: 1024,
            client_path: ClientPath::Datagram,
            transport: Transport::Uring,
            io: Io::Auto,
            interface: Ipv4Addr::LOCALHOST,
            datagram_bytes: Room::MOST.datagram(),
            key_file: None,
            socket_buffer: 4 << 20,
            sqpoll: false,
            send_zc: false,
            min_wait_us: 0,
            busy_poll_us: 0,
            barrier: Barrier::Command,
            executor: Executor::Rotate,
            retry: Retry::Replica,
            reply: Reply::One,
            wait: Wait::Park,
            pin: Pin::None,
            turn: 1,
            lambda: 0,
            seconds: 10.0,
            warmup: 2.0,
            seed: 1,
            loss: 0.0,
            json: false,
            history: None,
        }
    }
}

impl Settings {
    /// The most bytes of a command.
    pub const COMMAND_LIMIT: usize = 1 << 20;
    /// The most commands that one client has outstanding.
    pub const CLIENT_WINDOW: usize = 1 << 14;
    /// The most replicas: what a command's designation can name.
    const REPLICAS: usize = 32;
    const CLIENTS: usize = 4096;
    /// The most keys that are loaded: 4 bytes name a node.
    const KEYS: u64 = 1 << 31;
    /// The most slots a second that an idle ring skips.
    const LAMBDA: u64 = 1_000_000_000;
    /// The most received datagrams that are dropped, percent.
    const LOSS: f64 = 50.0;
    /// The longest that a wait gathers or polls, far below the time-out of an election.
    const WAIT_US: u64 = 10_000;

    /// How many rings there are: one a group and one for all; with one group one alone.
    #[must_use]
    pub const fn rings(&self) -> usize {
        if self.threads == 1 { 1 } else { self.threads + 1 }
    }

    /// How much a datagram holds.
    ///
    /// # Panics
    /// If the settings were not validated.
    #[must_use]
    pub const fn room(&self) -> Room {
        Room::new(self.datagram_bytes).expect("validated")
    }

    /// The replicas, for people: how many workers each has, on how many threads.
    #[must_use]
    pub fn crews(&self) -> String {
        let (replicas, threads) = (counted(self.replicas, "replica"), self.worker_threads);
        let workers = counted(self.threads, "worker");
        let each = if self.replicas == 1 { "" } else { " each" };
        if threads == self.threads {
            return format!("{replicas} of {workers}");
        }
        format!("{replicas} of {workers} on {}{each}", counted(threads, "thread"))
    }

    /// Threads of the whole process that are busy.
    #[must_use]
    pub const fn busy_threads(&self) -> usize {
        self.ordering_threads + self.replicas * self.worker_threads + self.client_threads
    }

    /// The threads of the run, for a plan of them on the machine.
    #[must_use]
    pub const fn demand(&self) -> Demand {
        Demand {
            ordering: self.ordering_threads,
            replicas: self.replicas,
            groups: self.threads,
            worker_threads: self.worker_threads,
            clients: self.client_threads,
        }
    }

    /// After this a client gives a command up.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Clients and outstanding commands of each client thread.
    #[must_use]
    pub fn shares(&self) -> Vec<(usize, usize)> {
        let share = |all: usize, thread: usize| {
            all / self.client_threads + usize::from(thread < all % self.client_threads)
        };
        let threads = 0..self.client_threads;
        threads
            .map(|thread| (share(self.clients, thread), share(self.outstanding, thread)))
            .collect()
    }

    /// Checks everything before anything is started.
    ///
    /// # Errors
    /// The first setting that cannot be run here.
    pub fn validate(&self, machine: &Machine) -> Result<(), SettingsError> {
        self.validate_cluster(machine)?;
        self.validate_service()?;
        self.validate_workload()?;
        self.validate_clients()?;
        self.validate_run()
    }

    fn validate_cluster(&self, machine: &Machine) -> Result<(), SettingsError> {
        range("threads", self.threads, 1, MAX_GROUPS)?;
        if self.model == Model::Smr && self.threads != 1 {
            let problem = "--model smr has one worker a replica";
            return refuse(
                "threads",
                self.threads,
                problem,
                "leave it out, or choose another model",
            );
        }
        range("replicas", self.replicas, 1, Self::REPLICAS)?;
        range("acceptors", self.acceptors, 1, 15)?;
        if self.acceptors.is_multiple_of(2) {
            let problem = "a majority of an even number tolerates no more than one less does";
            return refuse("acceptors", self.acceptors, problem, "choose 1, 3, 5, ..");
        }
        let acceptors =
            format!("they host the acceptors of a ring, --acceptors {}", self.acceptors);
        shared("ordering-threads", self.ordering_threads, self.acceptors, &acceptors)?;
        let workers = match self.model {
            Model::Smr => "--model smr has one worker a replica".to_owned(),
            Model::Psmr | Model::OptPsmr => {
                format!("they run the workers of a replica, --threads {}", self.threads)
            }
        };
        shared("worker-threads", self.worker_threads, self.threads, &workers)?;
        self.validate_durability()?;
        let (rings, allowed) = (self.rings(), machine.memberships);
        if self.transport == Transport::Uring && rings > allowed {
            let problem = format!(
                "needs {rings} multicast groups a socket, but net.ipv4.igmp_max_memberships is \
                 {allowed}"
            );
            let remedy = format!(
                "choose --threads {} or less, or run `sysctl -w \
                 net.ipv4.igmp_max_memberships={rings}`",
                allowed.saturating_sub(1).max(1)
            );
            return refuse("threads", self.threads, problem, remedy);
        }
        self.validate_network()?;
        let threads = self.busy_threads();
        if self.wait == Wait::Spin && threads > machine.cores {
            let problem =
                format!("{threads} threads on {} cores would keep each other out", machine.cores);
            return refuse("wait", self.wait, problem, "choose yield or park");
        }
        range("turn", self.turn, 1, 1 << 20)?;
        range("lambda", self.lambda, 0, Self::LAMBDA)
    }

    fn validate_network(&self) -> Result<(), SettingsError> {
        let interface = self.interface;
        if interface.is_unspecified() || interface.is_multicast() || interface.is_broadcast() {
            let problem = "not the address of one interface";
            return refuse("interface", interface, problem, "give one that `ip addr` shows");
        }
        let datagram_bytes = self.datagram_bytes;
        range("datagram-bytes", datagram_bytes, Room::LEAST.datagram(), Room::MOST.datagram())?;
        range("socket-buffer", self.socket_buffer, 1 << 16, 1 << 30)?;
        range("min-wait-us", self.min_wait_us, 0, Self::WAIT_US)?;
        range("busy-poll-us", self.busy_poll_us, 0, Self::WAIT_US)?;
        if self.transport == Transport::Memory && self.client_path == ClientPath::Datagram {
            let problem = "--transport memory has no sockets that datagrams could reach";
            let remedy = "choose --client-path in-process or --transport uring";
            return refuse("client-path", self.client_path, problem, remedy);
        }
        Ok(())
    }

    fn validate_durability(&self) -> Result<(), SettingsError> {
        match (self.durability, &self.data_dir) {
            (Durability::Sync, None) => {
                let remedy = "name a directory on the disk to be used: --data-dir DIR";
                refuse("durability", self.durability, "it needs a place for the logs", remedy)
            }
            (Durability::Memory, Some(directory)) => {
                let problem = "--durability memory keeps nothing on disk";
                let remedy = "leave it out, or choose --durability sync";
                refuse("data-dir", directory.display(), problem, remedy)
            }
            _ => Ok(()),
        }
    }

    fn validate_service(&self) -> Result<(), SettingsError> {
        range("keys", self.keys, 1, Self::KEYS)?;
        range("capacity", self.capacity, 4, 512)?;
        range("minimum", self.minimum, 1, 50)?;
        range("fill", self.fill, self.minimum, 100)?;
        let loaded = 2 * self.keys;
        if self.service == Service::Btree && self.key_space < loaded {
            let problem = format!(
                "{} keys are loaded below {loaded}, above the partitioned range",
                self.keys
            );
            let remedy = format!("choose {loaded} or more, or fewer --keys");
            return refuse("key-space", self.key_space, problem, remedy);
        }
        range("key-space", self.key_space, 1, u64::MAX - 1)?;
        if self.command_bytes > Self::COMMAND_LIMIT {
            let problem = format!("above the limit of a command, {} bytes", Self::COMMAND_LIMIT);
            return refuse("command-bytes", self.command_bytes, problem, "choose less");
        }
        range("command-bytes", self.command_bytes, 8, Self::COMMAND_LIMIT)
    }

    fn validate_workload(&self) -> Result<(), SettingsError> {
        if let (Some(dependent), Some(_)) = (self.dependent, self.mix) {
            let problem = "--mix gives all shares already";
            return refuse("dependent", dependent, problem, "give one of the two");
        }
        if let Some(dependent) = self.dependent {
            percent("dependent", dependent)?;
        }
        if self.service != Service::Btree {
            let other = |option, value: String| {
                let problem = format!("--service {} has no such thing", self.service);
                refuse(option, value, problem, "leave it out, or choose --service btree")
            };
            if let Some(mix) = self.mix {
                return other("mix", mix.to_string());
            }
            if let Some(history) = &self.history {
                return other("history", history.display().to_string());
            }
        }
        range("range-keys", self.range_keys, 1, 4096)
    }

    fn validate_clients(&self) -> Result<(), SettingsError> {
        range("clients", self.clients, 1, Self::CLIENTS)?;
        let clients = format!("they run the clients, --clients {}", self.clients);
        shared("client-threads", self.client_threads, self.clients, &clients)?;
        let most = self.clients * Self::CLIENT_WINDOW;
        if self.outstanding == 0 {
            let problem = "nothing would ever be submitted";
            return refuse("outstanding", 0, problem, format!("choose 1 to {most}"));
        }
        if self.outstanding < self.clients {
            let problem = format!("fewer than --clients {}, so some would be idle", self.clients);
            let remedy = "raise it, or choose fewer clients";
            return refuse("outstanding", self.outstanding, problem, remedy);
        }
        if self.outstanding > most {
            let problem = format!("a client has at most {}", Self::CLIENT_WINDOW);
            let remedy = format!("choose {most} or less, or more than --clients {}", self.clients);
            return refuse("outstanding", self.outstanding, problem, remedy);
        }
        Ok(())
    }

    fn validate_run(&self) -> Result<(), SettingsError> {
        if !(self.seconds > 0.0 && self.seconds <= 86_400.0) {
            let problem = "the window is above 0 and at most 86400 seconds";
            return refuse("seconds", self.seconds, problem, "choose a length in that range");
        }
        if !(0.0..=3_600.0).contains(&self.warmup) {
            let problem = "the warm-up is 0 to 3600 seconds";
            return refuse("warmup", self.warmup, problem, "choose a length in that range");
        }
        if !(0.0..=Self::LOSS).contains(&self.loss) {
            let problem = "of what loses more, clients hear nothing before they give up";
            return refuse("loss", self.loss, problem, format!("choose 0 to {}", Self::LOSS));
        }
        Ok(())
    }
}

fn refuse<T>(
    option: &str,
    value: impl ToString,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> Result<T, SettingsError> {
    Err(SettingsError::new(option, value, problem, remedy))
}

fn range<T: PartialOrd + ToString>(
    option: &str,
    value: T,
    least: T,
    most: T,
) -> Result<(), SettingsError> {
    if value >= least && value <= most {
        return Ok(());
    }
    let bounds = format!("{} to {}", least.to_string(), most.to_string());
    let remedy = format!("choose {bounds}");
    refuse(option, value, "out of range", remedy)
}

fn percent(option: &str, value: f64) -> Result<(), SettingsError> {
    if (0.0..=100.0).contains(&value) {
        return Ok(());
    }
    refuse(option, value, "not a percentage", "choose 0 to 100")
}

/// Threads that share `most` things, at least one each; `what` they are.
fn shared(option: &str, threads: usize, most: usize, what: &str) -> Result<(), SettingsError> {
    if (1..=most).contains(&threads) {
        return Ok(());
    }
    let remedy = if most == 1 { "choose 1".to_owned() } else { format!("choose 1 to {most}") };
    refuse(option, threads, what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine { cores: 4, memberships: 20, memory: u64::MAX };

    fn error(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        assert_eq!(settings.validate(&MACHINE), Ok(()));
        change(&mut settings);
        settings.validate(&MACHINE).unwrap_err().to_string()
    }

    #[test]
    fn each_setting_that_cannot_run_is_named_with_its_remedy() {
        type Change = fn(&mut Settings);
        let wrong: [(&str, Change); 31] = [
            ("--threads 0: ", |s| s.threads = 0),
            ("--threads 65: ", |s| s.threads = 65),
            ("--threads 20: needs 21 multicast groups", |s| s.threads = 20),
            ("--threads 2: --model smr", |s| s.model = Model::Smr),
            ("--acceptors 4: ", |s| s.acceptors = 4),
            ("--replicas 33: ", |s| s.replicas = 33),
            ("--key-space 10: ", |s| s.key_space = 10),
            ("--keys 0: ", |s| s.keys = 0),
            ("--fill 20: ", |s| s.fill = 20),
            ("--command-bytes 1048577: above the limit", |s| s.command_bytes = (1 << 20) + 1),
            ("--dependent 101: ", |s| s.dependent = Some(101.0)),
            ("--dependent -1: ", |s| s.dependent = Some(-1.0)),
            ("--dependent 0: --mix", |s| s.mix = Some(Mix::dependent(1.0))),
            ("--outstanding 4: fewer than --clients 8", |s| s.outstanding = 4),
            ("--seconds 0: ", |s| s.seconds = 0.0),
            ("--loss 100: ", |s| s.loss = 100.0),
            ("--loss 51: of what loses more, ", |s| s.loss = 51.0),
            ("--outstanding 0: nothing would ever be submitted", |s| s.outstanding = 0),
            ("--outstanding 999999: a client has at most 16384", |s| s.outstanding = 999_999),
            ("--client-threads 9: they run the clients, --clients 8", |s| s.client_threads = 9),
            ("--worker-threads 3: they run the workers of a replica", |s| s.worker_threads = 3),
            ("--worker-threads 2: --model smr has one worker a replica: choose 1", |s| {
                (s.model, s.threads) = (Model::Smr, 1);
            }),
            ("--ordering-threads 4: they host the acceptors", |s| s.ordering_threads = 4),
            ("--interface 0.0.0.0: not the address", |s| s.interface = Ipv4Addr::UNSPECIFIED),
            ("--socket-buffer 0: out of range: choose 65536 to ", |s| s.socket_buffer = 0),
            ("--min-wait-us 99999999: out of range", |s| s.min_wait_us = 99_999_999),
            ("--lambda 18446744073709551615: out of range", |s| s.lambda = u64::MAX),
            ("--wait spin: 6 threads on 4 cores", |s| s.wait = Wait::Spin),
            ("--client-path datagram: ", |s| s.transport = Transport::Memory),
            ("--durability sync: it needs a place", |s| s.durability = Durability::Sync),
            ("--data-dir x: --durability memory", |s| s.data_dir = Some("x".into())),
        ];
        for (expected, change) in wrong {
            let message = error(change);
            assert!(message.starts_with(expected), "{message}");
            assert_eq!(message.lines().count(), 1);
        }
    }

    #[test]
    fn a_replicas_workers_are_told_with_their_threads() {
        let crews = |replicas, threads, worker_threads| {
            Settings { replicas, threads, worker_threads, ..Settings::default() }.crews()
        };
        assert_eq!(crews(2, 2, 2), "2 replicas of 2 workers");
        assert_eq!(crews(2, 2, 1), "2 replicas of 2 workers on 1 thread each");
        assert_eq!(crews(1, 3, 2), "1 replica of 3 workers on 2 threads");
        assert_eq!(crews(1, 1, 1), "1 replica of 1 worker");
    }

    #[test]
    fn clients_and_commands_are_divided_among_the_threads() {
        let settings =
            Settings { clients: 7, client_threads: 3, outstanding: 11, ..Settings::default() };
        assert_eq!(settings.shares(), [(3, 4), (2, 4), (2, 3)]);
        assert_eq!(Settings { threads: 1, ..settings.clone() }.rings(), 1);
        assert_eq!(settings.rings(), 3);
    }
}
