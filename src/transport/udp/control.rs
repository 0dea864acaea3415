//! What the kernel tells of a received payload beside its bytes: sender and control messages.
//!
//! Bytes in, numbers out; nothing here can fail but to the caller's count of dropped datagrams.

use crate::types::Address;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes for a sender's address: a sockaddr_in.
pub(in crate::transport) const NAME_BYTES: usize = 16;
/// Bytes for control messages.
pub(in crate::transport) const CONTROL_BYTES: usize = 96;

/// A cmsghdr: length u64, level and type i32; then the data, all aligned to 8.
const CONTROL_HEADER: usize = 16;
const _: () = assert!(size_of::<libc::cmsghdr>() == CONTROL_HEADER);

/// A received payload: one datagram, or a train of equal ones of which the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Payload {
    /// Who sent it.
    pub(in crate::transport) from: Address,
    /// Bytes of the payload.
    pub(in crate::transport) length: u32,
    /// Bytes of a datagram in it.
    pub(in crate::transport) segment: u32,
    /// How many datagrams the socket has dropped so far, if it says so.
    pub(in crate::transport) dropped: Option<u32>,
}

impl Payload {
    /// Datagrams in it.
    pub(in crate::transport) const fn datagrams(&self) -> u32 {
        self.length.div_ceil(self.segment)
    }
}

/// A payload of `length` bytes of which the kernel gave name, control messages and flags. `None`:
/// truncated, or not as the kernel writes it.
#[inline]
pub(in crate::transport) fn payload(
    length: u32,
    name: &[u8],
    control: &[u8],
    flags: i32,
) -> Option<Payload> {
    if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return None;
    }
    let from = address(name)?;
    let (mut segment, mut dropped) = (length, None);
    let mut rest = control;
    while let Some(header) = rest.get(..CONTROL_HEADER) {
        let size = usize::try_from(u64::from_ne_bytes(header[..8].try_into().ok()?)).ok()?;
        let level = word(header, 8)?.cast_signed();
        let kind = word(header, 12)?.cast_signed();
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => segment = word(rest, CONTROL_HEADER)?,
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => dropped = word(rest, CONTROL_HEADER),
            _ => {}
        }
        rest = rest.get(size.max(CONTROL_HEADER).next_multiple_of(8)..).unwrap_or(&[]);
    }
    (segment > 0 || length == 0).then_some(Payload { from, length, segment, dropped })
}

/// A sockaddr_in: family in the machine's order, port and address in the network's.
fn address(name: &[u8]) -> Option<Address> {
    let family = u16::from_ne_bytes(name.get(..2)?.try_into().ok()?);
    if i32::from(family) != libc::AF_INET {
        return None;
    }
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    let ip: [u8; 4] = name.get(4..8)?.try_into().ok()?;
    Some(Address::udp(SocketAddrV4::new(Ipv4Addr::from(ip), port)))
}

/// The `u32` at `offset`, in the machine's order.
pub(in crate::transport) fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.get(..4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
