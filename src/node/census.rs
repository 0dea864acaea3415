//! Who belongs to the cluster now, as the threads of this process need it, and how they learn of a
//! change (PROTOCOL, flow 9; docs/adr/0029).
//!
//! A change is decided by one ring. Whoever sees that tells everybody; whoever missed it hears
//! datagrams of a later epoch, which its gate refuses, and asks those that it knows. Either way the
//! process writes the members down in the directories of its nodes, and then each thread takes them
//! up at the start of its next duty cycle. When they ask, answer and tell is `ring_paxos::registrar`'s.
#![expect(clippy::disallowed_types, reason = "a lock a change, which is not the data path")]

use super::builder::CheckpointPlan;
use super::post::Post;
use super::roster::Roster;
use super::watchdog::Halt;
use super::{Book, home, site};
use crate::config::{Cluster, Members};
use crate::ring_paxos::registrar::{self, Leaving};
use crate::transport::{Transmit, udp};
use crate::types::{Address, Time};
use crate::wire::{self, DecodeError, MembersRequest};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The members of one epoch.
#[derive(Debug)]
pub(super) struct Epoch {
    /// Its cluster.
    pub(super) cluster: Cluster,
    pub(super) roster: Roster,
    pub(super) book: Arc<Book>,
    pub(super) checkpoints: CheckpointPlan,
    /// Who hears each ring, where there is no multicast.
    pub(super) groups: Option<udp::Members>,
    /// As others are told.
    record: Vec<u8>,
}

impl Epoch {
    fn of(cluster: Cluster, clients: usize) -> Self {
        Self {
            roster: site::roster(&cluster, clients),
            book: Arc::new(site::book(&cluster)),
            checkpoints: site::checkpoints(&cluster),
            groups: cluster.network.is_unicast.then(|| site::members(&cluster)),
            record: Members::of(&cluster).encode(),
            cluster,
        }
    }

    /// Its number.
    pub(super) const fn number(&self) -> u32 {
        self.cluster.epoch
    }

    /// The same, and the wire version that is spoken in it.
    pub(super) const fn name(&self) -> (u32, u8) {
        (self.cluster.epoch, self.cluster.wire)
    }

    /// As others are told.
    fn told(&self) -> wire::Epoch<'_> {
        wire::Epoch { epoch: self.number(), members: &self.record }
    }

    /// What a thread of acceptors does from `now` on whose node is no member of it.
    pub(super) fn leaving(&self, now: Time) -> Leaving {
        let nodes = self.cluster.acceptors.iter();
        Leaving::new(&self.told(), nodes.map(|node| Address::udp(node.address)), now)
    }

    /// What datagrams carry.
    pub(super) const fn configuration(&self) -> u64 {
        self.cluster.digests.configuration()
    }
}

/// What a process knows of the members. Shared by its threads.
#[derive(Debug)]
pub(super) struct Census {
    /// The number of the epoch, for a look each duty cycle.
    number: AtomicU32,
    epoch: Mutex<Arc<Epoch>>,
    /// The directories of the nodes that live here.
    homes: Vec<PathBuf>,
}

impl Census {
    /// Of `cluster`, in a process with `clients` threads of clients and nodes in `homes`.
    pub(super) fn new(cluster: &Cluster, clients: usize, homes: Vec<PathBuf>) -> Self {
        let epoch = Arc::new(Epoch::of(cluster.clone(), clients));
        Self { number: AtomicU32::new(epoch.number()), epoch: Mutex::new(epoch), homes }
    }

    pub(super) fn current(&self) -> Arc<Epoch> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes up what was decided, if it is of this cluster and later than what is known. It is
    /// persistent in every directory before any thread acts by it.
    ///
    /// # Errors
    /// If it cannot be written down, or its members speak what is not spoken here: nobody here would
    /// hear or say anything any more.
    fn adopt(&self, record: &[u8]) -> io::Result<()> {
        let mut current = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = &current.cluster;
        let is_later = |m: &Members| {
            let is_ours = m.immutable == cluster.digests.immutable;
            // No cluster decides to speak an older wire version: its acceptors count on that.
            is_ours && m.epoch > cluster.epoch && m.wire >= cluster.wire
        };
        let Some(members) = Members::decode(record).filter(is_later) else { return Ok(()) };
        for path in self.homes.iter().filter(|path| has_part(path, cluster, &members)) {
            home::keep_members(path, &members)?;
        }
        let cluster = cluster.in_epoch_of(&members);
        if let Some(unspoken) = cluster.unspoken() {
            return Err(io::Error::other(Halt::Unspoken(unspoken)));
        }
        *current = Arc::new(Epoch::of(cluster, current.roster.clients));
        // Release: who sees the number finds the epoch behind the lock anyway.
        self.number.store(members.epoch, Ordering::Release);
        Ok(())
    }
}

/// The part of one thread in it.
#[derive(Debug)]
pub(super) struct Registrar {
    /// None in a cluster that is one process: its members stay.
    census: Option<Arc<Census>>,
    /// The epoch that the thread has taken up.
    number: u32,
    mechanism: registrar::Registrar,
}

