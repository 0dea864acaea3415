//! Cuts and snapshots: the tree as it was at one place of the order, node by node, while it changes.
//!
//! Each node notes the last cut that has it. Whoever is about to change a node with an older note
//! saves it first: for a command in parallel mode that is one comparison of a word that it has read
//! anyway. Everything else is swept level by level: the inner nodes by the worker of group 0, each
//! leaf by the worker of its partition. A leaf that straddles partitions has several workers that
//! may update it in place; there are fewer of them than groups, so the cut itself saves them.
//!
//! A node that was not saved has not changed since the cut, nor has its range: a bound between two
//! nodes moves only together with entries of both. So a sweep that goes on by key misses nothing.
//!
//! A snapshot is records in any order; nodes name each other by their numbers in the arena. Restored
//! ones get new numbers: which these are is not part of the state.
//!
//! ```text
//! head          kind 1, 8 settings, number of the root, how many numbers are in use
//! node          kind 2 with count, level and number; the keys; of an inner node the numbers of its
//!               children, of a leaf the values
//! ```

use super::command::take_u64;
use super::node::Node;
use super::tree::{BTree, MAX_HEIGHT, name};
use crate::mem::Line;
use crate::service::{Access, RestoreError, Swept};
use crate::types::{Bug, GroupId};
use std::sync::atomic::Ordering::Relaxed;

/// Cuts are numbered by 24 bits; no node is older than one cut.
const CUT_MASK: u32 = (1 << 24) - 1;
const HEAD: u64 = 1;
const NODE: u64 = 2;
/// A node's first word: its number, then 16 bits of count, 8 of level, 8 of kind.
const COUNT_SHIFT: u32 = 32;
const LEVEL_SHIFT: u32 = 48;
const KIND_SHIFT: u32 = 56;

/// Where the sweep of a group goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    level: u32,
    /// The least key whose node was not looked at.
    next: u64,
}

impl BTree {
    /// Makes sure that the last cut has `node` as it is, before it changes under `access`.
    #[inline(always)]
    pub(super) fn preserve(&self, node: Node<'_>, access: Access) {
        if node.cut() != self.shape.cut.load(Relaxed) {
            self.save(node, access);
        }
    }

    #[cold]
    fn save(&self, node: Node<'_>, access: Access) {
        if Bug::LeafNotSavedAtCut.is_planted() && node.level() == 0 {
            return; // The sweep takes it as it is then.
        }
        self.cuts.save(access, |saved| self.put_node(node, saved));
    }

    pub(super) fn make_cut(&self) {
        let level = self.root().level();
        self.cuts.begin(|group| Cursor {
            level: if group.index() == 0 { level } else { 0 },
            next: if group.index() == 0 { 0 } else { self.map.start(group) },
        });
        let cut = (self.shape.cut.load(Relaxed) + 1) & CUT_MASK;
        self.shape.cut.store(cut, Relaxed);
        self.cuts.save(Access::Whole, |saved| {
            let mut put = |word: u64| saved.extend_from_slice(&word.to_le_bytes());
            put(HEAD << KIND_SHIFT);
            self.settings.words().iter().for_each(|&(_, word)| put(word));
            put(self.number(self.root()));
            put(self.node_bytes() as u64 / self.bytes_of_node());
        });
        for bound in self.map.bounds() {
            let place = self.place(bound);
            if !self.map.is_of_one_group(place.first, place.last) {
                self.preserve(place.leaf, Access::Whole);
            }
        }
    }

    pub(super) fn sweep_nodes(&self, group: GroupId, budget: usize, sink: &mut Vec<u8>) -> Swept {
        let last = self.last_key(group);
        self.cuts.sweep(group, sink, |cursor, sink| {
            for _ in 0..budget {
                let end = if cursor.level > 0 { u64::MAX } else { last };
                // An empty partition begins behind its end.
                let is_inside = cursor.next <= end;
                let after = is_inside.then(|| self.sweep_node(cursor, sink)).flatten();
                match after.filter(|next| *next <= end) {
                    Some(next) => cursor.next = next,
                    None if cursor.level > 0 => {
                        *cursor = Cursor { level: cursor.level - 1, next: 0 };
                    }
                    None => return Swept::Done,
                }
            }
            Swept::More
        })
    }

    /// The last key of a group's partition.
    fn last_key(&self, group: GroupId) -> u64 {
        let next = group.index() + 1;
        if next == self.settings.groups {
            return u64::MAX;
        }
        self.map.start(GroupId::new(next)).saturating_sub(1)
    }

