//! One request to a disk fails, whichever it is: of a log's files and directories, of its manifest,
//! of a replica's checkpoint. Who asked is told, nothing is tried again, and what was acknowledged is
//! there in the next life, also if the power went meanwhile. The disk is that of tests/chaos.rs;
//! without the right to mount it this test says so and stops.

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

#[allow(dead_code, reason = "tests/chaos.rs uses the rest")]
#[path = "chaos/disk/mod.rs"]
mod disk;
#[path = "failing_disk/lives.rs"]
mod lives;

use disk::{Among, Disk, Failure, Loss, Temper};
use lives::{Lives, Step};
use std::collections::BTreeMap;

/// Lives of an acceptor and a replica: all that they do to their directory.
const SCRIPT: &[Step] = &[
    Step::Open,
    Step::Append(2),
    Step::Save,
    Step::End,
    Step::Open,
    Step::Fill,
    Step::Save,
    Step::Close,
    Step::End,
    Step::Open,
    Step::PutAside,
    Step::Append(1),
    Step::Save,
    Step::End,
    Step::Lose,
    Step::Open,
    Step::Append(2),
    Step::End,
    Step::Open,
    Step::End,
    Step::Open,
    Step::Admit,
    Step::Append(1),
    Step::Close,
    Step::End,
    Step::Open,
    Step::End,
];
/// The life behind the failure, and the one behind the loss of power that ends it. The former saves
/// nothing: what it has read it must keep by itself.
const AFTERWARDS: &[Step] = &[Step::Open, Step::Append(2), Step::End];
const AT_LAST: &[Step] = &[Step::Open, Step::Append(1), Step::Save, Step::End];
/// What becomes of that which was not flushed when the process ends.
const LOSSES: [Option<Loss>; 3] = [None, Some(Loss::Whole), Some(Loss::Part)];

fn mount(name: &str) -> Option<Disk> {
    let path = std::env::temp_dir().join(format!("psmr-failing-{name}-{}", std::process::id()));
    match Disk::mount(&path, 1) {
        Ok(disk) => Some(disk),
        Err(error) => {
            let _ = std::fs::remove_dir(&path);
            println!("skipped: no disk of one's own: {error}");
            None
        }
    }
}

/// Has each request among `among` fail with `error`, one a run, and looks what becomes of the rest.
/// Returns which requests have failed how often.
fn each_fails(
    name: &str,
    among: Among,
    error: i32,
    is_cached: bool,
) -> BTreeMap<&'static str, u64> {
    let mut failed = BTreeMap::new();
    let Some(disk) = mount(name) else { return failed };
    let empty = disk.copy();
    for after in 0.. {
        disk.put_back(&empty);
        let sound = Temper { is_cached, ..Temper::default() };
        let mut lives = Lives::begin(&disk);
        disk.set(Temper { failure: Some(Failure { after, among, error }), ..sound });
        let outcome = lives.follow(SCRIPT);
        disk.set(sound);
        if disk.take_failures() == 0 {
            outcome.unwrap_or_else(|trouble| panic!("nothing failed, but {trouble}"));
            break;
        }
        let request = disk.failed();
        let place = format!("{name}: {request} {after}");
        let told = match outcome {
            Err(trouble) => {
                assert!(trouble.names(error, disk.path()), "{place}: it was told as {trouble}");
                trouble.to_string()
            }
            // The length of a file that is about to be read is asked for as a hint.
            Ok(()) => {
                assert_eq!(request, "getattr", "{place}: nobody was told");
                "nobody needed to be told".to_owned()
            }
        };
        *failed.entry(request).or_default() += 1;
        let (left, ledger) = (disk.copy(), lives.end());
        // What only looks leaves nothing behind that depends on where it failed.
        let losses = if disk::only_looks(request) {
            &LOSSES[usize::try_from(after % 3).expect("below 3")..][..1]
        } else {
            &LOSSES[..]
        };
        for loss in losses {
            disk.put_back(&left);
            let place = format!("{place}, {told}, then {loss:?}");
            loss.iter().for_each(|loss| disk.forget(*loss));
            let mut lives = Lives::resume(&disk, &ledger);
            let outcome = lives.follow(AFTERWARDS);
            outcome.unwrap_or_else(|trouble| panic!("{place}: {trouble}"));
            disk.forget(Loss::Whole);
            let outcome = lives.follow(AT_LAST);
            outcome.unwrap_or_else(|trouble| panic!("{place}, then power is lost: {trouble}"));
        }
    }
    println!("{name}: {failed:?}");
    let path = disk.path().to_owned();
    drop(disk);
    let _ = std::fs::remove_dir(path);
    failed
}

/// Whether each of `requests` has failed at least once.
fn has_all(failed: &BTreeMap<&'static str, u64>, requests: &[&str]) {
    // Without a disk nothing has.
    let missing = requests.iter().find(|request| !failed.contains_key(*request));
    assert!(failed.is_empty() || missing.is_none(), "no {missing:?} in {failed:?}");
}

#[test]
fn any_request_that_fails_is_told_and_loses_nothing_that_was_acknowledged() {
    let failed = each_fails("direct", Among::All, libc::EIO, false);
    has_all(&failed, &["mkdir", "create", "open", "write", "fsync", "fsyncdir", "rename"]);
    has_all(&failed, &["lookup", "getattr", "read", "readdir", "fallocate", "unlink", "rmdir"]);
}

#[test]
fn any_request_without_room_is_told_and_loses_nothing_that_was_acknowledged() {
    let failed = each_fails("full", Among::Growth, libc::ENOSPC, false);
    has_all(&failed, &["mkdir", "create", "write", "fsync", "fsyncdir", "rename", "fallocate"]);
}

#[test]
fn a_flush_that_fails_is_not_believed_later_where_writes_go_through_the_page_cache() {
    let failed = each_fails("cached", Among::Writes, libc::EIO, true);
    has_all(&failed, &["write", "fsync", "fsyncdir"]);
}
