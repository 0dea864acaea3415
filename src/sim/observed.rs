//! A service that tells what is executed: the real one behind a wrapper that changes nothing.
#![expect(clippy::disallowed_types, reason = "a service is shared; the simulator has one thread")]

use super::services::SimService;
use super::trace::hash_bytes;
use crate::service::{
    Access, Context, GroupMap, Lease, Optimistic, PartitionedService, RestoreError, Swept, Verdict,
};
use crate::types::{Digest, GroupId, GroupSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One execution of a command that may change state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Execution {
    pub(super) context: Context,
    /// A group whose state it may have changed. A command of several is noted once for each.
    pub(super) group: GroupId,
    /// Whether this is the first note of the command.
    pub(super) is_first: bool,
    /// The hash of the reply.
    pub(super) reply: u64,
}

/// The service of one replica, observed.
#[derive(Debug)]
pub(super) struct Observed<S> {
    service: S,
    executions: Mutex<Vec<Execution>>,
}

impl<S: PartitionedService> Observed<S> {
    pub(super) fn new(service: S) -> Self {
        Self { service, executions: Mutex::default() }
    }

    /// The real one.
    pub(super) const fn service(&self) -> &S {
        &self.service
    }

    /// What was executed since the last call.
    pub(super) fn drain(&self, mut sink: impl FnMut(Execution)) {
        self.executions().drain(..).for_each(&mut sink);
    }

    /// Notes a command once for each group whose state it may have changed.
    fn note(&self, access: Access, context: &Context, command: &[u8], reply: &[u8]) {
        if self.service.is_read(command) {
            return;
        }
        let groups = match access {
            Access::Keys(group) => GroupSet::one(group),
            Access::Groups(groups) => groups,
            Access::Whole => GroupSet::all(self.service.groups()),
        };
        let reply = hash_bytes(reply);
        let mut executions = self.executions();
        for group in groups.iter() {
            let is_first = Some(group) == groups.lowest();
            executions.push(Execution { context: *context, group, is_first, reply });
        }
    }

    fn executions(&self) -> MutexGuard<'_, Vec<Execution>> {
        self.executions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: PartitionedService> PartitionedService for Observed<S> {
    const MAX_WRITE_REPLY: usize = S::MAX_WRITE_REPLY;

    fn execute(
        &self,
        lease: &mut Lease<'_>,
        context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) {
        let start = reply.len();
        self.service.execute(lease, context, command, reply);
        self.note(lease.access(), context, command, &reply[start..]);
    }

    fn warm(&self, commands: &[&[u8]]) {
        self.service.warm(commands);
    }

    fn digest(&self, lease: &mut Lease<'_>) -> Digest {
        self.service.digest(lease)
    }

    fn cut(&self, lease: &mut Lease<'_>) {
        self.service.cut(lease);
    }

    fn sweep(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        budget: usize,
        sink: &mut Vec<u8>,
    ) -> Swept {
        self.service.sweep(lease, group, budget, sink)
    }

    fn restore(&self, lease: &mut Lease<'_>, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.service.restore(lease, snapshot)
    }
}

impl<S: SimService> Optimistic for Observed<S> {
    fn try_execute(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let start = reply.len();
        let mut whole = Lease::mint(Access::Whole);
        let before = S::UNDOES.then(|| self.service.digest(&mut whole));
        let verdict = self.service.try_execute(lease, group, context, command, reply);
        if verdict == Verdict::Pass {
            self.note(lease.access(), context, command, &reply[start..]);
        } else if let Some(before) = before {
            let after = self.service.digest(&mut whole);
            assert_eq!(before, after, "a failed attempt leaves the state as it was");
        }
        verdict
    }
}

impl<S: GroupMap> GroupMap for Observed<S> {
    fn groups(&self) -> usize {
        self.service.groups()
    }

    fn conservative(&self, command: &[u8]) -> GroupSet {
        self.service.conservative(command)
    }

    fn optimistic(&self, command: &[u8]) -> GroupSet {
        self.service.optimistic(command)
    }

    fn is_read(&self, command: &[u8]) -> bool {
        self.service.is_read(command)
    }
}
