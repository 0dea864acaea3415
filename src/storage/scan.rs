//! Reading a log back: which blocks belong to it, where it ends, and whether something is missing.
//!
//! The blocks form a chain; the log ends where the next one is not there. If it was cut off by a
//! crash, nobody has been told that the missing block was persistent. If it was persistent once and
//! is gone, some later block says so: each names the last block that was persistent when it was
//! written. The first is the end of a log, the second is damage.

use super::StorageError;
use super::format::{BLOCK, FORMAT, HEADER, Header, Invalid, LogName, entries};
use super::segment::{Geometry, Segments};
use crate::mem::{DirectBuffer, SECTOR};
use crate::ring_paxos::Record;

/// All bytes of a log, as they were read.
#[derive(Debug)]
pub(super) struct Image {
    bytes: DirectBuffer,
    geometry: Geometry,
}

/// A block of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    slot: usize,
    offset: usize,
    pub(super) header: Header,
}

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The segment that is written.
    pub(super) segment: u64,
    /// Where in it the next block begins, in bytes.
    pub(super) offset: usize,
    /// The next block's number.
    pub(super) sequence: u64,
    /// The last block's link.
    pub(super) link: u64,
    /// The oldest segment that the current one, as it was opened, says to keep.
    pub(super) oldest: u64,
}

/// A log as it was found.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) image: Image,
    pub(super) blocks: Vec<Block>,
    pub(super) end: End,
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// A segment is of another version of the format.
    Version(u16),
    /// What was persistent is missing; says where.
    Damaged(String),
}

impl Image {
    /// Reads all segments.
    pub(super) fn read(segments: &Segments) -> Result<Self, StorageError> {
        let geometry = segments.geometry;
        let bytes = DirectBuffer::new(geometry.total());
        let bytes = bytes.map_err(StorageError::of("allocating for", &segments.directory))?;
        let mut image = Self { bytes, geometry };
        for slot in 0..geometry.segments {
            segments.read(slot, image.segment_mut(slot))?;
        }
        Ok(image)
    }

    /// The bytes of file `slot`, to be filled in.
    pub(super) fn segment_mut(&mut self, slot: usize) -> &mut [u8] {
        let start = slot * self.geometry.bytes;
        &mut self.bytes[start..start + self.geometry.bytes]
    }

    /// Finds the chain of `log`, and keeps what it is in.
    pub(super) fn scan(self, log: LogName) -> Result<Scan, Finding> {
        let (blocks, end) = self.chain(log)?;
        Ok(Scan { image: self, blocks, end })
    }

    /// Finds the chain of `log`.
    pub(super) fn chain(&self, log: LogName) -> Result<(Vec<Block>, End), Finding> {
        let mut openings = self.openings(log)?;
        loop {
            let Some(head) = openings.iter().max_by_key(|header| header.segment).copied() else {
                return Err(Finding::Damaged("no segment begins with a block".to_owned()));
            };
            let (blocks, end) = self.walk(&head, log);
            let Some(end) = end else {
                let slot = self.geometry.slot(head.oldest);
                let problem = format!("segment {} in file {slot} is missing", head.oldest);
                return Err(Finding::Damaged(problem));
            };
            if let Some(witness) = self.witness(end.sequence, log) {
                let End { segment, offset, sequence, .. } = end;
                return Err(Finding::Damaged(format!(
                    "block {sequence} of segment {segment} at byte {offset} of file {} is not as it \
                     was written, but block {witness} knows it as persistent",
                    self.geometry.slot(segment),
                )));
            }
            if end.segment == head.segment {
                return Ok((blocks, end));
            }
            // It was opened while blocks before it were not persistent: it never began.
            openings.retain(|header| header.segment <= end.segment);
        }
    }

    /// The blocks that begin segments.
    fn openings(&self, log: LogName) -> Result<Vec<Header>, Finding> {
        let mut openings = Vec::new();
        for slot in 0..self.geometry.segments {
            match Header::read(self.at(slot, 0), log) {
                Ok(header) if self.opens(&header, slot) => openings.push(header),
                // One that belongs elsewhere: whether one is missing here shows later.
                Ok(_) | Err(Invalid::Absent | Invalid::Torn) => {}
                Err(Invalid::Foreign) => {
                    return Err(Finding::Damaged(format!("file {slot} is of another log")));
                }
                Err(Invalid::Version(found)) => {
                    debug_assert_ne!(found, FORMAT);
                    return Err(Finding::Version(found));
                }
            }
        }
        Ok(openings)
    }

