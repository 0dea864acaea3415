//! The one reader of the clock: once a duty cycle, then time is an argument.
#![expect(unsafe_code, reason = "Instant does not show its nanoseconds; clock_gettime does")]

use crate::types::Time;

/// CLOCK_MONOTONIC in nanoseconds: the same zero in every process of this host, so that histories
/// of several clients compare. About 25 ns (vDSO).
#[must_use]
pub fn now() -> Time {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec of ours, which the call fills.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(result, 0, "every Linux has a monotonic clock");
    let part = |n: i64| u64::try_from(n).expect("the monotonic clock is not negative");
    Time(part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back() {
        let readings: Vec<_> = (0..1000).map(|_| now()).collect();
        assert!(readings.is_sorted());
        assert!(readings[0] > Time::ZERO);
    }
}
