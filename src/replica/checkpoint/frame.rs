//! Frames of a checkpoint.

use crate::replica::words::{Words, require};
use crate::service::RestoreError;
use crate::types::{GroupId, MAX_GROUPS};

/// "PSCK", and the version of everything in a checkpoint.
const MAGIC: u64 = 0x4b43_5350 | 1 << 32;
/// Bytes before a frame's body: magic and version, kind and worker, length, checksum.
pub(in crate::replica) const START: usize = 32;

/// What a frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(in crate::replica) enum Kind {
    /// The state of one worker.
    Worker = 1,
    /// Its session table.
    Sessions = 2,
    /// A part of the service's snapshot.
    Service = 3,
    /// Nothing follows.
    End = 4,
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub(in crate::replica) struct Frame<'a> {
    pub(in crate::replica) kind: Kind,
    /// The worker that wrote it.
    pub(in crate::replica) group: GroupId,
    pub(in crate::replica) body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes a frame off the front of `bytes`, and compares its checksum.
    pub(in crate::replica) fn read(bytes: &mut &'a [u8]) -> Result<Self, RestoreError> {
        let (frame, sum) = Self::split(bytes)?;
        let place = place(frame.kind, frame.group);
        require(sum == checksum(place, frame.body))?;
        Ok(frame)
    }

    /// Takes a frame off the front of `bytes`; its checksum is beside it.
    pub(in crate::replica) fn split(bytes: &mut &'a [u8]) -> Result<(Self, u64), RestoreError> {
        let (start, rest) = bytes.split_first_chunk::<START>().ok_or(RestoreError::Malformed)?;
        let [magic, place, length, sum] = words(start);
        let length = usize::try_from(length).map_err(|_| RestoreError::Malformed)?;
        let (body, rest) = rest.split_at_checked(length).ok_or(RestoreError::Malformed)?;
        require(magic == MAGIC)?;
        let kind = match place >> 32 {
            1 => Kind::Worker,
            2 => Kind::Sessions,
            3 => Kind::Service,
            4 => Kind::End,
            _ => return Err(RestoreError::Malformed),
        };
        let group = usize::try_from(place & 0xffff_ffff).unwrap_or(usize::MAX);
        require(group < MAX_GROUPS)?;
        *bytes = rest;
        Ok((Self { kind, group: GroupId::new(group), body }, sum))
    }

    /// Finishes a frame: `bytes` has [`START`] bytes of anything, then the body.
    pub(in crate::replica) fn seal(kind: Kind, group: GroupId, bytes: &mut [u8]) {
        let (start, body) = bytes.split_at_mut(START);
        let place = place(kind, group);
        let sealed = [MAGIC, place, body.len() as u64, checksum(place, body)];
        for (word, value) in start.as_chunks_mut().0.iter_mut().zip(sealed) {
            *word = value.to_le_bytes();
        }
    }

    /// Bytes of all of it.
    pub(in crate::replica) const fn length(&self) -> u64 {
        (START + self.body.len()) as u64
    }
}

/// The body of an end frame behind so many frames and bytes.
pub(super) fn end(frames: u64, length: u64) -> Vec<u8> {
    let mut body = Vec::new();
    let mut words = Words(&mut body);
    words.put(frames);
    words.put(length);
    body
}

/// Kind and worker in one word.
const fn place(kind: Kind, group: GroupId) -> u64 {
    (kind as u64) << 32 | group.index() as u64
}

fn words(start: &[u8; START]) -> [u64; 4] {
    let chunks = start.as_chunks().0;
    std::array::from_fn(|index| u64::from_le_bytes(chunks[index]))
}

fn checksum(place: u64, body: &[u8]) -> u64 {
    crc32c::crc32c_append(crc32c::crc32c(&place.to_le_bytes()), body).into()
}
