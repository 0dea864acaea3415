//! Many seeds on several threads, told in the order of the seeds: a run shares nothing with another.

use super::{Lines, Options, Run, run_seed};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::mpsc;
use std::thread;

/// Runs of one thread that may wait for their turn: a trace can take megabytes.
const AHEAD: usize = 32;

/// Runs `seeds`, `jobs` at once, and hands each run to `tell` in the order of its seed.
///
/// The threads take seeds in turns, so the next run to tell always comes from a known thread, and
/// one that is far ahead of the others waits.
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
    thread::scope(|scope| {
        let begin = |job| {
            let (sender, receiver) = mpsc::sync_channel(AHEAD);
            let mine = seeds.clone().skip(job).step_by(jobs.get());
            scope.spawn(move || {
                for seed in mine {
                    if sender.send(run_seed(seed, options, lines)).is_err() {
                        break;
                    }
                }
            });
            receiver
        };
        // Dropped with an error of `tell`: then no thread begins another seed.
        let receivers: Vec<_> = (0..jobs.get()).map(begin).collect();
        for (_, receiver) in seeds.clone().zip(receivers.iter().cycle()) {
            let Ok(run) = receiver.recv() else { break }; // a panic, which the scope passes on
            tell(run)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_told_in_the_order_of_their_seeds_until_telling_fails() {
        let options = Options { commands: Some(4), ..Options::default() };
        let jobs = NonZeroUsize::new(3).unwrap();
        let mut told = Vec::new();
        let end = run_seeds(7..=u64::MAX, jobs, &options, Lines::Hashed, |run| {
            told.push(run.seed);
            if told.len() < 8 { Ok(()) } else { Err("enough") }
        });
        assert_eq!((end, told), (Err("enough"), (7..15).collect()));
    }
}
