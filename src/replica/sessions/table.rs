//! One table: which sequences of which sessions were executed here, and what was replied.
//!
//! A command costs the session's line, its entry's line (16 bytes with an 8-byte reply), no
//! allocation, no branch that a healthy client mispredicts.

use crate::mem::prefetch;
use crate::replica::SessionLimits;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::types::{Address, Bug, Sequence, SessionId};
use std::sync::OnceLock;

/// The longest reply of a command that changes state that an entry can hold.
pub(in crate::replica) const MAX_ENTRY_REPLY: usize = (1 << LENGTH_BITS) - 1;

// An entry's tag: sequence, then 4 bits of reply flags, 2 of state, 14 of reply length.
const LENGTH_BITS: u32 = 14;
const STATE_SHIFT: u32 = LENGTH_BITS;
const FLAGS_SHIFT: u32 = STATE_SHIFT + 2;
const SEQUENCE_SHIFT: u32 = FLAGS_SHIFT + 4;
const MAX_SEQUENCE: u64 = u64::MAX >> SEQUENCE_SHIFT;
/// A life of a client has 2^24 numbers before those of the next one; a session is resumed at most 2^20
/// times.
const LIFE_SHIFT: u32 = 24;
const FAILED: u64 = 1;
const DONE: u64 = 2;

/// The sessions of one worker's table.
#[derive(Debug)]
pub(in crate::replica) struct SessionTable {
    records: Box<[Record]>,
    /// How often each place's session was opened or resumed: for whoever looks for silent ones, no
    /// part of the state.
    refreshed: Box<[AtomicU64]>,
    window: usize,
    /// Words of an entry: its tag, then the reply.
    stride: usize,
}

/// One session in one table: a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Record {
    /// Its id; 0 when it is not open.
    id: AtomicU64,
    /// The id that was open last here, so that its late commands get an answer.
    closed: AtomicU64,
    address: AtomicU64,
    /// Replies below this sequence may be gone.
    lowest: AtomicU64,
    highest: AtomicU64,
    /// A window of entries. Made at the first opening, empty before.
    entries: OnceLock<Box<[AtomicU64]>>,
}

#[cfg(not(feature = "loom"))]
const _: () = assert!(size_of::<Record>() == 64);

/// An open session in one table.
#[derive(Clone, Copy, Debug)]
pub(in crate::replica) struct Session<'a> {
    record: &'a Record,
    table: &'a SessionTable,
}

