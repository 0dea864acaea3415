//! The directory of one node: whose it is, who uses it now, and whether there was a life before.

use crate::config::Cluster;
use crate::host::file::lock_patiently;
use crate::ring_paxos::Memory;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The first line of an identity file.
const VERSION: &str = "psmr.node/1";
/// The name of that file.
const IDENTITY: &str = "node";

/// Why a node may not use its directory.
#[derive(Debug, Error)]
pub enum HomeError {
    /// Another process uses it.
    #[error(
        "data directory {path} is in use: another `psmr node --id {id}` runs; stop it, or give \
         --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The node.
        id: String,
    },
    /// It belongs to something else.
    #[error(
        "data directory {path} is of {found}, not of {expected}: give --data-dir, or remove it if \
         nothing of it is needed"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What it belongs to.
        found: String,
        /// What it should belong to.
        expected: String,
    },
    /// It cannot be read or written.
    #[error("data directory {path}: {source}: make it writable for this user, or give --data-dir")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A node's directory, locked.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    identity: String,
    had_life: bool,
    _lock: File,
}

impl Home {
    /// Takes the directory of node `id` below `root`; makes it if it is not there.
    pub(super) fn take(root: &Path, cluster: &Cluster, id: &str) -> Result<Self, HomeError> {
        let path = root.join(id);
        let failed = |source| HomeError::Io { path: path.clone(), source };
        fs::create_dir_all(&path).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let lock = options.open(path.join("lock")).map_err(failed)?;
        match lock_patiently(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(HomeError::InUse { path, id: id.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(HomeError::Io { path, source }),
        }
        let identity = identity(cluster, id);
        let file = path.join(IDENTITY);
        let found = match fs::read_to_string(&file) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(HomeError::Io { path, source }),
        };
        if let Some(found) = &found
            && *found != identity
        {
            let (found, expected) = difference(found, &identity);
            return Err(HomeError::Foreign { path, found, expected });
        }
        Ok(Self { had_life: found.is_some(), path, identity, _lock: lock })
    }

    /// Where an acceptor of durability `sync` has its log.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the node's files are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What an acceptor without a log knows of its former lives: nothing, if there were any.
    pub(super) const fn memory(&self) -> Memory {
        if self.had_life { Memory::Amnesiac } else { Memory::Fresh }
    }

    /// This life begins: from now on there was one. Persistent when it returns, whatever a former
    /// life that was cut short has left to do: the file, and every name on the way to it.
    pub(super) fn begin(&self) -> Result<(), HomeError> {
        let write = || {
            if !self.had_life {
                let (file, new) = (self.path.join(IDENTITY), self.path.join("node.new"));
                let mut writer = File::create(&new)?;
                writer.write_all(self.identity.as_bytes())?;
                writer.sync_all()?;
                fs::rename(new, file)?;
            }
            keep_names(&self.path)
        };
        write().map_err(|source| HomeError::Io { path: self.path.clone(), source })
    }
}

/// Makes the names in `directory` persistent, and those by which it is reached on its file system.
fn keep_names(directory: &Path) -> io::Result<()> {
    let mut directory = directory.canonicalize()?;
    let disk = directory.metadata()?.dev();
    loop {
        match File::open(&directory) {
            // Whoever may not read it has not made a name in it either.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            opened => opened?.sync_all()?,
        }
        if !directory.pop() || directory.metadata()?.dev() != disk {
            return Ok(());
        }
    }
}

fn identity(cluster: &Cluster, id: &str) -> String {
    let immutable = cluster.digests.immutable;
    format!("{VERSION}\ncluster {:016x}\nid {id}\nimmutable {immutable:016x}\n", cluster.id)
}

/// The first line in which two identities differ, and what it should be.
fn difference(found: &str, expected: &str) -> (String, String) {
    let mut found = found.lines();
    let name = |line: &str| match line {
        "" => "nothing that is known".to_owned(),
        line if line.starts_with("psmr.node/") => format!("version {line}"),
        line if line.starts_with("immutable") => line.replace("immutable", "immutable settings"),
        line => line.to_owned(),
    };
    for expected in expected.lines() {
        let found = found.next().unwrap_or("");
        if found != expected {
            return (name(found), name(expected));
        }
    }
    ("nothing that is known".to_owned(), name(VERSION))
}
