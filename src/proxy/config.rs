//! The settings of a proxy, and why it refuses a command.

use crate::types::{Address, NodeId, ReplicaSet};
use crate::wire::Room;
use std::time::Duration;
use thiserror::Error;

/// Which map of the service decides a command's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// CC-G: every group that the command could possibly concern.
    Conservative,
    /// OC-G: by static dependencies only; the replica checks.
    Optimistic,
}

/// The settings of a proxy.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Where replicas answer.
    pub reply_to: Address,
    /// This client's life: 64 random bits. Names its session openings.
    pub client: u64,
    /// K. With K = 1 there is one ring, otherwise K + 1.
    pub groups: usize,
    /// The acceptors, the same for every ring.
    pub acceptors: Vec<NodeId>,
    /// How many replicas execute and answer; at most 32.
    pub replicas: ReplicaSet,
    /// How many sessions this proxy holds.
    pub sessions: usize,
    /// W: commands that one session may have open; a power of two, at most the replicas' own.
    pub window: usize,
    /// Which map decides a command's groups.
    pub grouping: Grouping,
    /// The epoch of the partition map.
    pub map_epoch: u16,
    /// When a command without an answer is sent again; doubles with each attempt, up to 8 times.
    pub attempt_timeout: Duration,
    /// When a command without an answer is given up as unknown.
    pub deadline: Duration,
    /// When the replicas close a session whose client is silent; zero: never.
    pub session_timeout: Duration,
    /// The largest payload of a command, in bytes; above a batch it travels in parts.
    pub command_limit: usize,
    /// How much a datagram holds.
    pub room: Room,
}

/// Why a command was not taken. It certainly was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// The session is not open yet.
    #[error("the session is not open yet")]
    NotReady,
    /// W commands of the session are open: wait for answers.
    #[error("the session's window is full: wait for answers, or raise the window")]
    WindowFull,
    /// The payload is above the limit.
    #[error("a command of {length} bytes is above the limit of {limit}")]
    TooLarge {
        /// Its payload, in bytes.
        length: usize,
        /// The setting.
        limit: usize,
    },
}
