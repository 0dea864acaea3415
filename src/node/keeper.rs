//! Keeps a replica's last complete checkpoint in its directory, by a thread of its own: the workers
//! never wait for the disk.

use super::config::ClusterError;
use crate::replica::{Checkpoint, Checkpoints, Shared};
use crate::service::Optimistic;
use crate::storage::CheckpointFile;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(5);

/// Takes up the checkpoint of a former life, if there is a sound one, before the workers run. The
/// acceptors' logs hold `log` instances.
pub(super) fn begin<S: Optimistic>(
    file: &CheckpointFile,
    shared: &Shared<S>,
    log: u64,
) -> Result<(), ClusterError> {
    shared.checkpoints().turn_on(true, log);
    // Without one, or with one that is damaged, it begins as a new replica does.
    let Some(bytes) = file.load()? else { return Ok(()) };
    let Ok(checkpoint) = Checkpoint::new(vec![bytes], shared.rendezvous().workers()) else {
        file.set_aside()?;
        return Ok(());
    };
    shared.restore(&checkpoint).map_err(ClusterError::Checkpoint)?;
    shared.checkpoints().publish(Arc::new(checkpoint));
    Ok(())
}

/// Writes each complete checkpoint until `stop`. One that cannot be written is left, and the last one
/// stays.
pub(super) fn run(file: &CheckpointFile, checkpoints: &Checkpoints, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        match checkpoints.pending() {
            Some(pending) if file.save(pending.pieces()).is_ok() => checkpoints.confirm(&pending),
            Some(pending) => checkpoints.give_up(&pending),
            None => std::thread::park_timeout(LOOK),
        }
    }
}
