//! The one reader of the clocks: once a duty cycle, then time is an argument.
#![expect(unsafe_code, reason = "Instant does not show its nanoseconds; clock_gettime does")]

use crate::types::Time;
use std::fmt;

/// A moment of the wall clock, for people: nothing is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc {
    /// Milliseconds since 1970.
    pub milliseconds: u64,
}

/// The wall clock.
#[must_use]
pub fn utc() -> Utc {
    Utc { milliseconds: read(libc::CLOCK_REALTIME) / 1_000_000 }
}

impl fmt::Display for Utc {
    /// As RFC 3339 has it, with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millisecond) = (self.milliseconds / 1000, self.milliseconds % 1000);
        let (minutes, second) = (seconds / 60, seconds % 60);
        let (hours, minute) = (minutes / 60, minutes % 60);
        let (days, hour) = (hours / 24, hours % 24);
        let (year, month, day) = civil(days);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"
        )
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
const fn civil(days: u64) -> (u64, u64, u64) {
    // Eras of 400 years that begin in March, so that leap days end years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + (month <= 2) as u64, month, day)
}

/// CLOCK_MONOTONIC in nanoseconds: the same zero in every process of this host, so that histories
/// of several clients compare. About 25 ns (vDSO).
#[must_use]
pub fn now() -> Time {
    Time(read(libc::CLOCK_MONOTONIC))
}

/// A clock of the kernel's, in nanoseconds.
#[inline]
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec of ours, which the call fills.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "every Linux has this clock");
    let part = |n: i64| u64::try_from(n).expect("no clock stands before its zero");
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
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

    #[test]
    fn the_wall_clock_is_written_as_a_calendar_date() {
        let written = |seconds: u64| Utc { milliseconds: seconds * 1000 + 7 }.to_string();
        assert_eq!(written(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(written(951_782_399), "2000-02-28T23:59:59.007Z");
        assert_eq!(written(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(written(1_709_251_199), "2024-02-29T23:59:59.007Z");
        assert_eq!(written(4_107_542_400), "2100-03-01T00:00:00.007Z");
        assert!(utc().to_string().ends_with('Z'));
    }
}
