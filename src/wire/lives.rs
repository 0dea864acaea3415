//! What acceptors say to each other when one of them begins a life with the log of former ones, and
//! of such lives when they promise.

use super::parts::MAX_ACCEPTORS;
use crate::types::{Ballot, Incarnation, Instance, Life};
use bytemuck::{Pod, Zeroable};

/// Acceptor -> acceptor: this life of the sender has begun. The receiver writes it down, and then
/// says what it knows of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Recall {
    /// The life.
    pub life: Life,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Recollection {
    /// The life that asked.
    pub to: Incarnation,
    /// By acceptor, in the order of the epoch: its last life that the answerer has written down; the
    /// answerer's own is the present one.
    pub lives: [Life; MAX_ACCEPTORS],
    /// The highest ballot that the answerer has promised.
    pub promised: Ballot,
    /// A ballot that the receiver has promised, and in whose ring it was; zero: none is known.
    pub voted: Ballot,
    /// From behind this one ...
    pub trim: Instance,
    /// ... up to this one everything was decided at `voted`, by the receiver's votes too.
    pub decided: Instance,
    /// A [`Recollection::SOUND`], [`Recollection::IN_DOUBT`] or [`Recollection::FORGETFUL`].
    pub memory: u64,
}

impl Recollection {
    /// The answerer has no memory of former lives.
    pub const FORGETFUL: u64 = 0;
    /// It remembers, but asks itself whether its log is a copy of earlier days.
    pub const IN_DOUBT: u64 = 1;
    /// It remembers.
    pub const SOUND: u64 = 2;
}

/// Acceptor -> candidate, before each answer to its Prepare: the lives that the promiser knew of when
/// it had promised. A promise counts only with this, and not if another promiser knows a later life
/// of its maker (docs/adr/0032).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct KnownLives {
    /// What was promised.
    pub ballot: Ballot,
    /// By acceptor, in the order of the epoch: the number of its last known life; the sender's own is
    /// the life that promised. 0: none, or one that needed no number.
    pub numbers: [u64; MAX_ACCEPTORS],
}

/// Coordinator -> acceptor, when it asks by a [`Recall`]: `ballot` has decided anew all that it
/// inherited, and the coordinator knows of `life`, whose log is as good as any other from now on.
/// Acceptor -> candidate, before its promise of `ballot`: this was once said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Vouch {
    /// The coordinator's or the candidate's.
    pub ballot: Ballot,
    /// The acceptor's.
    pub life: Incarnation,
}
