//! Cache lines named by u32, in one address range that grows and never moves.
#![expect(unsafe_code, reason = "mmap, and a view of mapped memory")]

use super::pages::{Line, Rung, map_at, reserve, unmap};
use crate::sync::atomic::AtomicUsize;
use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Memory for nodes of whole cache lines, named by the number of their first line. The address range
/// is reserved once and filled a chunk at a time, so an address is one addition away from a name,
/// and threads can go on reading while another one grows the arena.
///
/// Who owns which line is not its affair: every line is always there to be read, zeroed at first.
pub struct Arena {
    start: NonNull<Line>,
    mapped: Mapped,
    /// Lines that are reserved.
    limit: usize,
    /// Lines of a chunk.
    chunk: usize,
    /// The worst rung of any chunk, as [`Rung`]'s discriminant.
    rung: AtomicU8,
}

/// How many lines are mapped: who sees a line counted sees it mapped.
#[derive(Default)]
struct Mapped(AtomicUsize);

impl Mapped {
    #[inline(always)]
    fn count(&self) -> usize {
        // Acquire: pairs with the Release in `grow`.
        self.0.load(Acquire)
    }

    /// Has `map` put memory behind `chunk` lines at a time, from the one that it is told on, until
    /// there are `lines`.
    fn grow(
        &self,
        lines: usize,
        chunk: usize,
        map: impl Fn(usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut mapped = self.0.load(Relaxed);
        while mapped < lines {
            map(mapped)?;
            let before = mapped;
            mapped += chunk;
            // Release: what is mapped, to who counts it.
            let only = self.0.compare_exchange(before, mapped, Release, Relaxed);
            assert!(only.is_ok(), "one thread at a time grows an arena");
        }
        Ok(())
    }
}

// SAFETY: the range belongs to this value alone and has no thread affinity.
unsafe impl Send for Arena {}
// SAFETY: shared access to the lines goes through atomics only.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena that grows by `chunk` lines up to `limit` of them, or to as many as the address
    /// space gives. Nothing is mapped yet. Huge pages need chunks of whole huge pages.
    ///
    /// # Errors
    /// If not even one chunk can be reserved.
    ///
    /// # Panics
    /// If `chunk` is not a multiple of 64 lines (4 KiB), or `limit` is above 2^32.
    pub fn new(chunk: usize, limit: usize) -> io::Result<Self> {
        assert!(chunk > 0 && chunk.is_multiple_of(64), "chunks are whole pages");
        assert!(limit <= 1 << 32, "lines are named by u32");
        let mut limit = limit.next_multiple_of(chunk);
        let start = loop {
            match reserve(limit * size_of::<Line>()) {
                Ok(start) => break start,
                // The address space may be limited (ulimit -v).
                Err(error) if limit == chunk => return Err(error),
                Err(_) => limit = (limit / 2).next_multiple_of(chunk),
            }
        };
        let rung = AtomicU8::new(Rung::Hugetlb as u8);
        Ok(Self { start: start.cast(), mapped: Mapped::default(), limit, chunk, rung })
    }

    /// Makes sure that lines 0 to `lines` - 1 are there. One thread at a time grows an arena.
    ///
    /// # Errors
    /// If the machine has no memory left, or `lines` is above the limit.
    pub fn ensure(&self, lines: usize) -> io::Result<()> {
        self.mapped.grow(lines, self.chunk, |mapped| {
            if mapped + self.chunk > self.limit {
                return Err(io::Error::new(
                    io::ErrorKind::OutOfMemory,
                    format!("{} MiB are all that could be reserved", self.limit >> 14),
                ));
            }
            // SAFETY: the chunk lies inside the reserved range.
            let chunk = unsafe { self.start.add(mapped) };
            // SAFETY: nothing is mapped in this chunk yet, so no view of it exists.
            let rung = unsafe { map_at(chunk.cast(), self.chunk * size_of::<Line>()) }?;
            self.rung.fetch_max(rung as u8, Relaxed);
            Ok(())
        })
    }

