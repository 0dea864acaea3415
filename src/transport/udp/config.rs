//! What can be set, and what came of it.

use super::{Interface, LaunchError, Wording};
use crate::types::RingId;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// The unicast addresses of those who hear each ring.
pub type Members = Vec<(RingId, Vec<SocketAddrV4>)>;

/// What the sockets of a thread are read and written by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// An io_uring, or where the machine forbids it plain system calls.
    #[default]
    Auto,
    /// An io_uring; else the endpoint is refused.
    Uring,
    /// Plain system calls.
    Socket,
}

/// The settings of one endpoint. What this machine lacks falls back, and [`Effective`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What reads and writes.
    pub io: Io,
    /// The address of the interface that everything leaves and arrives by.
    pub interface: Ipv4Addr,
    /// The port of the unicast socket; 0 lets the system choose.
    pub port: u16,
    /// Every group of the cluster.
    pub groups: Vec<(RingId, SocketAddrV4)>,
    /// Where there is no multicast: who hears each ring. A sender sends a copy to each of them, and
    /// joins no group.
    pub members: Option<Members>,
    /// The rings whose groups this endpoint hears.
    pub subscribe: Vec<RingId>,
    /// How many routers a multicast may pass; 0 stays on the host, 1 on its network.
    pub ttl: u8,
    /// The largest datagram that will be sent, in bytes: the interface must carry it in one packet.
    /// 0 asks for nothing.
    pub largest: usize,
    /// Receive buffers, a power of two up to 32,768.
    pub buffers: u16,
    /// Bytes a receive buffer; with `gro` a whole train must fit.
    pub buffer_bytes: usize,
    /// Socket buffer as the kernel counts it, in bytes a socket. Above net.core.rmem_max it takes a
    /// privilege; stock Linux gives 425,984 without.
    pub socket_buffer: usize,
    /// Trains of datagrams in one send (UDP_SEGMENT).
    pub gso: bool,
    /// Trains of datagrams in one buffer (UDP_GRO).
    pub gro: bool,
    /// Lets a kernel thread submit. Harmful with few cores.
    pub sqpoll: bool,
    /// Sends without a copy. For large sends on real network cards.
    pub send_zc: bool,
    /// How long a wait gathers completions before it returns; zero: returns at the first. Trades
    /// latency for CPU.
    pub min_wait: Duration,
    /// How long a wait polls the network card's queue before it sleeps; zero: never.
    pub busy_poll: Duration,
    /// Whose settings these are: errors name them.
    pub wording: Wording,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            io: Io::Auto,
            interface: Ipv4Addr::LOCALHOST,
            port: 0,
            groups: Vec::new(),
            members: None,
            subscribe: Vec::new(),
            ttl: 1,
            largest: 0,
            buffers: 64,
            buffer_bytes: 64 * 1024,
            socket_buffer: 4 << 20,
            gso: true,
            gro: true,
            sqpoll: false,
            send_zc: false,
            min_wait: Duration::ZERO,
            busy_poll: Duration::ZERO,
            wording: Wording::Options,
        }
    }
}

impl Config {
    /// The interface as errors name it.
    #[must_use]
    pub const fn named_interface(&self) -> Interface {
        Interface { address: self.interface, wording: self.wording }
    }

    /// The same on a port that is free, and without multicast: to see what the machine grants.
    pub(in crate::transport) fn of_trial(&self) -> Self {
        let (groups, subscribe, members) = (Vec::new(), Vec::new(), Some(Vec::new()));
        Self { port: 0, groups, members, subscribe, largest: 0, ..self.clone() }
    }

