//! What a rendezvous of synchronous mode costs: two workers of a replica, rotating executors, no
//! execution.
//!
//! `cargo bench --bench rendezvous`. Rows: workers that own their cores and spin; two replicas whose
//! four workers share two cores and yield or park, a replica's workers on one core or on two. The
//! figure for shared cores is what a saturated cluster pays: wall time over the rendezvous of both
//! replicas.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use psmr::host::affinity::{CpuId, allowed_cpus};
use psmr::host::clock;
use psmr::host::threads::Team;
use psmr::sync::{CoreUse, Rendezvous, Wait, WaitPolicy, Waiter, Waker};
use psmr::types::{GroupId, GroupSet, Time};
use std::sync::Arc;
use std::sync::Barrier;

/// One row of the table.
struct Row {
    name: &'static str,
    /// CPU index of each worker, replica by replica.
    cpus: &'static [[usize; 2]],
    policy: WaitPolicy,
    core: CoreUse,
    rounds: u64,
}

const ROWS: [Row; 6] = [
    Row {
        name: "1 replica, own cores, spin",
        cpus: &[[0, 1]],
        policy: WaitPolicy::Spin,
        core: CoreUse::Own,
        rounds: 1_000_000,
    },
    Row {
        name: "1 replica, one shared core, yield",
        cpus: &[[0, 0]],
        policy: WaitPolicy::Yield,
        core: CoreUse::Shared,
        rounds: 200_000,
    },
    Row {
        name: "2 replicas, one core each, yield",
        cpus: &[[0, 0], [1, 1]],
        policy: WaitPolicy::Yield,
        core: CoreUse::Shared,
        rounds: 200_000,
    },
    Row {
        name: "2 replicas, one core each, park",
        cpus: &[[0, 0], [1, 1]],
        policy: WaitPolicy::Park,
        core: CoreUse::Shared,
        rounds: 200_000,
    },
    Row {
        name: "2 replicas over two cores, yield",
        cpus: &[[0, 1], [1, 0]],
        policy: WaitPolicy::Yield,
        core: CoreUse::Shared,
        rounds: 200_000,
    },
    Row {
        name: "2 replicas over two cores, park",
        cpus: &[[0, 1], [1, 0]],
        policy: WaitPolicy::Park,
        core: CoreUse::Shared,
        rounds: 200_000,
    },
];

fn main() {
    let cpus = allowed_cpus();
    println!("{:<36} {:>12} {:>12}", "rendezvous, K = 2", "ns a round", "worst of 5");
    for row in &ROWS {
        if row.cpus.iter().flatten().any(|&cpu| cpu >= cpus.len()) {
            println!("{:<36} needs 2 cores, this process has {}", row.name, cpus.len());
            continue;
        }
        let mut samples: Vec<_> = (0..5).map(|_| measure(row, &cpus)).collect();
        samples.sort_unstable();
        println!("{:<36} {:>12} {:>12}", row.name, samples[2], samples[4]);
    }
}

/// Nanoseconds of wall time a rendezvous, each replica's counted.
fn measure(row: &Row, cpus: &[CpuId]) -> u64 {
    let threads = row.cpus.len() * 2;
    let start = Arc::new(Barrier::new(threads));
    let mut team = Team::new(cpus.to_vec());
    for (replica, workers) in row.cpus.iter().enumerate() {
        let rendezvous = Arc::new(Rendezvous::new(2));
        for (me, &cpu) in workers.iter().enumerate() {
            let (rendezvous, start) = (Arc::clone(&rendezvous), Arc::clone(&start));
            let (rounds, waiter) = (row.rounds, Waiter::new(row.policy, row.core));
            let name = format!("worker {replica}.{me}");
            let body = move || work(&rendezvous, &start, GroupId::new(me), rounds, waiter);
            team.spawn(&name, Some(cpus[cpu]), body).expect("the CPU is allowed");
        }
    }
    let spans: Vec<_> =
        team.join().into_iter().map(|ended| ended.result.expect("no worker panics")).collect();
    let start = spans.iter().map(|span| span.0).min().expect("there are workers");
    let end = spans.iter().map(|span| span.1).max().expect("there are workers");
    let rendezvous = row.rounds * row.cpus.len() as u64;
    u64::try_from(end.since(start).as_nanos()).unwrap_or(u64::MAX) / rendezvous
}

fn work(
    rendezvous: &Rendezvous,
    start: &Barrier,
    own: GroupId,
    rounds: u64,
    mut waiter: Waiter,
) -> (Time, Time) {
    let set = GroupSet::all(2);
    let waker = Waker::of_current_thread();
    rendezvous.attach(own, waker.clone());
    start.wait();
    let begin = clock::now();
    for epoch in 0..rounds {
        let executor = set.member(epoch);
        rendezvous.arrive(own, executor, epoch);
        if executor == own {
            until(&waker, &mut waiter, || rendezvous.have_arrived(set, epoch));
            rendezvous.release(own, set, epoch);
        } else {
            until(&waker, &mut waiter, || rendezvous.is_released(executor, epoch));
        }
    }
    (begin, clock::now())
}

/// What an agent loop does, reduced to one condition.
fn until(waker: &Waker, waiter: &mut Waiter, ready: impl Fn() -> bool) {
    if ready() {
        return;
    }
    loop {
        match waiter.on_idle(clock::now(), None) {
            Wait::Spin => std::hint::spin_loop(),
            Wait::Yield => std::thread::yield_now(),
            Wait::Park(timeout) => {
                waker.announce();
                if !ready() {
                    waker.park(timeout);
                }
                waker.retract();
            }
        }
        if ready() {
            waiter.on_work(clock::now());
            return;
        }
    }
}
