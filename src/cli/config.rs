//! `psmr config init`, and how every subcommand reads a cluster.toml.

use super::{Failure, key, show};
use crate::bench::{self, Model, Service};
use crate::config::{self, Config, Durability, Init};
use crate::host::usage::draw_incarnation;
use clap::{Args, ValueEnum};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// What a packet of Ethernet carries of a datagram, in bytes.
const ETHERNET: usize = 1_500 - 28;

/// The options of `psmr config init`.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Acceptors of every ring, an odd number
    #[arg(long, value_name = "A", default_value_t = 3)]
    acceptors: usize,
    /// Replicas
    #[arg(long, value_name = "N", default_value_t = 2)]
    replicas: usize,
    /// Groups, and workers of a replica [default: 2; 1 with smr]
    #[arg(long, value_name = "K")]
    threads: Option<usize>,
    /// Execution model of the replicas
    #[arg(long, value_enum, default_value_t = Model::OptPsmr)]
    model: Model,
    /// What is replicated
    #[arg(long, value_enum, default_value_t = Service::Btree)]
    service: Service,
    /// Keys that replicas load at their start (the even numbers below twice as many), or counters
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// What a crash may cost
    #[arg(long, value_enum, default_value_t = DurabilityArg::Memory)]
    durability: DurabilityArg,
    /// Names or IPv4 addresses of the hosts, which get the nodes in turn [default: loopback]
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Address of the interface of a single host [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "hosts")]
    interface: Option<Ipv4Addr>,
    /// The first ring's multicast group; the other rings have those that follow [default: drawn]
    #[arg(long, value_name = "ADDRESS")]
    group_base: Option<Ipv4Addr>,
    /// The port of all groups; the nodes have those that follow
    #[arg(long, value_name = "PORT", default_value_t = 21_000)]
    port_base: u16,
    /// Largest datagram, what a packet carries on every network between the nodes and clients
    /// [default: that of the hosts' interfaces which are here, else of Ethernet; 8192 on loopback]
    #[arg(long, value_name = "BYTES")]
    datagram_bytes: Option<usize>,
    /// Where the nodes will have their key, which `psmr keygen` makes [default: cluster.key with
    /// --hosts; none on loopback]
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
    /// Leaves datagrams unauthenticated: on a network of the cluster's own
    #[arg(long, conflicts_with = "key_file")]
    insecure: bool,
    /// Where nodes keep their data, a directory each [default: psmr-data/ID beside the file]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// The file to write; - writes to standard output
    #[arg(long, value_name = "FILE", default_value = "cluster.toml")]
    out: PathBuf,
    /// Replaces a file that is there
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DurabilityArg {
    /// Acceptors remember in memory: some may crash, a loss of power everywhere is the end
    Memory,
    /// Acceptors write to disk before they answer
    Sync,
}

/// Writes a first cluster.toml.
pub(super) fn init(args: &InitArgs) -> Result<(), Failure> {
    let random = draw_incarnation().map_err(|error| {
        Failure::Environment(format!("no random bits for a cluster id: {error}"))
    })?;
    let [a, b, ..] = random.0.to_le_bytes();
    let init = Init {
        id: random.0,
        acceptors: args.acceptors,
        replicas: args.replicas,
        threads: args.threads.unwrap_or(if args.model == Model::Smr { 1 } else { 2 }),
        model: match args.model {
            Model::Smr => config::Model::Smr,
            Model::Psmr => config::Model::Psmr,
            Model::OptPsmr => config::Model::OptPsmr,
        },
        service: args.service.name(),
        keys: args.keys,
        durability: match args.durability {
            DurabilityArg::Memory => Durability::Memory,
            DurabilityArg::Sync => Durability::Sync,
        },
        hosts: args.hosts()?,
        group_base: args.group_base.unwrap_or(Ipv4Addr::new(239, 192 + a % 4, b, 1)),
        port_base: args.port_base,
        datagram_bytes: args.datagram_bytes()?,
        key_files: args.key_files()?,
        data_dir: args.data_dir.clone(),
    };
    let count = |option, count: usize| {
        let message = format!("--{option} {count}: there is none: choose 1 or more");
        if count == 0 { Err(Failure::Usage(message)) } else { Ok(()) }
    };
    count("threads", init.threads)?;
    count("acceptors", init.acceptors)?;
    count("replicas", init.replicas)?;
    let text = init.text().map_err(|error| Failure::Usage(error.to_string()))?;
    // What cannot be read must not be written.
    Config::read(&text).map_err(|error| {
        let config::ConfigError { key, problem, remedy, .. } = error;
        Failure::Usage(format!("{key}: {problem}: {remedy}"))
    })?;
    if args.out == Path::new("-") {
        return show(&text);
    }
    args.write(&text)
}

