//! Real nodes on the hosts of a network: their files, their processes and what they say.

use super::network::{CLIENT, HOSTS, NAMES, Network, ip};
use psmr::host::clock;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Every node and its host: `config init` deals them out in this way.
pub(crate) const NODES: [(&str, usize); 5] =
    [("a1", 0), ("a2", 1), ("a3", 2), ("r1", 0), ("r2", 1)];
/// How long a healed cluster may take to serve with all its nodes again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Instances that a node may be behind and count as level: logs hold many times more.
const CLOSE: u64 = 200;
const LOOK: Duration = Duration::from_millis(50);
/// The status of a node that the machine does not give what it needs.
const ENVIRONMENT: i32 = 3;

/// What a cluster is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) durability: &'a str,
    pub(crate) model: &'a str,
    /// Of [network]: multicast or unicast.
    pub(crate) transport: &'a str,
    /// Of [network]: auto, uring or socket.
    pub(crate) io: &'a str,
    pub(crate) keys: u64,
    /// Where the nodes of each host have their data.
    pub(crate) disks: &'a [PathBuf; HOSTS],
}

impl<'a> Setup<'a> {
    /// With logs, a hundred keys, and otherwise what `config init` writes.
    pub(crate) const fn usual(disks: &'a [PathBuf; HOSTS]) -> Self {
        let (durability, model) = ("sync", "opt-psmr");
        Self { durability, model, transport: "multicast", io: "auto", keys: 100, disks }
    }
}

/// A cluster.
pub(crate) struct Cluster {
    directory: PathBuf,
    disks: [PathBuf; HOSTS],
    nodes: Vec<Node>,
    /// The zero of each node's clock, by the file of its time namespace.
    clocks: Vec<PathBuf>,
}

struct Node {
    id: &'static str,
    host: usize,
    process: Option<Process>,
}

struct Process {
    child: Child,
    is_ready: Arc<AtomicBool>,
    is_stopped: bool,
}

/// How a node has ended by itself.
enum End {
    /// The machine did not give it what it needs, a link that is up for one: a service manager tries
    /// again.
    Refused,
    Failed,
}

impl Cluster {
    /// Writes the files of a cluster in `directory`, as an operator would.
    pub(crate) fn new(directory: &Path, setup: &Setup<'_>) -> Self {
        let nodes = NODES.map(|(id, host)| Node { id, host, process: None }).into();
        let disks = setup.disks.clone();
        fs::create_dir_all(directory.join("logs")).expect("a writable directory");
        let cluster = Self { directory: directory.to_owned(), disks, nodes, clocks: Vec::new() };
        let hosts = [0, 1, 2].map(ip).join(",");
        let keys = setup.keys.to_string();
        let (config, key) = (cluster.path("cluster.toml"), cluster.path("cluster.key"));
        let init = ["config", "init", "--hosts", &hosts, "--acceptors", "3", "--replicas", "2"];
        let rest = ["--model", setup.model, "--durability", setup.durability, "--keys", &keys];
        cluster.psmr(&[&init[..], &rest, &["--out", &config]].concat());
        cluster.psmr(&["keygen", "--out", &key]);
        let text = fs::read_to_string(&config).expect("just written");
        // Logs that are soon full, and digests and checkpoints often enough to see many.
        let text = text
            .replace("[network]\n", &format!("[network]\ntransport = \"{}\"\n", setup.transport))
            .replace("[network]\n", &format!("[network]\nio = \"{}\"\n", setup.io));
        assert!(text.contains(setup.transport), "`config init` writes a section [network]");
        let small = "\n[ordering]\nlog_instances = 1024\n\n[execution]\ndigest_interval = \
                     \"300ms\"\ncheckpoint_interval = \"2s\"\n";
        fs::write(&config, text + small).expect("a writable directory");
        // What each host is given, and no more.
        for (host, name) in NAMES.into_iter().enumerate() {
            let key = if host == CLIENT { "cluster.client.key" } else { "cluster.key" };
            fs::create_dir_all(cluster.path(name)).expect("a writable directory");
            for file in ["cluster.toml", key] {
                let copy = cluster.path(&format!("{name}/{file}"));
                fs::copy(cluster.path(file), copy).expect("a writable directory");
            }
        }
        cluster
    }

