//! Workloads, load generation, measurement and reports.
//!
//! Layer 5. [`Settings`] say what to run, [`run_on`] builds the services, launches a cluster of
//! [`crate::node`] with one [`Generator`] a client thread, and makes a [`Report`] of what all of
//! them counted. What a generator does for a command costs some nanoseconds and allocates nothing:
//! it shares the cores with the cluster that it measures.

mod check;
mod cluster;
mod contact;
mod demo;
mod generator;
mod histogram;
mod history;
mod keys;
mod machine;
mod options;
mod report;
mod run;
mod settings;
mod table;
mod tally;
mod window;
mod workload;

pub use check::{check, datagram_bytes, settle_io, shortfalls};
pub use cluster::network;
pub use contact::Contact;
pub use demo::demo_plan;
pub use generator::Generator;
pub use histogram::Histogram;
pub use history::{History, HistoryError};
pub use keys::{KeyDraw, Zipf};
pub use machine::Machine;
pub use options::{
    Barrier, ClientPath, Distribution, Durability, Executor, Io, Mix, Model, ParseError, Pin,
    Reply, Retry, Separators, Service, Transport, Wait,
};
pub use report::{
    Checks, DoneResults, FoundResults, InsertResults, Latency, Logs, Memory, Network,
    ProgramResults, RangeResults, ReadResults, Replica, Report, Results, Ring, SCHEMA, Synchronous,
};
pub use run::{Observed, RunError, run, run_on, run_through_failures};
pub use settings::{Settings, SettingsError};
pub use table::{chart, comparison, human};
pub use tally::{Kind, Tally};
pub use window::{Sample, Window};
pub use workload::Workload;
