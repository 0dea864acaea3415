//! What the machine looks like to a scheduler: CPUs, cores, caches, packages, memory nodes.
//!
//! Read from /sys always; with the feature `hwloc` from that library as well, into the same struct.
//! Only CPUs that this process may use are in it. Cores, packages and cache domains are numbered by
//! their lowest CPU, so that both sources give equal values.

#[cfg(feature = "hwloc")]
mod hwloc;
mod network;
mod render;
mod sysfs;

pub use network::NetworkCard;
pub use render::render;

use super::affinity::{CpuId, allowed_cpus};
use serde::Serialize;

/// The machine, or the part of it that this process may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// The CPUs, by rising id. Never empty.
    pub cpus: Vec<Cpu>,
    /// Data and unified caches: by level, then by lowest CPU.
    pub caches: Vec<Cache>,
    /// Memory nodes with CPUs, by rising id.
    pub nodes: Vec<MemoryNode>,
}

/// One logical CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// The kernel's number.
    pub id: CpuId,
    /// Its core; CPUs of one core are SMT siblings.
    pub core: usize,
    /// Its package, or socket.
    pub package: usize,
    /// Its last-level cache's domain: CPUs that hand a line over without memory in between.
    pub domain: usize,
    /// Its memory node, by the kernel's number.
    pub node: u32,
}

/// One cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// 1 is next to the core.
    pub level: u8,
    /// Its size.
    pub bytes: u64,
    /// The CPUs that it serves.
    pub cpus: Vec<CpuId>,
}

/// One node of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryNode {
    /// The kernel's number.
    pub id: u32,
    /// Its memory; 0 if unknown.
    pub bytes: u64,
    /// The CPUs that are near it.
    pub cpus: Vec<CpuId>,
}

/// Reads a list of CPUs as the kernel writes them: `0-3,8`. `None` if it is malformed.
#[must_use]
pub fn cpu_list(text: &str) -> Option<Vec<CpuId>> {
    sysfs::strict_list(text)
}

impl Topology {
    /// This machine: by hwloc if this build has it and it works, otherwise from /sys. Ask before
    /// any thread is pinned.
    #[must_use]
    pub fn read() -> Self {
        #[cfg(feature = "hwloc")]
        if let Some(topology) = Self::from_hwloc() {
            return topology;
        }
        Self::from_sysfs()
    }

    /// This machine, from /sys. What cannot be read (a container, an odd architecture) is taken as
    /// simple: a core a CPU, one package, one cache domain.
    #[must_use]
    pub fn from_sysfs() -> Self {
        sysfs::read(&|path| std::fs::read_to_string(path).ok(), &allowed_cpus())
    }

    /// This machine, from hwloc; `None` if the library cannot say.
    #[cfg(feature = "hwloc")]
    #[must_use]
    pub fn from_hwloc() -> Option<Self> {
        hwloc::read(&allowed_cpus())
    }

