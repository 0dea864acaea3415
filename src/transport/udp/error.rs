//! Why an endpoint cannot start, and what the operator can do about it.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use thiserror::Error;

/// Whose settings an endpoint has: errors name them by the words that its user knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wording {
    /// Options of the command line.
    #[default]
    Options,
    /// cluster.toml.
    File,
    /// cluster.toml, but for the interface, which is an option.
    Client,
}

impl Wording {
    /// The way out if this transport cannot be.
    const fn instead(self) -> &'static str {
        match self {
            Self::Options => "; or use --transport memory",
            Self::File | Self::Client => "",
        }
    }

    /// The way out if io_uring cannot be.
    const fn plainly(self) -> &'static str {
        match self {
            Self::Options => "; or use --io socket",
            Self::File | Self::Client => "; or set `io = \"socket\"` in [network]",
        }
    }

    /// A setting as its user writes it: an option, or a key of cluster.toml.
    pub(super) fn setting(self, option: &str, key: &str) -> String {
        match self {
            Self::Options => option.to_owned(),
            Self::File | Self::Client => format!("`{key}` in [network]"),
        }
    }

    const fn datagram_bytes(self) -> &'static str {
        match self {
            Self::Options => "--datagram-bytes",
            Self::File | Self::Client => "`datagram_bytes` in [network], at all nodes and clients",
        }
    }
}

/// An interface, and who named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its address.
    pub address: Ipv4Addr,
    /// Whose setting it is.
    pub wording: Wording,
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = match self.wording {
            Wording::Options | Wording::Client => "--interface",
            Wording::File => "[[host]] address",
        };
        write!(f, "{setting} {}", self.address)
    }
}

