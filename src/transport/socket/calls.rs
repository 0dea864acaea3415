//! The three system calls that this transport makes, with safe faces: what the kernel reads and
//! writes is borrowed for the length of the call.
//!
//! Not by a crate: rustix has no recvmmsg, nix allocates at each sendmmsg and gives all its messages
//! the same control message, while each train has a segment size of its own.
#![expect(unsafe_code, reason = "recvmmsg, sendmmsg and ppoll take pointers to pointers")]

use crate::transport::udp::{self, CONTROL_BYTES, NAME_BYTES, Payload};
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// The most messages of one call.
pub(super) const BATCH: usize = 16;

/// A buffer, and what the kernel says of what it has put there.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) bytes: Box<[u8]>,
    length: u32,
    name: [u8; NAME_BYTES],
    control: Control,
    control_length: usize,
    flags: i32,
}

/// Control messages are aligned as their header is.
#[derive(Debug)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

impl Incoming {
    pub(super) fn new() -> Self {
        Self {
            bytes: Box::default(),
            length: 0,
            name: [0; NAME_BYTES],
            control: Control([0; CONTROL_BYTES]),
            control_length: 0,
            flags: 0,
        }
    }

    /// What has come; `None` if it is truncated.
    pub(super) fn payload(&self) -> Option<Payload> {
        let control = self.control.0.get(..self.control_length)?;
        udp::payload(self.length, &self.name, control, self.flags)
    }
}

/// Fills buffers with what has come to `socket`, the first of them first; never waits. Returns how
/// many were filled.
pub(super) fn receive(socket: BorrowedFd<'_>, incoming: &mut [Incoming]) -> io::Result<usize> {
    // SAFETY: all zeros is a valid mmsghdr: null pointers and lengths of zero.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut count = 0;
    for ((message, vector), into) in messages.iter_mut().zip(&mut vectors).zip(&mut *incoming) {
        vector.iov_base = into.bytes.as_mut_ptr().cast();
        vector.iov_len = into.bytes.len();
        let header = &mut message.msg_hdr;
        header.msg_name = into.name.as_mut_ptr().cast();
        header.msg_namelen = libc::socklen_t::try_from(NAME_BYTES).expect("16");
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        header.msg_control = into.control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES;
        count += 1;
    }
    let (socket, messages_start) = (socket.as_raw_fd(), messages.as_mut_ptr());
    let (flags, no_timeout) = (libc::MSG_DONTWAIT, std::ptr::null_mut());
    // SAFETY: the first `count` messages point at buffers, names and control messages of as many
    // elements of `incoming`, which is borrowed mutably, with their lengths.
    let filled = unsafe { libc::recvmmsg(socket, messages_start, count, flags, no_timeout) };
    let filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
    for (message, into) in messages[..filled].iter().zip(incoming) {
        into.length = message.msg_len;
        into.control_length = message.msg_hdr.msg_controllen;
        into.flags = message.msg_hdr.msg_flags;
    }
    Ok(filled)
}

/// One send: a datagram, or a train of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) to: SocketAddrV4,
    /// Bytes a segment, if it is a train.
    pub(super) stride: Option<u32>,
}

/// Sends what of `outgoing` fits one call and the socket's buffer, in order; never waits. Returns
/// how many have left.
///
/// # Errors
/// If the first of them cannot leave.
pub(super) fn send<'a>(
    socket: BorrowedFd<'_>,
    outgoing: impl Iterator<Item = Outgoing<'a>>,
) -> io::Result<usize> {
    // SAFETY: all zeros is a valid mmsghdr: null pointers and lengths of zero.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut names = [const { None::<libc::sockaddr_in> }; BATCH];
    let mut controls = [const { None::<udp::Segments> }; BATCH];
    let places = messages.iter_mut().zip(&mut vectors).zip(names.iter_mut().zip(&mut controls));
    let mut count = 0;
    for (((message, vector), (name, control)), Outgoing { bytes, to, stride }) in
        places.zip(outgoing)
    {
        vector.iov_base = bytes.as_ptr().cast_mut().cast();
        vector.iov_len = bytes.len();
        let header = &mut message.msg_hdr;
        header.msg_name = std::ptr::from_mut(name.insert(udp::name(to))).cast();
        header.msg_namelen = libc::socklen_t::try_from(NAME_BYTES).expect("16");
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        if let Some(stride) = stride {
            header.msg_control =
                std::ptr::from_mut(control.insert(udp::Segments::new(stride))).cast();
            header.msg_controllen = size_of::<udp::Segments>();
        }
        count += 1;
    }
    let (socket, messages) = (socket.as_raw_fd(), messages.as_mut_ptr());
    // SAFETY: the first `count` messages point at bytes that are borrowed for this call, which the
    // kernel only reads, and at names and control messages on this stack.
    let sent = unsafe { libc::sendmmsg(socket, messages, count, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Waits until one of `descriptors` is ready or `timeout` is over. Returns how many are ready.
pub(super) fn poll(descriptors: &mut [libc::pollfd], timeout: Duration) -> io::Result<usize> {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let count = libc::nfds_t::try_from(descriptors.len()).expect("a few");
    let (start, timeout) = (descriptors.as_mut_ptr(), &raw const timeout);
    // SAFETY: `start` points to `count` pollfds, borrowed mutably; the timeout outlives the call,
    // and the signal mask may be null.
    let ready = unsafe { libc::ppoll(start, count, timeout, std::ptr::null()) };
    usize::try_from(ready).map_err(|_| io::Error::last_os_error())
}
