//! Lives of an acceptor and a replica on one directory, and what each next one must find there.

use super::disk::{Disk, Temper};
use psmr::ring_paxos::{Log, Memory, Record, Replay};
use psmr::storage::{CheckpointFile, Fault, Identity, Opened, RingLog, StorageError, Store};
use psmr::types::{Ballot, Incarnation, Instance, NodeId, RingId, Slot, Time, ValueId};
use psmr::wire::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const RING: RingId = RingId(0);
const INSTANCES: usize = 16;
const ME: Identity = Identity { cluster: 5, configuration: 6, node: NodeId(1) };
/// Bytes of a value: some of them fill a block, which is written as it is.
const VALUE: usize = 7000;
/// Records that leave together, and how often, so that another segment is begun.
const FILLING: (u64, u64) = (8, 10);
/// Instances that stay behind the trim mark.
const KEPT: u64 = 4;

/// Something that is done to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A life begins: reads everything back.
    Open,
    /// So many instances are accepted, one at a time.
    Append(u64),
    /// So many that the log goes on in another segment; most of them are forgotten.
    Fill,
    /// A checkpoint in the place of the last one.
    Save,
    /// The checkpoint is not to be used again.
    PutAside,
    /// Somebody who was told that the log is damaged moves it away.
    Lose,
    /// The acceptor without a memory has a vote again.
    Admit,
    /// The log ends in good order.
    Close,
    /// The process ends, however it likes.
    End,
}

/// What somebody was told.
#[derive(Debug)]
pub(crate) struct Trouble {
    step: Step,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Log(StorageError),
    /// Who keeps checkpoints names the file to whoever reads it.
    Checkpoint(io::Error),
    /// The next life has found something else than it must.
    Wrong(String),
}

/// Whether the acceptor of the log votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vote {
    /// It has never done anything.
    Unborn,
    Has,
    /// It was lost; whether it was given back is known at the next start.
    Lost,
    Returning,
}

/// What was done, and what of it was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// The last one.
    life: u64,
    vote: Vote,
    /// Of its logs, which one this is; and the instances that were written, and acknowledged, in it.
    log: u64,
    written: u64,
    acknowledged: u64,
    trimmed: u64,
    /// Checkpoints that were written, and the last one that was acknowledged.
    saves: u64,
    saved: u64,
    /// None up to here is ever to be seen again.
    put_aside: u64,
}

/// A directory and what is known of it.
pub(crate) struct Lives<'a> {
    disk: &'a Disk,
    home: PathBuf,
    ledger: Ledger,
    open: Option<(Store, RingLog)>,
}

impl<'a> Lives<'a> {
    /// With an empty directory.
    pub(crate) fn begin(disk: &'a Disk) -> Self {
        let ledger = Ledger {
            life: 0,
            vote: Vote::Unborn,
            log: 0,
            written: 0,
            acknowledged: 0,
            trimmed: 0,
            saves: 0,
            saved: 0,
            put_aside: 0,
        };
        let lives = Self::resume(disk, &ledger);
        fs::create_dir(&lives.home).expect("the disk is well");
        fs::create_dir(lives.replica()).expect("the disk is well");
        flush(&lives.home);
        flush(disk.path());
        lives
    }

    /// With what `ledger` says.
    pub(crate) fn resume(disk: &'a Disk, ledger: &Ledger) -> Self {
        Self { disk, home: disk.path().join("home"), ledger: ledger.clone(), open: None }
    }

    /// The process ends.
    pub(crate) fn end(self) -> Ledger {
        self.ledger
    }