    /// How many cores there are, SMT siblings as one.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.count(|cpu| cpu.core)
    }

    /// How many packages there are.
    #[must_use]
    pub fn packages(&self) -> usize {
        self.count(|cpu| cpu.package)
    }

    /// How many last-level caches there are.
    #[must_use]
    pub fn domains(&self) -> usize {
        self.count(|cpu| cpu.domain)
    }

    /// Ids are normalised: 0 to the largest.
    fn count(&self, id: impl Fn(&Cpu) -> usize) -> usize {
        self.cpus.iter().map(id).max().map_or(0, |last| last + 1)
    }

    /// Puts together what a source has found. Keys name cores and packages in the source's way.
    fn assemble(
        found: &[Found],
        mut caches: Vec<Cache>,
        mut nodes: Vec<MemoryNode>,
        allowed: &[CpuId],
    ) -> Self {
        let keep = |cpus: &mut Vec<CpuId>| {
            cpus.retain(|cpu| allowed.contains(cpu));
            cpus.sort_unstable();
            !cpus.is_empty()
        };
        caches.retain_mut(|cache| keep(&mut cache.cpus));
        caches.sort_by_key(|cache| (cache.level, cache.cpus.first().copied()));
        caches.dedup_by(|a, b| a.level == b.level && a.cpus == b.cpus);
        nodes.retain_mut(|node| keep(&mut node.cpus));
        nodes.sort_by_key(|node| node.id);

        let mut found: Vec<_> = found.iter().filter(|cpu| allowed.contains(&cpu.id)).collect();
        found.sort_by_key(|cpu| cpu.id);
        let last_level = |id: CpuId| {
            let mut serving = caches.iter().rev().filter(|cache| cache.cpus.contains(&id));
            serving.next().filter(|cache| cache.level > 1).map(|cache| cache.cpus[0])
        };
        let domain_keys: Vec<_> = found
            .iter()
            .map(|cpu| last_level(cpu.id).map_or((1, cpu.package), |first| (0, u64::from(first.0))))
            .collect();
        let cores = numbered(found.iter().map(|cpu| (cpu.package, cpu.core)));
        let packages = numbered(found.iter().map(|cpu| cpu.package));
        let domains = numbered(domain_keys.into_iter());
        let node = |id| nodes.iter().find(|node| node.cpus.contains(&id)).map_or(0, |node| node.id);
        let cpu = |(i, cpu): (usize, &&Found)| Cpu {
            id: cpu.id,
            core: cores[i],
            package: packages[i],
            domain: domains[i],
            node: node(cpu.id),
        };
        let cpus = found.iter().enumerate().map(cpu).collect();
        Self { cpus, caches, nodes }
    }
}

/// A CPU as a source knows it.
struct Found {
    id: CpuId,
    /// Unique within the package.
    core: u64,
    package: u64,
}

/// The number of each key's first appearance.
fn numbered<K: PartialEq>(keys: impl Iterator<Item = K>) -> Vec<usize> {
    let mut seen = Vec::new();
    keys.map(|key| {
        seen.iter().position(|known| *known == key).unwrap_or_else(|| {
            seen.push(key);
            seen.len() - 1
        })
    })
    .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A machine of `packages` packages, each one last-level cache of `cores` cores with `threads`
    /// SMT siblings, numbered as Linux does: first siblings first.
    pub(in crate::host) fn machine(packages: usize, cores: usize, threads: usize) -> Topology {
        let all = packages * cores;
        let mut found = Vec::new();
        for cpu in 0..all * threads {
            let (core, package) = (cpu % all, cpu % all / cores);
            let (core, package) = (core as u64, package as u64);
            found.push(Found { id: CpuId(u32::try_from(cpu).unwrap()), core, package });
        }
        let l3 = |package: usize| Cache {
            level: 3,
            bytes: 32 << 20,
            cpus: found.iter().filter(|c| c.package == package as u64).map(|c| c.id).collect(),
        };
        let caches = (0..packages).map(l3).collect();
        let allowed: Vec<_> = found.iter().map(|cpu| cpu.id).collect();
        Topology::assemble(&found, caches, Vec::new(), &allowed)
    }

    #[test]
    fn this_machine_is_read_and_makes_sense() {
        let topology = Topology::read();
        let ids: Vec<_> = topology.cpus.iter().map(|cpu| cpu.id).collect();
        assert_eq!(ids, allowed_cpus());
        assert!(topology.cores() <= topology.cpus.len());
        assert!(topology.packages() <= topology.cores());
        assert!(topology.caches.iter().all(|cache| !cache.cpus.is_empty()));
    }

    #[cfg(feature = "hwloc")]
    #[test]
    fn hwloc_and_sysfs_agree() {
        let hwloc = Topology::from_hwloc().expect("a build with hwloc finds the library");
        assert_eq!(hwloc, Topology::from_sysfs());
    }
}
