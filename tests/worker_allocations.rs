//! After warm-up a worker allocates nothing: a hundred thousand commands in parallel mode, as many
//! in synchronous mode, and failed checks with their retries.

#![allow(clippy::unwrap_used, reason = "tests")]

use psmr::mem::{CountingAllocator, allocations};
use psmr::replica::{
    Barrier, Deliveries, Delivery, PsmrWorker, SessionLimits, Shared, Steps, Worker, WorkerConfig,
    WorkerOutbox,
};
use psmr::service::GroupMap;
use psmr::service::counters::{Bank, Command as BankCommand, Settings};
use psmr::types::{Address, GroupId, GroupSet, ReplicaId, RingId, SessionId, Slot, Time};
use psmr::wire::{
    Command, CommandHeader, Control, ControlKind, Mode, Reply, SessionReport, Status, Writer,
};
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const K: usize = 2;
const BATCH: u64 = 100;

/// One value of one ring at a time.
struct Feed {
    ring: RingId,
    bytes: Vec<u8>,
    has_value: bool,
}

impl Deliveries for Feed {
    fn advance(&mut self) -> Option<Delivery> {
        std::mem::take(&mut self.has_value).then_some(Delivery { ring: self.ring, slot: Slot(1) })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[derive(Default)]
struct Out {
    opened: SessionId,
    done: u64,
    again: Vec<u8>,
}

impl WorkerOutbox for Out {
    fn reply(&mut self, _: Address, reply: &Reply<'_>) {
        if reply.status == Status::SessionOpened {
            let report: SessionReport = bytemuck::pod_read_unaligned(reply.payload);
            self.opened = report.session;
        }
        self.done += u64::from(reply.status == Status::Done);
    }

    fn multicast(&mut self, command: &Command<'_>) {
        let at = self.again.len();
        self.again.resize(at + command.encoded_length(), 0);
        command.encode(&mut Writer::new(&mut self.again[at..]));
    }
}

struct Stage {
    workers: Vec<PsmrWorker<Bank>>,
    feeds: Vec<Feed>,
    bank: Arc<Bank>,
    out: Out,
    batch: Vec<u8>,
    sequence: u64,
    now: Time,
}

impl Stage {
    fn new(barrier: Barrier) -> Self {
        let settings = Settings { groups: K, counters: 64, bound: 100, ..Settings::default() };
        let bank = Arc::new(Bank::new(Settings { initial: 50, ..settings }).unwrap());
        let limits = SessionLimits { sessions: 4, window: 256 };
        let shared = Arc::new(Shared::new(Arc::clone(&bank), limits));
        let worker = |me| {
            let mut config = WorkerConfig::new(K, GroupId::new(me), ReplicaId(0), 1);
            config.barrier = barrier;
            PsmrWorker::new(config, Arc::clone(&shared))
        };
        let feed =
            || Feed { ring: RingId(0), bytes: Vec::with_capacity(1 << 16), has_value: false };
        let mut stage = Self {
            workers: (0..K).map(worker).collect(),
            feeds: (0..K).map(|_| feed()).collect(),
            bank,
            out: Out { again: Vec::with_capacity(1 << 16), ..Out::default() },
            batch: Vec::with_capacity(1 << 16),
            sequence: 0,
            now: Time::ZERO,
        };
        let mut control = Control::new(ControlKind::Open);
        control.reply_to = Address::memory(1);
        let groups = GroupSet::all(K);
        let header = CommandHeader { groups, mode: Mode::SESSION, ..CommandHeader::default() };
        stage.push(&Command { header, payload: bytemuck::bytes_of(&control) });
        stage.deliver(K);
        stage
    }

    fn push(&mut self, command: &Command<'_>) {
        let at = self.batch.len();
        self.batch.resize(at + command.encoded_length(), 0);
        command.encode(&mut Writer::new(&mut self.batch[at..]));
    }

    /// Delivers the batch as one value of `ring` to its subscribers and runs them to the end.
    fn deliver(&mut self, ring: usize) {
        let Self { workers, feeds, out, batch, now, .. } = self;
        let is_reader = |me: usize| me == ring || ring == K;
        for feed in feeds.iter_mut().enumerate().filter(|(me, _)| is_reader(*me)).map(|(_, f)| f) {
            feed.ring = RingId(u16::try_from(ring).unwrap());
            feed.bytes.clear();
            feed.bytes.extend_from_slice(batch);
            feed.has_value = true;
        }
        batch.clear();
        while feeds.iter().any(|feed| feed.has_value)
            || workers.iter().any(|worker| !worker.is_between_values())
        {
            for (worker, feed) in workers.iter_mut().zip(feeds.iter_mut()) {
                let _ = worker.poll(feed, Steps(64), *now, out);
            }
        }
    }

    /// A hundred adds to the counters of group 0: optimistic ones in its ring, the others in g_all.
    /// What fails its check is delivered again in g_all.
    fn add(&mut self, mode: Mode, amount: impl Fn(u64) -> i64) {
        for _ in 0..BATCH {
            self.sequence += 1;
            let sequence = psmr::types::Sequence(self.sequence);
            let counter = u32::try_from(self.sequence % 32).unwrap();
            let mut payload = [0; 13];
            payload[0] = 2;
            payload[1..5].copy_from_slice(&counter.to_le_bytes());
            payload[5..].copy_from_slice(&amount(self.sequence).to_le_bytes());
            let groups = if mode == Mode::OPTIMISTIC {
                self.bank.optimistic(&payload)
            } else {
                self.bank.conservative(&payload)
            };
            let session = self.out.opened;
            // Those of its batch before it have no answer yet.
            let unanswered = u16::try_from((self.sequence - 1) % BATCH).unwrap();
            let header = CommandHeader {
                session,
                sequence,
                groups,
                mode,
                unanswered,
                ..CommandHeader::default()
            };
            self.push(&Command { header, payload: &payload });
        }
        self.deliver(if mode == Mode::OPTIMISTIC { 0 } else { K });
        if !self.out.again.is_empty() {
            self.batch.extend_from_slice(&self.out.again);
            self.out.again.clear();
            self.deliver(K);
        }
        self.now = self.now + Duration::from_millis(7);
        for worker in &mut self.workers {
            if worker.next_timeout().is_some_and(|due| due <= self.now) {
                worker.on_timeout(self.now, &mut self.out);
            }
        }
    }
}

/// Allocations while `batches` batches run, a tenth of them first.
fn measure(stage: &mut Stage, mode: Mode, amount: fn(u64) -> i64) -> u64 {
    let batches = 1000;
    (0..batches / 10).for_each(|_| stage.add(mode, amount));
    let (before, done) = (allocations(), stage.out.done);
    (0..batches).for_each(|_| stage.add(mode, amount));
    assert_eq!(stage.out.done - done, batches * BATCH);
    allocations() - before
}

/// One test, so that no other thread of this process allocates meanwhile.
#[test]
fn a_worker_allocates_nothing_after_warm_up() {
    assert_eq!(BankCommand::Add { counter: 1, amount: 1 }.to_bytes().len(), 13);
    let back_and_forth: fn(u64) -> i64 = |sequence| if sequence / 32 % 2 == 0 { 1 } else { -1 };
    let over_the_bound: fn(u64) -> i64 = |sequence| if sequence / 32 % 2 == 0 { 150 } else { -150 };
    for barrier in [Barrier::Command, Barrier::Instance] {
        let mut stage = Stage::new(barrier);
        assert_eq!(measure(&mut stage, Mode::OPTIMISTIC, back_and_forth), 0, "parallel");
        assert_eq!(measure(&mut stage, Mode::default(), back_and_forth), 0, "{barrier:?}");
        assert_eq!(measure(&mut stage, Mode::OPTIMISTIC, over_the_bound), 0, "failed checks");
        let counters = stage.workers[0].counters();
        assert!(
            counters.checks_passed > 10_000 && counters.failed_structure > 10_000,
            "{counters:?}"
        );
    }
}
