//! Real workers and real services under a total order a ring, made in memory, and a seeded
//! scheduler that polls them with budgets of 1 to 16 steps. No protocol below, no time but the
//! scheduler's.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of tests are small")]

pub mod cells;
pub mod oracle;

use psmr::replica::{
    Deliveries, Delivery, Progress, PsmrWorker, SessionLimits, Shared, Steps, Worker, WorkerConfig,
    WorkerCounters, WorkerOutbox,
};
use psmr::service::{GroupMap, Lease, Optimistic};
use psmr::types::{
    Address, Digest, GroupId, GroupSet, ReplicaId, RingId, Sequence, SessionId, Slot, Time,
};
use psmr::wire::{
    Command, CommandHeader, Control, ControlKind, DigestReport, Mode, Reply, SessionReport, Status,
    Writer,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Splitmix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// What each ring has decided: slot by slot a batch, or nothing (a skip).
#[derive(Clone, Debug, Default)]
pub struct Order {
    pub rings: Vec<Vec<Option<Vec<u8>>>>,
}

impl Order {
    /// The rings that group `me` of `k` subscribes to, in merge order.
    fn subscribed(k: usize, me: usize) -> Vec<usize> {
        if k == 1 { vec![0] } else { vec![me, k] }
    }

    /// Every batch in the order of the merge.
    pub fn merged(&self) -> impl Iterator<Item = (RingId, Slot, &[u8])> {
        let slots = self.rings.iter().map(Vec::len).max().unwrap_or(0);
        (0..slots).flat_map(move |slot| {
            self.rings.iter().enumerate().filter_map(move |(ring, values)| {
                let batch = values.get(slot)?.as_deref()?;
                Some((RingId(ring as u16), Slot(slot as u64), batch))
            })
        })
    }
}

/// One worker's merged deliveries.
#[derive(Debug)]
pub struct Feed {
    rings: Vec<usize>,
    next: usize,
    bytes: Vec<u8>,
}

struct Fed<'a> {
    feed: &'a mut Feed,
    order: &'a Order,
}

impl Deliveries for Fed<'_> {
    fn advance(&mut self) -> Option<Delivery> {
        loop {
            let Feed { rings, next, bytes } = &mut *self.feed;
            let (slot, ring) = (*next / rings.len(), rings[*next % rings.len()]);
            let value = self.order.rings[ring].get(slot)?;
            *next += 1;
            bytes.clear();
            if let Some(batch) = value {
                bytes.extend_from_slice(batch);
                return Some(Delivery { ring: RingId(ring as u16), slot: Slot(slot as u64) });
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.feed.bytes
    }
}

/// A reply that outlives its datagram.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub to: Address,
    pub session: SessionId,
    pub sequence: Sequence,
    pub status: Status,
    pub replica: u8,
    pub flags: u32,
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { session, sequence, status, replica, flags, payload, .. } = self;
        let start = &payload[..payload.len().min(24)];
        write!(f, "{session}/{sequence} {status:?} from {replica}, flags {flags}: {start:?}")
    }
}

#[derive(Debug)]
pub struct Out<'a> {
    pub answers: &'a mut Vec<Answer>,
    pub again: &'a mut Vec<Vec<u8>>,
    pub messages: &'a mut Vec<(usize, Vec<u8>)>,
    pub worker: usize,
}

impl WorkerOutbox for Out<'_> {
    fn reply(&mut self, to: Address, reply: &Reply<'_>) {
        self.answers.push(Answer {
            to,
            session: reply.session,
            sequence: reply.sequence,
            status: reply.status,
            replica: reply.replica,
            flags: reply.flags,
            payload: reply.payload.to_vec(),
        });
    }

    fn multicast(&mut self, command: &Command<'_>) {
        self.again.push(encode(command));
    }

    fn deliver(&mut self, _: Delivery, message: &Command<'_>) {
        self.messages.push((self.worker, message.payload.to_vec()));
    }
}

