//! `psmr demo`: the main job, shown.

use super::{Failure, complain, show};
use crate::bench::{self, Machine, Report, Settings};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// The options of `psmr demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Keys loaded into the tree; 10000000 is the papers' size
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    keys: u64,
    /// Seconds measured of each of the 15 runs
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
}

/// Runs it.
pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let machine = Machine::read();
    let plan = bench::demo_plan(args.keys, args.seconds, &machine);
    for settings in &plan {
        settings.validate(&machine)?;
    }
    let progress = Progress::new(&plan, &machine);
    let mut reports: Vec<Report> = Vec::new();
    for settings in &plan {
        progress.begin(settings);
        let report = bench::run(settings)?;
        progress.end(&report);
        if let Some(error) = &report.error {
            let run = name(settings);
            return Err(Failure::Run(format!("{run}: {error}")));
        }
        reports.push(report);
    }
    progress.finish();
    let host = reports.first().map_or_else(String::new, |report| report.host.to_string());
    let (table, chart) = (bench::comparison(&reports), bench::chart(&reports));
    let agreement = "The replicas' digests are equal at an equal position in every run.";
    show(&format!("{host}\n\n{table}\n{chart}\n{agreement}\n"))
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
                "{} rings of {} acceptors, {} replicas of {} workers, {keys} keys, on loopback",
                settings.rings(),
                settings.acceptors,
                settings.replicas,
                settings.threads
            );
            complain(&cluster);
            if threads > machine.cores {
                let cores = machine.cores;
                complain(&format!("{threads} threads share {cores} cores: they yield, none spins"));
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
