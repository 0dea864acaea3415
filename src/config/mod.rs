//! cluster.toml: what a cluster is made of, read key by key and checked before anything starts.
//!
//! Layer 1. Whatever is wrong has a line, a column, a key and a remedy; an unknown key is told the
//! name that was probably meant. [`Config::effective`] says of every value where it came from.
//! Reads no file and knows no other module's types: who launches translates.

mod check;
mod cluster;
mod digest;
mod edit;
mod error;
mod init;
mod members;
mod places;
mod read;
mod section;
#[cfg(test)]
mod tests;
mod versions;

pub use cluster::{
    Authentication, Barrier, Btree, Client, Cluster, Durability, Execution, Executor, Host, Io,
    Metrics, Model, Network, Node, Ordering, Reply, Retry, Service, Wait,
};
pub use digest::Digests;
pub use edit::with_members;
pub use error::{ConfigError, Place};
pub use init::{Init, InitError};
pub use members::{ChangeError, Kind, Member, Members};
pub use section::{Effective, duration};
pub use versions::Unspoken;

use places::Places;
use section::Source;
use toml::de::DeTable;

/// The version of the file's format.
pub const SCHEMA: &str = "psmr.cluster/1";

/// The most acceptors: two rings of as many as a layout names have one in common.
pub const MAX_ACCEPTORS: u16 = 15;
/// The last epoch that a file or a record may name; there is always a next one.
pub const MAX_EPOCH: u32 = 1 << 30;
/// The most replicas: what a command's designation can name.
pub const MAX_REPLICAS: u16 = 32;

/// A configuration and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What it says.
    pub cluster: Cluster,
    /// Every value and its source, in the order of the file format.
    pub effective: Vec<Effective>,
    places: Places,
}

impl Config {
    /// Reads the text of a cluster.toml.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(text: &str) -> Result<Self, ConfigError> {
        let mut source = Source::new(text);
        let table = DeTable::parse(text).map_err(|error| {
            let place = error.span().map(|span| source.place(span.start));
            let message = error.message().trim().replace('\n', ", ");
            ConfigError::new(place, "", message, "correct the line; see https://toml.io")
        })?;
        let mut cluster = read::cluster(&mut source, table.get_ref())?;
        cluster.digests = Digests::of(&cluster);
        let places = Places::of(&source, table.get_ref());
        Ok(Self { cluster, effective: source.effective, places })
    }

    /// Whether the file has this table or key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.places.has(key)
    }

    /// Where `key` is, as `acceptor[1].port`; where the file leaves it out, its table; without that
    /// the beginning of the file.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        self.places.find(key)
    }

    /// The effective values as a file, each with where it came from.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut last: Option<&Effective> = None;
        for effective in &self.effective {
            let Effective { table, key, value, line } = effective;
            let is_next = last.is_some_and(|last| {
                last.table == *table && (!table.starts_with("[[") || first_key(table) != *key)
            });
            if !is_next && !table.is_empty() {
                text += &format!("\n{table}\n");
            }
            let source = line.map_or_else(|| "default".to_owned(), |line| format!("line {line}"));
            text += &format!("{:<40} # {source}\n", format!("{key} = {value}"));
            last = Some(effective);
        }
        let Digests { immutable, members } = self.cluster.digests;
        text += &format!("\n# immutable digest {immutable:016x}, members digest {members:016x}\n");
        text
    }
}

/// The key that each table of an array starts with.
fn first_key(table: &str) -> &'static str {
    match table {
        "[[host]]" => "name",
        "[[ring]]" => "group",
        _ => "id",
    }
}
