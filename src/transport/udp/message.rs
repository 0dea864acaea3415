//! What the kernel needs to know of a send: the target's address, and how long a segment is.

use std::net::SocketAddrV4;

/// The one control message of a train: UDP_SEGMENT. Its size is CMSG_SPACE of a u16.
#[repr(C)]
pub(in crate::transport) struct Segments {
    header: libc::cmsghdr,
    bytes: u16,
    padding: [u16; 3],
}

const _: () = assert!(size_of::<Segments>() == 24);

impl Segments {
    /// Cuts a send into segments of `stride` bytes.
    pub(in crate::transport) fn new(stride: u32) -> Self {
        let header = libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<u16>(),
            cmsg_level: libc::SOL_UDP,
            cmsg_type: libc::UDP_SEGMENT,
        };
        Self { header, bytes: u16::try_from(stride).expect("below 64 KiB"), padding: [0; 3] }
    }
}

/// An address as the kernel reads it.
pub(in crate::transport) fn name(to: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).expect("2"),
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
        sin_zero: [0; 8],
    }
}
