//! A data directory: its lock, its manifest, and one log a ring.

use super::StorageError;
use super::format::LogName;
use super::manifest::{Manifest, RingEntry};
use super::ring_log::RingLog;
use super::scan::{Image, Scan};
use super::segment::{Geometry, Segments, sync_directory};
use crate::host::file::lock_patiently;
use crate::ring_paxos::{Memory, Record, Replay};
use crate::types::{NodeId, Random, RingId};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whose data a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: u64,
    /// Digest of what is immutable in its configuration.
    pub configuration: u64,
    /// The node.
    pub node: NodeId,
}

/// Whether a data directory was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was empty or missing. Only who knows that the cluster begins may take its logs for a first
    /// life: a node that has voted before and finds this was wiped.
    Created,
    /// It is the directory of a former life.
    Found,
}

/// The data directory of one node, locked against other processes as long as it or one of its logs
/// lives.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    identity: Identity,
    manifest: Manifest,
    origin: Origin,
    lock: Arc<File>,
}

/// A log, and what it held.
#[derive(Debug)]
pub struct Opened {
    /// To append to.
    pub log: RingLog,
    /// What an acceptor takes back before it hears its first message.
    pub recovered: Recovered,
}

/// What a log held of former lives.
#[derive(Debug)]
pub struct Recovered {
    memory: Memory,
    scan: Option<Scan>,
}

impl Store {
    /// Opens the data directory of `identity`, and makes it if it is missing or empty.
    ///
    /// # Errors
    /// If another process has it, or it is another cluster's, node's, configuration's or version's.
    pub fn open(directory: &Path, identity: &Identity) -> Result<Self, StorageError> {
        if !is_there(directory)? {
            let failed = StorageError::of("creating directory", directory);
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let lock = lock(directory)?;
        let (mut manifest, origin) = match Manifest::read(directory)? {
            Some(manifest) => (manifest, Origin::Found),
            None if is_empty(directory)? => (Manifest::new(identity), Origin::Created),
            None => return Err(StorageError::NotOurs { path: directory.to_owned() }),
        };
        manifest.check(identity, directory)?;
        manifest.life += 1;
        manifest.write(directory)?;
        // In each life: an earlier one may have ended before it had done so.
        keep_name(directory)?;
        let directory = directory.to_owned();
        Ok(Self { directory, identity: *identity, manifest, origin, lock })
    }

    /// As [`Store::open`], for a directory that must be missing or empty.
    ///
    /// # Errors
    /// As there; and if there is anything in it.
    pub fn create(directory: &Path, identity: &Identity) -> Result<Self, StorageError> {
        Self::require_fresh(directory)?;
        Self::open(directory, identity)
    }

    /// Refuses a directory that is neither missing nor empty.
    ///
    /// # Errors
    /// If it is so, or cannot be read.
    pub fn require_fresh(directory: &Path) -> Result<(), StorageError> {
        if is_there(directory)? && !is_empty(directory)? {
            return Err(StorageError::NotFresh { path: directory.to_owned() });
        }
        Ok(())
    }

    /// Whether it was there.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// How often it has been opened.
    #[must_use]
    pub const fn life(&self) -> u64 {
        self.manifest.life
    }

    /// Opens the log of `ring`, whose acceptor keeps `instances`, and makes it if the directory never
    /// had one. If it had one that is gone, the acceptor has no vote, as after [`Store::reset`].
    ///
    /// # Errors
    /// If it is damaged, cannot be read, or there is no room for it.
    pub fn ring(&mut self, ring: RingId, instances: usize) -> Result<Opened, StorageError> {
        self.ring_or(ring, instances, Memory::Fresh)
    }

    /// The same; the acceptor of a log that is made here begins with `memory`.
    ///
    /// # Errors
    /// As [`Store::ring`].
    pub fn ring_or(
        &mut self,
        ring: RingId,
        instances: usize,
        memory: Memory,
    ) -> Result<Opened, StorageError> {
        let place = self.manifest.rings.iter().position(|entry| entry.ring == ring.0);
        let directory = self.ring_directory(ring);
        let Some(place) = place else {
            // Made, but not yet entered, by a process that ended then: nothing was written to it.
            remove(&directory)?;
            let memory = if memory == Memory::Fresh { memory } else { Memory::Amnesiac };
            return self.make(ring, instances, memory);
        };
        let kept = self.manifest.rings[place].instances;
        if kept != instances {
            return Err(StorageError::Foreign {
                path: directory,
                what: "a log of (instances)",
                found: kept.to_string(),
                wanted: instances.to_string(),
            });
        }
        if !is_there(&directory)? {
            // Lost, or moved aside by someone who was told that it is damaged.
            return self.reset(ring, instances);
        }
        let segments = Segments::open(&directory, Geometry::of(instances));
        let segments = segments.map_err(|error| match error {
            StorageError::System { path: file, source, .. }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                let what = format!("{} is missing", file.display());
                StorageError::Damaged { ring, path: directory.clone(), what }
            }
            other => other,
        })?;
        let name = self.log_name(ring);
        let scan = Image::read(&segments)?.scan(name);
        let scan = scan.map_err(|finding| segments.finding(finding, ring))?;
        if scan.end.sequence <= self.manifest.rings[place].floor {
            let what = "it ends before a block that was persistent: an old copy of it?".to_owned();
            return Err(StorageError::Damaged { ring, path: directory, what });
        }
        // Direct or not: a file system may take the flag and keep a cache all the same.
        scan.write_last_again(&segments)?;
        let lock = Arc::clone(&self.lock);
        let life = self.manifest.life;
        let log = RingLog::new(name, segments, lock, life, instances, Some(&scan))?;
        if log.is_lost() {
            // It was never admitted again, so it has no vote and nothing to remember. Without values,
            // as each log is before its ring begins, there is nothing to look at later either.
            drop(log);
            let mut has_values = false;
            let looked = scan.each(|record, _| {
                has_values |= match record {
                    Record::Accept { .. } => true,
                    Record::Trim { trim, .. } => trim.0 > 0,
                    _ => false,
                };
            });
            if looked.is_ok() && !has_values {
                // At once: what is left of a log that is removed file by file looks damaged.
                let aside = self.fresh_directory(ring);
                remove(&aside)?;
                let failed = StorageError::of("moving aside", &directory);
                fs::rename(&directory, &aside).map_err(failed)?;
                sync_directory(&self.directory)?;
            }
            return self.reset(ring, instances);
        }
        self.manifest.rings[place].floor = log.floor();
        self.manifest.write(&self.directory)?;
        Ok(Opened { log, recovered: Recovered { memory: Memory::Restored, scan: Some(scan) } })
    }

