//! Zeroed memory on the largest pages that the machine gives.
//!
//! The ladder: 2 MiB pages of the hugetlb pool, which an administrator has to fill; transparent huge
//! pages, by `madvise`; 4 KiB. Which rung a mapping stands on is told, never assumed.
#![expect(unsafe_code, reason = "mmap, and a view of mapped memory")]

use std::fmt;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

/// Bytes of a huge page.
pub const HUGE_PAGE: usize = 2 << 20;

/// Words in a [`Line`].
pub const WORDS_PER_LINE: usize = 8;

/// A cache line of atomic words.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Line(pub [AtomicU64; WORDS_PER_LINE]);

const _: () = assert!(size_of::<Line>() == 64 && align_of::<Line>() == 64);

/// The size of the pages behind a mapping, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// 2 MiB pages of the hugetlb pool: huge for certain.
    Hugetlb,
    /// Transparent huge pages: asked for, and given as long as the kernel finds free ones.
    Transparent,
    /// 4 KiB pages.
    Small,
}

impl Rung {
    pub(super) const ALL: [Self; 3] = [Self::Hugetlb, Self::Transparent, Self::Small];
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hugetlb => "2 MiB pages (hugetlb)",
            Self::Transparent => "transparent huge pages",
            Self::Small => "4 KiB pages",
        })
    }
}

/// A zeroed mapping of atomic words that never moves. Its pages are given at the first touch.
pub struct Pages {
    start: NonNull<Line>,
    lines: usize,
    rung: Rung,
}

// SAFETY: the mapping belongs to this value alone and has no thread affinity.
unsafe impl Send for Pages {}
// SAFETY: shared access goes through atomics only.
unsafe impl Sync for Pages {}

impl Pages {
    /// Maps `lines` lines of zeroes.
    ///
    /// # Errors
    /// What the kernel said to the last rung of the ladder.
    ///
    /// # Panics
    /// If `lines` is 0 or more than the address space holds.
    pub fn zeroed(lines: usize) -> io::Result<Self> {
        assert!(lines > 0, "a mapping has at least one line");
        let bytes = mapped_bytes(lines);
        let start = reserve(bytes)?;
        // SAFETY: the range was just reserved, so no view of it exists.
        let mapped = unsafe { map_at(start, bytes) };
        if mapped.is_err() {
            // SAFETY: exactly what was reserved, and not used.
            unsafe { unmap(start, bytes) }
        }
        Ok(Self { start: start.cast(), lines, rung: mapped? })
    }

    /// The mapping as cache lines.
    #[inline]
    #[must_use]
    pub const fn lines(&self) -> &[Line] {
        // SAFETY: the mapping holds `lines` initialised (zeroed) lines at an aligned address, lives
        // as long as `self`, and is reached through atomics alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.lines) }
    }

    /// The mapping as words.
    #[must_use]
    pub const fn words(&self) -> &[AtomicU64] {
        let words = self.lines * WORDS_PER_LINE;
        // SAFETY: as in `lines`; a line is an array of words without padding.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), words) }
    }

    /// The pages behind it.
    #[must_use]
    pub const fn rung(&self) -> Rung {
        self.rung
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped; no view outlives `self`.
        unsafe { unmap(self.start.cast(), mapped_bytes(self.lines)) }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({} KiB, {})", self.lines * size_of::<Line>() / 1024, self.rung)
    }
}

/// Bytes behind `lines` lines: whole pages, whole huge pages from one on.
fn mapped_bytes(lines: usize) -> usize {
    let bytes = lines.checked_mul(size_of::<Line>()).expect("fits the address space");
    let page = if bytes < HUGE_PAGE { 4096 } else { HUGE_PAGE };
    bytes.checked_next_multiple_of(page).expect("fits the address space")
}

