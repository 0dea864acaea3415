//! A simulated disk: a log whose records become persistent some time after they were written, and
//! which survives the process with what had become persistent by then, or by an earlier time, if it
//! is put back from a copy.

use crate::ring_paxos::{Log, Lsn, Record, Replay};
use crate::types::{Ballot, Instance, Life, NodeId, Random, Slot, Time, ValueId};
use crate::wire::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// A record on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stored {
    Promise(Ballot),
    Accept { instance: Instance, ballot: Ballot, id: ValueId, value: StoredValue },
    Trim { trim: Instance, known: (Instance, Slot) },
    Admitted,
    Lost,
    Life(NodeId, Life),
}

/// What a simulated disk still held when its process ended, each with the time since when it was
/// persistent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image(Vec<(Stored, Time)>);

impl Image {
    /// Whether an acceptor that began without a memory has been admitted.
    pub(super) fn has_admission(&self) -> bool {
        self.0.iter().any(|(stored, _)| *stored == Stored::Admitted)
    }

    /// Becomes what it was at `time`.
    pub(super) fn put_back(&mut self, time: Time) {
        self.0.truncate(count_until(&self.0, time));
    }
}

impl Replay for Image {
    fn replay(&self, take: &mut dyn FnMut(&Record<'_>)) {
        self.0.iter().for_each(|(stored, _)| take(&stored.as_record()));
    }
}

/// A value on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StoredValue {
    Noop,
    Skip(u64),
    Batch(Box<[u8]>),
    Members(u32, Box<[u8]>),
}

/// How many of these were persistent at `time`.
fn count_until(records: &[(Stored, Time)], time: Time) -> usize {
    records.partition_point(|(_, since)| *since <= time)
}

/// A log on a simulated disk.
#[derive(Debug)]
pub(super) struct Disk {
    /// What is written, and when it is persistent; kept only if it is to be read again.
    records: Option<Vec<(Stored, Time)>>,
    last: Lsn,
    persisted: Lsn,
    /// Writes under way: up to which record, and when they are done.
    writes: VecDeque<(Lsn, Time)>,
    delay_ns: u64,
    now: Time,
    random: Random,
}

impl Disk {
    /// A disk that takes up to `delay_ns` for a write; it keeps its records if `is_durable`.
    pub(super) fn new(delay_ns: u64, durability: Durability, random: Random) -> Self {
        let records = (durability == Durability::Sync).then(Vec::new);
        Self {
            records,
            last: Lsn(0),
            persisted: Lsn(0),
            writes: VecDeque::new(),
            delay_ns,
            now: Time::ZERO,
            random,
        }
    }

    /// The disk of a former life, with what it still holds.
    pub(super) fn reopen(mut self, image: &Image) -> Self {
        self.last = Lsn(image.0.len() as u64);
        self.persisted = self.last;
        self.records = Some(image.0.clone());
        self
    }

    /// Tells the disk the time; says whether writes have been completed since.
    pub(super) fn advance(&mut self, now: Time) -> bool {
        self.now = now;
        let before = self.persisted;
        while let Some(&(lsn, due)) = self.writes.front()
            && due <= now
        {
            self.persisted = lsn;
            self.writes.pop_front();
        }
        self.persisted > before
    }

    /// When the next write is done.
    pub(super) fn next_completion(&self) -> Option<Time> {
        self.writes.front().map(|(_, due)| *due)
    }

    /// Whether a copy from `time` lacks something that is persistent now.
    pub(super) fn lacks(&self, time: Time) -> bool {
        let persisted = usize::try_from(self.persisted.0).expect("records fit memory");
        let records = self.records.as_deref().unwrap_or_default();
        count_until(records, time) < persisted.min(records.len())
    }

    /// The process ends: what was not persistent is lost. Returns what is left.
    pub(super) fn crash(&mut self) -> Image {
        self.writes.clear();
        let mut records = self.records.take().unwrap_or_default();
        records.truncate(usize::try_from(self.persisted.0).expect("records fit memory"));
        Image(records)
    }
}

/// What a log survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Nothing: the process comes back without memory.
    Memory,
    /// The end of its process: what was persistent is read again.
    Sync,
}

