//! What the bytes of a log mean: blocks of records, each block checked and chained to the one
//! before.
//!
//! A block begins at a whole sector. Its header names the log (a digest of cluster, node and ring),
//! its place (segment and sequence number), the block before it by that block's link, and up to
//! which block everything was persistent when it was written; a CRC-32C covers header and records.
//! So a block that is torn, rotten, of another log, at another's place, or left over from an earlier
//! use of its segment is told from the one that belongs there. Nothing here panics on any bytes.

use crate::mem::SECTOR;
use crate::ring_paxos::Record;
use crate::types::{Ballot, Instance, Life, NodeId, Random, RingId, Slot};
use crate::wire::{MAX_BATCH, PromiseRecord, PromiseRecords, Reader, Writer};
use bytemuck::{Pod, Zeroable};

/// The version of everything in a data directory.
pub const FORMAT: u16 = 1;
/// "PSLG".
const MAGIC: u32 = 0x474c_5350;
/// The most bytes of a block: what one write takes.
pub(super) const BLOCK: usize = 64 * 1024;
/// Bytes in front of the records of a block.
pub(super) const HEADER: usize = size_of::<Header>();
/// The most bytes that a record takes.
pub(super) const LONGEST: usize = RECORD + ACCEPT + MAX_BATCH.next_multiple_of(ALIGNMENT);
/// The most lives that a log knows: one an acceptor.
pub(super) const MOST_LIVES: usize = 15;
/// Room for the records that open a segment: loss, promise, trim, lives.
pub(super) const OPENING: usize = 3 * RECORD + 16 + 24 + MOST_LIVES * (RECORD + 24);

const RECORD: usize = size_of::<RecordHeader>();
/// The fixed part of an accept: instance, ballot, id, kind of value.
const ACCEPT: usize = 64;
const ALIGNMENT: usize = 8;
const _: () = assert!(HEADER == 80 && HEADER + OPENING + LONGEST <= BLOCK);
const _: () = assert!(BLOCK.is_multiple_of(SECTOR));

/// In front of each block. Little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    magic: u32,
    /// [`FORMAT`].
    pub(super) version: u16,
    pub(super) ring: RingId,
    /// Whose log it is.
    pub(super) log: u64,
    /// Its segment's number, from 1; segments are used in turn.
    pub(super) segment: u64,
    /// Its own number, from 1, without gaps over all segments.
    pub(super) sequence: u64,
    /// Every block up to here was persistent when this one was written.
    pub(super) persisted: u64,
    /// The oldest segment with something that is not forgotten.
    pub(super) oldest: u64,
    /// The link of the block before.
    pub(super) previous: u64,
    /// Which opening of the data directory wrote it.
    pub(super) life: u64,
    /// Bytes of header and records.
    pub(super) length: u32,
    pub(super) records: u32,
    reserved: u32,
    /// CRC-32C of header and records, this field taken as zero.
    checksum: u32,
}

impl Header {
    /// Everything but length, count and checksum, which [`Header::seal`] fills in.
    pub(super) fn new(log: LogName, segment: u64, sequence: u64, previous: u64) -> Self {
        Self {
            magic: MAGIC,
            version: FORMAT,
            ring: log.ring,
            log: log.digest,
            segment,
            sequence,
            previous,
            ..Self::zeroed()
        }
    }

    /// Writes it in front of the `records` in `block`, which ends behind them. Returns the link that
    /// the next block names.
    pub(super) fn seal(mut self, block: &mut [u8], records: u32) -> u64 {
        self.length = u32::try_from(block.len()).expect("at most BLOCK");
        self.records = records;
        block[..HEADER].copy_from_slice(bytemuck::bytes_of(&self));
        self.checksum = crc32c::crc32c(block);
        block[..HEADER].copy_from_slice(bytemuck::bytes_of(&self));
        self.link()
    }

    /// The header of the block that begins here, if it is a whole one of `log` that checks.
    pub(super) fn read(bytes: &[u8], log: LogName) -> Result<Self, Invalid> {
        let mut header: Self = Reader::new(bytes).pod().map_err(|_| Invalid::Torn)?;
        if header.magic != MAGIC {
            return Err(Invalid::Absent);
        }
        let length = header.length as usize;
        if !(HEADER..=BLOCK).contains(&length) || length > bytes.len() {
            return Err(Invalid::Torn);
        }
        let checksum = std::mem::take(&mut header.checksum);
        let of_header = crc32c::crc32c(bytemuck::bytes_of(&header));
        if crc32c::crc32c_append(of_header, &bytes[HEADER..length]) != checksum {
            return Err(Invalid::Torn);
        }
        header.checksum = checksum;
        if header.version != FORMAT {
            return Err(Invalid::Version(header.version));
        }
        if (header.log, header.ring) != (log.digest, log.ring) {
            return Err(Invalid::Foreign);
        }
        Ok(header)
    }

