//! Histories of key-value commands, from the simulator or from the file that
//! `psmr bench run --history` writes, and their linearizability key by key.
//!
//! A map is linearizable if and only if each key is (Herlihy and Wing: locality). A range counts as
//! one read of each key that it covers, which is weaker than its own atomicity but never wrong.

use super::{Call, Linearizability, Model, Violation, check};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use thiserror::Error;

const NAME: &str = "linearizability";
/// Searches of real histories take one or two steps an operation.
const STEPS_PER_CALL: u64 = 20_000;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The value of a key.
    Read,
    /// A new value for a key that is there.
    Update(u64),
    /// A key that is not there.
    Insert(u64),
    /// A key no more.
    Delete,
    /// The keys from the operation's key on, below `end`, at most `limit` of them.
    Range {
        /// The first key that is not asked for.
        end: u64,
        /// The most pairs.
        limit: u64,
    },
}

/// What it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok,
    /// The key was there already.
    Exists,
    /// The key was not there.
    Missing,
    /// The key's value.
    Value(u64),
    /// The keys of a range and their values.
    Range(Vec<(u64, u64)>),
    /// Nothing: it may take effect or not, now or later.
    Unknown,
    /// It never takes effect.
    NotApplied,
}

/// One command and its fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When it was issued, in nanoseconds.
    pub invoked: u64,
    /// When its outcome was known.
    pub returned: Option<u64>,
    /// Its key.
    pub key: u64,
    /// What was asked.
    pub verb: Verb,
    /// What was answered.
    pub outcome: Outcome,
}

/// Why a history could not be read.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The file failed.
    #[error("cannot read the history")]
    Io(#[from] std::io::Error),
    /// A line is no JSON object.
    #[error("line {line} of the history is not JSON")]
    Json {
        /// The line's number, from 1.
        line: usize,
        /// What serde says.
        source: serde_json::Error,
    },
    /// A field is missing or not what it should be.
    #[error("line {line} of the history: field \"{field}\" is missing or malformed")]
    Field {
        /// The line's number, from 1.
        line: usize,
        /// The field.
        field: &'static str,
    },
}

/// Reads a history in JSON lines.
///
/// # Errors
/// The first line that is not an operation.
pub fn read_history(lines: impl BufRead) -> Result<Vec<Operation>, HistoryError> {
    let mut operations = Vec::new();
    for (index, text) in lines.lines().enumerate() {
        let (line, text) = (index + 1, text?);
        if text.trim().is_empty() {
            continue;
        }
        let json =
            serde_json::from_str(&text).map_err(|source| HistoryError::Json { line, source });
        let operation = parse(&json?).map_err(|field| HistoryError::Field { line, field })?;
        operations.push(operation);
    }
    Ok(operations)
}

/// One operation, for people.
fn described(call: &Call<Action>) -> String {
    let Call { invoked, returned, action: Action { verb, outcome } } = call;
    let asked = match verb {
        Verb::Read => "a read".to_owned(),
        Verb::Insert(value) => format!("an insert of {value}"),
        Verb::Update(value) => format!("an update to {value}"),
        Verb::Delete => "a delete".to_owned(),
        Verb::Range { .. } => "a range".to_owned(),
    };
    let told = match outcome {
        Outcome::Ok => "ok".to_owned(),
        Outcome::Exists => "exists".to_owned(),
        Outcome::Missing => "missing".to_owned(),
        Outcome::Value(value) => format!("the value {value}"),
        Outcome::Range(pairs) => format!("{} pairs", pairs.len()),
        Outcome::Unknown => "nothing".to_owned(),
        Outcome::NotApplied => "that it was not applied".to_owned(),
    };
    let until = returned.map_or_else(String::new, |returned| format!(" to {returned}"));
    format!("{asked} that was told {told}, from {invoked}{until} ns,")
}