    /// Gives nodes that are started from now on clocks of these time namespaces, in turn.
    pub(crate) fn set_clocks(&mut self, clocks: Vec<PathBuf>) {
        self.clocks = clocks;
    }

    /// A file of the cluster.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Runs `psmr` on the client's host, to its good end.
    pub(crate) fn psmr(&self, arguments: &[&str]) -> Output {
        let output = Self::command(arguments).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psmr {arguments:?}: {said}");
        output
    }

    /// `psmr` on the client's host.
    fn command(arguments: &[&str]) -> Command {
        let mut command = Network::command(CLIENT, env!("CARGO_BIN_EXE_psmr"));
        command.args(arguments);
        command
    }

    /// Starts a node that does not run.
    pub(crate) fn start(&mut self, id: &str) {
        let life = self.lives();
        let log = self.log(id);
        let files = self.directory.clone();
        let node = self.nodes.iter_mut().find(|node| node.id == id).expect("a node's id");
        assert!(node.process.is_none(), "{id} runs already");
        let mut command = match self.clocks.get(life % self.clocks.len().max(1)) {
            None => Network::command(node.host, env!("CARGO_BIN_EXE_psmr")),
            Some(clock) => {
                let mut command = Network::command(node.host, "nsenter");
                command.arg(format!("--time={}", clock.display()));
                command.arg(env!("CARGO_BIN_EXE_psmr"));
                command
            }
        };
        command.arg("node").arg("--config").arg(files.join(NAMES[node.host]).join("cluster.toml"));
        command.args(["--id", id, "--data-dir"]).arg(&self.disks[node.host]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the binary runs");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let is_ready = Arc::new(AtomicBool::new(false));
        let (ready, line) = (Arc::clone(&is_ready), format!("ready {id}"));
        let listen = move || {
            // To the end of the process: its pipe stays open as long.
            for said in output.lines().map_while(Result::ok) {
                ready.fetch_or(said == line, Ordering::Relaxed);
            }
        };
        thread::Builder::new().name(format!("out-{id}")).spawn(listen).expect("room for a thread");
        node.process = Some(Process { child, is_ready, is_stopped: false });
    }

    /// Ends a node as a crash does. One that has ended by itself meanwhile is as good.
    pub(crate) fn kill(&mut self, id: &str) {
        if let Some(mut process) = self.node(id).process.take() {
            process.child.kill().expect("it was not waited for");
            process.child.wait().expect("it is ours");
        }
    }

    /// Stops a node, which then hears and does nothing, or lets it go on.
    pub(crate) fn set_stopped(&mut self, id: &str, is_stopped: bool) {
        let Some(process) = &mut self.node(id).process else { return };
        if std::mem::replace(&mut process.is_stopped, is_stopped) == is_stopped {
            return;
        }
        let (pid, signal) =
            (process.child.id().to_string(), if is_stopped { "STOP" } else { "CONT" });
        let status = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "{id} has gone");
    }

    /// Takes away a node that has ended by itself, and says how.
    fn take_ended(&mut self, id: &str) -> Option<End> {
        let node = self.node(id);
        let process = node.process.as_mut()?;
        let status = process.child.try_wait().expect("it is ours")?;
        let has_served = process.is_ready.load(Ordering::Relaxed);
        node.process = None;
        let is_refused = !has_served && status.code() == Some(ENVIRONMENT);
        Some(if is_refused { End::Refused } else { End::Failed })
    }

    /// Waits until every node serves, votes and has its state. What it said last is the status.
    ///
    /// # Panics
    /// If that takes too long, or a node has ended by itself.
    pub(crate) fn wait_until_whole(&mut self) -> Value {
        let until = clock::now() + PATIENCE;
        loop {
            for (id, _) in NODES {
                match self.take_ended(id) {
                    None => {}
                    Some(End::Refused) => self.start(id),
                    Some(End::Failed) => panic!("{id} has ended by itself: see logs/{id}.log"),
                }
            }
            let is_ready = |node: &Node| {
                node.process.as_ref().is_some_and(|p| p.is_ready.load(Ordering::Relaxed))
            };
            let missing = self.nodes.iter().find(|node| !is_ready(node));
            let status = if missing.is_none() { self.status() } else { Value::Null };
            let lack = missing.map(|node| format!("{} is not ready", node.id));
            let Some(lack) = lack.or_else(|| lack_of(&status)) else { return status };
            assert!(clock::now() < until, "not whole after {PATIENCE:?}: {lack}\n{status}");
            thread::park_timeout(LOOK);
        }
    }

