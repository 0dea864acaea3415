//! From tables to a [`Cluster`], section by section.

use super::cluster::{
    Authentication, Barrier, Btree, Client, Cluster, Durability, Execution, Executor, Host, Io,
    Metrics, Model, Network, Node, Ordering, Reply, Retry, Service, Wait,
};
use super::members::is_name;
use super::section::{Section, Source};
use super::{ConfigError, Digests, MAX_ACCEPTORS, MAX_EPOCH, MAX_REPLICAS, Place, SCHEMA, check};
use crate::wire::{NEWEST, OLDEST, Room};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::{DeArray, DeTable};

type Result<T> = std::result::Result<T, ConfigError>;

const TABLES: [&str; 14] = [
    "schema",
    "cluster",
    "host",
    "acceptor",
    "replica",
    "ring",
    "ordering",
    "execution",
    "service",
    "client",
    "network",
    "threads",
    "authentication",
    "metrics",
];
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The head of the file: what concerns all of it.
struct Head {
    id: u64,
    epoch: u32,
    wire: u8,
    model: Model,
    threads: usize,
    durability: Durability,
    data_dir: PathBuf,
}

/// Reads everything; the digests are the caller's.
pub(super) fn cluster(source: &mut Source<'_>, root: &DeTable<'_>) -> Result<Cluster> {
    let mut section = Section::root(source, root, &TABLES)?;
    let schema = section.text("schema", None)?;
    if schema != SCHEMA {
        let remedy = format!("this program reads \"{SCHEMA}\": see `psmr config init`");
        return section.refuse("schema", format!("\"{schema}\" is not known"), remedy);
    }
    let head = head(source, root)?;
    let hosts = hosts(source, root)?;
    let acceptors = nodes(source, root, "acceptor", &hosts)?;
    let replicas = nodes(source, root, "replica", &hosts)?;
    let rings = rings(source, root, head.threads)?;
    let network = network(source, root)?;
    let cluster = Cluster {
        id: head.id,
        epoch: head.epoch,
        wire: head.wire,
        model: head.model,
        threads: head.threads,
        durability: head.durability,
        data_dir: head.data_dir,
        hosts,
        acceptors,
        replicas,
        rings,
        ordering: ordering(source, root, network.room)?,
        execution: execution(source, root, head.threads)?,
        service: service(source, root)?,
        client: client(source, root)?,
        network,
        wait: threads(source, root)?,
        authentication: authentication(source, root)?,
        metrics: metrics(source, root)?,
        digests: Digests::default(),
    };
    check::cluster(source, root, &cluster)?;
    Ok(cluster)
}

fn head(source: &mut Source<'_>, root: &DeTable<'_>) -> Result<Head> {
    let keys = ["id", "epoch", "model", "threads", "durability", "data_dir", "wire"];
    let mut section = Section::open(source, root, "cluster", &keys)?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
    let id = section.parsed("id", None, "0123456789abcdef", hex)?;
    let epoch = section.number("epoch", 1, 1..=MAX_EPOCH.into())?;
    let model = section.choice(
        "model",
        &[("opt-psmr", Model::OptPsmr), ("psmr", Model::Psmr), ("smr", Model::Smr)],
    )?;
    let default = if model == Model::Smr { 1 } else { 2 };
    let threads = section.size("threads", default, 1..=crate::types::MAX_GROUPS)?;
    if model == Model::Smr && threads != 1 {
        let problem = format!("{threads} workers, but model \"smr\" has one");
        return section.refuse("threads", problem, "leave it out, or choose another model");
    }
    let durability = section
        .choice("durability", &[("memory", Durability::Memory), ("sync", Durability::Sync)])?;
    let data_dir = PathBuf::from(section.text("data_dir", Some("psmr-data"))?);
    let epoch = u32::try_from(epoch).expect("within its range");
    let wire = section.number("wire", OLDEST.into(), OLDEST.into()..=u8::MAX.into())?;
    let wire = u8::try_from(wire).expect("within its range");
    if wire > NEWEST {
        let problem =
            format!("{wire} is not spoken by this psmr, which speaks {OLDEST} to {NEWEST}");
        return section.refuse("wire", problem, "install a newer psmr");
    }
    Ok(Head { id, epoch, wire, model, threads, durability, data_dir })
}

