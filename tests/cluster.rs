//! Whole clusters in one process, over each transport: every command is answered once, and the
//! replicas end with equal digests.

use psmr::node::{self, ClientPath, ClusterConfig, Durability, Load, Model, Submission, Transport};
use psmr::proxy::{Completion, Outcome};
use psmr::replica::{Barrier, Executor, ReplyPolicy, Retry};
use psmr::service::GroupMap;
use psmr::service::null::Null;
use psmr::sync::WaitPolicy;
use psmr::transport::udp;
use psmr::types::{Digest, Time};
use psmr::wire::{Keyring, Room, Secret};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Issues a fixed number of commands, every tenth to all groups.
struct Fixed {
    left: u64,
    /// Bytes of a command.
    bytes: usize,
    open: Vec<usize>,
    window: usize,
    done: u64,
    unknown: u64,
}

impl Load for Fixed {
    fn next(&mut self, _now: Time, command: &mut Vec<u8>) -> Option<Submission> {
        let session = self.open.iter().position(|open| *open < self.window)?;
        self.left = self.left.checked_sub(1)?;
        self.open[session] += 1;
        let word = if self.left.is_multiple_of(10) { Null::ALL } else { self.left };
        command.extend_from_slice(&word.to_le_bytes());
        command.resize(self.bytes, 7);
        Some(Submission { session, tag: session as u64 })
    }

    fn on_completion(&mut self, _now: Time, completion: &Completion<'_>) {
        self.open[usize::try_from(completion.tag).expect("a tag is a session")] -= 1;
        self.done += u64::from(completion.outcome == Outcome::Done);
        self.unknown += u64::from(completion.outcome != Outcome::Done);
    }

    fn is_over(&self, _now: Time) -> bool {
        self.left == 0 && self.open.iter().all(|open| *open == 0)
    }
}

fn config(model: Model, transport: Transport, client_path: ClientPath) -> ClusterConfig {
    ClusterConfig {
        model,
        groups: if model == Model::Smr { 1 } else { 2 },
        replicas: 2,
        acceptors: 3,
        orderers: 1,
        worker_threads: if model == Model::Smr { 1 } else { 2 },
        transport,
        durability: Durability::Memory,
        checkpoint_interval: Duration::ZERO,
        client_path,
        barrier: Barrier::Command,
        executor: Executor::Rotate,
        retry: Retry::Replica,
        reply: ReplyPolicy::One,
        window: 64,
        sessions: vec![3, 2],
        wait: WaitPolicy::Park,
        cpus: Vec::new(),
        m: 1,
        lambda_per_s: 0,
        room: Room::MOST,
        command_limit: 1 << 20,
        keyring: None,
        service_digest: Digest(0),
        loss_percent: 0.0,
        seed: 1,
        attempt_timeout: Duration::from_millis(200),
        deadline: Duration::from_secs(30),
        rendezvous_timeout: Duration::from_secs(10),
        session_timeout: Duration::from_secs(600),
    }
}

fn assert_serves(config: &ClusterConfig, commands: u64) {
    assert_serves_bytes(config, commands, 8);
}

fn assert_serves_bytes(config: &ClusterConfig, commands: u64, bytes: usize) {
    let services: Vec<_> = (0..2).map(|_| Arc::new(Null::new(config.groups))).collect();
    let map = services[0].clone();
    assert_eq!(map.groups(), config.groups);
    let load = |sessions: &usize| Fixed {
        left: commands,
        bytes,
        open: vec![0; *sessions],
        window: 64,
        done: 0,
        unknown: 0,
    };
    let loads = config.sessions.iter().map(load).collect();
    let finished = node::run(config, services, &map, loads).expect("the cluster runs");
    for load in &finished.loads {
        assert_eq!((load.done, load.unknown), (commands, 0));
    }
    let replicas = finished.figures.replicas;
    assert_eq!(replicas.len(), 2);
    assert_eq!(replicas[0], replicas[1], "replicas differ at an equal position");
}

fn models() -> [Model; 3] {
    [Model::Smr, Model::Psmr, Model::OptPsmr]
}

#[test]
fn every_command_is_answered_over_memory_links() {
    for model in models() {
        assert_serves(&config(model, Transport::Memory, ClientPath::InProcess), 20_000);
    }
}

#[test]
fn every_command_is_answered_over_multicast_by_datagram_and_in_process() {
    for model in models() {
        for path in [ClientPath::Datagram, ClientPath::InProcess] {
            let transport = Transport::Udp(udp::Config::default());
            assert_serves(&config(model, transport, path), 20_000);
        }
    }
}

