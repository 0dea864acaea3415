//! What the kernel writes in front of a received payload: sizes, sender, control messages.

use crate::transport::udp::{CONTROL_BYTES, NAME_BYTES, Payload, payload, word};

/// The kernel's io_uring_recvmsg_out.
const OUT_BYTES: usize = 16;
/// Where the payload starts: on a cache line of its own.
pub(super) const PAYLOAD_OFFSET: usize = OUT_BYTES + NAME_BYTES + CONTROL_BYTES;
const _: () = assert!(PAYLOAD_OFFSET == 128);

/// Reads what stands in front of the payload. `None`: truncated, or not as the kernel writes it.
#[inline]
pub(super) fn parse(buffer: &[u8]) -> Option<Payload> {
    let (front, bytes) = buffer.split_at_checked(PAYLOAD_OFFSET)?;
    let control_length = word(front, 4)? as usize;
    let length = word(front, 8)?;
    let flags = word(front, 12)?.cast_signed();
    if length as usize > bytes.len() {
        return None;
    }
    let (name, control) = front[OUT_BYTES..].split_at(NAME_BYTES);
    payload(length, name, control.get(..control_length)?, flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Address;
    use proptest::prelude::*;
    use std::net::SocketAddrV4;

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