/// Checks a history key by key; `initial` is the value of a key before the first operation.
///
/// Returns the violations, one a key at most, in order of keys.
pub fn check_history(
    operations: &[Operation],
    initial: impl Fn(u64) -> Option<u64>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (key, calls) in by_key(operations) {
        let steps = STEPS_PER_CALL * (calls.len() as u64 + 10);
        let detail = match check::<Cell>(initial(key), &calls, steps) {
            Linearizability::Holds => continue,
            Linearizability::Violated { longest, stuck } => format!(
                "key {key}: {longest} of {} operations can be put in order, then {} fits nowhere",
                calls.len(),
                described(&calls[stuck])
            ),
            Linearizability::Undecided => {
                format!(
                    "key {key}: not known to be right or wrong: {steps} steps were not enough for {} \
                     operations, too many of them without an answer",
                    calls.len()
                )
            }
        };
        violations.push(Violation { checker: NAME, detail });
    }
    violations
}

/// One key: its value, if it is there.
#[derive(Debug)]
struct Cell;

/// What was done to one key. Outcomes that nobody was told are `Unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Action {
    verb: Verb,
    outcome: Outcome,
}

impl Model for Cell {
    type State = Option<u64>;
    type Action = Action;

    fn step(state: &Option<u64>, action: &Action) -> Option<Option<u64>> {
        let (outcome, after) = match (&action.verb, *state) {
            (Verb::Read | Verb::Range { .. }, Some(value)) => (Outcome::Value(value), *state),
            (Verb::Read | Verb::Range { .. } | Verb::Update(_) | Verb::Delete, None) => {
                (Outcome::Missing, None)
            }
            (Verb::Update(value), Some(_)) | (Verb::Insert(value), None) => {
                (Outcome::Ok, Some(*value))
            }
            (Verb::Insert(_), Some(_)) => (Outcome::Exists, *state),
            (Verb::Delete, Some(_)) => (Outcome::Ok, None),
        };
        (action.outcome == Outcome::Unknown || action.outcome == outcome).then_some(after)
    }
}

fn by_key(operations: &[Operation]) -> BTreeMap<u64, Vec<Call<Action>>> {
    let mut keys: BTreeMap<u64, Vec<Call<Action>>> = BTreeMap::new();
    for operation in operations {
        if !matches!(operation.verb, Verb::Range { .. }) {
            keys.entry(operation.key).or_default();
        }
        let Outcome::Range(pairs) = &operation.outcome else { continue };
        for (key, _) in pairs {
            keys.entry(*key).or_default();
        }
    }
    for Operation { invoked, returned, key, verb, outcome } in operations {
        let call = |outcome: &Outcome| Call {
            invoked: *invoked,
            returned: returned.filter(|_| *outcome != Outcome::Unknown),
            action: Action { verb: verb.clone(), outcome: outcome.clone() },
        };
        match (verb, outcome) {
            (_, Outcome::NotApplied) | (Verb::Read | Verb::Range { .. }, Outcome::Unknown) => {}
            (Verb::Range { end, limit }, Outcome::Range(pairs)) => {
                let is_full = pairs.len() as u64 >= *limit;
                let end = pairs.last().filter(|_| is_full).map_or(*end, |(last, _)| last + 1);
                let found: BTreeMap<u64, u64> = pairs.iter().copied().collect();
                for (key, calls) in keys.range_mut(*key..end.max(*key)) {
                    let value = found.get(key).map_or(Outcome::Missing, |v| Outcome::Value(*v));
                    calls.push(call(&value));
                }
            }
            _ => keys.entry(*key).or_default().push(call(outcome)),
        }
    }
    keys.values_mut().for_each(forget_unseen);
    keys
}