pub fn encode(command: &Command<'_>) -> Vec<u8> {
    let mut bytes = vec![0; command.encoded_length()];
    command.encode(&mut Writer::new(&mut bytes));
    bytes
}

pub fn decode(bytes: &[u8]) -> Command<'_> {
    Command::decode(&mut psmr::wire::Reader::new(bytes)).expect("an encoded command")
}

/// Replicas of a service, their rings, and what they said.
#[derive(Debug)]
pub struct Cluster<S> {
    pub k: usize,
    pub shared: Vec<Arc<Shared<S>>>,
    pub workers: Vec<PsmrWorker<S>>,
    pub feeds: Vec<Feed>,
    pub order: Order,
    /// Commands on their way to each ring.
    pub proposed: Vec<VecDeque<Vec<u8>>>,
    pub answers: Vec<Answer>,
    pub messages: Vec<(usize, Vec<u8>)>,
    pub random: Random,
    pub now: Time,
    /// Share of proposals, in percent, that are ordered a second time somewhat later.
    pub duplicates: u64,
    pub batch: u64,
}

pub const LIMITS: SessionLimits = SessionLimits { sessions: 16, window: 8 };

impl<S: Optimistic> Cluster<S> {
    /// `replicas` replicas of what `service` makes; `set` changes the default settings.
    pub fn new(
        replicas: usize,
        seed: u64,
        service: impl Fn() -> S,
        set: impl Fn(&mut WorkerConfig),
    ) -> Self {
        let shared: Vec<_> =
            (0..replicas).map(|_| Arc::new(Shared::new(Arc::new(service()), LIMITS))).collect();
        let k = shared[0].service().groups();
        let mut workers = Vec::new();
        let mut feeds = Vec::new();
        for (replica, shared) in shared.iter().enumerate() {
            for me in 0..k {
                let id = ReplicaId(replica as u8);
                let mut config = WorkerConfig::new(k, GroupId::new(me), id, replicas);
                set(&mut config);
                workers.push(PsmrWorker::new(config, Arc::clone(shared)));
                feeds.push(Feed { rings: Order::subscribed(k, me), next: 0, bytes: Vec::new() });
            }
        }
        let rings = if k == 1 { 1 } else { k + 1 };
        Self {
            k,
            shared,
            workers,
            feeds,
            order: Order { rings: vec![Vec::new(); rings] },
            proposed: vec![VecDeque::new(); rings],
            answers: Vec::new(),
            messages: Vec::new(),
            random: Random(seed),
            now: Time::ZERO,
            duplicates: 0,
            batch: 6,
        }
    }

    pub fn service(&self, replica: usize) -> &S {
        self.shared[replica].service()
    }

    /// Sends a command to its ring.
    pub fn propose(&mut self, command: &Command<'_>) {
        let ring = usize::from(command.header.groups.ring(self.k).0);
        self.proposed[ring].push_back(encode(command));
    }

    /// Decides one slot in every ring.
    pub fn decide(&mut self) {
        for ring in 0..self.order.rings.len() {
            let count = 1 + self.random.below(self.batch) as usize;
            let count = count.min(self.proposed[ring].len());
            let taken: Vec<_> = self.proposed[ring].drain(..count).collect();
            for command in &taken {
                if self.random.percent(self.duplicates) {
                    self.proposed[ring].push_back(command.clone());
                }
            }
            let batch = taken.concat();
            self.order.rings[ring].push((!batch.is_empty()).then_some(batch));
        }
    }

    /// Polls worker `index` once.
    pub fn poll(&mut self, index: usize, budget: u32) -> Progress {
        let mut again = Vec::new();
        let mut out = Out {
            answers: &mut self.answers,
            again: &mut again,
            messages: &mut self.messages,
            worker: index,
        };
        let mut fed = Fed { feed: &mut self.feeds[index], order: &self.order };
        let worker = &mut self.workers[index];
        let progress = worker.poll(&mut fed, Steps(budget), self.now, &mut out);
        if worker.next_timeout().is_some_and(|due| due <= self.now) {
            worker.on_timeout(self.now, &mut out);
        }
        for command in again {
            self.propose(&decode(&command));
        }
        progress
    }

