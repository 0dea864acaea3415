//! Tables of a configuration file, read key by key: each with its place, its range, its default, and
//! a record of what became effective.

use super::error::nearest;
use super::{ConfigError, Place};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

type Result<T> = std::result::Result<T, ConfigError>;

/// A value that a configuration came to, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The table, as its header writes it: `[ordering]`, `[[acceptor]]`.
    pub table: String,
    /// The key.
    pub key: &'static str,
    /// The value, as TOML writes it.
    pub value: String,
    /// The line that gives it; `None` for a default.
    pub line: Option<usize>,
}

/// The text, for places in it, and what was read so far.
#[derive(Debug)]
pub(super) struct Source<'a> {
    text: &'a str,
    pub(super) effective: Vec<Effective>,
}

impl<'a> Source<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, effective: Vec::new() }
    }

    /// The line and column of a byte offset.
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = (0..=offset.min(self.text.len())).rev().find_map(|end| self.text.get(..end));
        let before = before.unwrap_or("");
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Place { line, column: before[start..].chars().count() + 1 }
    }
}

/// One table, present or not.
#[derive(Debug)]
pub(super) struct Section<'s, 't, 'a> {
    source: &'s mut Source<'t>,
    table: Option<&'s DeTable<'a>>,
    /// Before a key in messages: `ordering.`, `acceptor[1].`.
    prefix: String,
    header: String,
    /// Where the table starts; without one, the file.
    place: Place,
}

/// A value with its place.
struct Given<'s, 'a> {
    value: &'s DeValue<'a>,
    place: Place,
}

impl<'s, 't, 'a> Section<'s, 't, 'a> {
    /// Table `name` of `root`, whose keys are `known`.
    pub(super) fn open(
        source: &'s mut Source<'t>,
        root: &'s DeTable<'a>,
        name: &str,
        known: &[&str],
    ) -> Result<Self> {
        let Some(value) = root.get(name) else {
            let (prefix, header) = (format!("{name}."), format!("[{name}]"));
            return Ok(Self { source, table: None, prefix, header, place: Place::START });
        };
        let place = source.place(value.span().start);
        let Some(table) = value.get_ref().as_table() else {
            let remedy = format!("write [{name}] on a line of its own, and its keys below");
            return Err(ConfigError::new(Some(place), name, "not a table", remedy));
        };
        Self::of((source, table), (format!("{name}."), format!("[{name}]")), known, place)
    }

    /// The `index`th table of `[[name]]`.
    pub(super) fn of_array(
        source: &'s mut Source<'t>,
        (name, index): (&str, usize),
        value: &'s Spanned<DeValue<'a>>,
        known: &[&str],
    ) -> Result<Self> {
        let place = source.place(value.span().start);
        let Some(table) = value.get_ref().as_table() else {
            let remedy = format!("write [[{name}]] on a line of its own, and its keys below");
            return Err(ConfigError::new(Some(place), name, "not a table", remedy));
        };
        let names = (format!("{name}[{index}]."), format!("[[{name}]]"));
        Self::of((source, table), names, known, place)
    }

    /// The table of all tables.
    pub(super) fn root(
        source: &'s mut Source<'t>,
        root: &'s DeTable<'a>,
        known: &[&str],
    ) -> Result<Self> {
        Self::of((source, root), (String::new(), String::new()), known, Place::START)
    }

    fn of(
        (source, table): (&'s mut Source<'t>, &'s DeTable<'a>),
        (prefix, header): (String, String),
        known: &[&str],
        place: Place,
    ) -> Result<Self> {
        let unknown = table.keys().find(|key| !known.contains(&key.get_ref().as_ref()));
        if let Some(key) = unknown {
            let name = key.get_ref();
            let place = source.place(key.span().start);
            let remedy = match nearest(name, known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("the keys here are {}", known.join(", ")),
            };
            let key = format!("{prefix}{name}");
            return Err(ConfigError::new(Some(place), key, "unknown key", remedy));
        }
        Ok(Self { source, table: Some(table), prefix, header, place })
    }

