//! The world of one run: hosts, network and clock, and the loop that lets everything happen in the
//! one order that the seed names.

use super::changes::Change;
use super::checks::Checks;
use super::cluster::{self, Cluster};
use super::event::EventQueue;
use super::host::{Cycle, Received, Roles, Status};
use super::members::{Archive, HomeId};
use super::network::{Damage, Network};
use super::plan::Plan;
use super::planned::Planned;
use super::post::{Office, Outgoing};
use super::services::SimService;
use super::trace::{Lines, Trace, hash_bytes};
use crate::replica::Progress;
use crate::ring_paxos::Destination;
use crate::types::{Address, Random, RingId, Time};
use crate::wire::{
    Accept, Command, Commands, HEADER_LENGTH, Header, Message, Promise, Repair, Replies, Reply,
};
use std::rc::Rc;
use std::time::Duration;

/// How long after the last fault no command may be answered before the end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after the last fault everything must have come to its end. One session with one command
/// open may wait for a replica that has died at every other of thousands of commands.
const LONGEST: Duration = Duration::from_secs(90);
/// How often it is looked whether everything has.
const LOOK: Duration = Duration::from_millis(20);
/// Looks in a row that must find everything at rest.
const LOOKS: u32 = 3;

/// What can happen.
#[derive(Debug)]
pub(super) enum Event {
    /// A datagram reaches a host.
    Arrive { host: u16, source: u16, bytes: Rc<[u8]> },
    /// A host runs.
    Run { host: u16 },
    /// A host's timer ends.
    Timer { host: u16, at: Time },
    /// A fault of the plan begins.
    Fault { planned: Planned },
    /// A host that stood still goes on, if it was to stand still until now.
    Wake { host: u16 },
    /// An acceptor's process begins another life.
    Restart { host: u16 },
    /// A replica's process does.
    RestartReplica { replica: usize },
    /// Somebody wants other members.
    Change { change: Change },
    /// The process of a new member begins.
    Join { home: HomeId },
    /// Links that a fault cut are mended.
    Mend { links: Box<[(u16, u16)]> },
    /// All faults end.
    Heal,
    /// Has everything come to its end?
    Look,
}

/// The world of one run.
#[derive(Debug)]
pub(super) struct World<S: SimService> {
    pub(super) plan: Rc<Plan>,
    pub(super) queue: EventQueue<Event>,
    pub(super) network: Network,
    pub(super) trace: Trace,
    pub(super) cluster: Cluster<S>,
    pub(super) office: Office,
    pub(super) checks: Checks,
    /// The scheduler's own randomness.
    pub(super) random: Random,
    /// Faults of processes and links so far.
    pub(super) faults: u64,
    pub(super) is_healed: bool,
    /// Hosts of acceptors whose disks were put back, until they have a vote again.
    pub(super) in_doubt: Vec<usize>,
    /// A loss of power that waits for its moment.
    pub(super) armed: Option<Planned>,
    /// A replica has lost its checkpoint.
    pub(super) has_wiped: bool,
    /// The last epoch that was put forward: its members may be decided at any time.
    pub(super) pending: u32,
    dropped: u64,
    rests: u32,
    pub(super) received: Vec<Received>,
    arrivals: Vec<(Time, Damage)>,
}

impl<S: SimService> World<S> {
    /// The world of `plan` at its beginning.
    pub(super) fn new(plan: Rc<Plan>, lines: Lines) -> Self {
        let source = Random::new(plan.seed).stream(0x776f_726c);
        let archive = Archive::new(&plan);
        let cluster = Cluster::new(&plan, &source, archive.latest());
        let network = Network::new(cluster.hosts.len(), plan.network, source.stream(1));
        let checks = Checks::new(&plan);
        let office = Office::new(cluster::tap(&plan), archive, plan.rings());
        let mut world = Self {
            queue: EventQueue::new(),
            network,
            trace: Trace::new(lines),
            cluster,
            office,
            checks,
            random: source.stream(2),
            faults: 0,
            is_healed: false,
            in_doubt: Vec::new(),
            armed: None,
            has_wiped: false,
            pending: 0,
            dropped: 0,
            rests: 0,
            received: Vec::new(),
            arrivals: Vec::new(),
            plan,
        };
        world.begin();
        world
    }

