//! The sockets of an endpoint: one for unicast and all sends, one for each group that it hears.
//!
//! Every group has a socket of its own, bound to the group's address and deaf to all other groups
//! (IP_MULTICAST_ALL = 0), so that two groups on one port do not leak into each other.

use super::book::Book;
use super::option::{self, Flag};
use super::{Config, Effective, LaunchError, Members};
use crate::sync::Waker;
use crate::types::Address;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

/// No send is longer, so that a train fits an IP packet with its headers.
pub(in crate::transport) const MAX_SEND: usize = 65_000;
/// IPv4 and UDP headers.
const HEADERS: usize = 28;

/// Bound sockets that wait for their thread: the addresses of a cluster are known before its
/// threads start.
#[derive(Debug)]
pub struct Sockets {
    pub(in crate::transport) config: Config,
    pub(in crate::transport) effective: Effective,
    pub(in crate::transport) address: SocketAddrV4,
    /// The unicast socket, then the groups'.
    pub(in crate::transport) sockets: Vec<Socket>,
    /// What each socket after the first has joined.
    pub(in crate::transport) joined: Vec<Ipv4Addr>,
    pub(in crate::transport) waker: Waker,
}

impl Sockets {
    /// Binds all sockets and joins the groups.
    ///
    /// # Errors
    /// If a setting cannot work here; nothing stays open then.
    pub fn bind(config: &Config) -> Result<Self, LaunchError> {
        config.check()?;
        let unicast = open_unicast(config)?;
        let address = unicast
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket_ipv4())
            .expect("a bound IPv4 socket has an address");
        let mut sockets = vec![unicast];
        let mut joined = Vec::new();
        let is_heard = |ring| config.members.is_none() && config.subscribe.contains(ring);
        for (_, group) in config.groups.iter().filter(|(ring, _)| is_heard(ring)) {
            sockets.push(open_group(config, *group)?);
            joined.push(*group.ip());
        }
        let segment_limit = segment_limit(config)?;
        if segment_limit < config.largest {
            let (interface, largest) = (config.named_interface(), config.largest);
            return Err(LaunchError::SmallPackets { interface, largest, limit: segment_limit });
        }
        let mut effective = Effective { segment_limit, gro: config.gro, ..Effective::default() };
        effective.socket_buffer = usize::MAX;
        effective.busy_poll = !config.busy_poll.is_zero();
        for socket in &sockets {
            tune(config, socket, &mut effective)?;
        }
        // What a send asks for in its control message is refused here if the kernel lacks it.
        effective.gso = config.gso && option::set(&sockets[0], Flag::UdpSegment, 0).is_ok();
        let waker = Waker::of_event().map_err(LaunchError::of_call("eventfd"))?;
        let config = config.clone();
        Ok(Self { config, effective, address, sockets, joined, waker })
    }

    /// Where unicast datagrams will reach the endpoint.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::udp(self.address)
    }

    /// Who hears each ring from now on, where there is no multicast.
    pub fn set_members(&mut self, members: Members) {
        self.config.members = Some(members);
    }

    /// What ends the endpoint's sleep, for other threads; see [`crate::transport::Endpoint`].
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What was asked for.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What the machine granted so far; the io_uring's part follows with the endpoint.
    #[must_use]
    pub const fn effective(&self) -> &Effective {
        &self.effective
    }

    /// Where each ring's datagrams go.
    pub(in crate::transport) fn book(&self) -> Book {
        Book::new(&self.config)
    }

    /// Leaves the groups now, whoever else may still hold the sockets.
    pub(in crate::transport) fn leave(&self) {
        for (socket, group) in self.sockets[1..].iter().zip(&self.joined) {
            // The only failure is not to be a member.
            let _ = socket.leave_multicast_v4(group, &self.config.interface);
        }
    }
}

fn open() -> Result<Socket, LaunchError> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP));
    socket.map_err(LaunchError::of_call("socket"))
}

fn open_unicast(config: &Config) -> Result<Socket, LaunchError> {
    let socket = open()?;
    let address = SocketAddrV4::new(config.interface, config.port);
    bind(&socket, address, "port", config)?;
    let result = socket
        .set_multicast_if_v4(&config.interface)
        .and_then(|()| socket.set_multicast_loop_v4(true))
        .and_then(|()| socket.set_multicast_ttl_v4(config.ttl.into()));
    result.map_err(|source| match source.raw_os_error() {
        // The address could be bound to, so it is of this machine.
        Some(libc::EADDRNOTAVAIL) => {
            LaunchError::InterfaceDown { interface: config.named_interface() }
        }
        _ => LaunchError::of_call("setsockopt IP_MULTICAST_IF, LOOP, TTL")(source),
    })?;
    Ok(socket)
}

