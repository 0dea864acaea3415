//! Bytes of the network: one fixed header, then one message.
//!
//! Layer 1. Decoding borrows from the datagram and never copies a payload; every length is checked
//! before it is used, nothing is allocated, and whatever is wrong has a [`DecodeError`] that the
//! receiver counts. All integers are little-endian; fixed parts are `Pod` structs whose sizes are
//! asserted. What a command's payload means is the service's affair, not this module's.

mod authentication;
mod batch;
mod command;
mod control;
mod cursor;
mod digests;
mod header;
mod kind;
mod lives;
mod members;
mod message;
mod parts;
mod propose;
mod reply;
mod room;
mod status;
#[cfg(test)]
mod tests;
mod transfer;

pub use authentication::{Gate, KeyError, Keyring, Secret, TAG_LENGTH};
pub use batch::Commands;
pub use command::{COMMAND_HEADER_LENGTH, Chunk, Command, CommandHeader, Mode, fingerprint};
pub use control::{Control, ControlKind, DigestReport, SessionReport};
pub use cursor::{Reader, Writer};
pub use digests::{DigestPoint, DigestVote};
pub use header::{
    DecodeError, HEADER_LENGTH, Header, Identity, MAGIC, NEWEST, OLDEST, claimed, kind_of, open,
    seal,
};
pub use kind::Kind;
pub use lives::{KnownLives, Recall, Recollection, Vouch};
pub use members::{Epoch, MembersRequest};
pub use message::{
    Accept, Accepted, Admission, Beacon, Decision, Heartbeat, Message, Newborn, Position, Prepare,
    Promise, PromiseRecord, PromiseRecords, Repair, RepairRequest, Trimmed,
};
pub use parts::{
    DecidedRanges, Layout, MAX_ACCEPTORS, MAX_RING, Range, Value, Wanted, WantedRange, WantedRanges,
};
pub use propose::{Propose, Redirect, Refusal, Refused, Taken};
pub use reply::{REPLY_HEADER_LENGTH, Replies, Reply, ReplyHeader, Status};
pub use room::Room;
pub use status::{Fact, Facts, StatusPage, StatusRequest, Topic};
pub use transfer::{CheckpointPiece, CheckpointRequest};

/// The largest datagram that psmr sends: one instance is one datagram is one segment.
pub const MAX_DATAGRAM: usize = 8 * 1024;

/// Room that the fixed parts of an Accept take at most; the rest of a datagram is batch.
pub const ACCEPT_OVERHEAD: usize = 512;

/// The largest batch of commands in one instance of any cluster; of one, see [`Room::batch`].
pub const MAX_BATCH: usize = Room::MOST.batch();
