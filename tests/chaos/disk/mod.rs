//! A disk that forgets: a file system in memory that tells what was flushed from what was not, and on
//! demand loses the difference, fails, is slow, is full, or lies.

mod fuse;
mod image;

use fuse::{LOOKS, Server};
use fuser::{BackgroundSession, Config, Errno, MountOption};
pub(crate) use image::Image;
use psmr::types::Random;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Requests that are served at once: writes that take long do not stop others.
const THREADS: usize = 6;

/// Whether a request changes nothing.
pub(crate) fn only_looks(request: &str) -> bool {
    LOOKS.contains(&request)
}

/// What a loss of power takes of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of it.
    Whole,
    /// Some of it, and sectors of the rest.
    Part,
}

/// Which requests a failure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    /// Writes and flushes.
    Writes,
    /// Those that may want room.
    Growth,
    /// All that touch names, files or what is in them.
    All,
}

/// One request that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// So many go well before.
    pub(crate) after: u64,
    pub(crate) among: Among,
    /// As the system numbers it. Of a write for which there is no room the first half still has some.
    pub(crate) error: i32,
}

impl Failure {
    /// The write or flush behind so many fails for no reason that anybody knows.
    pub(crate) const fn of_write(after: u64) -> Self {
        Self { after, among: Among::Writes, error: libc::EIO }
    }
}

/// What the disk does beside its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Temper {
    /// Each write and flush takes this long; a write is not kept before.
    pub(crate) latency: Duration,
    /// Nothing new has room.
    pub(crate) is_full: bool,
    /// What fails, once.
    pub(crate) failure: Option<Failure>,
    /// Writes go through the page cache: it has no others.
    pub(crate) is_cached: bool,
    /// Says that it has flushed, and has not.
    pub(crate) lies: bool,
}

/// What the disk's threads share.
#[derive(Debug)]
struct State {
    image: Image,
    temper: Temper,
    random: Random,
    /// How often the power has gone: what was on its way before never arrives.
    losses: u64,
    /// Requests that failed on purpose.
    failures: u64,
    /// What the last one of them was.
    failed: &'static str,
    /// A name that was not looked up just now.
    unseen: Option<(u64, OsString, Errno)>,
    /// The last write that failed was taken in part.
    is_short: bool,
    /// Requests so far that were to change something or keep it.
    changes: u64,
}

/// A disk, mounted. Dropping it unmounts it; its files are gone then.
pub(crate) struct Disk {
    path: PathBuf,
    state: Arc<RwLock<State>>,
    _session: BackgroundSession,
}

impl Disk {
    /// Mounts an empty disk at `path`, which it makes.
    pub(crate) fn mount(path: &Path, seed: u64) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let state = State {
            image: Image::new(),
            temper: Temper::default(),
            random: Random::new(seed),
            losses: 0,
            failures: 0,
            failed: "",
            unseen: None,
            is_short: false,
            changes: 0,
        };
        let state = Arc::new(RwLock::new(state));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("psmr-forgetful".to_owned())];
        config.n_threads = Some(THREADS);
        let server = Server::new(Arc::clone(&state));
        let session = fuser::spawn_mount(server, path, &config)?;
        Ok(Self { path: path.to_owned(), state, _session: session })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it does from now on.
    pub(crate) fn set(&self, temper: Temper) {
        self.state.write().expect("no thread of a disk panics").temper = temper;
    }

    /// What it does.
    pub(crate) fn temper(&self) -> Temper {
        self.state.read().expect("no thread of a disk panics").temper
    }

    /// The power goes. Nobody has a file open.
    pub(crate) fn forget(&self, loss: Loss) {
        let mut state = self.state.write().expect("no thread of a disk panics");
        let mut random = Random::new(state.random.next());
        state.image.forget(loss, &mut random);
        state.losses += 1;
    }

    /// How often it has failed on purpose since this was asked last.
    pub(crate) fn take_failures(&self) -> u64 {
        std::mem::take(&mut self.state.write().expect("no thread of a disk panics").failures)
    }

    /// What failed last.
    pub(crate) fn failed(&self) -> &'static str {
        self.state.read().expect("no thread of a disk panics").failed
    }

    /// How often it was asked so far to change something or keep it.
    pub(crate) fn changes(&self) -> u64 {
        self.state.read().expect("no thread of a disk panics").changes
    }

    /// All of it, to be put back later.
    pub(crate) fn copy(&self) -> Image {
        self.state.read().expect("no thread of a disk panics").image.clone()
    }

    /// Puts a copy back. Nobody has a file open.
    pub(crate) fn put_back(&self, copy: &Image) {
        let mut state = self.state.write().expect("no thread of a disk panics");
        state.image = copy.behind(&state.image);
        state.losses += 1;
    }
}
