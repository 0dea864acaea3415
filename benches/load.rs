//! What a load generator adds to a command: the draw, the record of its latency, and both with all
//! bookkeeping. It shares the cores with the cluster that it measures.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use psmr::bench::{Distribution, Generator, Histogram, Service, Settings, Window, Workload};
use psmr::node::Load;
use psmr::proxy::{Completion, Outcome};
use psmr::types::{Random, Sequence, SessionId, Time};
use std::sync::Arc;
use std::time::Duration;

const COMMANDS: u64 = 1_000;
/// Service, share of dependent commands, distribution.
const LOADS: [(Service, f64, &str); 4] = [
    (Service::Null, 0.0, "uniform"),
    (Service::Btree, 0.0, "uniform"),
    (Service::Btree, 50.0, "uniform"),
    (Service::Btree, 0.0, "zipf:0.99"),
];

fn main() {
    divan::main();
}

fn settings(load: usize) -> Settings {
    let (service, dependent, distribution) = LOADS[load];
    let distribution: Distribution = distribution.parse().expect("one of ours");
    let (keys, key_space) = (10_000_000, 20_000_000);
    let dependent = Some(dependent);
    Settings { service, keys, key_space, distribution, dependent, ..Settings::default() }
}

#[divan::bench(args = 0..LOADS.len())]
fn draw_a_command(bencher: Bencher<'_, '_>, load: usize) {
    let mut workload = Workload::new(&settings(load), 0);
    let mut command = Vec::with_capacity(64);
    bencher.counter(ItemsCount::new(COMMANDS)).bench_local(|| {
        for _ in 0..COMMANDS {
            command.clear();
            black_box(workload.next(&mut command));
        }
    });
}

#[divan::bench]
fn record_a_latency(bencher: Bencher<'_, '_>) {
    let mut histogram = Histogram::default();
    let mut random = Random::new(1);
    let values: Vec<u64> = (0..COMMANDS).map(|_| 50_000 + random.below(1_000_000)).collect();
    bencher.counter(ItemsCount::new(COMMANDS)).bench_local(|| {
        for value in &values {
            histogram.record(*value);
        }
    });
}

#[divan::bench(args = 0..LOADS.len())]
fn issue_and_complete(bencher: Bencher<'_, '_>, load: usize) {
    let window = Arc::new(Window::new(Duration::ZERO, Duration::from_secs(1_000_000)));
    let mut generator = Generator::new(&settings(load), 0, (8, 1024), window, None);
    let mut command = Vec::with_capacity(64);
    let mut now = Time(1);
    let reply: &[u8] = if LOADS[load].0 == Service::Null { &[0; 8] } else { &[2] };
    bencher.counter(ItemsCount::new(COMMANDS)).bench_local(|| {
        for _ in 0..COMMANDS {
            command.clear();
            let submission = generator.next(now, &mut command).expect("a free token");
            let (session, sequence) = (SessionId(1), Sequence(1));
            let (outcome, payload, submitted) = (Outcome::Done, reply, now);
            let tag = submission.tag;
            now.0 += 1_000;
            let done = Completion { tag, session, sequence, outcome, payload, submitted, flags: 0 };
            generator.on_completion(now, &done);
        }
    });
}
