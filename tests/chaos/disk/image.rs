//! Files and directories twice: as they are now, and as they would be found after a loss of power.

use super::Loss;
use psmr::types::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

/// The number of the first directory.
pub(crate) const ROOT: u64 = 1;
const PAGE: usize = 4096;
pub(crate) const SECTOR: usize = 512;

type Page = [u8; PAGE];
type Names = BTreeMap<OsString, u64>;

/// All of a disk.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
}

/// A file or a directory.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) mode: u16,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    File {
        now: Content,
        kept: Content,
        /// Pages that differ, as far as is known.
        dirty: BTreeSet<usize>,
    },
    Directory {
        now: Names,
        kept: Names,
    },
}

/// What is in a file. Pages that are not there are zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) size: usize,
    pages: BTreeMap<usize, Arc<Page>>,
}

impl Content {
    fn page(&self, number: usize) -> Page {
        self.pages.get(&number).map_or([0; PAGE], |page| **page)
    }

    fn put(&mut self, number: usize, page: &Page) {
        if page.iter().all(|byte| *byte == 0) {
            self.pages.remove(&number);
        } else {
            self.pages.insert(number, Arc::new(*page));
        }
    }

    fn take(&mut self, number: usize, from: &Self) {
        match from.pages.get(&number) {
            Some(page) => self.pages.insert(number, Arc::clone(page)),
            None => self.pages.remove(&number),
        };
    }

    fn read(&self, at: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(self.size.saturating_sub(at))];
        let mut done = 0;
        while done < bytes.len() {
            let (number, offset) = ((at + done) / PAGE, (at + done) % PAGE);
            let part = (PAGE - offset).min(bytes.len() - done);
            if let Some(page) = self.pages.get(&number) {
                bytes[done..done + part].copy_from_slice(&page[offset..offset + part]);
            }
            done += part;
        }
        bytes
    }
}

fn pages(at: usize, length: usize) -> impl Iterator<Item = usize> {
    at / PAGE..(at + length).div_ceil(PAGE)
}

impl Image {
    pub(crate) fn new() -> Self {
        let root = Body::Directory { now: Names::new(), kept: Names::new() };
        let inodes = BTreeMap::from([(ROOT, Inode { mode: 0o755, body: root })]);
        Self { inodes, next: ROOT + 1 }
    }

    /// A copy that gives no number again which `other` has given: the kernel might know it.
    pub(crate) fn behind(&self, other: &Self) -> Self {
        Self { next: self.next.max(other.next), ..self.clone() }
    }

    pub(crate) fn inode(&self, number: u64) -> Option<&Inode> {
        self.inodes.get(&number)
    }

    /// The names in a directory.
    pub(crate) fn names(&self, directory: u64) -> Option<&Names> {
        match &self.inodes.get(&directory)?.body {
            Body::Directory { now, .. } => Some(now),
            Body::File { .. } => None,
        }
    }

    fn names_mut(&mut self, directory: u64) -> Option<&mut Names> {
        match &mut self.inodes.get_mut(&directory)?.body {
            Body::Directory { now, .. } => Some(now),
            Body::File { .. } => None,
        }
    }

    /// Adds something empty to a directory.
    pub(crate) fn add(
        &mut self,
        parent: u64,
        name: &OsStr,
        mode: u16,
        is_file: bool,
    ) -> Option<u64> {
        let number = self.next;
        self.names_mut(parent)?.insert(name.to_owned(), number);
        let body = if is_file {
            Body::File { now: Content::default(), kept: Content::default(), dirty: BTreeSet::new() }
        } else {
            Body::Directory { now: Names::new(), kept: Names::new() }
        };
        self.inodes.insert(number, Inode { mode, body });
        self.next += 1;
        Some(number)
    }

    /// Takes a name away. What it named stays for those who have it open, or have it kept.
    pub(crate) fn remove(&mut self, parent: u64, name: &OsStr) -> Option<u64> {
        self.names_mut(parent)?.remove(name)
    }

    /// Moves a name, onto another one if there is such.
    pub(crate) fn rename(
        &mut self,
        (from, old): (u64, &OsStr),
        (to, new): (u64, &OsStr),
    ) -> Option<()> {
        let number = self.names_mut(from)?.remove(old)?;
        self.names_mut(to)?.insert(new.to_owned(), number);
        Some(())
    }

    pub(crate) fn read(&self, file: u64, at: usize, length: usize) -> Option<Vec<u8>> {
        match &self.inodes.get(&file)?.body {
            Body::File { now, .. } => Some(now.read(at, length)),
            Body::Directory { .. } => None,
        }
    }

