//! Whose a data directory is, and what belongs into it: a small file of its own, replaced as a
//! whole.

use super::format::FORMAT;
use super::segment::sync_directory;
use super::{Identity, StorageError};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const NAME: &str = "manifest";

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// See [`FORMAT`].
    pub(super) format: u16,
    pub(super) cluster: String,
    pub(super) configuration: String,
    pub(super) node: u16,
    /// How often the directory was opened.
    pub(super) life: u64,
    pub(super) rings: Vec<RingEntry>,
}

/// A log in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RingEntry {
    pub(super) ring: u16,
    /// Instances that it holds.
    pub(super) instances: usize,
    /// The last block that was persistent when the log was last opened: it cannot end before.
    pub(super) floor: u64,
}

/// The file: a manifest and the sum over its text.
#[derive(Serialize, Deserialize)]
struct Checked {
    manifest: Manifest,
    checksum: u32,
}

impl Manifest {
    pub(super) fn new(identity: &Identity) -> Self {
        Self {
            format: FORMAT,
            cluster: hex(identity.cluster),
            configuration: hex(identity.configuration),
            node: identity.node.0,
            life: 0,
            rings: Vec::new(),
        }
    }

    /// Reads that of `directory`; none if there is none.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>, StorageError> {
        let path = directory.join(NAME);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(StorageError::of("reading", &path))?,
        };
        let spoilt = |reason: &str| {
            let source = io::Error::new(io::ErrorKind::InvalidData, reason);
            StorageError::of("reading", &path)(source)
        };
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|_| spoilt("it is damaged"))?;
        // A later version may say more, so its number comes first.
        let format = value.pointer("/manifest/format").and_then(serde_json::Value::as_u64);
        let format = format.and_then(|format| u16::try_from(format).ok());
        let found = format.ok_or_else(|| spoilt("it is damaged"))?;
        if found != FORMAT {
            return Err(StorageError::Version { path, found, known: FORMAT });
        }
        let Checked { manifest, checksum } =
            serde_json::from_value(value).map_err(|_| spoilt("it is damaged"))?;
        if manifest.checksum() != checksum {
            return Err(spoilt("its checksum is wrong"));
        }
        Ok(Some(manifest))
    }

    /// Replaces that of `directory`, and makes it persistent.
    pub(super) fn write(&self, directory: &Path) -> Result<(), StorageError> {
        let path = directory.join(NAME);
        let fresh: PathBuf = directory.join(format!("{NAME}.new"));
        let checked = Checked { manifest: self.clone(), checksum: self.checksum() };
        let text = serde_json::to_string_pretty(&checked).expect("a manifest is plain data");
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
        written.map_err(StorageError::of("writing", &fresh))?;
        fs::rename(&fresh, &path).map_err(StorageError::of("replacing", &path))?;
        sync_directory(directory)
    }

    /// Refuses a directory that is not `identity`'s.
    pub(super) fn check(&self, identity: &Identity, directory: &Path) -> Result<(), StorageError> {
        let wanted = Self::new(identity);
        let of_node = |manifest: &Self| manifest.node.to_string();
        let parts = [
            ("cluster", self.cluster.clone(), wanted.cluster.clone()),
            ("node", of_node(self), of_node(&wanted)),
            ("configuration", self.configuration.clone(), wanted.configuration.clone()),
        ];
        let differing = parts.into_iter().find(|(_, found, wanted)| found != wanted);
        differing.map_or(Ok(()), |(what, found, wanted)| {
            Err(StorageError::Foreign { path: directory.to_owned(), what, found, wanted })
        })
    }

    fn checksum(&self) -> u32 {
        crc32c::crc32c(&serde_json::to_vec(self).expect("a manifest is plain data"))
    }
}

fn hex(word: u64) -> String {
    format!("{word:016x}")
}
