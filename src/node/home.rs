//! The directory of one node: whose it is, who uses it now, and whether there was a life before.

use crate::config::{self, Cluster, Members};
use crate::host::file::{lock_patiently, replace};
use crate::ring_paxos::Memory;
use crate::storage::StorageError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
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
/// The name of the file that says that a replica has stopped since its state was not that of the
/// others, and nobody knew which one was right. Its text is what each of them had.
const DIVIDED: &str = "divided";
/// What a directory keeps when its node begins anew as another member.
const KEPT: [&str; 2] = ["lock", MEMBERS];

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
    /// Its replica has stopped since the replicas' states differed.
    #[error(
        "data directory {path}: the replica has stopped because {found}; look which one is right: if \
         this one is, remove the file `divided` here, and if it is not, move the directory away, so \
         that it fetches another one's state: see `The replicas' states differ` in \
         docs/OPERATIONS.md"
    )]
    Divided {
        /// The directory.
        path: PathBuf,
        /// What each of them had, and where.
        found: String,
    },
    /// It cannot be read or written.
    #[error(
        "data directory {path}: {source}{}",
        if source.kind() == io::ErrorKind::InvalidData {
            ""
        } else {
            ": make it writable for this user, or give --data-dir"
        }
    )]
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
    former: Option<PathBuf>,
    _lock: File,
}