/// Of what was never answered, values that nobody has read are as good as each other, and an update to
/// one leaves no trace: the fewer differ, the shorter is the search.
fn forget_unseen(calls: &mut Vec<Call<Action>>) {
    let seen: BTreeSet<u64> = calls
        .iter()
        .filter_map(|call| match call.action.outcome {
            Outcome::Value(value) => Some(value),
            _ => None,
        })
        .collect();
    let unseen = (0..).find(|value| !seen.contains(value)).expect("not all were read");
    calls.retain_mut(|call| {
        if call.returned.is_some() {
            return true;
        }
        match &mut call.action.verb {
            Verb::Update(value) => seen.contains(value),
            Verb::Insert(value) => {
                *value = if seen.contains(value) { *value } else { unseen };
                true
            }
            _ => true,
        }
    });
}

fn parse(json: &Value) -> Result<Operation, &'static str> {
    let number = |field: &'static str| as_u64(&json[field]).ok_or(field);
    let verb = match json["op"].as_str() {
        Some("read") => Verb::Read,
        Some("update") => Verb::Update(number("value")?),
        Some("insert") => Verb::Insert(number("value")?),
        Some("delete") => Verb::Delete,
        Some("range") => Verb::Range { end: number("end")?, limit: number("limit")? },
        _ => return Err("op"),
    };
    let outcome = match json["result"].as_str() {
        Some("ok") => Outcome::Ok,
        Some("exists") => Outcome::Exists,
        Some("missing") => Outcome::Missing,
        Some("value") => Outcome::Value(number("read")?),
        Some("range") => Outcome::Range(pairs(&json["pairs"]).ok_or("pairs")?),
        Some("unknown") => Outcome::Unknown,
        Some("not-applied") => Outcome::NotApplied,
        None if json["result"].is_null() => Outcome::Unknown,
        _ => return Err("result"),
    };
    let returned = &json["return_ns"];
    let returned =
        if returned.is_null() { None } else { Some(as_u64(returned).ok_or("return_ns")?) };
    Ok(Operation { invoked: number("invoke_ns")?, returned, key: number("key")?, verb, outcome })
}

/// A number, or its digits: 64 bits do not survive every JSON reader.
fn as_u64(json: &Value) -> Option<u64> {
    json.as_u64().or_else(|| json.as_str()?.parse().ok())
}

