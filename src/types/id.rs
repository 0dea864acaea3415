//! Newtypes for the numbers that name things.

use bytemuck::{Pod, Zeroable};
use std::fmt;
use std::net::SocketAddrV4;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A process role's number in the cluster: acceptors, replicas' workers and clients share one
    /// space. `u16::MAX` is [`NodeId::ALL`].
    NodeId(u16)
}
id! {
    /// A replica's number, 0-based. A replica is K workers, each of them a node.
    ReplicaId(u8)
}
id! {
    /// Which secret authenticates a datagram: 0 that of the nodes, others each that of a client.
    KeyNumber(u16)
}
id! {
    /// A ring's number, 0-based. Ring i orders group i; the last ring orders g_all.
    RingId(u16)
}
id! {
    /// A consensus instance of one ring. The first is 1; 0 is "before everything".
    Instance(u64)
}
id! {
    /// A place in one ring's sequence as the merge counts it: a value takes one, SKIP(n) n.
    Slot(u64)
}
id! {
    /// A client session. Its id is made from the slot of g_all that opened it; 0 is "no session".
    SessionId(u64)
}
id! {
    /// A command's number within its session, from 1.
    Sequence(u64)
}
id! {
    /// A digest of service state or of configuration. Equal positions must show equal digests.
    Digest(u64)
}

impl KeyNumber {
    /// The secret of the nodes, from which those of the clients are derived.
    pub const NODES: Self = Self(0);
    /// The highest number of a client.
    pub const LAST: Self = Self(0xfff);
}

impl NodeId {
    /// Every node that hears the datagram.
    pub const ALL: Self = Self(u16::MAX);
}

impl Instance {
    /// The first instance of every ring.
    pub const FIRST: Self = Self(1);

    /// The instance after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The instance before this one; that of 0 is 0.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// This instance plus `n`.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl Slot {
    /// This slot plus `n`.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl Sequence {
    /// The sequence after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where a reply goes: a UDP address or a link of the memory transport, in one word.
///
/// Part of replicated session state, so it is plain data. Layout: bits 52..64 the key of who listens
/// there, 48..52 the kind, 16..48 the
/// IPv4 address, 0..16 the port; of a memory link the low half is its endpoint's number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Address(u64);

impl Address {
    /// No address.
    pub const NONE: Self = Self(0);
    const UDP: u64 = 1;
    const MEMORY: u64 = 2;
    const KIND: u64 = 0xf;
    const KEY_SHIFT: u32 = 52;

    /// The address of a UDP socket.
    #[must_use]
    pub fn udp(address: SocketAddrV4) -> Self {
        let ip = u64::from(u32::from(*address.ip()));
        Self(Self::UDP << 48 | ip << 16 | u64::from(address.port()))
    }

    /// The address of endpoint `n` of the memory transport.
    #[must_use]
    pub const fn memory(n: u32) -> Self {
        Self(Self::MEMORY << 48 | n as u64)
    }

    /// The same place, where the holder of key `key` listens.
    #[must_use]
    pub const fn with_key(self, key: KeyNumber) -> Self {
        assert!(key.0 <= KeyNumber::LAST.0);
        Self(self.0 & (u64::MAX >> 12) | (key.0 as u64) << Self::KEY_SHIFT)
    }

    /// The key of who listens there.
    #[must_use]
    pub const fn key(self) -> KeyNumber {
        // Twelve bits are left.
        KeyNumber((self.0 >> Self::KEY_SHIFT) as u16)
    }

    const fn is_kind(self, kind: u64) -> bool {
        self.0 >> 48 & Self::KIND == kind
    }

    /// The UDP socket address, if it is one.
    #[must_use]
    pub fn as_udp(self) -> Option<SocketAddrV4> {
        let ip = u32::try_from(self.0 >> 16 & 0xffff_ffff).ok()?;
        let port = u16::try_from(self.0 & 0xffff).ok()?;
        self.is_kind(Self::UDP).then(|| SocketAddrV4::new(ip.into(), port))
    }

    /// The memory endpoint's number, if it is one.
    #[must_use]
    pub fn as_memory(self) -> Option<u32> {
        let n = u32::try_from(self.0 & 0xffff_ffff).ok()?;
        self.is_kind(Self::MEMORY).then_some(n)
    }

    /// The raw word, as the wire carries it.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From the raw word; an unknown kind is an address that leads nowhere.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.as_udp(), self.as_memory()) {
            (Some(udp), _) => write!(f, "{udp}"),
            (_, Some(n)) => write!(f, "memory:{n}"),
            _ => write!(f, "none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_kind_and_its_number() {
        let udp = SocketAddrV4::new([239, 1, 2, 3].into(), 65_535);
        assert_eq!(Address::udp(udp).as_udp(), Some(udp));
        assert_eq!(Address::udp(udp).as_memory(), None);
        assert_eq!(Address::memory(7).as_memory(), Some(7));
        assert_eq!(Address::memory(7).as_udp(), None);
        assert_eq!(Address::NONE.as_memory(), None);
        assert_eq!(Address::from_bits(u64::MAX).as_udp(), None);
        let keyed = Address::udp(udp).with_key(KeyNumber::LAST);
        assert_eq!((keyed.as_udp(), keyed.key()), (Some(udp), KeyNumber::LAST));
        assert_eq!(keyed.with_key(KeyNumber::NODES), Address::udp(udp));
    }
}
