//! The null service, for the ordering path alone: a running hash of who issued what, a group each.
//!
//! A command opens with one word that says where it goes: [`Null::ALL`] to all groups, anything else
//! to the group that it hashes to. Whatever follows is ballast. Every replica executes every command
//! (none is a read), and the reply is 8 bytes of the hash, so that a lost, repeated or reordered
//! command shows in every reply and digest from there on. A command may be made to cost something:
//! so many more rounds of the hash ([`Null::with_work`]).

use super::{
    Access, Context, Cuts, GroupMap, Lease, Optimistic, PartitionedService, RestoreError, Swept,
    Verdict,
};
use crate::types::{Digest, GroupId, GroupSet, MAX_GROUPS};
use crossbeam_utils::CachePadded;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The null service: K running hashes, each written by its worker or by a synchronous executor.
#[derive(Debug)]
pub struct Null {
    hashes: Box<[CachePadded<AtomicU64>]>,
    /// Further rounds of the hash a command.
    work: u32,
    cuts: Cuts<()>,
}

impl Null {
    /// The word of a command that concerns all groups.
    pub const ALL: u64 = u64::MAX;

    /// The service of `groups` groups.
    ///
    /// # Panics
    /// If K is 0 or above [`MAX_GROUPS`].
    #[must_use]
    pub fn new(groups: usize) -> Self {
        assert!((1..=MAX_GROUPS).contains(&groups), "K is 1 to {MAX_GROUPS}");
        let hashes = (0..groups).map(|_| CachePadded::default()).collect();
        Self { hashes, work: 0, cuts: Cuts::new(groups) }
    }

    /// The same with commands that cost so many further rounds of the hash, some 2 ns each.
    #[must_use]
    pub const fn with_work(mut self, rounds: u32) -> Self {
        self.work = rounds;
        self
    }

    /// The group of a command that opens with `word`; `None` if it concerns all. For clients.
    #[inline]
    #[must_use]
    pub fn group(groups: usize, word: u64) -> Option<GroupId> {
        let scaled = u128::from(mix(0, word)) * groups as u128;
        let group = || GroupId::new(usize::try_from(scaled >> 64).expect("below K"));
        (word != Self::ALL).then(group)
    }

    #[inline]
    fn advance(&self, group: usize, context: &Context) -> u64 {
        let hash = &self.hashes[group];
        let mut next = mix(mix(hash.load(Relaxed), context.session.0), context.sequence.0);
        for round in 0..self.work {
            next = mix(next, round.into());
        }
        hash.store(next, Relaxed);
        next
    }
}

impl GroupMap for Null {
    fn groups(&self) -> usize {
        self.hashes.len()
    }

    #[inline]
    fn conservative(&self, command: &[u8]) -> GroupSet {
        let groups = self.hashes.len();
        let word = command.first_chunk().map_or(Self::ALL, |word| u64::from_le_bytes(*word));
        Self::group(groups, word).map_or(GroupSet::all(groups), GroupSet::one)
    }

    fn is_read(&self, _command: &[u8]) -> bool {
        false
    }
}

impl PartitionedService for Null {
    const MAX_WRITE_REPLY: usize = 8;

    #[inline]
    fn execute(
        &self,
        lease: &mut Lease<'_>,
        context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) {
        let groups = self.conservative(command);
        debug_assert!(groups.iter().all(|group| lease.covers(group)), "{groups:?}");
        let mut hash = 0;
        for group in groups.iter() {
            hash = self.advance(group.index(), context);
        }
        reply.extend_from_slice(&hash.to_le_bytes());
    }

    fn digest(&self, _lease: &mut Lease<'_>) -> Digest {
        Digest(self.hashes.iter().fold(0, |digest, hash| mix(digest, hash.load(Relaxed))))
    }

    /// So little that it is saved at once.
    fn cut(&self, _lease: &mut Lease<'_>) {
        self.cuts.begin(|_| ());
        self.cuts.save(Access::Whole, |saved| {
            for hash in &self.hashes {
                saved.extend_from_slice(&hash.load(Relaxed).to_le_bytes());
            }
        });
    }

    fn sweep(
        &self,
        _lease: &mut Lease<'_>,
        group: GroupId,
        _budget: usize,
        sink: &mut Vec<u8>,
    ) -> Swept {
        self.cuts.sweep(group, sink, |(), _| Swept::Done)
    }

