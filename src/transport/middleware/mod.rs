//! What can stand between an endpoint and its user: faults on purpose.
//!
//! Generic over the endpoint, so that a node without middleware pays nothing for it.

mod cuts;
mod fault;

pub use cuts::Cuts;
pub use fault::{Fault, FaultReceive, Faults};
