//! psmr replicates multi-threaded services: it orders commands by Ring Paxos over IP multicast, one
//! ring a group, and executes each group on a thread of its own.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod bench;
pub mod cli;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod host;
pub mod mem;
pub mod multi_ring;
pub mod node;
pub mod proxy;
pub mod replica;
pub mod ring_paxos;
pub mod service;
pub mod sim;
pub mod storage;
pub mod sync;
pub mod transport;
pub mod types;
pub mod wire;