/// Why an endpoint cannot start. Each message names the setting and the remedy.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The system-wide switch is off.
    #[error(
        "io_uring is switched off by sysctl kernel.io_uring_disabled = {value}: run `sysctl -w \
         kernel.io_uring_disabled=0`, or, at 1, as a member of kernel.io_uring_group{}",
        wording.plainly()
    )]
    Disabled {
        /// What the switch says: 1 for all but a group, 2 for everybody.
        value: u8,
        /// Whose settings these are.
        wording: Wording,
    },
    /// A sandbox forbids the system calls.
    #[error(
        "io_uring is forbidden by a seccomp filter ({source}), as containers often have: run with \
         `--security-opt seccomp=unconfined` or a profile that allows io_uring_setup, \
         io_uring_enter and io_uring_register{}",
        wording.plainly()
    )]
    Forbidden {
        /// What io_uring_setup answered.
        source: io::Error,
        /// Whose settings these are.
        wording: Wording,
    },
    /// The limit of locked memory is too low.
    #[error(
        "no memory for io_uring under the limit of locked memory: raise it with `ulimit -l \
         unlimited` (LimitMEMLOCK=infinity in a unit){}",
        wording.plainly()
    )]
    LockedMemory {
        /// What the kernel answered.
        source: io::Error,
        /// Whose settings these are.
        wording: Wording,
    },
    /// There is no memory for buffers.
    #[error("{call}: no memory for buffers: raise `ulimit -v`, or end other processes")]
    Memory {
        /// The call.
        call: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The process is out of file descriptors.
    #[error("no file descriptor left for a socket or an io_uring: raise `ulimit -n`")]
    Descriptors {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel lacks something that has no substitute.
    #[error(
        "this kernel lacks {missing}: Linux 6.1 or later is needed{}", wording.plainly()
    )]
    KernelTooOld {
        /// What is missing.
        missing: &'static str,
        /// Whose settings these are.
        wording: Wording,
    },
    /// The interface address is of no interface here.
    #[error(
        "{interface}: no interface of this machine has that address: give one that \
         `ip addr` shows"
    )]
    NoInterface {
        /// The setting.
        interface: Interface,
    },
    /// The interface is down.
    #[error(
        "{interface}: no interface that is up has that address: run `ip link set {} up`, or give \
         another that `ip addr` shows{}",
        if interface.address.is_loopback() { "lo" } else { "NAME" },
        interface.wording.instead()
    )]
    InterfaceDown {
        /// The setting.
        interface: Interface,
    },
    /// The interface would cut datagrams into several packets.
    #[error(
        "{interface}: datagrams have up to {largest} bytes, but in one packet it carries {limit}: \
         choose datagrams of as many ({}), or run `ip link set dev NAME mtu 9000`",
        interface.wording.datagram_bytes()
    )]
    SmallPackets {
        /// The setting.
        interface: Interface,
        /// The largest datagram, in bytes.
        largest: usize,
        /// What a packet carries of a datagram, in bytes.
        limit: usize,
    },
    /// The interface carries no multicast.
    #[error(
        "{interface} carries no multicast to {group}: `ip link set dev NAME multicast on` and, if \
         the route is missing, `ip route add 239.0.0.0/8 dev NAME`; or give another interface{}",
        interface.wording.instead()
    )]
    NoMulticast {
        /// The setting.
        interface: Interface,
        /// The group that could not be reached or joined.
        group: Ipv4Addr,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A member cannot be reached.
    #[error(
        "{interface}: no way to {member} from there ({source}): run `ip route get {}`, and give an \
         interface that leads to all nodes",
        member.ip()
    )]
    NoRoute {
        /// The setting.
        interface: Interface,
        /// Who cannot be reached.
        member: SocketAddrV4,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Another process has the port, and does not share it.
    #[error(
        "{setting} {address}: the port is in use by another process (`ss -ulpn sport = :{}`): \
         stop it or choose another port (one that was drawn is another at the next start)",
        address.port()
    )]
    PortInUse {
        /// Which setting names it.
        setting: &'static str,
        /// The address.
        address: SocketAddrV4,
    },
    /// The system keeps the port for privileged users.
    #[error(
        "port {address}: not for ordinary users: choose a port above 1023, or run `sysctl -w \
         net.ipv4.ip_unprivileged_port_start={}`",
        address.port()
    )]
    PortForbidden {
        /// The address.
        address: SocketAddrV4,
    },
    /// A setting is out of its range.
    #[error("{setting} = {value}: {remedy}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        remedy: &'static str,
    },
    /// Anything else that the kernel refused.
    #[error("{call}: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl LaunchError {
    /// Says why io_uring_setup failed, given the system-wide switch.
    pub(in crate::transport) fn of_setup(
        source: io::Error,
        switch: Option<u8>,
        wording: Wording,
    ) -> Self {
        match (source.raw_os_error(), switch) {
            (Some(libc::EPERM), Some(value @ 1..)) => Self::Disabled { value, wording },
            (Some(libc::EINVAL), _) => {
                Self::KernelTooOld { missing: "io_uring with cooperative task work", wording }
            }
            _ => Self::of_uring("io_uring_setup", wording)(source),
        }
    }

    /// Says what it means that `call`, which is of io_uring, failed.
    pub(in crate::transport) fn of_uring(
        call: &'static str,
        wording: Wording,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Self::Forbidden { source, wording },
            Some(libc::ENOMEM) => Self::LockedMemory { source, wording },
            _ => Self::of_call(call)(source),
        }
    }

    /// Says what it means that `call` failed.
    pub(in crate::transport) fn of_call(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => Self::Descriptors { source },
            Some(libc::ENOMEM) => Self::Memory { call, source },
            _ => Self::System { call, source },
        }
    }

    /// Whether io_uring itself is what this machine refuses, so that another transport would do.
    #[must_use]
    pub const fn is_io_uring(&self) -> bool {
        matches!(
            self,
            Self::Disabled { .. }
                | Self::Forbidden { .. }
                | Self::LockedMemory { .. }
                | Self::KernelTooOld { .. }
        )
    }

    /// The system-wide switch of io_uring; `None` on kernels without one.
    pub(in crate::transport) fn switch() -> Option<u8> {
        std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: i32, switch: Option<u8>) -> LaunchError {
        LaunchError::of_setup(io::Error::from_raw_os_error(errno), switch, Wording::Options)
    }

    #[test]
    fn each_refusal_of_io_uring_names_its_cause() {
        assert!(of(libc::EPERM, Some(2)).to_string().contains("kernel.io_uring_disabled = 2"));
        assert!(of(libc::EPERM, Some(0)).to_string().contains("seccomp"));
        assert!(of(libc::ENOSYS, None).to_string().contains("seccomp"));
        assert!(of(libc::ENOMEM, Some(0)).to_string().contains("ulimit -l"));
        assert!(of(libc::EMFILE, Some(0)).to_string().contains("ulimit -n"));
        assert!(of(libc::EINVAL, Some(0)).is_io_uring());
        assert!(!of(libc::EMFILE, Some(0)).is_io_uring());
    }
}
