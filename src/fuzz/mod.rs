//! Whatever bytes come, each parser reads or refuses them: no panic, no allocation by a length that
//! only the bytes claim, and what it reads it would write the same.
//!
//! One function a parser. `cargo test` runs each over its corpus (fuzz/corpus) and some thousands
//! of mutations; the targets of `cargo fuzz` (fuzz/) are the same functions, guided by coverage.
//! Bytes that only a checksum would refuse are sealed first, or nothing would get past it.

#[cfg(test)]
mod tests;

use crate::cli;
use crate::config::{Config, Members};
use crate::replica;
use crate::service::{btree, counters};
use crate::sim::read_history;
use crate::storage;
use crate::types::Incarnation;
use crate::wire::{
    self, Commands, Control, DigestVote, HEADER_LENGTH, Header, Identity, Message, Mode, Replies,
    Writer,
};

/// A parser that is fed hostile bytes. It panics if it breaks a promise.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus too.
pub const TARGETS: [(&str, Target); 6] = [
    ("wire", wire),
    ("log", log),
    ("checkpoint", checkpoint),
    ("config", config),
    ("client", client),
    ("history", history),
];

const IDENTITY: Identity = Identity {
    cluster: 7,
    configuration: 11,
    epoch: 1,
    version: wire::NEWEST,
    incarnation: Incarnation(13),
};

/// A datagram: first as it is, then its first byte as the kind and the rest as the body of one that
/// checks.
pub fn wire(data: &[u8]) {
    assert!(wire::open(&IDENTITY, data).is_err() || data.len() >= HEADER_LENGTH);
    let _ = wire::kind_of(data);
    let Some((&kind, body)) = data.split_first() else { return };
    let mut datagram = [&[0; HEADER_LENGTH], body].concat();
    wire::seal(&IDENTITY, Header { kind, ..Header::default() }, &mut datagram);
    let (header, body) = wire::open(&IDENTITY, &datagram).expect("it was sealed");
    let Ok(message) = Message::decode(header.kind, body) else { return };
    walk(&message);
    let mut again = vec![0; message.encoded_length()];
    message.encode(&mut Writer::new(&mut again[HEADER_LENGTH..]));
    let decoded = Message::decode(message.kind() as u8, &again[HEADER_LENGTH..]);
    assert_eq!(decoded.as_ref(), Ok(&message));
}

/// Looks at every part of a message that is read later than the message.
fn walk(message: &Message<'_>) {
    match message {
        Message::Propose(propose) => commands(propose.commands),
        Message::Promise(promise) => promise.records.iter().for_each(|record| value(record.value)),
        Message::Accept(accept) => {
            accept.decisions.iter().flat_map(wire::Range::iter).take(MANY).for_each(drop);
            value(accept.value);
        }
        Message::Repair(repair) => value(repair.accept.value),
        Message::Accepted(accepted) => {
            accepted.ranges.iter().flat_map(wire::Range::iter).take(MANY).for_each(drop);
        }
        Message::Decision(decision) => {
            decision.ranges.iter().flat_map(wire::Range::iter).take(MANY).for_each(drop);
        }
        Message::RepairRequest(request) => request.wanted.iter().for_each(drop),
        Message::Replies(bytes) => {
            for reply in Replies::new(bytes) {
                let _ = btree::Outcome::decode(reply.payload);
                let _ = counters::Outcome::decode(reply.payload);
            }
        }
        Message::StatusPage(page) => page.facts.iter().for_each(drop),
        Message::Reconfigure(epoch) | Message::Members(epoch) => members(epoch.members),
        _ => {}
    }
}

/// A range may claim 2^64 instances; who reads one stops at its window.
const MANY: usize = 1_000;

fn value(value: wire::Value<'_>) {
    match value {
        wire::Value::Batch(bytes) => commands(bytes),
        wire::Value::Members(_, bytes) => members(bytes),
        wire::Value::Noop | wire::Value::Skip(_) => {}
    }
}

/// Members as nodes keep and tell them: what is sound is written as it was.
fn members(bytes: &[u8]) {
    if let Some(members) = Members::decode(bytes) {
        assert_eq!(members.encode(), bytes);
    }
}

fn commands(bytes: &[u8]) {
    for command in Commands::from_offset(bytes, 0) {
        if command.header.mode.has(Mode::SESSION) {
            let _ = (Control::decode(command.payload), DigestVote::decode(command.payload));
        }
        let _ = btree::Command::decode(command.payload);
        let _ = counters::Command::decode(command.payload);
    }
}

/// A block of an acceptor's log: as it is, and as the records of one that checks.
pub fn log(data: &[u8]) {
    storage::fuzz(data);
}

/// A checkpoint: as it is, and as frames of one that checks, from which a replica is restored.
pub fn checkpoint(data: &[u8]) {
    replica::fuzz(data);
}

/// A cluster.toml. What can be read is printed and read again as the same.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::read(text) {
        Ok(config) => {
            let printed = config.print();
            let again = Config::read(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
            assert_eq!(config.cluster, again.cluster);
        }
        Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
    }
}

/// Lines on the standard input of `psmr client`.
pub fn client(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines() {
        match cli::parse_line(line) {
            Ok(command) => {
                let mut buffer = [0; btree::Command::MAX_LENGTH];
                let bytes = command.encode(&mut buffer);
                assert_eq!(btree::Command::decode(bytes), Some(command), "{line}");
            }
            Err(text) => assert!(!text.is_empty()),
        }
    }
}

/// A history for `psmr sim --check-history`.
pub fn history(data: &[u8]) {
    let _ = read_history(data);
}
