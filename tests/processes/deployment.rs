//! A cluster of processes: its directory, its ports, and its end.
#![allow(dead_code, reason = "each test program uses a part of it")]

use psmr::transport::udp;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Ports of one cluster.
const PORTS: u16 = 16;
/// A user who owns nothing.
const NOBODY: u32 = 65_534;

/// Whether this machine lets us use multicast on loopback; says so if not.
pub(crate) fn is_supported() -> bool {
    match udp::Sockets::bind(&udp::Config::default()) {
        Ok(_) => true,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skipped: {error}");
            false
        }
    }
}

/// Runs the binary to its end.
pub(crate) fn psmr(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_psmr")).args(arguments).output().expect("the binary runs")
}

/// Bad input: the status, one line on standard error that has all of `parts`, and no results.
pub(crate) fn refused(arguments: &[&str], status: i32, parts: &[&str]) {
    let output = psmr(arguments);
    let errors = lines(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {errors:?}");
    assert_eq!(errors.len(), 1, "{arguments:?}: {errors:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for part in parts {
        assert!(errors[0].contains(part), "{arguments:?}: {part:?} is not in {errors:?}");
    }
}

pub(crate) fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8(bytes.to_vec()).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// The nodes of a status.
pub(crate) fn nodes(status: &Value) -> impl Iterator<Item = &Value> {
    status["nodes"].as_array().expect("a list").iter()
}

/// The first of some ports in a row that nobody has.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let is_free = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
    // Below the range from which the kernel gives ports to others.
    let offset = u16::try_from(std::process::id() % 500).expect("small") * PORTS;
    loop {
        let taken = NEXT.fetch_add(PORTS, Ordering::Relaxed);
        let base = 10_000 + offset.wrapping_add(taken) % 20_000;
        if (base..base + PORTS).all(is_free) {
            return base;
        }
    }
}

/// A process that runs.
struct Running {
    ids: Vec<String>,
    child: Child,
    /// Kept open: a reader that has gone is none of the node's business.
    output: BufReader<ChildStdout>,
    is_ready: bool,
}

impl Running {
    /// Waits for the line of each id. A process that ends says nothing more.
    fn wait_until_ready(&mut self) {
        if std::mem::replace(&mut self.is_ready, true) {
            return;
        }
        for id in &self.ids {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("a pipe");
            assert_eq!(line, format!("ready {id}\n"));
        }
    }
}

/// A cluster.toml of its own, and the processes that run by it.
pub(crate) struct Deployment {
    directory: PathBuf,
    /// The first of its ports: there are some more than it needs.
    pub(crate) port: u16,
    nodes: Vec<Running>,
    /// Of the processes of nodes, beside that of the tests.
    environment: Vec<(String, String)>,
    /// As whom and with how much locked memory its nodes run, if not as the tests do.
    user: Option<Ordinary>,
}

/// Whom a process belongs to.
struct Ordinary {
    /// None: whom the tests belong to.
    id: Option<u32>,
    /// In KiB.
    locked: u64,
    /// A copy of the program that this user can reach.
    program: String,
}

