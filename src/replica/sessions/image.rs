//! Sessions in a checkpoint: what of them may still be asked for.
//!
//! Replies below a session's lowest unanswered sequence are nobody's any more and stay out, so that
//! an idle session takes a few words and the whole table of a thousand busy ones a few megabytes,
//! written at the marker in about a millisecond.

use super::directory::Directory;
use super::table::SessionTable;
use crate::replica::SessionLimits;
use crate::replica::words::{Source, Words, require};
use crate::service::RestoreError;
use crate::types::{Bug, SessionId};

impl Directory {
    pub(in crate::replica) fn write(&self, words: &mut Words<'_>) {
        words.count(self.free().len());
        words.all(self.free().iter().map(|place| u64::from(*place)));
        let open: Vec<_> = self.open_sessions().collect();
        words.count(open.len());
        for (id, (client, number)) in open {
            words.all([id.0, client, number]);
        }
    }

    pub(in crate::replica) fn read(
        &mut self,
        source: &mut Source<'_>,
        limits: SessionLimits,
    ) -> Result<(), RestoreError> {
        let mut taken = vec![false; limits.sessions];
        let mut take = |place: usize| {
            let place = taken.get_mut(place).filter(|place| !**place);
            *place.ok_or(RestoreError::Malformed)? = true;
            Ok(())
        };
        let count = source.number(limits.sessions)?;
        let mut free = Vec::with_capacity(limits.sessions);
        for _ in 0..count {
            let place = source.number(limits.sessions)?;
            take(place)?;
            free.push(u16::try_from(place).map_err(|_| RestoreError::Malformed)?);
        }
        let count = source.number(limits.sessions)?;
        let mut sessions = Vec::with_capacity(count);
        for _ in 0..count {
            let (id, opener) = (SessionId(source.take()?), (source.take()?, source.take()?));
            take(place_of(id))?;
            sessions.push((id, opener));
        }
        require(free.len() + sessions.len() == limits.sessions)?;
        self.replace(free, sessions);
        Ok(())
    }
}

impl SessionTable {
    pub(in crate::replica) fn write(&self, words: &mut Words<'_>) {
        let is_used = |record: &&super::table::Record| record.is_used();
        let used = if Bug::SessionsNotInCheckpoint.is_planted() { 0 } else { usize::MAX };
        let records = || self.records().iter().filter(is_used).take(used);
        words.count(records().count());
        for record in records() {
            words.all(record.words());
            let first = record.first_answer();
            let answers = || self.entries(record).filter(|entry| entry.sequence() >= first);
            words.count(answers().count());
            for entry in answers() {
                words.all(entry.image());
            }
        }
    }

    /// Takes the place of everything that the table has.
    pub(in crate::replica) fn read(&self, source: &mut Source<'_>) -> Result<(), RestoreError> {
        self.records().iter().for_each(super::table::Record::clear);
        let count = source.number(self.records().len())?;
        for _ in 0..count {
            let mut words = [0; 5];
            for word in &mut words {
                *word = source.take()?;
            }
            let record = self.reopen(words).ok_or(RestoreError::Malformed)?;
            let answers = source.number(self.window())?;
            for _ in 0..answers {
                let tag = source.take()?;
                let entry = self.entry_of(record, tag).ok_or(RestoreError::Malformed)?;
                for word in entry {
                    word.store(source.take()?, crate::sync::atomic::Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }
}

/// The place in a table that a session's id names.
fn place_of(id: SessionId) -> usize {
    super::table::index(id)
}
