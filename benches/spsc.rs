//! What a hand-over between two threads costs through the SPSC queue, by batch.
//!
//! `cargo bench --bench spsc`. Two threads on two cores (on one if there is only one), 64-byte
//! values, both ends yielding when they have nothing to do.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use psmr::host::affinity::{CpuId, allowed_cpus};
use psmr::host::clock;
use psmr::host::threads::Team;
use psmr::sync::{Consumer, Producer, queue};
use psmr::types::Time;

const VALUES: u64 = 4_000_000;
type Value = [u64; 8];

fn main() {
    let cpus = allowed_cpus();
    println!("{:<36} {:>12} {:>12}", "spsc, 64-byte values", "ns a value", "worst of 5");
    for batch in [1, 8, 32, 128] {
        for (name, pair) in [("two cores", (0, cpus.len() - 1)), ("one core", (0, 0))] {
            let pair = (cpus[pair.0], cpus[pair.1]);
            let mut samples: Vec<_> = (0..5).map(|_| measure(batch, pair, &cpus)).collect();
            samples.sort_unstable_by(f64::total_cmp);
            let name = format!("batches of {batch}, {name}");
            println!("{name:<36} {:>12.1} {:>12.1}", samples[2], samples[4]);
        }
    }
}

/// Nanoseconds of wall time a value.
fn measure(batch: u64, (source, target): (CpuId, CpuId), cpus: &[CpuId]) -> f64 {
    let (producer, consumer) = queue::<Value>(1024);
    let mut team = Team::new(cpus.to_vec());
    team.spawn("source", Some(source), move || feed(producer, batch)).expect("allowed");
    team.spawn("target", Some(target), move || take(consumer, batch)).expect("allowed");
    let ends: Vec<_> =
        team.join().into_iter().map(|ended| ended.result.expect("no end panics")).collect();
    ends[1].since(ends[0]).as_secs_f64() * 1e9 / VALUES as f64
}

fn feed(mut producer: Producer<Value>, batch: u64) -> Time {
    let begin = clock::now();
    let mut next = 0;
    while next < VALUES {
        if producer.stage([next; 8]).is_err() {
            std::thread::yield_now();
            continue;
        }
        next += 1;
        if next % batch == 0 {
            producer.publish();
        }
    }
    begin
}

fn take(mut consumer: Consumer<Value>, batch: u64) -> Time {
    let limit = usize::try_from(batch).expect("a small number");
    let mut sum = 0_u64;
    while !consumer.is_finished() {
        if consumer.drain(limit, |value| sum += value[7]) == 0 {
            std::thread::yield_now();
        }
    }
    assert_eq!(sum, VALUES * (VALUES - 1) / 2);
    clock::now()
}