    /// What `psmr status --json` says, whoever answers.
    pub(crate) fn status(&self) -> Value {
        let config = self.client_config();
        let status = ["status", "--json", "--patience", "1s", "--config", &config];
        let output = Self::command(&status).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no object: {said}"))
    }

    /// The answers of a client to commands, one a line.
    pub(crate) fn client(&self, commands: &[String]) -> Vec<String> {
        self.client_within("60s", commands)
    }

    /// As [`Cluster::client`]; each command is given up after `deadline`.
    pub(crate) fn client_within(&self, deadline: &str, commands: &[String]) -> Vec<String> {
        let mut child = self.spawn_client(&["--deadline", deadline], "client");
        let mut stdin = child.stdin.take().expect("piped");
        let input = commands.join("\n");
        // A client that has failed is told of below.
        let feed = move || drop(stdin.write_all(input.as_bytes()));
        let feeding = thread::Builder::new().spawn(feed).expect("room for a thread");
        let output = child.wait_with_output().expect("it is ours");
        feeding.join().expect("it does not panic");
        let answers = String::from_utf8(output.stdout).expect("UTF-8");
        let answers: Vec<String> = answers.lines().map(str::to_owned).collect();
        assert_eq!(answers.len(), commands.len(), "an answer a command: see logs/client.log");
        answers
    }

    /// Starts a client, whose complaints go to the log `name`.
    pub(crate) fn spawn_client(&self, arguments: &[&str], name: &str) -> Child {
        let config = self.client_config();
        Self::command(&[&["client", "--config", &config], arguments].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.log(name))
            .spawn()
            .expect("the binary runs")
    }

    /// Ends all nodes in good order: each with status 0.
    pub(crate) fn stop(&mut self) {
        for node in &mut self.nodes {
            let Some(Process { child, .. }) = &node.process else { continue };
            let status = Command::new("kill").arg(child.id().to_string()).status();
            assert!(status.is_ok_and(|status| status.success()), "{} has gone", node.id);
        }
        for node in &mut self.nodes {
            let Some(mut process) = node.process.take() else { continue };
            let status = process.child.wait().expect("it is ours");
            assert_eq!(status.code(), Some(0), "{}: see logs/{}.log", node.id, node.id);
        }
    }

    fn client_config(&self) -> String {
        self.path(&format!("{}/cluster.toml", NAMES[CLIENT]))
    }

    fn node(&mut self, id: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("a node's id")
    }

    /// A log, to which every life of `name` adds.
    fn log(&self, name: &str) -> File {
        let path = self.directory.join("logs").join(format!("{name}.log"));
        let log = OpenOptions::new().create(true).append(true).open(path);
        log.expect("a writable directory")
    }

    /// How many processes were started: another number at each call.
    fn lives(&self) -> usize {
        let mut log = self.log("starts");
        log.write_all(b".").expect("a writable directory");
        usize::try_from(log.metadata().expect("it is open").len()).expect("few starts")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for Process { child, .. } in self.nodes.iter_mut().filter_map(|node| node.process.as_mut())
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the cluster of this status lacks to be whole.
fn lack_of(status: &Value) -> Option<String> {
    let nodes = status["nodes"].as_array().expect("a list of nodes");
    for node in nodes {
        let id = &node["id"];
        if node["up"] != true {
            return Some(format!("{id} does not answer"));
        }
        if node["votes"] == false {
            return Some(format!("{id} has no vote"));
        }
        if node["lost"] == true {
            return Some(format!("{id} has no state"));
        }
        if node["lag"].as_u64().is_none_or(|lag| lag > CLOSE) {
            return Some(format!("{id} is behind"));
        }
    }
    let replicas = nodes.iter().filter(|node| node["role"] == "replica");
    if !replicas.clone().all(|node| node["copies"] == replicas.clone().count()) {
        return Some("a replica is still recovering".to_owned());
    }
    let rings = status["rings"].as_array().expect("a list of rings");
    let lacks = rings.iter().find(|ring| ring["coordinator"].is_null());
    lacks.map(|ring| format!("ring {} has no coordinator", ring["ring"]))
}
