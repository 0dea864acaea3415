//! One run: services, generators, the cluster, and what all of them counted.

use super::cluster;
use super::history::{HistoryError, HistoryFile};
use super::report::{Logs, Network, Replica, Ring, Synchronous};
use super::{Generator, Machine, Report, Settings, SettingsError, Tally, Window, check};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Why there was no run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The settings cannot be run.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The machine does not give what the run needs.
    #[error("{0}")]
    Environment(String),
    /// The run broke off.
    #[error("{0}")]
    Failed(String),
}

impl From<HistoryError> for RunError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Create { .. } | HistoryError::Thread(_) => {
                Self::Environment(error.to_string())
            }
            HistoryError::Write(_) | HistoryError::Ended(_) => Self::Failed(error.to_string()),
        }
    }
}

/// What a cluster came to, as far as a report is concerned.
#[derive(Debug)]
pub struct Observed {
    /// The generators, as they ended.
    pub generators: Vec<Generator>,
    /// All endpoints together.
    pub network: Network,
    /// The acceptors' logs.
    pub logs: Logs,
    /// Each ring.
    pub rings: Vec<Ring>,
    /// Each replica, all at the same position.
    pub replicas: Vec<Replica>,
    /// Synchronous mode.
    pub synchronous: Synchronous,
}

/// Runs `settings` on a cluster in this process. A report with `ok` false is a run that took place
/// and went wrong.
///
/// # Errors
/// See [`run_on`].
pub fn run(settings: &Settings) -> Result<Report, RunError> {
    check(settings, &Machine::read())?;
    run_on(settings, cluster::launch)
}

/// Runs `settings` on the cluster that `launch` starts, and waits for. A report with `ok` false is
/// a run that took place and went wrong.
///
/// # Errors
/// If the settings cannot be run here, the machine refuses what they need, or the cluster broke.
pub fn run_on(
    settings: &Settings,
    launch: impl FnOnce(&Settings, Vec<Generator>) -> Result<Observed, RunError>,
) -> Result<Report, RunError> {
    let (mut report, tally) = observe(settings, launch)?;
    report.error = problem(&report, &tally);
    report.ok = report.error.is_none();
    Ok(report)
}

/// As [`run_on`], on a cluster that is made to fail meanwhile: commands without an answer are
/// counted, and the run goes on.
///
/// # Errors
/// As there.
pub fn run_through_failures(
    settings: &Settings,
    launch: impl FnOnce(&Settings, Vec<Generator>) -> Result<Observed, RunError>,
) -> Result<Report, RunError> {
    let (mut report, tally) = observe(settings, launch)?;
    report.error = wrong(&report, &tally).or_else(|| nothing(&report));
    report.ok = report.error.is_none();
    Ok(report)
}

/// Runs, and says what came of it but not whether it is well.
fn observe(
    settings: &Settings,
    launch: impl FnOnce(&Settings, Vec<Generator>) -> Result<Observed, RunError>,
) -> Result<(Report, Tally), RunError> {
    settings.validate(&Machine::read())?;
    let history = settings.history.as_deref().map(HistoryFile::create).transpose()?;
    let seconds = Duration::from_secs_f64;
    let window = Arc::new(Window::new(seconds(settings.warmup), seconds(settings.seconds)));
    let generators = generators(settings, &window, history.as_ref());
    let observed = launch(settings, generators)?;
    let mut tally = Tally::default();
    for generator in observed.generators {
        tally.merge(&generator.finish());
    }
    history.map_or(Ok(()), HistoryFile::finish)?;
    let mut report = Report::new(settings.clone());
    report.synchronous = observed.synchronous;
    report.network = observed.network;
    report.logs = observed.logs;
    report.rings = observed.rings;
    report.replicas = observed.replicas;
    (report.unknown, report.not_applied) = (tally.unknown, tally.not_applied);
    if let Some(samples) = window.samples() {
        report.measure(&tally, samples);
    }
    Ok((report, tally))
}

fn generators(
    settings: &Settings,
    window: &Arc<Window>,
    history: Option<&HistoryFile>,
) -> Vec<Generator> {
    let mut first_client = 0;
    let mut generators = Vec::new();
    for (thread, (clients, outstanding)) in (0..).zip(settings.shares()) {
        let side = history.map(|file| file.side((first_client, clients), outstanding));
        let share = (clients, outstanding);
        generators.push(Generator::new(settings, thread, share, Arc::clone(window), side));
        first_client += clients;
    }
    generators
}

/// What was wrong with a run that came to its end.
fn problem(report: &Report, tally: &Tally) -> Option<String> {
    wrong(report, tally).or_else(|| unanswered(tally)).or_else(|| nothing(report))
}

/// What must never happen, whatever fails.
fn wrong(report: &Report, tally: &Tally) -> Option<String> {
    if !report.replicas_agree() {
        let state = |r: &Replica| format!("{} at {}", r.digest, r.position);
        let states: Vec<_> = report.replicas.iter().map(state).collect();
        return Some(format!("the replicas differ: digests {}", states.join(", ")));
    }
    let unexpected = tally.unexpected;
    (unexpected > 0).then(|| format!("{unexpected} replies are none of the service's"))
}

/// What must not happen where nothing fails.
fn unanswered(tally: &Tally) -> Option<String> {
    let Tally { unknown, not_applied, .. } = tally;
    if *unknown > 0 {
        return Some(format!("{unknown} commands were given up without an answer"));
    }
    (*not_applied > 0).then(|| format!("{not_applied} commands were refused by the replicas"))
}

fn nothing(report: &Report) -> Option<String> {
    (report.commands == 0).then(|| "no command was answered in the window".to_owned())
}

#[cfg(test)]
mod tests;