    /// Refuses what cannot work, before anything is opened.
    pub(super) fn check(&self) -> Result<(), LaunchError> {
        let refuse =
            |setting, value: String, remedy| Err(LaunchError::Setting { setting, value, remedy });
        if self.interface.is_unspecified() || self.interface.is_multicast() {
            let remedy = "give the address of one interface, as `ip addr` shows it";
            return refuse("interface", self.interface.to_string(), remedy);
        }
        if !self.buffers.is_power_of_two() || !(4..=1 << 15).contains(&self.buffers) {
            let remedy = "a power of two from 4 to 32,768";
            return refuse("buffers", self.buffers.to_string(), remedy);
        }
        if !(512..=1 << 20).contains(&self.buffer_bytes) {
            let remedy = "512 bytes to 1 MiB";
            return refuse("buffer_bytes", self.buffer_bytes.to_string(), remedy);
        }
        if let Some((_, group)) = self.groups.iter().find(|(_, group)| !group.ip().is_multicast()) {
            let remedy = "an address of 224.0.0.0/4, of 239.0.0.0/8 by preference";
            return refuse("group", group.to_string(), remedy);
        }
        if let Some((_, group)) = self.groups.iter().find(|(_, group)| group.port() == 0) {
            return refuse("group", group.to_string(), "a port other than 0");
        }
        let unknown = |ring: &&RingId| !self.groups.iter().any(|(known, _)| known == *ring);
        if let Some(ring) = self.subscribe.iter().find(unknown) {
            let remedy = "the ring has no group: add it to the groups";
            return refuse("subscribe", ring.to_string(), remedy);
        }
        Ok(())
    }
}

/// What the machine granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// The smallest socket buffer that was read back, in bytes.
    pub socket_buffer: usize,
    /// The largest datagram: what the interface carries unfragmented.
    pub segment_limit: usize,
    /// Trains are sent.
    pub gso: bool,
    /// Trains are received.
    pub gro: bool,
    /// Task work runs only when this thread asks for it.
    pub defer_taskrun: bool,
    /// The ring's descriptor is registered.
    pub registered_ring: bool,
    /// A kernel thread submits.
    pub sqpoll: bool,
    /// Sends are without a copy.
    pub send_zc: bool,
    /// Waits gather.
    pub min_wait: bool,
    /// Waits poll the network card.
    pub busy_poll: bool,
}

impl Effective {
    /// What of `config` the machine did not grant, a line each with the setting, what follows and the
    /// remedy. What only an io_uring has is none of plain sockets' business.
    #[must_use]
    pub fn shortfalls(&self, config: &Config) -> Vec<String> {
        let mut lines = Vec::new();
        if self.socket_buffer < config.socket_buffer {
            lines.push(format!(
                "{}: {} bytes asked for and {} granted: more of a burst is dropped, and repaired a \
                 round trip later; `sysctl -w net.core.rmem_max={}`",
                config.wording.setting("--socket-buffer", "socket_buffer"),
                config.socket_buffer,
                self.socket_buffer,
                config.socket_buffer / 2
            ));
        }
        let is_uring = config.io != Io::Socket;
        let asked = [
            ("--sqpoll", "sqpoll", is_uring && config.sqpoll && !self.sqpoll),
            ("--send-zc", "send_zc", is_uring && config.send_zc && !self.send_zc),
            ("--min-wait-us", "min_wait", is_uring && !config.min_wait.is_zero() && !self.min_wait),
            ("--busy-poll-us", "busy_poll", !config.busy_poll.is_zero() && !self.busy_poll),
        ];
        for (option, key, _) in asked.into_iter().filter(|(.., is_missing)| *is_missing) {
            let setting = config.wording.setting(option, key);
            lines.push(format!("{setting}: not granted by this kernel, without effect"));
        }
        if config.gso && !self.gso {
            lines.push("trains of datagrams (UDP_SEGMENT): not granted, a call each".to_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::udp::Wording;

    #[test]
    fn what_the_machine_did_not_grant_is_told_with_the_setting_and_the_remedy() {
        let config = Config { sqpoll: true, wording: Wording::File, ..Config::default() };
        let all =
            Effective { socket_buffer: 4 << 20, gso: true, sqpoll: true, ..Effective::default() };
        assert_eq!(all.shortfalls(&config), Vec::<String>::new());
        let little = Effective { socket_buffer: 425_984, sqpoll: false, ..all };
        let told = little.shortfalls(&config);
        assert!(told[0].starts_with("`socket_buffer` in [network]: 4194304 bytes"), "{told:?}");
        assert!(told[0].ends_with("net.core.rmem_max=2097152`"), "{told:?}");
        assert!(told[1].starts_with("`sqpoll` in [network]"), "{told:?}");
        let plain = Config { io: Io::Socket, wording: Wording::Options, ..config };
        let told = little.shortfalls(&plain);
        assert_eq!((told.len(), told[0].starts_with("--socket-buffer:")), (1, true), "{told:?}");
    }
}
