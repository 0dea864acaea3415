//! The log of an acceptor at either durability, chosen when its process starts.

use super::{LogCounters, RingLog, StorageError};
use crate::mem::DirectBuffer;
use crate::ring_paxos::{Log, Lsn, MemoryLog, Record};
use crate::transport::{Files, Written};
use crate::types::Time;

/// The log of an acceptor. A branch costs less than a second copy of the whole protocol.
#[derive(Debug)]
pub enum AcceptorLog {
    /// Durability `memory`.
    Memory(MemoryLog),
    /// Durability `sync`.
    Sync(Box<RingLog>),
}

impl AcceptorLog {
    /// Whether it is on disk.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        matches!(self, Self::Sync(_))
    }

    /// What it has counted, if it is on disk.
    #[must_use]
    pub const fn counters(&self) -> Option<LogCounters> {
        if let Self::Sync(log) = self { Some(log.counters()) } else { None }
    }

    /// See [`RingLog::buffers_mut`].
    pub fn buffers_mut(&mut self) -> impl Iterator<Item = &mut DirectBuffer> {
        let log = if let Self::Sync(log) = self { Some(log) } else { None };
        log.into_iter().flat_map(|log| log.buffers_mut())
    }

    /// See [`RingLog::set_owner`].
    pub fn set_owner(&mut self, owner: u16) {
        if let Self::Sync(log) = self {
            log.set_owner(owner);
        }
    }

    /// See [`RingLog::set_awaited`].
    #[inline]
    pub fn set_awaited(&mut self, is_awaited: bool) {
        if let Self::Sync(log) = self {
            log.set_awaited(is_awaited);
        }
    }

    /// See [`RingLog::on_written`].
    ///
    /// # Errors
    /// See there.
    ///
    /// # Panics
    /// If its durability is `memory`: it writes nothing.
    pub fn on_written(&mut self, written: Written) -> Result<(), StorageError> {
        let Self::Sync(log) = self else { unreachable!("a log in memory writes nothing") };
        log.on_written(written)
    }

    /// See [`RingLog::submit`].
    ///
    /// # Errors
    /// See there.
    #[inline]
    pub fn submit(&mut self, now: Time, files: Option<&Files>) -> Result<(), StorageError> {
        if let Self::Sync(log) = self { log.submit(now, files) } else { Ok(()) }
    }

    /// See [`RingLog::next_timeout`].
    #[must_use]
    #[inline]
    pub fn next_timeout(&self) -> Option<Time> {
        if let Self::Sync(log) = self { log.next_timeout() } else { None }
    }

    /// See [`RingLog::is_writing`].
    #[must_use]
    pub fn is_writing(&self) -> bool {
        matches!(self, Self::Sync(log) if log.is_writing())
    }

    /// See [`RingLog::close`].
    ///
    /// # Errors
    /// See there.
    pub fn close(&mut self) -> Result<(), StorageError> {
        if let Self::Sync(log) = self { log.close() } else { Ok(()) }
    }
}

impl Log for AcceptorLog {
    #[inline]
    fn append(&mut self, record: &Record<'_>) -> Lsn {
        match self {
            Self::Memory(log) => log.append(record),
            Self::Sync(log) => log.append(record),
        }
    }

    #[inline]
    fn persisted(&self) -> Lsn {
        match self {
            Self::Memory(log) => log.persisted(),
            Self::Sync(log) => log.persisted(),
        }
    }
}
