//! The payload of a command of [`super::Mode::SESSION`]: sessions come and go, replicas digest their
//! state and make checkpoints. Such a command is ordered for all groups and answered to the address
//! inside it.

use super::{Command, CommandHeader, Mode};
use crate::types::{Address, Digest, GroupSet, SessionId, Slot};
use bytemuck::{Pod, Zeroable};

/// What a control command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum ControlKind {
    /// Open a session for (client, number); a copy of the same opens nothing and names the first.
    Open = 1,
    /// Go on with `session` from another address.
    Resume = 2,
    /// Close `session` at its client's wish.
    Close = 3,
    /// Close `session` because its client has been silent for too long.
    Expire = 4,
    /// Digest the state of every replica at this place in the order.
    Digest = 5,
    /// Make a checkpoint of every replica at this place in the order.
    Checkpoint = 6,
}

impl ControlKind {
    /// Whether it says nothing of sessions, but where all workers are to meet.
    #[must_use]
    pub const fn is_marker(self) -> bool {
        matches!(self, Self::Digest | Self::Checkpoint)
    }
}

/// A control command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Control {
    /// A [`ControlKind`].
    kind: u64,
    /// The session that it is about; 0 for one that is to be opened, and for digests.
    pub session: SessionId,
    /// Where to answer, and where the session's replies go from now on.
    pub reply_to: Address,
    /// The client's life: 64 random bits.
    pub client: u64,
    /// Names the control command in that life: the answer bears it as its sequence.
    pub number: u64,
}

const _: () = assert!(size_of::<Control>() == 40);

impl CommandHeader {
    /// Of a command of [`Mode::SESSION`] for all `groups`, to which every replica answers.
    pub(super) fn of_all(groups: usize) -> Self {
        Self {
            groups: GroupSet::all(groups),
            mode: Mode::SESSION,
            designation: Self::designate(0, 1),
            ..Self::default()
        }
    }
}

impl Control {
    /// A bit of `number`: a client that lives refreshes its own session by resuming it.
    pub const REFRESH: u64 = 1 << 62;

    /// A control command of `kind` with everything else zero.
    #[must_use]
    pub fn new(kind: ControlKind) -> Self {
        Self { kind: kind as u64, ..Self::default() }
    }

    /// The command of all `groups` that carries it; every replica answers, whichever lives.
    #[must_use]
    pub fn command(&self, groups: usize) -> Command<'_> {
        Command { header: CommandHeader::of_all(groups), payload: bytemuck::bytes_of(self) }
    }

    /// Reads a payload. `None`: not a control command.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<(ControlKind, Self)> {
        let control: Self = bytemuck::try_pod_read_unaligned(payload).ok()?;
        let kind = match control.kind {
            1 => ControlKind::Open,
            2 => ControlKind::Resume,
            3 => ControlKind::Close,
            4 => ControlKind::Expire,
            5 => ControlKind::Digest,
            6 => ControlKind::Checkpoint,
            _ => return None,
        };
        Some((kind, control))
    }
}

/// The payload of [`super::Status::SessionOpened`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SessionReport {
    /// The session.
    pub session: SessionId,
    /// How many sequences a client may have without an answer.
    pub window: u64,
    /// The table that reports, one a group. The first report gives the session its id. A client
    /// that waits for all tables of one replica knows that no command of its own can be ordered
    /// before the opening in any group, and, of a resumed session, that its next sequence is above
    /// the highest of them all.
    pub table: u64,
    /// The highest sequence in that table.
    pub highest: u64,
}

/// The payload of the answer to [`ControlKind::Digest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DigestReport {
    /// The control command's number.
    pub number: u64,
    /// Where it stands in its ring.
    pub slot: Slot,
    /// The state there.
    pub digest: Digest,
}
