//! The deterministic simulator: whole clusters of the real types under a seeded scheduler, with a
//! virtual clock and a network that loses, repeats, delays, damages and divides. Layer 4.
//!
//! One seed is one run, bit by bit, in every build of a commit: [`run_seed`] draws a `Plan` from
//! it (cluster, load and a random subset of the faults), lets a `World` happen event by event,
//! and has the checkers look at what was sent, delivered, executed and answered. What runs is what
//! runs on a real host: members, subscriptions, workers, proxies, services, and every datagram is
//! encoded, sealed, opened and decoded. Only threads, sockets and clocks are not the real ones.
//!
//! Where acceptors have disks, these may be put back from copies of earlier days (docs/adr/0032), and
//! the power may go just when something was decided, or everywhere at once; `copies` and `faults` say
//! how much of that at a time the protocol promises to stand. Clients may fall silent until their
//! sessions expire, and close them with commands open; then they go on with others. In half of the
//! seeds no acceptor knows at first whether it had a former life (docs/adr/0031), and in two of three
//! replicas vote on their states (`digesting`).
//!
//! In some seeds members come and go meanwhile (docs/adr/0029): an operator puts changes forward, a
//! ring decides them, and each process takes them up once it has heard of them. `members` says who
//! lives where, `registrar` how a process learns of an epoch, `reconfigure` what it does then.

mod changes;
mod checkers;
mod checks;
mod client;
mod cluster;
mod copies;
mod digesting;
mod disk;
mod event;
mod faults;
mod host;
mod keeper;
mod lives;
mod members;
mod network;
mod observed;
mod operator;
mod ordering;
mod plan;
mod planned;
mod pool;
mod post;
mod reconfigure;
mod registrar;
mod replica;
mod seeds;
mod services;
mod tap;
mod trace;
mod world;

pub use checkers::{
    Call, HistoryError, Linearizability, Model as SequentialModel, Operation, Outcome, Verb,
    Violation, check, check_history, read_history,
};
pub use plan::{Model, Options, ServiceKind};
pub use seeds::run_seeds;
pub use trace::Lines;

use crate::service::btree::BTree;
use crate::service::counters::Bank;
use crate::service::null::Null;
use plan::Plan;
use services::SimService;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use world::World;

/// What one run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// Commands that clients hold the answers of.
    pub commands: u64,
    /// Datagrams that a fault touched, and faults of processes and links.
    pub faults: u64,
    /// Changes of members that came to be.
    pub changes: u64,
    /// Events that happened.
    pub events: u64,
    /// The hash of all of them.
    pub trace_hash: u64,
    /// What must not have happened.
    pub violations: Vec<Violation>,
    /// The trace, if it was asked for.
    pub lines: Vec<String>,
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, options: &Options, lines: Lines) -> Run {
    let plan = Plan::draw(seed, options);
    match plan.service {
        ServiceKind::Btree => run_plan::<BTree>(plan, lines),
        ServiceKind::Null => run_plan::<Null>(plan, lines),
        ServiceKind::Counters => run_plan::<Bank>(plan, lines),
    }
}

fn run_plan<S: SimService>(plan: Plan, lines: Lines) -> Run {
    let seed = plan.seed;
    let plan_line = (lines == Lines::Kept).then(|| format!("{plan:?}"));
    let mut world: World<S> = World::new(Rc::new(plan), lines);
    // An assertion that fails is a violation like others: it has a seed and is replayed.
    let panic = catch_unwind(AssertUnwindSafe(|| world.run())).err();
    let faults = world.fault_count();
    let World { office, trace, checks, .. } = world;
    let changes = u64::from(office.archive.latest().number()) - 1;
    let mut violations = office.violations.into_vec();
    if let Some(panic) = panic {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let detail = text.unwrap_or_else(|| "a panic without message".to_owned());
        violations.push(Violation { checker: "assertion", detail });
    }
    Run {
        seed,
        commands: checks.done(),
        faults,
        changes,
        events: trace.events(),
        trace_hash: trace.hash(),
        violations,
        lines: plan_line.into_iter().chain(trace.into_lines()).collect(),
    }
}
