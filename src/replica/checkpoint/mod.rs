//! Checkpoints: a replica's whole state at one ordered marker, as bytes (PROTOCOL 5).
//!
//! ```text
//! frame         magic, kind, worker, length, checksum; then so many bytes
//! checkpoint    frames of the kinds worker and sessions, one each a worker, and of kind service, in
//!               any order; an end frame that says how many frames and bytes there are
//! ```
//! A worker's frame begins with its position in its rings; service frames together are a snapshot.
//! The same bytes are kept in memory, on disk, and sent to replicas that lack them. Who reads them
//! checks every length and every checksum, and restores nothing of what is not whole.

mod frame;
mod keeper;

pub use keeper::Checkpoints;

pub(super) use frame::{Frame, Kind, START};

use super::words::require;
use crate::multi_ring::RingPosition;
use crate::service::RestoreError;
use crate::types::{GroupId, GroupSet, Slot};

/// A complete checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// The bytes, whole frames in each piece.
    pieces: Vec<Vec<u8>>,
    /// Where each piece starts.
    starts: Vec<u64>,
    length: u64,
    slot: Slot,
    positions: Vec<Vec<RingPosition>>,
}

impl Checkpoint {
    /// Puts the frames of `pieces` together, which name `groups` workers.
    ///
    /// # Errors
    /// If it is not a whole checkpoint of so many workers.
    pub fn new(pieces: Vec<Vec<u8>>, groups: usize) -> Result<Self, RestoreError> {
        Self::assemble(pieces, groups, |rest| Frame::read(rest))
    }

    /// The same of frames that this replica has just sealed: to read every byte of them once more
    /// would keep a worker from its commands for milliseconds.
    pub(super) fn of_own(pieces: Vec<Vec<u8>>, groups: usize) -> Result<Self, RestoreError> {
        Self::assemble(pieces, groups, |rest| Frame::split(rest).map(|(frame, _)| frame))
    }

    /// What stands behind so many frames and bytes.
    pub(super) fn end(frames: u64, length: u64) -> Vec<u8> {
        let mut end = vec![0; START];
        end.extend(frame::end(frames, length));
        Frame::seal(Kind::End, GroupId::new(0), &mut end);
        end
    }

    fn assemble(
        pieces: Vec<Vec<u8>>,
        groups: usize,
        read: impl for<'a> Fn(&mut &'a [u8]) -> Result<Frame<'a>, RestoreError>,
    ) -> Result<Self, RestoreError> {
        let mut positions = vec![Vec::new(); groups];
        let mut slot = None;
        let mut tables = GroupSet::EMPTY;
        let (mut frames, mut length, mut ended) = (0, 0, false);
        let mut starts = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            starts.push(length);
            let mut rest = &piece[..];
            while !rest.is_empty() {
                require(!ended)?;
                let frame = read(&mut rest)?;
                match frame.kind {
                    Kind::Worker => {
                        let (at, rings) = super::psmr::read_place(frame.body)?;
                        let place = positions.get_mut(frame.group.index());
                        let place = place.filter(|known| known.is_empty() && !rings.is_empty());
                        *place.ok_or(RestoreError::Malformed)? = rings;
                        require(*slot.get_or_insert(at) == at)?;
                    }
                    Kind::Sessions => {
                        require(!tables.contains(frame.group) && frame.group.index() < groups)?;
                        tables = tables.union(GroupSet::one(frame.group));
                    }
                    Kind::Service => {}
                    Kind::End => {
                        require(frame.body == frame::end(frames, length))?;
                        ended = true;
                    }
                }
                frames += 1;
                length += frame.length();
            }
        }
        require(ended && positions.iter().all(|rings| !rings.is_empty()))?;
        require(tables == GroupSet::all(groups))?;
        let slot = slot.ok_or(RestoreError::Malformed)?;
        Ok(Self { pieces, starts, length, slot, positions })
    }

    /// The slot of its marker in the ring of all groups: its name.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Its bytes, piece by piece.
    #[must_use]
    pub fn pieces(&self) -> &[Vec<u8>] {
        &self.pieces
    }

    /// Takes it apart.
    fn into_pieces(self) -> Vec<Vec<u8>> {
        self.pieces
    }

    /// Where the worker of `group` stood in its rings.
    #[must_use]
    pub fn position(&self, group: GroupId) -> &[RingPosition] {
        &self.positions[group.index()]
    }

    /// Bytes from `offset` on, as many as lie in one piece, at most `most`.
    #[must_use]
    pub fn read(&self, offset: u64, most: usize) -> &[u8] {
        let index = self.starts.partition_point(|start| *start <= offset);
        let Some(index) = index.checked_sub(1) else { return &[] };
        let piece = &self.pieces[index];
        let first = usize::try_from(offset - self.starts[index]).unwrap_or(usize::MAX);
        let first = first.min(piece.len());
        &piece[first..piece.len().min(first.saturating_add(most))]
    }

    /// The frames; they were checked.
    pub(super) fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        self.pieces.iter().flat_map(|piece| {
            let mut rest = &piece[..];
            std::iter::from_fn(move || {
                let has_more = !rest.is_empty();
                has_more
                    .then(|| Frame::split(&mut rest).expect("checked when it was put together").0)
            })
        })
    }
}
