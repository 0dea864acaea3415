//! Options of `psmr bench run` that have no effect beside others: given, they are refused.

use crate::bench::{Io, Model, Service, Settings, SettingsError, Transport};
use clap::ArgMatches;
use clap::parser::ValueSource;

/// The options that the command line gives, in the words of it.
#[derive(Debug, Default)]
pub(super) struct Given(Vec<(String, String)>);

impl Given {
    /// Of a subcommand.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let is_given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let value = |id: &str| {
            let is_flag = matches!(matches.try_get_one::<bool>(id), Ok(Some(_)));
            let words = matches.get_raw(id).filter(|_| !is_flag).into_iter().flatten();
            words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        let ids = matches.ids().map(clap::Id::as_str).filter(is_given);
        Self(ids.map(|id| (id.replace('_', "-"), value(id))).collect())
    }

    /// The first option that is given and has no effect under `settings`.
    pub(super) fn without_effect(&self, settings: &Settings) -> Option<SettingsError> {
        self.0.iter().find_map(|(option, value)| {
            let mut reasons = IDLE.iter().filter(|(options, _)| options.contains(&&**option));
            let (problem, remedy) = reasons.find_map(|(_, reason)| reason(settings))?;
            let remedy = format!("leave it out, or choose {remedy}");
            Some(SettingsError::new(option, value, problem, remedy))
        })
    }
}

/// Why options are without effect, and what would give them one.
type Reason = fn(&Settings) -> Option<(String, &'static str)>;

/// Options and what makes them idle.
const IDLE: [(&[&str], Reason); 10] = [
    (&["barrier", "executor", "turn", "lambda"], one_ring),
    (&["retry"], no_check),
    (&["keys"], no_keys),
    (&["fill", "capacity", "minimum", "grown", "separators"], no_tree),
    (&["fill"], grown),
    (&["range-keys"], no_ranges),
    (&["command-bytes"], own_length),
    (&["work"], own_work),
    (
        &["io", "interface", "socket-buffer", "sqpoll", "send-zc", "min-wait-us", "busy-poll-us"],
        no_sockets,
    ),
    (&["sqpoll", "send-zc", "min-wait-us"], no_uring),
];

fn one_ring(settings: &Settings) -> Option<(String, &'static str)> {
    if settings.model == Model::Smr {
        let problem = "--model smr has one ring and one worker, with nothing to merge or to meet";
        return Some((problem.to_owned(), "--model psmr or opt-psmr"));
    }
    let problem = "--threads 1 makes one ring and one worker, with nothing to merge or to meet";
    (settings.threads == 1).then(|| (problem.to_owned(), "--threads 2 or more"))
}

fn no_check(settings: &Settings) -> Option<(String, &'static str)> {
    let problem = || format!("--model {} has no check that could fail", settings.model);
    (settings.model != Model::OptPsmr).then(|| (problem(), "--model opt-psmr"))
}

fn no_keys(settings: &Settings) -> Option<(String, &'static str)> {
    let problem = "--service null loads no keys".to_owned();
    (settings.service == Service::Null).then_some((problem, "--key-space"))
}

fn no_tree(settings: &Settings) -> Option<(String, &'static str)> {
    let problem = || format!("--service {} has no such thing", settings.service);
    (settings.service != Service::Btree).then(|| (problem(), "--service btree"))
}

fn grown(settings: &Settings) -> Option<(String, &'static str)> {
    let problem = "--grown fills the leaves as inserts do".to_owned();
    settings.grown.then_some((problem, "a tree that is not grown"))
}

fn no_ranges(settings: &Settings) -> Option<(String, &'static str)> {
    let has_ranges = settings.mix.is_some_and(|mix| mix.range > 0.0);
    let problem = "the commands have no ranges".to_owned();
    (!has_ranges).then_some((problem, "a --mix with a share of ranges, as in read=90,range=10"))
}

fn own_length(settings: &Settings) -> Option<(String, &'static str)> {
    let problem = "commands of other services than null have a length of their own".to_owned();
    (settings.service != Service::Null).then_some((problem, "--service null"))
}

fn own_work(settings: &Settings) -> Option<(String, &'static str)> {
    let problem = "commands of other services than null cost what they do".to_owned();
    (settings.service != Service::Null).then_some((problem, "--service null"))
}

fn no_sockets(settings: &Settings) -> Option<(String, &'static str)> {
    let problem = "--transport memory has no sockets and no io_uring".to_owned();
    (settings.transport == Transport::Memory).then_some((problem, "--transport uring"))
}

fn no_uring(settings: &Settings) -> Option<(String, &'static str)> {
    let problem = "--io socket has no io_uring".to_owned();
    (settings.io == Io::Socket).then_some((problem, "--io uring"))
}
