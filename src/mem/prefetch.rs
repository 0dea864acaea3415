//! A hint to the cache, as a safe function.
#![expect(unsafe_code, reason = "the intrinsic takes a pointer")]

/// Starts to bring the cache line in which `target` begins into the nearest cache. Never faults,
/// changes nothing, and does nothing where the machine has no such instruction.
#[inline(always)]
pub fn prefetch<T>(target: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction is part of x86-64's base set and accesses no memory that the
        // program can observe; the pointer comes from a reference.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(target).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = target;
}
