//! How datagrams to one target are laid out as a train: equal segments, of which the last may be
//! shorter. Sizes only; no bytes, no system calls.

/// The most segments that every kernel takes in one send.
const MAX_SEGMENTS: u32 = 64;
/// A train goes on behind a shorter datagram if it costs no more padding than this: a send of its
/// own costs about as much as copying and checking 2 KiB.
const MAX_PADDING: u32 = 1024;

/// A train that is being filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Train {
    /// Bytes a segment.
    pub(in crate::transport) stride: u32,
    /// Segments so far.
    pub(in crate::transport) count: u32,
    /// Bytes so far; the last segment is not padded until another follows.
    pub(in crate::transport) end: u32,
}

/// Limits of one socket's trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Limits {
    /// The largest segment.
    pub(in crate::transport) segment: u32,
    /// The longest train.
    pub(in crate::transport) bytes: u32,
    /// 1 where the kernel knows no trains.
    pub(in crate::transport) segments: u32,
}

impl Limits {
    pub(in crate::transport) fn new(segment: usize, bytes: usize, has_trains: bool) -> Self {
        let cast = |bytes| u32::try_from(bytes).expect("below 64 KiB");
        let segments = if has_trains { MAX_SEGMENTS } else { 1 };
        Self { segment: cast(segment), bytes: cast(bytes), segments }
    }
}

impl Train {
    /// The train that starts with a datagram of `length` bytes. Its stride leaves a little room,
    /// so that a slightly longer datagram does not end it.
    pub(in crate::transport) fn start(length: u32, limits: &Limits) -> Self {
        let grain = if length < 512 { 16 } else { 64 };
        let stride = length.next_multiple_of(grain).clamp(1, limits.segment);
        Self { stride, count: 1, end: length }
    }

    /// Where a further datagram of `length` bytes goes, behind padding from `end` on; `None`: it
    /// needs a train of its own.
    #[inline]
    pub(in crate::transport) fn place(&self, length: u32, limits: &Limits) -> Option<u32> {
        let start = self.stride * self.count;
        let fits = length <= self.stride
            && self.count < limits.segments
            && start + length <= limits.bytes
            && start - self.end <= MAX_PADDING;
        fits.then_some(start)
    }

    /// Notes a datagram of `length` bytes at `start`.
    #[inline]
    pub(in crate::transport) fn extend(&mut self, start: u32, length: u32) {
        debug_assert_eq!(start, self.stride * self.count);
        self.count += 1;
        self.end = start + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { segment: 9_000, bytes: 65_000, segments: MAX_SEGMENTS };

    #[test]
    fn equal_datagrams_fill_a_train_up_to_its_limits() {
        for (length, expected) in [(64, 64), (8_000, 8), (1_024, 63), (100, 64)] {
            let mut train = Train::start(length, &LIMITS);
            while let Some(start) = train.place(length, &LIMITS) {
                train.extend(start, length);
            }
            assert_eq!(train.count, expected, "of {length} bytes");
            assert!(train.end <= LIMITS.bytes);
        }
    }

    #[test]
    fn a_short_datagram_ends_a_train_only_if_padding_it_is_dear() {
        let mut train = Train::start(8_000, &LIMITS);
        let start = train.place(100, &LIMITS).unwrap();
        train.extend(start, 100);
        assert_eq!(train.place(8_000, &LIMITS), None);
        let mut train = Train::start(1_000, &LIMITS);
        let start = train.place(100, &LIMITS).unwrap();
        train.extend(start, 100);
        assert_eq!(train.place(1_000, &LIMITS), Some(2 * 1_024));
    }

    #[test]
    fn a_longer_datagram_needs_another_train() {
        assert_eq!(Train::start(100, &LIMITS).place(113, &LIMITS), None);
        assert_eq!(Train::start(100, &LIMITS).place(112, &LIMITS), Some(112));
        assert_eq!(Train::start(9_000, &LIMITS).stride, 9_000);
        let single = Limits { segments: 1, ..LIMITS };
        assert_eq!(Train::start(100, &single).place(100, &single), None);
    }
}