    /// One turn of the scheduler: a worker by chance, or time, or a decision.
    pub fn turn(&mut self) {
        match self.random.below(10) {
            0 => self.decide(),
            1 => self.now = self.now + Duration::from_micros(self.random.below(2000)),
            _ => {
                let index = self.random.below(self.workers.len() as u64) as usize;
                let budget = 1 + self.random.below(16) as u32;
                let _ = self.poll(index, budget);
            }
        }
    }

    /// Runs until everything proposed is decided and executed everywhere.
    pub fn settle(&mut self) {
        for _ in 0..2_000_000 {
            self.turn();
            if self.is_settled() {
                return;
            }
        }
        panic!("the cluster does not come to rest: {:?}", self.stuck());
    }

    pub fn is_settled(&self) -> bool {
        let slots = self.order.rings[0].len();
        self.proposed.iter().all(VecDeque::is_empty)
            && self.feeds.iter().all(|feed| feed.next == slots * feed.rings.len())
            && self.workers.iter().all(|w| w.is_between_values() && w.next_timeout().is_none())
    }

    fn stuck(&self) -> Vec<String> {
        self.shared.iter().map(|shared| shared.rendezvous().state().to_string()).collect()
    }

    pub fn digest(&self, replica: usize) -> Digest {
        self.service(replica).digest(&mut Lease::mint(psmr::service::Access::Whole))
    }

    pub fn counters(&self) -> WorkerCounters {
        let mut sum = WorkerCounters::default();
        self.workers.iter().for_each(|worker| sum += worker.counters());
        sum
    }

    /// Sends a control command to all groups.
    pub fn control(&mut self, kind: ControlKind, set: impl Fn(&mut Control)) {
        let mut control = Control::new(kind);
        set(&mut control);
        let header = CommandHeader {
            groups: GroupSet::all(self.k),
            mode: Mode::SESSION,
            ..CommandHeader::default()
        };
        self.propose(&Command { header, payload: bytemuck::bytes_of(&control) });
    }

    /// Opens a session for the client at memory address `client`.
    pub fn open(&mut self, client: u32) -> SessionId {
        self.control(ControlKind::Open, |control| {
            control.client = u64::from(client);
            control.number = 1;
            control.reply_to = Address::memory(client);
        });
        self.settle();
        let (opened, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.answers)
            .into_iter()
            .partition(|answer| answer.status == Status::SessionOpened);
        self.answers = others;
        assert_eq!(opened.len(), self.k, "every table of the named replica reports");
        let report: SessionReport = bytemuck::pod_read_unaligned(&opened[0].payload);
        report.session
    }

    /// The digests that all replicas report at one place of the order.
    pub fn digests(&mut self) -> Vec<Digest> {
        self.settle();
        self.answers.clear();
        self.control(ControlKind::Digest, |control| {
            control.number = 77;
            control.reply_to = Address::memory(77);
        });
        self.settle();
        let read = |answer: &Answer| {
            let report: DigestReport = bytemuck::pod_read_unaligned(&answer.payload);
            assert_eq!(report.number, 77);
            report.digest
        };
        self.answers.drain(..).map(|answer| read(&answer)).collect()
    }
}

/// The model whose clients address commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    Psmr,
    OptPsmr,
}

/// Addresses a command as a client of `model` does.
pub fn address(
    map: &impl GroupMap,
    model: Model,
    header: CommandHeader,
    payload: &[u8],
) -> CommandHeader {
    let (conservative, optimistic) = (map.conservative(payload), map.optimistic(payload));
    let mut header = CommandHeader { groups: conservative, ..header };
    if map.is_read(payload) {
        header.mode = header.mode.with(Mode::READ);
    }
    if model == Model::OptPsmr && conservative != optimistic {
        header.groups = optimistic;
        header.mode = header.mode.with(Mode::OPTIMISTIC);
    }
    header
}

