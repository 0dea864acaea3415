//! Keeps a replica's last complete checkpoint in its directory, by a thread of its own: the workers
//! never wait for the disk.

use super::board::Board;
use super::config::ClusterError;
use super::observer::KeptFigures;
use crate::host::clock;
use crate::replica::{Checkpoint, Checkpoints, Shared};
use crate::service::Optimistic;
use crate::storage::{CheckpointFile, Fault};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(5);
/// How long it waits after a failure.
const RETRY: Duration = Duration::from_millis(250);
/// EIO, of an error that has no number.
const UNKNOWN: i32 = 5;

/// Takes up the checkpoint of a former life, if there is a sound one, before the workers run. The
/// acceptors' logs hold `log` instances.
pub(super) fn begin<S: Optimistic>(
    file: &CheckpointFile,
    shared: &Shared<S>,
    log: u64,
    board: &Board,
) -> Result<(), ClusterError> {
    shared.checkpoints().turn_on(true, log);
    // Without one, or with one that is damaged, it begins as a new replica does.
    let failed = |source| {
        let path = CheckpointFile::at(file.directory());
        ClusterError::CheckpointFile { path, source }
    };
    let Some(bytes) = file.load().map_err(failed)? else { return Ok(()) };
    let Ok(checkpoint) = Checkpoint::new(vec![bytes], shared.rendezvous().workers()) else {
        CheckpointFile::set_aside(file.directory(), Fault::Damaged).map_err(failed)?;
        board.publish_kept(&KeptFigures { damaged: 1, ..KeptFigures::default() });
        return Ok(());
    };
    shared.restore(&checkpoint).map_err(ClusterError::Checkpoint)?;
    shared.checkpoints().publish(Arc::new(checkpoint));
    Ok(())
}

/// Writes each complete checkpoint until `stop`. One that cannot be written is tried again, unless a
/// later one has taken its place; the last one stays meanwhile. To wait for the next instead could be to
/// wait for ever: its marker needs room in logs that forget nothing before a checkpoint is kept.
pub(super) fn run(
    file: &CheckpointFile,
    checkpoints: &Checkpoints,
    stop: &AtomicBool,
    board: &Board,
) {
    let mut figures = board.kept();
    while !stop.load(Ordering::Acquire) {
        let Some(pending) = checkpoints.pending() else {
            std::thread::park_timeout(LOOK);
            continue;
        };
        let begun = clock::now();
        let saved = file.save(pending.pieces());
        match &saved {
            Ok(()) => {
                let nanoseconds = clock::now().since(begun).as_nanos();
                figures.saves += 1;
                figures.nanoseconds = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
                figures.bytes = pending.length();
                checkpoints.confirm(&pending);
            }
            Err(_) => {
                figures.failures += 1;
            }
        }
        let has_failed = saved.is_err();
        figures.error = saved.err().as_ref().map_or(0, number);
        board.publish_kept(&figures);
        if has_failed && !stop.load(Ordering::Acquire) {
            std::thread::park_timeout(RETRY);
        }
    }
}

/// What the operating system calls an error.
fn number(error: &io::Error) -> u64 {
    u64::try_from(error.raw_os_error().unwrap_or(UNKNOWN)).unwrap_or_default()
}
