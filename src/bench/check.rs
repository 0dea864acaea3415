//! What a run needs of the machine, asked before anything is loaded or started: a run that cannot
//! be is refused at once, by the setting that mends it.

use super::run::RunError;
use super::{Io, Machine, Service, Settings, SettingsError, Transport, cluster};
use crate::host::text::size;
use crate::service::btree::BTree;
use crate::transport::udp::{self, LaunchError};
use crate::transport::{self, Endpoint, Receive as _, Target, Transmit as _, socket, uring};
use crate::types::{RingId, Time};
use crate::wire::Room;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Of the memory that is there, 16ths that services may take; the rest is for the cluster.
const SHARE: u64 = 15;
/// How often, and how long each time, a multicast to ourselves is waited for: it takes microseconds.
const ECHO_LOOKS: u32 = 10;
const ECHO_LOOK: Duration = Duration::from_millis(100);

/// Checks `settings` against `machine`, and that it has the memory and the network that they need.
///
/// # Errors
/// The first setting that cannot be run, or the first thing that the machine does not give.
pub fn check(settings: &Settings, machine: &Machine) -> Result<(), RunError> {
    settings.validate(machine)?;
    cluster::keyring(settings)?;
    memory(settings, machine.memory)?;
    network(settings)
}

/// Bytes that the service of one replica takes.
fn service_bytes(settings: &Settings) -> u64 {
    match settings.service {
        Service::Btree => {
            let tree = cluster::tree_settings(settings);
            if settings.grown {
                // Inserts in random order fill leaves by ln 2, and the order is drawn up before.
                let tree = crate::service::btree::Settings { fill_percent: 69, ..tree };
                return tree.bytes_loaded(settings.keys) + 8 * settings.keys;
            }
            tree.bytes_loaded(settings.keys)
        }
        Service::Counters => 16 * settings.keys,
        Service::Null => 0,
    }
}

fn memory(settings: &Settings, available: u64) -> Result<(), RunError> {
    let (one, replicas) = (service_bytes(settings), settings.replicas as u64);
    let keys = settings.keys;
    let fewer = |bytes: u64| round(u128::from(keys) * u128::from(bytes) / u128::from(one.max(1)));
    if settings.service == Service::Btree && one > BTree::LIMIT_BYTES {
        let (takes, most) = (size(one), size(BTree::LIMIT_BYTES));
        let problem = format!("a tree of them takes {takes}, but the most is {most}");
        let remedy = format!("choose {} or fewer, or fuller nodes", fewer(BTree::LIMIT_BYTES));
        return Err(SettingsError::new("keys", keys, problem, remedy).into());
    }
    let need = one.saturating_mul(replicas);
    if need <= available / 16 * SHARE {
        return Ok(());
    }
    Err(RunError::Environment(format!(
        "--keys {keys}: {replicas} times {} are needed, one for each of --replicas {replicas}, \
         but {} of memory are free: choose --keys {} or fewer, or fewer replicas",
        size(one),
        size(available),
        fewer(available / 16 * SHARE / replicas)
    )))
}

/// The largest datagrams that `interface` carries in one packet, as far as they may be, in bytes;
/// `None` if it is none of this host, or carries no multicast.
#[must_use]
pub fn datagram_bytes(interface: Ipv4Addr) -> Option<usize> {
    let config = udp::Config { interface, ..udp::Config::default() };
    let limit = udp::segment_limit(&config).ok()?;
    Some(Room::within(limit).unwrap_or(Room::LEAST).datagram())
}

/// Decides what sockets are read and written by, if that was left open: plain calls where the machine
/// forbids this process io_uring. Returns what forbids it then.
pub fn settle_io(settings: &mut Settings) -> Option<LaunchError> {
    if settings.io != Io::Auto || settings.transport == Transport::Memory {
        return None;
    }
    let refusal = uring::refusal(&cluster::endpoint(settings));
    settings.io = Io::Uring;
    if refusal.is_some() {
        // What only an io_uring has is not in effect.
        (settings.io, settings.min_wait_us) = (Io::Socket, 0);
        (settings.sqpoll, settings.send_zc) = (false, false);
    }
    refusal
}

/// What of the settings of its sockets this machine does not grant a run, a line each.
#[must_use]
pub fn shortfalls(settings: &Settings) -> Vec<String> {
    if settings.transport == Transport::Memory {
        return Vec::new();
    }
    transport::shortfalls(&cluster::endpoint(settings))
}