    /// Gives out the node at the cursor, unless that was done. Returns where the next one begins.
    fn sweep_node(&self, cursor: &Cursor, sink: &mut Vec<u8>) -> Option<u64> {
        let (mut node, mut last) = (self.root(), u64::MAX);
        if node.level() < cursor.level {
            return None; // The level is gone, and what was on it is saved.
        }
        while node.level() > cursor.level {
            let index = node.child_index(cursor.next);
            last = node.key_after(index).map_or(last, |next| next - 1);
            node = self.child(node, index);
        }
        if node.cut() != self.shape.cut.load(Relaxed) {
            self.put_node(node, sink);
        }
        last.checked_add(1)
    }

    /// Writes `node`, which the cut has from now on.
    fn put_node(&self, node: Node<'_>, sink: &mut Vec<u8>) {
        let (count, level) = (node.count(), node.level());
        let mut put = |word: u64| sink.extend_from_slice(&word.to_le_bytes());
        let shape = (count as u64) << COUNT_SHIFT | u64::from(level) << LEVEL_SHIFT;
        put(NODE << KIND_SHIFT | shape | self.number(node));
        (0..count).for_each(|index| put(node.key(index)));
        let lines = self.layout.lines() as u64;
        let unit = if level > 0 { lines } else { 1 };
        (0..count).for_each(|index| put(node.value(index) / unit));
        node.set_cut(self.shape.cut.load(Relaxed));
    }

    /// A node's number: its place in the arena.
    fn number(&self, node: Node<'_>) -> u64 {
        let start = self.arena.lines().as_ptr().addr();
        (node.address() - start) as u64 / self.bytes_of_node()
    }

    const fn bytes_of_node(&self) -> u64 {
        (self.layout.lines() * size_of::<Line>()) as u64
    }

    pub(super) fn read_snapshot(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let nodes = self.read_numbers(snapshot)?;
        let lines = self.layout.lines();
        let memory = self.arena.ensure(nodes.count as usize * lines);
        memory.map_err(|_| RestoreError::Memory)?;
        let _change = self.begin_change();
        self.cuts.abandon();
        for record in Records(snapshot) {
            if let Record::Node(image) = record? {
                self.read_node(&image, &nodes)?;
            }
        }
        self.adopt_nodes(nodes.count);
        let root = nodes.name(nodes.root, lines).ok_or(RestoreError::Malformed)?;
        let mut count = 0;
        let (level, bounds) = (self.node(root).level(), (0, u64::MAX));
        self.check_restored(root, level, bounds, (nodes.count, &mut count))?;
        if count != nodes.count {
            return Err(RestoreError::Malformed);
        }
        self.shape.root.store(root, Relaxed);
        Ok(())
    }

    /// Which nodes there are, if the settings are this tree's.
    fn read_numbers(&self, snapshot: &[u8]) -> Result<Nodes, RestoreError> {
        let Head { root, used } = self.read_head(snapshot)?;
        let most = Self::LIMIT_BYTES / self.bytes_of_node();
        if root >= used || used > most {
            return Err(RestoreError::Malformed);
        }
        let mut nodes = Nodes::new(root, used);
        for record in Records(snapshot) {
            if let Record::Node(Image { number, .. }) = record?
                && !nodes.take(number.into())
            {
                return Err(RestoreError::Malformed);
            }
        }
        nodes.rank();
        Ok(nodes)
    }

    /// Finds the head and compares its settings.
    fn read_head(&self, snapshot: &[u8]) -> Result<Head, RestoreError> {
        let mut head = None;
        for record in Records(snapshot) {
            if let Record::Head(words) = record?
                && head.replace(words).is_some()
            {
                return Err(RestoreError::Malformed);
            }
        }
        let words = head.ok_or(RestoreError::Malformed)?;
        let mut words = words.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut word = || words.next().expect("a head has its length");
        for (setting, expected) in self.settings.words() {
            let found = word();
            if found != expected {
                return Err(RestoreError::Setting { setting, found, expected });
            }
        }
        Ok(Head { root: word(), used: word() })
    }

    /// Writes a node.
    fn read_node(&self, image: &Image<'_>, nodes: &Nodes) -> Result<(), RestoreError> {
        let Image { number, level, keys, values } = *image;
        let lines = self.layout.lines();
        let is_sane = keys.len() <= self.settings.capacity && (level as usize) < MAX_HEIGHT;
        let name = nodes.name(number.into(), lines).filter(|_| is_sane);
        let node = self.node(name.ok_or(RestoreError::Malformed)?);
        node.reset(level);
        node.set_cut(self.shape.cut.load(Relaxed));
        for (key, value) in keys.iter().zip(values) {
            let mut value = u64::from_le_bytes(*value);
            if level > 0 {
                value = nodes.name(value, lines).ok_or(RestoreError::Malformed)?.into();
            }
            node.push(u64::from_le_bytes(*key), value);
        }
        Ok(())
    }

