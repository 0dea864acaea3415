//! Data directories: of a former life, of others, wiped, in use.

use super::model::Scratch;
use crate::ring_paxos::{Log, Memory, Record, Replay};
use crate::storage::{Identity, Opened, Origin, StorageError, Store};
use crate::types::{Ballot, Incarnation, Instance, NodeId, RingId, Slot, Time, ValueId};
use crate::wire::Value;
use std::fs;
use std::path::Path;

const RING: RingId = RingId(0);
const INSTANCES: usize = 16;
const ME: Identity = Identity { cluster: 5, configuration: 6, node: NodeId(1) };

fn records(opened: &Opened) -> Vec<String> {
    let mut records = Vec::new();
    opened.recovered.replay(&mut |record| records.push(format!("{record:?}")));
    records
}

fn write_one(opened: &mut Opened, instance: u64) {
    let ballot = Ballot::new(1, NodeId(1), Incarnation(1));
    let id = ValueId::new(NodeId(1), Incarnation(1), instance);
    let (instance, value) = (Instance(instance), Value::Batch(b"abc"));
    let lsn = opened.log.append(&Record::Accept { instance, ballot, id, value });
    opened.log.submit(Time(1), None).unwrap();
    assert!(opened.log.persisted() >= lsn);
}

fn refusal(directory: &Path, identity: &Identity) -> String {
    Store::open(directory, identity).unwrap_err().to_string()
}

#[test]
fn a_log_comes_back_with_its_directory_and_an_empty_one_is_a_first_life() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("data");
    let mut store = Store::open(&directory, &ME).unwrap();
    assert_eq!((store.origin(), store.life()), (Origin::Created, 1));
    let mut opened = store.ring(RING, INSTANCES).unwrap();
    assert_eq!(opened.recovered.memory(), Memory::Fresh);
    assert!(records(&opened).is_empty());
    write_one(&mut opened, 1);
    opened.log.append(&Record::Trim { trim: Instance(0), known: (Instance(1), Slot(4)) });
    opened.log.close().unwrap();
    drop((store, opened));
    let mut store = Store::open(&directory, &ME).unwrap();
    assert_eq!((store.origin(), store.life()), (Origin::Found, 2));
    let opened = store.ring(RING, INSTANCES).unwrap();
    assert_eq!(opened.recovered.memory(), Memory::Restored);
    let records = records(&opened);
    assert!(records.iter().any(|record| record.contains("instance: Instance(1)")), "{records:?}");
    assert!(records.iter().any(|record| record.contains("Slot(4)")), "{records:?}");
    assert!(store.ring(RING, 2 * INSTANCES).unwrap_err().to_string().contains("instances"));
}

#[test]
fn a_directory_of_another_or_in_use_is_refused_by_name() {
    let scratch = Scratch::new();
    let directory = &scratch.0;
    let store = Store::create(directory, &ME).unwrap();
    assert!(refusal(directory, &ME).contains("in use by another process"));
    drop(store);
    let other = [
        (Identity { cluster: 9, ..ME }, "of cluster 0000000000000005, not 0000000000000009"),
        (Identity { configuration: 9, ..ME }, "of configuration"),
        (Identity { node: NodeId(9), ..ME }, "of node 1, not 9"),
    ];
    for (identity, message) in other {
        let refusal = refusal(directory, &identity);
        assert!(refusal.contains(message), "{refusal}");
    }
    let fresh = Store::create(directory, &ME).unwrap_err();
    assert!(matches!(fresh, StorageError::NotFresh { .. }), "{fresh}");
    let manifest = directory.join("manifest");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"format\": 1", "\"format\": 7")).unwrap();
    assert!(refusal(directory, &ME).contains("has format 7"));
    fs::write(&manifest, text.replace("\"node\": 1", "\"node\": 3")).unwrap();
    assert!(refusal(directory, &ME).contains("checksum is wrong"));
    fs::remove_file(&manifest).unwrap();
    fs::write(directory.join("letters"), b"x").unwrap();
    assert!(refusal(directory, &ME).contains("no manifest"));
}

