//! What the workers of one replica share.

use super::SessionLimits;
use super::checkpoint::Checkpoints;
use super::recovery::Recovery;
use super::sessions::SessionTable;
use crate::service::{Access, Lease, Optimistic};
use crate::sync::Rendezvous;
use crate::types::{Digest, SessionId};
use std::sync::Arc;

/// One replica: its service, its session tables (one a worker), and where its workers meet.
#[derive(Debug)]
pub struct Shared<S> {
    service: Arc<S>,
    rendezvous: Rendezvous,
    tables: Box<[SessionTable]>,
    limits: SessionLimits,
    checkpoints: Checkpoints,
    recovery: Recovery,
}

impl<S: Optimistic> Shared<S> {
    /// A replica of `service` with as many workers as the service has groups.
    ///
    /// # Panics
    /// If the window is no power of two, there are no sessions or more than 65,535, or the service
    /// has replies to keep of 16 KiB or more.
    #[must_use]
    pub fn new(service: Arc<S>, limits: SessionLimits) -> Self {
        let workers = service.groups();
        let table = || SessionTable::new(limits, S::MAX_WRITE_REPLY);
        let tables = (0..workers).map(|_| table()).collect();
        let (rendezvous, checkpoints) = (Rendezvous::new(workers), Checkpoints::new(workers));
        Self { service, rendezvous, tables, limits, checkpoints, recovery: Recovery::new() }
    }
}

impl<S> Shared<S> {
    /// The service. To look at while nothing executes; commands go through the workers.
    #[must_use]
    pub const fn service(&self) -> &Arc<S> {
        &self.service
    }

    /// Where the workers meet; the host attaches their wakers.
    #[must_use]
    pub const fn rendezvous(&self) -> &Rendezvous {
        &self.rendezvous
    }

    /// Its checkpoints.
    #[must_use]
    pub const fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Its recovery.
    #[must_use]
    pub const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The service's digest, while no worker runs: for whoever compares replicas at the end.
    #[must_use]
    pub fn digest_at_rest(&self) -> Digest
    where
        S: Optimistic,
    {
        self.service.digest(&mut Lease::mint(Access::Whole))
    }

    /// The session that is open in `place`, and a word that changes whenever its client does
    /// something: for whoever looks for silent ones, from any thread.
    #[must_use]
    pub fn activity(&self, place: usize) -> Option<(SessionId, u64)> {
        let (session, _) = self.tables[0].activity(place)?;
        // A table that is behind the opening counts nothing yet.
        let of = |table: &SessionTable| {
            table.activity(place).filter(|(other, _)| *other == session).map_or(0, |(_, word)| word)
        };
        Some((session, self.tables.iter().map(of).fold(0, u64::wrapping_add)))
    }

    pub(super) fn table(&self, home: usize) -> &SessionTable {
        &self.tables[home]
    }

    pub(super) const fn limits(&self) -> SessionLimits {
        self.limits
    }
}
