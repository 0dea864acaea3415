//! Why a data directory cannot be used, or can no longer be.

use crate::types::RingId;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a data directory cannot be used, or can no longer be. Each message names the remedy.
#[derive(Debug, Error)]
pub enum StorageError {
    /// A call of the file system failed.
    #[error("{call} {}: {source}: {}", path.display(), remedy(source))]
    System {
        /// What was tried.
        call: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk is full before the log has its room.
    #[error(
        "no room for a log of {bytes} bytes in {}: free space there, or choose another --data-dir",
        path.display()
    )]
    NoRoom {
        /// The log's directory.
        path: PathBuf,
        /// What it takes.
        bytes: u64,
    },
    /// Another process has it.
    #[error(
        "data directory {} is in use by another process: stop that one, or choose another \
         --data-dir",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It was to be fresh.
    #[error(
        "data directory {} is not empty: choose one that is empty or does not exist",
        path.display()
    )]
    NotFresh {
        /// The directory.
        path: PathBuf,
    },
    /// It is something else.
    #[error(
        "{} has files but no manifest of psmr: choose another --data-dir, or restore the \
         directory from where it came",
        path.display()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another cluster, node or configuration.
    #[error(
        "data directory {} is of {what} {found}, not {wanted}: choose the --data-dir of this node",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the manifest says.
        found: String,
        /// What this process is.
        wanted: String,
    },
    /// Another version of psmr wrote it.
    #[error(
        "{} has format {found}, this version of psmr reads {known}: run the version that wrote it",
        path.display()
    )]
    Version {
        /// The directory or file.
        path: PathBuf,
        /// Its format.
        found: u16,
        /// The one known here.
        known: u16,
    },
    /// What was persistent once is no longer there.
    #[error(
        "the log of ring {ring} in {} is damaged: {what}; move that directory away and start again: \
         the acceptor then has no vote in the ring until the others admit it",
        path.display()
    )]
    Damaged {
        /// The ring.
        ring: RingId,
        /// The log's directory.
        path: PathBuf,
        /// Where, and what is wrong there.
        what: String,
    },
    /// A write failed. It is not tried again: what is on the disk is unknown until it is read.
    #[error(
        "writing {} failed: {source}; this acceptor stops: mend the disk and start it again",
        path.display()
    )]
    Write {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing more fits, although everything that can be forgotten is.
    #[error("the log in {} is full of what may not be forgotten: this acceptor stops", path.display())]
    Full {
        /// The log's directory.
        path: PathBuf,
    },
    /// It has stopped before.
    #[error("the log in {} has stopped after a failed write", path.display())]
    Stopped {
        /// The log's directory.
        path: PathBuf,
    },
}

impl StorageError {
    /// Whether another directory would do.
    #[must_use]
    pub const fn is_of_directory(&self) -> bool {
        matches!(
            self,
            Self::System { .. }
                | Self::NoRoom { .. }
                | Self::InUse { .. }
                | Self::NotFresh { .. }
                | Self::NotOurs { .. }
                | Self::Foreign { .. }
        )
    }

    /// Says which call failed on what.
    pub(super) fn of(call: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System { call, path, source }
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        Self::other(error)
    }
}

/// What to do where a file system says so.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable for this user, or choose another --data-dir"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space there, or choose another --data-dir"
        }
        _ => "look at the disk (`dmesg`), and start again",
    }
}
