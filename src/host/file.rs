//! Locks, room on disk, files replaced as a whole: calls on files that the standard library has not,
//! or not like this.
#![expect(unsafe_code, reason = "fallocate has no form in the standard library")]

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
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

/// Replaces the file at `path` as a whole, or makes it. It keeps its permissions, and is persistent
/// when this returns; what is written to meanwhile is `path` with `.new` behind it.
///
/// # Errors
/// What the file system says; the file is as it was then, or replaced and perhaps not persistent.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = File::create(&new)?;
    match fs::metadata(path) {
        Ok(old) => file.set_permissions(old.permissions())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
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
