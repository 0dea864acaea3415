//! Locks and room on disk: calls on files that the standard library has not, or not like this.
#![expect(unsafe_code, reason = "fallocate has no form in the standard library")]

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Tries to lock, and how long between two of them.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Locks `file` against other processes. A process that was killed keeps its locks until the kernel
/// has undone its io_uring, so this tries for a second before it says that another one has it.
///
/// # Errors
/// As [`File::try_lock`].
pub fn lock_patiently(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(PAUSE),
            result => return result,
        }
    }
    file.try_lock()
}

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