/// What a table knows of a command.
#[derive(Debug)]
pub(in crate::replica) enum Admission<'a> {
    /// Nothing: it may execute.
    New(Entry<'a>),
    /// Its safety check failed, with these reply flags, and it has not been executed since.
    Failed(Entry<'a>, u32),
    /// It was executed.
    Done(Entry<'a>),
    /// The client said that it has the reply.
    Forgotten,
    /// The client went beyond its window.
    Beyond,
}

/// A command's place in the table.
#[derive(Clone, Copy, Debug)]
pub(in crate::replica) struct Entry<'a> {
    words: &'a [AtomicU64],
    sequence: u64,
}

impl SessionTable {
    /// An empty table for replies of at most `reply` bytes.
    pub(in crate::replica) fn new(limits: SessionLimits, reply: usize) -> Self {
        assert!(limits.window.is_power_of_two(), "a session's window is a power of two");
        assert!(limits.sessions > 0 && limits.sessions < 1 << 16, "1 to 65,535 sessions");
        assert!(reply <= MAX_ENTRY_REPLY, "replies that are kept are below 16 KiB");
        let record = || Record {
            id: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            address: AtomicU64::new(0),
            lowest: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            entries: OnceLock::new(),
        };
        Self {
            records: (0..limits.sessions).map(|_| record()).collect(),
            refreshed: (0..limits.sessions).map(|_| AtomicU64::new(0)).collect(),
            window: limits.window,
            stride: 1 + reply.div_ceil(8),
        }
    }

    /// The session, if it is open.
    #[inline]
    pub(in crate::replica) fn find(&self, id: SessionId) -> Option<Session<'_>> {
        let record = self.records.get(index(id))?;
        let is_open = record.id.load(Ordering::Relaxed) == id.0;
        is_open.then_some(Session { record, table: self })
    }

    /// Starts to bring the command's entry into the nearest cache.
    #[inline]
    pub(in crate::replica) fn prefetch(&self, id: SessionId, sequence: Sequence) {
        if let Some(entries) = self.records.get(index(id)).and_then(|r| r.entries.get())
            && let Some(tag) = entries.get(self.at(sequence))
        {
            prefetch(tag);
        }
    }

    /// Where commands of `id` are answered, open or just closed.
    pub(in crate::replica) fn address(&self, id: SessionId) -> Option<Address> {
        let record = self.records.get(index(id))?;
        let known = [&record.id, &record.closed].map(|word| word.load(Ordering::Relaxed));
        let address = Address::from_bits(record.address.load(Ordering::Relaxed));
        known.contains(&id.0).then_some(address)
    }

    /// Opens `id`, whose entries are all new.
    pub(in crate::replica) fn open(&self, id: SessionId, address: Address) {
        let record = &self.records[index(id)];
        let words = || (0..self.window * self.stride).map(|_| AtomicU64::new(0)).collect();
        for tag in record.entries.get_or_init(words).iter().step_by(self.stride) {
            tag.store(0, Ordering::Relaxed);
        }
        record.lowest.store(0, Ordering::Relaxed);
        record.highest.store(0, Ordering::Relaxed);
        record.address.store(address.to_bits(), Ordering::Relaxed);
        record.id.store(id.0, Ordering::Relaxed);
    }

    /// The client of `id` has shown that it lives.
    pub(in crate::replica) fn refresh(&self, id: SessionId) {
        if let Some(count) = self.refreshed.get(index(id)) {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// The session that is open in `place`, and a word that changes whenever its client does
    /// something here.
    pub(in crate::replica) fn activity(&self, place: usize) -> Option<(SessionId, u64)> {
        let record = self.records.get(place)?;
        let id = record.id.load(Ordering::Relaxed);
        let words = [&record.highest, &record.lowest, &self.refreshed[place]];
        let sum = words.iter().map(|word| word.load(Ordering::Relaxed));
        (id != 0).then(|| (SessionId(id), sum.fold(0, u64::wrapping_add)))
    }

    /// Whether `id` was closed here before anything of number `sequence` came: then no copy of that
    /// command was executed, nor will be.
    pub(in crate::replica) fn closed_before(&self, id: SessionId, sequence: Sequence) -> bool {
        let Some(record) = self.records.get(index(id)) else { return false };
        let [open, closed, highest] =
            [&record.id, &record.closed, &record.highest].map(|word| word.load(Ordering::Relaxed));
        open == 0 && closed == id.0 && sequence.0 > highest
    }

    /// Closes `id`, if it is open.
    pub(in crate::replica) fn close(&self, id: SessionId) {
        if let Some(session) = self.find(id) {
            session.record.closed.store(id.0, Ordering::Relaxed);
            session.record.id.store(0, Ordering::Relaxed);
        }
    }

    /// W.
    pub(in crate::replica) const fn window(&self) -> usize {
        self.window
    }

    /// Whether a command whose check failed need not be sent again: it was executed, or its client
    /// needs no answer.
    pub(in crate::replica) fn is_settled(&self, id: SessionId, sequence: Sequence) -> bool {
        let Some(session) = self.find(id) else { return true };
        if sequence.0 < session.record.lowest.load(Ordering::Relaxed) {
            return true;
        }
        let Some(entry) = session.entry(sequence) else { return true };
        let tag = entry.words[0].load(Ordering::Relaxed);
        tag >> SEQUENCE_SHIFT != sequence.0 || state(tag) != FAILED
    }

    /// All records.
    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The entries of a record's session that have been used.
    pub(super) fn entries<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = Entry<'a>> {
        let words = record.entries.get().map_or(&[][..], |words| words);
        let entry = |words: &'a [AtomicU64]| {
            let tag = words[0].load(Ordering::Relaxed);
            (tag != 0).then_some(Entry { words, sequence: tag >> SEQUENCE_SHIFT })
        };
        words.chunks_exact(self.stride).filter_map(entry)
    }

    /// The record of these [`Record::words`], without entries, if they make one of this table.
    pub(super) fn reopen(&self, words: [u64; 5]) -> Option<&Record> {
        let [id, closed, address, lowest, highest] = words;
        let name = SessionId(if id == 0 { closed } else { id });
        let record = self.records.get(index(name)).filter(|record| !record.is_used())?;
        if id != 0 {
            self.open(name, Address::from_bits(address));
        }
        let fields = [&record.closed, &record.address, &record.lowest, &record.highest];
        for (field, word) in fields.into_iter().zip([closed, address, lowest, highest]) {
            field.store(word, Ordering::Relaxed);
        }
        Some(record)
    }

    /// Writes the tag of an entry that was not used, and gives the words of its reply.
    pub(super) fn entry_of<'a>(&self, record: &'a Record, tag: u64) -> Option<&'a [AtomicU64]> {
        let sequence = tag >> SEQUENCE_SHIFT;
        let at = self.at(Sequence(sequence));
        let entry = record.entries.get()?.get(at..at + self.stride)?;
        let (first, reply) = entry.split_first()?;
        let reply = reply.get(..length(tag).div_ceil(8))?;
        let is_valid = [FAILED, DONE].contains(&state(tag));
        if !is_valid || first.load(Ordering::Relaxed) != 0 {
            return None;
        }
        first.store(tag, Ordering::Relaxed);
        Some(reply)
    }

    /// Where the entry of `sequence` starts.
    #[inline]
    const fn at(&self, sequence: Sequence) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "masked to the window")]
        let place = sequence.0 as usize & (self.window - 1);
        place * self.stride
    }
}

