//! What can stand between an endpoint and its user: faults on purpose.
//!
//! Generic over the endpoint, so that a node without middleware pays nothing for it.

mod fault;

pub use fault::{Fault, FaultReceive, Faults};
