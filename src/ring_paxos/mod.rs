//! Ring Paxos: one ring, one totally ordered sequence of instances (PROTOCOL 1).
//!
//! Layer 2, sans-io: a role is told what happened and when, and writes what to send into an
//! [`Outbox`]. It reads no clock, does no I/O, and never looks inside a value.

mod learner;
mod role;

pub use learner::{Learner, LearnerConfig, LearnerCounters, Taken};
pub use role::{Destination, Envelope, Outbox, Role};
