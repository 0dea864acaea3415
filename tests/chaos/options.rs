//! The command line: the program's own options, and those that `cargo test` hands to every test.

use std::ffi::OsString;

/// How to call it.
pub(crate) const USAGE: &str = "\
Options of tests/chaos.rs, behind `cargo test --test chaos --`:
  --minutes N   faults for N minutes in all [default: two]
  --seed S      draws the schedule of faults [default: 1]
  NAME          only the tests whose names contain NAME
  --list        lists the tests";

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) minutes: Option<f64>,
    pub(crate) seed: u64,
    pub(crate) filters: Vec<String>,
    pub(crate) is_exact: bool,
    pub(crate) is_list: bool,
    /// Tests that are left out at other times are asked for, and there are none.
    pub(crate) is_ignored: bool,
}

impl Options {
    /// Reads a command line without the program's name.
    pub(crate) fn read(words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Self {
            minutes: None,
            seed: 1,
            filters: Vec::new(),
            is_exact: false,
            is_list: false,
            is_ignored: false,
        };
        let mut words = words.map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = |what: &str| {
                let next = value.clone().or_else(|| words.next());
                next.ok_or(format!("{name} needs {what}\n{USAGE}"))
            };
            match name.as_str() {
                "--minutes" => {
                    let minutes = value("a number")?.parse().ok();
                    let minutes = minutes.filter(|minutes| (0.1..=10_000.0).contains(minutes));
                    options.minutes = Some(minutes.ok_or("--minutes: a number from 0.1 on")?);
                }
                "--seed" => {
                    let seed = value("a number")?.parse();
                    options.seed = seed.map_err(|_| "--seed: a number below 2^64")?;
                }
                "--exact" => options.is_exact = true,
                "--list" => options.is_list = true,
                "--ignored" => options.is_ignored = true,
                // What concerns other ways to run tests.
                "--test-threads" | "--skip" | "--color" | "--format" | "--logfile" | "-Z" => {
                    value("a value")?;
                }
                "--nocapture" | "--no-capture" | "--show-output" | "--quiet" | "-q"
                | "--include-ignored" | "--bench" | "--test" | "--report-time" => {}
                name if name.starts_with('-') => {
                    return Err(format!("there is no option {name}\n{USAGE}"));
                }
                name => options.filters.push(name.to_owned()),
            }
        }
        Ok(options)
    }

    /// Whether a test is asked for.
    pub(crate) fn has(&self, name: &str) -> bool {
        let is_named = |filter: &String| {
            if self.is_exact { name == filter } else { name.contains(filter) }
        };
        !self.is_ignored && (self.filters.is_empty() || self.filters.iter().any(is_named))
    }
}