impl Home {
    /// Takes the directory of `node` below `root`; makes it if it is not there. What a former member
    /// of that name has left there is put aside: its memory is not this one's.
    pub(super) fn take(
        root: &Path,
        cluster: &Cluster,
        node: &config::Node,
    ) -> Result<Self, HomeError> {
        let id = &node.id;
        let path = root.join(id);
        let failed = |source| HomeError::Io { path: path.clone(), source };
        fs::create_dir_all(&path).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let lock = options.open(path.join("lock")).map_err(failed)?;
        match lock_patiently(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(HomeError::InUse { path, id: id.clone() });
            }
            Err(TryLockError::Error(source)) => return Err(HomeError::Io { path, source }),
        }
        let identity = identity(cluster, node);
        let file = path.join(IDENTITY);
        let mut found = match fs::read_to_string(&file) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(HomeError::Io { path, source }),
        };
        let mut former = None;
        if let Some(since) = found.as_deref().and_then(since_of)
            && since < node.since
        {
            let aside = path.join(format!("former-{since}"));
            put_aside(&path, &aside)
                .map_err(|source| HomeError::Io { path: path.clone(), source })?;
            (found, former) = (None, Some(aside));
        }
        if let Some(found) = &found
            && *found != identity
        {
            let (found, expected) = difference(found, &identity);
            return Err(HomeError::Foreign { path, found, expected });
        }
        match fs::read_to_string(path.join(DIVIDED)) {
            Ok(found) => return Err(HomeError::Divided { path, found }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(HomeError::Io { path, source }),
        }
        Ok(Self { had_life: found.is_some(), path, identity, former, _lock: lock })
    }

    /// Where that was put which a former member of the same name had left here, if one had.
    pub(super) fn former(&self) -> Option<&Path> {
        self.former.as_deref()
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
    /// known if it had had a vote. Who comes in a later epoch than the first finds others that
    /// remember, and so is admitted like one that has forgotten.
    pub(super) fn memory(&self) -> Result<Memory, StorageError> {
        let path = self.path.join(BEGUN);
        // Not to be able to look is no answer: one that had a vote would take itself for new.
        let had_vote = path.try_exists();
        let call = "looking for";
        let had_vote = had_vote.map_err(|source| StorageError::System { call, path, source })?;
        Ok(if had_vote { Memory::Amnesiac } else { Memory::Newborn })
    }

    /// This life begins: from now on there was one. Persistent when it returns, whatever a former
    /// life that was cut short has left to do: the file, and every name on the way to it.
    pub(super) fn begin(&self) -> Result<(), HomeError> {
        let write = || {
            if !self.had_life {
                replace(&self.path.join(IDENTITY), self.identity.as_bytes())?;
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

/// Moves what stands in the directory `path` to `aside` below it. The identity goes last, so that it
/// is done again if it was cut short.
fn put_aside(path: &Path, aside: &Path) -> io::Result<()> {
    fs::create_dir_all(aside)?;
    let mut names = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    let stays = |name: &str| KEPT.contains(&name) || name.starts_with("former-");
    names.retain(|name| name.to_str().is_none_or(|name| !stays(name)));
    names.sort_by_key(|name| name == IDENTITY);
    for name in names {
        let (from, to) = (path.join(&name), aside.join(&name));
        match fs::rename(&from, &to) {
            // Of an earlier time that was cut short, or of two memberships since the same epoch.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty) => {
                fs::remove_dir_all(&to)?;
                fs::rename(from, to)?;
            }
            renamed => renamed?,
        }
    }
    File::open(aside)?.sync_all()?;
    File::open(path)?.sync_all()
}

/// The replica's state is not that of the others, which is `found`, and nobody knows which is right:
/// it does not start again before somebody has looked.
pub(super) fn divide(path: &Path, found: &str) -> io::Result<()> {
    replace(&path.join(DIVIDED), found.as_bytes())
}

/// An acceptor is about to have its first vote, in memory: in another life it will have lost it.
pub(super) fn begin_rings(path: &Path) -> io::Result<()> {
    replace(&path.join(BEGUN), b"")
}

/// Writes `members` down in a node's directory, unless it has later ones.
pub(super) fn keep_members(path: &Path, members: &Members) -> io::Result<()> {
    if kept_members(path)?.is_some_and(|kept| kept.epoch >= members.epoch) {
        return Ok(());
    }
    replace(&path.join(MEMBERS), &members.encode())
}

/// The members that a node's directory has; none if it has none. Those that cannot be read are not
/// passed over: without them the node would go on in an epoch that may be over.
fn kept_members(path: &Path) -> io::Result<Option<Members>> {
    match fs::read(path.join(MEMBERS)) {
        Ok(bytes) => match Members::decode(&bytes) {
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its file `members` is of a newer psmr: start that one; or it is damaged: put the \
                 directory aside, and the node begins with nothing",
            )),
            members => Ok(members),
        },
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

fn identity(cluster: &Cluster, node: &config::Node) -> String {
    let immutable = cluster.digests.immutable;
    let config::Node { id, since, .. } = node;
    format!(
        "{VERSION}\ncluster {:016x}\nid {id}\nimmutable {immutable:016x}\nsince {since}\n",
        cluster.id
    )
}

/// Since which epoch the node of an identity file was a member.
fn since_of(identity: &str) -> Option<u32> {
    identity.lines().find_map(|line| line.strip_prefix("since ")?.parse().ok())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const FILE: &str = r#"
schema = "psmr.cluster/1"
[cluster]
id = "00000000000000ff"
epoch = 7
model = "smr"
durability = "memory"
[[host]]
name = "h1"
address = "127.0.0.1"
[[acceptor]]
id = "a1"
host = "h1"
port = 7001
[[replica]]
id = "r1"
host = "h1"
port = 7101
[[ring]]
group = 0
address = "239.192.0.1:7201"
"#;

    #[test]
    fn what_a_former_member_of_the_same_name_knew_is_put_aside_once() {
        let root = std::env::temp_dir().join(format!("psmr-home-{}", std::process::id()));
        let cluster = Config::read(FILE).expect("it is sound").cluster;
        let memory = |home: &Home| home.memory().expect("a readable directory");
        let node = |since| config::Node { since, ..cluster.acceptors[0].clone() };
        let home = Home::take(&root, &cluster, &node(1)).expect("nobody has it");
        assert!(!home.had_life() && memory(&home) == Memory::Newborn);
        home.begin().expect("a writable directory");
        home.keep(&cluster).expect("a writable directory");
        begin_rings(home.path()).expect("a writable directory");
        fs::create_dir(home.log()).expect("a writable directory");
        drop(home);
        let home = Home::take(&root, &cluster, &node(1)).expect("nobody has it");
        assert!(home.had_life() && memory(&home) == Memory::Amnesiac && home.former().is_none());
        drop(home);
        for _ in 0..2 {
            // Cut short before it has begun, it is as if it had not been there.
            let home = Home::take(&root, &cluster, &node(5)).expect("nobody has it");
            assert!(!home.had_life() && memory(&home) == Memory::Newborn && !home.log().exists());
        }
        let aside = root.join("a1").join("former-1");
        assert!(aside.join("log").exists() && aside.join(IDENTITY).exists());
        assert!(root.join("a1").join(MEMBERS).exists(), "who the members are is still so");
        let home = Home::take(&root, &cluster, &node(5)).expect("nobody has it");
        home.begin().expect("a writable directory");
        drop(home);
        let home = Home::take(&root, &cluster, &node(5)).expect("nobody has it");
        assert!(home.had_life() && home.former().is_none());
        drop(home);
        let error = Home::take(&root, &cluster, &node(2)).expect_err("it is of a later one");
        assert!(error.to_string().contains("since 5, not of since 2"), "{error}");
        fs::remove_dir_all(root).expect("it is ours");
    }
}
