//! What one ring is told at its start, and what an epoch changes of it.

use crate::types::{NodeId, RingId};
use crate::wire::{Kind, MAX_ACCEPTORS, Room};
use std::time::Duration;

/// What an acceptor keeps for learners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retention {
    /// What some configured learner has not applied: one that dies fills the log.
    Applied,
    /// What is not in complete checkpoints of enough replicas, and what a learner that is heard of
    /// still needs.
    Checkpoints {
        /// Learners that must report a checkpoint of an instance before it is forgotten.
        copies: usize,
        /// Without it, a log that is half full forgets what all learners that are heard of have
        /// applied: enough while one replica lives. With it the ring waits for checkpoints: the
        /// state survives the end of all replicas at once.
        is_strict: bool,
        /// A learner that is silent for longer does not count; it returns by a checkpoint.
        patience: Duration,
    },
}

/// What acceptors with logs on disk tell each other of their former lives (docs/adr/0032). It never
/// becomes less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FormerLives {
    /// Nothing: no log outlives its acceptor, or not all of them know these messages.
    Unknown,
    /// One that restarts asks the others whether its log is a copy of earlier days.
    Asked,
    /// Beyond that, its promise has more than f others beside it, until a coordinator has had all
    /// that it may have forgotten accepted anew, and vouches for it.
    Vouched,
}

impl FormerLives {
    /// What there is of it in a wire version, where logs are kept on disk.
    #[must_use]
    pub fn in_version(version: u8) -> Self {
        match version {
            _ if version >= Kind::Vouch.since() => Self::Vouched,
            _ if version >= Kind::Recall.since() => Self::Asked,
            _ => Self::Unknown,
        }
    }

    /// Whether acceptors write lives down, and ask.
    #[must_use]
    #[inline]
    pub fn are_kept(self) -> bool {
        self >= Self::Asked
    }
}

/// Who belongs to a ring in an epoch of its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number.
    pub number: u32,
    /// The acceptors.
    pub acceptors: Vec<NodeId>,
    /// As [`RingConfig::learners`].
    pub learners: Vec<u64>,
    /// As [`RingConfig::retention`].
    pub retention: Retention,
    /// As [`RingConfig::former_lives`].
    pub former_lives: FormerLives,
}

/// The settings of one ring, the same at each of its acceptors. But for what an [`Epoch`] changes
/// they are fixed for the ring's life.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// The ring.
    pub ring: RingId,
    /// The epoch of the configuration.
    pub epoch: u32,
    /// It decides who the members of the next epoch are: one ring of a cluster does.
    pub decides_members: bool,
    /// All n acceptors, of which n / 2 + 1 are a quorum. Ring r starts at acceptor r mod n.
    pub acceptors: Vec<NodeId>,
    /// The numbers of the learners that must have applied an instance before it may be forgotten; what
    /// others report counts for nothing. None: half the log is kept, and a learner that falls behind
    /// it needs a checkpoint.
    pub learners: Vec<u64>,
    /// What must not be forgotten yet.
    pub retention: Retention,
    /// What acceptors tell each other of former lives.
    pub former_lives: FormerLives,
    /// Instances that an acceptor's log holds; a power of two.
    pub instances: usize,
    /// How much a datagram holds.
    pub room: Room,
    /// Bytes of commands at which a batch leaves without waiting.
    pub batch_limit: usize,
    /// How long a batch, or a decision, waits for company while something is in flight.
    pub batch_delay: Duration,
    /// Batches that may wait for the window before proposals are refused.
    pub queue_limit: u64,
    /// Bytes in flight; an instance is charged twice its payload and 1 KiB more, as the kernel
    /// charges a socket buffer.
    pub window_bytes: usize,
    /// Instances that may be proposed beyond the slowest learner's applied one.
    pub apply_bound: u64,
    /// Silence after which the 2A of an undecided instance leaves again; doubles each time.
    pub resend: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// T of the election: rank r stands after T + r * T/2 without a heartbeat.
    pub election_timeout: Duration,
    /// Repairs that an idle ring may answer, bytes a millisecond; a busy one answers a quarter of
    /// what it carries on top.
    pub repair_rate: usize,
}

impl RingConfig {
    /// Ring `ring` over `acceptors`, the rest at its defaults.
    ///
    /// # Panics
    /// If there is no acceptor, or more than 15.
    #[must_use]
    pub fn new(ring: RingId, acceptors: Vec<NodeId>) -> Self {
        let count = acceptors.len();
        let is_ring = (1..=MAX_ACCEPTORS).contains(&count);
        assert!(is_ring, "1 to {MAX_ACCEPTORS} acceptors, not {count}");
        Self {
            ring,
            epoch: 1,
            decides_members: false,
            acceptors,
            learners: Vec::new(),
            retention: Retention::Applied,
            former_lives: FormerLives::Unknown,
            instances: 1024,
            room: Room::MOST,
            batch_limit: Room::MOST.batch(),
            batch_delay: Duration::from_micros(50),
            queue_limit: 64,
            window_bytes: 192 * 1024,
            apply_bound: 512,
            resend: Duration::from_millis(5),
            heartbeat: Duration::from_millis(10),
            election_timeout: Duration::from_millis(150),
            repair_rate: 32 * 1024,
        }
    }

    /// The same in datagrams of `room`, which a batch may fill.
    #[must_use]
    pub fn with_room(self, room: Room) -> Self {
        Self { room, batch_limit: room.batch(), ..self }
    }

    /// How many acceptors make a quorum, and a ring: more than half.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.acceptors.len() / 2 + 1
    }

    /// Where `node` stands among the acceptors.
    #[must_use]
    pub fn index(&self, node: NodeId) -> Option<usize> {
        self.acceptors.iter().position(|acceptor| *acceptor == node)
    }

    /// The election rank of acceptor `index`: the ring's first coordinator has rank 0.
    #[must_use]
    pub fn rank(&self, index: usize) -> u32 {
        let count = self.acceptors.len();
        let first = usize::from(self.ring.0) % count;
        u32::try_from((index + count - first) % count).expect("at most 15 acceptors")
    }
}
