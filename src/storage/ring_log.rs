//! The log of one acceptor of one ring: gathers records into blocks, writes several blocks at once,
//! and says up to where everything is persistent.
//!
//! A duty cycle's records leave as one block if nothing is on its way, so that a record alone costs
//! one write; while the disk is busy they gather into larger blocks, and so do the accepts of a spare,
//! for which nobody waits. Writes complete in any order;
//! what counts is the longest prefix that is complete. An append is one copy and a few words; a
//! block costs a CRC over its bytes and one request to the kernel. Nothing here allocates but
//! [`RingLog::clean`], which runs when an acceptor accepts again and again what cannot be forgotten.

use super::StorageError;
use super::format::{BLOCK, HEADER, Header, LONGEST, LogName, MOST_LIVES, OPENING, entries};
use super::live::Live;
use super::scan::{End, Finding, Scan};
use super::segment::Segments;
use crate::mem::{DirectBuffer, SECTOR};
use crate::ring_paxos::{Log, Lsn, Record};
use crate::transport::{Files, Place, Written};
use crate::types::{Ballot, Instance, Life, NodeId, Slot, Time};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A block of this size leaves although others are on their way.
const GATHERED: usize = 32 * 1024;
/// Blocks on their way beside which a small one still leaves.
const BUSY: usize = 2;
/// The most blocks that are gathered, waiting or on their way.
const MOST_BUFFERS: usize = 16;
/// Blocks of which it is not known whether they are persistent, as far as memory is set aside.
const MOST_FLIGHTS: usize = 256;
/// How long accepts gather that nobody waits for.
const PATIENCE: Duration = Duration::from_millis(2);
/// After this long without a record, a block is written that knows the last one as persistent.
const QUIET: Duration = Duration::from_millis(5);

/// The log of one acceptor of one ring on disk.
#[derive(Debug)]
pub struct RingLog {
    name: LogName,
    segments: Segments,
    /// Held as long as any log of the data directory is.
    _lock: Arc<File>,
    life: u64,
    /// Whom completions of this log are for, among those of its thread.
    owner: u16,
    segment: u64,
    offset: usize,
    /// The number of the next block.
    sequence: u64,
    link: u64,
    /// Every block up to here is persistent.
    persisted: u64,
    /// The oldest segment that the opening of the current one names.
    named_oldest: u64,
    /// The last block with a record of an acceptor.
    last_record: u64,
    /// Up to which block the last block written says that all are persistent.
    witnessed: u64,
    open: Option<Open>,
    /// Whether somebody waits for its acceptor's votes.
    is_awaited: bool,
    sealed: VecDeque<Sealed>,
    flights: VecDeque<Flight>,
    free: Vec<DirectBuffer>,
    most_flights: usize,
    live: Live,
    standing: Standing,
    quiet_since: Time,
    /// What a call could not return that has no result.
    failure: Option<StorageError>,
    /// A write failed: nothing is persistent any more.
    is_stopped: bool,
    counters: LogCounters,
}

/// What a log has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Records of its acceptor.
    pub records: u64,
    /// Blocks written.
    pub blocks: u64,
    /// Bytes of them, with what fills their last sector.
    pub bytes: u64,
    /// Blocks for which its thread had to wait, because too many were on their way.
    pub waited: u64,
    /// Segments of which what was left was copied forward.
    pub cleaned: u64,
    /// Whether its writes go past the page cache.
    pub is_direct: bool,
}

/// What opens every segment, so that older ones are not needed for it.
#[derive(Debug, Default)]
struct Standing {
    is_lost: bool,
    promised: Ballot,
    trim: Instance,
    known: (Instance, Slot),
    lives: Vec<(NodeId, Life)>,
}

/// The block that is gathered.
#[derive(Debug)]
struct Open {
    buffer: DirectBuffer,
    used: usize,
    records: u32,
    /// It has more than accepts.
    is_urgent: bool,
    /// When a duty cycle first left it open, because nobody waits for it.
    since: Option<Time>,
}