#[test]
fn a_log_that_is_wiped_rolled_back_or_rotten_has_no_vote_until_it_is_admitted() {
    let scratch = Scratch::new();
    let log = scratch.0.join("ring-0");
    let open = || Store::open(&scratch.0, &ME).unwrap();
    let mut store = open();
    let mut opened = store.ring(RING, INSTANCES).unwrap();
    let old = fs::read(log.join("segment-00")).unwrap();
    write_one(&mut opened, 1);
    opened.log.close().unwrap();
    drop((store, opened));
    drop(open().ring(RING, INSTANCES).unwrap());
    let written = fs::read(log.join("segment-00")).unwrap();
    for (bytes, problem) in [
        (old, "an old copy"),
        (vec![0; written.len()], "no segment begins"),
        (Vec::new(), "no segment begins"),
        (flipped(&written), "knows it as persistent"),
    ] {
        fs::write(log.join("segment-00"), bytes).unwrap();
        let error = open().ring(RING, INSTANCES).unwrap_err();
        assert!(matches!(error, StorageError::Damaged { ring: RING, .. }), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
    fs::remove_file(log.join("segment-05")).unwrap();
    let error = open().ring(RING, INSTANCES).unwrap_err().to_string();
    assert!(error.contains("segment-05 is missing"), "{error}");
    fs::remove_dir_all(&log).unwrap();
    let mut opened = open().ring(RING, INSTANCES).unwrap();
    assert_eq!(opened.recovered.memory(), Memory::Amnesiac);
    write_one(&mut opened, 7);
    drop(opened);
    // A life in which it was not admitted leaves nothing to the next.
    let mut opened = open().ring(RING, INSTANCES).unwrap();
    assert_eq!(opened.recovered.memory(), Memory::Amnesiac);
    assert!(records(&opened).is_empty());
    write_one(&mut opened, 8);
    opened.log.append(&Record::Admitted);
    opened.log.close().unwrap();
    drop(opened);
    let opened = open().ring(RING, INSTANCES).unwrap();
    assert_eq!(opened.recovered.memory(), Memory::Restored);
    assert!(records(&opened).iter().any(|record| record.contains("Instance(8)")));
}

/// One bit of the second block.
fn flipped(segment: &[u8]) -> Vec<u8> {
    let mut segment = segment.to_vec();
    segment[crate::mem::SECTOR + 90] ^= 4;
    segment
}

#[test]
fn a_failed_or_short_write_ends_the_log() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.0, &ME).unwrap();
    for (ring, result) in
        [(RingId(0), Err(std::io::Error::from_raw_os_error(libc::EIO))), (RingId(1), Ok(512))]
    {
        let mut log = store.ring(ring, INSTANCES).unwrap().log;
        let persisted = log.persisted();
        let lsn = log.append(&Record::Promise(Ballot::new(1, NodeId(1), Incarnation(1))));
        log.prepare(Time(1)).unwrap();
        let sealed = log.depart().unwrap();
        let (token, buffer) = (sealed.sequence, sealed.buffer);
        let written = crate::transport::Written { owner: 0, token, buffer, result };
        let error = log.on_written(written).unwrap_err();
        assert!(error.to_string().contains("this acceptor stops"), "{error}");
        log.append(&Record::Admitted);
        assert!(log.submit(Time(2), None).is_err());
        assert!(log.persisted() == persisted && persisted < lsn);
    }
}

#[test]
fn a_log_without_a_vote_is_begun_anew_and_kept_aside_only_if_something_is_in_it() {
    let scratch = Scratch::new();
    let aside = scratch.0.join("ring-0.given-up");
    let open = || {
        let mut store = Store::open(&scratch.0, &ME).unwrap();
        store.ring_or(RING, INSTANCES, Memory::Newborn).unwrap()
    };
    // As at each first start: made, and opened again before its ring begins.
    drop(open());
    let mut opened = open();
    assert_eq!(opened.recovered.memory(), Memory::Amnesiac);
    assert!(!aside.exists(), "there was nothing in it");
    write_one(&mut opened, 1);
    opened.log.close().unwrap();
    drop(opened);
    assert_eq!(open().recovered.memory(), Memory::Amnesiac);
    assert!(aside.is_dir(), "what was in it may be looked at");
}
