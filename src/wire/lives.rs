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
    /// The last life of it that the answerer has written down.
    pub known: Life,
    /// The answerer's own life.
    pub own: Life,
    /// The highest ballot that the answerer has promised.
    pub promised: Ballot,
    /// A ballot that the receiver has promised, and in whose ring it was; zero: none is known.
    pub voted: Ballot,
    /// From behind this one ...
    pub trim: Instance,
    /// ... up to this one everything was decided at `voted`, by the receiver's votes too.
    pub decided: Instance,
    /// 1: the answerer remembers its former lives.
    pub remembers: u64,
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
