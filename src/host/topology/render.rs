//! The machine and the plan as text, for `psmr topo`.

use super::{Cache, Cpu, CpuId, NetworkCard, Topology};
use crate::host::plan::Plan;
use crate::host::text::{counted, size};
use std::fmt::Write as _;

/// Draws `topology` as a tree, with the threads of `plan` at their CPUs and the `cards` below.
#[must_use]
pub fn render(topology: &Topology, cards: &[NetworkCard], plan: &Plan) -> String {
    let mut out = String::new();
    let written = write_tree(&mut out, topology, plan)
        .and_then(|()| write_cards(&mut out, cards))
        .and_then(|()| write_note(&mut out, plan));
    written.expect("writing to a String cannot fail");
    out
}

fn write_tree(out: &mut String, topology: &Topology, plan: &Plan) -> std::fmt::Result {
    writeln!(out, "{}", summary(topology))?;
    let packages = topology.packages();
    for package in 0..packages {
        let cpus: Vec<_> = topology.cpus.iter().filter(|cpu| cpu.package == package).collect();
        let trunk = branch(out, "", package + 1 == packages, &package_line(topology, &cpus))?;
        let mut domains: Vec<_> = cpus.iter().map(|cpu| cpu.domain).collect();
        domains.dedup();
        for (n, &domain) in domains.iter().enumerate() {
            let cpus: Vec<_> = cpus.iter().copied().filter(|cpu| cpu.domain == domain).collect();
            let last = n + 1 == domains.len();
            let bough = branch(out, &trunk, last, &domain_line(topology, &cpus))?;
            write_cores(out, &bough, &cpus, topology, plan)?;
        }
    }
    Ok(())
}