/// The tables of `[[name]]`.
fn array<'s, 'a>(
    source: &Source<'_>,
    root: &'s DeTable<'a>,
    name: &str,
) -> Result<&'s DeArray<'a>> {
    let remedy = || format!("write a table [[{name}]] for each");
    let Some(value) = root.get(name) else {
        return Err(ConfigError::new(Some(Place::START), name, "missing", remedy()));
    };
    match value.get_ref().as_array() {
        Some(array) if !array.is_empty() => Ok(array),
        _ => {
            let place = source.place(value.span().start);
            Err(ConfigError::new(Some(place), name, "not a list of tables", remedy()))
        }
    }
}

fn hosts(source: &mut Source<'_>, root: &DeTable<'_>) -> Result<Vec<Host>> {
    let mut hosts: Vec<Host> = Vec::new();
    for (index, value) in array(source, root, "host")?.iter().enumerate() {
        let mut section = Section::of_array(source, ("host", index), value, &["name", "address"])?;
        let name = section.text("name", None)?;
        let address = section.address("address")?;
        if hosts.iter().any(|host| host.name == name) {
            return section.refuse("name", format!("\"{name}\" is there twice"), "rename one");
        }
        if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
            let remedy = "give the address of one interface of that host, as `ip addr` shows it";
            return section.refuse("address", format!("{address} is no host's address"), remedy);
        }
        hosts.push(Host { name, address });
    }
    Ok(hosts)
}

fn nodes(
    source: &mut Source<'_>,
    root: &DeTable<'_>,
    role: &str,
    hosts: &[Host],
) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for (index, value) in array(source, root, role)?.iter().enumerate() {
        let keys = ["id", "number", "since", "host", "port", "cores"];
        let mut section = Section::of_array(source, (role, index), value, &keys)?;
        let id = section.parsed("id", None, "a1", |text| is_name(text).then(|| text.to_owned()))?;
        let most = if role == "acceptor" { MAX_ACCEPTORS } else { MAX_REPLICAS };
        let number = section.number("number", index as u64, 0..=u64::from(most) - 1)?;
        let number = u16::try_from(number).expect("within its range");
        if nodes.iter().any(|node: &Node| node.number >= number) {
            let remedy = "let the numbers of a kind rise in the file";
            return section.refuse("number", format!("{number} does not follow"), remedy);
        }
        let since = section.number("since", 1, 1..=MAX_EPOCH.into())?;
        let since = u32::try_from(since).expect("within its range");
        let name = section.text("host", None)?;
        let Some(host) = hosts.iter().find(|host| host.name == name) else {
            let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
            let remedy = format!("name one of {}", names.join(", "));
            return section.refuse("host", format!("there is no host \"{name}\""), remedy);
        };
        let port = section.required_number("port", 1..=65_535)?;
        let port = u16::try_from(port).expect("within its range");
        let address = SocketAddrV4::new(host.address, port);
        nodes.push(Node { number, since, id, address, cores: section.cores("cores")? });
    }
    Ok(nodes)
}

