//! The topology as the hwloc library tells it.

use super::{Cache, CpuId, Found, MemoryNode, Topology};
use hwlocality::Topology as Hwloc;
use hwlocality::object::TopologyObject;
use hwlocality::object::attributes::ObjectAttributes;
use hwlocality::object::types::ObjectType;

/// Asks the library; `None` if it does not know this machine's CPUs.
pub(super) fn read(allowed: &[CpuId]) -> Option<Topology> {
    let hwloc = Hwloc::new().ok()?;
    let units = hwloc.objects_with_type(ObjectType::PU);
    let found: Vec<_> = units.filter_map(cpu).collect();
    let knows_all = allowed.iter().all(|id| found.iter().any(|cpu| cpu.id == *id));
    if !knows_all {
        return None;
    }
    let caches = hwloc.objects().filter_map(cache).collect();
    let nodes = hwloc.objects_with_type(ObjectType::NUMANode).filter_map(node).collect();
    Some(Topology::assemble(&found, caches, nodes, allowed))
}

fn cpu(unit: &TopologyObject) -> Option<Found> {
    let id = CpuId(u32::try_from(unit.os_index()?).ok()?);
    let ancestor = |kind| {
        let object: Option<&TopologyObject> = unit.first_ancestor_with_type(kind);
        object.map(|object| object.logical_index() as u64)
    };
    let core = ancestor(ObjectType::Core).unwrap_or(u64::from(id.0));
    Some(Found { id, core, package: ancestor(ObjectType::Package).unwrap_or(0) })
}

fn cache(object: &TopologyObject) -> Option<Cache> {
    if !object.object_type().is_cpu_data_cache() {
        return None;
    }
    let Some(ObjectAttributes::Cache(cache)) = object.attributes() else { return None };
    let level = u8::try_from(cache.depth()).ok()?;
    Some(Cache { level, bytes: cache.size()?.get(), cpus: cpus(object) })
}

fn node(object: &TopologyObject) -> Option<MemoryNode> {
    let Some(ObjectAttributes::NUMANode(node)) = object.attributes() else { return None };
    let bytes = node.local_memory().map_or(0, std::num::NonZeroU64::get);
    Some(MemoryNode { id: u32::try_from(object.os_index()?).ok()?, bytes, cpus: cpus(object) })
}

fn cpus(object: &TopologyObject) -> Vec<CpuId> {
    let Some(set) = object.cpuset() else { return Vec::new() };
    let id = |index| u32::try_from(usize::from(index)).ok().map(CpuId);
    set.iter_set().filter_map(id).collect()
}
