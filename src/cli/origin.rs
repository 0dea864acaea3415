//! Where in cluster.toml the cause of an error is that shows only when the file is put to use.

use crate::config::{Cluster, Config, Node};
use crate::host::threads::StartError;
use crate::node::{ClusterError, HomeError, NodeError};
use crate::transport::udp::{Interface, LaunchError, Wording};
use std::fmt::Display;
use std::net::SocketAddrV4;
use std::path::Path;

/// A cluster.toml that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) path: &'a Path,
    pub(super) config: &'a Config,
}

impl Origin<'_> {
    /// `problem`, for which `key` is to blame.
    pub(super) fn tell(&self, key: &str, problem: impl Display) -> String {
        let place = self.config.place(key);
        format!("{}: {place}: {key}: {problem}", self.path.display())
    }

    fn tell_of(&self, key: Option<String>, problem: &impl Display) -> String {
        key.map_or_else(|| problem.to_string(), |key| self.tell(&key, problem))
    }

    /// Why nodes do not start, whose directories are in the file's unless there is another
    /// `data_dir`.
    pub(super) fn of_nodes(&self, error: &NodeError, data_dir: Option<&Path>) -> String {
        let in_directory = || data_dir.is_none().then(|| "cluster.data_dir".to_owned());
        let key = match error {
            NodeError::Insecure => Some(self.insecure()),
            NodeError::Spin { .. } => Some("threads.wait".to_owned()),
            NodeError::Service(_) => Some("service".to_owned()),
            // What the others of its kind said is not a matter of where its directory is.
            NodeError::Home(HomeError::Divided { .. }) => None,
            NodeError::Home(_) => in_directory(),
            NodeError::Unspoken(unspoken) if unspoken.is_held_back() => Some(newest_wire()),
            NodeError::Start { id, source } => match &**source {
                ClusterError::Storage(error) if error.is_of_directory() => in_directory(),
                ClusterError::Thread(StartError::Pin { .. }) => {
                    self.node(|node| node.id == *id, "cores")
                }
                source => self.key_of(source),
            },
            NodeError::Unknown { .. } | NodeError::Twice(_) | NodeError::Unspoken(_) => None,
        };
        self.tell_of(key, error)
    }

    /// Why clients do not start, or end early.
    pub(super) fn of_clients(&self, error: &ClusterError) -> String {
        self.tell_of(self.key_of(error), error)
    }

    fn key_of(&self, error: &ClusterError) -> Option<String> {
        match error {
            ClusterError::Transport(error) => self.key_of_sockets(error),
            ClusterError::Unspoken(unspoken) if unspoken.is_held_back() => Some(newest_wire()),
            _ => None,
        }
    }

    fn key_of_sockets(&self, error: &LaunchError) -> Option<String> {
        match error {
            LaunchError::SmallPackets {
                interface: Interface { wording: Wording::Client, .. },
                ..
            } => Some("network.datagram_bytes".to_owned()),
            LaunchError::NoInterface { interface }
            | LaunchError::InterfaceDown { interface }
            | LaunchError::SmallPackets { interface, .. }
            | LaunchError::NoMulticast { interface, .. }
            | LaunchError::NoRoute { interface, .. } => self.host(*interface),
            LaunchError::PortInUse { setting: "group", address } => self.ring(*address),
            LaunchError::PortInUse { address, .. } | LaunchError::PortForbidden { address } => {
                let threads = self.cluster().execution.worker_threads;
                let has = |node: &Node| {
                    let port = node.address.port();
                    let ports = usize::from(port)..usize::from(port) + threads;
                    node.address.ip() == address.ip() && ports.contains(&address.port().into())
                };
                // An acceptor has one port, so the node behind it may have the address, too.
                self.node(|node| node.address == *address, "port")
                    .or_else(|| self.node(has, "port"))
            }
            error if error.is_io_uring() => {
                self.config.has("network.io").then(|| "network.io".to_owned())
            }
            _ => None,
        }
    }

    fn cluster(&self) -> &Cluster {
        &self.config.cluster
    }

    /// What makes a cluster one that needs keys.
    fn insecure(&self) -> String {
        let mut hosts = self.cluster().hosts.iter();
        match hosts.position(|host| !host.address.is_loopback()) {
            Some(index) if !self.config.has("authentication") => format!("host[{index}].address"),
            _ => "authentication.key_file".to_owned(),
        }
    }

    /// Of an interface that the file names.
    fn host(&self, interface: Interface) -> Option<String> {
        let mut hosts = self.cluster().hosts.iter();
        let index = hosts.position(|host| host.address == interface.address);
        index
            .filter(|_| interface.wording == Wording::File)
            .map(|index| format!("host[{index}].address"))
    }

    fn ring(&self, group: SocketAddrV4) -> Option<String> {
        let group = format!("\"{group}\"");
        let mut addresses = self
            .config
            .effective
            .iter()
            .filter(|value| (value.table.as_str(), value.key) == ("[[ring]]", "address"));
        addresses
            .position(|value| value.value == group)
            .map(|index| format!("ring[{index}].address"))
    }

    /// A key of the first node of which `is_it` holds.
    fn node(&self, is_it: impl Fn(&Node) -> bool, key: &str) -> Option<String> {
        let Cluster { acceptors, replicas, .. } = self.cluster();
        [("acceptor", acceptors), ("replica", replicas)].into_iter().find_map(|(role, nodes)| {
            let index = nodes.iter().position(&is_it)?;
            Some(format!("{role}[{index}].{key}"))
        })
    }
}

