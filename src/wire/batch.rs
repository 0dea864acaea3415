//! A batch: commands end to end, each delimited by its own header.
//!
//! The coordinator concatenates proposals without looking inside them, so a batch has no framing
//! of its own.

use super::{Command, DecodeError, Reader};

/// Iterates the commands of a batch. Ends at the first one that is malformed.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    reader: Reader<'a>,
    length: usize,
}

impl<'a> Commands<'a> {
    /// The commands of `batch` from byte `offset` on, so that a worker can go on where it stopped.
    #[must_use]
    pub fn from_offset(batch: &'a [u8], offset: usize) -> Self {
        Self { reader: Reader::new(batch.get(offset..).unwrap_or(&[])), length: batch.len() }
    }

    /// The offset of the next command in the whole batch.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.length - self.reader.rest().len()
    }

    /// Checks that `batch` is a whole number of commands.
    ///
    /// # Errors
    /// What is wrong with the first command that is not well formed.
    pub fn check(batch: &[u8]) -> Result<usize, DecodeError> {
        let mut reader = Reader::new(batch);
        let mut count = 0;
        while !reader.rest().is_empty() {
            Command::decode(&mut reader)?;
            count += 1;
        }
        Ok(count)
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Command<'a>;

    #[inline]
    fn next(&mut self) -> Option<Command<'a>> {
        if self.reader.rest().is_empty() {
            return None;
        }
        Command::decode(&mut self.reader).ok()
    }
}
