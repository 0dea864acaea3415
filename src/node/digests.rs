//! What the first thread of a replica looks after: markers, and the comparison of its state with
//! that of the others at digest points.

use super::board::Board;
use super::home;
use super::watchdog::{Halt, Kept};
use crate::replica::{
    CheckpointTimer, Checkpoints, DigestTimer, Divergence, SessionTimer, Witnesses,
};
use crate::types::{Digest, ReplicaId, ReplicaSet, Slot, Time};
use crate::wire::{Command, DigestVote, Keyring};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a replica that stops, while nobody knows whether its state is right, tries to keep it.
const KEEPING: Duration = Duration::from_secs(10);
/// And for how long more, if a checkpoint is under way then.
const LONGEST: Duration = Duration::from_secs(60);

/// What the first thread of a replica has ordered now and then, and looks after.
#[derive(Debug, Default)]
pub(super) struct Markers {
    pub(super) digests: Option<DigestTimer>,
    pub(super) sessions: Option<SessionTimer>,
    pub(super) checkpoints: Option<CheckpointTimer>,
    pub(super) comparison: Option<Comparison>,
}

impl Markers {
    /// Whether nobody is to take over this replica's state.
    pub(super) fn is_disputed(&self) -> bool {
        self.comparison.as_ref().is_some_and(Comparison::is_disputed)
    }
}

/// Who compares.
#[derive(Debug)]
pub(super) struct Comparer {
    pub(super) me: ReplicaId,
    /// Of the replica, 64 random bits.
    pub(super) life: u64,
    pub(super) cluster: u64,
    pub(super) groups: usize,
    pub(super) keyring: Option<Arc<Keyring>>,
    /// The replica's directory.
    pub(super) home: PathBuf,
}

/// The comparison of a replica's digest points with those of others.
#[derive(Debug)]
pub(super) struct Comparison {
    comparer: Comparer,
    /// The replicas' names.
    names: Vec<(ReplicaId, String)>,
    witnesses: Witnesses,
    /// Points of the board that were voted on, or never will be.
    known: u64,
    /// State transfers of this life: what was found before one is not voted on.
    restored: u64,
    stop: Option<Stop>,
}

/// The replica stops: its state may be wrong.
#[derive(Debug)]
struct Stop {
    divergence: Divergence,
    /// A checkpoint from here on has its state.
    from: Slot,
    until: Time,
}

impl Comparison {
    /// Of one of the replicas `names`.
    pub(super) fn new(comparer: Comparer, names: Vec<(ReplicaId, String)>) -> Self {
        let witnesses = Witnesses::new(comparer.me, comparer.life, members(&names));
        Self { comparer, names, witnesses, known: 0, restored: 0, stop: None }
    }

    /// From now on these are the replicas.
    pub(super) fn take_up(&mut self, names: Vec<(ReplicaId, String)>) {
        self.witnesses.take_up(members(&names));
        self.names = names;
    }

    fn is_disputed(&self) -> bool {
        self.stop.is_some() || self.witnesses.is_disputed()
    }

    /// A vote has come in the order.
    pub(super) fn on_vote(
        &mut self,
        vote: &DigestVote,
        board: &Board,
        now: Time,
    ) -> Result<(), Halt> {
        let Comparer { keyring, cluster, .. } = &self.comparer;
        let is_signed = keyring.as_ref().is_none_or(|keyring| vote.is_signed(*cluster, keyring));
        if !is_signed || self.stop.is_some() {
            return Ok(());
        }
        let Some(divergence) = self.witnesses.on_vote(vote, now) else { return Ok(()) };
        board.silence();
        if divergence.is_outvoted {
            return Err(self.outvoted(&divergence));
        }
        self.divide(divergence, board, now)
    }

    /// Nobody knows which state is right: from now on this replica answers nobody, and no other life
    /// of it begins before somebody has looked.
    #[cold]
    fn divide(&mut self, divergence: Divergence, board: &Board, now: Time) -> Result<(), Halt> {
        let Divergence { slot, .. } = divergence;
        let found = self.found(&divergence);
        let said =
            home::divide(&self.comparer.home, &format!("the states at slot {slot} were {found}"));
        if let Err(source) = said {
            let path = self.comparer.home.clone();
            return Err(Halt::Unsaid { slot, found, path, source });
        }
        let from = Slot(board.position());
        self.stop = Some(Stop { divergence, from, until: now + KEEPING });
        Ok(())
    }

    /// Votes on what this replica has found. `is_muted`: it catches up, and has no vote. A replica
    /// that stops has a checkpoint made first, so that its state is not lost if it turns out to be
    /// the right one: the logs may have been forgotten by what the others have kept.
    pub(super) fn look(
        &mut self,
        board: &Board,
        (checkpoints, transfers, is_muted): (&Checkpoints, u64, bool),
        now: Time,
        mut multicast: impl FnMut(&Command<'_>),
    ) -> Result<(), Halt> {
        let Self { comparer, witnesses, known, restored, stop, .. } = self;
        let Comparer { keyring, cluster, groups, .. } = comparer;
        if let Some(stop) = stop {
            let latest = checkpoints.latest().map(|checkpoint| checkpoint.slot());
            let kept = latest.filter(|slot| *slot >= stop.from);
            let is_over =
                now >= stop.until && !(checkpoints.is_busy() && now < stop.until + LONGEST);
            if kept.is_some() || !checkpoints.are_on() || is_over {
                return Err(self.divided(kept));
            }
            // The timer of checkpoints asks for a marker of it.
            if !checkpoints.is_busy() {
                checkpoints.want();
            }
            return Ok(());
        }
        *known = board.settled(*known, |point| witnesses.find(point));
        let is_restored = std::mem::replace(restored, transfers) != transfers;
        if is_muted || is_restored {
            *known = board.taken();
            witnesses.forget();
            return Ok(());
        }
        witnesses.look(now, |vote| {
            let vote = keyring.as_ref().map_or(vote, |keyring| vote.signed(*cluster, keyring));
            multicast(&vote.command(*groups));
        });
        Ok(())
    }

    fn found(&self, divergence: &Divergence) -> String {
        let name = |replica: &ReplicaId| {
            let known = self.names.iter().find(|(known, _)| known == replica);
            known.map_or("?", |(_, name)| name)
        };
        let vote = |(replica, digest): &(ReplicaId, Digest)| {
            format!("{:016x} at {}", digest.0, name(replica))
        };
        let votes: Vec<String> = divergence.votes.iter().map(vote).collect();
        votes.join(", ")
    }

    #[cold]
    fn outvoted(&self, divergence: &Divergence) -> Halt {
        Halt::Outvoted { slot: divergence.slot, found: self.found(divergence) }
    }

    #[cold]
    fn divided(&self, kept: Option<Slot>) -> Halt {
        let Stop { divergence, .. } = self.stop.as_ref().expect("it stops");
        Halt::Divided { slot: divergence.slot, found: self.found(divergence), kept: Kept(kept) }
    }
}

fn members(names: &[(ReplicaId, String)]) -> ReplicaSet {
    ReplicaSet::of(names.iter().map(|(replica, _)| *replica))
}