fn newest_wire() -> String {
    "network.newest_wire".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Init, Unspoken};
    use crate::host::affinity::{CpuId, PinError};
    use std::io;
    use std::net::Ipv4Addr;

    /// What is said of errors, without the file's name and the message.
    fn keys(text: &str, errors: Vec<NodeError>, data_dir: Option<&Path>) -> Vec<String> {
        let config = Config::read(text).unwrap();
        let origin = Origin { path: Path::new("FILE"), config: &config };
        let key = |error: NodeError| {
            let (told, bare) = (origin.of_nodes(&error, data_dir), error.to_string());
            told.strip_suffix(&bare).unwrap_or_else(|| panic!("{told}")).to_owned()
        };
        errors.into_iter().map(key).collect()
    }

    fn transport(error: LaunchError) -> NodeError {
        NodeError::Start { id: "a1".to_owned(), source: Box::new(error.into()) }
    }

    /// `FILE: line L, column C: KEY: ` of the text behind the bar.
    fn at(text: &str, marked: &str, key: &str) -> String {
        let start = text.find(&marked.replacen('|', "", 1)).unwrap();
        let before = &text[..start + marked.find('|').unwrap()];
        let column = before.len() - before.rfind('\n').unwrap();
        format!("FILE: line {}, column {column}: {key}: ", before.matches('\n').count() + 1)
    }

    #[test]
    fn what_the_machine_refuses_is_told_with_the_place_of_what_asked_for_it() {
        let text = Init::example().text().unwrap();
        let text = text.replace("port = 21003", "port = 21003\ncores = [4000]");
        let text =
            text + "[network]\nnewest_wire = 1\nio = \"uring\"\n[threads]\nwait = \"spin\"\n";
        let port = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let interface = |wording| Interface { address: Ipv4Addr::LOCALHOST, wording };
        let in_use = |setting, address| transport(LaunchError::PortInUse { setting, address });
        let refused = || io::Error::from_raw_os_error(libc::EPERM);
        let name = "a3".to_owned();
        let pinned = StartError::Pin { name, source: PinError::NotAllowed(CpuId(4000)) };
        let ring = SocketAddrV4::new(Ipv4Addr::new(239, 192, 7, 3), 21_000);
        let unspoken = Unspoken { version: 2, epoch: 1, newest: 1 };
        let small = |wording| {
            let interface = interface(wording);
            transport(LaunchError::SmallPackets { interface, largest: 8_192, limit: 1_472 })
        };
        let forbidden = LaunchError::Forbidden { source: refused(), wording: Wording::File };
        let cases = [
            (in_use("port", port(21_002)), at(&text, "port = |21002", "acceptor[1].port")),
            (in_use("port", port(21_005)), at(&text, "port = |21004", "replica[0].port")),
            (in_use("group", ring), at(&text, "|\"239.192.7.3:21000\"", "ring[2].address")),
            (
                transport(LaunchError::PortForbidden { address: port(21_001) }),
                at(&text, "port = |21001", "acceptor[0].port"),
            ),
            (in_use("port", port(9)), String::new()),
            (small(Wording::File), at(&text, "|\"127.0.0.1\"", "host[0].address")),
            (small(Wording::Client), at(&text, "|[network]", "network.datagram_bytes")),
            (
                transport(LaunchError::NoInterface { interface: interface(Wording::File) }),
                at(&text, "|\"127.0.0.1\"", "host[0].address"),
            ),
            (
                transport(LaunchError::NoInterface { interface: interface(Wording::Client) }),
                String::new(),
            ),
            (transport(forbidden), at(&text, "|\"uring\"", "network.io")),
            (transport(LaunchError::Descriptors { source: refused() }), String::new()),
            (NodeError::Unspoken(unspoken), at(&text, "newest_wire = |1", "network.newest_wire")),
            (NodeError::Unspoken(Unspoken { version: 200, ..unspoken }), String::new()),
            (NodeError::Spin { cores: 2 }, at(&text, "|\"spin\"", "threads.wait")),
            (
                NodeError::Start { id: "a3".to_owned(), source: Box::new(pinned.into()) },
                at(&text, "cores = |[4000]", "acceptor[2].cores"),
            ),
            (NodeError::Twice("a1".to_owned()), String::new()),
        ];
        let (errors, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
        assert_eq!(keys(&text, errors, None), expected);
    }

    #[test]
    fn a_directory_is_the_files_unless_an_option_names_another() {
        let text = Init::example().text().unwrap() + "[authentication]\ninsecure = false\n";
        let errors = || {
            let failed = || (Path::new("d").to_owned(), io::Error::from_raw_os_error(libc::EACCES));
            let ((path, source), (divided, _)) = (failed(), failed());
            vec![
                NodeError::Home(HomeError::Io { path, source }),
                NodeError::Home(HomeError::Divided { path: divided, found: "two".to_owned() }),
                NodeError::Insecure,
            ]
        };
        let data_dir = "data_dir = \"psmr-data/00000000000012ab\"\n";
        let bare = text.replace(data_dir, "");
        let key = "cluster.data_dir";
        for (text, marked) in [(&bare, "|[cluster]"), (&text, "data_dir = |")] {
            let insecure = at(text, "|[authentication]", "authentication.key_file");
            let expected = [at(text, marked, key), String::new(), insecure];
            assert_eq!(keys(text, errors(), None), expected);
            let told = keys(text, errors(), Some(Path::new("e")));
            assert_eq!(told[..2], [String::new(), String::new()]);
        }
    }
}
