//! What the kernel asks of the disk.

use super::State;
use super::image::{Body, Image, Inode, ROOT};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use psmr::types::Random;
use std::ffi::OsStr;
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
    Failed,
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
        let Fate::Kept(latency, losses) = fate else { return Err(Errno::EIO) };
        if !latency.is_zero() {
            std::thread::park_timeout(latency);
        }
        let mut state = self.state_mut();
        if state.losses == losses && !state.temper.lies {
            keep(&mut state.image);
        }
        Ok(())
    }

    fn flush(&self, number: u64) -> Result<(), Errno> {
        let mut state = self.state_mut();
        let fate = state.fate();
        if matches!(fate, Fate::Failed) {
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
        if state.temper.is_full {
            return Err(Errno::ENOSPC);
        }
        let mode = u16::try_from(mode & 0o777).expect("nine bits");
        let number = state.image.add(parent.0, name, mode, is_file).ok_or(Errno::ENOENT)?;
        attributes(&state.image, number).ok_or(Errno::ENOENT)
    }
}

impl State {
    /// What the next write or flush comes to.
    fn fate(&mut self) -> Fate {
        match &mut self.temper.fails_after {
            Some(0) => {
                self.temper.fails_after = None;
                self.failures += 1;
                return Fate::Failed;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Fate::Kept(self.temper.latency, self.losses)
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
        let state = self.state();
        let number = state.image.names(parent.0).and_then(|names| names.get(name));
        match number.and_then(|number| attributes(&state.image, *number)) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
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
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.add((parent, name), mode, true) {
            Ok(attributes) => reply.created(&TTL, &attributes, Generation(0), HANDLE, opened()),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(HANDLE, opened());
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.state_mut().image.remove(parent.0, name);
        empty(reply, removed.map(drop).ok_or(Errno::ENOENT));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
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
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let renamed = self.state_mut().image.rename((parent.0, name), (to.0, new));
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
        let fate = state.fate();
        if matches!(fate, Fate::Failed) {
            let mut random = Random::new(state.random.next());
            state.image.fail_write(inode.0, at, bytes, &mut random);
            return reply.error(Errno::EIO);
        }
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
        empty(reply, self.flush(inode.0));
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.flush(inode.0));
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
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
