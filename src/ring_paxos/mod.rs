//! Ring Paxos: one ring, one totally ordered sequence of instances (PROTOCOL 1).
//!
//! Layer 2, sans-io: a role is told what happened and when, and writes what to send into an
//! [`Outbox`]. It reads no clock, does no I/O, and never looks inside a value.

mod acceptor;
mod admission;
mod birth;
mod config;
mod coordinator;
mod counters;
mod election;
mod epoch;
mod learner;
mod lives;
mod log;
mod member;
mod proposal;
mod proposer;
pub mod registrar;
mod repair;
mod role;
mod trim;
mod votes;
mod vouch;
mod window;

pub use config::{Epoch, FormerLives, Retention, RingConfig};
pub use coordinator::Obstacle;
pub use counters::Counters;
pub use learner::{LINKS, Learner, LearnerConfig, LearnerCounters, Link, Taken};
pub use log::{Log, Lsn, MemoryLog, Record, Replay};
pub use member::{Member, Memory};
pub use proposal::OpenProposal;
pub use proposer::Proposer;
pub use role::{Destination, Envelope, Outbox, Role};
pub use trim::Holder;

use crate::types::Instance;
