//! A checkpoint that anybody may have written.

use super::checkpoint::{Checkpoint, Frame, Kind, START};
use super::{
    Deliveries, Delivery, PsmrWorker, SessionLimits, Shared, Steps, Worker, WorkerConfig,
    WorkerOutbox,
};
use crate::multi_ring::{NoFrames, Subscription, SubscriptionConfig};
use crate::ring_paxos::LearnerConfig;
use crate::service::btree::{BTree, Pair, Settings};
use crate::types::{Address, GroupId, NodeId, ReplicaId, RingId, Slot, Time};
use crate::wire::{Command, Control, ControlKind, Reply, Writer};
use std::sync::Arc;

const GROUPS: usize = 2;

/// Reads `data` as a checkpoint; then as frames of kind, worker, length (two bytes) and body of one
/// that checks, and restores a replica from it.
pub(crate) fn fuzz(data: &[u8]) {
    let _ = Checkpoint::new(vec![data.to_vec()], GROUPS);
    let Ok(checkpoint) = Checkpoint::new(sealed(data), GROUPS) else { return };
    let shared = replica();
    if shared.restore(&checkpoint).is_err() {
        return;
    }
    let restored = (0..GROUPS).all(|number| {
        let (mut worker, mut subscription) = worker(&shared, number);
        worker.restore(&checkpoint, &mut subscription, &mut NoFrames).is_ok()
    });
    // A tree that was taken over is one, whoever wrote it.
    shared.service().check_invariants().unwrap();
    if restored {
        take(&shared, Slot(checkpoint.slot().0 + 1));
    }
}

fn sealed(mut data: &[u8]) -> Vec<Vec<u8>> {
    let (mut pieces, mut length) = (Vec::new(), 0);
    while let Some(([kind, group, low, high], rest)) = data.split_first_chunk() {
        let kind = [Kind::Worker, Kind::Sessions, Kind::Service][usize::from(kind % 3)];
        let count = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let mut frame = [&[0; START], &rest[..count]].concat();
        Frame::seal(kind, GroupId::new(usize::from(group % 4)), &mut frame);
        length += frame.len() as u64;
        pieces.push(frame);
        data = &rest[count..];
    }
    pieces.push(Checkpoint::end(pieces.len() as u64, length));
    pieces
}

pub(super) fn replica() -> Arc<Shared<BTree>> {
    let settings = Settings { groups: GROUPS, key_space: 64, capacity: 4, ..Settings::default() };
    let tree = BTree::load(settings, (0..20).map(|key| Pair { key: 2 * key, value: key }));
    let limits = SessionLimits { sessions: 4, window: 8 };
    Arc::new(Shared::new(Arc::new(tree.expect("sound settings")), limits))
}

pub(super) fn worker(
    shared: &Arc<Shared<BTree>>,
    number: usize,
) -> (PsmrWorker<BTree>, Subscription) {
    let config = WorkerConfig::new(GROUPS, GroupId::new(number), ReplicaId(0), 1);
    let learner =
        |ring| LearnerConfig { window: 4, ..LearnerConfig::new(RingId(ring), vec![NodeId(0)], 0) };
    let own = u16::try_from(number).expect("two groups");
    let rings = vec![learner(own), learner(2)];
    let subscription = Subscription::new(SubscriptionConfig { rings, m: 1 }, 1, Time::ZERO);
    (PsmrWorker::new(config, Arc::clone(shared)), subscription)
}

/// One batch of g_all.
struct Batch {
    bytes: Vec<u8>,
    slot: Option<Slot>,
}

impl Deliveries for Batch {
    fn advance(&mut self) -> Option<Delivery> {
        self.slot.take().map(|slot| Delivery { ring: RingId(2), slot })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

struct Nobody;

impl WorkerOutbox for Nobody {
    fn reply(&mut self, _to: Address, _reply: &Reply<'_>) {}

    fn multicast(&mut self, _command: &Command<'_>) {}
}

/// Opens a session and makes a checkpoint, by a marker at `slot`.
pub(super) fn take(shared: &Arc<Shared<BTree>>, slot: Slot) -> Arc<Checkpoint> {
    shared.checkpoints().turn_on(false, u64::MAX);
    let mut bytes = Vec::new();
    for kind in [ControlKind::Open, ControlKind::Checkpoint] {
        let mut control = Control::new(kind);
        (control.client, control.number) = (7, slot.0 + 1);
        let command = control.command(GROUPS);
        let at = bytes.len();
        bytes.resize(at + command.encoded_length(), 0);
        command.encode(&mut Writer::new(&mut bytes[at..]));
    }
    let mut workers: Vec<_> = (0..GROUPS)
        .map(|number| (worker(shared, number), Batch { bytes: bytes.clone(), slot: Some(slot) }))
        .collect();
    for _ in 0..10_000 {
        for ((worker, subscription), batch) in &mut workers {
            worker.poll(batch, Steps(8), Time::ZERO, &mut Nobody);
            worker.keep_checkpoints(subscription);
        }
        if let Some(latest) = shared.checkpoints().latest().filter(|latest| latest.slot() == slot) {
            return latest;
        }
    }
    panic!("no checkpoint was completed");
}

/// What a sound checkpoint is to [`fuzz`].
#[cfg(test)]
fn sound() -> Vec<u8> {
    let checkpoint = take(&replica(), Slot(9));
    let mut data = Vec::new();
    for frame in checkpoint.frames().filter(|frame| frame.kind != Kind::End) {
        let group = u8::try_from(frame.group.index()).unwrap();
        let [low, high] = u16::try_from(frame.body.len()).unwrap().to_le_bytes();
        data.extend([frame.kind as u8 - 1, group, low, high]);
        data.extend_from_slice(frame.body);
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_has_a_checkpoint_that_is_restored() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/checkpoint/sound");
        let sound = sound();
        let known = std::fs::read(path).unwrap_or_default();
        if known != sound {
            std::fs::write(path, &sound).unwrap();
            panic!("the format has changed, and with it {path}: look at it and commit it");
        }
        let checkpoint = Checkpoint::new(sealed(&sound), GROUPS).unwrap();
        replica().restore(&checkpoint).unwrap();
        fuzz(&sound);
    }
}