    fn restore(&self, _lease: &mut Lease<'_>, snapshot: &[u8]) -> Result<(), RestoreError> {
        let (words, rest) = snapshot.as_chunks();
        if words.len() != self.hashes.len() || !rest.is_empty() {
            return Err(RestoreError::Malformed);
        }
        self.cuts.abandon();
        for (hash, word) in self.hashes.iter().zip(words) {
            hash.store(u64::from_le_bytes(*word), Relaxed);
        }
        Ok(())
    }
}

impl Optimistic for Null {
    /// Its static groups are all that a command depends on: there is nothing to check.
    #[inline]
    fn try_execute(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) -> Verdict {
        if self.conservative(command).single() != Some(group) {
            return Verdict::FailBounds;
        }
        self.execute(lease, context, command, reply);
        Verdict::Pass
    }
}

#[inline]
const fn mix(hash: u64, word: u64) -> u64 {
    let mixed =
        (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Access;
    use crate::types::{Sequence, SessionId};

    fn run(null: &Null, commands: &[(u64, u64)]) -> Vec<Vec<u8>> {
        let execute = |&(word, sequence): &(u64, u64)| {
            let context = Context { session: SessionId(7), sequence: Sequence(sequence) };
            let mut reply = Vec::new();
            let mut lease = Lease::mint(Access::Whole);
            null.execute(&mut lease, &context, &word.to_le_bytes(), &mut reply);
            reply
        };
        commands.iter().map(execute).collect()
    }

    fn digest(null: &Null) -> Digest {
        null.digest(&mut Lease::mint(Access::Whole))
    }

    #[test]
    fn work_is_a_part_of_the_state() {
        let context = Context { session: SessionId(1), sequence: Sequence(1) };
        let state = |work| {
            let null = Null::new(1).with_work(work);
            (null.advance(0, &context), null.advance(0, &context))
        };
        assert_eq!(state(1000), state(1000));
        assert_ne!(state(0), state(1));
    }

    #[test]
    fn a_lost_repeated_or_reordered_command_of_a_group_shows_in_replies_and_digest() {
        let (word, all) = (1, Null::ALL);
        let expected = Null::new(2);
        let replies = run(&expected, &[(word, 1), (word, 2), (all, 3), (word, 4)]);
        assert!(replies.iter().all(|reply| reply.len() == 8));
        for wrong in [
            &[(word, 1), (all, 3), (word, 4)][..],
            &[(word, 1), (word, 2), (word, 2), (all, 3), (word, 4)],
            &[(word, 2), (word, 1), (all, 3), (word, 4)],
            &[(word, 1), (all, 3), (word, 2), (word, 4)],
        ] {
            let other = Null::new(2);
            assert_ne!(run(&other, wrong).last(), replies.last());
            assert_ne!(digest(&other), digest(&expected));
        }
    }

    #[test]
    fn commands_of_different_groups_commute() {
        let groups = 4;
        let in_group = |g| (0..).find(|&word| Null::group(groups, word) == Some(GroupId::new(g)));
        let (a, b) = (in_group(0).unwrap(), in_group(3).unwrap());
        let (one, two) = (Null::new(groups), Null::new(groups));
        run(&one, &[(a, 1), (b, 2), (Null::ALL, 3)]);
        run(&two, &[(b, 2), (a, 1), (Null::ALL, 3)]);
        assert_eq!(digest(&one), digest(&two));
    }

    #[test]
    fn words_spread_over_all_groups_and_all_means_all() {
        let null = Null::new(64);
        let mut seen = GroupSet::EMPTY;
        for word in 0..2000u64 {
            let groups = null.conservative(&word.to_le_bytes());
            assert_eq!(groups.len(), 1);
            seen = seen.union(groups);
        }
        assert_eq!(seen, GroupSet::all(64));
        assert_eq!(null.conservative(&Null::ALL.to_le_bytes()), GroupSet::all(64));
        assert_eq!(Null::new(1).conservative(&Null::ALL.to_le_bytes()), GroupSet::all(1));
        assert_eq!(null.conservative(b"short"), GroupSet::all(64));
    }

    #[test]
    fn a_snapshot_restores_every_hash() {
        let (one, two) = (Null::new(3), Null::new(3));
        run(&one, &[(1, 1), (2, 2), (Null::ALL, 3)]);
        let mut snapshot = Vec::new();
        let mut lease = Lease::mint(Access::Whole);
        one.snapshot(&mut lease, &mut snapshot);
        assert_eq!(two.restore(&mut lease, &snapshot[1..]), Err(RestoreError::Malformed));
        assert_eq!(two.restore(&mut lease, &snapshot), Ok(()));
        assert_eq!(digest(&one), digest(&two));
    }
}