/// Ring i orders group i, the last of several what concerns more than one group.
fn rings(source: &mut Source<'_>, root: &DeTable<'_>, threads: usize) -> Result<Vec<SocketAddrV4>> {
    let array = array(source, root, "ring")?;
    let count = if threads == 1 { 1 } else { threads + 1 };
    let mut rings: Vec<Option<SocketAddrV4>> = vec![None; count];
    for (index, value) in array.iter().enumerate() {
        let keys = ["group", "address"];
        let mut section = Section::of_array(source, ("ring", index), value, &keys)?;
        let group = section.number_or("group", "all", 0..=threads as u64 - 1)?;
        let address = section.socket("address")?;
        if !address.ip().is_multicast() || address.port() == 0 {
            let problem = format!("{address} is no multicast group with a port");
            let remedy = "an address of 239.0.0.0/8 and a port, as in \"239.192.0.1:21000\"";
            return section.refuse("address", problem, remedy);
        }
        if rings.contains(&Some(address)) {
            let remedy = "give every ring a group address of its own";
            return section.refuse("address", format!("{address} is there twice"), remedy);
        }
        let ring = match group {
            Some(group) => usize::try_from(group).expect("below K"),
            None if count > 1 => count - 1,
            None => {
                let remedy = "leave this ring out: with one thread ring 0 orders everything";
                return section.refuse("group", "there is one group", remedy);
            }
        };
        if rings[ring].replace(address).is_some() {
            return section.refuse("group", "is there twice", "one ring orders one group");
        }
    }
    rings.iter().enumerate().try_fold(Vec::new(), |mut found, (ring, address)| {
        let group =
            if threads > 1 && ring == threads { "\"all\"".into() } else { ring.to_string() };
        let missing = || {
            let problem = format!("no ring orders group {group}");
            let remedy = format!("add a [[ring]] with `group = {group}` and an address");
            // Behind the last one it goes.
            let last = array.iter().last().map(|table| source.place(table.span().start));
            ConfigError::new(last, "ring", problem, remedy)
        };
        found.push(address.ok_or_else(missing)?);
        Ok(found)
    })
}

fn ordering(source: &mut Source<'_>, root: &DeTable<'_>, room: Room) -> Result<Ordering> {
    let keys = [
        "turn",
        "lambda",
        "batch_bytes",
        "batch_delay",
        "queue",
        "window_bytes",
        "log_instances",
        "apply_bound",
        "resend",
        "heartbeat",
        "election_timeout",
        "repair_rate",
    ];
    let mut section = Section::open(source, root, "ordering", &keys)?;
    let ordering = Ordering {
        turn: section.number("turn", 1, 1..=1 << 20)?,
        lambda: section.number("lambda", 0, 0..=1 << 32)?,
        batch_bytes: section.size("batch_bytes", room.batch(), 64..=room.batch())?,
        batch_delay: section.duration("batch_delay", "50us", Duration::ZERO..=10 * MS)?,
        queue: section.number("queue", 64, 1..=1 << 16)?,
        window_bytes: section.size("window_bytes", 0, 0..=1 << 30)?,
        log_instances: section.size("log_instances", 4096, 256..=1 << 20)?,
        apply_bound: section.number("apply_bound", 512, 16..=1 << 20)?,
        resend: section.duration("resend", "5ms", MS..=SECOND)?,
        heartbeat: section.duration("heartbeat", "10ms", MS..=SECOND)?,
        election_timeout: section.duration("election_timeout", "150ms", 5 * MS..=60 * SECOND)?,
        repair_rate: section.size("repair_rate", 32 << 10, 1 << 10..=1 << 30)?,
    };
    if !ordering.log_instances.is_power_of_two() {
        let problem = format!("{} is no power of two", ordering.log_instances);
        let remedy = format!("choose {}", ordering.log_instances.next_power_of_two());
        return section.refuse("log_instances", problem, remedy);
    }
    if ordering.apply_bound > ordering.log_instances as u64 {
        let problem = format!("{} is above log_instances", ordering.apply_bound);
        let remedy = format!("choose {} or less", ordering.log_instances / 2);
        return section.refuse("apply_bound", problem, remedy);
    }
    if ordering.election_timeout < 4 * ordering.heartbeat {
        let problem = "below four heartbeats, one lost datagram would cost a take-over";
        let remedy = format!("choose {:?} or more", 4 * ordering.heartbeat);
        return section.refuse("election_timeout", problem, remedy);
    }
    Ok(ordering)
}

