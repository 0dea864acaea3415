//! What became of a command.

use crate::types::{Sequence, SessionId, Time};

/// The fate of a command, in the three words that a client may hear (never silence).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Executed; the payload is the service's reply.
    Done,
    /// Certainly not executed.
    NotApplied(NotApplied),
    /// The deadline passed without an answer: it may have executed, or may yet.
    Unknown,
}

/// Why a command was certainly not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotApplied {
    /// The session is unknown, closed or expired.
    NoSession,
    /// The replicas have another partition map.
    WrongEpoch,
    /// Malformed or above the limit.
    Rejected,
    /// The cluster took no more commands until the deadline, so that this one never left its client.
    Overload,
}

/// One command's end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completion<'a> {
    /// The submitter's own name for it.
    pub tag: u64,
    /// The session that issued it.
    pub session: SessionId,
    /// Its number in the session.
    pub sequence: Sequence,
    /// What became of it.
    pub outcome: Outcome,
    /// The service's reply, if done.
    pub payload: &'a [u8],
    /// When it was submitted.
    pub submitted: Time,
    /// The flags of [`crate::wire::Reply`].
    pub flags: u32,
}
