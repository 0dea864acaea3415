//! The directory of one node: whose it is, who uses it now, and whether there was a life before.

use crate::config::{Cluster, Members};
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
/// The name of the file of the last members that the node has heard of.
const MEMBERS: &str = "members";
/// The name of the file that says that an acceptor has had a vote, which it keeps in memory alone.
const BEGUN: &str = "begun";

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
    epoch: u32,
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
        let epoch = cluster.epoch;
        Ok(Self { had_life: found.is_some(), path, identity, epoch, _lock: lock })
    }

    /// Where an acceptor of durability `sync` has its log.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the node's files are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an earlier process has begun here.
    pub(super) const fn had_life(&self) -> bool {
        self.had_life
    }

    /// What an acceptor without a log knows of its former lives: nothing; whether there was one is
    /// known if its rings had begun. In a later epoch than the first there was somebody else's,
    /// whose place it takes.
    pub(super) fn memory(&self) -> Memory {
        let has_begun = self.path.join(BEGUN).exists();
        if has_begun || self.epoch > 1 { Memory::Amnesiac } else { Memory::Newborn }
    }

    /// This life begins: from now on there was one. Persistent when it returns, whatever a former
    /// life that was cut short has left to do: the file, and every name on the way to it.
    pub(super) fn begin(&self) -> Result<(), HomeError> {
        let write = || {
            if !self.had_life {
                replace(&self.path, IDENTITY, self.identity.as_bytes())?;
            }
            keep_names(&self.path)
        };
        write().map_err(|source| HomeError::Io { path: self.path.clone(), source })
    }

    /// The members of `cluster` are those that this node begins with.
    pub(super) fn keep(&self, cluster: &Cluster) -> Result<(), HomeError> {
        keep_members(&self.path, &Members::of(cluster))
            .map_err(|source| HomeError::Io { path: self.path.clone(), source })
    }
}

/// Replaces a file of a node's directory as a whole. Persistent when it returns.
fn replace(path: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let (file, new) = (path.join(name), path.join(format!("{name}.new")));
    let mut writer = File::create(&new)?;
    writer.write_all(content)?;
    writer.sync_all()?;
    fs::rename(new, file)?;
    File::open(path)?.sync_all()
}

/// An acceptor is about to have its first vote, in memory: in another life it will have lost it.
pub(super) fn begin_rings(path: &Path) -> io::Result<()> {
    replace(path, BEGUN, b"")
}

/// Writes `members` down in a node's directory, unless it has later ones.
pub(super) fn keep_members(path: &Path, members: &Members) -> io::Result<()> {
    if kept_members(path)?.is_some_and(|kept| kept.epoch >= members.epoch) {
        return Ok(());
    }
    replace(path, MEMBERS, &members.encode())
}

/// The members that a node's directory has; none if it has none, or they are not sound.
fn kept_members(path: &Path) -> io::Result<Option<Members>> {
    match fs::read(path.join(MEMBERS)) {
        Ok(bytes) => Ok(Members::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// `cluster` with the members of the latest epoch that one of the nodes `ids` below `root` has
/// heard of: its file may be of an earlier one.
///
/// # Errors
/// If what a directory has of them cannot be read.
pub fn latest_members(
    cluster: &Cluster,
    root: &Path,
    ids: &[String],
) -> Result<Cluster, HomeError> {
    let mut latest = cluster.clone();
    for id in ids {
        let path = root.join(id);
        let kept =
            kept_members(&path).map_err(|source| HomeError::Io { path: path.clone(), source })?;
        let is_ours = |m: &Members| m.immutable == cluster.digests.immutable;
        if let Some(kept) = kept.filter(|kept| is_ours(kept) && kept.epoch > latest.epoch) {
            latest = cluster.in_epoch_of(&kept);
        }
    }
    Ok(latest)
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
