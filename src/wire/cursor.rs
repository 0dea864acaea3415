//! Checked reading and writing of Pod values and byte runs.

use super::DecodeError;
use bytemuck::Pod;

/// Reads a datagram front to back; every read is checked against what is left.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next `T`, from any alignment.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if fewer bytes are left.
    #[inline]
    pub fn pod<T: Pod>(&mut self) -> Result<T, DecodeError> {
        Ok(bytemuck::pod_read_unaligned(self.take(size_of::<T>())?))
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if fewer are left.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }
}

/// Writes a datagram front to back into a buffer that was reserved with the right length.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// A writer over `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn written(&self) -> usize {
        self.at
    }

    /// Appends a `T`.
    ///
    /// # Panics
    /// If the buffer is too short: lengths are computed before a buffer is reserved.
    #[inline]
    pub fn pod<T: Pod>(&mut self, value: &T) {
        self.bytes(bytemuck::bytes_of(value));
    }

    /// Appends `source`.
    ///
    /// # Panics
    /// If the buffer is too short.
    #[inline]
    pub fn bytes(&mut self, source: &[u8]) {
        self.bytes[self.at..self.at + source.len()].copy_from_slice(source);
        self.at += source.len();
    }
}
