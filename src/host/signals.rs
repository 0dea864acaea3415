//! How a process is told to end: SIGTERM or SIGINT, taken where the main thread waits for it.
//!
//! The signals are blocked before any thread starts, so that no thread inherits them unblocked and
//! no handler ever runs: a signal is an answer to [`Termination::wait`], nothing else.
#![expect(unsafe_code, reason = "signal masks have no form in the standard library")]

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// The blocked signals.
pub struct Termination(libc::sigset_t);

impl std::fmt::Debug for Termination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Termination")
    }
}

impl Termination {
    /// Blocks SIGTERM and SIGINT on this thread and on those that it starts from now on.
    ///
    /// # Errors
    /// What the kernel says; there is nothing that it usually says.
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is ours; the call initialises it.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        for signal in [libc::SIGTERM, libc::SIGINT] {
            // SAFETY: the set was initialised above; the signals exist.
            unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
        }
        // SAFETY: sigemptyset has initialised it.
        let set = unsafe { set.assume_init() };
        // SAFETY: reads the set alone; the former mask is not asked for.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if result == 0 { Ok(Self(set)) } else { Err(io::Error::from_raw_os_error(result)) }
    }

    /// Waits until one of the signals has come, at most `timeout`. Says whether one has.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos().cast_signed()),
        };
        // SAFETY: both are ours and initialised; what the signal says besides is not asked for.
        let signal = unsafe {
            libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const timeout)
        };
        signal > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_signal_the_wait_ends_by_itself() {
        // On a thread of its own: the mask goes with it.
        let waits = || Termination::block().unwrap().wait(Duration::from_millis(1));
        assert!(!std::thread::scope(|scope| scope.spawn(waits).join().unwrap()));
    }
}
