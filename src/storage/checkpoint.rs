//! A replica's last complete checkpoint as a file: replaced as a whole, or not at all.

use super::Identity;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// "PSCF" and the version.
const MAGIC: u64 = 0x4643_5350 | 1 << 32;
/// Bytes before the checkpoint: magic and version, cluster, configuration, node.
const START: usize = 32;
const NAME: &str = "checkpoint";
const NEW: &str = "checkpoint.new";

/// Why nobody goes on with a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be read.
    Damaged,
    /// Its replica had another state than the others.
    Diverged,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Damaged => "checkpoint.damaged",
            Self::Diverged => "checkpoint.diverged",
        }
    }
}

/// Where a node keeps its checkpoint.
#[derive(Clone, Debug)]
pub struct CheckpointFile {
    directory: PathBuf,
    identity: Identity,
}

impl CheckpointFile {
    /// In `directory`, which is there and locked by this process.
    #[must_use]
    pub const fn new(directory: PathBuf, identity: Identity) -> Self {
        Self { directory, identity }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes another checkpoint in the place of the last one: under another name first, and the
    /// name is changed when all of it is on the disk.
    ///
    /// # Errors
    /// What the file system says; the last one is there then as it was, or this one is, and perhaps
    /// not for good.
    pub fn save(&self, pieces: &[Vec<u8>]) -> io::Result<()> {
        let new = self.directory.join(NEW);
        let written = self.write(&new, pieces);
        if written.is_err() {
            // What is left of it only takes room. That it was there does not matter.
            let _ = fs::remove_file(&new);
            return written;
        }
        fs::rename(&new, self.path())?;
        File::open(&self.directory)?.sync_all()
    }

    /// Reads the last one: the bytes of its pieces. `None` if there is none of this node in this
    /// configuration.
    ///
    /// # Errors
    /// What the file system says.
    pub fn load(&self) -> io::Result<Option<Vec<u8>>> {
        let mut file = match File::open(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut start = [0; START];
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if length < START {
            return Ok(None);
        }
        file.read_exact(&mut start)?;
        if start != self.start() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length - START)?;
        file.read_to_end(&mut bytes)?;
        // A life that ended while it saved has not seen to the name, and it is about to be believed.
        File::open(&self.directory)?.sync_all()?;
        Ok(Some(bytes))
    }

    /// Keeps the one in `directory` under another name, for whoever wants to know: nobody goes on
    /// with it. Nothing happens if there is none; of those that diverged the first is kept.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set_aside(directory: &Path, fault: Fault) -> io::Result<()> {
        let (file, aside) = (Self::at(directory), directory.join(fault.name()));
        let is_first = fault == Fault::Damaged || !aside.try_exists()?;
        let moved = if is_first { fs::rename(file, aside) } else { fs::remove_file(file) };
        match moved {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.and_then(|()| File::open(directory)?.sync_all()),
        }
    }

    /// The file in `directory`.
    #[must_use]
    pub fn at(directory: &Path) -> PathBuf {
        directory.join(NAME)
    }

    fn path(&self) -> PathBuf {
        Self::at(&self.directory)
    }

    fn write(&self, path: &Path, pieces: &[Vec<u8>]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(&self.start())?;
        for piece in pieces {
            file.write_all(piece)?;
        }
        file.sync_all()
    }

    fn start(&self) -> [u8; START] {
        let Identity { cluster, configuration, node } = self.identity;
        let mut start = [0; START];
        let words = [MAGIC, cluster, configuration, node.0.into()];
        for (bytes, word) in start.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    fn file(directory: &Path, node: u16) -> CheckpointFile {
        let identity = Identity { cluster: 7, configuration: 9, node: NodeId(node) };
        CheckpointFile::new(directory.to_owned(), identity)
    }

    #[test]
    fn a_checkpoint_is_replaced_as_a_whole_and_is_its_nodes_alone() {
        let directory =
            std::env::temp_dir().join(format!("psmr-checkpoint-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let own = file(&directory, 3);
        assert_eq!(own.load().unwrap(), None);
        own.save(&[vec![1, 2], vec![3]]).unwrap();
        // A crash while the next one is written leaves the last.
        fs::write(directory.join(NEW), b"half").unwrap();
        assert_eq!(own.load().unwrap(), Some(vec![1, 2, 3]));
        own.save(&[vec![4]]).unwrap();
        assert_eq!(own.load().unwrap(), Some(vec![4]));
        assert_eq!(file(&directory, 4).load().unwrap(), None);
        fs::write(directory.join(NAME), b"short").unwrap();
        assert_eq!(own.load().unwrap(), None);
        for _ in 0..2 {
            CheckpointFile::set_aside(&directory, Fault::Diverged).unwrap();
            assert_eq!(own.load().unwrap(), None);
        }
        assert_eq!(fs::read(directory.join("checkpoint.diverged")).unwrap(), b"short");
        // The first one that was wrong stays: it is the nearest to what went wrong.
        own.save(&[vec![5]]).unwrap();
        CheckpointFile::set_aside(&directory, Fault::Diverged).unwrap();
        assert_eq!(own.load().unwrap(), None);
        assert_eq!(fs::read(directory.join("checkpoint.diverged")).unwrap(), b"short");
        fs::remove_dir_all(&directory).unwrap();
    }
}
