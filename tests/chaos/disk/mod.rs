//! A disk that forgets: a file system in memory that tells what was flushed from what was not, and on
//! demand loses the difference, fails, is slow, is full, or lies.

mod fuse;
mod image;

use fuse::Server;
use fuser::{BackgroundSession, Config, MountOption};
use image::Image;
use psmr::types::Random;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Requests that are served at once: writes that take long do not stop others.
const THREADS: usize = 6;

/// What a loss of power takes of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of it.
    Whole,
    /// Some of it, and sectors of the rest.
    Part,
}

/// What the disk does beside its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Temper {
    /// Each write and flush takes this long; a write is not kept before.
    pub(crate) latency: Duration,
    /// Nothing new has room.
    pub(crate) is_full: bool,
    /// So many writes and flushes go well, and the next one fails.
    pub(crate) fails_after: Option<u64>,
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
    /// Writes and flushes that failed on purpose.
    failures: u64,
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
}