    fn file(&mut self, file: u64) -> Option<(&mut Content, &mut Content, &mut BTreeSet<usize>)> {
        match &mut self.inodes.get_mut(&file)?.body {
            Body::File { now, kept, dirty } => Some((now, kept, dirty)),
            Body::Directory { .. } => None,
        }
    }

    /// Writes what is seen at once and kept by a flush.
    pub(crate) fn write(&mut self, file: u64, at: usize, bytes: &[u8]) -> Option<()> {
        let (now, _, dirty) = self.file(file)?;
        for number in pages(at, bytes.len()) {
            let start = (number * PAGE).max(at);
            let end = ((number + 1) * PAGE).min(at + bytes.len());
            let mut page = now.page(number);
            page[start - number * PAGE..end - number * PAGE]
                .copy_from_slice(&bytes[start - at..end - at]);
            now.put(number, &page);
            dirty.insert(number);
        }
        now.size = now.size.max(at + bytes.len());
        Some(())
    }

    pub(crate) fn resize(&mut self, file: u64, size: usize) -> Option<()> {
        let (now, _, dirty) = self.file(file)?;
        if size < now.size {
            dirty.extend(pages(size, now.size - size));
            let cut = now.page(size / PAGE);
            now.pages.split_off(&(size / PAGE));
            let mut last = [0; PAGE];
            last[..size % PAGE].copy_from_slice(&cut[..size % PAGE]);
            now.put(size / PAGE, &last);
        }
        now.size = size;
        Some(())
    }

    /// Keeps all of a file, or the names of a directory.
    pub(crate) fn flush(&mut self, number: u64) -> Option<()> {
        match &mut self.inodes.get_mut(&number)?.body {
            Body::Directory { now, kept } => kept.clone_from(now),
            Body::File { now, kept, dirty } => {
                for page in std::mem::take(dirty) {
                    kept.take(page, now);
                }
                kept.size = now.size;
            }
        }
        Some(())
    }

    /// Keeps a part of a file, as a write with O_DSYNC does.
    pub(crate) fn flush_part(&mut self, file: u64, at: usize, length: usize) -> Option<()> {
        let (now, kept, dirty) = self.file(file)?;
        for page in pages(at, length) {
            kept.take(page, now);
            dirty.remove(&page);
        }
        kept.size = kept.size.max(at + length).min(now.size);
        Some(())
    }

    /// A flush that fails: what it should have kept counts as clean from now on, as Linux has it.
    pub(crate) fn fail_flush(&mut self, number: u64) {
        if let Some((_, _, dirty)) = self.file(number) {
            dirty.clear();
        }
    }

    /// A write past all caches that fails: any of its sectors may be on the disk.
    pub(crate) fn fail_write(&mut self, file: u64, at: usize, bytes: &[u8], random: &mut Random) {
        for (number, sector) in bytes.chunks(SECTOR).enumerate() {
            if random.chance(1, 2) {
                let at = at + number * SECTOR;
                let _ = self.write(file, at, sector);
                let _ = self.flush_part(file, at, sector.len());
            }
        }
    }

    /// The power goes: what was not flushed is lost, or (in part) is there, or some sectors are.
    pub(crate) fn forget(&mut self, loss: Loss, random: &mut Random) {
        let is_part = loss == Loss::Part;
        for inode in self.inodes.values_mut() {
            match &mut inode.body {
                Body::Directory { now, kept } => {
                    if is_part && random.chance(1, 2) {
                        kept.clone_from(now);
                    }
                    now.clone_from(kept);
                }
                Body::File { now, kept, dirty } => {
                    for number in std::mem::take(dirty) {
                        let mut page = kept.page(number);
                        let fresh = now.page(number);
                        let is_torn = is_part && random.chance(1, 4);
                        let arrives = is_part && random.chance(1, 3);
                        for sector in (0..PAGE).step_by(SECTOR) {
                            if if is_torn { random.chance(1, 2) } else { arrives } {
                                let sector = sector..sector + SECTOR;
                                page[sector.clone()].copy_from_slice(&fresh[sector]);
                            }
                        }
                        kept.put(number, &page);
                    }
                    *now = kept.clone();
                }
            }
        }
        self.drop_nameless();
    }

    fn drop_nameless(&mut self) {
        let (mut named, mut to_see) = (BTreeSet::from([ROOT]), vec![ROOT]);
        while let Some(number) = to_see.pop() {
            let inside = self.names(number).into_iter().flat_map(Names::values);
            to_see.extend(inside.copied().filter(|number| named.insert(*number)));
        }
        self.inodes.retain(|number, _| named.contains(number));
    }
}