    /// Where the table starts, or `key` in it.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.given(key).map_or(self.place, |given| given.place)
    }

    /// An error about `key`.
    pub(super) fn refuse<T>(
        &self,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Result<T> {
        let place = self.place_of(key);
        Err(ConfigError::new(Some(place), format!("{}{key}", self.prefix), problem, remedy))
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.given(key).is_some()
    }

    fn given(&self, key: &str) -> Option<Given<'s, 'a>> {
        let value: &Spanned<DeValue<'a>> = self.table?.get(key)?;
        Some(Given { value: value.get_ref(), place: self.source.place(value.span().start) })
    }

    fn note(&mut self, key: &'static str, value: String, given: Option<&Given<'_, '_>>) {
        let line = given.map(|given| given.place.line);
        self.source.effective.push(Effective { table: self.header.clone(), key, value, line });
    }

    /// A whole number.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64> {
        let given = self.given(key);
        let number = match &given {
            None => default,
            Some(given) => match self.integer(key, given.value)? {
                Some(number) if range.contains(&number) => number,
                number => {
                    let number = number.map_or_else(|| "too large".to_owned(), |n| n.to_string());
                    let remedy = format!("choose {} to {}", range.start(), range.end());
                    return self.refuse(key, format!("{number} is out of range"), remedy);
                }
            },
        };
        self.note(key, number.to_string(), given.as_ref());
        Ok(number)
    }

    /// Likewise, as a size.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize> {
        let range = *range.start() as u64..=*range.end() as u64;
        let number = self.number(key, default as u64, range)?;
        Ok(usize::try_from(number).expect("within a range of sizes"))
    }

    /// A number that must be there.
    pub(super) fn required_number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<u64> {
        if !self.has(key) {
            let remedy = format!("add `{key} = {}` with your own number", range.start());
            return self.refuse(key, "missing", remedy);
        }
        self.number(key, 0, range)
    }

    /// `None`: an integer beyond 64 bits.
    fn integer(&self, key: &str, value: &DeValue<'_>) -> Result<Option<u64>> {
        let Some(integer) = value.as_integer() else {
            let problem = format!("{} is not a whole number", kind(value));
            return self.refuse(key, problem, format!("write `{key} = 1` without quotes"));
        };
        let digits = integer.as_str().trim_start_matches('+');
        if digits.starts_with('-') {
            return self.refuse(key, format!("{digits} is negative"), "choose 0 or more");
        }
        Ok(u64::from_str_radix(digits, integer.radix()).ok())
    }

    /// A switch.
    pub(super) fn switch(&mut self, key: &'static str) -> Result<bool> {
        let given = self.given(key);
        let is_on = match &given {
            None => false,
            Some(given) => match given.value.as_bool() {
                Some(is_on) => is_on,
                None => {
                    let problem = format!("{} is neither true nor false", kind(given.value));
                    return self.refuse(key, problem, "write true or false without quotes");
                }
            },
        };
        self.note(key, is_on.to_string(), given.as_ref());
        Ok(is_on)
    }

    /// A text; without a default it must be there.
    pub(super) fn text(&mut self, key: &'static str, default: Option<&str>) -> Result<String> {
        let given = self.given(key);
        let text = match (&given, default) {
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                return self.refuse(key, "missing", format!("add `{key} = \"..\"`"));
            }
            (Some(given), _) => match given.value.as_str() {
                Some(text) => text.to_owned(),
                None => {
                    let problem = format!("{} is not a text", kind(given.value));
                    return self.refuse(key, problem, format!("write `{key} = \"..\"` in quotes"));
                }
            },
        };
        self.note(key, quoted(&text), given.as_ref());
        Ok(text)
    }

    /// A text that may be left out.
    pub(super) fn optional_text(&mut self, key: &'static str) -> Result<Option<String>> {
        if self.has(key) { self.text(key, None).map(Some) } else { Ok(None) }
    }

    /// A text that `parse` understands; `expected` says what it looks like.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        default: Option<&str>,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T> {
        if default.is_none() && !self.has(key) {
            return self.refuse(key, "missing", format!("add `{key} = \"{expected}\"`"));
        }
        let text = self.text(key, default)?;
        match parse(&text) {
            Some(value) => Ok(value),
            None => {
                let problem = format!("{} cannot be used", quoted(&text));
                self.refuse(key, problem, format!("write it like \"{expected}\""))
            }
        }
    }

    /// One of a few words, the first of them by default.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<T> {
        let text = self.text(key, Some(choices[0].0))?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Ok(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let remedy = match nearest(&text, &names) {
            Some(name) => format!("did you mean \"{name}\"? there are {}", names.join(", ")),
            None => format!("choose {}", names.join(" or ")),
        };
        self.refuse(key, format!("{} is no choice here", quoted(&text)), remedy)
    }

    /// A length of time, as in "50us".
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: &str,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration> {
        let expected = "10ms";
        let duration = self.parsed(key, Some(default), expected, duration)?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let remedy = format!("choose {:?} to {:?}", range.start(), range.end());
        self.refuse(key, format!("{duration:?} is out of range"), remedy)
    }

    /// An IPv4 address.
    pub(super) fn address(&mut self, key: &'static str) -> Result<Ipv4Addr> {
        self.parsed(key, None, "10.0.0.1", |text| Ipv4Addr::from_str(text).ok())
    }

    /// An IPv4 address with a port.
    pub(super) fn socket(&mut self, key: &'static str) -> Result<SocketAddrV4> {
        self.parsed(key, None, "239.192.0.1:21000", |text| SocketAddrV4::from_str(text).ok())
    }

    /// Numbers of CPUs; none by default.
    pub(super) fn cores(&mut self, key: &'static str) -> Result<Vec<u32>> {
        let given = self.given(key);
        let mut cores = Vec::new();
        if let Some(given) = &given {
            let Some(array) = given.value.as_array() else {
                let problem = format!("{} is not a list", kind(given.value));
                return self.refuse(key, problem, format!("write `{key} = [0, 1]`"));
            };
            for value in array.iter() {
                let core = self.integer(key, value.get_ref())?;
                match core.and_then(|core| u32::try_from(core).ok()) {
                    Some(core) => cores.push(core),
                    None => return self.refuse(key, "no such CPU", "see `psmr topo`"),
                }
            }
        }
        self.note(key, format!("{cores:?}"), given.as_ref());
        Ok(cores)
    }

    /// A whole number, or one word; without either the number must be there.
    pub(super) fn number_or(
        &mut self,
        key: &'static str,
        word: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>> {
        let is_word = self.given(key).is_some_and(|given| given.value.as_str() == Some(word));
        if is_word {
            return self.text(key, None).map(|_| None);
        }
        self.required_number(key, range).map(Some)
    }
}

/// A length of time as the file writes it: a number and ns, us, ms, s or min.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let unit_ns: u64 = match unit.trim() {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60_000_000_000,
        _ => return None,
    };
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(unit_ns).map(Duration::from_nanos);
    }
    let unit = Duration::from_nanos(unit_ns);
    let seconds = number.parse::<f64>().ok()? * unit.as_secs_f64();
    Duration::try_from_secs_f64(seconds).ok()
}

fn kind(value: &DeValue<'_>) -> String {
    format!("a value of type {}", value.type_str())
}

/// As TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
