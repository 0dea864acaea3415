//! Network devices whose other end is this program.
#![expect(unsafe_code, reason = "a device gets its name by an ioctl")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

/// Makes the device `name` in this network. Each read of the file is a frame that the device sent,
/// each write one that it receives; the device ends with the file.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI)
                .expect("flags of 16 bits"),
        },
    };
    assert!(name.len() < libc::IFNAMSIZ, "the name of a device ends with a zero");
    for (target, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *target = byte.cast_signed();
    }
    // SAFETY: the request is ours and initialised, and the descriptor is open.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    if result == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
}