    /// Gives the log of `ring` up, moves its files aside, and begins an empty one whose acceptor has
    /// no vote until the others admit it again.
    ///
    /// # Errors
    /// If files cannot be moved or made.
    pub fn reset(&mut self, ring: RingId, instances: usize) -> Result<Opened, StorageError> {
        let directory = self.ring_directory(ring);
        let log = self.prepare(ring, instances, Memory::Amnesiac)?;
        if is_there(&directory)? {
            let aside = self.directory.join(format!("ring-{}.given-up", ring.0));
            remove(&aside)?;
            fs::rename(&directory, &aside).map_err(StorageError::of("moving aside", &directory))?;
            sync_directory(&self.directory)?;
        }
        // Once the former log is gone, and before this one has its name, lest either be measured by
        // the other.
        if let Some(entry) = self.manifest.rings.iter_mut().find(|entry| entry.ring == ring.0) {
            entry.floor = 0;
            self.manifest.write(&self.directory)?;
        }
        self.install(log, (ring, instances), Memory::Amnesiac)
    }

    fn make(
        &mut self,
        ring: RingId,
        instances: usize,
        memory: Memory,
    ) -> Result<Opened, StorageError> {
        let log = self.prepare(ring, instances, memory)?;
        self.install(log, (ring, instances), memory)
    }