impl Registrar {
    pub(super) fn new(census: Option<Arc<Census>>, number: u32) -> Self {
        Self { census, number, mechanism: registrar::Registrar::default() }
    }

    /// The epoch that the thread has to take up now, if there is a later one.
    #[inline]
    pub(super) fn moved(&mut self) -> Option<Arc<Epoch>> {
        let census = self.census.as_ref()?;
        if census.number.load(Ordering::Acquire) == self.number {
            return None;
        }
        let epoch = census.current();
        self.number = epoch.number();
        Some(epoch)
    }

    /// A datagram that the gate refused for `reason`. `true`: its sender is of another epoch.
    pub(super) fn on_refused<T: Transmit>(
        &mut self,
        (reason, datagram): (DecodeError, &[u8]),
        from: Address,
        now: Time,
        out: &mut Post<'_, T>,
    ) -> bool {
        // These are found when the sender is known.
        if !matches!(reason, DecodeError::Epoch | DecodeError::Configuration) {
            return false;
        }
        let Some(census) = &self.census else { return false };
        let Some((header, kind)) = wire::claimed(datagram) else { return false };
        let refused = (&header, kind, datagram.len());
        let doors = || census.current().book.addresses();
        self.mechanism.on_refused(refused, (from, self.number), doors, now, out)
    }

    /// Somebody asks who the members are.
    pub(super) fn on_request<T: Transmit>(
        &self,
        request: &MembersRequest<'_>,
        from: Address,
        out: &mut Post<'_, T>,
    ) {
        let Some(census) = &self.census else { return };
        registrar::answer(&census.current().told(), request, from, out);
    }

    /// Somebody says who they are.
    ///
    /// # Errors
    /// If it cannot be written down, or their wire version is not spoken here.
    pub(super) fn on_members(&self, told: &wire::Epoch<'_>) -> io::Result<()> {
        match &self.census {
            Some(census) if told.epoch > self.number => census.adopt(told.members),
            _ => Ok(()),
        }
    }

    /// Whether somebody who asks for `next` to be decided asks for what may follow, and can be
    /// followed from here. What a ring has decided cannot be refused any more.
    pub(super) fn may_follow(&self, next: &wire::Epoch<'_>) -> bool {
        let Some(census) = &self.census else { return false };
        let cluster = &census.current().cluster;
        let members = Members::of(cluster).followed_by(next);
        members.is_some_and(|members| members.wire <= cluster.network.newest_wire)
    }

    /// The newest wire version that is spoken here.
    pub(super) fn newest_wire(&self) -> u8 {
        let census = self.census.as_ref();
        census.map_or(wire::NEWEST, |census| census.current().cluster.network.newest_wire)
    }

    /// An acceptor of `node` is about to have its first vote, and keeps it in memory alone.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub(super) fn on_begin(&self, node: &str) -> io::Result<()> {
        let homes = self.census.iter().flat_map(|census| &census.homes);
        let mut own = homes.filter(|path| path.file_name().is_some_and(|name| name == node));
        own.try_for_each(|path| home::begin_rings(path))
    }

    /// This thread has seen `record` decided: all that may know of it are told, those who leave, too.
    ///
    /// # Errors
    /// If it cannot be written down, or not be read: it is of a newer psmr, and nobody here could
    /// follow.
    pub(super) fn on_decided<T: Transmit>(
        &self,
        record: &[u8],
        out: &mut Post<'_, T>,
    ) -> io::Result<()> {
        let Some(census) = &self.census else { return Ok(()) };
        let before = census.current();
        if Members::decode(record).is_none() {
            let problem =
                "the ring has decided members that this psmr cannot read: start a newer one";
            return Err(io::Error::other(problem));
        }
        census.adopt(record)?;
        registrar::tell(&census.current().told(), before.book.addresses(), out);
        Ok(())
    }
}

/// Whether the node with this directory is a member, or was one until now. Others have ended, and
/// their directories may be gone.
fn has_part(home: &Path, before: &Cluster, members: &Members) -> bool {
    let Some(id) = home.file_name().and_then(OsStr::to_str) else { return false };
    before.nodes().any(|node| node.id == id) || members.find(id).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Init};

    #[test]
    fn members_are_taken_up_if_they_are_of_this_cluster_and_later_and_speak_no_older_version() {
        let cluster = Config::read(&Init::example().text().expect("there are ports"))
            .expect("it is sound")
            .cluster;
        let census = Census::new(&cluster, 0, Vec::new());
        let now = Members::of(&cluster);
        let adopt = |members: Members| {
            census.adopt(&members.encode()).expect("nothing to write");
            (census.current().number(), census.current().cluster.wire)
        };
        let before = (now.epoch, now.wire);
        assert_eq!(adopt(now.clone()), before);
        let stranger = now.immutable ^ 1;
        assert_eq!(adopt(Members { epoch: 9, immutable: stranger, ..now.clone() }), before);
        assert_eq!(adopt(Members { epoch: 9, wire: now.wire - 1, ..now.clone() }), before);
        assert_eq!(adopt(Members { epoch: 9, ..now.clone() }), (9, now.wire));
        assert_eq!(adopt(Members { epoch: 8, ..now }), (9, before.1));
    }
}
