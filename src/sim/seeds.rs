//! Many seeds on several threads, told in the order of the seeds: a run shares nothing with another.

use super::{Lines, Options, Run, run_seed};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

/// Runs `seeds`, `jobs` at once, and hands each run to `tell` in the order of its seed.
///
/// # Errors
/// The first error of `tell`, after which no other seed begins.
pub fn run_seeds<E>(
    seeds: RangeInclusive<u64>,
    jobs: NonZeroUsize,
    options: &Options,
    lines: Lines,
    mut tell: impl FnMut(Run) -> Result<(), E>,
) -> Result<(), E> {
    // Counted from the first: what follows the greatest number is no seed.
    let (first, next) = (*seeds.start(), AtomicU64::new(0));
    let Some(last) = seeds.end().checked_sub(first) else { return Ok(()) };
    // Runs that are over before their turn wait in `early`.
    let (sender, receiver) = mpsc::sync_channel(jobs.get());
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number > last {
                        break;
                    }
                    if sender.send(run_seed(first + number, options, lines)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        // Dropped with an error of `tell`: then no thread begins another seed.
        for run in receiver {
            early.insert(run.seed - first, run);
            while let Some(run) = early.remove(&due) {
                due += 1;
                tell(run)?;
            }
        }
        Ok(())
    })
}
