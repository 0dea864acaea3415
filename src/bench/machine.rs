//! The machine as far as settings depend on it.

use super::Settings;
use crate::host;
use std::fs;

/// What the settings are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Logical CPUs of this process.
    pub cores: usize,
    /// net.ipv4.igmp_max_memberships: multicast groups that one socket may join.
    pub memberships: usize,
    /// Bytes of memory that this process may still take; as many as there are if nobody says.
    pub memory: u64,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn read() -> Self {
        let path = "/proc/sys/net/ipv4/igmp_max_memberships";
        let memberships = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        let cores = host::affinity::allowed_cpus().len();
        let memory = host::memory::available().unwrap_or(u64::MAX);
        Self { cores, memberships: memberships.unwrap_or(20), memory }
    }

    /// K that suits the machine: clamp(cores / (replicas + 1), 2, 8).
    #[must_use]
    pub fn suitable_threads(&self, replicas: usize) -> usize {
        (self.cores / (replicas + 1)).clamp(2, 8)
    }

    /// Threads that host the acceptors of all rings: one on a small machine.
    #[must_use]
    pub const fn suitable_ordering_threads(&self, acceptors: usize) -> usize {
        if self.cores < 8 { 1 } else { acceptors }
    }

    /// Threads for the workers of a replica: one each if every thread of `settings` then has a
    /// core, otherwise the replica's share of the cores.
    #[must_use]
    pub fn suitable_worker_threads(&self, settings: &Settings) -> usize {
        let Settings { threads, replicas, ordering_threads, client_threads, .. } = *settings;
        if ordering_threads + replicas * threads + client_threads <= self.cores {
            threads
        } else {
            (self.cores / replicas.max(1)).clamp(1, threads.max(1))
        }
    }

    /// Threads that the clients share.
    #[must_use]
    pub fn suitable_client_threads(&self) -> usize {
        (self.cores / 8).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_workers_as_suit_the_machine() {
        let machine = |cores| Machine { cores, memberships: 20, memory: u64::MAX };
        let suitable = |cores| machine(cores).suitable_threads(2);
        assert_eq!([1, 2, 9, 12, 100].map(suitable), [2, 2, 3, 4, 8]);
    }
}
