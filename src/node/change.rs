//! Changes of a cluster's members from outside: who they are now, and who they are to be.

use super::line::{Heard, Line};
use super::roster::Roster;
use super::site;
use crate::config::{Cluster, Members};
use crate::host::clock;
use crate::types::{RingId, Time};
use crate::wire::{self, Keyring, MembersRequest, Message, Refusal};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

/// Between two questions.
const REPEAT: Duration = Duration::from_millis(100);

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was decided: nodes live by it.
    Done,
    /// Another one came first: these are the members now.
    Other(Box<Members>),
    /// The logs are full, or the ring has just a new coordinator.
    Full,
    /// Fewer than a quorum of acceptors have a memory.
    NoQuorum,
    /// Nobody said anything of it in time. It may be decided yet.
    Unknown,
}

/// `cluster` with the latest members that one of its nodes knows of, and how many nodes have told.
///
/// # Errors
/// If there is no socket to ask by.
pub fn latest(
    cluster: &Cluster,
    interface: Option<Ipv4Addr>,
    patience: Duration,
    keyring: Option<Arc<Keyring>>,
) -> io::Result<(Cluster, usize)> {
    let mut line = Line::open(cluster, interface, keyring)?;
    let mut asked: Vec<(SocketAddrV4, bool)> =
        cluster.nodes().map(|node| (node.address, false)).collect();
    let (until, mut repeat_at) = (clock::now() + patience, Time::ZERO);
    let mut latest = Members::of(cluster);
    loop {
        let now = clock::now();
        if now >= until || asked.iter().all(|(_, has_answered)| *has_answered) {
            let told = asked.iter().filter(|(_, has_answered)| *has_answered).count();
            return Ok((cluster.in_epoch_of(&latest), told));
        }
        if now >= repeat_at {
            repeat_at = now + REPEAT;
            for (address, _) in asked.iter().filter(|(_, has_answered)| !has_answered) {
                let request = Message::MembersRequest(MembersRequest::WHOLE);
                line.send(*address, RingId(0), &request);
            }
        }
        let Some(heard) = line.receive(repeat_at.min(until).since(now))? else { continue };
        let Some(members) = members_of(cluster, &heard) else { continue };
        for (address, has_answered) in &mut asked {
            *has_answered |= *address == heard.from;
        }
        if members.epoch > latest.epoch {
            latest = members;
            let known = asked.len();
            let new = cluster.in_epoch_of(&latest);
            for node in new.nodes() {
                if !asked[..known].iter().any(|(address, _)| *address == node.address) {
                    asked.push((node.address, false));
                }
            }
        }
    }
}

/// The members that a datagram names, if it does and they are of this cluster.
fn members_of(cluster: &Cluster, heard: &Heard<'_>) -> Option<Members> {
    let Ok(Message::Members(told)) = &heard.message else { return None };
    let is_ours = |members: &Members| members.immutable == cluster.digests.immutable;
    Members::decode(told.members).filter(is_ours)
}

/// Tells the acceptors of `cluster` that its epoch has begun: for a node that was removed by it and
/// ended before it could say so, as perhaps the only one that knew. Whether a quorum knows.
///
/// # Errors
/// If there is no socket to tell by.
pub fn tell(
    cluster: &Cluster,
    patience: Duration,
    keyring: Option<Arc<Keyring>>,
) -> io::Result<bool> {
    let mut line = Line::open(cluster, None, keyring)?;
    let record = Members::of(cluster).encode();
    let told = wire::Epoch { epoch: cluster.epoch, members: &record };
    let mut knowing: Vec<SocketAddrV4> = Vec::new();
    let (until, mut repeat_at) = (clock::now() + patience, Time::ZERO);
    loop {
        let now = clock::now();
        if now >= until || knowing.len() > cluster.acceptors.len() / 2 {
            return Ok(knowing.len() > cluster.acceptors.len() / 2);
        }
        if now >= repeat_at {
            repeat_at = now + REPEAT;
            for node in cluster.acceptors.iter().filter(|node| !knowing.contains(&node.address)) {
                line.send(node.address, RingId(0), &Message::Members(told));
                let request = Message::MembersRequest(MembersRequest::WHOLE);
                line.send(node.address, RingId(0), &request);
            }
        }
        let Some(heard) = line.receive(repeat_at.min(until).since(now))? else { continue };
        let knows = members_of(cluster, &heard).is_some_and(|m| m.epoch >= cluster.epoch);
        let is_acceptor = cluster.acceptors.iter().any(|node| node.address == heard.from);
        if knows && is_acceptor && !knowing.contains(&heard.from) {
            knowing.push(heard.from);
        }
    }
}

/// Has `next` decided by the nodes of `cluster`, whose epoch is the one before it. Whoever calls it
/// has seen that this epoch has begun in every ring: see `ring_paxos`'s `epoch`.
///
/// # Errors
/// If there is no socket, or `next` is too long.
pub fn change(
    cluster: &Cluster,
    next: &Members,
    interface: Option<Ipv4Addr>,
    patience: Duration,
    keyring: Option<Arc<Keyring>>,
) -> io::Result<Changed> {
    let record = next.encode();
    if record.len() > wire::Epoch::MOST {
        let problem = "the names of the members are too long together: choose shorter ones";
        return Err(io::Error::other(problem));
    }
    let mut line = Line::open(cluster, interface, keyring)?;
    let roster: Roster = site::roster(cluster, 0);
    let (until, mut repeat_at) = (clock::now() + patience, Time::ZERO);
    let mut last = Changed::Unknown;
    loop {
        let now = clock::now();
        if now >= until {
            return Ok(last);
        }
        if now >= repeat_at {
            repeat_at = now + REPEAT;
            let change = wire::Epoch { epoch: next.epoch, members: &record };
            for node in &cluster.acceptors {
                line.send(node.address, roster.last_ring(), &Message::Reconfigure(change));
            }
            for node in cluster.nodes() {
                let request = Message::MembersRequest(MembersRequest::WHOLE);
                line.send(node.address, RingId(0), &request);
            }
        }
        let Some(heard) = line.receive(repeat_at.min(until).since(now))? else { continue };
        match &heard.message {
            Ok(Message::Refused(refused)) if refused.number == u64::from(next.epoch) => {
                last = match refused.refusal {
                    Refusal::NoQuorum => Changed::NoQuorum,
                    Refusal::Full | Refusal::TooLarge => Changed::Full,
                };
            }
            Ok(Message::Taken(_)) => last = Changed::Unknown,
            _ => {}
        }
        match members_of(cluster, &heard) {
            Some(members) if members == *next => return Ok(Changed::Done),
            Some(members) if members.epoch >= next.epoch => {
                return Ok(Changed::Other(Box::new(members)));
            }
            _ => {}
        }
    }
}
