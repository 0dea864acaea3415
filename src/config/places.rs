//! Where each key of a cluster.toml is, for what is found wrong only when it is put to use.

use super::Place;
use super::section::Source;
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// The places of a file's tables and keys, by the names that errors have for them: `network`,
/// `acceptor[1].port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<String, Place>);

impl Places {
    pub(super) fn of(source: &Source<'_>, root: &DeTable<'_>) -> Self {
        let mut places = Self::default();
        for (name, value) in root {
            places.note(source, name.get_ref().to_string(), value.span().start, value.get_ref());
        }
        places
    }

    fn note(&mut self, source: &Source<'_>, name: String, start: usize, value: &DeValue<'_>) {
        match value {
            DeValue::Table(table) => {
                for (key, value) in table {
                    let key = format!("{name}.{}", key.get_ref());
                    self.0.insert(key, source.place(value.span().start));
                }
            }
            DeValue::Array(array) => {
                for (index, value) in array.iter().enumerate() {
                    let name = format!("{name}[{index}]");
                    self.note(source, name, value.span().start, value.get_ref());
                }
            }
            _ => {}
        }
        self.0.insert(name, source.place(start));
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Of `key`; where the file leaves it out, of its table; without that the file's beginning.
    pub(super) fn find(&self, key: &str) -> Place {
        let table = key.split_once('.').map_or(key, |(table, _)| table);
        let place = self.0.get(key).or_else(|| self.0.get(table));
        place.copied().unwrap_or(Place::START)
    }
}