    /// Runs to the end: everything done, something wrong, or patience lost.
    pub(super) fn run(&mut self) {
        let healed = self.plan.timing.heals_at;
        let (mut done, mut answered) = (0, healed);
        while self.office.violations.is_empty() {
            let Some(event) = self.queue.next() else { break };
            let now = self.queue.now();
            if self.checks.done() > done {
                (done, answered) = (self.checks.done(), now.max(healed));
            }
            if now > answered + PATIENCE || now > healed + LONGEST {
                Checks::on_stuck(&self.cluster, &mut self.office);
                break;
            }
            if matches!(event, Event::Look) && self.look() {
                break;
            }
            self.happen(event);
        }
        self.checks.finish(&self.plan, &self.cluster, &mut self.office);
    }

    fn begin(&mut self) {
        for host in 0..self.cluster.hosts.len() {
            self.schedule_run(host);
        }
        for &planned in &self.plan.faults {
            self.queue.schedule(planned.at, Event::Fault { planned });
        }
        for &change in &self.plan.changes {
            self.queue.schedule(change.at, Event::Change { change });
        }
        self.queue.schedule(self.plan.timing.heals_at, Event::Heal);
    }

    fn happen(&mut self, event: Event) {
        let now = self.queue.now();
        match event {
            Event::Arrive { host, source, bytes } => self.arrive(host, source, bytes),
            Event::Run { host } => {
                let host = usize::from(host);
                self.cluster.hosts[host].is_scheduled = false;
                self.run_host(host);
            }
            Event::Timer { host, at } => {
                let host = usize::from(host);
                if self.cluster.hosts[host].timer_at == at {
                    self.cluster.hosts[host].timer_at = Time::NEVER;
                    self.run_host(host);
                }
            }
            Event::Fault { planned } => self.fault(planned),
            Event::Wake { host } => self.wake(usize::from(host)),
            Event::Restart { host } => self.restart(usize::from(host)),
            Event::RestartReplica { replica } => self.restart_replica(replica),
            Event::Change { change } => self.change(change),
            Event::Join { home } => self.join(home),
            Event::Mend { links } => {
                if !self.is_healed {
                    for &(source, target) in &links {
                        self.network.mend(usize::from(source), usize::from(target));
                    }
                    self.trace.line(now, || format!("{} links mended", links.len()));
                }
            }
            Event::Heal => self.heal(),
            Event::Look => self.queue.schedule(now + LOOK, Event::Look),
        }
    }

    fn arrive(&mut self, host: u16, source: u16, bytes: Rc<[u8]>) {
        let now = self.queue.now();
        let index = usize::from(host);
        self.trace.record(now, 1 << 32 | u64::from(source) << 16 | u64::from(host), {
            // The checksum stands for the datagram.
            hash_bytes(&bytes[bytes.len().min(52)..bytes.len().min(64)]) ^ bytes.len() as u64
        });
        let from = Address::memory(u32::from(source));
        if self.cluster.hosts[index].arrive(Received { bytes, from }) {
            self.schedule_run(index);
        }
    }

    /// One duty cycle of a host, and what it sends.
    fn run_host(&mut self, index: usize) {
        let now = self.queue.now();
        if self.cluster.hosts[index].status != Status::Running || !self.take_up(index) {
            return;
        }
        let host = &mut self.cluster.hosts[index];
        // A cycle takes what a real one would find: sometimes one datagram, sometimes many.
        let most = 1 + usize::try_from(self.random.below(32)).expect("below 32");
        let count = host.inbox.len().min(most);
        self.received.extend(host.inbox.drain(..count));
        self.trace.record(now, 2 << 32 | index as u64, count as u64);
        let budget = 1 + self.random.below(u64::from(self.plan.budget));
        self.screen(index);
        let Cluster { hosts, doors, .. } = &mut self.cluster;
        let host = &mut hosts[index];
        let mut cycle = Cycle {
            now,
            identity: &host.identity,
            office: &mut self.office,
            dropped: &mut self.dropped,
            budget: u32::try_from(budget).expect("at most 16"),
        };
        match &mut host.roles {
            Roles::Ordering(ordering) => ordering.run(&mut self.received, &mut cycle),
            Roles::Worker(worker) => worker.run(&mut self.received, &mut cycle),
            Roles::Client(client) => client.run(&mut self.received, &mut cycle),
            Roles::Operator(operator) => {
                operator.run(&mut self.received, (&*host.epoch, &**doors), &mut cycle);
            }
            Roles::Vacant => {}
        }
        let has_more = !host.inbox.is_empty();
        let timeout = host.next_timeout();
        let timer_at = host.timer_at;
        self.announce(index);
        self.transmit(index);
        let pause = self.after_cycle(index);
        if std::mem::take(&mut self.office.has_moved) {
            self.wake_coordinators(index);
        }
        if has_more || pause == Some(Duration::ZERO) {
            self.schedule_run(index);
        }
        let pause = pause.filter(|pause| !pause.is_zero()).map(|pause| now + pause);
        let timeout = [timeout, pause].into_iter().flatten().min();
        if let Some(at) = timeout
            && at < timer_at
        {
            let at = at.max(now + Duration::from_nanos(100));
            self.cluster.hosts[index].timer_at = at;
            let host = u16::try_from(index).expect("few hosts");
            self.queue.schedule(at, Event::Timer { host, at });
        }
    }