fn execution(source: &mut Source<'_>, root: &DeTable<'_>, threads: usize) -> Result<Execution> {
    let keys = [
        "barrier",
        "executor",
        "retry",
        "reply",
        "worker_threads",
        "command_bytes",
        "digest_interval",
        "rendezvous_timeout",
        "checkpoint_interval",
        "replica_patience",
        "sessions",
        "session_timeout",
        "window",
    ];
    let mut section = Section::open(source, root, "execution", &keys)?;
    let barriers = [("command", Barrier::Command), ("instance", Barrier::Instance)];
    let executors = [("rotate", Executor::Rotate), ("lowest", Executor::Lowest)];
    let execution = Execution {
        barrier: section.choice("barrier", &barriers)?,
        executor: section.choice("executor", &executors)?,
        retry: section
            .choice("retry", &[("replica", Retry::Replica), ("client", Retry::Client)])?,
        reply: section.choice("reply", &[("one", Reply::One), ("all", Reply::All)])?,
        worker_threads: section.size("worker_threads", threads, 1..=threads)?,
        command_bytes: section.size("command_bytes", 1 << 20, 64..=1 << 20)?,
        digest_interval: section.duration(
            "digest_interval",
            "1s",
            Duration::ZERO..=3600 * SECOND,
        )?,
        rendezvous_timeout: section.duration(
            "rendezvous_timeout",
            "10s",
            Duration::ZERO..=3600 * SECOND,
        )?,
        checkpoint_interval: section.duration(
            "checkpoint_interval",
            "10s",
            Duration::ZERO..=3600 * SECOND,
        )?,
        replica_patience: section.duration("replica_patience", "1s", 200 * MS..=3600 * SECOND)?,
        sessions: section.size("sessions", 4096, 1..=65_535)?,
        session_timeout: section.duration(
            "session_timeout",
            "10min",
            Duration::ZERO..=24 * 3600 * SECOND,
        )?,
        window: section.size("window", 256, 16..=1 << 14)?,
    };
    if !execution.window.is_power_of_two() {
        let problem = format!("{} is no power of two", execution.window);
        let remedy = format!("choose {}", execution.window.next_power_of_two());
        return section.refuse("window", problem, remedy);
    }
    Ok(execution)
}

fn service(source: &mut Source<'_>, root: &DeTable<'_>) -> Result<Service> {
    let keys = ["name", "keys", "key_space", "capacity", "minimum", "fill", "separators", "work"];
    let mut section = Section::open(source, root, "service", &keys)?;
    let name = section.choice("name", &[("btree", 0), ("counters", 1), ("null", 2)])?;
    if name != 0 {
        let foreign = keys[2..7].iter().find(|key| section.has(key));
        if let Some(key) = foreign {
            return section.refuse(key, "of the service btree alone", "leave it out");
        }
    }
    if name == 2 {
        if section.has("keys") {
            return section.refuse("keys", "service null has no keys", "leave it out");
        }
        let work = section.number("work", 0, 0..=u32::MAX.into())?;
        return Ok(Service::Null { work: u32::try_from(work).expect("within its range") });
    }
    if section.has("work") {
        return section.refuse("work", "of the service null alone", "leave it out");
    }
    if name == 1 {
        let counters = section.number("keys", 1 << 20, 1..=u32::MAX.into())?;
        return Ok(Service::Counters(u32::try_from(counters).expect("within its range")));
    }
    let keys = section.number("keys", 0, 0..=1 << 31)?;
    let key_space = section.number("key_space", (2 * keys).max(2_000_000), 1..=u64::MAX - 1)?;
    let minimum = section.size("minimum", 50, 1..=50)?;
    let tree = Btree {
        keys,
        key_space,
        capacity: section.size("capacity", 64, 4..=512)?,
        minimum,
        fill: section.size("fill", 70.max(minimum), minimum..=100)?,
        is_aligned: section.choice("separators", &[("natural", false), ("aligned", true)])?,
    };
    if key_space < 2 * keys {
        let problem = format!("{keys} keys are loaded below {}, above it", 2 * keys);
        let remedy = format!("choose {} or more, or fewer keys", 2 * keys);
        return section.refuse("key_space", problem, remedy);
    }
    Ok(Service::Btree(tree))
}

fn client(source: &mut Source<'_>, root: &DeTable<'_>) -> Result<Client> {
    let keys = ["attempt_timeout", "deadline"];
    let mut section = Section::open(source, root, "client", &keys)?;
    Ok(Client {
        attempt_timeout: section.duration("attempt_timeout", "100ms", MS..=60 * SECOND)?,
        deadline: section.duration("deadline", "10s", MS..=3600 * SECOND)?,
    })
}

