//! Agents on pinned threads, and their launch. Layer 4.
//!
//! A thread is one agent: drain completions, step its roles, flush, wait by its policy. The kinds
//! are the ordering agent (acceptors of one or several rings), the worker agent (one worker of one
//! replica, with its learners and its merge) and the client agent (a proxy and a load). [`run`]
//! launches all of a cluster in this process, [`Process`] the nodes of a cluster.toml that live
//! here, [`Clients`] clients of a cluster that lives elsewhere: all from the same parts.

mod agent;
mod board;
mod bodies;
mod book;
mod bound;
mod builder;
mod census;
mod change;
mod client;
mod cluster;
mod config;
mod desk;
mod digests;
mod drops;
mod endpoint;
mod events;
mod home;
mod inquiry;
mod keeper;
mod keys;
mod line;
mod load;
mod logs;
mod observer;
mod ordering;
mod positions;
mod post;
mod process;
mod pulse;
mod remote;
mod replies;
mod roster;
mod services;
mod site;
mod team;
mod watchdog;
mod worker;

use book::Book;
use positions::Positions;

pub use change::{Changed, change, latest, tell};
pub use client::ClientFigures;
pub use cluster::{ClusterFigures, Finished, run};
pub use config::{ClientPath, ClusterConfig, ClusterError, Model, ReplicaFigure, Transport};
pub use drops::DropCounters;
pub use events::{Event, Weight};
pub use home::{HomeError, latest_members};
pub use inquiry::{Said, drop_reason, inquire};
pub use keys::{KeyFileError, read_keyring};
pub use load::{Load, Submission};
pub use logs::Durability;
pub use observer::{
    Dropped, KeptFigures, NodeFigures, Observer, ReplicaFigures, RingFigures, StateFigures,
};
pub use ordering::OrderingFigures;
pub use process::{Ended, Launch, NodeError, Process};
pub use remote::{Clients, RemoteClient};
pub use services::{BuildError, Growth, WithService, build_tree, tree_settings, with_service};
pub use site::{refusal_of_io_uring, shortfalls};
pub use watchdog::{Halt, Kept};
pub use worker::WorkerFigures;

/// The most frames that one duty cycle takes on.
const FRAMES: usize = 512;
