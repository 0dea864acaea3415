//! Who belongs to a cluster in one epoch, as nodes tell each other and keep it, and what may change
//! from one epoch to the next.

use super::cluster::{Host, Node};
use super::{Cluster, Digests};
use crate::wire::{self, NEWEST, OLDEST};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use thiserror::Error;

/// "PSMB", and the form of what follows. That of clusters which speak the first wire version is as
/// programs that speak no other write it.
const MAGIC: u64 = 0x424d_5350 | 2 << 32;
/// The form with a wire version.
const MAGIC_WITH_WIRE: u64 = 0x424d_5350 | 3 << 32;
/// No name is longer.
const LONGEST: usize = 32;

/// One acceptor or replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its place among its kind. That of a member that is replaced goes to its successor.
    pub number: u16,
    /// The epoch in which it came: 1, if it was there from the first. Who was a member before that,
    /// under the same name or number, is another one, and so is its memory.
    pub since: u32,
    /// Its name.
    pub id: String,
    /// Where its first thread listens.
    pub address: SocketAddrV4,
}

impl Member {
    fn of(node: &Node) -> Self {
        let Node { number, since, address, .. } = *node;
        Self { number, since, id: node.id.clone(), address }
    }
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It orders.
    Acceptor,
    /// It executes.
    Replica,
}

/// Everybody in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The epoch.
    pub epoch: u32,
    /// The wire version that they speak to each other.
    pub wire: u8,
    /// What is fixed for ever, as a digest: members of another cluster are not taken for ours.
    pub immutable: u64,
    /// The acceptors.
    pub acceptors: Vec<Member>,
    /// The replicas.
    pub replicas: Vec<Member>,
}

/// Why an epoch cannot follow another one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// There is no such member.
    #[error("{id}: no member of the cluster: choose among {known}")]
    Unknown {
        /// The name that was given.
        id: String,
        /// Those that there are.
        known: String,
    },
    /// The name is taken.
    #[error(
        "{0}: the cluster has a member of that name: choose another one, as its data are kept by it"
    )]
    Taken(String),
    /// No number is left.
    #[error("the cluster has as many {0} as it can have: remove one first")]
    Full(&'static str),
    /// Nobody would be left.
    #[error("{0} is the last of its kind: add another one first")]
    Last(String),
    /// The only acceptor remembers what a new one has to learn.
    #[error(
        "{0} is the only acceptor, and its memory with it: add another one, wait until `psmr \
         status` shows its vote, then remove {0}"
    )]
    Alone(String),
    /// It is so already.
    #[error("the cluster speaks wire version {0} already: see `psmr status`")]
    Spoken(u8),
    /// It is below the one that is spoken.
    #[error(
        "--to {to}: the cluster speaks wire version {now}, and a version is never lowered: what it \
         brought is relied on"
    )]
    Lowered {
        /// The version that was asked for.
        to: u8,
        /// The cluster's.
        now: u8,
    },
    /// Who asks does not speak it.
    #[error("--to {0}: this psmr speaks wire versions {OLDEST} to {NEWEST}: choose one of them")]
    Unspoken(u8),
}

