//! What the kernel asks of the disk.

use super::image::{Body, Image, Inode, ROOT, SECTOR};
use super::{Among, Failure, State};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use psmr::types::Random;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kernel remembers nothing: it would not know what was forgotten.
const TTL: Duration = Duration::ZERO;
const HANDLE: FileHandle = FileHandle(0);

/// The side of the kernel.
pub(super) struct Server {
    state: Arc<RwLock<State>>,
}

/// What a write or a flush comes to.
enum Fate {
    /// It is kept after this time, unless the power goes before.
    Kept(Duration, u64),
    Failed(Errno),
}

impl Server {
    pub(super) const fn new(state: Arc<RwLock<State>>) -> Self {
        Self { state }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("no thread of a disk panics")
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("no thread of a disk panics")
    }

    /// Keeps something once the disk has had its time.
    fn keep(&self, fate: Fate, keep: impl FnOnce(&mut Image)) -> Result<(), Errno> {
        let (latency, losses) = match fate {
            Fate::Kept(latency, losses) => (latency, losses),
            Fate::Failed(error) => return Err(error),
        };
        if !latency.is_zero() {
            std::thread::park_timeout(latency);
        }
        let mut state = self.state_mut();
        if state.losses == losses && !state.temper.lies {
            keep(&mut state.image);
        }
        Ok(())
    }

    fn flush(&self, number: u64, name: &'static str) -> Result<(), Errno> {
        let mut state = self.state_mut();
        let fate = state.fate(name);
        if matches!(fate, Fate::Failed(_)) {
            state.image.fail_flush(number);
        }
        drop(state);
        self.keep(fate, |image| {
            // An inode that was forgotten meanwhile has nothing to keep.
            let _ = image.flush(number);
        })
    }

    fn add(
        &self,
        (parent, name): (INodeNo, &OsStr),
        mode: u32,
        is_file: bool,
    ) -> Result<FileAttr, Errno> {
        let mut state = self.state_mut();
        if let Some(error) = state.refusal(if is_file { "create" } else { "mkdir" }) {
            return Err(error);
        }
        if state.temper.is_full {
            return Err(Errno::ENOSPC);
        }
        let mode = u16::try_from(mode & 0o777).expect("nine bits");
        let number = state.image.add(parent.0, name, mode, is_file).ok_or(Errno::ENOENT)?;
        attributes(&state.image, number).ok_or(Errno::ENOENT)
    }
}

/// Requests that only look.
pub(super) const LOOKS: [&str; 5] = ["lookup", "getattr", "open", "read", "readdir"];

impl State {
    /// What the next write or flush comes to.
    fn fate(&mut self, name: &'static str) -> Fate {
        match self.refusal(name) {
            Some(error) => Fate::Failed(error),
            None => Fate::Kept(self.temper.latency, self.losses),
        }
    }

    /// Why the next request, which is called `name`, is refused, if it is.
    fn refusal(&mut self, name: &'static str) -> Option<Errno> {
        if name != "lookup" {
            self.unseen = None;
        }
        let is_look = LOOKS.contains(&name);
        self.changes += u64::from(!is_look);
        let Failure { after, among, error } = self.temper.failure.as_mut()?;
        let is_write = ["write", "fsync", "fsyncdir"].contains(&name);
        let is_among = match among {
            Among::Writes => is_write,
            Among::Growth => is_write || ["mkdir", "create", "rename", "fallocate"].contains(&name),
            Among::All => true,
        };
        if !is_among {
            return None;
        }
        if *after > 0 {
            *after -= 1;
            return None;
        }
        let error = Errno::from_i32(*error);
        self.temper.failure = None;
        self.failures += 1;
        self.failed = name;
        Some(error)
    }

    /// Why `name` is not looked up, if it is not. The kernel asks once more for a name that it knows.
    fn blindness(&mut self, parent: u64, name: &OsStr) -> Option<Errno> {
        let is_again =
            |(before, known, _): &(u64, OsString, Errno)| *before == parent && known == name;
        if let Some((_, _, error)) = self.unseen.take().filter(is_again) {
            return Some(error);
        }
        let error = self.refusal("lookup")?;
        self.unseen = Some((parent, name.to_owned(), error));
        Some(error)
    }

    /// Whether a part of what is written finds room: of the first write that finds too little.
    fn falls_short(&mut self, bytes: &[u8]) -> bool {
        self.is_short = !self.is_short && bytes.len() > SECTOR;
        self.is_short
    }

    /// The next write fails as this one should.
    fn refuse_next(&mut self, error: Errno) {
        self.failures -= 1;
        let failure = Failure { after: 0, among: Among::Writes, error: error.code() };
        self.temper.failure = Some(failure);
    }
}

