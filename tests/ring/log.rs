//! The log of an acceptor in tests: it keeps its records, and persists them when it is told to.
#![allow(dead_code, reason = "each test program uses a part of it")]

use psmr::ring_paxos::{Log, Lsn, Record, Replay};
use psmr::types::{Ballot, Instance, Life, NodeId, Slot, ValueId};
use psmr::wire::Value;

/// A value off the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Noop,
    Skip(u64),
    Batch(Vec<u8>),
    Members(u32, Vec<u8>),
}

impl Owned {
    pub(crate) fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Noop => Self::Noop,
            Value::Skip(n) => Self::Skip(*n),
            Value::Batch(bytes) => Self::Batch(bytes.to_vec()),
            Value::Members(epoch, bytes) => Self::Members(*epoch, bytes.to_vec()),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Noop => Value::Noop,
            Self::Skip(n) => Value::Skip(*n),
            Self::Batch(bytes) => Value::Batch(bytes),
            Self::Members(epoch, bytes) => Value::Members(*epoch, bytes),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Written {
    Promise(Ballot),
    Accept(Instance, Ballot, ValueId, Owned),
    Trim(Instance, (Instance, Slot)),
    Admitted,
    Lost,
    Life(NodeId, Life),
}

/// A log that keeps its records, and persists them when it is told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestLog {
    pub(super) records: Vec<Written>,
    pub(crate) persisted: u64,
    pub(crate) is_slow: bool,
}

impl TestLog {
    /// Records that are persistent.
    pub(super) fn kept(&self) -> usize {
        usize::try_from(self.persisted).expect("a small number")
    }
}

impl Replay for TestLog {
    fn replay(&self, take: &mut dyn FnMut(&Record<'_>)) {
        for written in &self.records[..self.kept()] {
            take(&match written {
                Written::Promise(ballot) => Record::Promise(*ballot),
                Written::Accept(instance, ballot, id, value) => Record::Accept {
                    instance: *instance,
                    ballot: *ballot,
                    id: *id,
                    value: value.value(),
                },
                Written::Trim(trim, known) => Record::Trim { trim: *trim, known: *known },
                Written::Admitted => Record::Admitted,
                Written::Lost => Record::Lost,
                Written::Life(node, life) => Record::Life { node: *node, life: *life },
            });
        }
    }
}

impl Log for TestLog {
    fn append(&mut self, record: &Record<'_>) -> Lsn {
        self.records.push(match *record {
            Record::Promise(ballot) => Written::Promise(ballot),
            Record::Accept { instance, ballot, id, value } => {
                Written::Accept(instance, ballot, id, Owned::of(&value))
            }
            Record::Trim { trim, known } => Written::Trim(trim, known),
            Record::Admitted => Written::Admitted,
            Record::Lost => Written::Lost,
            Record::Life { node, life } => Written::Life(node, life),
        });
        if !self.is_slow {
            self.persisted = self.records.len() as u64;
        }
        Lsn(self.records.len() as u64)
    }

    fn persisted(&self) -> Lsn {
        Lsn(self.persisted)
    }
}
