//! What the threads of one node tell each other and whoever asks: how far each worker is, digest
//! points, dropped datagrams. Each word stands for itself, but for positions, markers and points.

use super::observer::{
    Dropped, KeptFigures, KeptLine, NodeFigures, ReplicaFigures, RingFigures, RingLine,
    StateFigures, StateLine,
};
use crate::multi_ring::{RingPosition, Subscription};
use crate::replica::{Checkpoints, Recovery, WorkerCounters};
use crate::ring_paxos::{LINKS, Link};
use crate::sync::atomic::{AtomicBool, AtomicCell, AtomicU64, Ordering};
use crate::types::{Address, Digest, GroupSet, Instance, RingId, Slot};
use crate::wire::{DecodeError, DigestPoint, Fact, Topic};
use crossbeam_utils::CachePadded;
use std::collections::BTreeMap;

/// Digest points that are kept.
const POINTS: usize = 64;
/// Reasons to drop a datagram beyond those of its bytes.
const NETWORK: [&str; 4] = ["socket-buffer", "receive-buffers", "link", "not-sent"];

/// One worker's line of the board: it alone writes.
#[derive(Debug, Default)]
struct Line {
    /// Of its rings: number plus 1, the next instance, its slot, the last instance that is decided.
    rings: [[AtomicU64; 4]; 2],
    /// Of its rings: hash chains of what it has handed over last.
    links: [[AtomicCell<Link>; LINKS]; 2],
    /// What must be fetched, of either ring.
    lost: AtomicU64,
    /// It answers nobody, since it catches up.
    is_muted: AtomicBool,
    executed: AtomicU64,
    rejected: AtomicU64,
    no_session: AtomicU64,
    /// Contradictions among decisions, and the first one's ring and instance.
    conflicts: [AtomicU64; 3],
    /// Of a worker in a rendezvous: the set.
    meets: AtomicU64,
    /// It has nothing decided to go on with.
    starves: AtomicBool,
    /// The last marker of this replica that it has come to.
    marker: AtomicU64,
}

/// What a worker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// It has something to do.
    Going,
    /// What it needs next is not decided yet, or not here.
    Starving,
    /// It waits in a rendezvous of this set.
    Meeting(GroupSet),
}

/// The board of a node.
#[derive(Debug)]
pub(super) struct Board {
    workers: Box<[CachePadded<Line>]>,
    points: Box<[AtomicCell<DigestPoint>]>,
    /// Digest points so far.
    taken: AtomicU64,
    /// Commands that were executed when the last of them was taken.
    executed: AtomicU64,
    drops: [AtomicU64; DecodeError::ALL.len()],
    /// Where the last of each reason came from.
    sources: [AtomicU64; DecodeError::ALL.len()],
    /// Below the wire format, of all threads.
    network: [AtomicU64; NETWORK.len()],
    /// Of an acceptor, by ring.
    rings: Box<[RingLine]>,
    /// The node has ended though its process lives.
    has_ended: AtomicBool,
    /// The replica's state may be wrong: it answers nobody.
    is_silent: AtomicBool,
    /// The life that this replica's markers bear.
    life: AtomicU64,
    /// Of a replica: its checkpoints, and their file.
    state: StateLine,
    kept: KeptLine,
}

impl Board {
    /// For a node of `workers`; an acceptor has none.
    pub(super) fn new(workers: usize) -> Self {
        Self::with_rings(workers, 0)
    }

    /// For a node of `workers`, or an acceptor of `rings`.
    pub(super) fn with_rings(workers: usize, rings: usize) -> Self {
        Self {
            rings: (0..rings).map(|_| RingLine::default()).collect(),
            has_ended: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            network: Default::default(),
            workers: (0..workers).map(|_| CachePadded::default()).collect(),
            points: (0..POINTS).map(|_| AtomicCell::default()).collect(),
            taken: AtomicU64::new(0),
            executed: AtomicU64::new(0),
            drops: Default::default(),
            sources: Default::default(),
            life: AtomicU64::new(0),
            state: StateLine::default(),
            kept: KeptLine::default(),
        }
    }

