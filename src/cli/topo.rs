//! `psmr topo`: the machine, and which thread would run where on it.

use super::{Failure, show};
use crate::bench::{Machine, Model, Settings};
use crate::host::affinity::CpuId;
use crate::host::plan::{Demand, Plan};
use crate::host::topology::{self, NetworkCard, Topology};
use crate::sync::CoreUse;
use clap::Args;
use serde::Serialize;

/// The format of the JSON object.
const SCHEMA: &str = "psmr.topo/1";

/// The options of `psmr topo`: those of `psmr bench run` that decide how many threads there are.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct TopoArgs {
    /// K: groups, and workers a replica [default: clamp(cores / (replicas + 1), 2, 8)]
    #[arg(long, value_name = "K")]
    threads: Option<usize>,
    /// Replicas
    #[arg(long, value_name = "N", default_value_t = 2)]
    replicas: usize,
    /// Acceptors a ring, an odd number
    #[arg(long, value_name = "A", default_value_t = 3)]
    acceptors: usize,
    /// Threads that host the acceptors of all rings [default: 1 below 8 cores, else one an acceptor]
    #[arg(long, value_name = "N")]
    ordering_threads: Option<usize>,
    /// Threads that run the workers of a replica [default: K if every thread has a core, else cores /
    /// replicas]
    #[arg(long, value_name = "N")]
    worker_threads: Option<usize>,
    /// Threads that the clients share [default: cores / 8, at least 1]
    #[arg(long, value_name = "N")]
    client_threads: Option<usize>,
    /// Writes one JSON object to standard output
    #[arg(long)]
    json: bool,
}

/// What `--json` writes.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    ok: bool,
    /// None here: see [`show_failure`].
    error: Option<&'static str>,
    #[serde(flatten)]
    topology: &'a Topology,
    network_cards: &'a [NetworkCard],
    threads: Vec<Placement>,
    /// Whether threads share CPUs.
    shared: bool,
    /// Whether `psmr bench run` ties threads to these CPUs unless told otherwise.
    pinned_by_default: bool,
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Placement {
    thread: String,
    cpu: CpuId,
}

/// Runs it.
pub(super) fn run(args: &TopoArgs) -> Result<(), Failure> {
    let machine = Machine::read();
    let demand = match args.demand(&machine) {
        Ok(demand) => demand,
        Err(failure) => {
            if args.json {
                show_failure(&failure.to_string())?;
            }
            return Err(failure);
        }
    };
    let topology = Topology::read();
    let (plan, cards) = (Plan::new(&topology, demand), NetworkCard::read_all());
    if !args.json {
        return show(&topology::render(&topology, &cards, &plan));
    }
    let report = Report {
        schema: SCHEMA,
        ok: true,
        error: None,
        topology: &topology,
        network_cards: &cards,
        threads: plan
            .placements()
            .map(|(thread, cpu)| Placement { thread: thread.to_string(), cpu })
            .collect(),
        shared: plan.core_use() == CoreUse::Shared,
        pinned_by_default: plan.core_use() == CoreUse::Own,
        note: plan.note(),
    };
    let json = serde_json::to_string(&report).expect("a topology has nothing that JSON has not");
    show(&(json + "\n"))
}

/// The object of a command line that cannot be followed.
pub(super) fn show_failure(message: &str) -> Result<(), Failure> {
    let failure = serde_json::json!({ "schema": SCHEMA, "ok": false, "error": message });
    show(&format!("{failure}\n"))
}

impl TopoArgs {
    /// The threads of a run with these settings, which are checked as a run's are.
    fn demand(&self, machine: &Machine) -> Result<Demand, Failure> {
        let defaults = Settings::default();
        let client_threads = self.client_threads.unwrap_or(machine.suitable_client_threads());
        let clients = client_threads.max(defaults.clients);
        let threads = self.threads.unwrap_or(machine.suitable_threads(self.replicas));
        let mut settings = Settings {
            model: Model::Psmr,
            threads,
            worker_threads: threads,
            replicas: self.replicas,
            acceptors: self.acceptors,
            ordering_threads: self
                .ordering_threads
                .unwrap_or(machine.suitable_ordering_threads(self.acceptors)),
            client_threads,
            clients,
            outstanding: clients.max(defaults.outstanding),
            ..defaults
        };
        settings.worker_threads =
            self.worker_threads.unwrap_or(machine.suitable_worker_threads(&settings));
        settings.validate(machine)?;
        Ok(settings.demand())
    }
}