/// A client of one session with up to a window of commands in flight.
#[derive(Debug)]
pub struct Client {
    pub session: SessionId,
    pub address: Address,
    pub next: u64,
    /// In flight: payload and attempt.
    pub open: BTreeMap<u64, (Vec<u8>, u8)>,
    /// What came of each command.
    pub replies: BTreeMap<u64, Answer>,
    reads: BTreeSet<u64>,
}

impl Client {
    pub fn new<S: Optimistic>(cluster: &mut Cluster<S>, client: u32) -> Self {
        let session = cluster.open(client);
        Self {
            session,
            address: Address::memory(client),
            next: 1,
            open: BTreeMap::new(),
            replies: BTreeMap::new(),
            reads: BTreeSet::new(),
        }
    }

    pub fn can_issue(&self) -> bool {
        self.next < self.lowest() + LIMITS.window as u64
    }

    fn lowest(&self) -> u64 {
        self.open.keys().next().copied().unwrap_or(self.next)
    }

    /// Issues a command.
    pub fn issue<S: Optimistic>(&mut self, cluster: &mut Cluster<S>, model: Model, payload: &[u8]) {
        let sequence = self.next;
        self.next += 1;
        self.open.insert(sequence, (payload.to_vec(), 0));
        self.send(cluster, model, sequence, Mode::default());
    }

    /// Sends a command that is in flight, perhaps once more.
    pub fn send<S: Optimistic>(
        &self,
        cluster: &mut Cluster<S>,
        model: Model,
        sequence: u64,
        mode: Mode,
    ) {
        let (payload, attempt) = &self.open[&sequence];
        let replicas = cluster.shared.len() as u64;
        let header = CommandHeader {
            session: self.session,
            sequence: Sequence(sequence),
            unanswered: (sequence - self.lowest()) as u16,
            mode,
            designation: CommandHeader::designate((sequence % replicas) as u8, *attempt),
            ..CommandHeader::default()
        };
        let model = if mode.has(Mode::CONSERVATIVE_RETRY) { Model::Psmr } else { model };
        let header = address(cluster.service(0), model, header, payload);
        cluster.propose(&Command { header, payload });
    }

    /// Sends everything in flight again.
    pub fn retry<S: Optimistic>(&mut self, cluster: &mut Cluster<S>, model: Model) {
        for sequence in self.open.keys().copied().collect::<Vec<_>>() {
            self.open.entry(sequence).and_modify(|(_, attempt)| *attempt += 1);
            self.send(cluster, model, sequence, Mode::default());
        }
    }

    /// Takes the answers that are for this client.
    pub fn listen<S: Optimistic>(&mut self, cluster: &mut Cluster<S>, model: Model) {
        let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut cluster.answers)
            .into_iter()
            .partition(|answer| answer.to == self.address);
        cluster.answers = others;
        for answer in mine {
            let sequence = answer.sequence.0;
            match answer.status {
                Status::CheckFailed if self.open.contains_key(&sequence) => {
                    self.send(cluster, model, sequence, Mode::CONSERVATIVE_RETRY);
                }
                Status::CheckFailed | Status::Forgotten => {}
                _ => {
                    if let Some((payload, _)) = self.open.remove(&sequence)
                        && cluster.service(0).is_read(&payload)
                    {
                        self.reads.insert(sequence);
                    }
                    // Two copies of a read may see two states; a write has one reply for ever.
                    if let Some(first) = self.replies.get(&sequence)
                        && !self.reads.contains(&sequence)
                    {
                        assert_eq!(first.payload, answer.payload, "two replies to {sequence}");
                    }
                    self.replies.entry(sequence).or_insert(answer);
                }
            }
        }
    }
}
