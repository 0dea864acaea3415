//! A global allocator that counts: the proof that the data path allocates nothing, and that what
//! lives on the heap does not grow.
#![expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicU64 = AtomicU64::new(0);

/// Allocations of this process so far, reallocations included; 0 unless [`CountingAllocator`] is
/// its global allocator.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Bytes that this process holds on the heap, as they were asked for; 0 unless
/// [`CountingAllocator`] is its global allocator. Mappings of files and of whole pages are not
/// among them.
#[must_use]
pub fn heap_bytes() -> u64 {
    LIVE.load(Ordering::Relaxed)
}

/// The system's allocator, counted. A binary or a test installs it:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: psmr::mem::CountingAllocator = psmr::mem::CountingAllocator;
/// assert!(psmr::mem::allocations() > 0);
///
/// let before = psmr::mem::heap_bytes();
/// let mut held: Vec<u8> = Vec::with_capacity(1_000);
/// held.reserve_exact(3_000);
/// assert_eq!(psmr::mem::heap_bytes() - before, 3_000);
/// drop(held);
/// assert_eq!(psmr::mem::heap_bytes(), before);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

fn on_allocation(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    LIVE.fetch_add(bytes as u64, Ordering::Relaxed);
}

fn on_release(bytes: usize) {
    LIVE.fetch_sub(bytes as u64, Ordering::Relaxed);
}

// SAFETY: every call goes unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        on_allocation(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        on_allocation(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        on_allocation(size);
        on_release(layout.size());
        // SAFETY: the caller keeps the contract of `realloc`; all memory came from System.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        on_release(layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`; all memory came from System.
        unsafe { System.dealloc(pointer, layout) }
    }
}
