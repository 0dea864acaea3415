//! What a worker counts. Sums over the workers of a replica; never part of replicated state.

use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// What a worker has counted since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct WorkerCounters {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl AddAssign for WorkerCounters {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
    /// Commands executed that may change state.
    executed,
    /// Reads executed.
    reads,
    /// Reads left to the replica that the client named.
    reads_elsewhere,
    /// Safety checks passed.
    checks_passed,
    /// Safety checks failed for structure.
    failed_structure,
    /// Safety checks failed for bounds.
    failed_bounds,
    /// Rendezvous of which this worker was the executor.
    barriers,
    /// Commands executed in synchronous mode.
    barrier_commands,
    /// Rendezvous that this worker took part in.
    meetings,
    /// Nanoseconds between coming to a rendezvous and being allowed to go on, executor or not.
    wait_ns,
    /// Copies of a command that had been executed, or had failed its check, before.
    duplicates,
    /// Commands multicast again conservatively.
    retries,
    /// Failed commands left to the client's next attempt, for want of room.
    retries_dropped,
    /// Commands rejected: malformed, misrouted, beyond the window, above a limit.
    rejected,
    /// Commands of another map epoch.
    wrong_epoch,
    /// Commands of sessions that are not open.
    no_session,
    /// Commands whose reply the client had said to have.
    forgotten,
    /// Bytes at the end of a batch that are no command.
    malformed,
    /// Application messages delivered.
    messages,
    /// Chunked commands joined.
    joined,
    /// Control commands applied.
    controls,
    /// Values delivered.
    values,
    /// Replies sent, parts of one counted as one.
    replies,
    /// Pieces of a checkpoint not sent, since their asker has had its share, or is no replica.
    pieces_refused,
}
