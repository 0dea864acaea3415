//! A session of an earlier client, gone on with.
//!
//! Every table of one replica must have reported: then the replica has come to the resuming in every
//! group, and its word of the highest sequence is above all of earlier clients. Their commands may
//! still be on their way, also such as they have given up: so each resuming raises the word by more
//! than a life has numbers, and the first that is used lies a window beyond. A report to the earlier
//! client that is late says nothing of them, and may come to the same address: the number of an
//! opening names the life that asks.

use super::Proxy;
use crate::types::{Bug, MAX_REPLICAS, Sequence, SessionId};
use crate::wire::{Reply, SessionReport};

/// Bits of a life that the numbers of its openings begin with, above 32 bits for the session's place.
const LIFE: u64 = (1 << 29) - 1;

/// The number of the opening of the first session of the life `client`; the others follow.
pub(super) const fn first_opening(client: u64) -> u64 {
    (client & LIFE) << 32 | 1
}

/// A session that is to be gone on with.
#[derive(Clone, Debug)]
pub(super) struct Resuming {
    pub(super) id: SessionId,
    /// The tables of each replica that have reported, a bit each.
    tables: Vec<u64>,
    highest: u64,
    /// The replicas say that there is no such session.
    is_lost: bool,
}

impl Resuming {
    /// A table has reported. Says whether all of its replica have.
    fn hear(&mut self, replica: u8, report: &SessionReport, groups: usize) -> bool {
        if report.table >= groups as u64 || report.session != self.id {
            return false;
        }
        self.highest = self.highest.max(report.highest);
        let Some(tables) = self.tables.get_mut(usize::from(replica)) else { return false };
        *tables |= 1 << report.table;
        tables.count_ones() as usize == groups
    }
}

impl<M> Proxy<M> {
    /// Session `session` (0-based), not open yet, is to go on with `id` of an earlier client.
    ///
    /// # Panics
    /// If there is no such session, or it is open.
    pub fn resume(&mut self, session: usize, id: SessionId) {
        let session = &mut self.sessions[session];
        assert!(!session.is_open(), "a session is resumed instead of being opened");
        let resuming = Resuming { id, tables: vec![0; MAX_REPLICAS], highest: 0, is_lost: false };
        session.resuming = Some(resuming);
    }

    /// The id of session `session` (0-based), once it is open: with it, a later client goes on.
    ///
    /// # Panics
    /// If there is no such session.
    #[must_use]
    pub fn session(&self, session: usize) -> Option<SessionId> {
        let session = &self.sessions[session];
        session.is_open().then_some(session.id)
    }

    /// A session that was to be resumed and does not exist any more, if there is one.
    #[must_use]
    pub fn lost_session(&self) -> Option<SessionId> {
        let resuming = self.sessions.iter().filter_map(|session| session.resuming.as_ref());
        resuming.filter(|resuming| resuming.is_lost).map(|resuming| resuming.id).next()
    }

    /// A report on session `place`. Says whether it may open now.
    pub(super) fn is_resumed(
        &mut self,
        place: usize,
        reply: &Reply<'_>,
        report: &SessionReport,
    ) -> bool {
        let (groups, window) = (self.config.groups, self.config.window as u64);
        let session = &mut self.sessions[place];
        let Some(resuming) = &mut session.resuming else { return true };
        let is_whole = resuming.hear(reply.replica, report, groups);
        let is_hasty = Bug::ResumeOnFirstWord.is_planted();
        if !is_whole && !is_hasty {
            return false;
        }
        let beyond = if is_hasty { 0 } else { window };
        session.next = Sequence(resuming.highest + beyond + 1);
        session.lowest = session.next;
        session.resuming = None;
        true
    }

    /// A replica knows no such session.
    pub(super) fn on_no_session(&mut self, id: SessionId) {
        let resuming = self.sessions.iter_mut().filter_map(|session| session.resuming.as_mut());
        resuming.filter(|resuming| resuming.id == id).for_each(|resuming| resuming.is_lost = true);
    }
}