    /// Does what `script` says, until somebody is told that it cannot be done.
    pub(crate) fn follow(&mut self, script: &[Step]) -> Result<(), Trouble> {
        for &step in script {
            self.take(step).map_err(|cause| Trouble { step, cause })?;
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), Cause> {
        match step {
            Step::Open => self.open(),
            Step::Append(count) => (0..count).try_for_each(|_| self.append(1)),
            Step::Fill => (0..FILLING.1).try_for_each(|_| self.append(FILLING.0)),
            Step::Save => self.save(),
            Step::PutAside => {
                self.ledger.saved = 0;
                CheckpointFile::set_aside(&self.replica(), Fault::Diverged)?;
                self.ledger.put_aside = self.ledger.saves;
                Ok(())
            }
            Step::Lose => {
                self.lose();
                Ok(())
            }
            Step::Admit => {
                self.ledger.vote = Vote::Returning;
                self.write(|log, _| log.append(&Record::Admitted))?;
                self.ledger.vote = Vote::Has;
                Ok(())
            }
            Step::Close => Ok(self.log().close()?),
            Step::End => {
                self.open = None;
                Ok(())
            }
        }
    }

    fn open(&mut self) -> Result<(), Cause> {
        let mut store = Store::open(&self.home.join("log"), &ME)?;
        if store.life() <= self.ledger.life {
            return Err(Cause::Wrong(format!("life {} once more", store.life())));
        }
        self.ledger.life = store.life();
        let opened = store.ring(RING, INSTANCES)?;
        self.check_log(&opened)?;
        self.open = Some((store, opened.log));
        let loaded = self.checkpoint().load()?;
        self.check_checkpoint(loaded.as_deref())
    }

    fn check_log(&mut self, opened: &Opened) -> Result<(), Cause> {
        let ledger = &mut self.ledger;
        let memory = opened.recovered.memory();
        ledger.vote = match (memory, ledger.vote) {
            (Memory::Fresh, Vote::Unborn) => Vote::Unborn,
            (Memory::Restored, Vote::Unborn | Vote::Has | Vote::Returning) => Vote::Has,
            (Memory::Amnesiac, Vote::Lost | Vote::Returning) => Vote::Lost,
            (memory, vote) => return Err(Cause::Wrong(format!("{memory:?}, but {vote:?}"))),
        };
        if ledger.vote == Vote::Lost {
            ledger.log += 1;
            (ledger.written, ledger.acknowledged, ledger.trimmed) = (0, 0, 0);
        }
        let (mut found, mut wrong) = (BTreeSet::new(), None);
        opened.recovered.replay(&mut |record| {
            if let Record::Accept { instance, value, .. } = record {
                let is_ours = *value == Value::Batch(&batch(ledger.log, instance.0));
                if instance.0 > ledger.written || !is_ours {
                    wrong = Some(format!("{instance} has a value that it was not given"));
                }
                found.insert(instance.0);
            }
        });
        let mut wanted = ledger.trimmed + 1..=ledger.acknowledged;
        let missing = wanted.find(|instance| !found.contains(instance));
        let missing = missing.map(|instance| format!("instance {instance} is not there"));
        wrong.or(missing).map_or(Ok(()), |what| Err(Cause::Wrong(what)))?;
        // What was written, but not acknowledged, and is there, is believed: it must stay.
        let last = found.last().copied().unwrap_or(0).max(ledger.acknowledged);
        (ledger.written, ledger.acknowledged) = (last, last);
        Ok(())
    }

    fn check_checkpoint(&mut self, loaded: Option<&[u8]>) -> Result<(), Cause> {
        let ledger = &mut self.ledger;
        let number = loaded.map_or(0, |bytes| u64::from(bytes[0]));
        let is_whole = loaded.is_none_or(|bytes| bytes == piece(number).concat());
        let is_allowed = match loaded {
            None => ledger.saved == 0,
            Some(_) => number >= ledger.saved && number > ledger.put_aside,
        };
        if !is_whole || !is_allowed || number > ledger.saves {
            let wanted = ledger.saved;
            return Err(Cause::Wrong(format!("checkpoint {number}, but {wanted} was saved")));
        }
        // Acceptors forget what it holds.
        ledger.saved = number;
        Ok(())
    }

    fn append(&mut self, count: u64) -> Result<(), Cause> {
        let first = self.ledger.written + 1;
        let last = self.ledger.written + count;
        self.ledger.written = last;
        let trim = last.saturating_sub(KEPT).max(self.ledger.trimmed);
        self.ledger.trimmed = trim;
        self.write(|log, number| {
            for instance in first..=last {
                let ballot = Ballot::new(1, NodeId(1), Incarnation(1));
                let id = ValueId::new(NodeId(1), Incarnation(1), instance);
                let bytes = batch(number, instance);
                let (instance, value) = (Instance(instance), Value::Batch(&bytes));
                log.append(&Record::Accept { instance, ballot, id, value });
            }
            let trim = Instance(trim);
            log.append(&Record::Trim { trim, known: (trim, Slot(trim.0)) })
        })?;
        self.ledger.acknowledged = last;
        if self.ledger.vote == Vote::Unborn {
            self.ledger.vote = Vote::Has;
        }
        Ok(())
    }

    /// Appends, and waits until all of it is persistent. A log that has failed once has failed for
    /// ever.
    fn write(
        &mut self,
        append: impl FnOnce(&mut RingLog, u64) -> psmr::ring_paxos::Lsn,
    ) -> Result<(), Cause> {
        let (disk, number) = (self.disk, self.ledger.log);
        let log = self.log();
        let lsn = append(log, number);
        let outcome = log.submit(Time(1), None);
        if outcome.is_ok() {
            assert!(log.persisted() >= lsn, "an answer without a write");
        } else {
            let (persisted, changes) = (log.persisted(), disk.changes());
            log.append(&Record::Admitted);
            assert!(log.submit(Time(2), None).is_err() && log.persisted() == persisted);
            assert!(persisted < lsn && disk.changes() == changes, "it was tried again");
        }
        Ok(outcome?)
    }

    fn save(&mut self) -> Result<(), Cause> {
        self.ledger.saves += 1;
        self.checkpoint().save(&piece(self.ledger.saves))?;
        self.ledger.saved = self.ledger.saves;
        Ok(())
    }

    /// By hand, on a disk that does nothing wrong meanwhile.
    fn lose(&mut self) {
        let temper = self.disk.temper();
        self.disk.set(Temper { failure: None, ..temper });
        let log = self.home.join("log");
        fs::rename(log.join("ring-0"), self.home.join("lost")).expect("the disk is well");
        flush(&log);
        flush(&self.home);
        self.disk.set(temper);
        self.ledger.vote = Vote::Lost;
    }

    fn log(&mut self) -> &mut RingLog {
        &mut self.open.as_mut().expect("a life has begun").1
    }

    fn checkpoint(&self) -> CheckpointFile {
        CheckpointFile::new(self.replica(), ME)
    }

    /// Beside the log, whose opening keeps the names beside it.
    fn replica(&self) -> PathBuf {
        self.home.join("replica")
    }
}

impl Trouble {
    /// Whether it says what the system has said, and of which file.
    pub(crate) fn names(&self, number: i32, disk: &Path) -> bool {
        let said = io::Error::from_raw_os_error(number).to_string();
        match &self.cause {
            Cause::Log(error @ StorageError::NoRoom { path, .. }) => {
                number == libc::ENOSPC
                    && path.starts_with(disk)
                    && error.to_string().contains("free")
            }
            Cause::Log(error) => {
                let text = error.to_string();
                text.contains(&said) && text.contains(&disk.display().to_string())
            }
            Cause::Checkpoint(error) => error.raw_os_error() == Some(number),
            Cause::Wrong(_) => false,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: ", self.step)?;
        match &self.cause {
            Cause::Log(error) => error.fmt(f),
            Cause::Checkpoint(error) => error.fmt(f),
            Cause::Wrong(what) => f.write_str(what),
        }
    }
}

impl From<StorageError> for Cause {
    fn from(error: StorageError) -> Self {
        Self::Log(error)
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::Checkpoint(error)
    }
}

/// The value of an instance.
fn batch(log: u64, instance: u64) -> Vec<u8> {
    let byte = (log * 31 + instance) % 251 + 1;
    vec![u8::try_from(byte).expect("below 252"); VALUE]
}

/// The pieces of a checkpoint.
fn piece(number: u64) -> [Vec<u8>; 2] {
    let byte = u8::try_from(number).expect("few are saved");
    [vec![byte; 3000], vec![byte; 50]]
}

fn flush(directory: &Path) {
    let flushed = File::open(directory).and_then(|directory| directory.sync_all());
    flushed.expect("the disk is well");
}
