//! What a command costs a worker: decoding, its session, the service, its reply. The batch is what
//! the merge hands out; replies are encoded into one buffer, as an agent does.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use psmr::replica::{
    Deliveries, Delivery, PsmrWorker, SessionLimits, Shared, Steps, Worker, WorkerConfig,
    WorkerOutbox,
};
use psmr::service::btree::{BTree, Command as TreeCommand, Pair, Settings};
use psmr::service::null::Null;
use psmr::service::{GroupMap, Optimistic};
use psmr::types::{
    Address, GroupId, GroupSet, Random, ReplicaId, RingId, Sequence, SessionId, Slot, Time,
};
use psmr::wire::{
    COMMAND_HEADER_LENGTH, Command, CommandHeader, Control, ControlKind, Mode, Reply,
    SessionReport, Writer,
};
use std::sync::Arc;

const SESSIONS: usize = 64;
const WINDOW: usize = 256;
const BATCH: usize = 128;
const BATCHES: usize = 16;

fn main() {
    divan::main();
}

/// Values in order: fresh sequences are written into the batches as they are handed out.
struct Feed {
    ring: RingId,
    batches: Vec<Vec<u8>>,
    current: usize,
    left: usize,
    next: [u64; SESSIONS],
}

impl Feed {
    /// Numbers each command of the current batch anew.
    fn renumber(&mut self) {
        let batch = &mut self.batches[self.current];
        let mut at = 0;
        let mut session = 0;
        while at < batch.len() {
            self.next[session] += 1;
            let sequence = self.next[session].to_le_bytes();
            batch[at + 8..at + 16].copy_from_slice(&sequence);
            let length = u16::from_le_bytes([batch[at + 24], batch[at + 25]]);
            at += COMMAND_HEADER_LENGTH + usize::from(length);
            session = (session + 1) % SESSIONS;
        }
    }
}

impl Deliveries for Feed {
    fn advance(&mut self) -> Option<Delivery> {
        self.left = self.left.checked_sub(1)?;
        self.current = (self.current + 1) % self.batches.len();
        self.renumber();
        Some(Delivery { ring: self.ring, slot: Slot(1) })
    }

    fn bytes(&self) -> &[u8] {
        &self.batches[self.current]
    }
}

/// An agent's reply buffer.
struct Out {
    bytes: Vec<u8>,
    at: usize,
}

impl WorkerOutbox for Out {
    #[inline]
    fn reply(&mut self, to: Address, reply: &Reply<'_>) {
        black_box(to);
        let length = reply.encoded_length();
        if self.at + length > self.bytes.len() {
            self.at = 0;
        }
        reply.encode(&mut Writer::new(&mut self.bytes[self.at..]));
        self.at += length;
    }

    fn multicast(&mut self, command: &Command<'_>) {
        black_box(command);
    }
}

/// Takes the ids of sessions as they are opened.
struct Openings<'a>(&'a mut Vec<SessionId>);

impl WorkerOutbox for Openings<'_> {
    fn reply(&mut self, _: Address, reply: &Reply<'_>) {
        let report: SessionReport = bytemuck::pod_read_unaligned(reply.payload);
        self.0.push(report.session);
    }

    fn multicast(&mut self, _: &Command<'_>) {}
}

struct Stage<S> {
    worker: PsmrWorker<S>,
    feed: Feed,
    out: Out,
}

impl<S: Optimistic> Stage<S> {
    /// One worker, its sessions open, and batches of what `payload` makes, all of its own group.
    fn new(service: S, payload: impl FnMut() -> Vec<u8>) -> Self {
        let groups = service.groups();
        let limits = SessionLimits { sessions: SESSIONS, window: WINDOW };
        let shared = Arc::new(Shared::new(Arc::new(service), limits));
        let config = WorkerConfig::new(groups, GroupId::new(0), ReplicaId(0), 1);
        let mut worker = PsmrWorker::new(config, Arc::clone(&shared));
        let ring_of_all = GroupSet::all(groups).ring(groups);
        let mut feed = Feed {
            ring: ring_of_all,
            batches: vec![openings(groups)],
            current: 0,
            left: 0,
            next: [0; SESSIONS],
        };
        let mut opened = Vec::new();
        // The openings keep their own numbers: they are handed out as they are.
        struct Once<'a>(&'a mut Feed, bool);
        impl Deliveries for Once<'_> {
            fn advance(&mut self) -> Option<Delivery> {
                std::mem::take(&mut self.1).then_some(Delivery { ring: self.0.ring, slot: Slot(0) })
            }
            fn bytes(&self) -> &[u8] {
                self.0.bytes()
            }
        }
        let mut once = Once(&mut feed, true);
        let _ = worker.poll(&mut once, Steps(1000), Time::ZERO, &mut Openings(&mut opened));
        assert_eq!(opened.len(), SESSIONS);
        feed.ring = RingId(0);
        feed.batches = batches(&**shared.service(), &opened, payload);
        Self { worker, feed, out: Out { bytes: vec![0; 8192], at: 0 } }
    }

    fn run(&mut self) {
        self.feed.left = BATCHES;
        let budget = Steps(1 << 20);
        let progress = self.worker.poll(&mut self.feed, budget, Time::ZERO, &mut self.out);
        black_box(progress);
    }

    fn bench(mut self, bencher: Bencher<'_, '_>) {
        self.run();
        let count = ItemsCount::new(BATCH * BATCHES);
        bencher.counter(count).bench_local(|| self.run());
        let counters = self.worker.counters();
        assert_eq!((counters.rejected, counters.duplicates, counters.malformed), (0, 0, 0));
    }
}