/// Opens what a thread's network needs, has a datagram of the largest size come back by multicast,
/// and closes it.
fn network(settings: &Settings) -> Result<(), RunError> {
    if settings.transport == Transport::Memory {
        return Ok(());
    }
    let port = 19_000 + u16::try_from(std::process::id() % 1_000).expect("below 1000");
    let (ring, group) = (RingId(0), SocketAddrV4::new(Ipv4Addr::new(239, 192, 0, 1), port));
    let (groups, subscribe) = (vec![(ring, group)], vec![ring]);
    let config = udp::Config { groups, subscribe, ..cluster::endpoint(settings) };
    let mut settled = settings.clone();
    settle_io(&mut settled);
    let result = if settled.io == Io::Socket {
        socket::Endpoint::new(&config, None).map(|it| hears(it, settings))
    } else {
        uring::Endpoint::new(&config, None).map(|it| hears(it, settings))
    };
    let interface = config.named_interface();
    let no_multicast = |source| LaunchError::NoMulticast { interface, group: *group.ip(), source };
    match result {
        // The run's own groups and ports are others.
        Err(LaunchError::PortInUse { .. }) => Ok(()),
        Err(error) => Err(error),
        Ok(heard) => heard.map_err(no_multicast),
    }
    .map_err(|error| RunError::Environment(cluster::one_line(&error)))
}

/// Has a datagram of the largest size come back.
fn hears(mut endpoint: impl Endpoint, settings: &Settings) -> io::Result<()> {
    echo(&mut endpoint, (RingId(0), settings.datagram_bytes), ECHO_LOOKS)
}

/// Waits until a multicast of `length` bytes to `ring` has come back, for that many looks.
fn echo(
    endpoint: &mut impl Endpoint,
    (ring, length): (RingId, usize),
    looks: u32,
) -> io::Result<()> {
    let (_, transmit) = endpoint.split();
    let room = transmit.reserve(Target::Group(ring), length);
    room.ok_or(io::ErrorKind::OutOfMemory)?.fill(0);
    transmit.flush()?;
    let mut frames = Vec::with_capacity(1);
    for _ in 0..looks {
        endpoint.park(ECHO_LOOK)?;
        if endpoint.split().0.poll(Time::ZERO, &mut frames) > 0 {
            return Ok(());
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "a datagram to it does not come back"))
}

/// Down to two digits and zeros.
fn round(number: u128) -> u128 {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    number / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Pin;

    const GIB: u64 = 1 << 30;

    fn refused(settings: &Settings, available: u64) -> String {
        memory(settings, available).expect_err("more than there is").to_string()
    }

    #[test]
    fn keys_that_memory_does_not_hold_are_refused_with_the_amount() {
        let settings = Settings { keys: 2_000_000_000, ..Settings::default() };
        let error = refused(&settings, 22 * GIB);
        assert!(error.starts_with("--keys 2000000000: 2 times "), "{error}");
        assert!(error.contains("GiB are needed") && error.contains("22.0 GiB"), "{error}");
        let most: u64 = error
            .split_once("choose --keys ")
            .and_then(|(_, rest)| rest.split_once(' '))
            .and_then(|(most, _)| most.parse().ok())
            .expect("a number of keys");
        assert!(memory(&Settings { keys: most, ..settings.clone() }, 22 * GIB).is_ok());
        let counters = Settings { service: Service::Counters, ..settings };
        assert!(refused(&counters, 22 * GIB).contains("2 times 29.9 GiB"));
        assert!(memory(&Settings { service: Service::Null, ..counters }, GIB).is_ok());
    }

    #[test]
    fn a_network_without_an_echo_is_told_from_one_with() {
        let (ring, other) = (RingId(0), RingId(1));
        let group = |last| SocketAddrV4::new(Ipv4Addr::new(239, 192, 77, last), 19_999);
        let groups = vec![(ring, group(1)), (other, group(2))];
        let config = udp::Config { groups, subscribe: vec![ring], ..udp::Config::default() };
        let mut endpoint = match uring::Endpoint::new(&config, None) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                println!("skipped: {error}");
                return;
            }
        };
        assert!(echo(&mut endpoint, (ring, 64), ECHO_LOOKS).is_ok());
        let error = echo(&mut endpoint, (other, 64), 1).expect_err("a group that is not heard");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_tree_beyond_its_arena_is_refused_whatever_memory_there_is() {
        let settings = Settings { keys: 1 << 31, capacity: 4, ..Settings::default() };
        let error = refused(&settings, u64::MAX);
        assert!(error.starts_with("--keys 2147483648: a tree of them takes "), "{error}");
        assert!(error.contains("64.0 GiB"), "{error}");
    }

    #[test]
    fn what_a_tree_takes_is_known_before() {
        for grown in [false, true] {
            let settings = Settings { keys: 50_000, grown, pin: Pin::None, ..Settings::default() };
            let tree = cluster::tree_settings(&settings);
            let tree = crate::node::build_tree(tree, settings.keys, cluster::growth(&settings))
                .expect("memory for a small tree");
            let (found, told) = (tree.node_bytes() as u64, service_bytes(&settings));
            assert!(found < told * 21 / 20 && told < found * 3 / 2, "{found} against {told}");
        }
    }
}