    /// What the next block names this one by.
    pub(super) fn link(&self) -> u64 {
        let own = u64::from(self.checksum) << 32 | u64::from(self.length);
        Random::new(self.previous ^ own ^ self.sequence.rotate_left(17)).next()
    }

    /// Bytes on the disk, to the next sector.
    pub(super) const fn stride(&self) -> usize {
        (self.length as usize).next_multiple_of(SECTOR)
    }
}

/// Why there is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    /// No block begins here.
    Absent,
    /// One begins, but is not whole.
    Torn,
    /// It is whole, and of another log.
    Foreign,
    /// It is whole, and of another version of the format.
    Version(u16),
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogName {
    pub(super) ring: RingId,
    /// Digest of cluster, node and ring.
    pub(super) digest: u64,
}

/// In front of each record on the disk.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RecordHeader {
    kind: u32,
    /// Bytes behind this header, without padding.
    length: u32,
}

const PROMISE: u32 = 1;
const ACCEPTED: u32 = 2;
const TRIM: u32 = 3;
const ADMITTED: u32 = 4;
const LOST: u32 = 5;
const LIFE: u32 = 6;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TrimFixed {
    trim: Instance,
    known: Instance,
    slot: Slot,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LifeFixed {
    node: u64,
    life: Life,
}

impl Record<'_> {
    /// Bytes on the disk.
    #[inline]
    pub(super) const fn encoded_length(&self) -> usize {
        (RECORD + self.length()).next_multiple_of(ALIGNMENT)
    }

    /// Writes it to the start of `target`; returns how long it is.
    #[inline]
    pub(super) fn encode(&self, target: &mut [u8]) -> usize {
        let encoded = self.encoded_length();
        let mut writer = Writer::new(&mut target[..encoded]);
        let length = u32::try_from(self.length()).expect("at most LONGEST");
        writer.pod(&RecordHeader { kind: self.kind(), length });
        match self {
            Self::Promise(ballot) => writer.pod(ballot),
            Self::Accept { instance, ballot, id, value } => {
                let (instance, ballot, id, value) = (*instance, *ballot, *id, *value);
                PromiseRecord { instance, ballot, id, value }.encode(&mut writer);
            }
            Self::Trim { trim, known: (known, slot) } => {
                writer.pod(&TrimFixed { trim: *trim, known: *known, slot: *slot });
            }
            Self::Admitted | Self::Lost => {}
            Self::Life { node, life } => {
                writer.pod(&LifeFixed { node: node.0.into(), life: *life });
            }
        }
        let written = writer.written();
        target[written..encoded].fill(0);
        encoded
    }

    const fn kind(&self) -> u32 {
        match self {
            Self::Promise(_) => PROMISE,
            Self::Accept { .. } => ACCEPTED,
            Self::Trim { .. } => TRIM,
            Self::Admitted => ADMITTED,
            Self::Lost => LOST,
            Self::Life { .. } => LIFE,
        }
    }

    const fn length(&self) -> usize {
        match *self {
            Self::Promise(_) => size_of::<Ballot>(),
            Self::Accept { instance, ballot, id, value } => {
                PromiseRecord { instance, ballot, id, value }.encoded_length()
            }
            Self::Trim { .. } => size_of::<TrimFixed>(),
            Self::Admitted | Self::Lost => 0,
            Self::Life { .. } => size_of::<LifeFixed>(),
        }
    }
}

/// The records of a block whose header is `header` and whose bytes are `block`; ends with an error
/// at what no writer of this version makes.
pub(super) fn entries<'a>(
    header: &Header,
    block: &'a [u8],
) -> impl Iterator<Item = Result<Record<'a>, Malformed>> + use<'a> {
    let mut left = header.records;
    let records = &block[..(header.length as usize).min(block.len())];
    let mut reader = Reader::new(records.get(HEADER..).unwrap_or(&[]));
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let entry = entry(&mut reader);
        if entry.is_none() {
            left = 0;
        }
        Some(entry.ok_or(Malformed))
    })
}

/// A record that no writer makes, in a block that checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

