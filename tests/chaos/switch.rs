//! The switch between the hosts: each frame passes through this program, which loses, doubles, holds
//! back, garbles or cuts by the rules of the moment, each pair of hosts and each direction by itself.

use super::tap;
use psmr::host::clock;
use psmr::types::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

/// Hosts on the switch, the client's among them.
pub(crate) const PORTS: usize = 4;
const FRAME: usize = 1 << 16;
const ETHERNET: usize = 14;

/// What happens to frames from one host to another, chances in a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) is_cut: bool,
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    pub(crate) reordering: u32,
    pub(crate) garbling: u32,
    /// Each frame is held back for this long, and up to as long again.
    pub(crate) delay_us: u32,
}

/// From, to.
pub(crate) type Rules = [[Path; PORTS]; PORTS];

/// The switch. Its threads end with its devices.
pub(crate) struct Switch {
    rules: Arc<RwLock<Rules>>,
}

impl Switch {
    /// A switch with a device of each name.
    pub(crate) fn new(names: [&str; PORTS], seed: u64) -> io::Result<Self> {
        let taps = names.map(tap::open);
        let taps: Arc<[File]> = taps.into_iter().collect::<io::Result<Vec<_>>>()?.into();
        let rules = Arc::new(RwLock::new(Rules::default()));
        let (held, to_hold) = channel();
        for from in 0..PORTS {
            let (taps, rules, held) = (Arc::clone(&taps), Arc::clone(&rules), held.clone());
            let random = Random::new(seed).stream(from as u64);
            let port = Port { from, taps, rules, held, random };
            thread::Builder::new().name(format!("port-{from}")).spawn(move || port.forward())?;
        }
        let hold = move || hold_back(&to_hold, &taps);
        thread::Builder::new().name("delays".to_owned()).spawn(hold)?;
        Ok(Self { rules })
    }

    /// Changes the rules.
    pub(crate) fn set(&self, rules: Rules) {
        *self.rules.write().expect("nobody panics with the rules") = rules;
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: u64,
    /// What is due at the same time leaves as it came.
    number: u64,
    to: usize,
    frame: Vec<u8>,
}

/// The hardware address of a host.
pub(crate) fn address(port: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, u8::try_from(port).expect("few ports")]
}

struct Port {
    from: usize,
    taps: Arc<[File]>,
    rules: Arc<RwLock<Rules>>,
    held: Sender<Held>,
    random: Random,
}

impl Port {
    fn forward(mut self) {
        let mut buffer = vec![0; FRAME];
        // The device goes with its network: then reading fails.
        while let Ok(length) = (&self.taps[self.from]).read(&mut buffer) {
            let frame = &buffer[..length];
            if length <= ETHERNET || !matches!(frame[12..14], [8, 0 | 6]) {
                continue;
            }
            let paths = self.rules.read().expect("nobody panics with the rules")[self.from];
            for (to, path) in paths.into_iter().enumerate() {
                let is_to_all = frame[0] & 1 == 1;
                if to != self.from && (is_to_all || frame[..6] == address(to)) {
                    self.pass(frame, to, path);
                }
            }
        }
    }

    fn pass(&mut self, frame: &[u8], to: usize, path: Path) {
        let random = &mut self.random;
        if path.is_cut || random.chance(path.loss.into(), 1000) {
            return;
        }
        let copies = 1 + u32::from(random.chance(path.duplication.into(), 1000));
        for _ in 0..copies {
            let mut wait_us = 0;
            if path.delay_us > 0 {
                wait_us = u64::from(path.delay_us) + random.below(path.delay_us.into());
            }
            if random.chance(path.reordering.into(), 1000) {
                wait_us += 200 + random.below(3000);
            }
            let garbled = random.chance(path.garbling.into(), 1000).then(|| garble(frame, random));
            let frame = garbled.as_deref().unwrap_or(frame);
            if wait_us == 0 {
                // A device that is down or full loses the frame.
                let _ = (&self.taps[to]).write(frame);
            } else {
                let due = clock::now().0 + wait_us * 1000;
                let _ = self.held.send(Held { due, number: 0, to, frame: frame.to_vec() });
            }
        }
    }
}

/// A copy with one bit of what UDP carries turned over, and no checksum that would say so.
fn garble(frame: &[u8], random: &mut Random) -> Vec<u8> {
    const UDP: u8 = 17;
    let mut frame = frame.to_vec();
    let udp = ETHERNET + usize::from(frame[ETHERNET] & 15) * 4;
    let is_fragment = frame[20] & 0x3f != 0 || frame[21] != 0;
    if frame[12..14] != [8, 0] || frame[23] != UDP || is_fragment || frame.len() <= udp + 8 {
        return frame;
    }
    frame[udp + 6..udp + 8].fill(0);
    let payload = frame.len() - udp - 8;
    let at = udp + 8 + usize::try_from(random.below(payload as u64)).expect("within a frame");
    frame[at] ^= 1 << random.below(8);
    frame
}

/// Sends frames when their time has come.
fn hold_back(frames: &Receiver<Held>, taps: &[File]) {
    let mut waiting: BinaryHeap<Reverse<Held>> = BinaryHeap::new();
    for number in 0_u64.. {
        let now = clock::now().0;
        while waiting.peek().is_some_and(|Reverse(held)| held.due <= now) {
            let Some(Reverse(Held { to, frame, .. })) = waiting.pop() else { break };
            let _ = (&taps[to]).write(&frame);
        }
        let next = waiting.peek().map_or(u64::MAX, |Reverse(held)| held.due.saturating_sub(now));
        match frames.recv_timeout(Duration::from_nanos(next.min(1_000_000_000))) {
            Ok(held) => waiting.push(Reverse(Held { number, ..held })),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
