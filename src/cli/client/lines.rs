//! Commands of the B+-tree as people write them, and its answers as they read them.

use crate::proxy::{NotApplied, Outcome};
use crate::service::btree::{self, Command};

/// What is printed of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The line.
    pub(super) text: String,
    /// Whether the service has answered.
    pub(super) is_executed: bool,
}

impl Answer {
    /// Of a command that was not executed, or perhaps not.
    pub(super) const fn of(text: String) -> Self {
        Self { text, is_executed: false }
    }
}

/// The command that a line is, or what is wrong with it.
pub(crate) fn parse(line: &str) -> Result<Command, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |word: &str| {
        word.parse::<u64>().map_err(|_| format!("`{word}` is no number from 0 to {}", u64::MAX))
    };
    Ok(match words[..] {
        ["insert", key, value] => Command::Insert { key: number(key)?, value: number(value)? },
        ["update", key, value] => Command::Update { key: number(key)?, value: number(value)? },
        ["delete", key] => Command::Delete { key: number(key)? },
        ["read", key] => Command::Read { key: number(key)? },
        ["range", from, to] => range(number(from)?, number(to)?, u32::MAX.into())?,
        ["range", from, to, limit] => range(number(from)?, number(to)?, number(limit)?)?,
        [] => return Err(format!("an empty line is no command: {}", usage(""))),
        [verb, ..] => return Err(usage(verb)),
    })
}

fn range(from: u64, to: u64, limit: u64) -> Result<Command, String> {
    if from > to {
        return Err(format!("the range ends at {to}, before it starts at {from}"));
    }
    let limit = u32::try_from(limit).map_err(|_| format!("at most {} keys", u32::MAX))?;
    Ok(Command::Range { from, to, limit })
}

fn usage(verb: &str) -> String {
    match verb {
        "insert" => "write insert KEY VALUE".to_owned(),
        "update" => "write update KEY VALUE".to_owned(),
        "delete" => "write delete KEY".to_owned(),
        "read" => "write read KEY".to_owned(),
        "range" => "write range FROM TO [LIMIT]".to_owned(),
        "" => "write insert, update, delete, read or range".to_owned(),
        other => format!("`{other}` is no command: write insert, update, delete, read or range"),
    }
}

/// What became of a command.
pub(super) fn answer(outcome: Outcome, payload: &[u8]) -> Answer {
    let reason = match outcome {
        Outcome::Unknown => return Answer::of("unknown".to_owned()),
        Outcome::NotApplied(NotApplied::NoSession) => "the session is closed",
        Outcome::NotApplied(NotApplied::WrongEpoch) => "the replicas have another partition map",
        Outcome::NotApplied(NotApplied::Rejected) => "the replicas rejected it",
        Outcome::NotApplied(NotApplied::Overload) => {
            "the cluster took no more commands until the deadline"
        }
        Outcome::Done => match btree::Outcome::decode(payload) {
            Some(btree::Outcome::Refused) => "the service refused it",
            None => return Answer::of("error the answer is none of the service's".to_owned()),
            Some(outcome) => return Answer { text: executed(&outcome), is_executed: true },
        },
    };
    Answer::of(format!("not-applied {reason}"))
}

fn executed(outcome: &btree::Outcome) -> String {
    match outcome {
        btree::Outcome::Value(value) => format!("value {value}"),
        btree::Outcome::Range(pairs) if pairs.is_empty() => "empty".to_owned(),
        btree::Outcome::Range(pairs) => {
            let pairs = pairs.iter().map(|pair| format!("{}:{}", pair.key, pair.value));
            pairs.collect::<Vec<_>>().join(" ")
        }
        other => other.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::btree::Pair;

    #[test]
    fn each_command_has_its_line() {
        let (key, value) = (5, u64::MAX);
        assert_eq!(parse(" insert 5 18446744073709551615 "), Ok(Command::Insert { key, value }));
        assert_eq!(parse("update 5 7"), Ok(Command::Update { key, value: 7 }));
        assert_eq!(parse("delete 5"), Ok(Command::Delete { key }));
        assert_eq!(parse("read\t5"), Ok(Command::Read { key }));
        let range = |limit| Ok(Command::Range { from: 1, to: 9, limit });
        assert_eq!((parse("range 1 9"), parse("range 1 9 3")), (range(u32::MAX), range(3)));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told() {
        let cases = [
            ("", "empty line"),
            ("frobnicate 1", "frobnicate"),
            ("insert 1", "insert KEY VALUE"),
            ("read x", "`x` is no number"),
            ("read -1", "`-1`"),
            ("read 18446744073709551616", "18446744073709551616"),
            ("range 9 1", "before it starts"),
            ("range 1 9 4294967296", "4294967295"),
            ("READ 1", "READ"),
        ];
        for (line, part) in cases {
            let problem = parse(line).unwrap_err();
            assert!(problem.contains(part) && !problem.contains('\n'), "{line}: {problem}");
        }
    }

    #[test]
    fn answers_are_one_line_each() {
        let text = |outcome: &btree::Outcome| executed(outcome);
        assert_eq!(text(&btree::Outcome::Exists), "exists");
        assert_eq!(text(&btree::Outcome::Value(3)), "value 3");
        assert_eq!(text(&btree::Outcome::Range(Vec::new())), "empty");
        let pairs = [1, 2].map(|key| Pair { key, value: 10 * key }).to_vec();
        assert_eq!(text(&btree::Outcome::Range(pairs)), "1:10 2:20");
        assert_eq!(answer(Outcome::Done, &[5]).text, "not-applied the service refused it");
        assert_eq!(answer(Outcome::Unknown, &[]), Answer::of("unknown".to_owned()));
    }
}
