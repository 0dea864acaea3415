//! Planted bugs: deliberate faults that the simulator and the tests must catch.
//!
//! Compiled in with the feature `planted-bugs` and wherever debug assertions are on; everywhere
//! else [`Bug::is_planted`] is the constant `false` and costs nothing. One bug at a time, chosen
//! for the whole process by [`Bug::plant`].

use std::sync::atomic::{AtomicU32, Ordering};

static PLANTED: AtomicU32 = AtomicU32::new(0);

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)*) => {
        /// One deliberate fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Bug {
            $($(#[$doc])* $bug,)*
        }

        impl Bug {
            /// Every bug.
            pub const ALL: &'static [Self] = &[$(Self::$bug),*];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bug => $name,)* }
            }
        }
    };
}

bugs! {
    /// The coordinator decides on its own accept alone.
    QuorumOfOne = "quorum-of-one",
    /// An acceptor votes when it hears a 2B, without holding the value.
    AcceptedWithoutValue = "2b-without-value",
    /// A member forwards a 2B before it holds the value itself: the first holder speaks for all.
    FirstHolderAccepted = "first-holder-2b",
    /// A new coordinator fills an instance below a promiser's trim mark with a no-op.
    NoopOverTrimmed = "no-op-over-trimmed",
    /// A restarted coordinator names its values from 1 again, without its incarnation.
    IdReuse = "id-reuse",
    /// An acceptor accepts at a ballot below its promise.
    AcceptBelowPromise = "accept-below-promise",
    /// Phase 1 takes the first value that it hears, not that of the highest ballot.
    PhaseOneAnyValue = "phase-1-any-value",
    /// Promise and vote leave before their record is persistent.
    VoteBeforePersist = "vote-before-persist",
    /// The coordinator counts its own vote before its record is persistent.
    DecisionBeforePersist = "decision-before-persist",
    /// An acceptor that has lost its memory promises and votes as if there had been none.
    AmnesiacVotes = "amnesiac-votes",
    /// An acceptor whose disk was put back to an older image votes as if nothing had happened.
    OldCopyVotes = "old-copy-votes",
    /// A candidate counts the promise of an acceptor that nobody vouches for like any other.
    UnvouchedCounts = "unvouched-counts",
    /// A learner delivers a value by its instance alone, whatever id was decided.
    DeliverWithoutId = "deliver-without-id",
    /// The merge counts SKIP(n) as one slot.
    SkipNotCounted = "skip-not-counted",
    /// The merge takes whichever ring has a value first.
    MergeByArrival = "merge-by-arrival",
    /// Replicas execute what they have executed before.
    NoDuplicateCheck = "no-duplicate-check",
    /// The safety check looks at the leaf's counts but not at its bounds.
    CheckWithoutBounds = "check-without-bounds",
    /// The safety check looks at the lower bound only.
    OneSidedBound = "one-sided-bound",
    /// The safety check looks at a sibling leaf.
    SiblingPeek = "sibling-peek",
    /// A command whose check failed is executed all the same.
    ExecutedAfterFailedCheck = "executed-after-failed-check",
    /// The executor of synchronous mode does not wait for the others.
    ReplyBeforeBarrier = "reply-before-barrier",
    /// The other workers go on before the executor has executed.
    ReleaseBeforeExecution = "release-before-execution",
    /// A conservative copy executes although its twin, or another copy of it, has executed.
    ConservativeTwinIgnored = "conservative-twin-ignored",
    /// An undo restores the value but not the physical state.
    UndoForgetsState = "undo-forgets-state",
    /// Some workers cut a checkpoint after the marker, others at it.
    CutsAtDifferentSlots = "cuts-at-different-slots",
    /// A replica that catches up answers what was answered long ago.
    RepliesWhileRecovering = "replies-while-recovering",
    /// A client that resumes a session goes on behind what one table says, not beyond all of them.
    ResumeOnFirstWord = "resume-on-first-word",
    /// Who writes to a leaf after a cut does not save it as it was.
    LeafNotSavedAtCut = "leaf-not-saved-at-cut",
    /// An acceptor that begins in a later epoch, without a memory, takes itself for one of the first.
    NewcomerVotes = "newcomer-votes",
    /// An acceptor that takes up an epoch forgets what it has accepted but not heard to be decided.
    AcceptedForgottenAtTakeUp = "accepted-forgotten-at-take-up",
    /// A checkpoint leaves out the session tables.
    SessionsNotInCheckpoint = "sessions-not-in-checkpoint",
    /// At some digest points one replica's state is not what the order makes of it.
    StateAstray = "state-astray",
    /// An executor panics over its tenth command that changes something.
    ExecutorPanics = "executor-panics",
    /// At its tenth rendezvous a worker forgets to come, and waits for the others to be done.
    WorkerNeverArrives = "worker-never-arrives",
}

impl Bug {
    /// Whether this bug is planted in this process.
    #[inline]
    #[must_use]
    pub fn is_planted(self) -> bool {
        cfg!(any(feature = "planted-bugs", debug_assertions))
            && PLANTED.load(Ordering::Relaxed) == self as u32 + 1
    }

    /// Whether some bug is planted: assertions that would tell too early stand back.
    #[must_use]
    pub fn is_any_planted() -> bool {
        cfg!(any(feature = "planted-bugs", debug_assertions))
            && PLANTED.load(Ordering::Relaxed) != 0
    }

    /// Plants `bug`, or none, for the whole process. Returns whether this build can.
    pub fn plant(bug: Option<Self>) -> bool {
        PLANTED.store(bug.map_or(0, |bug| bug as u32 + 1), Ordering::Relaxed);
        cfg!(any(feature = "planted-bugs", debug_assertions))
    }

    /// The bug called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}
