//! A log on a file system of its own, which is too small for it or has no direct writes. It is
//! mounted and removed here; without the right to do so these tests say so and stop.

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use psmr::ring_paxos::{Log, Memory, Record, Replay};
use psmr::storage::{Identity, StorageError, Store};
use psmr::types::{Instance, NodeId, RingId, Slot, Time};
use std::path::PathBuf;
use std::process::Command;

const RING: RingId = RingId(0);
const ME: Identity = Identity { cluster: 1, configuration: 2, node: NodeId(3) };

/// A small file system in memory.
struct Disk(PathBuf);

impl Disk {
    fn mount(megabytes: u32) -> Option<Self> {
        let name = format!("psmr-disk-{megabytes}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory for temporary files");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "none"])
            .arg(&path)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(path));
        }
        let _ = std::fs::remove_dir(&path);
        println!("skipped: no right to mount a file system");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_disk_without_room_for_the_log_is_named_and_used_once_it_has_room() {
    let Some(disk) = Disk::mount(6) else { return };
    let directory = disk.0.join("data");
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![1; 4 << 20]).expect("there is room for that");
    let mut store = Store::open(&directory, &ME).expect("a manifest is small");
    let error = store.ring(RING, 16).expect_err("4 MiB of 2");
    assert!(matches!(error, StorageError::NoRoom { .. }), "{error}");
    assert!(error.to_string().contains("4194304 bytes"), "{error}");
    std::fs::remove_file(filler).expect("it is there");
    let opened = store.ring(RING, 16).expect("4 MiB of 6");
    assert_eq!(opened.recovered.memory(), Memory::Fresh);
}

#[test]
fn a_log_through_the_page_cache_comes_back_too() {
    let Some(disk) = Disk::mount(8) else { return };
    let known = (Instance(9), Slot(12));
    {
        let mut log = Store::open(&disk.0, &ME).unwrap().ring(RING, 16).unwrap().log;
        let lsn = log.append(&Record::Trim { trim: Instance(0), known });
        log.submit(Time(1), None).unwrap();
        assert!(log.persisted() >= lsn);
    }
    let opened = Store::open(&disk.0, &ME).unwrap().ring(RING, 16).unwrap();
    let mut is_there = false;
    opened.recovered.replay(&mut |record| {
        is_there |= matches!(record, Record::Trim { known: found, .. } if *found == known);
    });
    assert!(is_there);
}