impl InitArgs {
    fn hosts(&self) -> Result<Vec<Ipv4Addr>, Failure> {
        if self.hosts.is_empty() {
            return Ok(vec![self.interface.unwrap_or(Ipv4Addr::LOCALHOST)]);
        }
        let hosts: Vec<Ipv4Addr> =
            self.hosts.iter().map(|host| resolve(host)).collect::<Result<_, _>>()?;
        let listed = || self.hosts.join(",");
        let mut once = hosts.clone();
        once.sort_unstable();
        once.dedup();
        if once.len() < hosts.len() {
            let message = format!("--hosts {}: one is there twice: name each once", listed());
            return Err(Failure::Usage(message));
        }
        if hosts.len() > 1 && hosts.iter().any(Ipv4Addr::is_loopback) {
            let problem = "others cannot reach a loopback address";
            let message = format!("--hosts {}: {problem}: name its network's", listed());
            return Err(Failure::Usage(message));
        }
        Ok(hosts)
    }

    /// The nodes' key file and a client's beside it.
    fn key_files(&self) -> Result<Option<(String, String)>, Failure> {
        let is_far = self.hosts()?.iter().any(|host| !host.is_loopback());
        if self.insecure || (!is_far && self.key_file.is_none()) {
            return Ok(None);
        }
        let nodes = self.key_file.clone().unwrap_or_else(|| key::NODES.to_owned());
        let client = key::client_file(Path::new(&nodes)).display().to_string();
        Ok(Some((nodes, client)))
    }

    /// What does not go without saying.
    fn datagram_bytes(&self) -> Result<Option<usize>, Failure> {
        if self.datagram_bytes.is_some() {
            return Ok(self.datagram_bytes);
        }
        let far: Vec<_> = self.hosts()?.into_iter().filter(|host| !host.is_loopback()).collect();
        let here = far.iter().filter_map(|host| bench::datagram_bytes(*host)).min();
        Ok((!far.is_empty()).then(|| here.unwrap_or(ETHERNET)))
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        let path = self.out.display();
        let mut options = OpenOptions::new();
        options.write(true).create(true).create_new(!self.force).truncate(self.force);
        let written = options.open(&self.out).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::Usage(format!(
                "--out {path}: the file is there: choose another name, or give --force"
            )),
            _ => Failure::Environment(format!("--out {path}: {error}: name a file of yours")),
        })
    }
}

fn resolve(host: &str) -> Result<Ipv4Addr, Failure> {
    let remedy = || Failure::Usage(format!("--hosts {host}: an address has four numbers"));
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return host.parse().map_err(|_| remedy()); // Not 1.2.3 as 1.2.0.3.
    }
    let found = (host, 0).to_socket_addrs().ok().and_then(|mut addresses| {
        addresses.find_map(|address| match address {
            SocketAddr::V4(address) => Some(*address.ip()),
            SocketAddr::V6(_) => None,
        })
    });
    found.ok_or_else(|| {
        let message = format!("--hosts {host}: no IPv4 address is known: give the address itself");
        Failure::Usage(message)
    })
}

/// Reads a cluster.toml.
pub(super) fn read(path: &Path) -> Result<Config, Failure> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound => ": write one with `psmr config init`",
            ErrorKind::IsADirectory => ": name the file in it",
            ErrorKind::PermissionDenied => ": let this user read it",
            _ => "",
        };
        Failure::Usage(format!("--config {name}: {error}{remedy}"))
    })?;
    Config::read(&text).map_err(|error| Failure::Usage(format!("{name}: {error}")))
}

/// Where nodes keep their data: relative directories are beside the file.
pub(super) fn data_dir(path: &Path, config: &Config) -> PathBuf {
    let beside = path.parent().unwrap_or(Path::new(""));
    beside.join(&config.cluster.data_dir)
}