impl Deployment {
    /// A cluster of `psmr config init` with these further options.
    pub(crate) fn new(options: &[&str]) -> Self {
        let port = free_ports();
        let name = format!("psmr-processes-{}-{port}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a writable directory");
        let deployment =
            Self { directory, port, nodes: Vec::new(), environment: Vec::new(), user: None };
        let (config, port) = (deployment.path("cluster.toml"), port.to_string());
        let init = ["config", "init", "--out", &config, "--port-base", &port];
        let output = psmr(&[&init[..], options].concat());
        assert_eq!(output.status.code(), Some(0), "{:?}", lines(&output.stderr));
        // Logs that are soon full, and soon written.
        deployment.configure("[ordering]\nlog_instances = 512\n");
        deployment
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Sets a variable of the nodes that are started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts a process for each id, and waits until all serve.
    pub(crate) fn start(&mut self, ids: &[&str]) {
        self.start_with(ids, &[]);
    }

    pub(crate) fn start_with(&mut self, ids: &[&str], options: &[&str]) {
        for id in ids {
            self.spawn(&[id], options);
        }
        self.nodes.iter_mut().for_each(Running::wait_until_ready);
    }

    /// Waits until every acceptor has a vote: the rings have begun.
    pub(crate) fn wait_for_votes(&self) {
        self.status_when(|status| {
            let mut acceptors = nodes(status).filter(|node| node["role"] == "acceptor");
            acceptors.all(|node| node["votes"] == true)
        });
    }

    /// Starts one process for all ids.
    pub(crate) fn start_together(&mut self, ids: &[&str]) {
        self.start_together_by(ids, &[]);
    }

    /// The same, with options.
    pub(crate) fn start_together_by(&mut self, ids: &[&str], options: &[&str]) {
        self.spawn(ids, options);
        self.nodes.iter_mut().for_each(Running::wait_until_ready);
    }

    /// The same, of which only the last one begins.
    pub(crate) fn start_together_with(&mut self, ids: &[&str], options: &[&str]) {
        self.spawn(ids, options);
        let node = self.nodes.last_mut().expect("just started");
        node.ids.drain(..node.ids.len() - 1);
        node.wait_until_ready();
    }

    /// The same, and what it writes to standard error.
    pub(crate) fn start_heard(&mut self, ids: &[&str]) -> ChildStderr {
        self.spawn_with(ids, &[], Stdio::piped());
        self.nodes.iter_mut().for_each(Running::wait_until_ready);
        let node = self.nodes.last_mut().expect("just started");
        node.child.stderr.take().expect("piped")
    }

    fn spawn(&mut self, ids: &[&str], options: &[&str]) {
        // What several lives of a node say is in one file.
        let mut errors = std::fs::OpenOptions::new();
        let errors = errors.create(true).append(true).open(self.path(&format!("{}.err", ids[0])));
        self.spawn_with(ids, options, errors.expect("a writable directory").into());
    }

    fn spawn_with(&mut self, ids: &[&str], options: &[&str], errors: Stdio) {
        let mut command = self.program();
        command.args(["node", "--config", &self.path("cluster.toml")]).args(options);
        command.envs(self.environment.iter().cloned());
        for id in ids {
            command.args(["--id", id]);
        }
        let mut child =
            command.stdout(Stdio::piped()).stderr(errors).spawn().expect("the binary runs");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        self.nodes.push(Running { ids, child, output, is_ready: false });
    }

    /// What runs a node.
    fn program(&self) -> Command {
        let Some(Ordinary { id, locked, program }) = &self.user else {
            return Command::new(env!("CARGO_BIN_EXE_psmr"));
        };
        let mut command = Command::new("sh");
        // It may have less than that already.
        let line = format!("ulimit -l {locked} 2> /dev/null; exec \"$0\" \"$@\"");
        command.args(["-c", &line, program]);
        if let Some(id) = *id {
            // Without groups: the standard library gives up those of root with its name.
            command.uid(id).gid(id);
        }
        command
    }

    /// From now on its nodes run as a user without capabilities who may lock so many bytes of memory,
    /// and who owns the directory and `files` in it.
    pub(crate) fn become_ordinary(&mut self, files: &[&str], locked: u64) {
        let is_root = std::fs::metadata("/proc/self").expect("a process").uid() == 0;
        let id = is_root.then_some(NOBODY);
        let program = self.path("psmr");
        std::fs::copy(env!("CARGO_BIN_EXE_psmr"), &program).expect("room for a copy");
        let config = self.path("cluster.toml");
        for path in files.iter().copied().chain([self.path("").as_str(), config.as_str()]) {
            chown(path, id, id).expect("it is ours");
        }
        self.user = Some(Ordinary { id, locked: locked / 1024, program });
    }

    /// The number of the process of node `id`.
    pub(crate) fn process(&self, id: &str) -> u32 {
        let has_id = |node: &&Running| node.ids.iter().any(|known| known == id);
        self.nodes.iter().find(has_id).expect("it was started").child.id()
    }

    /// Adds `text` to the cluster.toml, before anything is started.
    pub(crate) fn configure(&self, text: &str) {
        let path = self.path("cluster.toml");
        let config = std::fs::read_to_string(&path).expect("it was written");
        std::fs::write(path, format!("{config}\n{text}")).expect("a writable directory");
    }

    /// Sends a node's process a signal.
    pub(crate) fn signal(&self, id: &str, signal: &str) {
        let has_id = |node: &&Running| node.ids.iter().any(|known| known == id);
        let node = self.nodes.iter().find(has_id).expect("it was started");
        let child = node.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &child]).status();
        assert!(status.is_ok_and(|status| status.success()), "{id} does not run any more");
    }

    /// What the process of node `id`, the first of its process, has written to standard error.
    pub(crate) fn said(&self, id: &str) -> Vec<String> {
        lines(&std::fs::read(self.path(&format!("{id}.err"))).expect("it was started"))
    }

    /// Waits until one of the nodes `ids` has said a line that has all of `parts`: that line.
    pub(crate) fn said_when(&self, ids: &[&str], parts: &[&str]) -> String {
        let has_parts = |line: &String| parts.iter().all(|part| line.contains(part));
        for _ in 0..400 {
            if let Some(line) = ids.iter().flat_map(|id| self.said(id)).find(has_parts) {
                return line;
            }
            std::thread::park_timeout(Duration::from_millis(25));
        }
        let said: Vec<_> = ids.iter().map(|id| self.said(id)).collect();
        panic!("nobody says {parts:?}: {said:?}");
    }

    /// Ends a node at once, as a crash does.
    pub(crate) fn kill(&mut self, id: &str) {
        let has_id = |node: &Running| node.ids.iter().any(|known| known == id);
        let index = self.nodes.iter().position(has_id).expect("it was started");
        let Running { mut child, .. } = self.nodes.remove(index);
        child.kill().expect("it runs");
        child.wait().expect("it is ours");
    }

    /// Waits until a node's process has ended by itself: its status.
    pub(crate) fn wait(&mut self, id: &str) -> Option<i32> {
        let has_id = |node: &Running| node.ids.iter().any(|known| known == id);
        let index = self.nodes.iter().position(has_id).expect("it was started");
        for _ in 0..800 {
            if let Some(status) = self.nodes[index].child.try_wait().expect("it is ours") {
                self.nodes.remove(index);
                return status.code();
            }
            std::thread::park_timeout(Duration::from_millis(25));
        }
        panic!("{id} does not end by itself: {:?}", self.said(id));
    }

    /// The answers of a client to `input`, which all went well.
    pub(crate) fn client(&self, arguments: &[&str], input: &str) -> Vec<String> {
        lines(&self.client_output(arguments, input).stdout)
    }

    pub(crate) fn client_output(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.spawn_client(arguments);
        let mut stdin = child.stdin.take().expect("piped");
        // A client with a command on its command line does not read.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("it is ours")
    }

    /// The first line of a client's answers to `input`, after which nobody reads them.
    pub(crate) fn client_of_which_one_line_is_read(&self, input: &str) -> String {
        let mut child = self.spawn_client(&[]);
        let mut stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        std::thread::scope(|scope| {
            // Ends with an error once the client has gone.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            let mut lines = BufReader::new(stdout);
            lines.read_line(&mut line).expect("an answer");
        });
        assert!(child.wait().expect("it is ours").success());
        line.trim_end().to_owned()
    }

    /// Asks for the status until it is as it should be.
    pub(crate) fn status_when(&self, is_fine: impl Fn(&Value) -> bool) -> Value {
        let config = self.path("cluster.toml");
        for _ in 0..200 {
            let output = psmr(&["status", "--json", "--patience", "300ms", "--config", &config]);
            let status: Value = serde_json::from_slice(&output.stdout).expect("one object");
            if is_fine(&status) {
                return status;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        panic!("the cluster does not come to the state that was expected");
    }

    /// Starts a client.
    pub(crate) fn spawn_client(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_psmr"))
            .args(["client", "--config", &self.path("cluster.toml")])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs")
    }

    /// Ends all nodes in good order: each with status 0.
    pub(crate) fn stop(&mut self) {
        for Running { ids, child, .. } in &self.nodes {
            let status = Command::new("kill").arg(child.id().to_string()).status();
            assert!(status.is_ok_and(|status| status.success()), "{ids:?} does not run any more");
        }
        for Running { ids, mut child, .. } in self.nodes.drain(..) {
            let status = child.wait().expect("it is ours");
            assert_eq!(status.code(), Some(0), "{ids:?}");
        }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        for Running { child, .. } in &mut self.nodes {
            let _ = child.kill();
            let _ = child.wait();
        }
        let files = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let said =
            files.map(|file| file.path()).filter(|path| path.extension() == Some("err".as_ref()));
        for path in said.filter(|_| std::thread::panicking()) {
            let said = std::fs::read_to_string(path).unwrap_or_default();
            let _ = write!(std::io::stderr(), "{said}");
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
