//! Which thread runs where.
//!
//! With a CPU for each thread: the workers of a replica on one last-level cache (a rendezvous hands
//! lines over), the ordering threads beside each other (coordinator and first acceptor talk most),
//! clients on what is left, the first CPU last because interrupts prefer it. With fewer CPUs than
//! threads they share, replica by replica: a replica's workers stay on as few CPUs as its share,
//! since a rendezvous by yielding on one core costs half of one across two busy cores
//! (docs/adr/0002), and the load of the replicas is level.

use super::affinity::CpuId;
use super::topology::{Cpu, Topology};
use crate::sync::{CoreUse, WaitPolicy};
use std::fmt;
use thiserror::Error;

/// How many threads of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Threads with the coordinators and acceptors of rings.
    pub ordering: usize,
    /// Replicas in this process.
    pub replicas: usize,
    /// Groups: workers of each replica.
    pub groups: usize,
    /// Threads that run the workers of a replica: worker i is on thread i modulo this.
    pub worker_threads: usize,
    /// Client threads.
    pub clients: usize,
}

impl Demand {
    /// How many threads that makes.
    #[must_use]
    pub const fn threads(&self) -> usize {
        self.ordering + self.replicas * self.worker_threads + self.clients
    }

    /// The threads in the order in which a cluster starts them: ordering, workers replica by
    /// replica, clients.
    fn each(&self) -> impl Iterator<Item = ThreadKind> + use<> {
        let Self { ordering, replicas, groups, worker_threads, clients } = *self;
        let worker = move |n: usize| ThreadKind::Workers {
            replica: n / worker_threads,
            thread: n % worker_threads,
            threads: worker_threads,
            groups,
        };
        (0..ordering)
            .map(ThreadKind::Ordering)
            .chain((0..replicas * worker_threads).map(worker))
            .chain((0..clients).map(ThreadKind::Client))
    }
}

/// A thread by its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ThreadKind {
    /// Coordinators and acceptors.
    Ordering(usize),
    /// Workers of a replica.
    Workers {
        /// The replica.
        replica: usize,
        /// Which of the threads that run its workers.
        thread: usize,
        /// How many there are: they take the workers in turn.
        threads: usize,
        /// How many workers it has.
        groups: usize,
    },
    /// Clients.
    Client(usize),
}

impl fmt::Display for ThreadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ordering(n) => write!(f, "ordering {n}"),
            Self::Workers { replica, thread, threads, groups } => {
                let workers: Vec<_> =
                    (thread..groups).step_by(threads).map(|worker| worker.to_string()).collect();
                let plural = if workers.len() == 1 { "" } else { "s" };
                write!(f, "replica {replica} worker{plural} {}", workers.join(","))
            }
            Self::Client(n) => write!(f, "clients {n}"),
        }
    }
}

/// A CPU for each thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    demand: Demand,
    /// In the order of [`Demand::each`].
    cpus: Vec<CpuId>,
    core_use: CoreUse,
    available: usize,
}

/// Spinning was asked for where threads would keep each other from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "--wait spin needs a CPU a thread: {threads} threads, {cpus} CPUs; say --wait park, or fewer \
     threads"
)]
pub struct SpinRefused {
    /// Threads.
    pub threads: usize,
    /// CPUs that this process may use.
    pub cpus: usize,
}

impl Plan {
    /// Places `demand` on `topology`.
    ///
    /// # Panics
    /// If the topology has no CPU.
    #[must_use]
    pub fn new(topology: &Topology, demand: Demand) -> Self {
        let available = topology.cpus.len();
        assert!(available > 0, "a process runs on some CPU");
        let (cpus, core_use) = if demand.threads() <= available {
            (place_apart(topology, demand), CoreUse::Own)
        } else {
            (place_shared(topology, demand), CoreUse::Shared)
        };
        assert_eq!(cpus.len(), demand.threads());
        Self { demand, cpus, core_use, available }
    }

    /// The CPU of each thread, in the order in which a cluster starts them: ordering, workers
    /// replica by replica, clients.
    #[must_use]
    pub fn cpus(&self) -> &[CpuId] {
        &self.cpus
    }

    /// Each thread and its CPU, in that order.
    pub fn placements(&self) -> impl Iterator<Item = (ThreadKind, CpuId)> {
        self.demand.each().zip(self.cpus.iter().copied())
    }

    /// Whether every thread has its CPU for itself.
    #[must_use]
    pub const fn core_use(&self) -> CoreUse {
        self.core_use
    }

