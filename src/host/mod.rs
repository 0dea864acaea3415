//! The machine: its topology and the plan of threads on it, pinned threads, clock, randomness.
//!
//! Layer 2, and never on the path of a command but for one clock reading a duty cycle. All that the
//! sans-io modules must not ask for themselves is asked here and passed in.

pub mod affinity;
pub mod clock;
pub mod describe;
pub mod file;
pub mod memory;
pub mod plan;
pub mod ports;
pub mod program;
pub mod signals;
pub mod text;
pub mod threads;
pub mod topology;
pub mod usage;