    /// All lines that are mapped.
    #[inline(always)]
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        // SAFETY: the first `mapped` lines are mapped, aligned and initialised (zeroed); they stay
        // so as long as `self`, and are reached through atomics alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.mapped.count()) }
    }

    /// The worst rung that any chunk stands on; [`Rung::Hugetlb`] while nothing is mapped.
    #[must_use]
    pub fn rung(&self) -> Rung {
        Rung::ALL[usize::from(self.rung.load(Relaxed))]
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: exactly what was reserved, with all that was mapped over it; no view outlives
        // `self`.
        unsafe { unmap(self.start.cast(), self.limit * size_of::<Line>()) }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |lines: usize| lines * size_of::<Line>() / 1024;
        let mapped = self.mapped.count();
        write!(f, "Arena({} of {} KiB, {})", kib(mapped), kib(self.limit), self.rung())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::HUGE_PAGE;

    #[test]
    fn an_arena_grows_without_moving_a_line_and_refuses_to_pass_its_limit() {
        let arena = Arena::new(64, 150).expect("address space");
        assert!(arena.lines().is_empty());
        arena.ensure(1).expect("memory");
        assert_eq!(arena.lines().len(), 64);
        let first = arena.lines().as_ptr();
        arena.lines()[63].0[7].store(5, Relaxed);
        arena.ensure(192).expect("memory");
        assert_eq!(arena.lines().as_ptr(), first);
        assert_eq!(arena.lines()[63].0[7].load(Relaxed), 5);
        assert_eq!(arena.lines()[191].0[7].load(Relaxed), 0);
        assert!(arena.ensure(193).is_err());
        assert_eq!(arena.lines().len(), 192);
        assert_eq!(arena.rung(), Rung::Small);
    }

    #[test]
    fn chunks_of_huge_pages_begin_where_huge_pages_do() {
        let lines = HUGE_PAGE / size_of::<Line>();
        let arena = Arena::new(lines, 1 << 30).expect("address space");
        arena.ensure(lines + 1).expect("memory");
        assert_eq!(arena.lines().len(), 2 * lines);
        assert_eq!(arena.lines().as_ptr().align_offset(HUGE_PAGE), 0);
        arena.lines()[2 * lines - 1].0[0].store(1, Relaxed);
    }

    #[test]
    fn arenas_that_grow_on_one_thread_leave_the_mappings_of_another_alone() {
        let lines = HUGE_PAGE / size_of::<Line>();
        let grow = |marker: u64| {
            for _ in 0..300 {
                let arena = Arena::new(lines, 4 * lines).expect("address space");
                for count in 1..=4 {
                    arena.ensure(count * lines).expect("memory");
                    arena.lines()[(count - 1) * lines].0[0].store(marker, Relaxed);
                }
                for count in 0..4 {
                    assert_eq!(arena.lines()[count * lines].0[0].load(Relaxed), marker);
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| grow(1));
            scope.spawn(|| grow(2));
        });
    }
}

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;
    use crate::sync::model::{Plain, Turns, explore};
    use loom::sync::Arc;

    #[test]
    fn who_sees_a_line_counted_sees_it_mapped() {
        explore(|| {
            let memory: [Plain<bool>; 4] = Default::default();
            let shared = Arc::new((Mapped::default(), memory, Turns::default()));
            let (mapped, memory, turns) = &*shared;
            let of_one_who_grows = Arc::clone(&shared);
            let grows = loom::thread::spawn(move || {
                let (mapped, memory, turns) = &*of_one_who_grows;
                let map = |line: usize| {
                    turns.take();
                    memory[line..line + 2].iter().for_each(|line| line.set(true));
                    Ok(())
                };
                mapped.grow(1, 2, map).and_then(|()| mapped.grow(4, 2, map)).expect("memory");
            });
            turns.take();
            for line in &memory[..mapped.count()] {
                assert!(line.get());
            }
            grows.join().expect("it does not panic");
            assert_eq!(mapped.count(), 4);
        });
    }
}