impl Log for Disk {
    fn append(&mut self, record: &Record<'_>) -> Lsn {
        if *record == Record::Admitted && self.records.is_none() {
            // For another life, which will not read it.
            return self.last;
        }
        self.last.0 += 1;
        let due = if self.delay_ns == 0 {
            self.persisted = self.last;
            self.now
        } else {
            let delay = Duration::from_nanos(self.delay_ns / 4 + self.random.below(self.delay_ns));
            // Records persist in their order, so no write is done before those before it.
            let earliest = self.writes.back().map_or(self.now, |(_, due)| *due);
            let due = earliest.max(self.now + delay);
            self.writes.push_back((self.last, due));
            due
        };
        if let Some(records) = &mut self.records {
            let before = records.last().map_or(Time::ZERO, |(_, since)| *since);
            records.push((Stored::of(record), due.max(before)));
        }
        self.last
    }

    fn persisted(&self) -> Lsn {
        self.persisted
    }
}

impl Stored {
    fn of(record: &Record<'_>) -> Self {
        match *record {
            Record::Promise(ballot) => Self::Promise(ballot),
            Record::Accept { instance, ballot, id, value } => {
                let value = match value {
                    Value::Noop => StoredValue::Noop,
                    Value::Skip(slots) => StoredValue::Skip(slots),
                    Value::Batch(bytes) => StoredValue::Batch(bytes.into()),
                    Value::Members(epoch, bytes) => StoredValue::Members(epoch, bytes.into()),
                };
                Self::Accept { instance, ballot, id, value }
            }
            Record::Trim { trim, known } => Self::Trim { trim, known },
            Record::Admitted => Self::Admitted,
            Record::Lost => Self::Lost,
            Record::Life { node, life } => Self::Life(node, life),
        }
    }

    /// As the acceptor reads it.
    fn as_record(&self) -> Record<'_> {
        match self {
            Self::Promise(ballot) => Record::Promise(*ballot),
            Self::Accept { instance, ballot, id, value } => {
                let value = match value {
                    StoredValue::Noop => Value::Noop,
                    StoredValue::Skip(slots) => Value::Skip(*slots),
                    StoredValue::Batch(bytes) => Value::Batch(bytes),
                    StoredValue::Members(epoch, bytes) => Value::Members(*epoch, bytes),
                };
                Record::Accept { instance: *instance, ballot: *ballot, id: *id, value }
            }
            Self::Trim { trim, known } => Record::Trim { trim: *trim, known: *known },
            Self::Admitted => Record::Admitted,
            Self::Lost => Record::Lost,
            Self::Life(node, life) => Record::Life { node: *node, life: *life },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_persistent_is_lost_and_the_rest_is_read_again() {
        let mut disk = Disk::new(1_000, Durability::Sync, Random::new(1));
        disk.advance(Time(10));
        let trim = |n| Record::Trim { trim: Instance(n), known: (Instance(n), Slot(n)) };
        disk.append(&trim(1));
        disk.append(&trim(2));
        assert_eq!(disk.persisted(), Lsn(0));
        let due = disk.next_completion().unwrap();
        assert!(disk.advance(due));
        let left = disk.persisted().0;
        assert!(left >= 1);
        disk.append(&trim(3));
        let Image(records) = disk.crash();
        assert_eq!(records.len() as u64, left);
        assert_eq!(records[0].0.as_record(), trim(1));
    }

    #[test]
    fn a_copy_lacks_what_became_persistent_after_its_time() {
        let mut disk = Disk::new(0, Durability::Sync, Random::new(1));
        let accept = |instance| Record::Accept {
            instance: Instance(instance),
            ballot: Ballot::ZERO,
            id: ValueId::NONE,
            value: Value::Noop,
        };
        for time in 1..=4 {
            disk.advance(Time(time));
            disk.append(&accept(time));
        }
        disk.advance(Time(5));
        disk.append(&Record::Promise(Ballot::ZERO));
        let lacks = [5, 4, 2, 0].map(|time| disk.lacks(Time(time)));
        assert_eq!(lacks, [false, true, true, true]);
        let mut image = disk.crash();
        image.put_back(Time(2));
        let mut kept = Vec::new();
        image.replay(&mut |record| kept.push(format!("{record:?}")));
        assert_eq!(kept, [1, 2].map(|time| format!("{:?}", accept(time))));
    }

    #[test]
    fn without_delay_everything_is_persistent_at_once() {
        let mut disk = Disk::new(0, Durability::Memory, Random::new(1));
        let lsn = disk.append(&Record::Promise(Ballot::ZERO));
        assert_eq!(disk.persisted(), lsn);
        assert_eq!(disk.crash(), Image::default());
    }
}
