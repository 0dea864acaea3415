//! Clusters of real processes on hosts of their own, under faults that one seed names: nodes are
//! killed, paused and restarted, the network is cut and spoilt, disks forget, and what clients saw is
//! linearizable all the same. docs/TESTING.md says how to run it for longer.
//!
//! A program of its own, since it moves into namespaces before it does anything else; with
//! them goes all that it made.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "tests say how they went")]

#[path = "chaos/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "tests/failing_disk.rs uses the rest")]
#[path = "chaos/disk/mod.rs"]
mod disk;
#[path = "chaos/faults.rs"]
mod faults;
#[path = "chaos/forgetting.rs"]
mod forgetting;
#[path = "chaos/network.rs"]
mod network;
#[path = "chaos/operator.rs"]
mod operator;
#[path = "chaos/options.rs"]
mod options;
#[path = "chaos/sandbox.rs"]
mod sandbox;
#[path = "chaos/schedule.rs"]
mod schedule;
#[path = "chaos/switch.rs"]
mod switch;
#[path = "chaos/tap.rs"]
mod tap;
#[path = "chaos/verdict.rs"]
mod verdict;
#[path = "chaos/wiped.rs"]
mod wiped;

use disk::Disk;
use faults::Io;
use options::Options;
use psmr::host::program::COMMIT;
use psmr::transport::udp;
use schedule::{Durability, Round};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, panic};

/// The file whose lock says that a directory is in use.
const HELD: &str = "held";

/// One run of a test.
pub(crate) struct Trial {
    pub(crate) seed: u64,
    /// How long faults go on.
    pub(crate) seconds: f64,
    /// A directory of its own.
    pub(crate) directory: PathBuf,
    /// Time namespaces whose clocks differ.
    pub(crate) clocks: Vec<PathBuf>,
}

struct Test {
    name: &'static str,
    /// The share of `--minutes`, and the seconds without it.
    share: f64,
    seconds: f64,
    run: fn(&Trial),
}

const TESTS: [Test; 10] = [
    Test {
        name: "an_operator_runs_a_cluster_on_three_hosts",
        share: 0.0,
        seconds: 0.0,
        run: operator::run,
    },
    Test {
        name: "a_disk_forgets_what_was_not_flushed",
        share: 0.0,
        seconds: 0.0,
        run: forgetting::run,
    },
    Test {
        name: "a_cluster_that_remembers_in_memory_survives_faults",
        share: 0.4,
        seconds: 40.0,
        run: |trial| {
            faults::run(trial, (Durability::Memory, Io::draw(trial.seed)), |number| {
                Round::draw(trial.seed, number, Durability::Memory)
            });
        },
    },
    Test {
        name: "a_cluster_with_logs_survives_faults",
        share: 0.4,
        seconds: 40.0,
        run: |trial| {
            faults::run(trial, (Durability::Sync, Io::draw(trial.seed)), |number| {
                Round::draw(trial.seed, number, Durability::Sync)
            });
        },
    },
    Test {
        name: "nothing_acknowledged_is_lost_when_all_power_goes",
        share: 0.1,
        seconds: 15.0,
        run: |trial| {
            let draw = |number| Round::power_loss(trial.seed, number);
            faults::run(trial, (Durability::Sync, Io::Auto), draw);
        },
    },
    Test {
        name: "nothing_acknowledged_is_lost_with_all_power_where_plain_calls_write",
        share: 0.1,
        seconds: 15.0,
        run: |trial| {
            let draw = |number| Round::power_loss(trial.seed, number);
            faults::run(trial, (Durability::Sync, Io::Socket), draw);
        },
    },
    Test {
        name: "an_acceptor_whose_disk_was_wiped_has_no_vote",
        share: 0.0,
        seconds: 0.0,
        run: |trial| wiped::run(trial, wiped::Disk::Wiped),
    },
    Test {
        name: "an_acceptor_whose_disk_was_rolled_back_to_an_earlier_life_has_no_vote",
        share: 0.0,
        seconds: 0.0,
        run: |trial| wiped::run(trial, wiped::Disk::OldLife),
    },
    Test {
        name: "an_acceptor_whose_disk_was_rolled_back_within_its_life_has_no_vote",
        share: 0.0,
        seconds: 0.0,
        run: |trial| wiped::run(trial, wiped::Disk::SameLife),
    },
    Test {
        name: "disks_that_lie_about_flushes_are_found_out",
        share: 0.0,
        seconds: 1.0,
        run: faults::lie,
    },
];

