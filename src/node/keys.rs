//! Key files: read only where their owner alone can.

use crate::wire::{KeyError, Keyring};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// No key file is longer, in bytes.
const LONGEST: u64 = 4096;

/// Why a key file is not used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error(
        "key file {path}: {source}: {}",
        if source.kind() == io::ErrorKind::PermissionDenied {
            "give it to the user that this process runs as (`chown`)"
        } else {
            "make one with `psmr keygen`, or copy that of the cluster here"
        }
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may know the key.
    #[error(
        "key file {path}: others than its owner may use it (mode {mode:03o}): run `chmod 600 \
         {path}`, and replace the key if somebody may have read it"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What it says is no key.
    #[error("key file {path}: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
}

/// Reads the key file at `path`.
///
/// # Errors
/// If it cannot be read, others may read it, or it holds no key.
pub fn read_keyring(path: &Path) -> Result<Keyring, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Of the open file: the name may come to mean another one.
    let mode = file.metadata().map_err(failed)?.mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode: mode & 0o777 });
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    Keyring::parse(&text).map_err(|source| KeyFileError::Content { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_that_is_missing_or_of_another_user_is_told_with_its_own_remedy() {
        for (kind, remedy) in
            [(io::ErrorKind::NotFound, "keygen"), (io::ErrorKind::PermissionDenied, "chown")]
        {
            let error = KeyFileError::Io { path: "cluster.key".into(), source: kind.into() };
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }
}