    /// Shows the checkers what a cycle did; says when the host wants to go on, if it has more to do.
    fn after_cycle(&mut self, index: usize) -> Option<Duration> {
        let now = self.queue.now();
        let Cluster { hosts, replicas, .. } = &mut self.cluster;
        match &mut hosts[index].roles {
            Roles::Ordering(_) => {
                self.end_doubt();
                self.strike(index);
                None
            }
            Roles::Operator(_) | Roles::Vacant => None,
            Roles::Client(client) => {
                self.checks.on_client(client, &mut self.office);
                None
            }
            Roles::Worker(worker) => {
                let (replica, number) = worker.place;
                for &(delivery, _) in &worker.delivered {
                    self.trace.line(now, || {
                        format!("replica {replica} worker {number} delivers {delivery:?}")
                    });
                }
                let progress = worker.progress;
                if let Some(position) = worker.jumped.take() {
                    self.checks.on_jump((replica, number), &position, &mut self.office);
                }
                let delivered = std::mem::take(&mut worker.delivered);
                self.checks.on_deliveries((replica, number), &delivered, &mut self.office);
                worker.delivered = delivered;
                worker.delivered.clear();
                self.checks.on_executions(replica, &replicas[replica], &mut self.office);
                Checks::on_conflict(worker.place, worker.subscription.conflict(), &mut self.office);
                // Whoever waits for this worker in synchronous mode looks again. One that has taken no
                // step has told nobody anything: two that wait would wake each other without end.
                if matches!(progress, Progress::Worked(_)) {
                    self.wake_siblings(replica, index);
                }
                match progress {
                    Progress::Worked(_) => Some(Duration::ZERO),
                    Progress::Swept => Some(self.plan.sweep_pause),
                    _ => None,
                }
            }
        }
    }

    /// A ring has moved: the coordinators of the others look whether they are idle.
    fn wake_coordinators(&mut self, except: usize) {
        for place in 0..self.cluster.acceptor_hosts().len() {
            let other = self.cluster.acceptor_hosts()[place];
            let leads = match &self.cluster.hosts[other].roles {
                Roles::Ordering(ordering) => ordering.leads(),
                _ => false,
            };
            if leads && other != except {
                self.schedule_run(other);
            }
        }
    }

    fn wake_siblings(&mut self, replica: usize, except: usize) {
        for sibling in self.cluster.replicas[replica].hosts.clone() {
            let is_blocked = match &self.cluster.hosts[sibling].roles {
                Roles::Worker(worker) => matches!(worker.progress, Progress::Blocked(_)),
                _ => false,
            };
            let is_running = self.cluster.hosts[sibling].status == Status::Running;
            if sibling != except && is_blocked && is_running {
                self.schedule_run(sibling);
            }
        }
    }

    /// Puts what a host has sent on the network.
    fn transmit(&mut self, source: usize) {
        let mut outgoing = std::mem::take(&mut self.office.outgoing);
        let now = self.queue.now();
        for Outgoing { to, ring, bytes } in outgoing.drain(..) {
            self.trace.line(now, || format!("host {source} to {to:?}: {}", describe(ring, &bytes)));
            match to {
                Destination::Ring(RingId(ring)) => {
                    for index in 0..self.cluster.groups[usize::from(ring)].len() {
                        let target = self.cluster.groups[usize::from(ring)][index];
                        self.transmit_to(source, target, &bytes);
                    }
                }
                Destination::Node(node) => {
                    let epoch = &self.cluster.hosts[source].epoch;
                    if let Some(target) = self.cluster.route(epoch, node, ring) {
                        self.transmit_to(source, target, &bytes);
                    }
                }
                Destination::Address(address) => {
                    let target = address.as_memory().and_then(|n| usize::try_from(n).ok());
                    if let Some(target) = target.filter(|&n| n < self.cluster.hosts.len()) {
                        self.transmit_to(source, target, &bytes);
                    }
                }
            }
        }
        self.office.outgoing = outgoing;
    }