    /// Makes a log, complete before it has its name.
    fn prepare(
        &self,
        ring: RingId,
        instances: usize,
        memory: Memory,
    ) -> Result<RingLog, StorageError> {
        let fresh = self.fresh_directory(ring);
        let geometry = Geometry::of(instances);
        remove(&fresh)?;
        fs::create_dir(&fresh).map_err(StorageError::of("creating directory", &fresh))?;
        Segments::create(&fresh, geometry)?;
        let open = |directory: &Path| {
            let segments = Segments::open(directory, geometry)?;
            let (lock, life) = (Arc::clone(&self.lock), self.manifest.life);
            RingLog::new(self.log_name(ring), segments, lock, life, instances, None)
        };
        let mut log = open(&fresh)?;
        log.begin(memory != Memory::Fresh)?;
        Ok(log)
    }

    /// Gives a log its name.
    fn install(
        &mut self,
        mut log: RingLog,
        (ring, instances): (RingId, usize),
        memory: Memory,
    ) -> Result<Opened, StorageError> {
        let (directory, fresh) = (self.ring_directory(ring), self.fresh_directory(ring));
        fs::rename(&fresh, &directory).map_err(StorageError::of("renaming", &fresh))?;
        sync_directory(&self.directory)?;
        log.moved_to(&directory);
        self.manifest.rings.retain(|entry| entry.ring != ring.0);
        self.manifest.rings.push(RingEntry { ring: ring.0, instances, floor: log.floor() });
        self.manifest.write(&self.directory)?;
        Ok(Opened { log, recovered: Recovered { memory, scan: None } })
    }

    fn ring_directory(&self, ring: RingId) -> PathBuf {
        self.directory.join(format!("ring-{}", ring.0))
    }

    /// Where a log is made; what is there is of no use.
    fn fresh_directory(&self, ring: RingId) -> PathBuf {
        self.directory.join(format!("ring-{}.new", ring.0))
    }

    fn log_name(&self, ring: RingId) -> LogName {
        let Identity { cluster, node, .. } = self.identity;
        let seed = cluster ^ u64::from(node.0) << 32 ^ u64::from(ring.0) << 48;
        LogName { ring, digest: Random::new(seed).next() }
    }
}

impl Recovered {
    /// Of an acceptor whose log is in memory.
    #[must_use]
    pub const fn nothing(memory: Memory) -> Self {
        Self { memory, scan: None }
    }

    /// The same; if its acceptor has no memory, nobody can tell whether it ever had one.
    #[must_use]
    pub fn or_newborn(self) -> Self {
        let is_lost = self.memory == Memory::Amnesiac;
        Self { memory: if is_lost { Memory::Newborn } else { self.memory }, ..self }
    }

    /// What the acceptor is to begin its life with.
    #[must_use]
    pub const fn memory(&self) -> Memory {
        self.memory
    }
}

impl Replay for Recovered {
    fn replay(&self, take: &mut dyn FnMut(&Record<'_>)) {
        let Some(scan) = &self.scan else { return };
        let shown = scan.each(|record, _| take(record));
        shown.expect("a log that was opened was read to its end");
    }
}

fn lock(directory: &Path) -> Result<Arc<File>, StorageError> {
    let path = directory.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(StorageError::of("opening", &path))?;
    match lock_patiently(&file) {
        Ok(()) => Ok(Arc::new(file)),
        Err(TryLockError::WouldBlock) => Err(StorageError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StorageError::of("locking", &path)(source)),
    }
}

/// Whether there is a file or directory called `path`. Not to be able to look is no answer: a log
/// that is taken for lost is begun anew.
fn is_there(path: &Path) -> Result<bool, StorageError> {
    path.try_exists().map_err(StorageError::of("looking for", path))
}

/// Makes the name of `directory` persistent.
fn keep_name(directory: &Path) -> Result<(), StorageError> {
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    match sync_directory(parent.unwrap_or(Path::new("."))) {
        // Whoever may not read it has not made a name in it either.
        Err(StorageError::System { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Whether there is nothing in it but what this module makes before its manifest.
fn is_empty(directory: &Path) -> Result<bool, StorageError> {
    let failed = |error| StorageError::of("reading directory", directory)(error);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != "lock" && name != "manifest.new" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove(directory: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::of("removing", directory)(error))
        }
        _ => Ok(()),
    }
}
