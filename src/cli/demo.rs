//! `psmr demo`: the main job, shown.

use super::{Failure, complain, fallback, show};
use crate::bench::{self, Io, Machine, Report, Settings};
use crate::host::program::{COMMIT, VERSION};
use crate::host::text::counted;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// The format of the JSON object.
const SCHEMA: &str = "psmr.demo/1";

/// The options of `psmr demo`.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct DemoArgs {
    /// Keys loaded into the tree; 10000000 is the papers' size
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    keys: u64,
    /// Seconds measured of each of the 15 runs
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// What sockets are read and written by
    #[arg(long, value_enum, default_value_t = Io::Auto)]
    io: Io,
    /// Writes one JSON object to standard output
    #[arg(long)]
    json: bool,
}

/// What `--json` writes.
#[derive(Debug, Serialize)]
struct Object<'a> {
    schema: &'static str,
    version: &'static str,
    commit: &'static str,
    ok: bool,
    /// Why the demonstration ended early.
    error: Option<&'a str>,
    /// The runs that took place, in their order, each as `psmr bench run --json` would write it.
    runs: &'a [Report],
}

/// Runs it.
pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let mut reports = Vec::new();
    let outcome = run_all(args, &mut reports);
    if args.json {
        let error = outcome.as_ref().err().map(ToString::to_string);
        show_object(error.as_deref(), &reports)?;
        return outcome;
    }
    outcome?;
    let host = reports.first().map_or_else(String::new, |report| report.host.to_string());
    let (table, chart) = (bench::comparison(&reports), bench::chart(&reports));
    let agreement = "The replicas' digests are equal at an equal position in every run.";
    show(&format!("{host}\n\n{table}\n{chart}\n{agreement}\n"))
}

/// The object of a command line that cannot be followed.
pub(super) fn show_failure(message: &str) -> Result<(), Failure> {
    show_object(Some(message), &[])
}

fn show_object(error: Option<&str>, runs: &[Report]) -> Result<(), Failure> {
    let (version, commit) = (VERSION, COMMIT);
    let object = Object { schema: SCHEMA, version, commit, ok: error.is_none(), error, runs };
    let json = serde_json::to_string(&object).expect("reports have nothing that JSON has not");
    show(&(json + "\n"))
}

fn run_all(args: &DemoArgs, reports: &mut Vec<Report>) -> Result<(), Failure> {
    let machine = Machine::read();
    let mut plan = bench::demo_plan(args.keys, args.seconds, &machine);
    for settings in &mut plan {
        settings.io = args.io;
        settings.validate(&machine)?;
    }
    if let Some((first, others)) = plan.split_first_mut() {
        fallback::of_bench(first);
        others.iter_mut().for_each(|settings| settings.io = first.io);
    }
    // What one of the runs needs of the machine all of them do.
    if let Some(settings) = plan.last() {
        bench::check(settings, &machine)?;
    }
    let progress = Progress::new(&plan, &machine);
    for settings in &plan {
        progress.begin(settings);
        let report = bench::run(settings)?;
        progress.end(&report);
        let error = report.error.as_ref().map(|error| format!("{}: {error}", name(settings)));
        reports.push(report);
        if let Some(error) = error {
            return Err(Failure::Run(error));
        }
    }
    progress.finish();
    Ok(())
}

fn name(settings: &Settings) -> String {
    format!("{} at {} % dependent", settings.model, settings.dependent.unwrap_or(0.0))
}

/// A bar where standard error is a terminal, else a line a run.
struct Progress {
    bar: Option<ProgressBar>,
    runs: usize,
}

impl Progress {
    fn new(plan: &[Settings], machine: &Machine) -> Self {
        let largest = plan.iter().max_by_key(|settings| settings.busy_threads());
        if let Some(settings) = largest {
            let (keys, threads) = (settings.keys, settings.busy_threads());
            let cluster = format!(
                "{} rings of {} acceptors, {}, {keys} keys, on loopback",
                settings.rings(),
                settings.acceptors,
                settings.crews(),
            );
            complain(&cluster);
            if threads > machine.cores {
                let cores = machine.cores;
                let cores = counted(cores, "core");
                complain(&format!("{threads} threads share {cores}: they yield, none spins"));
            }
        }
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
            let bar = ProgressBar::new(plan.len() as u64);
            bar.set_style(style.expect("a template of known keys"));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { bar, runs: plan.len() }
    }

    fn begin(&self, settings: &Settings) {
        if let Some(bar) = &self.bar {
            bar.set_message(name(settings));
        }
    }

    fn end(&self, report: &Report) {
        match &self.bar {
            Some(bar) => bar.inc(1),
            None => {
                let rate = report.commands_per_s / 1e3;
                let line = format!("{}: {rate:.1} thousand commands/s", name(&report.config));
                let _ = writeln!(io::stderr().lock(), "{line}");
            }
        }
    }

    fn finish(&self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => complain(&format!("{} runs", self.runs)),
        }
    }
}
