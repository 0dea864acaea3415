//! The files of a log: a fixed number of equal segments, reserved and written with zeros when the
//! log is made, so that no later write changes anything but data.

use super::StorageError;
use super::format::{BLOCK, FORMAT};
use super::scan::Finding;
use crate::host::file::reserve;
use crate::mem::{DirectBuffer, SECTOR};
use crate::types::RingId;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How large a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) segments: usize,
    /// Bytes a segment.
    pub(super) bytes: usize,
}

impl Geometry {
    const SEGMENTS: usize = 8;
    /// What an instance takes at most if it is written alone.
    const INSTANCE: usize = 3 * SECTOR;
    const SMALLEST: usize = 8 * BLOCK;

    /// A log in which `instances` fill three segments of eight even if each is written alone: there
    /// is always room for those that may not be forgotten, and for copies of them.
    pub(super) const fn of(instances: usize) -> Self {
        let bytes = (instances * Self::INSTANCE).div_ceil(3).next_power_of_two();
        let bytes = if bytes < Self::SMALLEST { Self::SMALLEST } else { bytes };
        Self { segments: Self::SEGMENTS, bytes }
    }

    /// Bytes of the whole log.
    pub(super) const fn total(&self) -> usize {
        self.segments * self.bytes
    }

    /// The file of segment `segment`, which counts from 1.
    pub(super) fn slot(&self, segment: u64) -> usize {
        assert!(segment > 0, "segments count from 1");
        usize::try_from((segment - 1) % self.segments as u64).expect("below `segments`")
    }
}

/// The open files of a log.
#[derive(Debug)]
pub(super) struct Segments {
    pub(super) directory: PathBuf,
    pub(super) geometry: Geometry,
    pub(super) files: Vec<Arc<File>>,
    /// Whether writes go past the page cache and are persistent when they are over.
    pub(super) is_direct: bool,
}

impl Segments {
    /// Makes the files of a new log in `directory`, which exists, and makes them persistent.
    pub(super) fn create(directory: &Path, geometry: Geometry) -> Result<(), StorageError> {
        let mut zeros = DirectBuffer::new((1 << 20).min(geometry.bytes))
            .map_err(StorageError::of("allocating for", directory))?;
        zeros.fill(0);
        for slot in 0..geometry.segments {
            let path = path(directory, slot);
            zero(&path, geometry, &zeros).map_err(|source| match source.raw_os_error() {
                Some(libc::ENOSPC | libc::EDQUOT) => StorageError::NoRoom {
                    path: directory.to_owned(),
                    bytes: geometry.total() as u64,
                },
                _ => StorageError::System { call: "creating", path: path.clone(), source },
            })?;
        }
        sync_directory(directory)
    }

    /// Opens the files of a log.
    pub(super) fn open(directory: &Path, geometry: Geometry) -> Result<Self, StorageError> {
        let mut files = Vec::with_capacity(geometry.segments);
        let mut is_direct = true;
        for slot in 0..geometry.segments {
            let path = path(directory, slot);
            let options = || {
                let mut options = OpenOptions::new();
                options.read(true).write(true);
                options
            };
            let direct = options().custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(&path);
            let file = match direct {
                // The file system has no direct writes: they go through the page cache.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    is_direct = false;
                    options().open(&path)
                }
                other => other,
            };
            files.push(Arc::new(file.map_err(StorageError::of("opening", &path))?));
        }
        Ok(Self { directory: directory.to_owned(), geometry, files, is_direct })
    }

    /// Reads segment file `slot` into the start of `target`; what the file lacks stays zero.
    pub(super) fn read(&self, slot: usize, target: &mut [u8]) -> Result<(), StorageError> {
        let file = &self.files[slot];
        let failed = |source| StorageError::of("reading", &self.path(slot))(source);
        // What the last process wrote and a crash of the machine could still take away must stay:
        // it is about to be believed.
        file.sync_data().map_err(failed)?;
        let mut at = 0;
        while at < self.geometry.bytes {
            let read = file.read_at(&mut target[at..self.geometry.bytes], at as u64);
            match read {
                Ok(0) => break,
                Ok(read) => at += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// Writes `bytes`, whole sectors, and waits until they are persistent.
    pub(super) fn write(&self, slot: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = &self.files[slot];
        file.write_all_at(bytes, offset)?;
        if self.is_direct { Ok(()) } else { file.sync_data() }
    }

    pub(super) fn file(&self, slot: usize) -> &Arc<File> {
        &self.files[slot]
    }

    /// What a user is told of `finding` in the log of `ring`.
    pub(super) fn finding(&self, finding: Finding, ring: RingId) -> StorageError {
        let path = self.directory.clone();
        match finding {
            Finding::Version(found) => StorageError::Version { path, found, known: FORMAT },
            Finding::Damaged(what) => StorageError::Damaged { ring, path, what },
        }
    }

    pub(super) fn path(&self, slot: usize) -> PathBuf {
        path(&self.directory, slot)
    }
}

fn path(directory: &Path, slot: usize) -> PathBuf {
    directory.join(format!("segment-{slot:02}"))
}

/// Writes zeros all over a new file: a later write then finds its place on the disk.
fn zero(path: &Path, geometry: Geometry, zeros: &[u8]) -> io::Result<()> {
    let options = || {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        options
    };
    let direct = options().custom_flags(libc::O_DIRECT).open(path);
    let file = match direct {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            // Some systems make the file before they refuse it.
            let _ = fs::remove_file(path);
            options().open(path)?
        }
        other => other?,
    };
    reserve(&file, geometry.bytes as u64)?;
    for offset in (0..geometry.bytes).step_by(zeros.len()) {
        let length = zeros.len().min(geometry.bytes - offset);
        file.write_all_at(&zeros[..length], offset as u64)?;
    }
    file.sync_all()
}

/// Makes names in `directory` persistent.
pub(super) fn sync_directory(directory: &Path) -> Result<(), StorageError> {
    let failed = |error| StorageError::of("syncing directory", directory)(error);
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}