/// A block that waits to be written.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) buffer: DirectBuffer,
    pub(super) sequence: u64,
    pub(super) slot: usize,
    pub(super) offset: u64,
    /// Whole sectors.
    pub(super) length: usize,
}

/// A block that is being written, or is written before those in front of it.
#[derive(Clone, Copy, Debug)]
struct Flight {
    sequence: u64,
    slot: usize,
    length: usize,
    is_over: bool,
}

impl RingLog {
    /// A log that goes on behind `scan`, or begins.
    pub(super) fn new(
        name: LogName,
        segments: Segments,
        lock: Arc<File>,
        life: u64,
        instances: usize,
        scan: Option<&Scan>,
    ) -> Result<Self, StorageError> {
        let geometry = segments.geometry;
        let buffers = (geometry.bytes / BLOCK / 2).min(MOST_BUFFERS);
        let allocated: io::Result<_> = (0..buffers).map(|_| DirectBuffer::new(BLOCK)).collect();
        let free: Vec<_> =
            allocated.map_err(StorageError::of("allocating for", &segments.directory))?;
        let start = End { segment: 1, offset: 0, sequence: 1, link: name.digest, oldest: 1 };
        let end = scan.map_or(start, |scan| scan.end);
        let counters = LogCounters { is_direct: segments.is_direct, ..LogCounters::default() };
        let mut log = Self {
            name,
            live: Live::new(instances, geometry.segments),
            segments,
            _lock: lock,
            life,
            owner: 0,
            segment: end.segment,
            offset: end.offset,
            sequence: end.sequence,
            link: end.link,
            persisted: end.sequence - 1,
            named_oldest: end.oldest,
            last_record: 0,
            witnessed: 0,
            open: None,
            is_awaited: true,
            sealed: VecDeque::with_capacity(buffers),
            flights: VecDeque::with_capacity(MOST_FLIGHTS),
            most_flights: buffers - 2,
            free,
            standing: Standing::default(),
            quiet_since: Time::ZERO,
            failure: None,
            is_stopped: false,
            counters,
        };
        log.live.set_oldest(end.oldest);
        if let Some(scan) = scan {
            let replayed = scan.each(|entry, segment| log.account(entry, segment));
            replayed.map_err(|finding| log.segments.finding(finding, name.ring))?;
            log.last_record = log.persisted;
        }
        Ok(log)
    }

    /// Begins a log: the first block, so that an empty log and a wiped one differ. An acceptor whose
    /// former life is lost says so here.
    pub(super) fn begin(&mut self, is_lost: bool) -> Result<(), StorageError> {
        self.standing.is_lost = is_lost;
        self.start_block();
        self.seal();
        self.write_sealed()
    }

    /// Its directory has another name now.
    pub(super) fn moved_to(&mut self, directory: &Path) {
        self.segments.directory = directory.to_owned();
    }

    /// Whether its acceptor has no vote.
    pub(super) const fn is_lost(&self) -> bool {
        self.standing.is_lost
    }

    /// The last block that is persistent.
    pub(super) const fn floor(&self) -> u64 {
        self.persisted
    }

    /// What it has counted.
    #[must_use]
    pub const fn counters(&self) -> LogCounters {
        self.counters
    }

