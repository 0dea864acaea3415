//! Datagrams that nobody of the cluster has sent, at a cluster that serves.
//!
//! `PSMR_DATAGRAMS` says how many (30,000 at each of the two clusters).

use super::ALL;
use super::deployment::{Deployment, is_supported, nodes};
use super::keys::keyed;
use super::load::{KEYS, Load};
use super::members::is_level;
use psmr::config::{Cluster, Config};
use psmr::types::{Incarnation, NodeId, Random, RingId};
use psmr::wire::{self, HEADER_LENGTH, Header, Identity, MAX_DATAGRAM, Message};
use socket2::SockRef;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// So many are sent at once, and then none for so long: what the sockets hold.
const BURST: u64 = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// Where the fields stand that a stranger without a key has to make up.
const CHECK: std::ops::Range<usize> = 52..56;
const SALT: std::ops::Range<usize> = 56..64;

/// Makes datagrams up.
struct Stranger {
    identity: Identity,
    /// Bodies of messages behind their kind.
    corpus: Vec<Vec<u8>>,
    targets: Vec<SocketAddrV4>,
    /// What is well-formed has no effect either: nobody without a key is listened to.
    has_tags: bool,
    random: Random,
    socket: UdpSocket,
}

impl Stranger {
    fn new(cluster: &Cluster, has_tags: bool) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/wire");
        let files = std::fs::read_dir(directory).expect("it is in the tree");
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            std::fs::read(entry.expect("a file").path()).expect("it is ours to read")
        };
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let loopback = SockRef::from(&socket).set_multicast_if_v4(&Ipv4Addr::LOCALHOST);
        loopback.expect("loopback has multicast");
        let nodes = cluster.nodes().map(|node| node.address);
        Self {
            identity: Identity {
                cluster: cluster.id,
                configuration: cluster.digests.configuration(),
                epoch: cluster.epoch,
                version: cluster.wire,
                incarnation: Incarnation(13),
            },
            corpus: files.map(read).collect(),
            targets: nodes.chain(cluster.rings.iter().copied()).collect(),
            has_tags,
            random: Random::new(1),
            socket,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).expect("below a length")
    }

    /// Changes a few bytes, or how many there are.
    fn spoil(&mut self, data: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(data.len().max(1));
            match self.below(5) {
                0 => data.truncate(at),
                1 => data.extend_from_within(at.min(data.len())..),
                2 if at < data.len() => data[at] ^= 1 << self.below(8),
                3 if at < data.len() => data[at] = 0xff,
                _ if at + 8 <= data.len() => {
                    let number = [0, u64::MAX, 1 << 31, 1 << 16][self.below(4)];
                    data[at..at + 8].copy_from_slice(&number.to_le_bytes());
                }
                _ => {}
            }
        }
        data.truncate(MAX_DATAGRAM - HEADER_LENGTH - wire::TAG_LENGTH);
    }

    /// A datagram that has to be dropped.
    fn datagram(&mut self) -> Vec<u8> {
        loop {
            let index = self.below(self.corpus.len());
            let mut message = self.corpus[index].clone();
            let way = self.below(4);
            if way > 0 {
                self.spoil(&mut message);
            }
            let Some((&kind, body)) = message.split_first() else { continue };
            let is_well_formed = Message::decode(kind, body).is_ok();
            let mut identity = self.identity;
            match way {
                0 => identity.cluster ^= 1,
                1 => identity.configuration ^= 1,
                _ if is_well_formed && !self.has_tags => continue,
                _ => {}
            }
            let header = Header {
                kind,
                ring: RingId(u16::try_from(self.below(4)).expect("few")),
                sender: NodeId(u16::try_from(self.below(8)).expect("few")),
                target: NodeId::ALL,
                counter: self.random.next() >> self.below(64),
                ..Header::default()
            };
            let mut datagram = [&[0; HEADER_LENGTH], body].concat();
            wire::seal(&identity, header, &mut datagram);
            if self.has_tags && self.below(2) == 0 {
                // As if it had a tag: by a key that may exist, with a salt of its own.
                let (key, salt) = (u32::from(self.below(3) == 0), self.random.next().max(1));
                datagram[CHECK].copy_from_slice(&key.to_le_bytes());
                datagram[SALT].copy_from_slice(&salt.to_le_bytes());
                datagram.extend((0..2).flat_map(|_| self.random.next().to_le_bytes()));
            } else if way == 3 {
                let at = self.below(datagram.len());
                datagram[at] ^= 1 << self.below(8);
                let is_taken = wire::open(&self.identity, &datagram)
                    .is_ok_and(|(header, body)| Message::decode(header.kind, body).is_ok());
                assert!(!is_taken, "the sum of {datagram:?} is right");
            }
            return datagram;
        }
    }

    /// Sends `count` datagrams to nodes and groups.
    fn storm(&mut self, count: u64) {
        for number in 1..=count {
            let datagram = self.datagram();
            let target = self.below(self.targets.len());
            let target = self.targets[target];
            // Nobody may listen there any more: that is what the test finds out.
            let _ = self.socket.send_to(&datagram, target);
            if number % BURST == 0 {
                thread::park_timeout(PAUSE);
            }
        }
    }
}

fn count() -> u64 {
    let count = std::env::var("PSMR_DATAGRAMS").ok();
    count.map_or(30_000, |count| count.parse().expect("PSMR_DATAGRAMS is a number"))
}

/// Storms at a cluster that serves, and looks what it did. Returns what was dropped, by reason.
fn withstands(mut cluster: Deployment, has_tags: bool) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(cluster.path("cluster.toml")).expect("it was written");
    let config = Config::read(&text).expect("it is right").cluster;
    cluster.start(&ALL);
    let count = count();
    let load = Load::start(&cluster, 2 + count / 20_000);
    Stranger::new(&config, has_tags).storm(count);
    assert!(load.went_well() > 500);
    let status = cluster.status_when(is_level);
    assert!(nodes(&status).all(|node| node["epoch"] == 1), "{status}");
    let mut drops: Vec<(String, u64)> = Vec::new();
    for (reason, count) in nodes(&status).filter_map(|node| node["drops"].as_object()).flatten() {
        let count = count.as_u64().unwrap_or(0);
        match drops.iter_mut().find(|(known, _)| known == reason) {
            Some((_, sum)) => *sum += count,
            None => drops.push((reason.clone(), count)),
        }
    }
    cluster.stop();
    drops
}

fn has(drops: &[(String, u64)], reason: &str) -> bool {
    drops.iter().any(|(name, count)| name == reason && *count > 0)
}

#[test]
fn malformed_datagrams_have_no_effect() {
    if !is_supported() {
        return;
    }
    let drops = withstands(Deployment::new(&["--keys", KEYS]), false);
    let reasons = ["checksum", "cluster", "configuration", "malformed"];
    assert!(reasons.iter().all(|reason| has(&drops, reason)), "{drops:?}");
}

#[test]
fn well_formed_datagrams_without_a_key_have_no_effect_either() {
    if !is_supported() {
        return;
    }
    let (cluster, ..) = keyed(&["--keys", KEYS]);
    let drops = withstands(cluster, true);
    assert!(["unsigned", "forged"].iter().all(|reason| has(&drops, reason)), "{drops:?}");
    // Whoever gets past the tag would be read.
    assert!(!has(&drops, "malformed"), "{drops:?}");
}
