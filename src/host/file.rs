//! Calls on files that have no safe form elsewhere.
#![expect(unsafe_code, reason = "fallocate has no form in the standard library")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Reserves `bytes` for `file`, so that writing them later cannot find the disk full. On a file
/// system that cannot reserve this does nothing: then writing them is what reserves them.
///
/// # Errors
/// If there is no room, or the file cannot be written.
pub fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: names no memory, and the descriptor is open as long as `file` is borrowed.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOSYS) => Ok(()),
        _ => Err(error),
    }
}
