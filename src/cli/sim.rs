//! `psmr sim`: seeded runs of the simulator, and their replay.

use super::{Failure, show};
use crate::sim::{self, Lines, Model, Options, Run, ServiceKind, Violation};
use crate::types::Bug;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The options of `psmr sim`.
#[derive(Args, Debug)]
pub(super) struct SimArgs {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds to run.
    #[arg(long, default_value_t = 500)]
    runs: u64,
    /// The execution model; drawn from the seed unless given.
    #[arg(long, default_value = "all")]
    model: ModelArg,
    /// The service; drawn from the seed unless given.
    #[arg(long)]
    service: Option<ServiceArg>,
    /// Datagrams lost, in percent; drawn from the seed unless given.
    #[arg(long, value_name = "PERCENT")]
    loss: Option<f64>,
    /// Commands of all clients of a seed together; drawn from the seed unless given.
    #[arg(long, value_name = "NUMBER")]
    commands: Option<u64>,
    /// How many seeds to run at once; as many as there are cores unless given.
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZeroUsize>,
    /// Plant this bug; `--bug list` names them all.
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Run this seed alone, once more.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seed", "runs"])]
    replay: Option<u64>,
    /// Print every event of the replayed seed.
    #[arg(long, requires = "replay")]
    trace: bool,
    /// Check this history of a B+-tree (JSON lines, of `psmr bench run --history`) for
    /// linearizability and run nothing.
    #[arg(long, value_name = "FILE")]
    check_history: Option<PathBuf>,
    /// Of the checked history: the tree was loaded with the even keys below twice this number.
    #[arg(long, requires = "check_history", default_value_t = 0)]
    keys: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModelArg {
    Smr,
    Psmr,
    OptPsmr,
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ServiceArg {
    Btree,
    Null,
    Counters,
}

#[derive(Serialize)]
struct Json {
    schema: &'static str,
    seed: u64,
    runs: u64,
    commands: u64,
    faults: u64,
    events: u64,
    trace_hash: String,
    violations: Vec<JsonViolation>,
    ok: bool,
}

#[derive(Serialize)]
struct JsonViolation {
    seed: u64,
    checker: &'static str,
    detail: String,
}

/// What all runs came to.
#[derive(Default)]
struct Total {
    runs: u64,
    commands: u64,
    faults: u64,
    events: u64,
    trace_hash: u64,
    violations: Vec<(u64, Violation)>,
}

impl Total {
    fn add(&mut self, run: &Run) {
        self.runs += 1;
        self.commands += run.commands;
        self.faults += run.faults;
        self.events += run.events;
        self.trace_hash = self.trace_hash.rotate_left(7) ^ run.trace_hash;
        let violations = run.violations.iter().cloned();
        self.violations.extend(violations.map(|violation| (run.seed, violation)));
    }
}

/// Runs the subcommand.
pub(super) fn run(args: &SimArgs) -> Result<(), Failure> {
    if let Some(path) = &args.check_history {
        return check_history(path, args.keys);
    }
    let options = match options(args) {
        Ok(options) => options,
        Err(message) => {
            if args.json {
                show_failure()?;
            }
            return Err(Failure::Usage(message));
        }
    };
    let lines = if args.trace { Lines::Kept } else { Lines::Hashed };
    let (first, runs) = args.replay.map_or((args.seed, args.runs), |seed| (seed, 1));
    let seeds = first..first.saturating_add(runs);
    let mut total = Total::default();
    sim::run_seeds(seeds, jobs(args), &options, lines, |run| {
        let seed = run.seed;
        for line in &run.lines {
            // The trace is no result: with --json standard output has one object alone.
            if args.json { note(line) } else { show(&format!("{line}\n"))? }
        }
        for Violation { checker, detail } in &run.violations {
            note(&format!("seed {seed}: {checker}: {detail}"));
        }
        if !run.violations.is_empty() {
            note(&format!("replay it with: {}", replay(args, seed)));
        }
        total.add(&run);
        Ok::<_, Failure>(())
    })?;
    let count = total.violations.len();
    show(&report(args, first, total))?;
    if count == 0 { Ok(()) } else { Err(Failure::Run(format!("{count} violations"))) }
}

fn report(args: &SimArgs, seed: u64, total: Total) -> String {
    let ok = total.violations.is_empty();
    if !args.json {
        let Total { runs, commands, faults, events, trace_hash, .. } = total;
        let verdict = if ok { "no violation" } else { "VIOLATED" };
        return format!(
            "{runs} runs from seed {seed}: {commands} commands, {faults} faults, {events} events, \
             trace {trace_hash:016x}: {verdict}\n"
        );
    }
    json(seed, total, ok)
}

/// The object of a command line that cannot be followed: nothing ran.
pub(super) fn show_failure() -> Result<(), Failure> {
    show(&json(0, Total::default(), false))
}

fn json(seed: u64, total: Total, ok: bool) -> String {
    let Total { runs, commands, faults, events, trace_hash, violations } = total;
    let violation = |(seed, Violation { checker, detail })| JsonViolation { seed, checker, detail };
    let json = Json {
        schema: "psmr.sim/1",
        seed,
        runs,
        commands,
        faults,
        events,
        trace_hash: format!("{trace_hash:016x}"),
        violations: violations.into_iter().map(violation).collect(),
        ok,
    };
    serde_json::to_string(&json).expect("numbers and texts are JSON") + "\n"
}

fn jobs(args: &SimArgs) -> NonZeroUsize {
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    args.jobs.unwrap_or_else(cores)
}

/// One line on standard error as it comes, for whoever watches a long run.
fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn options(args: &SimArgs) -> Result<Options, String> {
    if let Some(name) = &args.bug {
        let names = || Bug::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", ");
        let Some(bug) = Bug::from_name(name) else {
            return Err(format!("--bug {name}: no such bug; there are {}", names()));
        };
        if !Bug::plant(Some(bug)) {
            return Err(
                "--bug: this build has no planted bugs; build with --features planted-bugs".into(),
            );
        }
    }
    let loss = match args.loss {
        Some(percent) if !(0.0..100.0).contains(&percent) => {
            return Err(format!("--loss {percent}: must be at least 0 and below 100 percent"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        loss => loss.map(|percent| (percent * 10_000.0) as u32),
    };
    let model = match args.model {
        ModelArg::Smr => Some(Model::Smr),
        ModelArg::Psmr => Some(Model::Psmr),
        ModelArg::OptPsmr => Some(Model::OptPsmr),
        ModelArg::All => None,
    };
    let service = args.service.map(|service| match service {
        ServiceArg::Btree => ServiceKind::Btree,
        ServiceArg::Null => ServiceKind::Null,
        ServiceArg::Counters => ServiceKind::Counters,
    });
    Ok(Options { model, service, loss, commands: args.commands })
}

/// The command line that runs `seed` again.
fn replay(args: &SimArgs, seed: u64) -> String {
    let mut line = format!("psmr sim --replay {seed}");
    match args.model {
        ModelArg::Smr => line += " --model smr",
        ModelArg::Psmr => line += " --model psmr",
        ModelArg::OptPsmr => line += " --model opt-psmr",
        ModelArg::All => {}
    }
    match args.service {
        Some(ServiceArg::Btree) => line += " --service btree",
        Some(ServiceArg::Null) => line += " --service null",
        Some(ServiceArg::Counters) => line += " --service counters",
        None => {}
    }
    if let Some(loss) = args.loss {
        line += &format!(" --loss {loss}");
    }
    if let Some(bug) = &args.bug {
        line += &format!(" --bug {bug}");
    }
    if let Some(commands) = args.commands {
        line += &format!(" --commands {commands}");
    }
    line + " --trace"
}

fn check_history(path: &Path, keys: u64) -> Result<(), Failure> {
    let file = File::open(path).map_err(sim::HistoryError::from);
    let operations = file.and_then(|file| sim::read_history(BufReader::new(file)));
    let operations = operations
        .map_err(|error| Failure::Usage(format!("--check-history {}: {error}", path.display())))?;
    let violations = sim::check_history(&operations, |key| {
        (key.is_multiple_of(2) && key / 2 < keys).then_some(key)
    });
    for Violation { checker, detail } in &violations {
        note(&format!("{checker}: {detail}"));
    }
    let count = violations.len();
    show(&format!("{} operations: {count} violations\n", operations.len()))?;
    if count == 0 { Ok(()) } else { Err(Failure::Run(format!("{count} violations"))) }
}
