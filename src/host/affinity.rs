//! Which CPUs this process may use, and tying a thread to one of them.

#![expect(unsafe_code, reason = "core_affinity ties a thread to one CPU and frees none")]

use serde::Serialize;
use std::fmt;
use thiserror::Error;

/// A logical CPU by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CpuId(pub u32);

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a thread could not be tied to a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PinError {
    /// It is not in the set that the caller listed first.
    #[error(
        "CPU {0} is not among those that this process may use (taskset, cpuset, cgroup): choose \
         among those that `psmr topo` shows"
    )]
    NotAllowed(CpuId),
    /// The kernel refused all the same: the set has changed since.
    #[error("the kernel refused to pin a thread to CPU {0}: its cpuset has changed; start again")]
    Refused(CpuId),
}

/// The CPUs that the calling thread may run on, rising. Ask before any pinning: a pinned thread and
/// its children see their own CPU alone.
#[must_use]
pub fn allowed_cpus() -> Vec<CpuId> {
    let listed = core_affinity::get_core_ids().unwrap_or_default();
    let mut cpus: Vec<_> =
        listed.iter().filter_map(|core| u32::try_from(core.id).ok()).map(CpuId).collect();
    cpus.sort_unstable();
    cpus
}

/// Ties the calling thread to `cpu`, which must be one of `allowed`.
///
/// # Errors
/// If it is not, or the kernel refuses.
pub fn pin(cpu: CpuId, allowed: &[CpuId]) -> Result<(), PinError> {
    if !allowed.contains(&cpu) {
        return Err(PinError::NotAllowed(cpu));
    }
    let id = usize::try_from(cpu.0).map_err(|_| PinError::NotAllowed(cpu))?;
    if !core_affinity::set_for_current(core_affinity::CoreId { id }) {
        return Err(PinError::Refused(cpu));
    }
    Ok(())
}

/// Lets the calling thread run wherever the first thread of the process may, which nothing pins:
/// for threads that are started by pinned ones. If the kernel refuses, it stays where it is.
pub fn unpin() {
    let process = libc::pid_t::try_from(std::process::id()).expect("below 2^22");
    // SAFETY: all zeros is a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size of the set that it is told.
    let got = unsafe { libc::sched_getaffinity(process, size_of_val(&set), &raw mut set) };
    if got == 0 {
        // SAFETY: the kernel reads that much of the set; 0 is the calling thread.
        unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_its_cpu_alone_and_others_are_as_before() {
        let allowed = allowed_cpus();
        let last = *allowed.last().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(last, &allowed).unwrap();
                assert_eq!(allowed_cpus(), [last]);
                unpin();
                assert_eq!(allowed_cpus(), allowed);
            });
        });
        assert_eq!(allowed_cpus(), allowed);
    }

    #[test]
    fn a_cpu_outside_the_set_is_refused_by_name() {
        let error = pin(CpuId(100_000), &allowed_cpus()).unwrap_err();
        assert_eq!(error, PinError::NotAllowed(CpuId(100_000)));
    }
}