fn entry<'a>(reader: &mut Reader<'a>) -> Option<Record<'a>> {
    let RecordHeader { kind, length } = reader.pod().ok()?;
    let length = length as usize;
    let padded = reader.take((RECORD + length).next_multiple_of(ALIGNMENT) - RECORD).ok()?;
    let mut body = Reader::new(&padded[..length]);
    let entry = match kind {
        PROMISE => Record::Promise(body.pod().ok()?),
        ACCEPTED => {
            let record = PromiseRecords::new(body.take(length).ok()?).iter().next()?;
            let PromiseRecord { instance, ballot, id, value } = record;
            let is_whole = record.encoded_length() == length && length <= ACCEPT + MAX_BATCH;
            is_whole.then_some(Record::Accept { instance, ballot, id, value })?
        }
        TRIM => {
            let TrimFixed { trim, known, slot } = body.pod().ok()?;
            Record::Trim { trim, known: (known, slot) }
        }
        ADMITTED => Record::Admitted,
        LOST => Record::Lost,
        LIFE => {
            let LifeFixed { node, life } = body.pod().ok()?;
            Record::Life { node: NodeId(u16::try_from(node).ok()?), life }
        }
        _ => return None,
    };
    body.rest().is_empty().then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId, ValueId};
    use crate::wire::Value;
    use proptest::prelude::*;

    const LOG: LogName = LogName { ring: RingId(3), digest: 77 };

    fn block(entries: &[Record<'_>]) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK];
        let mut used = HEADER;
        for entry in entries {
            used += entry.encode(&mut bytes[used..]);
        }
        Header::new(LOG, 4, 9, 5).seal(&mut bytes[..used], u32::try_from(entries.len()).unwrap());
        bytes.truncate(used);
        bytes
    }

    fn samples(batch: &[u8]) -> Vec<Record<'_>> {
        let ballot = Ballot::new(3, NodeId(1), Incarnation(9));
        let id = ValueId::new(NodeId(1), Incarnation(9), 12);
        let accept =
            |instance, value| Record::Accept { instance: Instance(instance), ballot, id, value };
        vec![
            Record::Lost,
            Record::Promise(ballot),
            Record::Trim { trim: Instance(7), known: (Instance(8), Slot(30)) },
            accept(9, Value::Noop),
            accept(10, Value::Skip(1 << 40)),
            accept(11, Value::Batch(batch)),
            Record::Admitted,
            Record::Life {
                node: NodeId(14),
                life: Life { number: 1 << 40, incarnation: Incarnation(8) },
            },
        ]
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let longest = [5; MAX_BATCH];
        for batch in [&longest[..0], b"x", b"12345678", &longest] {
            let samples = samples(batch);
            let bytes = block(&samples);
            let header = Header::read(&bytes, LOG).unwrap();
            assert_eq!((header.segment, header.sequence, header.previous), (4, 9, 5));
            let read: Result<Vec<_>, _> = entries(&header, &bytes).collect();
            assert_eq!(read, Ok(samples));
        }
        assert!(samples(&longest).iter().all(|entry| entry.encoded_length() <= LONGEST));
    }

    #[test]
    fn a_block_of_another_log_or_version_is_named() {
        let bytes = block(&[Record::Lost]);
        let other = LogName { digest: 78, ..LOG };
        assert_eq!(Header::read(&bytes, other), Err(Invalid::Foreign));
        let mut header = Header::read(&bytes, LOG).unwrap();
        (header.version, header.checksum) = (9, 0);
        let mut newer = bytes.clone();
        header.seal(&mut newer, 1);
        let mut read = bytes;
        read[..HEADER].copy_from_slice(&newer[..HEADER]);
        assert_eq!(Header::read(&read, LOG), Err(Invalid::Version(9)));
        assert_eq!(Header::read(&[0; SECTOR], LOG), Err(Invalid::Absent));
    }

    proptest! {
        #[test]
        fn no_flipped_bit_of_a_block_goes_unnoticed(at in 0_usize..600 * 8, batch in 0_usize..400) {
            let mut bytes = block(&samples(&vec![1; batch]));
            let at = at % (bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert!(Header::read(&bytes, LOG).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Header::read(&bytes, LOG);
            let mut sealed = vec![0; HEADER];
            sealed.extend(&bytes);
            Header::new(LOG, 1, 1, 1).seal(&mut sealed, 5);
            let header = Header::read(&sealed, LOG).unwrap();
            let _ = entries(&header, &sealed).count();
        }
    }
}
