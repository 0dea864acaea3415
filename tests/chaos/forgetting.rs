//! The disk that forgets does what the tests on it take for granted.

use super::Trial;
use super::disk::{Disk, Failure, Loss, Temper};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// Plain files on a disk whose power goes.
pub(crate) fn run(trial: &Trial) {
    let disk = Disk::mount(&trial.directory.join("disk"), trial.seed).expect("the kernel has FUSE");
    let at = |name: &str| disk.path().join(name);
    let flush_names = || File::open(disk.path()).and_then(|d| d.sync_all()).expect("it is there");
    // A name is kept by its directory, what is in the file by the file.
    for name in ["both", "name", "neither"] {
        let mut file = File::create(at(name)).expect("there is room");
        file.write_all(&[7; 5000]).expect("there is room");
        if name == "both" {
            file.sync_all().expect("a good disk");
        }
        if name == "name" {
            flush_names();
        }
    }
    assert_eq!(fs::read(at("neither")).expect("it is there"), [7; 5000]);
    disk.forget(Loss::Whole);
    assert_eq!(fs::read(at("both")).expect("kept"), [7; 5000]);
    assert!(fs::read(at("name")).expect("kept").is_empty());
    let gone = fs::read(at("neither")).expect_err("its name was not kept");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    // A new name counts once the directory is flushed, and until then the old one does.
    fs::write(at("fresh"), "2").expect("there is room");
    fs::rename(at("fresh"), at("both")).expect("both are there");
    disk.forget(Loss::Whole);
    assert_eq!(fs::read(at("both")).expect("kept"), [7; 5000]);
    // Writes that are flushed one by one, and those that are not.
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let plain = options.open(at("both")).expect("it is there");
    let synced = options.custom_flags(libc::O_DSYNC).open(at("both")).expect("it is there");
    plain.write_all_at(&[8; 100], 0).expect("a good disk");
    synced.write_all_at(&[9; 4096], 4096).expect("a good disk");
    disk.forget(Loss::Whole);
    let kept = fs::read(at("both")).expect("kept");
    assert_eq!((kept.len(), &kept[..100], &kept[4096..]), (8192, &[7; 100][..], &[9; 4096][..]));
    // Of what is lost in part, whole sectors are old or new.
    for round in 1..50_u8 {
        plain.write_all_at(&[round; 8192], 0).expect("a good disk");
        disk.forget(Loss::Part);
        let kept = fs::read(at("both")).expect("kept");
        assert!(kept.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
    }
    let kept = fs::read(at("both")).expect("kept");
    assert!(kept.iter().any(|byte| *byte != 49), "everything arrived in spite of a loss");
    refuses(&disk, &synced);
}

/// It fails when it is told to, once, and has no room when it is told so.
fn refuses(disk: &Disk, synced: &File) {
    disk.set(Temper { failure: Some(Failure::of_write(1)), ..Temper::default() });
    synced.write_all_at(&[1; 512], 0).expect("the first goes well");
    let error = synced.write_all_at(&[1; 512], 0).expect_err("the second does not");
    assert_eq!((error.raw_os_error(), disk.take_failures()), (Some(libc::EIO), 1));
    synced.write_all_at(&[1; 512], 0).expect("only one fails");
    disk.set(Temper { is_full: true, ..Temper::default() });
    synced.write_all_at(&[1; 512], 0).expect("this place is taken already");
    let error = File::create(disk.path().join("more")).expect_err("no room");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    disk.set(Temper { lies: true, ..Temper::default() });
    synced.write_all_at(&[2; 512], 0).expect("so it says");
    synced.sync_all().expect("so it says");
    disk.forget(Loss::Whole);
    assert_eq!(fs::read(disk.path().join("both")).expect("kept")[..512], [1; 512]);
}
