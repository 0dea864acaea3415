//! `psmr sim`: seeded runs of the simulator, and their replay.

use super::{Failure, bug, show};
use crate::host::program::COMMIT;
use crate::host::text::counted;
use crate::sim::{self, Lines, Model, Options, Run, ServiceKind, Violation};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Violations of a history that are told one by one: one cause makes thousands.
const MOST_TOLD: usize = 10;
/// The most seeds at once: each is a thread.
const MOST_JOBS: usize = 1024;

/// The options of `psmr sim`.
#[derive(Args, Debug)]
#[command(allow_negative_numbers = true)]
pub(super) struct SimArgs {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds to run.
    #[arg(long, value_name = "NUMBER", default_value_t = 500)]
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
    /// Commands of all clients of a seed together, at most 10000; drawn from the seed unless given.
    #[arg(long, value_name = "NUMBER")]
    commands: Option<u64>,
    /// How many rounds of faults a seed goes through, each 0.4 to 1.6 s of its time; at most 100.
    #[arg(long, value_name = "NUMBER")]
    rounds: Option<u64>,
    /// How many seeds to run at once; as many as there are cores unless given.
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<usize>,
    /// Plant this bug, which the run should find; needs a debug build or --features planted-bugs.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(bug::names()))]
    bug: Option<String>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Run this seed alone, once more.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seed", "runs", "jobs"])]
    replay: Option<u64>,
    /// Print every event of the replayed seed.
    #[arg(long, requires = "replay")]
    trace: bool,
    /// Check this history (JSON lines, written by `psmr bench run --history FILE`) for
    /// linearizability and run nothing; needs --keys.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "seed", "runs", "model", "service", "loss", "commands", "rounds", "jobs", "bug", "replay",
        "trace",
    ])]
    check_history: Option<PathBuf>,
    /// Of the checked history: the --keys of the `psmr bench run` that wrote it, 1000000 unless it
    /// was given others.
    #[arg(long, value_name = "NUMBER", requires = "check_history")]
    keys: Option<u64>,
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
    commit: &'static str,
    seed: u64,
    runs: u64,
    commands: u64,
    faults: u64,
    events: u64,
    trace_hash: String,
    violations: Vec<JsonViolation>,
    ok: bool,
    /// Why nothing was run or checked; a violation is no such error.
    error: Option<String>,
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
    first: u64,
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
    let outcome = match &args.check_history {
        Some(path) => check_history(path, args.keys),
        None => run_seeds(args),
    };
    // Whatever failed here, nothing was shown: what is found is a total, not a failure.
    let total = match outcome {
        Ok(total) => total,
        Err(failure) => {
            if args.json {
                show_failure(&failure.to_string())?;
            }
            return Err(failure);
        }
    };
    let count = total.violations.len();
    show(&report(args, total))?;
    if count == 0 { Ok(()) } else { Err(Failure::Run(counted(count, "violation"))) }
}

fn run_seeds(args: &SimArgs) -> Result<Total, Failure> {
    let options = options(args).map_err(Failure::Usage)?;
    let seeds = seeds(args).map_err(Failure::Usage)?;
    let jobs = jobs(args).map_err(Failure::Usage)?;
    let lines = if args.trace { Lines::Kept } else { Lines::Hashed };
    let mut total = Total { first: *seeds.start(), ..Total::default() };
    sim::run_seeds(seeds, jobs, &options, lines, |run| {
        let seed = run.seed;
        for line in &run.lines {
            // The trace is no result: with --json standard output has one object alone.
            if args.json { note(line) } else { show(&format!("{line}\n"))? }
        }
        for Violation { checker, detail } in &run.violations {
            note(&format!("seed {seed}: {checker}: {detail}"));
        }
        if !run.violations.is_empty() {
            note(&format!("at commit {COMMIT} replay it with: {}", replay(args, seed)));
        }
        total.add(&run);
        Ok::<_, Failure>(())
    })?;
    Ok(total)
}

fn report(args: &SimArgs, total: Total) -> String {
    if args.json {
        return json(total, None);
    }
    let Total { first, runs, commands, faults, events, trace_hash, violations } = total;
    let verdict = match violations.len() {
        0 => "no violation".to_owned(),
        count => counted(count, "violation"),
    };
    if args.check_history.is_some() {
        return format!("{commands} operations: {verdict}\n");
    }
    format!(
        "{} from seed {first}: {commands} commands, {faults} faults, {events} events, trace \
         {trace_hash:016x}, commit {COMMIT}: {verdict}\n",
        counted(usize::try_from(runs).unwrap_or(usize::MAX), "run")
    )
}

/// The object of a run that did not take place.
pub(super) fn show_failure(message: &str) -> Result<(), Failure> {
    show(&json(Total::default(), Some(message.to_owned())))
}