/// Reserves addresses without memory behind them, huge ranges at the beginning of a huge page.
pub(super) fn reserve(bytes: usize) -> io::Result<NonNull<u8>> {
    let extra = if bytes < HUGE_PAGE { 0 } else { HUGE_PAGE };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let total = bytes.checked_add(extra).ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: a new mapping wherever the kernel likes; it replaces nothing.
    let raw = unsafe { libc::mmap(ptr::null_mut(), total, libc::PROT_NONE, flags, -1, 0) };
    if raw == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let raw = NonNull::new(raw.cast::<u8>()).expect("the kernel maps nothing at zero by itself");
    if extra == 0 {
        return Ok(raw);
    }
    let before = raw.align_offset(HUGE_PAGE);
    // SAFETY: the offset is below HUGE_PAGE, and the mapping is larger than that.
    let start = unsafe { raw.add(before) };
    // SAFETY: the end of what is kept, inside the mapping or at its end.
    let end = unsafe { start.add(bytes) };
    for (edge, length) in [(raw, before), (end, extra - before)] {
        if length > 0 {
            // SAFETY: an edge of the new mapping that nobody knows of.
            unsafe { unmap(edge, length) }
        }
    }
    Ok(start)
}

/// Puts zeroed memory behind `bytes` bytes at `start`, on the best rung that the machine gives.
///
/// # Safety
/// The range is part of what [`reserve`] returned, and nothing refers to it.
pub(super) unsafe fn map_at(start: NonNull<u8>, bytes: usize) -> io::Result<Rung> {
    let is_huge = bytes.is_multiple_of(HUGE_PAGE) && start.align_offset(HUGE_PAGE) == 0;
    // SAFETY: the caller's contract.
    if is_huge && unsafe { move_hugetlb_to(start, bytes) }? {
        return Ok(Rung::Hugetlb);
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // The reservation itself becomes memory. A mapping over it could fail after the kernel has
    // unmapped what it replaces, and leave a hole for another thread's mapping to fall into.
    // SAFETY: the caller's contract: nothing refers to the range.
    if unsafe { libc::mprotect(start.as_ptr().cast(), bytes, protection) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if !is_huge {
        return Ok(Rung::Small);
    }
    // SAFETY: advice about the caller's range; it changes no contents.
    let advised = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
    let is_given = advised == 0 && transparent_pages_are_enabled();
    Ok(if is_given { Rung::Transparent } else { Rung::Small })
}

/// Maps pages of the hugetlb pool elsewhere and moves them over a reservation: false if the pool
/// has too few. Mapped in place at once, a pool without pages would show only after the kernel
/// has unmapped the reservation.
///
/// # Safety
/// As of [`map_at`].
unsafe fn move_hugetlb_to(start: NonNull<u8>, bytes: usize) -> io::Result<bool> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping wherever the kernel likes; it replaces nothing.
    let elsewhere = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if elsewhere == libc::MAP_FAILED {
        return Ok(false);
    }
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let to = start.as_ptr().cast::<libc::c_void>();
    // SAFETY: it replaces a reservation to which nothing refers by a mapping that only we know.
    let moved = unsafe { libc::mremap(elsewhere, bytes, bytes, flags, to) };
    if moved != libc::MAP_FAILED {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    let elsewhere = NonNull::new(elsewhere.cast()).expect("mapped");
    // SAFETY: the mapping just made, which stayed where it was.
    unsafe { unmap(elsewhere, bytes) }
    Err(error)
}

/// Gives a range back.
///
/// # Safety
/// It is the caller's, and nothing refers to it.
pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's contract.
    let result = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    debug_assert_eq!(result, 0, "a range of whole pages can be unmapped");
}

/// `madvise` succeeds even where the administrator has switched huge pages off.
fn transparent_pages_are_enabled() -> bool {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|text| !text.contains("[never]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn a_mapping_of_any_size_is_zeroed_aligned_and_writable_to_its_last_word() {
        for lines in [1, 63, 64, 65, HUGE_PAGE / 64 - 1, HUGE_PAGE / 64, 3 * HUGE_PAGE / 64 + 1] {
            let pages = Pages::zeroed(lines).expect("memory");
            assert_eq!(pages.lines().len(), lines);
            assert_eq!(pages.words().len(), lines * WORDS_PER_LINE);
            let last = pages.words().last().expect("not empty");
            assert_eq!(last.load(Relaxed) + pages.words()[0].load(Relaxed), 0);
            last.store(7, Relaxed);
            assert_eq!(pages.lines()[lines - 1].0[7].load(Relaxed), 7);
            if pages.rung() != Rung::Small {
                assert_eq!(pages.lines().as_ptr().align_offset(HUGE_PAGE), 0);
            }
        }
    }
}