    /// `policy`, if the plan can bear it.
    ///
    /// # Errors
    /// If it is to spin and threads share CPUs.
    pub const fn wait(&self, policy: WaitPolicy) -> Result<WaitPolicy, SpinRefused> {
        match (policy, self.core_use) {
            (WaitPolicy::Spin, CoreUse::Shared) => {
                Err(SpinRefused { threads: self.cpus.len(), cpus: self.available })
            }
            _ => Ok(policy),
        }
    }

    /// What whoever starts the threads should tell the user, once.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let (threads, cpus) = (self.cpus.len(), self.available);
        (self.core_use == CoreUse::Shared).then(|| {
            let cpus = if cpus == 1 { "1 CPU".to_owned() } else { format!("{cpus} CPUs") };
            format!("{threads} threads share {cpus}: they yield and park, never spin")
        })
    }
}

/// A CPU each. Every core's first CPU is taken before any second one.
fn place_apart(topology: &Topology, demand: Demand) -> Vec<CpuId> {
    let mut free = Free::new(topology, demand.threads());
    // The workers first: they are the ones that must be close to each other.
    let replicas: Vec<_> =
        (0..demand.replicas).flat_map(|_| free.take_together(demand.worker_threads)).collect();
    let mut cpus = free.take_together(demand.ordering);
    cpus.extend(replicas);
    cpus.extend(free.take_together(demand.clients));
    cpus
}

/// CPUs that are not taken, a list for each last-level cache.
struct Free {
    domains: Vec<Vec<CpuId>>,
}

impl Free {
    /// The `wanted` best CPUs of the machine.
    fn new(topology: &Topology, wanted: usize) -> Self {
        let mut cpus = cores_first(topology);
        // The first CPU gets the interrupts: it is used last.
        cpus.rotate_left(1);
        let firsts = topology.cores();
        if wanted <= firsts {
            // Without SMT siblings: two busy threads of ours never share a core. The rotation took
            // the first CPU behind the siblings; it stays in as the last of the firsts.
            let first = cpus.pop();
            cpus.truncate(firsts - 1);
            cpus.extend(first);
        }
        let mut domains = vec![Vec::new(); topology.domains()];
        for cpu in cpus {
            domains[cpu.domain].push(cpu.id);
        }
        Self { domains }
    }

    /// `count` CPUs of one domain if any has them, otherwise of as few as possible.
    fn take_together(&mut self, count: usize) -> Vec<CpuId> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            // The domain with most left; of several the first.
            let domain = self.domains.iter_mut().rev().max_by_key(|domain| domain.len());
            let domain = domain.expect("a machine has a cache domain");
            assert!(!domain.is_empty(), "there is a CPU for each thread");
            let some = domain.len().min(count - taken.len());
            taken.extend(domain.drain(..some));
        }
        taken
    }
}

/// Replicas get level shares of the CPUs, side by side; other threads go where there are fewest.
fn place_shared(topology: &Topology, demand: Demand) -> Vec<CpuId> {
    let mut ordered: Vec<_> = topology.cpus.iter().collect();
    ordered.sort_by_key(|cpu| (cpu.domain, cpu.core, cpu.id));
    let count = ordered.len();
    let mut load = vec![0_usize; count];
    let mut workers = Vec::with_capacity(demand.replicas * demand.worker_threads);
    for replica in 0..demand.replicas {
        let share = if demand.replicas < count {
            replica * count / demand.replicas..(replica + 1) * count / demand.replicas
        } else {
            replica % count..replica % count + 1
        };
        for worker in 0..demand.worker_threads {
            let place = share.start + worker % share.len();
            load[place] += 1;
            workers.push(ordered[place].id);
        }
    }
    let mut lightest = || {
        let place = (0..count).min_by_key(|&place| load[place]).expect("there is a CPU");
        load[place] += 1;
        ordered[place].id
    };
    let mut cpus: Vec<_> = (0..demand.ordering).map(|_| lightest()).collect();
    cpus.extend(workers);
    cpus.extend((0..demand.clients).map(|_| lightest()));
    cpus
}

