//! The settings of a worker. All of them but `me` and `replica` must be equal at every replica:
//! they decide what is executed, where, and in which session tables it is remembered.

use crate::types::{GroupId, ReplicaId, ReplicaSet};
use crate::wire::Room;
use std::time::Duration;

/// How often the workers of a set meet in synchronous mode (PROTOCOL 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Barrier {
    /// At every command: Algorithm 1 as the paper has it.
    #[default]
    Command,
    /// Once an instance, on the union of its commands' sets; one executor runs them in order.
    Instance,
}

/// Which worker of the set executes in synchronous mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Executor {
    /// Member number (synchronous epoch) modulo the size of the set: the work goes round.
    #[default]
    Rotate,
    /// The lowest: the paper's.
    Lowest,
}

/// Who multicasts a command again after a failed check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// The replicas (Algorithm 1).
    #[default]
    Replica,
    /// The client, which is told (what the paper measured).
    Client,
}

/// Who answers a command that changes state. A read is answered by whom the client names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyPolicy {
    /// The replica that the client names; the others keep the reply. All of them at attempt > 0.
    #[default]
    One,
    /// Every replica: the client takes the first response (Algorithm 1).
    All,
}

/// How much the session tables hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// The most sessions that are open at once; an opening beyond it is rejected.
    pub sessions: usize,
    /// W: the most sequences of a session without an answer. A power of two.
    pub window: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { sessions: 1024, window: 256 }
    }
}

/// The settings of one worker of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// K: groups, and workers a replica. 1 is sequential state-machine replication.
    pub groups: usize,
    /// The worker's own group.
    pub me: GroupId,
    /// The worker's replica.
    pub replica: ReplicaId,
    /// The replicas that there are.
    pub replicas: ReplicaSet,
    /// How often workers meet.
    pub barrier: Barrier,
    /// Who executes in synchronous mode.
    pub executor: Executor,
    /// Who sends a command again after a failed check.
    pub retry: Retry,
    /// Who answers.
    pub reply: ReplyPolicy,
    /// The epoch of the partition map, modulo 2^16: commands of another epoch are not executed.
    pub map_epoch: u16,
    /// After this a replica multicasts a failed command that is another replica's to send.
    pub retry_delay: Duration,
    /// After this a replica multicasts a failed command once more that it has not delivered yet; it
    /// doubles each time, five times at most.
    pub retry_interval: Duration,
    /// The most commands that wait for their conservative copy; beyond it the client's next attempt
    /// is what sends them again.
    pub retries: usize,
    /// The most bytes of a command that travels as chunks.
    pub command_limit: usize,
    /// Pieces of the service's state that are swept before each value while a checkpoint is made: a
    /// few microseconds.
    pub sweep: usize,
    /// How many chunked commands of one ring may be incomplete at once; others come again later.
    pub assemblies: usize,
    /// How much a datagram holds.
    pub room: Room,
}

impl WorkerConfig {
    /// The defaults for worker `me` of `groups` of replica `replica` of the first `replicas`.
    #[must_use]
    pub const fn new(groups: usize, me: GroupId, replica: ReplicaId, replicas: usize) -> Self {
        Self {
            groups,
            me,
            replica,
            replicas: ReplicaSet::first(replicas),
            barrier: Barrier::Command,
            executor: Executor::Rotate,
            retry: Retry::Replica,
            reply: ReplyPolicy::One,
            map_epoch: 0,
            retry_delay: Duration::from_millis(50),
            retry_interval: Duration::from_millis(20),
            retries: 4096,
            command_limit: 1 << 20,
            sweep: 8,
            assemblies: 8,
            room: Room::MOST,
        }
    }

    pub(super) fn check(&self) {
        assert!(self.me.index() < self.groups, "a worker's group is one of the groups");
        assert!(self.replicas.contains(self.replica), "a replica is one of the replicas");
        assert!(self.assemblies > 0 && self.command_limit <= 1 << 24);
    }
}
