//! The topology as /sys tells it.

use super::{Cache, CpuId, Found, MemoryNode, Topology};

/// Reads the machine through `read`, which gives a file's text.
pub(super) fn read(read: &dyn Fn(&str) -> Option<String>, allowed: &[CpuId]) -> Topology {
    let found: Vec<_> = allowed.iter().map(|&id| cpu(read, id)).collect();
    let caches = allowed.iter().flat_map(|&id| caches(read, id)).collect();
    Topology::assemble(&found, caches, nodes(read), allowed)
}

fn cpu(read: &dyn Fn(&str) -> Option<String>, id: CpuId) -> Found {
    let topology = |name: &str| -> Option<String> {
        read(&format!("/sys/devices/system/cpu/cpu{id}/topology/{name}"))
    };
    let package = topology("physical_package_id").and_then(|text| text.trim().parse().ok());
    // The core is named by its lowest sibling: core_id repeats across the dies of a package.
    let siblings = topology("thread_siblings_list").map(|text| list(&text)).unwrap_or_default();
    let core = siblings.first().copied().unwrap_or(id);
    Found { id, core: u64::from(core.0), package: package.unwrap_or(0) }
}

fn caches(read: &dyn Fn(&str) -> Option<String>, id: CpuId) -> Vec<Cache> {
    let index = |n: u32| -> Option<Option<Cache>> {
        let file = |name: &str| -> Option<String> {
            read(&format!("/sys/devices/system/cpu/cpu{id}/cache/index{n}/{name}"))
        };
        let level = file("level")?.trim().parse().ok()?;
        if file("type")?.trim() == "Instruction" {
            return Some(None);
        }
        let bytes = bytes(file("size")?.trim())?;
        Some(Some(Cache { level, bytes, cpus: list(&file("shared_cpu_list")?) }))
    };
    // Indices are dense: the first that is missing ends them.
    (0..).map_while(index).flatten().collect()
}

fn nodes(read: &dyn Fn(&str) -> Option<String>) -> Vec<MemoryNode> {
    let online = read("/sys/devices/system/node/online").unwrap_or_default();
    let node = |CpuId(id): CpuId| {
        let directory = format!("/sys/devices/system/node/node{id}");
        let cpus = list(&read(&format!("{directory}/cpulist"))?);
        let memory = read(&format!("{directory}/meminfo")).unwrap_or_default();
        let total = memory.lines().find(|line| line.contains("MemTotal"));
        let kibibytes: u64 =
            total.and_then(|line| line.split_whitespace().rev().nth(1)?.parse().ok()).unwrap_or(0);
        Some(MemoryNode { id, bytes: kibibytes * 1024, cpus })
    };
    list(&online).into_iter().filter_map(node).collect()
}

/// The kernel's list format: `0-3,8,10-11`. What is malformed is left out.
pub(super) fn list(text: &str) -> Vec<CpuId> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<u32>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().map(CpuId).collect()
}

/// A list in that format as somebody wrote it: `None` if any of it is malformed, or no CPU.
pub(super) fn strict_list(text: &str) -> Option<Vec<CpuId>> {
    /// Above any kernel's number.
    const END: u32 = 1 << 16;
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < END).then_some(first..=last)
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    Some(ranges?.into_iter().flatten().map(CpuId).collect())
}

/// A size as the kernel writes it: `32K`, `33M`.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.len().checked_sub(1)?);
    let factor = match unit {
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return text.parse().ok(),
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(cpus: &[u32]) -> Vec<CpuId> {
        cpus.iter().copied().map(CpuId).collect()
    }

    /// Two packages of two cores with two siblings each, and a third cache level a package.
    fn files(path: &str) -> Option<String> {
        if let Some(node) = path.strip_prefix("/sys/devices/system/node/") {
            return match node {
                "online" => Some("0-1".into()),
                "node0/cpulist" => Some("0-1,4-5\n".into()),
                "node1/cpulist" => Some("2-3,6-7\n".into()),
                "node0/meminfo" => Some("Node 0 MemTotal:  8 kB\nNode 0 MemFree: 1 kB\n".into()),
                _ => None,
            };
        }
        let path = path.strip_prefix("/sys/devices/system/cpu/cpu")?;
        let (cpu, file) = path.split_once('/')?;
        let cpu: u32 = cpu.parse().ok()?;
        let (core, package) = (cpu % 4, cpu % 4 / 2);
        let text = match file {
            "topology/physical_package_id" => package.to_string(),
            "topology/thread_siblings_list" => format!("{core},{}", core + 4),
            "cache/index0/level" | "cache/index1/level" => "1".into(),
            "cache/index0/type" => "Instruction".into(),
            "cache/index1/type" => "Data".into(),
            "cache/index1/size" => "32K".into(),
            "cache/index1/shared_cpu_list" => format!("{core},{}", core + 4),
            "cache/index2/level" => "3".into(),
            "cache/index2/type" => "Unified".into(),
            "cache/index2/size" => "16M".into(),
            "cache/index2/shared_cpu_list" if package == 0 => "0-1,4-5".into(),
            "cache/index2/shared_cpu_list" => "2-3,6-7".into(),
            _ => return None,
        };
        Some(text)
    }

    #[test]
    fn siblings_packages_caches_and_nodes_are_found() {
        let topology = read(&files, &ids(&[0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!((topology.cores(), topology.packages(), topology.domains()), (4, 2, 2));
        assert_eq!(topology.cpus[1].core, topology.cpus[5].core);
        assert_eq!(topology.cpus[6].node, 1);
        assert_eq!(topology.nodes[0].bytes, 8192);
        assert_eq!(topology.caches.iter().filter(|cache| cache.level == 1).count(), 4);
        let last = topology.caches.last().unwrap();
        assert_eq!((last.bytes, &last.cpus), (16 << 20, &ids(&[2, 3, 6, 7])));
    }

    #[test]
    fn what_this_process_may_not_use_is_not_there() {
        let topology = read(&files, &ids(&[2, 6, 7]));
        assert_eq!((topology.cores(), topology.packages(), topology.domains()), (2, 1, 1));
        assert_eq!(topology.caches.last().unwrap().cpus, ids(&[2, 6, 7]));
        assert_eq!(topology.nodes.len(), 1);
    }

    #[test]
    fn without_files_each_cpu_is_a_core_of_one_package() {
        let topology = read(&|_| None, &ids(&[0, 1, 2]));
        assert_eq!((topology.cores(), topology.packages(), topology.domains()), (3, 1, 1));
        assert!(topology.caches.is_empty());
    }

    #[test]
    fn lists_and_sizes_are_the_kernels() {
        assert_eq!(list("0-2,5,7-8\n"), ids(&[0, 1, 2, 5, 7, 8]));
        assert_eq!(list(""), []);
        assert_eq!(list("x,3"), ids(&[3]));
        assert_eq!(
            (bytes("33792K"), bytes("2M"), bytes("7"), bytes("")),
            (Some(33_792 << 10), Some(2 << 20), Some(7), None)
        );
    }
}