fn pairs(json: &Value) -> Option<Vec<(u64, u64)>> {
    let pair = |pair: &Value| Some((as_u64(&pair[0])?, as_u64(&pair[1])?));
    json.as_array()?.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(times: (u64, u64), key: u64, verb: Verb, outcome: Outcome) -> Operation {
        let returned = (times.1 > 0).then_some(times.1);
        Operation { invoked: times.0, returned, key, verb, outcome }
    }

    fn holds(operations: &[Operation]) -> bool {
        check_history(operations, |key| (key % 2 == 0).then_some(key)).is_empty()
    }

    #[test]
    fn many_commands_without_an_answer_are_no_riddle() {
        use Outcome::{Missing, Ok, Unknown, Value};
        use Verb::{Delete, Insert, Read, Update};
        let mut history = Vec::new();
        for n in 0..60 {
            history.push(operation((1 + n, 0), 7, Insert(1_000 + n), Unknown));
            history.push(operation((1 + n, 0), 7, Delete, Unknown));
            history.push(operation((1 + n, 0), 7, Update(2_000 + n), Unknown));
        }
        for n in 0..40 {
            let at = 100 + 10 * n;
            history.push(operation((at, at + 1), 7, Insert(n), Ok));
            history.push(operation((at + 2, at + 3), 7, Read, Value(n)));
            history.push(operation((at + 4, at + 5), 7, Read, Missing));
        }
        assert!(holds(&history));
        // One delete less than insertions that were answered needs, and all of it would be tried.
        history.retain(|operation| operation.verb != Delete || operation.invoked < 40);
        let problem = check_history(&history, |_| None).remove(0).detail;
        assert!(problem.contains("fits nowhere"), "{problem}");
    }

    #[test]
    fn a_map_answers_ok_exists_missing_and_values() {
        use Outcome::{Exists, Missing, Ok, Value};
        use Verb::{Delete, Insert, Read, Update};
        let history = [
            operation((1, 2), 7, Insert(70), Ok),
            operation((3, 4), 7, Insert(71), Exists),
            operation((5, 6), 7, Read, Value(70)),
            operation((7, 8), 7, Update(72), Ok),
            operation((9, 10), 7, Delete, Ok),
            operation((11, 12), 7, Delete, Missing),
            operation((13, 14), 7, Update(73), Missing),
            operation((15, 16), 7, Read, Missing),
            operation((1, 2), 8, Read, Value(8)),
        ];
        assert!(holds(&history));
        for (index, wrong) in [(1, Ok), (2, Value(71)), (5, Ok), (7, Value(72)), (8, Missing)] {
            let mut history = history.clone();
            history[index].outcome = wrong;
            assert!(!holds(&history), "operation {index}");
        }
    }

    #[test]
    fn a_command_without_answer_may_explain_a_later_read_and_one_not_applied_may_not() {
        use Outcome::{NotApplied, Unknown, Value};
        let read = operation((9, 10), 2, Verb::Read, Value(5));
        let update = |returned, outcome| operation((1, returned), 2, Verb::Update(5), outcome);
        assert!(holds(&[read.clone(), update(0, Unknown)]));
        assert!(holds(&[read.clone(), update(3, Unknown)]));
        assert!(!holds(&[read.clone(), update(3, NotApplied)]));
        assert!(!holds(&[read]));
    }

    #[test]
    fn a_range_reads_each_key_that_it_covers() {
        let range = |pairs: &[(u64, u64)], limit| {
            let verb = Verb::Range { end: 10, limit };
            operation((5, 6), 2, verb, Outcome::Range(pairs.to_vec()))
        };
        let insert = operation((1, 2), 5, Verb::Insert(50), Outcome::Ok);
        let all = [(2, 2), (4, 4), (5, 50), (6, 6), (8, 8)];
        assert!(holds(&[insert.clone(), range(&all, 99)]));
        assert!(holds(&[insert.clone(), range(&all[..2], 2)]));
        assert!(!holds(&[insert.clone(), range(&[(2, 2), (4, 4), (6, 6), (8, 8)], 99)]));
        assert!(!holds(&[insert, range(&[(2, 3)], 1)]));
    }

    #[test]
    fn the_file_of_a_load_run_is_read() {
        let file = concat!(
            r#"{"client":0,"session":"1","sequence":"1","invoke_ns":5,"return_ns":9,"op":"read","#,
            r#""key":"18446744073709551615","end":null,"limit":null,"value":null,"#,
            r#""result":"value","read":"7","pairs":null}"#,
            "\n\n",
            r#"{"invoke_ns":"6","return_ns":null,"op":"insert","key":"3","value":"4","#,
            r#""result":"unknown"}"#,
            "\n",
            r#"{"invoke_ns":7,"return_ns":8,"op":"range","key":"1","end":"9","limit":2,"#,
            r#""result":"range","pairs":[["2","20"],["4","40"]]}"#,
        );
        let expected = [
            operation((5, 9), u64::MAX, Verb::Read, Outcome::Value(7)),
            operation((6, 0), 3, Verb::Insert(4), Outcome::Unknown),
            operation(
                (7, 8),
                1,
                Verb::Range { end: 9, limit: 2 },
                Outcome::Range(vec![(2, 20), (4, 40)]),
            ),
        ];
        assert_eq!(read_history(file.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn a_malformed_line_is_named() {
        let file = "{\"invoke_ns\":1,\"return_ns\":2,\"op\":\"read\",\"result\":\"ok\"}\n";
        let error = read_history(file.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1 of the history: field \"key\" is missing or malformed"
        );
        assert!(matches!(
            read_history("\nfoo".as_bytes()),
            Err(HistoryError::Json { line: 2, .. })
        ));
    }
}
