//! An acceptor that writes what a seed says, a disk that completes in any order and may stop at any
//! time, and what of it an acceptor must get back.

use crate::mem::DirectBuffer;
use crate::ring_paxos::{Log, Lsn, Record};
use crate::storage::RingLog;
use crate::storage::format::LogName;
use crate::storage::ring_log::Sealed;
use crate::storage::scan::{Image, Scan};
use crate::storage::segment::{Geometry, Segments};
use crate::transport::Written;
use crate::types::{
    Ballot, Incarnation, Instance, Life, NodeId, Random, RingId, Slot, Time, ValueId,
};
use crate::wire::{MAX_BATCH, Value};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(super) const INSTANCES: usize = 64;
pub(super) const NAME: LogName = LogName { ring: RingId(2), digest: 0x1234_5678_9abc };

/// A directory that goes with its owner.
#[derive(Debug)]
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("psmr-storage-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What an acceptor knows from its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    promised: Ballot,
    trim: Instance,
    known: (Instance, Slot),
    /// With length and sum of the value.
    accepted: BTreeMap<Instance, (Ballot, ValueId, (usize, u32))>,
    lives: BTreeMap<NodeId, Life>,
}

impl Memory {
    pub(super) fn take(&mut self, record: &Record<'_>) {
        match *record {
            Record::Promise(ballot) => self.promised = self.promised.max(ballot),
            Record::Accept { instance, ballot, id, value } => {
                self.promised = self.promised.max(ballot);
                let before = self.accepted.get(&instance).map(|(ballot, ..)| *ballot);
                if instance > self.trim && before.is_none_or(|before| ballot >= before) {
                    let bytes = match value {
                        Value::Noop => b"noop".to_vec(),
                        Value::Skip(slots) => slots.to_le_bytes().to_vec(),
                        Value::Batch(bytes) => bytes.to_vec(),
                        Value::Members(epoch, bytes) => [&epoch.to_le_bytes()[..], bytes].concat(),
                    };
                    let value = (bytes.len(), crc32c::crc32c(&bytes));
                    self.accepted.insert(instance, (ballot, id, value));
                }
            }
            Record::Trim { trim, known } => {
                self.trim = self.trim.max(trim);
                self.known = self.known.max(known);
                self.accepted.retain(|instance, _| *instance > trim);
            }
            Record::Admitted | Record::Lost => {}
            Record::Life { node, life } => {
                self.lives.insert(node, life);
            }
        }
    }

    pub(super) fn of(scan: &Scan) -> Self {
        let mut memory = Self::default();
        let shown = scan.each(|record, _| memory.take(record));
        assert_eq!(shown, Ok(()));
        memory
    }
}

/// An acceptor and its disk.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) log: RingLog,
    flying: Vec<Sealed>,
    random: Random,
    now: Time,
    ballot: Ballot,
    next: u64,
    trim: u64,
    /// What the acceptor knew behind each block that has records.
    memories: BTreeMap<Lsn, Memory>,
    memory: Memory,
    pub(super) geometry: Geometry,
    files: Vec<Arc<fs::File>>,
    /// How often, of 100 steps, what is known to be decided is forgotten.
    pub(super) trims: u64,
    batch: Vec<u8>,
    _scratch: Scratch,
}

