//! All checkers of one run, and who tells them what.

use super::checkers::{AtMostOnce, Digests, Executions, Operation, Order, check_history};
use super::client::{Client, Ended};
use super::cluster::{Cluster, Replica};
use super::host::{Host, Roles, Status};
use super::plan::Plan;
use super::post::Office;
use super::replica::Batch;
use super::services::SimService;
use crate::multi_ring::RingPosition;
use crate::replica::Checkpoint;
use crate::service::{Access, Lease, PartitionedService};
use crate::types::{GroupId, Instance, RingId};
use std::fmt::Write;

/// The checkers of one run; agreement is at the tap.
#[derive(Debug)]
pub(super) struct Checks {
    groups: usize,
    order: Order,
    digests: Digests,
    once: AtMostOnce,
    executions: Executions,
    history: Vec<Operation>,
    /// Commands that clients hold the answers of.
    done: u64,
    has_rested: bool,
}

impl Checks {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            groups: plan.groups,
            order: Order::new(plan.most_replicas(), plan.groups, plan.merge),
            digests: Digests::default(),
            once: AtMostOnce::new(plan.most_replicas()),
            executions: Executions::new(plan.most_replicas(), plan.groups),
            history: Vec::new(),
            done: 0,
            has_rested: false,
        }
    }

    /// A worker was handed batches.
    pub(super) fn on_deliveries(
        &mut self,
        (replica, worker): (usize, usize),
        batches: &[Batch],
        office: &mut Office,
    ) {
        let Office { tap, violations, .. } = office;
        let learner = replica * self.groups + worker;
        for &(delivery, hash) in batches {
            let place = (delivery.ring, delivery.slot);
            tap.agreement_mut().on_delivered(learner, place, hash, violations);
            self.order.on_delivered((replica, worker), place, violations);
        }
    }

    /// What a worker's learners have seen for themselves, of which a node would stop.
    pub(super) fn on_conflict(
        (replica, worker): (usize, usize),
        conflict: Option<(RingId, Instance)>,
        office: &mut Office,
    ) {
        let Some((ring, instance)) = conflict else { return };
        office.violations.report("agreement", || {
            format!("replica {replica} worker {worker} heard two decisions: ring {ring} {instance}")
        });
    }

    /// A worker has taken up a checkpoint and goes on at `position`.
    pub(super) fn on_jump(
        &mut self,
        (replica, worker): (usize, usize),
        position: &[RingPosition],
        office: &mut Office,
    ) {
        let learner = replica * self.groups + worker;
        office.tap.agreement_mut().on_jump(learner, position);
        self.order.on_jump((replica, worker), position);
        self.once.on_jump(replica);
        self.executions.on_jump(replica);
    }

    /// A replica begins another life at `checkpoint`, or at the beginning.
    pub(super) fn on_restart(
        &mut self,
        replica: usize,
        checkpoint: Option<&Checkpoint>,
        office: &mut Office,
    ) {
        for worker in 0..self.groups {
            let position = checkpoint.map(|checkpoint| checkpoint.position(GroupId::new(worker)));
            self.on_jump((replica, worker), position.unwrap_or(&[]), office);
        }
    }

    /// A worker of `number` may have executed commands.
    pub(super) fn on_executions<S: SimService>(
        &mut self,
        number: usize,
        replica: &Replica<S>,
        office: &mut Office,
    ) {
        let out = &mut office.violations;
        replica.service.drain(|execution| {
            let (context, reply) = (&execution.context, execution.reply);
            if execution.is_first {
                self.once.on_executed(number, context, reply, out);
            }
            self.executions.on_executed((number, execution.group), context, reply, out);
        });
    }

    /// A client may have come to the end of commands.
    pub(super) fn on_client<S: SimService>(&mut self, client: &mut Client<S>, office: &mut Office) {
        for Ended { context, is_read, reply, is_refused, operation } in client.ended() {
            self.done += u64::from(reply.is_some());
            if is_refused && !is_read {
                self.once.on_refused(&context, &mut office.violations);
            }
            if let Some(hash) = reply.filter(|_| !is_read) {
                self.once.on_acknowledged(&context, hash, &mut office.violations);
            }
            self.history.extend(operation);
        }
    }

    /// Whether everything that was asked is done and all replicas stand at one position. Compares
    /// their digests there.
    pub(super) fn is_at_rest<S: SimService>(
        &mut self,
        cluster: &Cluster<S>,
        office: &mut Office,
    ) -> bool {
        let is_busy = |host: &Host<S>| match &host.roles {
            Roles::Client(client) => !client.is_over(),
            Roles::Worker(worker) => {
                host.status != Status::Down && !worker.worker.is_between_values()
            }
            Roles::Operator(operator) => !operator.is_idle(),
            Roles::Ordering(_) | Roles::Vacant => false,
        };
        if !cluster.is_settled(&office.archive) {
            return false;
        }
        if cluster.hosts.iter().any(is_busy) {
            return false;
        }
        let positions = positions(cluster);
        if positions.iter().any(|(_, position)| *position != positions[0].1) {
            return false;
        }
        self.has_rested = true;
        for (replica, position) in positions {
            let digest = cluster.replicas[replica].service.digest(&mut Lease::mint(Access::Whole));
            self.digests.on_digest(replica, position, digest, &mut office.violations);
        }
        true
    }

    /// Everything had healed, and yet not everything came to its end.
    pub(super) fn on_stuck<S: SimService>(cluster: &Cluster<S>, office: &mut Office) {
        let agreement = office.tap.agreement();
        let decided: Vec<_> = (0..cluster.groups.len()).map(|r| agreement.decided(r)).collect();
        let mut open = String::new();
        for host in &cluster.hosts {
            match &host.roles {
                Roles::Client(client) => write!(open, " {}", client.describe()),
                Roles::Worker(worker) if host.status != Status::Down => {
                    write!(open, " {}", worker.describe())
                }
                Roles::Ordering(ordering) => write!(open, " {}", ordering.describe()),
                Roles::Operator(operator) => write!(open, " {}", operator.describe()),
                Roles::Worker(_) | Roles::Vacant => Ok(()),
            }
            .expect("a string takes everything");
        }
        let positions = positions(cluster);
        let epochs: Vec<_> = cluster.hosts.iter().map(|host| host.epoch.number()).collect();
        let text = format!(
            "positions {positions:?}, decided {decided:?}, epochs {epochs:?}, hosts:{open}"
        );
        office.violations.report("liveness", || text);
    }

    /// The end of a run.
    pub(super) fn finish<S: SimService>(
        &mut self,
        plan: &Plan,
        cluster: &Cluster<S>,
        office: &mut Office,
    ) {
        let Office { tap, violations, .. } = office;
        tap.agreement().finish(violations);
        if self.has_rested {
            let is_live = |place: usize| cluster.replicas.get(place).is_some_and(|r| r.is_live);
            self.once.finish(is_live, violations);
        }
        for (number, replica) in cluster.replicas.iter().enumerate() {
            // A replica that has crashed may have stopped in the middle of a change.
            if let Err(cause) = replica.service.service().check()
                && replica.is_live
            {
                violations.report("invariants", || format!("replica {number}: {cause}"));
            }
        }
        for host in &cluster.hosts {
            if let Roles::Client(client) = &host.roles {
                self.history.extend(client.open_operations());
            }
        }
        for violation in check_history(&self.history, |key| S::initial(plan, key)) {
            violations.report(violation.checker, || violation.detail);
        }
    }

    /// Commands that clients hold the answers of.
    pub(super) const fn done(&self) -> u64 {
        self.done
    }
}

/// How much each worker of each live replica has delivered.
fn positions<S: SimService>(cluster: &Cluster<S>) -> Vec<(usize, Vec<u64>)> {
    let position = |host: usize| match &cluster.hosts[host].roles {
        Roles::Worker(worker) => worker.worker.position(),
        _ => unreachable!("a replica's hosts are workers"),
    };
    let live = cluster.replicas.iter().enumerate().filter(|(_, replica)| replica.is_live);
    live.map(|(number, replica)| (number, replica.hosts.clone().map(position).collect())).collect()
}