fn openings(groups: usize) -> Vec<u8> {
    let header = CommandHeader {
        groups: GroupSet::all(groups),
        mode: Mode::SESSION,
        ..CommandHeader::default()
    };
    let open = |number| {
        let mut control = Control::new(ControlKind::Open);
        control.reply_to = Address::memory(1);
        control.number = number;
        control
    };
    let controls: Vec<_> = (1..=SESSIONS as u64).map(open).collect();
    let encode =
        |control: &Control| encode(&Command { header, payload: bytemuck::bytes_of(control) });
    controls.iter().flat_map(encode).collect()
}

fn batches(
    map: &impl GroupMap,
    sessions: &[SessionId],
    mut payload: impl FnMut() -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let own = GroupSet::one(GroupId::new(0));
    let mut command = |index: usize| loop {
        let payload = payload();
        let groups = map.optimistic(&payload);
        if groups != own {
            continue;
        }
        let mut mode = Mode::default();
        if map.is_read(&payload) {
            mode = mode.with(Mode::READ);
        }
        if map.conservative(&payload) != groups {
            mode = mode.with(Mode::OPTIMISTIC);
        }
        let session = sessions[index % SESSIONS];
        let sequence = Sequence(0);
        let header = CommandHeader { session, sequence, groups, mode, ..CommandHeader::default() };
        break encode(&Command { header, payload: &payload });
    };
    (0..BATCHES).map(|_| (0..BATCH).flat_map(&mut command).collect()).collect()
}

fn encode(command: &Command<'_>) -> Vec<u8> {
    let mut bytes = vec![0; command.encoded_length()];
    command.encode(&mut Writer::new(&mut bytes));
    bytes
}

/// What the feed itself costs: to be taken off.
#[divan::bench]
fn feed_alone(bencher: Bencher<'_, '_>) {
    let mut stage = Stage::new(Null::new(1), || vec![3; 16]);
    bencher.counter(ItemsCount::new(BATCH * BATCHES)).bench_local(|| {
        stage.feed.left = BATCHES;
        while stage.feed.advance().is_some() {
            black_box(stage.feed.bytes());
        }
    });
}

/// 16-byte null commands.
#[divan::bench(args = [1, 2])]
fn null(bencher: Bencher<'_, '_>, groups: usize) {
    let mut random = Random::new(1);
    let payload = || [random.next().to_le_bytes(), [0; 8]].concat();
    Stage::new(Null::new(groups), payload).bench(bencher);
}

const KEYS: u64 = 1_000_000;

fn tree(groups: usize) -> BTree {
    let settings = Settings { groups, key_space: 2 * KEYS, ..Settings::default() };
    let pairs = (0..KEYS).map(|key| Pair { key: 2 * key, value: key });
    BTree::load(settings, pairs).expect("valid settings")
}

/// Reads of a tree of a million keys.
#[divan::bench(args = [1, 2])]
fn tree_reads(bencher: Bencher<'_, '_>, groups: usize) {
    let mut random = Random::new(1);
    let payload = || TreeCommand::Read { key: random.below(2 * KEYS) }.to_bytes();
    Stage::new(tree(groups), payload).bench(bencher);
}

/// Inserts and deletes of a tree of a million keys: with two groups, optimistic.
#[divan::bench(args = [1, 2])]
fn tree_inserts_and_deletes(bencher: Bencher<'_, '_>, groups: usize) {
    let mut random = Random::new(1);
    let payload = || {
        let key = random.below(2 * KEYS);
        let insert = TreeCommand::Insert { key, value: key };
        if random.below(2) == 0 { insert } else { TreeCommand::Delete { key } }.to_bytes()
    };
    Stage::new(tree(groups), payload).bench(bencher);
}
