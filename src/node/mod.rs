//! Agents on pinned threads, and the launch of whole clusters. Layer 4.

mod load;

pub use load::{Load, Submission};
