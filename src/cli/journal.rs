//! What a node says on standard error: a line an event, with the time and the node.
//!
//! The journal of systemd has a time of its own, and takes a priority in front of each line.

use crate::host::clock;
use crate::node::{Event, Weight};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

/// Standard error.
#[derive(Debug)]
pub(super) struct Journal {
    /// It is the journal's.
    has_priorities: bool,
}

impl Journal {
    /// As JOURNAL_STREAM says: device and inode of what is connected to the journal.
    pub(super) fn of_environment() -> Self {
        let named = std::env::var_os("JOURNAL_STREAM");
        let is_named = |named: &OsStr| {
            let error = fs::metadata("/proc/self/fd/2");
            error.is_ok_and(|file| named == OsStr::new(&format!("{}:{}", file.dev(), file.ino())))
        };
        Self { has_priorities: named.as_deref().is_some_and(is_named) }
    }

    /// Writes one line, if anybody listens.
    pub(super) fn say(&self, event: &Event) {
        let _ = writeln!(io::stderr().lock(), "{}", self.line(event));
    }

    fn line(&self, Event { node, weight, text }: &Event) -> String {
        let text = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if !self.has_priorities {
            return format!("{} {node}: {text}", clock::utc());
        }
        // As syslog(3) counts them.
        let priority = match weight {
            Weight::Error => 3,
            Weight::Warning => 4,
            Weight::Notice => 5,
        };
        format!("<{priority}>{node}: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_time_or_the_priority_that_the_journal_reads() {
        let of = |weight| Event { node: "r1".to_owned(), weight, text: "is\n lost".to_owned() };
        let journal = Journal { has_priorities: true };
        assert_eq!(journal.line(&of(Weight::Warning)), "<4>r1: is lost");
        assert_eq!(journal.line(&of(Weight::Error)), "<3>r1: is lost");
        assert_eq!(journal.line(&of(Weight::Notice)), "<5>r1: is lost");
        let line = Journal { has_priorities: false }.line(&of(Weight::Notice));
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), rest), ("2026-11-21T23:59:59.999Z".len(), "r1: is lost"));
    }
}
