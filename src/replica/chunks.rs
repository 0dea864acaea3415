//! Commands above the batch limit: parts in, whole payloads out (PROTOCOL 1).
//!
//! Parts of one command are ordered by one ring, perhaps twice, perhaps not in order, with other
//! commands between them. What is incomplete is bounded: who comes first keeps its place until it
//! is whole, or until so many parts of others have passed that its client must be gone; a part that
//! finds no place is dropped, and its client sends the command again. (Where the oldest gave way at
//! once, nine clients of long commands kept each other from ever completing one.) Both depend on
//! the order of delivery alone: every worker that sees the same ring agrees on which part completes
//! what, also a worker that keeps no bytes because another one will execute.

use super::words::{Source, Words, require};
use crate::service::RestoreError;
use crate::types::{GroupSet, Sequence, SessionId};
use crate::wire::{Chunk, Command, CommandHeader, fingerprint};

/// The most parts of one command: 1 MiB in the smallest datagrams has 1,560.
const MAX_PARTS: u32 = 2048;

/// A command that got no part while so many others passed is given up: a client has 6 large parts
/// in flight or some 30 small ones, so that it bounds the clients whose parts take turns at about
/// 300 or 70.
const PATIENCE: u64 = 2048;

/// Whole commands that are remembered.
const REMEMBERED: usize = 64;
/// The last attempt that has a number of its own.
const LAST_ATTEMPT: u8 = 7;

/// Incomplete commands of one ring.
#[derive(Debug)]
pub(super) struct Assemblies {
    slots: Box<[Assembly]>,
    /// Commands that became whole not long ago, and in which attempt: a part of one that comes
    /// once more, since its confirmation was lost, must not take a place for nothing.
    whole: [Option<(Name, u8)>; REMEMBERED],
    completed: usize,
    limit: usize,
    parts_seen: u64,
}

type Name = (SessionId, Sequence, GroupSet);

#[derive(Debug, Default)]
struct Assembly {
    name: Option<Name>,
    parts: u32,
    total: u32,
    missing: u32,
    seen: [u64; MAX_PARTS as usize / 64],
    bytes: Vec<u8>,
    /// Number of the part that was added last, of all parts.
    touched: u64,
}

/// What a part did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// Others are missing, or there is no place for it, or no need.
    Incomplete,
    /// The command is whole: its bytes are at this index until they are taken.
    Complete(usize),
    /// It is no part, or of a command above the limit.
    Rejected,
}

impl Assemblies {
    pub(super) fn new(count: usize, limit: usize) -> Self {
        let slots = (0..count).map(|_| Assembly::default()).collect();
        Self { slots, whole: [None; REMEMBERED], completed: 0, limit, parts_seen: 0 }
    }

    /// Takes in one part; its bytes are kept if `keeps`.
    pub(super) fn add(&mut self, command: &Command<'_>, keeps: bool) -> Joined {
        let Some((chunk, body)) = split(command.payload) else { return Joined::Rejected };
        let fits = chunk.parts > 0
            && chunk.parts <= MAX_PARTS
            && chunk.part < chunk.parts
            && chunk.total as usize <= self.limit
            && (chunk.offset as usize).saturating_add(body.len()) <= chunk.total as usize;
        if !fits {
            return Joined::Rejected;
        }
        self.parts_seen += 1;
        let CommandHeader { session, sequence, groups, .. } = command.header;
        let (name, attempt) = ((session, sequence, groups), command.header.attempt());
        if attempt < LAST_ATTEMPT && self.whole.contains(&Some((name, attempt))) {
            return Joined::Incomplete;
        }
        let Some(index) = self.find(name, &chunk) else { return Joined::Incomplete };
        let slot = &mut self.slots[index];
        slot.touched = self.parts_seen;
        let (word, bit) = (chunk.part as usize / 64, 1_u64 << (chunk.part % 64));
        if slot.seen[word] & bit != 0 {
            return Joined::Incomplete;
        }
        slot.seen[word] |= bit;
        slot.missing -= 1;
        if keeps {
            if slot.bytes.is_empty() {
                slot.bytes.resize(chunk.total as usize, 0);
            }
            let at = chunk.offset as usize;
            slot.bytes[at..at + body.len()].copy_from_slice(body);
        }
        if slot.missing > 0 {
            return Joined::Incomplete;
        }
        slot.name = None;
        self.whole[self.completed % REMEMBERED] = Some((name, attempt));
        self.completed += 1;
        Joined::Complete(index)
    }