    /// Checks the node `name` of `level` for the keys from `bounds.0` to `bounds.1`, and all below
    /// it; counts them. A node with two parents is counted twice, and so refused.
    fn check_restored(
        &self,
        id: u32,
        level: u32,
        bounds: (u64, u64),
        (nodes, count): (u32, &mut u32),
    ) -> Result<(), RestoreError> {
        *count += 1;
        let node = self.node(id);
        if *count > nodes || node.level() != level {
            return Err(RestoreError::Malformed);
        }
        let mut next = Some(bounds.0);
        for index in 0..node.count() {
            let key = node.key(index);
            if next.is_none_or(|next| key < next) || key > bounds.1 {
                return Err(RestoreError::Malformed);
            }
            next = key.checked_add(1);
        }
        if level == 0 {
            return Ok(());
        }
        if node.count() == 0 || node.key(0) != bounds.0 {
            return Err(RestoreError::Malformed);
        }
        for index in 0..node.count() {
            let last = node.key_after(index).map_or(bounds.1, |next| next - 1);
            let child = name(node.value(index));
            self.check_restored(child, level - 1, (node.key(index), last), (nodes, count))?;
        }
        Ok(())
    }
}

struct Head {
    root: u64,
    used: u64,
}

/// A node as it was written.
struct Image<'a> {
    number: u32,
    level: u32,
    keys: &'a [[u8; 8]],
    values: &'a [[u8; 8]],
}

enum Record<'a> {
    Head(&'a [u8]),
    Node(Image<'a>),
}

/// The records of a snapshot; ends with an error if they are malformed.
struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    fn read(&mut self) -> Option<Record<'a>> {
        /// Settings, root, use.
        const HEAD_WORDS: usize = 10;
        let (word, rest) = take_u64(self.0)?;
        let count = (word >> COUNT_SHIFT & 0xffff) as usize;
        let (record, rest) = match word >> KIND_SHIFT {
            HEAD => {
                let (head, rest) = rest.split_at_checked(8 * HEAD_WORDS)?;
                (Record::Head(head), rest)
            }
            NODE => {
                let (keys, rest) = rest.split_at_checked(8 * count)?;
                let (values, rest) = rest.split_at_checked(8 * count)?;
                let (keys, values) = (keys.as_chunks().0, values.as_chunks().0);
                let level = (word >> LEVEL_SHIFT & 0xff) as u32;
                (Record::Node(Image { number: name(word), level, keys, values }), rest)
            }
            _ => return None,
        };
        self.0 = rest;
        Some(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RestoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.read().ok_or(RestoreError::Malformed);
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}

/// Which numbers a snapshot has. Its nodes get names without gaps: what a snapshot claims costs no
/// more memory than its bytes.
struct Nodes {
    root: u64,
    used: u64,
    bits: Vec<u64>,
    /// How many numbers are below each word of bits.
    ranks: Vec<u32>,
    count: u32,
}

impl Nodes {
    fn new(root: u64, used: u64) -> Self {
        let words = usize::try_from(used.div_ceil(64)).expect("below the limit of an arena");
        Self { root, used, bits: vec![0; words], ranks: Vec::with_capacity(words), count: 0 }
    }

    /// Notes `number`, which must be in use and new.
    fn take(&mut self, number: u64) -> bool {
        let is_new = number < self.used && !self.has(number);
        if is_new {
            let (word, bit) = place(number);
            self.bits[word] |= bit;
            self.count += 1;
        }
        is_new
    }

    /// All are noted.
    fn rank(&mut self) {
        let mut rank = 0;
        for word in &self.bits {
            self.ranks.push(rank);
            rank += word.count_ones();
        }
    }

    fn has(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// The name of the node that had `number`, if there is one; a node takes `lines`.
    fn name(&self, number: u64, lines: usize) -> Option<u32> {
        let (word, bit) = place(number);
        let rank = || self.ranks[word] + (self.bits[word] & (bit - 1)).count_ones();
        self.has(number).then(|| rank() * name(lines as u64))
    }
}

fn place(number: u64) -> (usize, u64) {
    (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64))
}