#[test]
fn every_command_is_answered_over_plain_sockets() {
    for model in models() {
        for path in [ClientPath::Datagram, ClientPath::InProcess] {
            let transport = Transport::Udp(plain());
            assert_serves(&config(model, transport, path), 20_000);
        }
    }
}

/// Sockets without an io_uring.
fn plain() -> udp::Config {
    udp::Config { io: udp::Io::Socket, ..udp::Config::default() }
}

#[test]
fn every_command_is_answered_where_datagrams_are_authenticated() {
    let keyring = Arc::new(Keyring::of_nodes(Secret::new([7; 32])));
    for client_path in [ClientPath::Datagram, ClientPath::InProcess] {
        let transport = Transport::Udp(udp::Config::default());
        let config = config(Model::OptPsmr, transport, client_path);
        assert_serves(&ClusterConfig { keyring: Some(keyring.clone()), ..config }, 20_000);
    }
}

#[test]
fn workers_that_share_a_thread_serve_alike() {
    for model in [Model::Psmr, Model::OptPsmr] {
        for (groups, worker_threads) in [(2, 1), (3, 2)] {
            for transport in [Transport::Memory, Transport::Udp(udp::Config::default())] {
                let config = config(model, transport, ClientPath::InProcess);
                let shared = ClusterConfig { groups, worker_threads, ..config };
                assert_serves(&shared, 20_000);
            }
        }
    }
}

#[test]
fn turns_of_many_slots_end_although_no_ring_fills_one() {
    let config = config(Model::OptPsmr, Transport::Memory, ClientPath::InProcess);
    assert_serves(&ClusterConfig { m: 5_000, ..config }, 2_000);
}

#[test]
fn loss_delays_commands_but_loses_and_repeats_none() {
    for model in models() {
        let transport = Transport::Udp(udp::Config::default());
        let lossy = ClusterConfig {
            loss_percent: 5.0,
            attempt_timeout: Duration::from_millis(50),
            ..config(model, transport, ClientPath::Datagram)
        };
        assert_serves(&lossy, 2_000);
    }
}

#[test]
fn commands_of_a_mebibyte_are_answered_although_no_buffer_holds_one() {
    for model in models() {
        for loss_percent in [0.0, 1.0] {
            let transport = Transport::Udp(udp::Config::default());
            let config = config(model, transport, ClientPath::Datagram);
            let config = ClusterConfig { loss_percent, window: 4, ..config };
            assert_serves_bytes(&config, 20, 1 << 20);
        }
    }
}

#[test]
fn networks_of_small_packets_carry_commands_of_every_length() {
    let rooms = [Room::within(1_472).expect("packets of Ethernet"), Room::LEAST];
    for (model, room) in models().into_iter().flat_map(|model| rooms.map(|room| (model, room))) {
        // No datagram may be larger: the transport would refuse it.
        let transport =
            Transport::Udp(udp::Config { largest: room.datagram(), ..udp::Config::default() });
        let config = config(model, transport, ClientPath::Datagram);
        let config = ClusterConfig { room, loss_percent: 1.0, ..config };
        for (commands, bytes) in [(2_000, 8), (500, 700), (200, 2_000), (4, 1 << 20)] {
            assert_serves_bytes(&config, commands, bytes);
        }
    }
}

#[test]
fn rings_whose_coordinators_are_on_different_threads_follow_each_other() {
    for model in [Model::Psmr, Model::OptPsmr] {
        let transport = Transport::Udp(udp::Config::default());
        let config = config(model, transport, ClientPath::Datagram);
        assert_serves(&ClusterConfig { orderers: 3, ..config }, 20_000);
    }
}

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_command_is_answered_when_each_vote_waits_for_the_disk() {
    let sockets = [udp::Config::default(), plain()].map(Transport::Udp);
    let transports = [Transport::Memory].into_iter().chain(sockets);
    for (number, transport) in transports.enumerate() {
        let name = format!("psmr-cluster-{}-{number}", std::process::id());
        let scratch = Scratch(std::env::temp_dir().join(name));
        let durable = ClusterConfig {
            durability: Durability::Sync(scratch.0.clone()),
            ..config(Model::Smr, transport, ClientPath::InProcess)
        };
        assert_serves(&durable, 2_000);
        // The next cluster has another identity, and must not take these logs for its own.
        let services: Vec<_> = (0..2).map(|_| Arc::new(Null::new(1))).collect();
        let map = services[0].clone();
        let load = || Fixed { left: 1, open: vec![0], window: 1, bytes: 8, done: 0, unknown: 0 };
        let refused = node::run(&durable, services, &map, vec![load(), load()]);
        let Err(error) = refused else { panic!("a used directory is refused") };
        assert!(error.to_string().contains("is not empty"), "{error}");
    }
}
