//! Numbers with their units, as people read them.

/// "1 run", "2 runs".
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Bytes in the unit that fits; tenths of a GiB are rounded up, smaller units down.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => {
            let tenths = (u128::from(bytes) * 10).div_ceil(1 << 30);
            format!("{}.{} GiB", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_no_plural() {
        assert_eq!((counted(1, "run"), counted(0, "run")), ("1 run".into(), "0 runs".into()));
    }

    #[test]
    fn sizes_have_the_unit_that_fits() {
        assert_eq!((size(32 << 10), size(33 << 20)), ("32 KiB".into(), "33 MiB".into()));
        assert_eq!(
            (size((3 << 30) + (512 << 20)), size(u64::MAX)),
            ("3.5 GiB".into(), "17179869184.0 GiB".into())
        );
    }
}