fn main() -> ExitCode {
    let options = match Options::read(env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<&Test> = TESTS.iter().filter(|test| options.has(test.name)).collect();
    if options.is_list {
        chosen.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    if !sandbox::is_inside() {
        let refusal = udp::Sockets::bind(&udp::Config::default()).err();
        let reason = refusal.map_or_else(sandbox::enter, |error| error.to_string());
        return skip(&reason, &options);
    }
    sandbox::settle().expect("namespaces of our own take what the probe's took");
    if let Err(error) = Disk::mount(Path::new("/run/disk"), 0) {
        return skip(&format!("no disks of one's own: {error}"), &options);
    }
    let clocks = sandbox::clocks();
    if clocks.is_empty() {
        say("no time namespaces here: all nodes have the same monotonic clock");
    }
    let failed = chosen.iter().filter(|test| !passes(test, &options, &clocks)).count();
    println!("{} tests, {failed} failed", chosen.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What cannot run here is no failure, unless somebody asked for it by name or length.
fn skip(reason: &str, options: &Options) -> ExitCode {
    println!("skipped: {reason}");
    let is_asked_for = options.minutes.is_some() || !options.filters.is_empty();
    if is_asked_for { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs a test in a directory of its own, which stays if it fails.
fn passes(test: &Test, options: &Options, clocks: &[PathBuf]) -> bool {
    let Test { name, share, seconds, run } = test;
    let asked = options.minutes.filter(|_| *share > 0.0);
    let seconds = asked.map_or(*seconds, |minutes| minutes * 60.0 * share);
    let (directory, lock) = directory();
    let trial =
        Trial { seed: options.seed, seconds, directory: directory.clone(), clocks: clocks.into() };
    say(&format!("{name}, seed {}, {seconds:.0} s", options.seed));
    let result = panic::catch_unwind(|| run(&trial));
    let is_well = result.is_ok();
    println!("test {name} ... {}", if is_well { "ok" } else { "FAILED" });
    if is_well {
        let _ = fs::remove_dir_all(directory);
        return true;
    }
    // It stays until somebody has looked at it.
    let _ = fs::remove_file(directory.join(HELD));
    drop(lock);
    println!(
        "kept: {}\ncommit: {COMMIT}\nreplay: cargo test --test chaos -- {name} --seed {}{}",
        directory.display(),
        options.seed,
        asked.map_or(String::new(), |minutes| format!(" --minutes {minutes}"))
    );
    false
}

/// A new directory, held by a lock. Those whose holders were killed are taken away.
fn directory() -> (PathBuf, fs::File) {
    let root = env::temp_dir();
    let path = |number: &u32| root.join(format!("psmr-chaos-{number}"));
    for number in 0..1000 {
        let left = fs::File::open(path(&number).join(HELD));
        if left.is_ok_and(|left| left.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(path(&number));
        }
    }
    let fresh = (0..1000).find(|number| fs::create_dir(path(number)).is_ok());
    let directory = path(&fresh.expect("a directory for temporary files"));
    let lock = fs::File::create(directory.join(HELD)).expect("just made");
    lock.try_lock().expect("nobody else knows of it");
    (directory, lock)
}

/// Tells whoever watches.
pub(crate) fn say(text: &str) {
    eprintln!("chaos: {text}");
}