impl Record {
    /// Whether a session is open here, or was.
    pub(super) fn is_used(&self) -> bool {
        [&self.id, &self.closed].iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Everything but the entries.
    pub(super) fn words(&self) -> [u64; 5] {
        let Self { id, closed, address, lowest, highest, .. } = self;
        [id, closed, address, lowest, highest].map(|word| word.load(Ordering::Relaxed))
    }

    /// The first sequence whose reply may be asked for; beyond all where no session is open.
    pub(super) fn first_answer(&self) -> u64 {
        let is_open = self.id.load(Ordering::Relaxed) != 0;
        if is_open { self.lowest.load(Ordering::Relaxed) } else { u64::MAX }
    }

    /// Forgets what was here.
    pub(super) fn clear(&self) {
        let Self { id, closed, address, lowest, highest, .. } = self;
        for word in [id, closed, address, lowest, highest] {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl<'a> Session<'a> {
    /// Where the session's replies go.
    #[inline]
    pub(in crate::replica) fn address(&self) -> Address {
        Address::from_bits(self.record.address.load(Ordering::Relaxed))
    }

    /// Sends the session's replies to `address` from now on.
    pub(in crate::replica) fn move_to(&self, address: Address) {
        self.record.address.store(address.to_bits(), Ordering::Relaxed);
    }

    /// The highest sequence that this table was asked for.
    pub(in crate::replica) fn highest(&self) -> u64 {
        self.record.highest.load(Ordering::Relaxed)
    }

    /// Another life of the client goes on with the session. What the one before has given up at a
    /// deadline may have numbers far above the highest that came here, and come later: the next life's
    /// lie above all of them, and above those of a life of which nothing came.
    pub(in crate::replica) fn begin_life(&self) {
        if !Bug::ResumeOnFirstWord.is_planted() {
            let highest = (self.highest() >> LIFE_SHIFT) + 1;
            self.note(Sequence(highest << LIFE_SHIFT));
        }
    }

    /// A read of this number was ordered: it enters no table, but who resumes the session must begin
    /// beyond it.
    #[inline]
    pub(in crate::replica) fn note(&self, sequence: Sequence) {
        if sequence.0 > self.record.highest.load(Ordering::Relaxed) {
            self.record.highest.store(sequence.0, Ordering::Relaxed);
        }
    }

    /// What is known of `sequence`, whose client has every reply below `lowest`.
    #[inline]
    pub(in crate::replica) fn admit(&self, sequence: Sequence, lowest: Sequence) -> Admission<'a> {
        let record = self.record;
        let mut floor = record.lowest.load(Ordering::Relaxed);
        if lowest.0 > floor {
            floor = lowest.0;
            record.lowest.store(floor, Ordering::Relaxed);
        }
        if sequence.0 < floor {
            return Admission::Forgotten;
        }
        if sequence.0 - floor >= self.table.window as u64 || sequence.0 > MAX_SEQUENCE {
            return Admission::Beyond;
        }
        let Some(entry) = self.entry(sequence) else { return Admission::Beyond };
        self.note(sequence);
        let tag = entry.words[0].load(Ordering::Relaxed);
        if tag >> SEQUENCE_SHIFT != sequence.0 || tag == 0 {
            return Admission::New(entry);
        }
        match state(tag) {
            FAILED => Admission::Failed(entry, flags(tag)),
            _ => Admission::Done(entry),
        }
    }

    #[inline]
    fn entry(&self, sequence: Sequence) -> Option<Entry<'a>> {
        let at = self.table.at(sequence);
        let words = self.record.entries.get()?.get(at..at + self.table.stride)?;
        Some(Entry { words, sequence: sequence.0 })
    }
}

impl Entry<'_> {
    /// The safety check failed; `flags` say why.
    pub(in crate::replica) fn fail(&self, flags: u32) {
        self.tag(FAILED, flags, 0);
    }

    /// It was executed.
    ///
    /// # Panics
    /// If the reply is longer than the service said replies can be.
    #[inline(always)]
    pub(in crate::replica) fn complete(&self, flags: u32, reply: &[u8]) {
        if let ([_, word, ..], Ok(chunk)) = (self.words, <[u8; 8]>::try_from(reply)) {
            word.store(u64::from_le_bytes(chunk), Ordering::Relaxed);
        } else {
            self.keep(reply);
        }
        self.tag(DONE, flags, reply.len());
    }

    /// Stores a reply that is not just one word.
    fn keep(&self, reply: &[u8]) {
        let (chunks, rest) = reply.as_chunks::<8>();
        let words = &self.words[1..];
        assert!(reply.len() <= 8 * words.len(), "a reply above MAX_WRITE_REPLY");
        for (word, chunk) in words.iter().zip(chunks) {
            word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            words[chunks.len()].store(u64::from_le_bytes(last), Ordering::Relaxed);
        }
    }

    /// Its sequence.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Its tag and the words of its reply.
    pub(super) fn image(&self) -> impl Iterator<Item = u64> {
        let words = length(self.words[0].load(Ordering::Relaxed)).div_ceil(8);
        self.words[..=words].iter().map(|word| word.load(Ordering::Relaxed))
    }

    /// Appends the reply that was kept; returns its flags.
    pub(in crate::replica) fn recall(&self, reply: &mut Vec<u8>) -> u32 {
        let tag = self.words[0].load(Ordering::Relaxed);
        let length = length(tag);
        let start = reply.len();
        for word in &self.words[1..=length.div_ceil(8)] {
            reply.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        reply.truncate(start + length);
        flags(tag)
    }

    #[inline]
    fn tag(&self, state: u64, flags: u32, length: usize) {
        debug_assert!(flags < 16 && length <= MAX_ENTRY_REPLY);
        let tag = self.sequence << SEQUENCE_SHIFT
            | u64::from(flags) << FLAGS_SHIFT
            | state << STATE_SHIFT
            | length as u64;
        self.words[0].store(tag, Ordering::Relaxed);
    }
}

/// The table index in a session's id: its low 16 bits, minus 1. Beyond every table for id 0.
#[inline]
pub(super) fn index(id: SessionId) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "16 bits")]
    let low = id.0 as u16;
    usize::from(low.wrapping_sub(1))
}

#[expect(clippy::cast_possible_truncation, reason = "14 bits")]
const fn length(tag: u64) -> usize {
    tag as usize & MAX_ENTRY_REPLY
}

const fn state(tag: u64) -> u64 {
    tag >> STATE_SHIFT & 3
}

#[expect(clippy::cast_possible_truncation, reason = "4 bits")]
const fn flags(tag: u64) -> u32 {
    (tag >> FLAGS_SHIFT) as u32 & 15
}