impl Members {
    /// Those of `cluster`.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        Self {
            epoch: cluster.epoch,
            wire: cluster.wire,
            immutable: cluster.digests.immutable,
            acceptors: cluster.acceptors.iter().map(Member::of).collect(),
            replicas: cluster.replicas.iter().map(Member::of).collect(),
        }
    }

    /// What the member named `id` is.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<(Kind, &Member)> {
        let kinds = [(Kind::Acceptor, &self.acceptors), (Kind::Replica, &self.replicas)];
        let mut all = kinds.into_iter().flat_map(|(kind, of)| of.iter().map(move |m| (kind, m)));
        all.find(|(_, member)| member.id == id)
    }

    const fn of_kind(&mut self, kind: Kind) -> &mut Vec<Member> {
        match kind {
            Kind::Acceptor => &mut self.acceptors,
            Kind::Replica => &mut self.replicas,
        }
    }

    /// The next epoch, with one more.
    ///
    /// # Errors
    /// If the name is taken, or no number is left.
    pub fn add(&self, kind: Kind, id: &str, address: SocketAddrV4) -> Result<Self, ChangeError> {
        self.require_free(id)?;
        let (most, name) = match kind {
            Kind::Acceptor => (super::MAX_ACCEPTORS, "acceptors"),
            Kind::Replica => (super::MAX_REPLICAS, "replicas"),
        };
        let mut next = self.next();
        let since = next.epoch;
        let members = next.of_kind(kind);
        let is_free = |number: &u16| members.iter().all(|member| member.number != *number);
        let number = (0..most).find(is_free).ok_or(ChangeError::Full(name))?;
        members.push(Member { number, since, id: id.to_owned(), address });
        members.sort_by_key(|member| member.number);
        Ok(next)
    }

    /// The next epoch, without `id`.
    ///
    /// # Errors
    /// If there is no such member, or no other one of its kind.
    pub fn remove(&self, id: &str) -> Result<Self, ChangeError> {
        let (kind, _) = self.require(id)?;
        let mut next = self.next();
        let members = next.of_kind(kind);
        members.retain(|member| member.id != id);
        if members.is_empty() {
            return Err(ChangeError::Last(id.to_owned()));
        }
        Ok(next)
    }

    /// The next epoch, with `id` at `address` in the place of `old`: the same name, if what it knew
    /// is lost and it begins anew elsewhere.
    ///
    /// # Errors
    /// If there is no member `old`, another one has the name, or nobody would remember.
    pub fn replace(&self, old: &str, id: &str, address: SocketAddrV4) -> Result<Self, ChangeError> {
        let (kind, _) = self.require(old)?;
        if old != id {
            self.require_free(id)?;
        }
        let mut next = self.next();
        let since = next.epoch;
        let members = next.of_kind(kind);
        if kind == Kind::Acceptor && members.len() == 1 {
            return Err(ChangeError::Alone(old.to_owned()));
        }
        let member = members.iter_mut().find(|member| member.id == old).expect("just found");
        *member = Member { number: member.number, since, id: id.to_owned(), address };
        Ok(next)
    }

    /// The next epoch, in which the same speak wire version `to`.
    ///
    /// # Errors
    /// If they do already or speak a newer one, or it is none that is spoken here.
    pub fn upgrade(&self, to: u8) -> Result<Self, ChangeError> {
        if !(OLDEST..=NEWEST).contains(&to) {
            return Err(ChangeError::Unspoken(to));
        }
        if to == self.wire {
            return Err(ChangeError::Spoken(to));
        }
        if to < self.wire {
            return Err(ChangeError::Lowered { to, now: self.wire });
        }
        Ok(Self { wire: to, ..self.next() })
    }

    /// Whether these may follow `before`: of the next epoch of the same cluster, with one member that
    /// came, went, or took another one's place, or with a newer wire version. (Two changes at once
    /// could leave quorums that have nobody in common who remembers.)
    #[must_use]
    pub fn follow(&self, before: &Self) -> bool {
        let changes = |of: &[Member], was: &[Member]| {
            let of_number = |members: &[Member], number| {
                members.iter().find(|member| member.number == number).cloned()
            };
            let numbers: BTreeSet<u16> = of.iter().chain(was).map(|m| m.number).collect();
            let differs = |number: &&u16| of_number(of, **number) != of_number(was, **number);
            numbers.iter().filter(differs).count()
        };
        let is_known = |kind: &[Member], member: &Member| kind.contains(member);
        let acceptors = self.acceptors.iter().filter(|m| !is_known(&before.acceptors, m));
        let replicas = self.replicas.iter().filter(|m| !is_known(&before.replicas, m));
        self.epoch == before.epoch + 1
            && self.immutable == before.immutable
            && acceptors.chain(replicas).all(|new| new.since == self.epoch)
            && changes(&self.acceptors, &before.acceptors)
                + changes(&self.replicas, &before.replicas)
                + usize::from(self.wire != before.wire)
                == 1
            && self.wire >= before.wire
    }

    /// What somebody asks to be decided, if it may follow these.
    #[must_use]
    pub fn followed_by(&self, next: &wire::Epoch<'_>) -> Option<Self> {
        let members = Self::decode(next.members)?;
        (members.epoch == next.epoch && members.follow(self)).then_some(members)
    }

    fn next(&self) -> Self {
        Self { epoch: self.epoch + 1, ..self.clone() }
    }

    fn require(&self, id: &str) -> Result<(Kind, &Member), ChangeError> {
        self.find(id).ok_or_else(|| {
            let known = self.acceptors.iter().chain(&self.replicas);
            let known: Vec<&str> = known.map(|member| member.id.as_str()).collect();
            ChangeError::Unknown { id: id.to_owned(), known: known.join(", ") }
        })
    }

    fn require_free(&self, id: &str) -> Result<(), ChangeError> {
        if self.find(id).is_some() { Err(ChangeError::Taken(id.to_owned())) } else { Ok(()) }
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let is_first = self.wire == OLDEST;
        let head = if is_first { vec![MAGIC] } else { vec![MAGIC_WITH_WIRE, self.wire.into()] };
        for word in head.into_iter().chain([self.epoch.into(), self.immutable]) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for members in [&self.acceptors, &self.replicas] {
            bytes.push(u8::try_from(members.len()).expect("at most 32 of a kind"));
            for Member { number, since, id, address } in members {
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes.extend_from_slice(&since.to_le_bytes());
                bytes.extend_from_slice(&address.ip().octets());
                bytes.extend_from_slice(&address.port().to_le_bytes());
                bytes.push(u8::try_from(id.len()).expect("at most 32 bytes"));
                bytes.extend_from_slice(id.as_bytes());
            }
        }
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// From bytes; `None` if they are not sound.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, sum) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut rest = content;
        let wire = match word(&mut rest)? {
            MAGIC => OLDEST,
            MAGIC_WITH_WIRE => u8::try_from(word(&mut rest)?).ok().filter(|wire| *wire > OLDEST)?,
            _ => return None,
        };
        let [epoch, immutable] = [word(&mut rest)?, word(&mut rest)?];
        let epoch = u32::try_from(epoch).ok().filter(|epoch| *epoch <= super::MAX_EPOCH)?;
        let acceptors = read(&mut rest, super::MAX_ACCEPTORS, epoch)?;
        let replicas = read(&mut rest, super::MAX_REPLICAS, epoch)?;
        let members = Self { epoch, wire, immutable, acceptors, replicas };
        (rest.is_empty() && members.is_unambiguous()).then_some(members)
    }

    /// Whether no name or address is there twice.
    fn is_unambiguous(&self) -> bool {
        let all: Vec<&Member> = self.acceptors.iter().chain(&self.replicas).collect();
        let is_twice = |a: &Member, b: &Member| a.id == b.id || a.address == b.address;
        (1..all.len()).all(|at| !all[..at].iter().any(|known| is_twice(known, all[at])))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

fn word(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

fn read(rest: &mut &[u8], most: u16, epoch: u32) -> Option<Vec<Member>> {
    let count = take::<1>(rest)?[0];
    if count == 0 || u16::from(count) > most {
        return None;
    }
    let mut members: Vec<Member> = Vec::new();
    for _ in 0..count {
        let number = u16::from_le_bytes(take(rest)?);
        let since = u32::from_le_bytes(take(rest)?);
        let ip = Ipv4Addr::from(take::<4>(rest)?);
        let port = u16::from_le_bytes(take(rest)?);
        let length = usize::from(take::<1>(rest)?[0]);
        let (id, behind) = rest.split_at_checked(length).filter(|_| length <= LONGEST)?;
        *rest = behind;
        let id = std::str::from_utf8(id).ok().filter(|id| is_name(id))?.to_owned();
        // Rising numbers: none is there twice.
        let rises = members.last().is_none_or(|last| last.number < number);
        if !rises || number >= most || port == 0 || !(1..=epoch).contains(&since) {
            return None;
        }
        members.push(Member { number, since, id, address: SocketAddrV4::new(ip, port) });
    }
    Some(members)
}

/// Whether `text` may name a node: it names a directory, too.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.len() <= LONGEST && text.chars().all(is_part)
}

impl Cluster {
    /// The same cluster in another epoch. Members that it knows keep their cores.
    #[must_use]
    pub fn in_epoch_of(&self, members: &Members) -> Self {
        let nodes = |of: &[Member], known: &[Node]| -> Vec<Node> {
            let node = |member: &Member| {
                let known = known.iter().find(|node| node.id == member.id);
                let Member { number, since, id, address } = member.clone();
                let cores = known.map_or(Vec::new(), |node| node.cores.clone());
                Node { number, since, id, address, cores }
            };
            of.iter().map(node).collect()
        };
        let acceptors = nodes(&members.acceptors, &self.acceptors);
        let replicas = nodes(&members.replicas, &self.replicas);
        let mut hosts = self.hosts.clone();
        for node in acceptors.iter().chain(&replicas) {
            let address = *node.address.ip();
            if !hosts.iter().any(|host| host.address == address) {
                hosts.push(Host { name: address.to_string(), address });
            }
        }
        let Members { epoch, wire, .. } = *members;
        let mut cluster = Self { epoch, wire, hosts, acceptors, replicas, ..self.clone() };
        cluster.digests = Digests::of(&cluster);
        cluster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u16, id: &str, port: u16) -> Member {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Member { number, since: 1, id: id.to_owned(), address }
    }

    fn members() -> Members {
        Members {
            epoch: 3,
            wire: OLDEST,
            immutable: 77,
            acceptors: vec![member(0, "a1", 1), member(1, "a2", 2), member(3, "a4", 3)],
            replicas: vec![member(0, "r1", 10)],
        }
    }

    const HERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 99);

    #[test]
    fn members_of_every_wire_version_come_back_from_their_bytes() {
        for wire in [OLDEST, NEWEST, NEWEST + 1, u8::MAX] {
            let members = Members { wire, ..members() };
            assert_eq!(Members::decode(&members.encode()), Some(members));
        }
        // Those of the first version are what programs write that speak no other.
        let bytes = members().encode();
        let head = [MAGIC, 3, 77].map(u64::to_le_bytes).concat();
        assert!(bytes.starts_with(&head));
        let mut twice = Members { wire: NEWEST, ..members() }.encode();
        twice[8] = OLDEST;
        let content = twice.len() - 4;
        let sum = crc32c::crc32c(&twice[..content]);
        twice[content..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Members::decode(&twice), None, "there is one form of everything");
    }

    #[test]
    fn members_come_back_from_their_bytes_and_nothing_else_does() {
        let bytes = members().encode();
        assert_eq!(Members::decode(&bytes), Some(members()));
        for cut in 0..bytes.len() {
            assert_eq!(Members::decode(&bytes[..cut]), None);
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x20;
            assert_eq!(Members::decode(&bytes), None, "{at}");
        }
        // Sound bytes of members that cannot be.
        let twice = Members { replicas: vec![member(0, "a1", 10)], ..members() };
        assert_eq!(Members::decode(&twice.encode()), None);
        let path = Members { replicas: vec![member(0, "../x", 10)], ..members() };
        assert_eq!(Members::decode(&path.encode()), None);
        let none = Members { replicas: Vec::new(), ..members() };
        assert_eq!(Members::decode(&none.encode()), None);
        for since in [0, 4] {
            let other =
                Members { replicas: vec![Member { since, ..member(0, "r1", 10) }], ..members() };
            assert_eq!(Members::decode(&other.encode()), None, "in epoch 3 nobody came in {since}");
        }
    }

    #[test]
    fn who_comes_gets_a_free_number_and_who_replaces_that_of_the_other() {
        let next = members().add(Kind::Acceptor, "a9", HERE).expect("there is room");
        assert_eq!((next.epoch, next.find("a9").map(|(_, m)| m.number)), (4, Some(2)));
        let next = members().replace("a2", "a9", HERE).expect("a2 is there");
        let of = |next: &Members, id| next.find(id).map(|(_, m)| (m.number, m.since, m.address));
        assert_eq!(of(&next, "a9"), Some((1, 4, HERE)));
        assert!(next.find("a2").is_none());
        let same = members().replace("a2", "a2", HERE).expect("it may keep its name");
        assert_eq!(of(&same, "a2"), Some((1, 4, HERE)), "it is another one all the same");
        assert_eq!(members().remove("a4").map(|next| next.acceptors.len()), Ok(2));
    }

    #[test]
    fn one_change_may_follow_and_nothing_else() {
        let before = members();
        let replaced = before.replace("a2", "a9", HERE).expect("a2 is there");
        let added = before.add(Kind::Replica, "r2", HERE).expect("there is room");
        let removed = before.remove("a4").expect("others stay");
        let raised = before.upgrade(NEWEST).expect("it is spoken here");
        assert_eq!((raised.epoch, raised.wire), (4, NEWEST));
        assert!([&replaced, &added, &removed, &raised].iter().all(|next| next.follow(&before)));
        let refused = Err(ChangeError::Lowered { to: OLDEST, now: NEWEST });
        assert_eq!(raised.upgrade(OLDEST), refused);
        assert!(!Members { wire: OLDEST, ..raised.next() }.follow(&raised));
        let same = Members { epoch: 4, ..members() };
        let twice = Members { epoch: 4, ..added.remove("a4").expect("others stay") };
        let later = Members { epoch: 5, ..removed.clone() };
        let other = Members { immutable: 78, ..removed };
        let both = Members { wire: NEWEST, ..replaced.clone() };
        let mut old = replaced;
        old.acceptors[1].since = 1;
        let wrong = [&before, &same, &twice, &later, &other, &both, &old];
        assert!(wrong.iter().all(|next| !next.follow(&before)));
    }

    #[test]
    fn what_cannot_follow_is_told() {
        let taken = ChangeError::Taken("r1".to_owned());
        assert_eq!(members().add(Kind::Acceptor, "r1", HERE), Err(taken));
        assert_eq!(members().remove("r1"), Err(ChangeError::Last("r1".to_owned())));
        let unknown = members().remove("a7").expect_err("there is no a7").to_string();
        assert_eq!(unknown, "a7: no member of the cluster: choose among a1, a2, a4, r1");
        let alone = Members { acceptors: vec![member(0, "a1", 1)], ..members() };
        let error = alone.replace("a1", "a2", HERE).expect_err("nobody would remember");
        assert_eq!(error, ChangeError::Alone("a1".to_owned()));
        assert_eq!(members().upgrade(OLDEST), Err(ChangeError::Spoken(OLDEST)));
        assert_eq!(members().upgrade(NEWEST + 1), Err(ChangeError::Unspoken(NEWEST + 1)));
    }
}