    fn transmit_to(&mut self, source: usize, target: usize, bytes: &Rc<[u8]>) {
        let now = self.queue.now();
        let arrivals = &mut self.arrivals;
        self.network.transmit((source, target), now, |at, damage| arrivals.push((at, damage)));
        for (at, damage) in self.arrivals.drain(..) {
            let bytes = match damage {
                Damage::None => Rc::clone(bytes),
                Damage::Flip(_) | Damage::Truncate(_) => {
                    let mut damaged = bytes.to_vec();
                    damage.apply(&mut damaged);
                    Rc::from(damaged)
                }
            };
            let host = u16::try_from(target).expect("few hosts");
            let source = u16::try_from(source).expect("few hosts");
            self.queue.schedule(at, Event::Arrive { host, source, bytes });
        }
    }

    pub(super) fn schedule_run(&mut self, index: usize) {
        let host = &mut self.cluster.hosts[index];
        if !host.is_scheduled && host.status == Status::Running {
            host.is_scheduled = true;
            let delay = Duration::from_nanos(self.random.below(3_000));
            let host = u16::try_from(index).expect("few hosts");
            self.queue.schedule(self.queue.now() + delay, Event::Run { host });
        }
    }

    /// After the healing: whether everything has come to its end and stays there.
    fn look(&mut self) -> bool {
        self.rescue();
        let is_at_rest = self.checks.is_at_rest(&self.cluster, &mut self.office);
        self.rests = if is_at_rest { self.rests + 1 } else { 0 };
        self.rests >= LOOKS
    }

    /// Datagrams that some fault touched, and faults of processes and links.
    pub(super) fn fault_count(&self) -> u64 {
        let overflows: u64 = self.cluster.hosts.iter().map(|host| host.overflows).sum();
        self.network.counters().faults() + self.faults + overflows
    }
}

/// A datagram in one line.
fn describe(ring: RingId, bytes: &[u8]) -> String {
    let (head, body) = bytes.split_at(HEADER_LENGTH);
    let header: Header = bytemuck::pod_read_unaligned(head);
    match Message::decode(header.kind, body) {
        Ok(Message::Accept(accept)) => {
            let Accept { instance, ballot, id, decided, trim, decisions, value, .. } = accept;
            let slots = value.slots();
            format!(
                "ring {ring} 2A {instance} {ballot:?} {id:?} of {slots} slots, {} bytes, decided \
                 {decided} trim {trim} {decisions:?}",
                body.len()
            )
        }
        Ok(Message::Repair(repair)) => {
            let Repair { is_decided, accept } = repair;
            let Accept { instance, ballot, id, .. } = accept;
            format!("ring {ring} repair {instance} {ballot:?} {id:?} decided: {is_decided}")
        }
        Ok(Message::Propose(propose)) => {
            let commands = Commands::from_offset(propose.commands, 0);
            let names: Vec<_> = commands.map(|Command { header, .. }| header).collect();
            format!("ring {ring} proposal {} {names:?}", propose.number)
        }
        Ok(Message::Replies(body)) => {
            let reply = |reply: Reply<'_>| (reply.session, reply.sequence, reply.status);
            format!("replies {:?}", Replies::new(body).map(reply).collect::<Vec<_>>())
        }
        Ok(Message::Promise(promise)) => {
            let Promise { ballot, first, last, trim, known, slot, page, pages, records } = promise;
            let records: Vec<_> = records.iter().map(|r| (r.instance, r.ballot, r.id)).collect();
            format!(
                "ring {ring} 1B {ballot:?} {first}..{last} trim {trim} known {known} slot {slot} \
                 page {page} of {pages} {records:?}"
            )
        }
        Ok(message) => format!("ring {ring} {message:?}"),
        Err(error) => format!("ring {ring} {error}"),
    }
}
