//! Execution within a lease.

use super::command::{Command, Outcome};
use super::races::Touch;
use super::{BTree, Pair, PartitionMap};
use crate::service::{Access, Context, GroupMap, Lease, PartitionedService, RestoreError, Swept};
use crate::types::{Digest, GroupId, GroupSet};

impl BTree {
    /// Executes a typed command alone, for loaders, oracles and tests.
    pub fn apply(&self, lease: &mut Lease<'_>, command: &Command) -> Outcome {
        let mut reply = Vec::new();
        let bytes = command.to_bytes();
        self.execute(lease, &Context::default(), &bytes, &mut reply);
        Outcome::decode(&reply).expect("the tree writes what it can read")
    }

    fn read(&self, access: Access, key: u64, reply: &mut Vec<u8>) {
        let leaf = self.leaf(key);
        self.note(leaf, access, Touch::Slot);
        let slot = leaf.find(key);
        if !slot.is_found {
            return reply.push(Outcome::MISSING);
        }
        let mut bytes = [Outcome::VALUE; 9];
        bytes[1..].copy_from_slice(&leaf.value(slot.index).to_le_bytes());
        reply.extend_from_slice(&bytes);
    }

    fn update(&self, access: Access, Pair { key, value }: Pair) -> u8 {
        let leaf = self.leaf(key);
        self.note(leaf, access, Touch::Slot);
        let slot = leaf.find(key);
        if !slot.is_found {
            return Outcome::MISSING;
        }
        self.preserve(leaf, access);
        leaf.set_value(slot.index, value);
        Outcome::OK
    }

    /// Leaf by leaf, each found from the root again: there are no links between leaves, which a
    /// worker of another group could be changing.
    fn range(&self, access: Access, (from, to): (u64, u64), limit: u32, reply: &mut Vec<u8>) {
        let limit = limit.min(self.settings.range_limit);
        reply.push(Outcome::RANGE);
        let count_at = reply.len();
        reply.extend_from_slice(&[0; 4]);
        let (mut count, mut next) = (0, from);
        'leaves: while next < to && count < limit {
            let place = self.place(next);
            self.note(place.leaf, access, Touch::Slot);
            for index in place.leaf.find(next).index..place.leaf.count() {
                let key = place.leaf.key(index);
                if key >= to || count == limit {
                    break 'leaves;
                }
                reply.extend_from_slice(&key.to_le_bytes());
                reply.extend_from_slice(&place.leaf.value(index).to_le_bytes());
                count += 1;
            }
            let Some(after) = place.last.checked_add(1) else { break };
            next = after;
        }
        reply[count_at..count_at + 4].copy_from_slice(&u32::to_le_bytes(count));
    }

    /// Whether a key of the command is above a range that refuses such keys.
    pub(super) fn refuses(&self, command: &Command) -> bool {
        match *command {
            Command::Range { from, .. } => self.map.is_refused(from),
            _ => self.map.is_refused(command.key()),
        }
    }

    fn assert_covered(&self, lease: &Lease<'_>, command: &Command) {
        if command.is_dependent() {
            assert!(lease.is_whole(), "a dependent command passes its check or owns the whole");
        } else if let Command::Range { from, to, .. } = *command {
            let groups = self.map.groups_of_range(from, to);
            debug_assert!(groups.iter().all(|group| lease.covers(group)), "{groups:?}");
        } else {
            debug_assert!(lease.covers(self.map.group(command.key())), "{command:?}");
        }
    }
}

impl PartitionedService for BTree {
    const MAX_WRITE_REPLY: usize = 8;

    fn execute(
        &self,
        lease: &mut Lease<'_>,
        _context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) {
        let Some(command) = Command::decode(command).filter(|command| !self.refuses(command))
        else {
            return reply.push(Outcome::REFUSED);
        };
        self.assert_covered(lease, &command);
        let access = lease.access();
        self.note_barrier(access);
        match command {
            Command::Read { key } => self.read(access, key, reply),
            Command::Range { from, to, limit } => self.range(access, (from, to), limit, reply),
            Command::Update { key, value } => {
                reply.push(self.update(access, Pair { key, value }));
            }
            Command::Insert { key, value } => reply.push(self.insert(key, value)),
            Command::Delete { key } => reply.push(self.delete(key)),
        }
    }

    #[inline]
    fn warm(&self, commands: &[&[u8]]) {
        self.warm_commands(commands);
    }

    fn digest(&self, lease: &mut Lease<'_>) -> Digest {
        assert_whole(lease);
        self.digest_of_contents()
    }

    fn cut(&self, lease: &mut Lease<'_>) {
        assert_whole(lease);
        self.make_cut();
    }

    fn sweep(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        budget: usize,
        sink: &mut Vec<u8>,
    ) -> Swept {
        assert!(lease.covers(group), "{group:?} is not covered by {:?}", lease.access());
        self.sweep_nodes(group, budget, sink)
    }

    fn restore(&self, lease: &mut Lease<'_>, snapshot: &[u8]) -> Result<(), RestoreError> {
        assert_whole(lease);
        self.read_snapshot(snapshot)
    }
}

impl GroupMap for BTree {
    fn groups(&self) -> usize {
        self.map.groups()
    }

    #[inline]
    fn conservative(&self, command: &[u8]) -> GroupSet {
        PartitionMap::conservative(&self.map, command)
    }

    #[inline]
    fn optimistic(&self, command: &[u8]) -> GroupSet {
        PartitionMap::optimistic(&self.map, command)
    }

    #[inline]
    fn is_read(&self, command: &[u8]) -> bool {
        PartitionMap::is_read(&self.map, command)
    }
}

pub(super) fn assert_whole(lease: &Lease<'_>) {
    assert!(lease.is_whole(), "the whole tree is read or replaced at once");
}

/// Whether the lease is one of parallel mode in `group`.
pub(super) fn assert_group(lease: &Lease<'_>, group: GroupId) {
    assert!(lease.covers(group), "{group:?} is not covered by {:?}", lease.access());
    debug_assert!(!matches!(lease.access(), Access::Groups(_)), "checks belong to parallel mode");
}
