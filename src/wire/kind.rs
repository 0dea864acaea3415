//! Numbers of the messages' kinds.

/// The kinds of message, as the header's `kind` carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Commands on their way to the coordinator.
    Propose = 1,
    /// 1A.
    Prepare = 2,
    /// 1B, one page.
    Promise = 3,
    /// 2A.
    Accept = 4,
    /// 2B.
    Accepted = 5,
    /// Decided ranges, when no 2A leaves in time.
    Decision = 6,
    /// The coordinator lives; tail loss heals.
    Heartbeat = 7,
    /// Missing instances.
    RepairRequest = 8,
    /// The 2A again, with a decided flag.
    Repair = 9,
    /// The asked instances are forgotten: fetch a checkpoint.
    Trimmed = 10,
    /// A learner's progress.
    Position = 11,
    /// A ring's slot position for the other rings' coordinators.
    Beacon = 12,
    /// The receiver of a proposal does not coordinate; who does, as far as it knows.
    Redirect = 13,
    /// The proposal was not taken.
    Refused = 14,
    /// Replies to a client; read by [`super::Replies`].
    Replies = 15,
    /// An acceptor without memory asks to be re-admitted, or is (rule 6).
    Admission = 16,
    /// A proposal that asked for it stands in an instance.
    Taken = 17,
    /// What is the receiver's state? As long as the longest answer that may come.
    StatusRequest = 18,
    /// One page of the answer.
    StatusPage = 19,
    /// The receiver does not talk to the sender; the header says why.
    Mismatch = 20,
    /// Pieces of a checkpoint are missing.
    CheckpointRequest = 21,
    /// One of them.
    CheckpointPiece = 22,
    /// The members of the next epoch, to be decided.
    Reconfigure = 23,
    /// Who are the members now? As long as the longest answer that may come.
    MembersRequest = 24,
    /// They are.
    Members = 25,
    /// An acceptor knows of no former life of its own.
    Newborn = 26,
    /// A life of an acceptor with a log has begun: what is known of it?
    Recall = 27,
    /// That.
    Recollection = 28,
    /// In which of their lives acceptors were heard of, whoever promises.
    KnownLives = 29,
    /// A coordinator has had all that a life may have forgotten accepted anew.
    Vouch = 30,
}

impl Kind {
    /// The wire version that it came with: in an older one it is neither sent nor heard.
    #[must_use]
    pub const fn since(self) -> u8 {
        // Kinds are numbered as they come: one of a later version stands behind all of these.
        match self as u8 {
            kind if kind < Self::Recall as u8 => 1,
            kind if kind < Self::Vouch as u8 => 2,
            _ => 3,
        }
    }

    /// From the wire.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        const KINDS: [Kind; 30] = [
            Kind::Propose,
            Kind::Prepare,
            Kind::Promise,
            Kind::Accept,
            Kind::Accepted,
            Kind::Decision,
            Kind::Heartbeat,
            Kind::RepairRequest,
            Kind::Repair,
            Kind::Trimmed,
            Kind::Position,
            Kind::Beacon,
            Kind::Redirect,
            Kind::Refused,
            Kind::Replies,
            Kind::Admission,
            Kind::Taken,
            Kind::StatusRequest,
            Kind::StatusPage,
            Kind::Mismatch,
            Kind::CheckpointRequest,
            Kind::CheckpointPiece,
            Kind::Reconfigure,
            Kind::MembersRequest,
            Kind::Members,
            Kind::Newborn,
            Kind::Recall,
            Kind::Recollection,
            Kind::KnownLives,
            Kind::Vouch,
        ];
        if byte == 0 || byte as usize > KINDS.len() { None } else { Some(KINDS[byte as usize - 1]) }
    }
}
