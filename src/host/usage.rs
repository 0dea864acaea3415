//! What this process uses, and random bits for its incarnation.
#![expect(unsafe_code, reason = "getrusage and getrandom have no form in the standard library")]

use crate::types::Incarnation;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// CPU time and memory of the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In user mode and in the kernel, all threads, ended ones included.
    pub cpu: Duration,
    /// In the kernel alone.
    pub system: Duration,
    /// Bytes of memory that are resident now.
    pub resident_bytes: u64,
    /// The most bytes that ever were.
    pub peak_resident_bytes: u64,
    /// Context switches that threads asked for, by sleeping.
    pub voluntary_switches: u64,
    /// Context switches that the scheduler forced.
    pub involuntary_switches: u64,
}

impl Usage {
    /// As of now.
    #[must_use]
    pub fn now() -> Self {
        // SAFETY: a rusage is integers alone, for which zero is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` is a rusage of ours, which the call fills.
        let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
        assert_eq!(result, 0, "every process can ask for its own usage");
        let system = duration(usage.ru_stime);
        Self {
            cpu: duration(usage.ru_utime) + system,
            system,
            resident_bytes: resident_bytes(),
            peak_resident_bytes: count(usage.ru_maxrss) * 1024,
            voluntary_switches: count(usage.ru_nvcsw),
            involuntary_switches: count(usage.ru_nivcsw),
        }
    }
}

/// CPU time of the whole process, to the nanosecond, running threads included. Allocates nothing.
#[must_use]
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec of ours, which the call fills.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every process can ask for its own usage");
    Duration::from_secs(count(time.tv_sec)) + Duration::from_nanos(count(time.tv_nsec))
}

/// 64 random bits: one life of this process.
///
/// # Errors
/// If the kernel has none (a sandbox that forbids getrandom).
pub fn draw_incarnation() -> io::Result<Incarnation> {
    let mut bits = [0; 8];
    // SAFETY: the buffer is ours and as long as it says.
    let drawn = unsafe { libc::getrandom(bits.as_mut_ptr().cast(), bits.len(), 0) };
    if usize::try_from(drawn) != Ok(bits.len()) {
        return Err(io::Error::last_os_error());
    }
    Ok(Incarnation(u64::from_ne_bytes(bits)))
}

/// Bytes of memory that are resident now; 0 where /proc is hidden. Allocates nothing.
#[must_use]
pub fn resident_bytes() -> u64 {
    let mut text = [0; 128];
    let length = File::open("/proc/self/statm").and_then(|mut statm| statm.read(&mut text));
    let text = std::str::from_utf8(&text[..length.unwrap_or(0)]).unwrap_or("");
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * page_bytes()
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf reads its argument alone.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    count(bytes)
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(count(time.tv_sec)) + Duration::from_micros(count(time.tv_usec))
}

fn count(n: libc::c_long) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_grows_and_is_plausible() {
        let before = Usage::now();
        let spent: u64 = (0..3_000_000_u64).map(std::hint::black_box).sum();
        assert!(std::hint::black_box(spent) > 0);
        let after = Usage::now();
        assert!(after.cpu >= before.cpu && after.cpu >= after.system);
        assert!(cpu_time() >= before.cpu, "another clock, the same time");
        assert!(after.resident_bytes > 100_000);
        assert!(after.peak_resident_bytes > 100_000);
    }

    #[test]
    fn no_two_incarnations_are_equal() {
        assert_ne!(draw_incarnation().unwrap(), draw_incarnation().unwrap());
    }
}
