//! What a durable append costs by the size of its group, against the disk's own write of as many
//! bytes, and what the log itself adds in CPU.
//!
//! `cargo bench --bench log [DIR]`. Each group is appended, written as a block through an io_uring,
//! and waited for, as an acceptor does with one command at a time or many. The disk's own write is
//! a pwrite with O_DIRECT and O_DSYNC to a file that was written before. Both take turns. The last
//! line is what the disk takes when two write to it at once, as two acceptors do that share it.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use anyhow::{Context, Result, anyhow, ensure};
use psmr::host::clock;
use psmr::mem::{DirectBuffer, SECTOR};
use psmr::ring_paxos::{Log, Record};
use psmr::storage::{Identity, RingLog, Store};
use psmr::transport::udp::Config;
use psmr::transport::uring::Endpoint;
use psmr::transport::{Endpoint as _, Files, Receive};
use psmr::types::{Ballot, Incarnation, Instance, NodeId, RingId, Slot, ValueId};
use psmr::wire::Value;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const INSTANCES: usize = 1024;
/// Instances of a group, and the bytes of each.
const GROUPS: [(u64, usize); 5] = [(1, 100), (1, 3_000), (4, 7_000), (8, 7_500), (64, 7_500)];
const ROUNDS: usize = 300;

fn main() -> Result<()> {
    // What cargo itself passes begins with a dash.
    let directory = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let directory = directory.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("psmr-log-bench-{}", std::process::id()));
    let result = measure(&directory);
    fs::remove_dir_all(&directory).with_context(|| directory.display().to_string())?;
    result
}

fn measure(directory: &Path) -> Result<()> {
    let identity = Identity { cluster: 1, configuration: 1, node: NodeId(0) };
    let mut log = Store::create(directory, &identity)?.ring(RingId(0), INSTANCES)?.log;
    ensure!(log.is_direct(), "{} has no direct writes: name another", directory.display());
    let mut endpoint = Endpoint::new(&Config::default(), None)?;
    let files = endpoint.files().context("an io_uring writes files")?;
    let is_registered = files.register(&mut log.buffers_mut().collect::<Vec<_>>());
    println!("in {}, buffers registered: {is_registered}", directory.display());
    println!(
        "{:<24} {:>9} {:>12} {:>12} {:>7}",
        "group", "bytes", "disk us", "durable us", "ratio"
    );
    let raw = Raw::new(directory.join("raw"))?;
    let mut next = 1;
    for (count, bytes) in GROUPS {
        let value = vec![7; bytes];
        let (mut disk, mut durable) = (Vec::new(), Vec::new());
        let before = log.counters();
        for _ in 0..ROUNDS {
            let started = clock::now();
            append(&mut log, &mut next, count, &value);
            wait(&mut log, &mut endpoint, &files)?;
            durable.push(clock::now().since(started));
            let counters = log.counters();
            let written = counters.bytes - before.bytes;
            let mean = usize::try_from(written)? / durable.len();
            disk.push(raw.write(mean.next_multiple_of(SECTOR))?);
        }
        let mean = (log.counters().bytes - before.bytes) / ROUNDS as u64;
        let (disk, durable) = (median(disk), median(durable));
        let group = format!("{count} of {bytes} bytes");
        let ratio = durable / disk;
        println!("{group:<24} {mean:>9} {disk:>12.1} {durable:>12.1} {ratio:>7.2}");
    }
    cpu(&mut log, &mut next, &mut endpoint, &files)?;
    let both = both([raw, Raw::new(directory.join("other"))?])?;
    println!("two writes of {SECTOR} bytes at once, until both are done: {both:.1} us");
    Ok(())
}

/// The time until both disks' writes are done, which begin together; they may be one disk.
fn both(disks: [Raw; 2]) -> Result<f64> {
    let together = Barrier::new(disks.len());
    let write = |disk: Raw| -> Result<Vec<Duration>> {
        let write = |_| {
            together.wait();
            disk.write(SECTOR)
        };
        (0..ROUNDS).map(write).collect()
    };
    let [first, second] = disks;
    let (first, second) = thread::scope(|scope| {
        let other = scope.spawn(|| write(second));
        (write(first), other.join())
    });
    let second = second.map_err(|_| anyhow!("the other writer panicked"))??;
    Ok(median(first?.into_iter().zip(second).map(|(a, b)| a.max(b)).collect()))
}

/// Appends `count` values to the log.
fn append(log: &mut RingLog, next: &mut u64, count: u64, value: &[u8]) {
    let ballot = Ballot::new(1, NodeId(0), Incarnation(1));
    for _ in 0..count {
        let instance = Instance(*next);
        let id = ValueId::new(NodeId(0), Incarnation(1), *next);
        log.append(&Record::Accept { instance, ballot, id, value: Value::Batch(value) });
        *next += 1;
    }
    let trim = Instance(*next - 1);
    if *next % 128 < count {
        log.append(&Record::Trim { trim, known: (trim, Slot(trim.0)) });
    }
}

/// Until everything is persistent.
fn wait(log: &mut RingLog, endpoint: &mut Endpoint, files: &Files) -> Result<()> {
    loop {
        log.submit(clock::now(), Some(files))?;
        if !log.is_writing() {
            return Ok(());
        }
        endpoint.park(Duration::from_secs(1))?;
        let (receive, _) = endpoint.split();
        receive.poll(clock::now(), &mut Vec::with_capacity(1));
        while let Some(written) = files.take() {
            log.on_written(written)?;
        }
    }
}

/// What the log adds to an instance: the copy, the sum, the request. The disk is waited for outside.
fn cpu(log: &mut RingLog, next: &mut u64, endpoint: &mut Endpoint, files: &Files) -> Result<()> {
    let value = vec![7; 7_500];
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        let started = clock::now();
        append(log, next, 32, &value);
        samples.push(clock::now().since(started) / 32);
        wait(log, endpoint, files)?;
    }
    println!("append of 7500 bytes, with block sums: {:.2} us", median(samples));
    Ok(())
}

/// The disk itself.
struct Raw {
    file: File,
    buffer: DirectBuffer,
    at: std::cell::Cell<u64>,
}

impl Raw {
    const BYTES: u64 = 32 << 20;

    fn new(path: PathBuf) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC);
        let file = options.open(path)?;
        let buffer = DirectBuffer::new(1 << 20)?;
        for offset in (0..Self::BYTES).step_by(buffer.len()) {
            file.write_all_at(&buffer, offset)?;
        }
        Ok(Self { file, buffer, at: std::cell::Cell::new(0) })
    }

    fn write(&self, bytes: usize) -> Result<Duration> {
        let bytes = bytes.min(self.buffer.len());
        if self.at.get() + bytes as u64 > Self::BYTES {
            self.at.set(0);
        }
        let started = clock::now();
        self.file.write_all_at(&self.buffer[..bytes], self.at.get())?;
        self.at.set(self.at.get() + bytes as u64);
        Ok(clock::now().since(started))
    }
}

/// In microseconds.
fn median(mut samples: Vec<Duration>) -> f64 {
    samples.sort_unstable();
    samples[samples.len() / 2].as_secs_f64() * 1e6
}
