//! State as little-endian words: what a worker writes into a checkpoint, and reads from one that may
//! be anything.

use crate::service::RestoreError;

/// Appends words.
#[derive(Debug)]
pub(super) struct Words<'a>(pub(super) &'a mut Vec<u8>);

impl Words<'_> {
    pub(super) fn put(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }

    pub(super) fn all(&mut self, words: impl IntoIterator<Item = u64>) {
        words.into_iter().for_each(|word| self.put(word));
    }

    pub(super) fn count(&mut self, count: usize) {
        self.put(count as u64);
    }

    /// Bytes with their length, filled up to whole words.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
        let rest = bytes.len().next_multiple_of(8) - bytes.len();
        self.0.extend_from_slice(&[0; 8][..rest]);
    }
}

/// Takes words off the front.
#[derive(Debug)]
pub(super) struct Source<'a>(pub(super) &'a [u8]);

impl<'a> Source<'a> {
    pub(super) fn take(&mut self) -> Result<u64, RestoreError> {
        let (word, rest) = self.0.split_first_chunk().ok_or(RestoreError::Malformed)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*word))
    }

    /// A number of at most `most`.
    pub(super) fn number(&mut self, most: usize) -> Result<usize, RestoreError> {
        let number = usize::try_from(self.take()?).ok().filter(|number| *number <= most);
        number.ok_or(RestoreError::Malformed)
    }

    /// What [`Words::bytes`] wrote, of at most `most` bytes.
    pub(super) fn bytes(&mut self, most: usize) -> Result<&'a [u8], RestoreError> {
        let length = self.number(most)?;
        let padded = self.0.split_at_checked(length.next_multiple_of(8));
        let (bytes, rest) = padded.ok_or(RestoreError::Malformed)?;
        self.0 = rest;
        Ok(&bytes[..length])
    }

    /// There must be nothing left.
    pub(super) fn end(&self) -> Result<(), RestoreError> {
        require(self.0.is_empty())
    }
}

/// What a checkpoint must say of itself.
pub(super) fn require(condition: bool) -> Result<(), RestoreError> {
    if condition { Ok(()) } else { Err(RestoreError::Malformed) }
}