fn open_group(config: &Config, group: SocketAddrV4) -> Result<Socket, LaunchError> {
    let socket = open()?;
    socket.set_reuse_address(true).map_err(LaunchError::of_call("setsockopt SO_REUSEADDR"))?;
    socket.set_multicast_all_v4(false).map_err(LaunchError::of_call("IP_MULTICAST_ALL"))?;
    bind(&socket, group, "group", config)?;
    let result = socket.join_multicast_v4(group.ip(), &config.interface);
    result.map_err(|source| no_multicast(config, *group.ip(), source))?;
    Ok(socket)
}

fn bind(
    socket: &Socket,
    address: SocketAddrV4,
    setting: &'static str,
    config: &Config,
) -> Result<(), LaunchError> {
    let Err(source) = socket.bind(&SockAddr::from(address)) else { return Ok(()) };
    Err(match source.raw_os_error() {
        Some(libc::EACCES) if address.port() > 0 => LaunchError::PortForbidden { address },
        Some(libc::EADDRINUSE) => LaunchError::PortInUse { setting, address },
        Some(libc::EADDRNOTAVAIL) => {
            LaunchError::NoInterface { interface: config.named_interface() }
        }
        _ => LaunchError::System { call: "bind", source },
    })
}

fn no_multicast(config: &Config, group: Ipv4Addr, source: io::Error) -> LaunchError {
    LaunchError::NoMulticast { interface: config.named_interface(), group, source }
}

/// The largest datagram that `config.interface` carries in one packet, in bytes.
///
/// # Errors
/// If there is no such interface, or no multicast on it.
pub fn segment_limit(config: &Config) -> Result<usize, LaunchError> {
    Ok((mtu(config)? - HEADERS).min(MAX_SEND))
}

/// What the interface carries in one packet. Connecting a datagram socket sends nothing.
fn mtu(config: &Config) -> Result<usize, LaunchError> {
    if let Some(members) = &config.members {
        let members = members.iter().flat_map(|(_, members)| members);
        let mtus: Result<Vec<_>, _> = members.map(|member| mtu_to(config, *member)).collect();
        return Ok(mtus?.into_iter().min().unwrap_or(MAX_SEND + HEADERS));
    }
    let all_hosts = Ipv4Addr::new(224, 0, 0, 1);
    let group = config.groups.first().map_or(all_hosts, |(_, group)| *group.ip());
    let socket = open()?;
    let target = SockAddr::from(SocketAddrV4::new(group, 9));
    let mtu = socket
        .bind(&SockAddr::from(SocketAddrV4::new(config.interface, 0)))
        .and_then(|()| socket.set_multicast_if_v4(&config.interface))
        .and_then(|()| socket.connect(&target))
        .and_then(|()| option::read(&socket, Flag::Mtu))
        .map_err(|source| no_multicast(config, group, source))?;
    Ok(usize::try_from(mtu).unwrap_or(0).max(576))
}

/// What the way to `member` carries in one packet, as far as the kernel knows.
fn mtu_to(config: &Config, member: SocketAddrV4) -> Result<usize, LaunchError> {
    let socket = open()?;
    let mtu = socket
        .bind(&SockAddr::from(SocketAddrV4::new(config.interface, 0)))
        .and_then(|()| socket.connect(&SockAddr::from(member)))
        .and_then(|()| option::read(&socket, Flag::Mtu));
    let mtu = mtu.map_err(|source| LaunchError::NoRoute {
        interface: config.named_interface(),
        member,
        source,
    })?;
    Ok(usize::try_from(mtu).unwrap_or(0).max(576))
}

/// Receive buffer, trains, the drop counter, busy polling.
fn tune(config: &Config, socket: &Socket, effective: &mut Effective) -> Result<(), LaunchError> {
    // The kernel doubles what it is asked for, and reads back the double.
    let half = i32::try_from(config.socket_buffer / 2).unwrap_or(i32::MAX);
    let forced = option::set(socket, Flag::ReceiveBufferForce, half);
    forced
        .or_else(|_| option::set(socket, Flag::ReceiveBuffer, half))
        .map_err(LaunchError::of_call("setsockopt SO_RCVBUF"))?;
    let read = option::read(socket, Flag::ReceiveBuffer).ok();
    let read = read.and_then(|read| usize::try_from(read).ok()).unwrap_or(0);
    effective.socket_buffer = effective.socket_buffer.min(read);
    effective.gro &= option::set(socket, Flag::UdpGro, i32::from(config.gro)).is_ok();
    // Without it drops stay uncounted, nothing else.
    let _ = option::set(socket, Flag::DropCounter, 1);
    if effective.busy_poll {
        let micros = i32::try_from(config.busy_poll.as_micros()).unwrap_or(i32::MAX);
        effective.busy_poll &= option::set(socket, Flag::BusyPoll, micros).is_ok();
    }
    Ok(())
}