fn json(total: Total, error: Option<String>) -> String {
    let Total { first, runs, commands, faults, events, trace_hash, violations } = total;
    let violation = |(seed, Violation { checker, detail })| JsonViolation { seed, checker, detail };
    let json = Json {
        schema: "psmr.sim/1",
        commit: COMMIT,
        seed: first,
        runs,
        commands,
        faults,
        events,
        trace_hash: format!("{trace_hash:016x}"),
        ok: violations.is_empty() && error.is_none(),
        violations: violations.into_iter().map(violation).collect(),
        error,
    };
    serde_json::to_string(&json).expect("numbers and texts are JSON") + "\n"
}

/// The seeds to run.
fn seeds(args: &SimArgs) -> Result<RangeInclusive<u64>, String> {
    let SimArgs { seed, runs, .. } = *args;
    if let Some(seed) = args.replay {
        return Ok(seed..=seed);
    }
    if runs == 0 {
        return Err("--runs 0: nothing would run: choose 1 or more".to_owned());
    }
    let last = seed.checked_add(runs - 1).ok_or_else(|| {
        let most = u64::MAX;
        format!(
            "--seed {seed}: --runs {runs} from there would pass the last seed, {most}: choose a \
             lower --seed or fewer --runs"
        )
    })?;
    Ok(seed..=last)
}

fn jobs(args: &SimArgs) -> Result<NonZeroUsize, String> {
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let Some(jobs) = args.jobs else { return Ok(cores()) };
    let jobs = NonZeroUsize::new(jobs).filter(|jobs| jobs.get() <= MOST_JOBS);
    jobs.ok_or_else(|| {
        let given = args.jobs.unwrap_or_default();
        format!("--jobs {given}: out of range: choose 1 to {MOST_JOBS}")
    })
}

/// One line on standard error as it comes, for whoever watches a long run.
fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn options(args: &SimArgs) -> Result<Options, String> {
    bug::plant(args.bug.as_deref())?;
    let loss = match args.loss {
        Some(percent) if !(0.0..100.0).contains(&percent) => {
            return Err(format!(
                "--loss {percent}: out of range: choose at least 0 and below 100 percent"
            ));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        loss => loss.map(|percent| (percent * 10_000.0) as u32),
    };
    let most = Options::MOST_COMMANDS;
    if let Some(commands) = args.commands.filter(|commands| !(1..=most).contains(commands)) {
        return Err(format!("--commands {commands}: out of range: choose 1 to {most}"));
    }
    let most = Options::MOST_ROUNDS;
    if let Some(rounds) = args.rounds.filter(|rounds| !(1..=most).contains(rounds)) {
        return Err(format!("--rounds {rounds}: out of range: choose 1 to {most}"));
    }
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
    Ok(Options { model, service, loss, commands: args.commands, rounds: args.rounds })
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
    if let Some(rounds) = args.rounds {
        line += &format!(" --rounds {rounds}");
    }
    line + " --trace"
}

/// What is wrong with the history in the file at `path`, of a tree with the even keys below twice
/// `keys` loaded.
fn check_history(path: &Path, keys: Option<u64>) -> Result<Total, Failure> {
    let setting = format!("--check-history {}", path.display());
    let Some(keys) = keys else {
        return Err(Failure::Usage(format!(
            "{setting}: which keys were loaded decides what is right: give the --keys of the run \
             that wrote it (1000000 unless it was given others)"
        )));
    };
    let file = File::open(path).map_err(sim::HistoryError::from);
    let operations = file.and_then(|file| sim::read_history(BufReader::new(file)));
    let remedy = "name a file that `psmr bench run --history FILE` wrote";
    let operations = operations.map_err(|error| match error {
        sim::HistoryError::Io(source) => {
            Failure::Environment(format!("{setting}: cannot read the file ({source}): {remedy}"))
        }
        _ => Failure::Usage(format!("{setting}: {error}: {remedy}")),
    })?;
    if operations.is_empty() {
        return Err(Failure::Usage(format!("{setting}: no operation is in it: {remedy}")));
    }
    let violations = sim::check_history(&operations, |key| {
        (key.is_multiple_of(2) && key / 2 < keys).then_some(key)
    });
    for Violation { checker, detail } in violations.iter().take(MOST_TOLD) {
        note(&format!("{checker}: {detail}"));
    }
    if violations.len() > MOST_TOLD {
        note(&format!("and {} more", violations.len() - MOST_TOLD));
    }
    if !violations.is_empty() {
        note(&format!(
            "a key counts as loaded if it is even and below {}: with other --keys than the run's, or \
             a cluster that others wrote to before, right answers look wrong",
            2 * keys
        ));
    }
    let violations = violations.into_iter().map(|violation| (0, violation)).collect();
    Ok(Total { commands: operations.len() as u64, violations, ..Total::default() })
}
