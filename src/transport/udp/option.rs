//! Socket options that have no safe form elsewhere.
#![expect(unsafe_code, reason = "setsockopt and getsockopt take pointers")]

use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd;

/// An integer option of a UDP socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flag {
    /// Segment size of sends.
    UdpSegment,
    /// Whether trains arrive whole.
    UdpGro,
    /// Whether received datagrams tell how many were dropped before them.
    DropCounter,
    /// Receive buffer, within the system's limit.
    ReceiveBuffer,
    /// Receive buffer, beyond it by privilege.
    ReceiveBufferForce,
    /// Microseconds of busy polling.
    BusyPoll,
    /// What the connected route carries, bytes a packet; read only.
    Mtu,
}

impl Flag {
    const fn names(self) -> (i32, i32) {
        match self {
            Self::UdpSegment => (libc::SOL_UDP, libc::UDP_SEGMENT),
            Self::UdpGro => (libc::SOL_UDP, libc::UDP_GRO),
            Self::DropCounter => (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
            Self::ReceiveBuffer => (libc::SOL_SOCKET, libc::SO_RCVBUF),
            Self::ReceiveBufferForce => (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE),
            Self::BusyPoll => (libc::SOL_SOCKET, libc::SO_BUSY_POLL),
            Self::Mtu => (libc::IPPROTO_IP, libc::IP_MTU),
        }
    }
}

const LENGTH: libc::socklen_t = 4;
const _: () = assert!(size_of::<i32>() == LENGTH as usize);

pub(super) fn set(socket: &Socket, flag: Flag, value: i32) -> io::Result<()> {
    let (level, name) = flag.names();
    let value = (&raw const value).cast();
    // SAFETY: `value` points to an i32 that outlives the call, and LENGTH is its size.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, LENGTH) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn read(socket: &Socket, flag: Flag) -> io::Result<i32> {
    let (level, name) = flag.names();
    let (mut value, mut length) = (0_i32, LENGTH);
    let (out, out_length) = ((&raw mut value).cast(), &raw mut length);
    // SAFETY: `out` points to an i32 and `out_length` to its size; both outlive the call.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, out, out_length) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
