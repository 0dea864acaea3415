//! A first cluster.toml from a few numbers.

use super::section::quoted;
use super::{Durability, Model, SCHEMA};
use crate::wire::NEWEST;
use std::fmt::Write;
use std::net::Ipv4Addr;
use thiserror::Error;

/// What `psmr config init` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// The cluster's id.
    pub id: u64,
    /// How many acceptors.
    pub acceptors: usize,
    /// How many replicas.
    pub replicas: usize,
    /// K.
    pub threads: usize,
    /// The execution model.
    pub model: Model,
    /// The service's name.
    pub service: &'static str,
    /// Keys that are loaded, or counters; `None`: the service's default.
    pub keys: Option<u64>,
    /// What a crash may cost.
    pub durability: Durability,
    /// The hosts' addresses; nodes are dealt out to them in turn.
    pub hosts: Vec<Ipv4Addr>,
    /// The first ring's group; the others follow.
    pub group_base: Ipv4Addr,
    /// The port of all groups; nodes have those that follow.
    pub port_base: u16,
    /// The largest datagram that all interfaces carry in one packet; `None`: the default.
    pub datagram_bytes: Option<usize>,
    /// The nodes' and a client's key files, if datagrams are authenticated.
    pub key_files: Option<(String, String)>,
    /// Where nodes keep their data; `None`: a directory named after the cluster.
    pub data_dir: Option<String>,
}

/// Why there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InitError {
    /// The groups leave the range of multicast addresses.
    #[error(
        "--group-base {base}: its {rings} rings leave the multicast range: choose an address of \
         239.0.0.0/8"
    )]
    Groups {
        /// The option.
        base: Ipv4Addr,
        /// How many groups follow it.
        rings: usize,
    },
    /// The nodes need ports beyond the last.
    #[error("--port-base {base}: {ports} ports are needed from there on: choose a lower one")]
    Ports {
        /// The option.
        base: u16,
        /// How many.
        ports: usize,
    },
}

impl Init {
    /// Three acceptors and two replicas on loopback, for tests.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            id: 0x12ab,
            acceptors: 3,
            replicas: 2,
            threads: 2,
            model: Model::OptPsmr,
            service: "btree",
            keys: Some(1000),
            durability: Durability::Memory,
            hosts: vec![Ipv4Addr::LOCALHOST],
            group_base: Ipv4Addr::new(239, 192, 7, 1),
            port_base: 21_000,
            datagram_bytes: None,
            key_files: None,
            data_dir: None,
        }
    }

    /// The text of the file.
    ///
    /// # Errors
    /// If addresses or ports run out. What else is wrong, [`super::Config::read`] finds.
    pub fn text(&self) -> Result<String, InitError> {
        let rings = if self.threads == 1 { 1 } else { self.threads + 1 };
        let ports = 1 + self.acceptors + self.replicas * self.threads;
        if usize::from(self.port_base) + ports > 65_536 {
            return Err(InitError::Ports { base: self.port_base, ports });
        }
        let mut text = String::new();
        self.head(&mut text).expect("a string takes everything");
        self.members(&mut text).expect("a string takes everything");
        for ring in 0..rings {
            let groups = InitError::Groups { base: self.group_base, rings };
            let address = u32::try_from(ring)
                .ok()
                .and_then(|ring| u32::from(self.group_base).checked_add(ring))
                .map(Ipv4Addr::from)
                .filter(Ipv4Addr::is_multicast)
                .ok_or(groups)?;
            let group = if rings > 1 && ring == rings - 1 { "\"all\"" } else { &ring.to_string() };
            let port = self.port_base;
            text += &format!("\n[[ring]]\ngroup = {group}\naddress = \"{address}:{port}\"\n");
        }
        text += &format!("\n[service]\nname = {}\n", quoted(self.service));
        if let Some(keys) = self.keys {
            text += &format!("keys = {keys}\n");
        }
        if let Some(bytes) = self.datagram_bytes {
            text += &format!(
                "\n[network]\n# What a packet carries on the networks of all nodes and clients.\n\
                 datagram_bytes = {bytes}\n"
            );
        }
        let is_far = self.hosts.iter().any(|host| !host.is_loopback());
        if let Some((nodes, client)) = &self.key_files {
            let (nodes, client) = (quoted(nodes), quoted(client));
            text += &format!(
                "\n# Made by `psmr keygen`: the nodes have the first file, clients the second alone.\n\
                 [authentication]\nkey_file = {nodes}\nclient_key_file = {client}\n"
            );
        } else if is_far {
            text += "\n# Datagrams are not authenticated: keep this cluster on a network of its \
                     own.\n[authentication]\ninsecure = true\n";
        }
        Ok(text)
    }

    fn head(&self, text: &mut String) -> std::fmt::Result {
        let model = match self.model {
            Model::Smr => "smr",
            Model::Psmr => "psmr",
            Model::OptPsmr => "opt-psmr",
        };
        let durability = match self.durability {
            Durability::Memory => "memory",
            Durability::Sync => "sync",
        };
        let id = format!("{:016x}", self.id);
        let data_dir = self.data_dir.clone().unwrap_or_else(|| format!("psmr-data/{id}"));
        writeln!(text, "# A psmr cluster. `psmr node --config FILE --print-config` shows every")?;
        writeln!(text, "# setting with its effective value and where it came from.")?;
        writeln!(text, "schema = {}\n", quoted(SCHEMA))?;
        writeln!(text, "[cluster]\nid = \"{id}\"\nmodel = \"{model}\"")?;
        writeln!(text, "threads = {}          # groups, and workers of a replica", self.threads)?;
        writeln!(text, "durability = \"{durability}\"")?;
        writeln!(text, "data_dir = {}", quoted(&data_dir))?;
        writeln!(
            text,
            "wire = {NEWEST}             # of datagrams; `psmr member upgrade` raises it"
        )
    }

    fn members(&self, text: &mut String) -> std::fmt::Result {
        for (number, address) in self.hosts.iter().enumerate() {
            writeln!(text, "\n[[host]]\nname = \"h{}\"\naddress = \"{address}\"", number + 1)?;
        }
        let mut port = usize::from(self.port_base);
        let mut host = 0;
        let roles =
            [("acceptor", 'a', self.acceptors, 1), ("replica", 'r', self.replicas, self.threads)];
        for (role, letter, count, threads) in roles {
            for number in 1..=count {
                let name = host % self.hosts.len() + 1;
                writeln!(text, "\n[[{role}]]\nid = \"{letter}{number}\"\nhost = \"h{name}\"")?;
                writeln!(text, "port = {}", port + 1)?;
                port += threads;
                host += 1;
            }
            host = 0;
        }
        Ok(())
    }
}