    /// The payload of a whole command; to be given back.
    pub(super) fn take(&mut self, index: usize) -> Vec<u8> {
        std::mem::take(&mut self.slots[index].bytes)
    }

    /// Gives the buffer of [`Assemblies::take`] back.
    pub(super) fn give_back(&mut self, index: usize, mut bytes: Vec<u8>) {
        bytes.clear();
        self.slots[index].bytes = bytes;
    }

    /// Writes everything that decides which parts will complete what.
    pub(super) fn write(&self, words: &mut Words<'_>) {
        words.count(self.completed);
        words.put(self.parts_seen);
        for whole in &self.whole {
            write_name(words, whole.map(|(name, _)| name));
            words.put(whole.map_or(0, |(_, attempt)| attempt.into()));
        }
        words.count(self.slots.len());
        for slot in &self.slots {
            write_name(words, slot.name);
            words.all([slot.parts, slot.total, slot.missing].map(u64::from));
            words.all(slot.seen);
            words.put(slot.touched);
            words.bytes(if slot.name.is_some() { &slot.bytes } else { &[] });
        }
    }

    /// Takes over what [`Assemblies::write`] wrote.
    pub(super) fn read(&mut self, source: &mut Source<'_>) -> Result<(), RestoreError> {
        self.completed = source.number(usize::MAX)?;
        self.parts_seen = source.take()?;
        for whole in &mut self.whole {
            let (name, attempt) = (read_name(source)?, source.take()?);
            let attempt = u8::try_from(attempt).map_err(|_| RestoreError::Malformed)?;
            *whole = name.map(|name| (name, attempt));
        }
        require(source.number(usize::MAX)? == self.slots.len())?;
        for slot in &mut self.slots {
            slot.name = read_name(source)?;
            for word in [&mut slot.parts, &mut slot.total, &mut slot.missing] {
                *word = u32::try_from(source.take()?).map_err(|_| RestoreError::Malformed)?;
            }
            for word in &mut slot.seen {
                *word = source.take()?;
            }
            slot.touched = source.take()?;
            let bytes = source.bytes(self.limit)?;
            let is_whole = bytes.is_empty() || bytes.len() == slot.total as usize;
            require(is_whole && slot.missing <= slot.parts && slot.parts <= MAX_PARTS)?;
            slot.bytes.clear();
            slot.bytes.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// The slot of the part's command: its own, a free one, or that of a command which was given
    /// up.
    fn find(&mut self, name: Name, chunk: &Chunk) -> Option<usize> {
        let name = Some(name);
        let own = self.slots.iter().position(|slot| slot.name == name);
        let place =
            |slot: &Assembly| slot.name.is_none() || slot.touched + PATIENCE < self.parts_seen;
        let index = own.or_else(|| self.slots.iter().position(place))?;
        let slot = &mut self.slots[index];
        let same = own.is_some() && slot.parts == chunk.parts && slot.total == chunk.total;
        if !same {
            slot.name = name;
            slot.parts = chunk.parts;
            slot.total = chunk.total;
            slot.missing = chunk.parts;
            slot.seen.fill(0);
            slot.bytes.clear();
        }
        Some(index)
    }
}

fn write_name(words: &mut Words<'_>, name: Option<Name>) {
    let (session, sequence, groups) = name.unwrap_or_default();
    words.put(name.is_some().into());
    words.all([session.0, sequence.0, groups.to_bits()]);
}

fn read_name(source: &mut Source<'_>) -> Result<Option<Name>, RestoreError> {
    let is_there = source.number(1)? == 1;
    let (session, sequence) = (SessionId(source.take()?), Sequence(source.take()?));
    let groups = GroupSet::from_bits(source.take()?);
    Ok(is_there.then_some((session, sequence, groups)))
}

/// Splits a part into its head and its bytes.
fn split(payload: &[u8]) -> Option<(Chunk, &[u8])> {
    let (head, body) = payload.split_at_checked(size_of::<Chunk>())?;
    Some((bytemuck::pod_read_unaligned(head), body))
}

/// Cuts `whole` into parts of at most `limit` bytes, their heads included, and hands each to
/// `send`, written behind each other in `scratch`.
pub(crate) fn cut(whole: &[u8], limit: usize, scratch: &mut Vec<u8>, mut send: impl FnMut(&[u8])) {
    let name = fingerprint(whole);
    for part in 0..Chunk::count(whole.len(), limit) {
        let (chunk, bytes) = Chunk::cut(whole, name, limit, part);
        scratch.clear();
        scratch.extend_from_slice(bytemuck::bytes_of(&chunk));
        scratch.extend_from_slice(bytes);
        send(scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts_of(whole: &[u8]) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        cut(whole, 100 + size_of::<Chunk>(), &mut Vec::new(), |part| parts.push(part.to_vec()));
        parts
    }

    fn command(sequence: u64, payload: &[u8]) -> Command<'_> {
        let header = CommandHeader { sequence: Sequence(sequence), ..CommandHeader::default() };
        Command { header, payload }
    }

    #[test]
    fn parts_in_any_order_and_twice_make_the_whole() {
        let whole: Vec<u8> = (0..=255).cycle().take(950).collect();
        let parts = parts_of(&whole);
        let mut assemblies = Assemblies::new(2, 1000);
        for index in [9, 3, 3, 0, 1, 2, 8, 7, 9, 5, 4] {
            assert_eq!(assemblies.add(&command(1, &parts[index]), true), Joined::Incomplete);
        }
        let Joined::Complete(index) = assemblies.add(&command(1, &parts[6]), true) else {
            panic!("all parts are there");
        };
        let bytes = assemblies.take(index);
        assert_eq!(bytes, whole);
        assemblies.give_back(index, bytes);
    }

    #[test]
    fn a_late_copy_of_a_part_takes_no_place_and_another_attempt_does() {
        let parts = parts_of(&[7; 150]);
        let mut assemblies = Assemblies::new(1, 1000);
        let mut add = |sequence, attempt, part: usize| {
            let mut command = command(sequence, &parts[part]);
            command.header.designation = CommandHeader::designate(0, attempt);
            matches!(assemblies.add(&command, true), Joined::Complete(_))
        };
        assert!(!add(1, 0, 0) && add(1, 0, 1));
        assert!(!add(1, 0, 0), "late");
        assert!(!add(2, 0, 0) && add(2, 0, 1), "the only place is free");
        assert!(!add(1, 1, 0) && add(1, 1, 1), "its client has had no answer");
        for _ in 0..2 {
            assert!(!add(1, LAST_ATTEMPT, 0) && add(1, LAST_ATTEMPT, 1), "nor now");
        }
    }

    #[test]
    fn a_worker_without_the_bytes_agrees_on_what_completes_and_on_what_gives_way() {
        let whole = vec![7; 350];
        let parts = parts_of(&whole);
        let mut keeps = Assemblies::new(2, 1000);
        let mut counts = Assemblies::new(2, 1000);
        let mut add = |sequence, part: usize| {
            let command = command(sequence, &parts[part]);
            let joined = keeps.add(&command, true);
            assert_eq!(joined, counts.add(&command, false));
            matches!(joined, Joined::Complete(_))
        };
        // The third finds no place; the first two complete all the same.
        assert!(
            ![(1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (1, 2)]
                .map(|(s, p)| add(s, p))
                .contains(&true)
        );
        assert!(add(1, 3));
        assert!([(3, 0), (3, 1), (3, 2), (3, 3)].map(|(s, p)| add(s, p)).ends_with(&[true]));
        // The second goes on, and a fourth starts; both clients die, and in time give way.
        assert!(![(2, 1), (4, 0)].map(|(s, p)| add(s, p)).contains(&true));
        for _ in 0..=PATIENCE {
            add(5, 0);
        }
        assert!(![(5, 0), (5, 1), (5, 2)].map(|(s, p)| add(s, p)).contains(&true));
        assert!(add(5, 3));
    }

    #[test]
    fn what_is_no_part_or_above_the_limit_is_rejected() {
        let mut assemblies = Assemblies::new(1, 300);
        let above = parts_of(&[1; 301]);
        assert_eq!(assemblies.add(&command(1, &above[0]), true), Joined::Rejected);
        assert_eq!(assemblies.add(&command(1, b"short"), true), Joined::Rejected);
        for chunk in [
            Chunk { part: 2, parts: 2, total: 9, offset: 0, whole: 0 },
            Chunk { part: 0, parts: 2, total: 9, offset: u32::MAX, whole: 0 },
            Chunk { part: 0, parts: MAX_PARTS + 1, total: 9, offset: 0, whole: 0 },
            Chunk { part: 0, parts: 0, total: 9, offset: 0, whole: 0 },
        ] {
            let joined = assemblies.add(&command(1, bytemuck::bytes_of(&chunk)), true);
            assert_eq!(joined, Joined::Rejected, "{chunk:?}");
        }
    }
}
