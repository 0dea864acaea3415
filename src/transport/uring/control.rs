//! What the kernel writes in front of a received payload: sizes, sender, control messages.
//!
//! Bytes in, numbers out; nothing here can fail but to the caller's count of dropped datagrams.

use super::ring::{CONTROL_BYTES, NAME_BYTES};
use crate::types::Address;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The kernel's io_uring_recvmsg_out.
const OUT_BYTES: usize = 16;
/// Where the payload starts: on a cache line of its own.
pub(super) const PAYLOAD_OFFSET: usize = OUT_BYTES + NAME_BYTES + CONTROL_BYTES;
const _: () = assert!(PAYLOAD_OFFSET == 128);

/// A cmsghdr: length u64, level and type i32; then the data, all aligned to 8.
const CONTROL_HEADER: usize = 16;
const _: () = assert!(size_of::<libc::cmsghdr>() == CONTROL_HEADER);

/// A received payload: one datagram, or a train of equal ones of which the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    /// Who sent it.
    pub(super) from: Address,
    /// Bytes of the payload.
    pub(super) length: u32,
    /// Bytes of a datagram in it.
    pub(super) segment: u32,
    /// How many datagrams the socket has dropped so far, if it says so.
    pub(super) dropped: Option<u32>,
}

/// Reads what stands in front of the payload. `None`: truncated, or not as the kernel writes it.
#[inline]
pub(super) fn parse(buffer: &[u8]) -> Option<Payload> {
    let (front, payload) = buffer.split_at_checked(PAYLOAD_OFFSET)?;
    let control_length = word(front, 4)? as usize;
    let length = word(front, 8)?;
    let flags = word(front, 12)?.cast_signed();
    if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 || length as usize > payload.len() {
        return None;
    }
    let from = address(&front[OUT_BYTES..][..NAME_BYTES])?;
    let control = front[OUT_BYTES + NAME_BYTES..].get(..control_length)?;
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

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.get(..4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buffer(control: &[(i32, i32, u32)], payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = u32::try_from(payload.len()).unwrap();
        let control_length = u32::try_from(control.len() * 24).unwrap();
        for word in [16, control_length, length, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(u16::try_from(libc::AF_INET).unwrap().to_ne_bytes());
        bytes.extend([0x12, 0x34, 127, 0, 0, 9]);
        bytes.resize(OUT_BYTES + NAME_BYTES, 0);
        for (level, kind, value) in control {
            bytes.extend(20_u64.to_ne_bytes());
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(u64::from(*value).to_ne_bytes());
        }
        bytes.resize(PAYLOAD_OFFSET, 0);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_payload_without_control_messages_is_one_datagram() {
        let payload = parse(&buffer(&[], b"hello")).unwrap();
        let from = Address::udp(SocketAddrV4::new([127, 0, 0, 9].into(), 0x1234));
        assert_eq!(payload, Payload { from, length: 5, segment: 5, dropped: None });
    }

    #[test]
    fn a_train_tells_its_segments_and_the_socket_its_drops() {
        let gro = (libc::SOL_UDP, libc::UDP_GRO, 100);
        let drops = (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 7);
        let payload = parse(&buffer(&[drops, gro], &[0; 250])).unwrap();
        assert_eq!((payload.segment, payload.dropped), (100, Some(7)));
        assert_eq!(parse(&buffer(&[(libc::SOL_UDP, libc::UDP_GRO, 0)], &[0; 250])), None);
    }

    #[test]
    fn a_truncated_payload_is_dropped() {
        let mut bytes = buffer(&[], b"hello");
        bytes[12..16].copy_from_slice(&libc::MSG_TRUNC.to_ne_bytes());
        assert_eq!(parse(&bytes), None);
        assert_eq!(parse(&buffer(&[], b"hello")[..130]), None);
        assert_eq!(parse(&[0; 100]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