    /// Worker `group` is there, and has counted that; whether it answers nobody.
    pub(super) fn publish(
        &self,
        group: usize,
        subscription: &Subscription,
        (counters, is_muted): (&WorkerCounters, bool),
    ) {
        let Some(line) = self.workers.get(group) else { return };
        line.is_muted.store(is_muted, Ordering::Relaxed);
        let positions = subscription.position().zip(subscription.learners());
        for (words, (position, learner)) in line.rings.iter().zip(positions) {
            let RingPosition { ring, next, slot } = position;
            let values = [u64::from(ring.0) + 1, next.0, slot.0, learner.heard().0];
            come_to(words, values);
        }
        for (cells, learner) in line.links.iter().zip(subscription.learners()) {
            cells.iter().zip(learner.links()).for_each(|(cell, link)| cell.store(link));
        }
        let lost = subscription.needs_state_transfer().map_or(0, |(_, instance)| instance.0);
        line.lost.store(lost, Ordering::Relaxed);
        line.executed.store(counters.executed, Ordering::Relaxed);
        line.rejected.store(counters.rejected, Ordering::Relaxed);
        line.no_session.store(counters.no_session, Ordering::Relaxed);
        if let Some((ring, instance)) = subscription.conflict() {
            let count = subscription.counters().learners.conflicts;
            let values = [count, u64::from(ring.0), instance.0];
            for (word, value) in line.conflicts.iter().zip(values) {
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    /// Worker `group` is about `stand`.
    pub(super) fn stand(&self, group: usize, stand: Stand) {
        let Some(line) = self.workers.get(group) else { return };
        let set = if let Stand::Meeting(set) = stand { set } else { GroupSet::EMPTY };
        line.meets.store(set.to_bits(), Ordering::Relaxed);
        line.starves.store(stand == Stand::Starving, Ordering::Relaxed);
    }

    /// Markers of `life` are this replica's own.
    pub(super) fn expect(&self, life: u64) {
        self.life.store(life, Ordering::Relaxed);
    }

    /// Worker `group` has come to marker `number` of `life`.
    pub(super) fn pass(&self, group: usize, life: u64, number: u64) {
        if let Some(line) = self.workers.get(group)
            && self.life.load(Ordering::Relaxed) == life
        {
            // Release: who has seen it (Acquire, in `has_passed`) sees the tables as they were there.
            line.marker.store(number, Ordering::Release);
        }
    }

    /// Whether every worker has come to the replica's own marker `number`.
    pub(super) fn has_passed(&self, number: u64) -> bool {
        self.workers.iter().all(|line| line.marker.load(Ordering::Acquire) >= number)
    }

    /// Whether a worker of `set`, or one that such a worker waits for in turn, has nothing decided
    /// to go on with.
    pub(super) fn lacks_a_decision(&self, set: GroupSet) -> bool {
        let mut set = set;
        loop {
            let members = self.workers.iter().enumerate();
            let members = members.filter(|(index, _)| set.to_bits() >> index & 1 != 0);
            let mut wider = set;
            for (_, line) in members {
                if line.starves.load(Ordering::Relaxed) {
                    return true;
                }
                wider = wider.union(GroupSet::from_bits(line.meets.load(Ordering::Relaxed)));
            }
            if wider == set {
                return false;
            }
            set = wider;
        }
    }

    /// How many checkpoints there are and how often the replica came back, and where the last
    /// checkpoint is.
    pub(super) fn publish_checkpoint(&self, checkpoints: &Checkpoints, recovery: &Recovery) {
        let after = |slot: Option<Slot>| slot.map_or(0, |slot| slot.0 + 1);
        let fetching = recovery.fetching().unwrap_or_default();
        self.state.store(&StateFigures {
            checkpoint: after(checkpoints.slot()),
            completed: checkpoints.completed(),
            transfers: recovery.count(),
            restored: after(recovery.restored()),
            source: fetching.from.map_or(0, |node| u64::from(node.0) + 1),
            fetched: fetching.bytes,
            length: fetching.length,
        });
    }

    /// How the file of the checkpoints is.
    pub(super) fn publish_kept(&self, kept: &KeptFigures) {
        self.kept.store(kept);
    }

    /// How it was said to be last.
    pub(super) fn kept(&self) -> KeptFigures {
        self.kept.load()
    }

    /// Of a replica whose workers have all begun.
    fn replica(&self) -> Option<ReplicaFigures> {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let has_begun = |line: &CachePadded<Line>| load(&line.rings[0][0]) > 0;
        if self.workers.is_empty() || !self.workers.iter().all(has_begun) {
            return None;
        }
        Some(ReplicaFigures {
            is_lost: self.workers.iter().any(|line| load(&line.lost) > 0),
            is_muted: self.workers.iter().any(|line| line.is_muted.load(Ordering::Relaxed)),
            position: self.position(),
            state: self.state.load(),
            kept: self.kept(),
        })
    }

    /// The first slot of the ring of all groups that some worker has not left behind.
    pub(super) fn position(&self) -> u64 {
        // That ring is the second one of each worker: with one group, the only one.
        let last = usize::from(self.workers.len() > 1);
        let slots = self.workers.iter().map(|line| line.rings[last][2].load(Ordering::Acquire));
        slots.min().unwrap_or_default()
    }

    /// The digest points from the `from`th on that no marker can change any more, since every worker
    /// has left their slots; how many there are now in all.
    pub(super) fn settled(&self, from: u64, mut each: impl FnMut(DigestPoint)) -> u64 {
        // First: a worker that has left a slot has written its point before.
        let position = self.position();
        let taken = self.taken.load(Ordering::Acquire);
        for at in from.max(taken.saturating_sub(POINTS as u64))..taken {
            let point = self.points[place(at)].load();
            if point.slot.0 >= position {
                return at;
            }
            each(point);
        }
        taken
    }

    /// A digest was taken at `slot` of the ring of all groups. Of several at one place the last
    /// stands, at every replica the same.
    pub(super) fn push(&self, slot: Slot, digest: Digest) {
        let taken = self.taken.load(Ordering::Relaxed);
        let is_same = taken > 0 && self.points[place(taken - 1)].load().slot == slot;
        let at = if is_same { taken - 1 } else { taken };
        self.points[place(at)].store(DigestPoint { slot, digest });
        self.executed.store(self.executed(), Ordering::Relaxed);
        // Release: who reads the count (Acquire, in `settled` and `facts`) sees the point.
        self.taken.store(at + 1, Ordering::Release);
    }

    /// Digest points taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether a command that changes state was executed since the last digest point.
    pub(super) fn has_changed(&self) -> bool {
        self.executed() != self.executed.load(Ordering::Relaxed)
    }

    fn executed(&self) -> u64 {
        self.workers.iter().map(|line| line.executed.load(Ordering::Relaxed)).sum()
    }

    /// An acceptor of `ring` is there, and has counted that.
    pub(super) fn publish_ring(&self, ring: RingId, figures: &RingFigures) {
        if let Some(line) = self.rings.get(usize::from(ring.0)) {
            line.store(figures);
        }
    }

    /// So many more datagrams were lost below the wire format, in the order of [`NETWORK`].
    pub(super) fn count_network(&self, counts: [u64; NETWORK.len()]) {
        for (word, count) in self.network.iter().zip(counts).filter(|(_, count)| *count > 0) {
            word.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The node has ended.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// From now on the replica answers nobody.
    pub(super) fn silence(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// All of it, for whoever watches from outside.
    pub(super) fn figures(&self) -> NodeFigures {
        let mut facts = Vec::new();
        self.facts(&mut facts);
        network_facts(self.network.each_ref().map(|word| word.load(Ordering::Relaxed)), &mut facts);
        let rings = self.rings.iter().map(RingLine::load).collect();
        let mut lags = BTreeMap::new();
        for [ring, next, _, heard] in self.workers.iter().flat_map(|line| &line.rings) {
            let [ring, next, heard] = [ring, next, heard].map(|word| word.load(Ordering::Relaxed));
            if let Some(ring) = ring.checked_sub(1) {
                let lag: &mut u64 = lags.entry(ring).or_default();
                *lag = (*lag).max((heard + 1).saturating_sub(next));
            }
        }
        let is_up = !self.has_ended.load(Ordering::Relaxed);
        let drops = self.drops().collect();
        NodeFigures { is_up, facts, rings, lags, drops, replica: self.replica() }
    }

    /// A datagram of `from` was dropped.
    pub(super) fn count_drop(&self, reason: DecodeError, from: Address) {
        self.sources[reason.index()].store(from.to_bits(), Ordering::Relaxed);
        self.drops[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Datagrams that were dropped for each reason.
    fn drops(&self) -> impl Iterator<Item = Dropped> {
        let dropped = DecodeError::ALL.into_iter().map(|reason| Dropped {
            reason,
            count: self.drops[reason.index()].load(Ordering::Relaxed),
            from: Address::from_bits(self.sources[reason.index()].load(Ordering::Relaxed)),
        });
        dropped.filter(|dropped| dropped.count > 0)
    }

    /// What there is to say of drops and, of a replica, of positions and digests.
    pub(super) fn facts(&self, facts: &mut Vec<Fact>) {
        for Dropped { reason, count, .. } in self.drops() {
            let index = u16::try_from(reason.index()).expect("few reasons");
            facts.push(Fact::new(Topic::Drop, index, [count, 0, 0]));
        }
        if self.workers.is_empty() {
            return;
        }
        self.positions(facts);
        let sum = |word: fn(&Line) -> &AtomicU64| {
            self.workers.iter().map(|line| word(line).load(Ordering::Relaxed)).sum()
        };
        let values =
            [sum(|line| &line.executed), sum(|line| &line.rejected), sum(|line| &line.no_session)];
        facts.push(Fact::new(Topic::Executed, 0, values));
        for line in &self.workers {
            let [count, ring, instance] =
                [0, 1, 2].map(|word| line.conflicts[word].load(Ordering::Relaxed));
            if count > 0 {
                let ring = RingId(u16::try_from(ring).expect("at most 65 rings"));
                facts.push(Fact::new(Topic::Conflict, ring.0, [count, instance, 0]));
            }
        }
        self.links(facts);
        let StateFigures { checkpoint, completed, transfers, .. } = self.state.load();
        facts.push(Fact::new(Topic::Checkpoint, 0, [checkpoint, completed, transfers]));
        let KeptFigures { saves, failures, error, .. } = self.kept();
        facts.push(Fact::new(Topic::Kept, 0, [failures, error, saves]));
        let taken = self.taken.load(Ordering::Acquire);
        for (index, at) in (0..).zip(taken.saturating_sub(POINTS as u64)..taken) {
            let DigestPoint { slot, digest } = self.points[place(at)].load();
            facts.push(Fact::new(Topic::Digest, index, [slot.0, digest.0, 0]));
        }
    }

    /// What the workers have handed over, once where they say the same.
    fn links(&self, facts: &mut Vec<Fact>) {
        let first = facts.len();
        for (ring, cells) in self.workers.iter().flat_map(|line| line.rings.iter().zip(&line.links))
        {
            let Some(ring) = ring[0].load(Ordering::Relaxed).checked_sub(1) else { continue };
            let index = u16::try_from(ring).expect("at most 65 rings");
            for Link { last, hash } in cells.iter().map(AtomicCell::load) {
                let fact = Fact::new(Topic::Link, index, [last.0, hash, 0]);
                if last > Instance(0) && !facts[first..].contains(&fact) {
                    facts.push(fact);
                }
            }
        }
    }

    /// The slowest worker's, of each ring.
    fn positions(&self, facts: &mut Vec<Fact>) {
        let first = facts.len();
        for line in &self.workers {
            let lost = line.lost.load(Ordering::Relaxed);
            for [ring, next, slot, _] in &line.rings {
                let Some(ring) = ring.load(Ordering::Relaxed).checked_sub(1) else { continue };
                let index = u16::try_from(ring).expect("at most 65 rings");
                let (next, slot) = (next.load(Ordering::Relaxed), slot.load(Ordering::Relaxed));
                let applied = Instance(next).previous().0;
                let fact = Fact::new(Topic::Applied, index, [applied, slot, lost]);
                match facts[first..].iter_mut().find(|known| known.index == index) {
                    Some(known) if known.values[0] > applied => *known = fact,
                    Some(_) => {}
                    None => facts.push(fact),
                }
            }
        }
    }
}

/// The name of a reason of [`Topic::Drop`].
pub(super) fn reason(index: u16) -> &'static str {
    let index = usize::from(index);
    match DecodeError::ALL.get(index) {
        Some(DecodeError::Truncated) => "truncated",
        Some(DecodeError::Foreign) => "foreign",
        Some(DecodeError::Version) => "version",
        Some(DecodeError::Checksum) => "checksum",
        Some(DecodeError::Cluster) => "cluster",
        Some(DecodeError::Configuration) => "configuration",
        Some(DecodeError::Epoch) => "epoch",
        Some(DecodeError::Malformed) => "malformed",
        Some(DecodeError::Unsigned) => "unsigned",
        Some(DecodeError::Signed) => "signed",
        Some(DecodeError::Forged) => "forged",
        Some(DecodeError::Replayed) => "replayed",
        Some(DecodeError::Unentitled) => "unentitled",
        None => NETWORK.get(index - DecodeError::ALL.len()).copied().unwrap_or("other"),
    }
}

/// Facts on datagrams that were lost below the wire format: in the order of [`NETWORK`].
pub(super) fn network_facts(counts: [u64; NETWORK.len()], facts: &mut Vec<Fact>) {
    for (index, count) in (DecodeError::ALL.len()..).zip(counts).filter(|(_, count)| *count > 0) {
        let index = u16::try_from(index).expect("few reasons");
        facts.push(Fact::new(Topic::Drop, index, [count, 0, 0]));
    }
}

/// A worker is there in one of its rings.
fn come_to(words: &[AtomicU64; 4], values: [u64; 4]) {
    for (word, value) in words.iter().zip(values) {
        // Release: who sees how far it is (Acquire, in `position`) sees what it did before.
        word.store(value, Ordering::Release);
    }
}

fn place(point: u64) -> usize {
    usize::try_from(point % POINTS as u64).expect("a small number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_digest_points_are_kept_and_one_place_has_one() {
        let board = Board::new(1);
        for position in 1..=100 {
            board.push(Slot(position), Digest(0));
            board.push(Slot(position), Digest(position * 2));
        }
        let mut facts = Vec::new();
        board.facts(&mut facts);
        let points: Vec<_> =
            facts.iter().filter(|fact| fact.topic() == Some(Topic::Digest)).collect();
        assert_eq!((points.len(), board.taken()), (POINTS, 100));
        assert_eq!(points[0].values[..2], [37, 74]);
        assert_eq!(points[POINTS - 1].values[..2], [100, 200]);
    }

    #[test]
    fn a_digest_point_is_settled_once_all_workers_have_left_its_slot() {
        let board = Board::new(2);
        let come_to = |worker: usize, slot| {
            let [_, last] = &board.workers[worker].rings;
            last[0].store(3, Ordering::Relaxed);
            last[2].store(slot, Ordering::Relaxed);
        };
        let settled = |from| {
            let mut slots = Vec::new();
            let upto = board.settled(from, |point| slots.push(point.slot.0));
            (upto, slots)
        };
        [4, 7].iter().for_each(|slot| board.push(Slot(*slot), Digest(1)));
        assert_eq!(settled(0), (0, vec![]));
        come_to(0, 9);
        come_to(1, 4);
        assert_eq!(settled(0), (0, vec![]), "a worker may be in it still");
        come_to(1, 5);
        assert_eq!(settled(0), (1, vec![4]));
        come_to(1, 8);
        assert_eq!((settled(1), settled(2)), ((2, vec![7]), (2, vec![])));
    }

    #[test]
    fn a_marker_has_passed_once_all_workers_have_come_to_it_and_only_the_replicas_own_counts() {
        let board = Board::new(2);
        board.expect(7);
        board.pass(0, 7, 3);
        assert!(!board.has_passed(1), "the other worker is behind");
        board.pass(1, 8, 3);
        assert!(!board.has_passed(1), "another replica's marker");
        board.pass(1, 7, 2);
        assert!(board.has_passed(2) && !board.has_passed(3));
    }

    #[test]
    fn every_reason_has_a_name() {
        let count = DecodeError::ALL.len() + NETWORK.len();
        let names: Vec<_> = (0..u16::try_from(count).unwrap()).map(reason).collect();
        assert!(names.iter().all(|name| !name.is_empty() && *name != "other"), "{names:?}");
        assert_eq!(reason(u16::MAX), "other");
    }
}

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;
    use crate::sync::Rendezvous;
    use crate::sync::model::{Turns, explore, meet};
    use loom::sync::Arc;

    /// Two markers in one value, which the workers meet for and leave, beside somebody who looks.
    fn settles_the_last_point_of_a_slot(workers: usize) {
        explore(move || {
            let (board, rendezvous) = (Board::new(workers), Rendezvous::new(workers));
            let shared = Arc::new((board, rendezvous, Turns::default()));
            let come_to = move |board: &Board, me: usize, slot| {
                come_to(&board.workers[me].rings[workers - 1], [3, 1, slot, 1]);
            };
            (0..workers).for_each(|me| come_to(&shared.0, me, 4));
            let pass = move |shared: &(Board, Rendezvous, Turns), me: usize| {
                let (board, rendezvous, turns) = shared;
                let push = || {
                    board.push(Slot(4), Digest(1));
                    turns.take();
                    board.push(Slot(4), Digest(2));
                };
                if workers > 1 {
                    meet(rendezvous, (me, 0), (GroupSet::all(workers), 0), push);
                } else {
                    push(); // A meeting has a fence, too.
                }
                turns.take();
                come_to(board, me, 5);
            };
            let worker = |me| {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || pass(&shared, me))
            };
            let threads: Vec<_> = (0..workers).map(worker).collect();
            let look = |from| {
                let mut points = Vec::new();
                (shared.0.settled(from, |point| points.push(point)), points)
            };
            let last = DigestPoint { slot: Slot(4), digest: Digest(2) };
            shared.2.take();
            let (upto, points) = look(0);
            assert!(points == [] || points == [last], "{points:?}");
            threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
            let (_, later) = look(upto);
            assert_eq!([points, later].concat(), [last]);
        });
    }

    #[test]
    fn a_point_that_is_settled_is_the_last_of_its_slot() {
        (1..3).for_each(settles_the_last_point_of_a_slot);
    }

    #[test]
    fn who_sees_that_a_marker_has_passed_sees_the_tables_as_they_were_there() {
        explore(|| {
            let shared = Arc::new((Board::new(2), [AtomicU64::new(0), AtomicU64::new(0)]));
            shared.0.expect(7);
            let workers = [0, 1].map(|me| {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || {
                    let (board, tables) = &*shared;
                    tables[me].store(1, Ordering::Relaxed);
                    board.pass(me, 7, 1);
                })
            });
            let (board, tables) = &*shared;
            if board.has_passed(1) {
                assert!(tables.iter().all(|table| table.load(Ordering::Relaxed) == 1));
            }
            workers.into_iter().for_each(|worker| worker.join().expect("it does not panic"));
        });
    }
}
