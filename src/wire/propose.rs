//! What goes between proposers and coordinators: proposals, and what became of them.

use super::{DecodeError, Reader, Writer};
use crate::types::Ballot;
use bytemuck::{Pod, Zeroable};

/// Proposer -> coordinator: commands end to end. Without a command it asks an acceptor who
/// coordinates, and is answered by a [`Redirect`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Propose<'a> {
    /// The proposer's own number of this proposal, from 1; with sender and incarnation its name.
    /// The coordinator drops one that is already in an undecided instance.
    pub number: u64,
    /// The proposer wants a [`Taken`] once the proposal stands in an instance.
    pub is_confirmed: bool,
    /// It serves to make room in the logs: it may stand in what a nearly full one reserves.
    pub is_vital: bool,
    /// The commands, at most [`super::MAX_BATCH`] bytes; none in a question.
    pub commands: &'a [u8],
}

impl<'a> Propose<'a> {
    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        let Self { number, is_confirmed, is_vital, commands } = *self;
        writer.pod(&number);
        writer.pod(&(u64::from(is_confirmed) | u64::from(is_vital) << 1));
        writer.bytes(commands);
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (number, flags): (u64, u64) = (r.pod()?, r.pod()?);
        if flags > 3 {
            return Err(DecodeError::Malformed);
        }
        let (is_confirmed, is_vital) = (flags & 1 != 0, flags & 2 != 0);
        let commands = r.take(r.rest().len())?;
        Ok(Self { number, is_confirmed, is_vital, commands })
    }
}

/// The receiver of a proposal is not the coordinator, or was asked who is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Redirect {
    /// The highest ballot that it knows; its node is the coordinator to try.
    pub ballot: Ballot,
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The log or the window is full: try again later.
    Full,
    /// Fewer than f + 1 acceptors with memory.
    NoQuorum,
    /// Above the limit.
    TooLarge,
}

/// A proposal was not taken: certainly not ordered by this copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The proposal's number.
    pub number: u64,
    /// Why.
    pub refusal: Refusal,
}

/// A proposal that asked for it stands in an instance of the coordinator. It is not decided yet: a
/// take-over may still lose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Taken {
    /// The proposal's number.
    pub number: u64,
}

impl Refused {
    pub(super) fn encode(self, writer: &mut Writer<'_>) {
        writer.pod(&self.number);
        writer.pod(&(self.refusal as u64));
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (number, refusal): (u64, u64) = (r.pod()?, r.pod()?);
        let refusal = match refusal {
            0 => Refusal::Full,
            1 => Refusal::NoQuorum,
            2 => Refusal::TooLarge,
            _ => return Err(DecodeError::Malformed),
        };
        Ok(Self { number, refusal })
    }
}