fn write_cards(out: &mut String, cards: &[NetworkCard]) -> std::fmt::Result {
    for card in cards {
        write!(out, "network card {}", card.name)?;
        if let Some(speed) = card.speed_mbps {
            write!(out, ", {speed} Mbit/s")?;
        }
        if let Some(mtu) = card.mtu {
            write!(out, ", MTU {mtu}")?;
        }
        write!(out, ", {}", counted(card.receive_queues, "receive queue"))?;
        if let Some(node) = card.node {
            write!(out, ", memory node {node}")?;
        }
        if !card.interrupt_cpus.is_empty() {
            let cpus: Vec<_> = card.interrupt_cpus.iter().map(CpuId::to_string).collect();
            write!(out, ", interrupts CPU {}", cpus.join(","))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_note(out: &mut String, plan: &Plan) -> std::fmt::Result {
    match plan.note() {
        Some(note) => {
            writeln!(out, "{note}")?;
            let tied = "so `psmr bench run` ties none to the CPU drawn here unless told --pin plan";
            writeln!(out, "{tied}")
        }
        None => writeln!(
            out,
            "every thread has a CPU of its own: `psmr bench run` ties it there unless told --pin none"
        ),
    }
}

fn write_cores(
    out: &mut String,
    bough: &str,
    cpus: &[&Cpu],
    topology: &Topology,
    plan: &Plan,
) -> std::fmt::Result {
    let mut cores: Vec<_> = cpus.iter().map(|cpu| cpu.core).collect();
    cores.sort_unstable();
    cores.dedup();
    for (n, &core) in cores.iter().enumerate() {
        let siblings: Vec<_> = cpus.iter().filter(|cpu| cpu.core == core).collect();
        let own = own_caches(topology, siblings[0]);
        let twig =
            branch(out, bough, n + 1 == cores.len(), &format!("core {core}{}", caches(&own)))?;
        for (n, cpu) in siblings.iter().enumerate() {
            let line = format!("CPU {}{}", cpu.id, threads(plan, cpu.id));
            branch(out, &twig, n + 1 == siblings.len(), &line)?;
        }
    }
    Ok(())
}

/// Writes one line of the tree and returns what stands before its children's.
fn branch(
    out: &mut String,
    before: &str,
    is_last: bool,
    line: &str,
) -> Result<String, std::fmt::Error> {
    let (corner, under) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    writeln!(out, "{before}{corner}{line}")?;
    Ok(format!("{before}{under}"))
}

fn summary(topology: &Topology) -> String {
    format!(
        "{}, {}, {}, {}",
        counted(topology.packages(), "package"),
        counted(topology.cores(), "core"),
        counted(topology.cpus.len(), "CPU"),
        counted(topology.domains(), "last-level cache"),
    )
}

fn package_line(topology: &Topology, cpus: &[&Cpu]) -> String {
    let mut line = format!("package {}", cpus[0].package);
    for node in topology.nodes.iter().filter(|node| cpus.iter().any(|cpu| cpu.node == node.id)) {
        let _ = write!(line, ", memory node {} with {}", node.id, size(node.bytes));
    }
    line
}

fn domain_line(topology: &Topology, cpus: &[&Cpu]) -> String {
    let serving = |cache: &&Cache| cache.level > 1 && cache.cpus.contains(&cpus[0].id);
    match topology.caches.iter().rev().find(serving) {
        Some(cache) => format!("L{} {}", cache.level, size(cache.bytes)),
        None => "cache unknown".to_owned(),
    }
}

/// The caches of `cpu`'s core alone, outermost first; the domain's own is drawn above it.
fn own_caches<'a>(topology: &'a Topology, cpu: &Cpu) -> Vec<&'a Cache> {
    let mut own: Vec<_> =
        topology.caches.iter().rev().filter(|cache| cache.cpus.contains(&cpu.id)).collect();
    if own.first().is_some_and(|cache| cache.level > 1) {
        own.remove(0);
    }
    own
}

fn caches(caches: &[&Cache]) -> String {
    let one = |cache: &&Cache| format!(", L{} {}", cache.level, size(cache.bytes));
    caches.iter().map(one).collect()
}

fn threads(plan: &Plan, cpu: CpuId) -> String {
    let here: Vec<_> = plan
        .placements()
        .filter(|(_, place)| *place == cpu)
        .map(|(thread, _)| thread.to_string())
        .collect();
    if here.is_empty() { String::new() } else { format!(": {}", here.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::machine;
    use super::*;
    use crate::host::plan::Demand;

    fn demand(replicas: usize, clients: usize) -> Demand {
        Demand { ordering: 1, replicas, groups: 1, worker_threads: 1, clients }
    }

    fn card() -> NetworkCard {
        NetworkCard {
            name: "eth0".into(),
            node: Some(0),
            speed_mbps: Some(1000),
            mtu: None,
            receive_queues: 8,
            interrupt_cpus: vec![CpuId(0), CpuId(1)],
        }
    }

    #[test]
    fn a_shared_machine_is_drawn_with_its_threads() {
        let topology = machine(1, 2, 1);
        let demand = demand(2, 1);
        let drawn = render(&topology, &[card()], &Plan::new(&topology, demand));
        let expected = "\
1 package, 2 cores, 2 CPUs, 1 last-level cache
└─ package 0
   └─ L3 32 MiB
      ├─ core 0
      │  └─ CPU 0: ordering 0, replica 0 worker 0
      └─ core 1
         └─ CPU 1: replica 1 worker 0, clients 0
network card eth0, 1000 Mbit/s, 8 receive queues, memory node 0, interrupts CPU 0,1
4 threads share 2 CPUs: they yield and park, never spin
so `psmr bench run` ties none to the CPU drawn here unless told --pin plan
";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn siblings_are_drawn_under_their_core() {
        let topology = machine(2, 1, 2);
        let demand = demand(1, 0);
        let drawn = render(&topology, &[], &Plan::new(&topology, demand));
        assert!(drawn.contains("core 1\n         ├─ CPU 1"), "{drawn}");
        let last = "every thread has a CPU of its own: `psmr bench run` ties it there";
        assert!(drawn.lines().last().is_some_and(|line| line.starts_with(last)), "{drawn}");
    }
}