fn network(source: &mut Source<'_>, root: &DeTable<'_>) -> Result<Network> {
    let keys = [
        "transport",
        "io",
        "datagram_bytes",
        "newest_wire",
        "ttl",
        "socket_buffer",
        "buffers",
        "buffer_bytes",
        "sqpoll",
        "send_zc",
        "min_wait",
        "busy_poll",
    ];
    let mut section = Section::open(source, root, "network", &keys)?;
    let is_unicast = section.choice("transport", &[("multicast", false), ("unicast", true)])?;
    let io = [("auto", Io::Auto), ("uring", Io::Uring), ("socket", Io::Socket)];
    let io = section.choice("io", &io)?;
    let microseconds = Duration::ZERO..=SECOND;
    let (least, most) = (Room::LEAST.datagram(), Room::MOST.datagram());
    let datagram = section.size("datagram_bytes", most, least..=most)?;
    let newest = section.number("newest_wire", NEWEST.into(), OLDEST.into()..=NEWEST.into())?;
    let network = Network {
        is_unicast,
        io,
        room: Room::new(datagram).expect("within its range"),
        newest_wire: u8::try_from(newest).expect("within its range"),
        ttl: u8::try_from(section.number("ttl", 1, 0..=255)?).expect("within its range"),
        socket_buffer: section.size("socket_buffer", 4 << 20, 4096..=1 << 30)?,
        buffers: u16::try_from(section.number("buffers", 64, 4..=1 << 15)?)
            .expect("within its range"),
        buffer_bytes: section.size("buffer_bytes", 64 << 10, 16 << 10..=1 << 20)?,
        sqpoll: section.switch("sqpoll")?,
        send_zc: section.switch("send_zc")?,
        min_wait: section.duration("min_wait", "0us", microseconds.clone())?,
        busy_poll: section.duration("busy_poll", "0us", microseconds)?,
    };
    if !network.buffers.is_power_of_two() {
        let problem = format!("{} is no power of two", network.buffers);
        let remedy = format!("choose {}", network.buffers.next_power_of_two());
        return section.refuse("buffers", problem, remedy);
    }
    let Network { sqpoll, send_zc, min_wait, .. } = network;
    let of_uring = [("sqpoll", sqpoll), ("send_zc", send_zc), ("min_wait", !min_wait.is_zero())];
    if io == Io::Socket
        && let Some((key, _)) = of_uring.iter().find(|(_, is_set)| *is_set)
    {
        let remedy = "leave it out, or choose io = \"uring\"";
        return section.refuse(key, "plain sockets have no such thing", remedy);
    }
    Ok(network)
}

fn threads(source: &mut Source<'_>, root: &DeTable<'_>) -> Result<Wait> {
    let mut section = Section::open(source, root, "threads", &["wait"])?;
    section.choice("wait", &[("park", Wait::Park), ("yield", Wait::Yield), ("spin", Wait::Spin)])
}

fn authentication(source: &mut Source<'_>, root: &DeTable<'_>) -> Result<Authentication> {
    let keys = ["key_file", "client_key_file", "insecure"];
    let mut section = Section::open(source, root, "authentication", &keys)?;
    let file = |name: Option<String>| name.map(PathBuf::from);
    let key_file = file(section.optional_text("key_file")?);
    let client_key_file = file(section.optional_text("client_key_file")?);
    if key_file.is_none() && client_key_file.is_some() {
        let remedy = "name the nodes' keys in `key_file` too, or leave both out";
        return section.refuse("client_key_file", "nodes have no keys", remedy);
    }
    Ok(Authentication { key_file, client_key_file, is_insecure: section.switch("insecure")? })
}

fn metrics(source: &mut Source<'_>, root: &DeTable<'_>) -> Result<Metrics> {
    let mut section = Section::open(source, root, "metrics", &["listen"])?;
    if !section.has("listen") {
        return Ok(Metrics { listen: None });
    }
    // A scraper has to know the port.
    let parse = |text: &str| text.parse().ok().filter(|address: &SocketAddrV4| address.port() > 0);
    let listen = section.parsed("listen", None, "127.0.0.1:9464", parse)?;
    Ok(Metrics { listen: Some(listen) })
}