    /// Whether its writes go past the page cache.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        self.segments.is_direct
    }

    /// The buffers that it writes from, for registration.
    pub fn buffers_mut(&mut self) -> impl Iterator<Item = &mut DirectBuffer> {
        self.free.iter_mut()
    }

    /// Names it among the logs of its thread.
    pub const fn set_owner(&mut self, owner: u16) {
        self.owner = owner;
    }

    /// A write of this log is over.
    ///
    /// # Errors
    /// If it failed or fell short: the log stops for ever.
    pub fn on_written(&mut self, written: Written) -> Result<(), StorageError> {
        let Written { token, buffer, result, .. } = written;
        self.free.push(buffer);
        let flight = self.flights.iter_mut().find(|flight| flight.sequence == token);
        let flight = flight.expect("a write that was asked for");
        let slot = flight.slot;
        let short = || io::Error::new(io::ErrorKind::WriteZero, "a short write");
        match result {
            Ok(length) if length == flight.length => flight.is_over = true,
            Ok(_) => return Err(self.fail(slot, short())),
            Err(source) => return Err(self.fail(slot, source)),
        }
        self.advance();
        Ok(())
    }

    /// The end of a duty cycle: hands blocks to the disk. Without `files` it writes them itself and
    /// waits.
    ///
    /// # Errors
    /// If a write failed, now or before.
    pub fn submit(&mut self, now: Time, files: Option<&Files>) -> Result<(), StorageError> {
        self.prepare(now)?;
        let Some(files) = files.filter(|_| self.segments.is_direct) else {
            return self.write_sealed();
        };
        while files.has_room()
            && let Some(Sealed { buffer, sequence, slot, offset, length }) = self.depart()
        {
            let length = u32::try_from(length).expect("at most BLOCK");
            let place = Place { file: self.segments.file(slot), offset, length };
            files.write(place, buffer, (self.owner, sequence));
        }
        Ok(())
    }

    /// Closes what leaves at the end of this duty cycle.
    pub(super) fn prepare(&mut self, now: Time) -> Result<(), StorageError> {
        if self.live.is_crowded(self.segment) {
            self.clean()?;
        }
        if self.is_due(now) {
            self.seal();
        }
        self.mark_if_quiet(now);
        if !self.is_stopped {
            return Ok(());
        }
        let path = self.segments.directory.clone();
        Err(self.failure.take().unwrap_or(StorageError::Stopped { path }))
    }

    /// The next block that may be on its way beside the others.
    pub(super) fn depart(&mut self) -> Option<Sealed> {
        if self.flights.len() >= self.most_flights {
            return None;
        }
        let sealed = self.sealed.pop_front()?;
        let Sealed { sequence, slot, length, .. } = sealed;
        self.flights.push_back(Flight { sequence, slot, length, is_over: false });
        Some(sealed)
    }

    /// Ends it in good order: writes what is gathered, and that it is persistent. Call it with
    /// nothing on its way.
    ///
    /// # Errors
    /// If a write failed.
    pub fn close(&mut self) -> Result<(), StorageError> {
        if !self.flights.is_empty() {
            return Ok(());
        }
        self.seal();
        self.write_sealed()?;
        self.start_block();
        self.seal();
        self.write_sealed()
    }

    /// Whether a write is on its way.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Says whether somebody waits for the votes of its acceptor. If not, accepts gather for a while:
    /// a spare need not compete with the ring's members for the disk.
    pub const fn set_awaited(&mut self, is_awaited: bool) {
        self.is_awaited = is_awaited;
    }

    /// When [`RingLog::submit`] is wanted although nothing is appended.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let gathering = self.open.as_ref().and_then(|open| open.since);
        // Behind others on their way it leaves as they complete.
        let gathering = gathering.filter(|_| self.flights.is_empty() && self.sealed.is_empty());
        gathering.map(|since| since + PATIENCE).or_else(|| self.mark_due())
    }

    /// When the last block is to be vouched for.
    fn mark_due(&self) -> Option<Time> {
        let is_wanted = self.witnessed < self.last_record && self.is_at_rest();
        is_wanted.then(|| self.quiet_since + QUIET)
    }

    /// Nothing gathered, waiting or on its way.
    fn is_at_rest(&self) -> bool {
        self.open.is_none() && self.sealed.is_empty() && self.flights.is_empty()
    }

    /// Whether the open block leaves now.
    fn is_due(&mut self, now: Time) -> bool {
        let ahead = self.flights.len() + self.sealed.len();
        let Some(open) = &mut self.open else { return false };
        if open.used >= GATHERED {
            return true;
        }
        let since = *open.since.get_or_insert(now);
        let is_awaited = self.is_awaited || open.is_urgent || now >= since + PATIENCE;
        is_awaited && ahead < BUSY
    }

    /// A last block that was persistent cannot be told from one that was never completed, unless
    /// another one says so: an empty one, since there is time.
    fn mark_if_quiet(&mut self, now: Time) {
        if self.mark_due().is_none() {
            self.quiet_since = now;
        } else if now >= self.quiet_since + QUIET {
            self.start_block();
            self.seal();
        }
    }

    fn append_entry(&mut self, entry: &Record<'_>) -> u64 {
        let length = entry.encoded_length();
        debug_assert!(length <= LONGEST, "a record of {length} bytes");
        if self.open.as_ref().is_some_and(|open| open.used + length > BLOCK) {
            self.seal();
        }
        if self.open.is_none() {
            self.start_block();
        }
        let open = self.open.as_mut().expect("just opened");
        open.used += entry.encode(&mut open.buffer[open.used..]);
        open.records += 1;
        open.is_urgent |= !matches!(entry, Record::Accept { .. } | Record::Trim { .. });
        self.account(entry, self.segment);
        self.sequence
    }

    /// Keeps what opens the next segments, and where each instance is.
    fn account(&mut self, entry: &Record<'_>, segment: u64) {
        let standing = &mut self.standing;
        match *entry {
            Record::Lost => standing.is_lost = true,
            Record::Admitted => standing.is_lost = false,
            Record::Promise(ballot) => {
                standing.promised = standing.promised.max(ballot);
            }
            Record::Accept { instance, ballot, .. } => {
                standing.promised = standing.promised.max(ballot);
                if instance > standing.trim {
                    self.live.accept(instance, segment);
                }
            }
            Record::Trim { trim, known } => {
                standing.trim = standing.trim.max(trim);
                standing.known = standing.known.max(known);
                self.live.trim(standing.trim);
            }
            Record::Life { node, life } => {
                standing.lives.retain(|(known, _)| *known != node);
                standing.lives.push((node, life));
                assert!(standing.lives.len() <= MOST_LIVES, "a life an acceptor");
            }
        }
    }

    /// Begins a block, in the next segment if it might not fit this one.
    fn start_block(&mut self) {
        debug_assert!(self.open.is_none(), "one block is gathered at a time");
        if self.free.is_empty() {
            self.wait_for_buffer();
        }
        let buffer = self.free.pop().expect("one is never on its way");
        self.open = Some(Open { buffer, used: HEADER, records: 0, is_urgent: false, since: None });
        let is_first = self.sequence == 1;
        if self.offset + BLOCK > self.segments.geometry.bytes {
            self.roll();
        } else if !is_first {
            return;
        }
        let Standing { is_lost, promised, trim, known, ref lives } = self.standing;
        let open = self.open.as_mut().expect("just opened");
        let opening = [
            is_lost.then_some(Record::Lost),
            Some(Record::Promise(promised)),
            Some(Record::Trim { trim, known }),
        ];
        let lives = lives.iter().map(|&(node, life)| Record::Life { node, life });
        for record in opening.into_iter().flatten().chain(lives) {
            open.used += record.encode(&mut open.buffer[open.used..]);
            open.records += 1;
        }
        debug_assert!(open.used <= HEADER + OPENING);
    }

    /// Goes on in the next segment, which must be free of all that is kept.
    fn roll(&mut self) {
        let next = self.segment + 1;
        let overwritten = next.saturating_sub(self.segments.geometry.segments as u64);
        if overwritten >= self.named_oldest {
            let path = self.segments.directory.clone();
            self.failure.get_or_insert(StorageError::Full { path });
            self.is_stopped = true;
        }
        self.segment = next;
        self.offset = 0;
        self.named_oldest = self.live.oldest(next);
    }

    /// Closes the open block: its place, number and link are final.
    fn seal(&mut self) {
        let Some(Open { mut buffer, used, records, .. }) = self.open.take() else { return };
        let mut header = Header::new(self.name, self.segment, self.sequence, self.link);
        header.persisted = self.persisted;
        header.oldest = self.named_oldest;
        header.life = self.life;
        self.link = header.seal(&mut buffer[..used], records);
        let length = used.next_multiple_of(SECTOR);
        buffer[used..length].fill(0);
        let slot = self.segments.geometry.slot(self.segment);
        let (sequence, offset) = (self.sequence, self.offset as u64);
        self.sealed.push_back(Sealed { buffer, sequence, slot, offset, length });
        self.witnessed = self.persisted;
        self.sequence += 1;
        self.offset += length;
        self.counters.blocks += 1;
        self.counters.bytes += length as u64;
    }

    /// Every buffer is full: its thread waits for the disk, which is what slows its senders down.
    fn wait_for_buffer(&mut self) {
        self.counters.waited += 1;
        if let Err(failure) = self.write_sealed() {
            self.failure.get_or_insert(failure);
        }
    }

    /// Writes all sealed blocks and waits for them.
    fn write_sealed(&mut self) -> Result<(), StorageError> {
        while let Some(sealed) = self.sealed.pop_front() {
            let Sealed { buffer, sequence, slot, offset, length } = sealed;
            let result = if self.is_stopped {
                Ok(())
            } else {
                self.segments.write(slot, offset, &buffer[..length])
            };
            self.free.push(buffer);
            self.flights.push_back(Flight { sequence, slot, length, is_over: result.is_ok() });
            result.map_err(|source| self.fail(slot, source))?;
        }
        self.advance();
        Ok(())
    }

    /// Counts the longest prefix that is complete.
    fn advance(&mut self) {
        while let Some(flight) = self.flights.front()
            && flight.is_over
            && !self.is_stopped
        {
            self.persisted = flight.sequence;
            self.flights.pop_front();
        }
    }

    fn fail(&mut self, slot: usize, source: io::Error) -> StorageError {
        self.is_stopped = true;
        StorageError::Write { path: self.segments.path(slot), source }
    }

    /// Copies forward what is left of the oldest segments, until there is room ahead again.
    fn clean(&mut self) -> Result<(), StorageError> {
        let mut bytes = DirectBuffer::new(self.segments.geometry.bytes)
            .map_err(StorageError::of("allocating for", &self.segments.directory))?;
        while self.live.is_crowded(self.segment) {
            let oldest = self.live.oldest(self.segment);
            if oldest == self.segment {
                break;
            }
            let slot = self.segments.geometry.slot(oldest);
            self.segments.read(slot, &mut bytes)?;
            self.copy_forward(oldest, &bytes);
            self.counters.cleaned += 1;
            if self.live.oldest(self.segment) == oldest {
                let what = format!("segment {oldest} lacks records that were in it");
                return Err(self.segments.finding(Finding::Damaged(what), self.name.ring));
            }
        }
        Ok(())
    }

    /// Appends again of every instance whose last record is in `segment` that record.
    fn copy_forward(&mut self, segment: u64, bytes: &[u8]) {
        let mut last: BTreeMap<Instance, Record<'_>> = BTreeMap::new();
        let mut offset = 0;
        while offset < bytes.len() {
            let block = &bytes[offset..(offset + BLOCK).min(bytes.len())];
            let Ok(header) = Header::read(block, self.name) else { break };
            if header.segment != segment {
                break;
            }
            for entry in entries(&header, block).map_while(Result::ok) {
                if let record @ Record::Accept { instance, .. } = entry
                    && self.live.is_in(instance, segment)
                {
                    last.insert(instance, record);
                }
            }
            offset += header.stride();
        }
        for record in last.into_values() {
            self.append_entry(&record);
        }
    }
}

impl Log for RingLog {
    fn append(&mut self, record: &Record<'_>) -> Lsn {
        self.counters.records += 1;
        self.last_record = self.append_entry(record);
        Lsn(self.last_record)
    }

    fn persisted(&self) -> Lsn {
        Lsn(self.persisted)
    }
}
