//! The client side, sans-io: command -> groups -> multicast -> first response -> retry. Layer 3.

mod completion;

pub use completion::{Completion, NotApplied, Outcome};
