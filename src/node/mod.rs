//! Agents on pinned threads, and the launch of whole clusters. Layer 4.
//!
//! A thread is one agent: drain completions, step its roles, flush, wait by its policy. The kinds
//! are the ordering agent (acceptors of one or several rings), the worker agent (one worker of one
//! replica, with its learners and its merge) and the client agent (a proxy and a load).

mod agent;
mod bodies;
mod book;
mod client;
mod cluster;
mod config;
mod drops;
mod endpoint;
mod load;
mod logs;
mod ordering;
mod positions;
mod post;
mod replies;
mod roster;
mod worker;

use book::Book;
use positions::Positions;

pub use client::ClientFigures;
pub use cluster::{ClusterFigures, Finished, run};
pub use config::{ClientPath, ClusterConfig, ClusterError, Model, ReplicaFigure, Transport};
pub use drops::DropCounters;
pub use load::{Load, Submission};
pub use logs::Durability;
pub use ordering::OrderingFigures;
pub use worker::WorkerFigures;

/// The most frames that one duty cycle takes on.
const FRAMES: usize = 512;