/// Segments whose writes end in the page cache: these tests say themselves what is persistent.
fn segments(scratch: &Scratch, geometry: Geometry) -> Segments {
    let file = |slot: usize| {
        let path = scratch.0.join(format!("segment-{slot:02}"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        Arc::new(file.unwrap())
    };
    let files = (0..geometry.segments).map(file).collect();
    Segments { directory: scratch.0.clone(), geometry, files, is_direct: true }
}

impl Run {
    pub(super) fn new(seed: u64) -> Self {
        let (scratch, geometry) = (Scratch::new(), Geometry::of(INSTANCES));
        let segments = segments(&scratch, geometry);
        let files = segments.files.clone();
        let lock = Arc::new(fs::File::open(&scratch.0).unwrap());
        let mut log = RingLog::new(NAME, segments, lock, 1, INSTANCES, None).unwrap();
        log.begin(false).unwrap();
        Self {
            log,
            flying: Vec::new(),
            random: Random::new(seed),
            now: Time(1),
            ballot: Ballot::ZERO,
            next: 1,
            trim: 0,
            memories: BTreeMap::from([(Lsn(1), Memory::default())]),
            memory: Memory::default(),
            geometry,
            files,
            trims: 8,
            batch: vec![0; MAX_BATCH],
            _scratch: scratch,
        }
    }

    /// Goes on behind what `scan` found, as another life on the same files.
    pub(super) fn reopen(mut self, image: &Image) -> Self {
        for (slot, file) in self.files.iter().enumerate() {
            file.write_all_at(image.segment(slot), 0).unwrap();
        }
        let scan = image.copy().scan(NAME).unwrap();
        let (directory, files) = (self._scratch.0.clone(), self.files.clone());
        let segments = Segments { directory, geometry: self.geometry, files, is_direct: true };
        let lock = Arc::new(fs::File::open(&self._scratch.0).unwrap());
        self.log = RingLog::new(NAME, segments, lock, 2, INSTANCES, Some(&scan)).unwrap();
        self.flying.clear();
        let end = Lsn(scan.end.sequence - 1);
        self.memories.retain(|lsn, _| *lsn <= end);
        self.memory = self.expected(end.0);
        self.next =
            self.memory.accepted.keys().last().map_or(self.memory.trim.0, |last| last.0) + 1;
        self.trim = self.memory.trim.0;
        self
    }

    /// What the acceptor knew when `block` was the last one written.
    pub(super) fn expected(&self, block: u64) -> Memory {
        self.memories.range(..=Lsn(block)).next_back().expect("from the first on").1.clone()
    }

    /// Duty cycles until some `records` are written, with completions in any order.
    pub(super) fn write(&mut self, records: u64) {
        let end = self.log.counters().records + records;
        while self.log.counters().records < end {
            for _ in 0..self.random.below(6) {
                self.append();
            }
            self.cycle();
        }
    }

    /// The disk catches up, and the log says that it has.
    pub(super) fn rest(&mut self) {
        for _ in 0..100 {
            self.now = self.now + Duration::from_millis(1);
            self.log.prepare(self.now).unwrap();
            while let Some(write) = self.log.depart() {
                self.flying.push(write);
            }
            self.complete(u64::MAX);
        }
        assert_eq!(self.log.next_timeout(), None);
    }

    /// Power is lost now: each write on its way is done, half done, or not begun.
    pub(super) fn crash(&mut self) -> Image {
        let mut image = self.image();
        for write in &self.flying {
            let bytes = &write.buffer[..write.length];
            let start = usize::try_from(write.offset).unwrap();
            let place = &mut image.segment_mut(write.slot)[start..start + bytes.len()];
            match self.random.below(3) {
                0 => {}
                1 => place.copy_from_slice(bytes),
                _ => {
                    for (to, from) in place.chunks_mut(512).zip(bytes.chunks(512)) {
                        if self.random.chance(1, 2) {
                            to.copy_from_slice(from);
                        }
                    }
                }
            }
        }
        image
    }

    /// What has been written for certain.
    pub(super) fn image(&self) -> Image {
        let mut image = Image::new(self.geometry);
        for (slot, file) in self.files.iter().enumerate() {
            let target = image.segment_mut(slot);
            let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
            file.read_exact_at(&mut target[..length], 0).unwrap();
        }
        image
    }

    fn cycle(&mut self) {
        self.now = self.now + Duration::from_micros(self.random.below(300));
        self.log.prepare(self.now).unwrap();
        while let Some(write) = self.log.depart() {
            self.flying.push(write);
        }
        let some = self.random.below(4);
        self.complete(some);
    }

    fn complete(&mut self, most: u64) {
        for _ in 0..most {
            if self.flying.is_empty() {
                return;
            }
            let index = self.random.below(self.flying.len() as u64);
            let write = self.flying.swap_remove(usize::try_from(index).unwrap());
            let Sealed { buffer, sequence, slot, offset, length } = write;
            self.files[slot].write_all_at(&buffer[..length], offset).unwrap();
            self.log.on_written(written(buffer, sequence, length)).unwrap();
        }
    }

    fn append(&mut self) {
        let capacity = INSTANCES as u64;
        let kind = self.random.below(100);
        if kind < 3 {
            let round = self.ballot.round + 1;
            self.ballot = Ballot::new(round, NodeId(1), Incarnation(7));
            self.record(&Record::Promise(self.ballot));
        } else if kind == 3 && self.random.chance(1, 4) {
            let node = NodeId(u16::try_from(self.random.below(5)).unwrap());
            let life = Life { number: self.random.below(9), incarnation: Incarnation(3) };
            self.record(&Record::Life { node, life });
        } else if kind < 3 + self.trims || self.next > self.trim + capacity {
            let most = self.next - 1 - self.trim;
            self.trim +=
                if self.trims == 0 { 1.min(most) } else { 1 + self.random.below(most + 1) };
            self.trim = self.trim.min(self.next - 1);
            let trim = Instance(self.trim);
            self.record(&Record::Trim { trim, known: (trim, Slot(self.trim * 2)) });
        } else {
            let is_again = kind > 90 && self.next > self.trim + 1;
            let instance = if is_again {
                self.trim + 1 + self.random.below(self.next - 1 - self.trim)
            } else {
                self.next += 1;
                self.next - 1
            };
            self.accept(instance);
        }
    }

    pub(super) fn accept(&mut self, instance: u64) {
        let most = if self.random.chance(1, 3) { 7_000 } else { 200 };
        let length = self.random.below(most);
        let length = usize::try_from(length).unwrap();
        let mark = self.random.next().to_le_bytes();
        self.batch[..8].copy_from_slice(&mark);
        let batch = std::mem::take(&mut self.batch);
        let value = match self.random.below(10) {
            0 => Value::Noop,
            1 => Value::Skip(self.random.next()),
            _ => Value::Batch(&batch[..length]),
        };
        let id = ValueId::new(NodeId(1), Incarnation(7), self.random.below(1 << 40));
        let (instance, ballot) = (Instance(instance), self.ballot);
        self.record(&Record::Accept { instance, ballot, id, value });
        self.batch = batch;
    }

    /// The newest instance once more, alone in its block.
    pub(super) fn accept_newest_again(&mut self) {
        self.accept(self.next - 1);
        self.cycle();
    }

    fn record(&mut self, record: &Record<'_>) {
        let lsn = self.log.append(record);
        self.memory.take(record);
        self.memories.insert(lsn, self.memory.clone());
        // Older ones are never asked for.
        while self.memories.len() > 300 {
            self.memories.pop_first();
        }
    }

    /// A new ballot in which every instance above the trim mark is accepted again.
    pub(super) fn accept_all_again(&mut self) {
        let round = self.ballot.round + 1;
        self.ballot = Ballot::new(round, NodeId(1), Incarnation(7));
        for instance in self.trim + 1..self.next {
            self.accept(instance);
            self.cycle();
        }
    }
}

fn written(buffer: DirectBuffer, token: u64, length: usize) -> Written {
    Written { owner: 0, token, buffer, result: Ok(length) }
}