/// CPUs with every core's first before any core's second, cache domains side by side.
fn cores_first(topology: &Topology) -> Vec<Cpu> {
    let rank = |cpu: &Cpu| {
        let siblings = topology.cpus.iter().filter(|other| other.core == cpu.core);
        siblings.filter(|other| other.id < cpu.id).count()
    };
    let mut cpus = topology.cpus.clone();
    cpus.sort_by_key(|cpu| (rank(cpu), cpu.domain, cpu.core, cpu.id));
    cpus
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::machine;
    use super::*;

    fn demand(ordering: usize, replicas: usize, workers: usize, clients: usize) -> Demand {
        Demand { ordering, replicas, groups: workers, worker_threads: workers, clients }
    }

    fn domain_of(topology: &Topology, id: CpuId) -> usize {
        topology.cpus.iter().find(|cpu| cpu.id == id).unwrap().domain
    }

    #[test]
    fn with_enough_cores_each_thread_has_one_and_a_replica_one_cache() {
        let topology = machine(2, 8, 2);
        let plan = Plan::new(&topology, demand(2, 2, 4, 2));
        assert_eq!((plan.core_use(), plan.note()), (CoreUse::Own, None));
        let mut cores: Vec<_> = plan.cpus().iter().map(|cpu| cpu.0 % 16).collect();
        cores.sort_unstable();
        cores.dedup();
        assert_eq!(cores.len(), 12, "no two threads on one core");
        assert!(!plan.cpus().contains(&CpuId(0)), "the first CPU is left to interrupts");
        for replica in 0..2 {
            let workers = &plan.cpus()[2 + replica * 4..2 + (replica + 1) * 4];
            let domains: Vec<_> = workers.iter().map(|&id| domain_of(&topology, id)).collect();
            assert!(domains.iter().all(|&domain| domain == domains[0]), "{domains:?}");
        }
        let ordering: Vec<_> =
            plan.cpus()[..2].iter().map(|&id| domain_of(&topology, id)).collect();
        assert_eq!(ordering[0], ordering[1], "coordinator and first acceptor side by side");
    }

    #[test]
    fn exactly_as_many_threads_as_cpus_use_them_all_once() {
        for (topology, demand) in [
            (machine(1, 8, 1), demand(2, 2, 2, 2)),
            (machine(1, 4, 2), demand(2, 2, 2, 2)),
            (machine(2, 2, 2), demand(1, 1, 5, 2)),
            (machine(1, 1, 1), demand(0, 1, 1, 0)),
        ] {
            let plan = Plan::new(&topology, demand);
            let mut cpus = plan.cpus().to_vec();
            cpus.sort_unstable();
            let all: Vec<_> = topology.cpus.iter().map(|cpu| cpu.id).collect();
            assert_eq!((cpus, plan.core_use()), (all, CoreUse::Own));
        }
    }

    #[test]
    fn with_fewer_cores_a_replica_keeps_together_and_the_load_is_level() {
        let plan = Plan::new(&machine(1, 2, 1), demand(1, 2, 2, 1));
        let placed: Vec<_> =
            plan.placements().map(|(thread, cpu)| format!("{thread}: {cpu}")).collect();
        assert_eq!(
            placed,
            [
                "ordering 0: 0",
                "replica 0 worker 0: 0",
                "replica 0 worker 1: 0",
                "replica 1 worker 0: 1",
                "replica 1 worker 1: 1",
                "clients 0: 1",
            ]
        );
        let note = plan.note().unwrap();
        assert_eq!(note, "6 threads share 2 CPUs: they yield and park, never spin");
    }

    #[test]
    fn a_thread_is_named_by_all_workers_that_it_runs() {
        let demand = Demand { groups: 3, ..demand(0, 1, 2, 0) };
        let plan = Plan::new(&machine(1, 2, 1), demand);
        let names: Vec<_> = plan.placements().map(|(thread, _)| thread.to_string()).collect();
        assert_eq!(names, ["replica 0 workers 0,2", "replica 0 worker 1"]);
    }

    #[test]
    fn whatever_the_demand_no_cpu_has_many_more_threads_than_another() {
        for cpus in 1..9 {
            for replicas in 1..4 {
                for workers in 1..9 {
                    let plan = Plan::new(&machine(1, cpus, 1), demand(2, replicas, workers, 2));
                    let load = |id| plan.cpus().iter().filter(|&&cpu| cpu == CpuId(id)).count();
                    let cpus = u32::try_from(cpus).unwrap();
                    let loads: Vec<_> = (0..cpus).map(load).collect();
                    let spread = loads.iter().max().unwrap() - loads.iter().min().unwrap();
                    assert!(spread <= workers, "{replicas} x {workers} on {cpus}: {loads:?}");
                }
            }
        }
    }

    #[test]
    fn spinning_is_refused_where_threads_share() {
        let shared = Plan::new(&machine(1, 2, 1), demand(1, 2, 2, 1));
        let refused = shared.wait(WaitPolicy::Spin).unwrap_err();
        assert!(refused.to_string().starts_with("--wait spin needs a CPU a thread: 6 threads, 2"));
        assert_eq!(shared.wait(WaitPolicy::Park), Ok(WaitPolicy::Park));
        let apart = Plan::new(&machine(1, 8, 1), demand(1, 2, 2, 1));
        assert_eq!(apart.wait(WaitPolicy::Spin), Ok(WaitPolicy::Spin));
    }
}