    /// Whether a block that begins file `slot` belongs there.
    fn opens(&self, header: &Header, slot: usize) -> bool {
        let kept = header.segment.checked_sub(header.oldest);
        header.oldest > 0
            && kept.is_some_and(|kept| kept < self.geometry.segments as u64)
            && self.geometry.slot(header.segment) == slot
    }

    /// Follows the chain from the oldest segment that `head` names as far as it goes. No end: not
    /// even that segment is there.
    fn walk(&self, head: &Header, log: LogName) -> (Vec<Block>, Option<End>) {
        let mut blocks = Vec::new();
        let mut end: Option<End> = None;
        for segment in head.oldest..=head.segment {
            let slot = self.geometry.slot(segment);
            let mut offset = 0;
            while offset + SECTOR <= self.geometry.bytes {
                let Ok(header) = Header::read(self.at(slot, offset), log) else { break };
                let expected =
                    end.map_or((header.sequence, header.previous), |end| (end.sequence, end.link));
                let found = (header.sequence, header.previous);
                if header.segment != segment || found != expected {
                    break;
                }
                blocks.push(Block { slot, offset, header });
                offset += header.stride();
                let oldest = if offset == header.stride() {
                    header.oldest
                } else {
                    end.map_or(header.oldest, |end| end.oldest)
                };
                let (sequence, link) = (header.sequence + 1, header.link());
                end = Some(End { segment, offset, sequence, link, oldest });
            }
            if end.is_none_or(|end| end.segment != segment) {
                break;
            }
        }
        (blocks, end)
    }

    /// A block that says that block `sequence` was persistent, wherever it is.
    fn witness(&self, sequence: u64, log: LogName) -> Option<u64> {
        for slot in 0..self.geometry.segments {
            for offset in (0..self.geometry.bytes).step_by(SECTOR) {
                let bytes = self.at(slot, offset);
                let head: Header = bytemuck::pod_read_unaligned(&bytes[..HEADER]);
                if head.log != log.digest || head.persisted < sequence {
                    continue; // without the sum over all of it
                }
                if Header::read(bytes, log).is_ok() {
                    return Some(head.sequence);
                }
            }
        }
        None
    }

    /// What begins there, up to the longest block.
    fn at(&self, slot: usize, offset: usize) -> &[u8] {
        let start = slot * self.geometry.bytes + offset;
        let end = (start + BLOCK).min((slot + 1) * self.geometry.bytes);
        &self.bytes[start..end]
    }
}

impl Scan {
    /// Shows `take` each entry with the segment that it is in. An entry that no writer makes ends it
    /// with what is wrong.
    pub(super) fn each(&self, mut take: impl FnMut(&Record<'_>, u64)) -> Result<(), Finding> {
        for Block { slot, offset, header } in &self.blocks {
            for entry in entries(header, self.image.at(*slot, *offset)) {
                let entry = entry.map_err(|_| {
                    let sequence = header.sequence;
                    Finding::Damaged(format!("block {sequence} has a record of no known kind"))
                })?;
                take(&entry, header.segment);
            }
        }
        Ok(())
    }

    /// Writes again, as they were read, the blocks of which no later one says that they were
    /// persistent. Through the page cache a flush that failed leaves them there as if they were
    /// on the disk, and no later flush writes them: a former life may have ended with that.
    pub(super) fn write_last_again(&self, segments: &Segments) -> Result<(), StorageError> {
        let known = self.blocks.iter().map(|block| block.header.persisted).max().unwrap_or(0);
        for Block { slot, offset, header } in &self.blocks {
            if header.sequence > known {
                let bytes = &self.image.at(*slot, *offset)[..header.stride()];
                let path = segments.path(*slot);
                let failed = |source| StorageError::Write { path, source };
                segments.write(*slot, *offset as u64, bytes).map_err(failed)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl Image {
    /// A log of zeros.
    pub(super) fn new(geometry: Geometry) -> Self {
        Self { bytes: DirectBuffer::new(geometry.total()).unwrap(), geometry }
    }

    pub(super) fn copy(&self) -> Self {
        let mut copy = Self::new(self.geometry);
        copy.bytes.copy_from_slice(&self.bytes);
        copy
    }

    pub(super) fn segment(&self, slot: usize) -> &[u8] {
        let start = slot * self.geometry.bytes;
        &self.bytes[start..start + self.geometry.bytes]
    }

    pub(super) const fn geometry(&self) -> Geometry {
        self.geometry
    }
}
