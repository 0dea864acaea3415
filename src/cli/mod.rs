//! The command line, one file a subcommand.
//!
//! Layer 6. Exit status: 0 it went well, 1 the run failed, 2 usage, 3 the environment. Whatever goes
//! wrong is one line on standard error that names the setting and the remedy; standard output has
//! results alone, and with `--json` exactly one object, whatever happens.

mod bench;
mod bug;
mod client;
mod config;
mod demo;
mod fallback;
mod fault;
mod idle;
mod journal;
mod key;
mod manager;
mod member;
mod metrics;
mod node;
mod origin;
mod sim;
mod status;
mod topo;
mod versions;

#[cfg(any(test, fuzzing))]
pub(crate) use client::parse_line;

use crate::bench::{RunError, SettingsError};
use crate::host::program::BUILD;
use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use idle::Given;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use thiserror::Error;

/// Parallel state-machine replication over Multi-Ring Paxos on IP multicast.
#[derive(Debug, Parser)]
#[command(name = "psmr", version = BUILD, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs SMR, P-SMR and opt-PSMR on a B+-tree at growing shares of dependent commands
    Demo(demo::DemoArgs),
    /// Measures one configuration
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Simulates clusters under faults and checks what they promise
    Sim(sim::SimArgs),
    /// Writes a first cluster.toml
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Makes the keys by which nodes and clients know each other
    Keygen(key::KeygenArgs),
    /// Runs nodes of a cluster until it is told to stop
    Node(node::NodeArgs),
    /// Sends commands to a cluster: one a line on standard input, or one on the command line
    Client(client::ClientArgs),
    /// Asks every node of a cluster how it is
    Status(status::StatusArgs),
    /// Shows and changes who belongs to a running cluster
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// Prints the machine, and which thread would run where on it
    Topo(topo::TopoArgs),
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Runs a whole cluster in this process under load, and reports
    Run(Box<bench::RunArgs>),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Writes the cluster.toml of a new cluster
    Init(config::InitArgs),
}

/// Why a subcommand failed.
#[derive(Debug, Error)]
enum Failure {
    /// The run failed.
    #[error("{0}")]
    Run(String),
    /// The command line cannot be followed.
    #[error("{0}")]
    Usage(String),
    /// The machine refuses what is needed.
    #[error("{0}")]
    Environment(String),
}

impl Failure {
    fn status(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Run(_) => 1,
            Self::Usage(_) => 2,
            Self::Environment(_) => 3,
        })
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Settings(error) => error.into(),
            RunError::Environment(message) => Self::Environment(message),
            RunError::Failed(message) => Self::Run(message),
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Runs the command line `arguments`, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = Cli::command()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let outcome = match parsed {
        Ok((Cli { command }, matches)) => follow(command, &matches),
        Err(error) => reject(&error, &arguments),
    };
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    complain(&failure.to_string());
    failure.status()
}

fn follow(command: Command, matches: &ArgMatches) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Bench(BenchCommand::Run(args)) => {
            let run = ["bench", "run"];
            let matches = run.iter().try_fold(matches, |of, name| of.subcommand_matches(name));
            bench::run(*args, &matches.map(Given::of).unwrap_or_default())
        }
        Command::Sim(args) => sim::run(&args),
        Command::Config(ConfigCommand::Init(args)) => config::init(&args),
        Command::Keygen(args) => key::generate(&args),
        Command::Node(args) => node::run(&args),
        Command::Client(args) => client::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Member(command) => member::run(&command),
        Command::Topo(args) => topo::run(&args),
    }
}

/// What the standard library says of numbers, and what a user needs to hear.
const WORDS: [(&str, &str); 5] = [
    ("invalid digit found in string", "not a whole number from 0 on"),
    ("cannot parse integer from empty string", "not a whole number from 0 on"),
    ("number too large to fit in target type", "too large"),
    ("invalid float literal", "not a number"),
    ("cannot parse float from empty string", "not a number"),
];

/// Help and version are no failures; everything else is one line.
fn reject(error: &clap::Error, arguments: &[OsString]) -> Result<(), Failure> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return show(&error.render().to_string());
    }
    let help = help_of(arguments);
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Err(Failure::Usage(format!("no subcommand: run `{help}` for the list")));
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let told =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let told: Vec<&str> = told.filter(|line| !line.is_empty()).collect();
    let mut message = told.join(" ").trim_start_matches("error: ").to_owned();
    for (theirs, ours) in WORDS {
        message = message.replace(theirs, ours);
    }
    if arguments.iter().any(|argument| argument == "--json") {
        match arguments.get(1).and_then(|argument| argument.to_str()) {
            Some("demo") => demo::show_failure(&message)?,
            Some("sim") => sim::show_failure(&message)?,
            Some("status") => status::show_failure(&message)?,
            Some("member") => member::show_failure(&message)?,
            Some("topo") => topo::show_failure(&message)?,
            // `psmr client load` reports as `psmr bench run` does.
            _ => bench::show_failure(&message)?,
        }
    }
    Err(Failure::Usage(format!("{message}: see `{help}`")))
}

/// The command line that prints the help of the subcommand that `arguments` name.
fn help_of(arguments: &[OsString]) -> String {
    let mut command = Cli::command();
    let mut line = "psmr ".to_owned();
    for argument in arguments.iter().skip(1) {
        let Some(found) = command.find_subcommand(argument) else { break };
        line += &format!("{} ", found.get_name());
        command = found.clone();
    }
    line + "--help"
}

/// Writes results to standard output. A reader that has gone is no failure.
fn show(text: &str) -> Result<(), Failure> {
    tell(text).map(|_| ())
}

/// As [`show`]; says whether anybody still reads.
fn tell(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(Failure::Environment(format!("cannot write to standard output: {error}")))
        }
    }
}

/// Writes one line to standard error, if anybody listens.
fn complain(message: &str) {
    let line = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let _ = writeln!(io::stderr().lock(), "psmr: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