fn attributes(image: &Image, number: u64) -> Option<FileAttr> {
    let Inode { mode, body } = image.inode(number)?;
    let (kind, size) = match body {
        Body::File { now, .. } => (FileType::RegularFile, now.size as u64),
        Body::Directory { .. } => (FileType::Directory, 0),
    };
    Some(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: *mode,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("64 bits")
}

fn opened() -> FopenFlags {
    FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
}

fn empty(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if let Some(error) = self.state_mut().blindness(parent.0, name) {
            return reply.error(error);
        }
        let state = self.state();
        let number = state.image.names(parent.0).and_then(|names| names.get(name));
        match number.and_then(|number| attributes(&state.image, *number)) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        if let Some(error) = self.state_mut().refusal("getattr") {
            return reply.error(error);
        }
        match attributes(&self.state().image, inode.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let Some(error) = self.state_mut().refusal("setattr") {
            return reply.error(error);
        }
        let mut state = self.state_mut();
        if let Some(size) = size {
            let _ = state.image.resize(inode.0, index(size));
        }
        match attributes(&state.image, inode.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        match self.add((parent, name), mode, false) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        if self.state().temper.is_cached && flags & libc::O_DIRECT != 0 {
            return reply.error(Errno::EINVAL);
        }
        match self.add((parent, name), mode, true) {
            Ok(attributes) => reply.created(&TTL, &attributes, Generation(0), HANDLE, opened()),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let mut state = self.state_mut();
        if let Some(error) = state.refusal("open") {
            return reply.error(error);
        }
        if state.temper.is_cached && flags.0 & libc::O_DIRECT != 0 {
            return reply.error(Errno::EINVAL);
        }
        reply.opened(HANDLE, opened());
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if let Some(error) = self.state_mut().refusal("unlink") {
            return reply.error(error);
        }
        let removed = self.state_mut().image.remove(parent.0, name);
        empty(reply, removed.map(drop).ok_or(Errno::ENOENT));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if let Some(error) = self.state_mut().refusal("rmdir") {
            return reply.error(error);
        }
        let mut state = self.state_mut();
        let number = state.image.names(parent.0).and_then(|names| names.get(name)).copied();
        let is_empty =
            number.and_then(|number| state.image.names(number)).map(|names| names.is_empty());
        empty(
            reply,
            match is_empty {
                None => Err(Errno::ENOENT),
                Some(false) => Err(Errno::ENOTEMPTY),
                Some(true) => state.image.remove(parent.0, name).map(drop).ok_or(Errno::ENOENT),
            },
        );
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if let Some(error) = self.state_mut().refusal("rename") {
            return reply.error(error);
        }
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let mut state = self.state_mut();
        let there = state.image.names(to.0).and_then(|names| names.get(new)).copied();
        let inside = there.and_then(|number| state.image.names(number));
        if inside.is_some_and(|names| !names.is_empty()) {
            return reply.error(Errno::ENOTEMPTY);
        }
        let renamed = state.image.rename((parent.0, name), (to.0, new));
        empty(reply, renamed.ok_or(Errno::ENOENT));
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if let Some(error) = self.state_mut().refusal("read") {
            return reply.error(error);
        }
        match self.state().image.read(inode.0, index(offset), index(size.into())) {
            Some(bytes) => reply.data(&bytes),
            None => reply.error(Errno::EISDIR),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (at, is_kept) = (index(offset), flags.0 & libc::O_DSYNC != 0);
        let mut state = self.state_mut();
        let size = attributes(&state.image, inode.0).map_or(0, |attributes| attributes.size);
        if state.temper.is_full && index(size) < at + bytes.len() {
            return reply.error(Errno::ENOSPC);
        }
        let bytes = match state.fate("write") {
            Fate::Kept(..) => bytes,
            Fate::Failed(error) if error.code() == libc::ENOSPC && state.falls_short(bytes) => {
                state.refuse_next(error);
                &bytes[..bytes.len() / 2 / SECTOR * SECTOR]
            }
            Fate::Failed(error) => {
                let mut random = Random::new(state.random.next());
                if error.code() != libc::ENOSPC {
                    state.image.fail_write(inode.0, at, bytes, &mut random);
                }
                return reply.error(error);
            }
        };
        let fate = Fate::Kept(state.temper.latency, state.losses);
        if state.image.write(inode.0, at, bytes).is_none() {
            return reply.error(Errno::ENOENT);
        }
        drop(state);
        let keep = |image: &mut Image| {
            if is_kept {
                let _ = image.flush_part(inode.0, at, bytes.len());
            }
        };
        match self.keep(fate, keep) {
            Ok(()) => reply.written(u32::try_from(bytes.len()).expect("a request's length")),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if let Some(error) = self.state_mut().refusal("fallocate") {
            return reply.error(error);
        }
        let mut state = self.state_mut();
        let Some(attributes) = attributes(&state.image, inode.0) else {
            return reply.error(Errno::ENOENT);
        };
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        if state.temper.is_full {
            return reply.error(Errno::ENOSPC);
        }
        let size = attributes.size.max(offset + length);
        empty(reply, state.image.resize(inode.0, index(size)).ok_or(Errno::EISDIR));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.flush(inode.0, "fsync"));
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.flush(inode.0, "fsyncdir"));
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if let Some(error) = self.state_mut().refusal("readdir") {
            return reply.error(error);
        }
        let state = self.state();
        let Some(names) = state.image.names(inode.0) else { return reply.error(Errno::ENOTDIR) };
        let dots = [(OsStr::new("."), inode.0), (OsStr::new(".."), ROOT)];
        let names = names.iter().map(|(name, number)| (name.as_os_str(), *number));
        for (place, (name, number)) in dots.into_iter().chain(names).enumerate().skip(index(offset))
        {
            let kind = match state.image.inode(number).map(|inode| &inode.body) {
                Some(Body::File { .. }) => FileType::RegularFile,
                _ => FileType::Directory,
            };
            if reply.add(INodeNo(number), place as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
