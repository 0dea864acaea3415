//! Memory of the data path: frames as tokens, pools of buffers, huge pages, prefetch.
//!
//! Layer 0. A received datagram stays in the buffer that the kernel filled; what travels between
//! learner, merge and worker is a [`Frame`], a token that its [`Pool`] turns into bytes. State that
//! outgrows the caches lies in [`Pages`], on the largest pages that the machine gives: with 4 KiB
//! pages a random access to a tree of 10 M keys pays a page walk beside its cache miss.

mod allocator;
mod arena;
mod direct;
mod frame;
mod pages;
mod prefetch;

pub use allocator::{CountingAllocator, allocations, heap_bytes};
pub use arena::Arena;
pub use direct::{DirectBuffer, SECTOR};
pub use frame::{Frame, Pool};
pub use pages::{HUGE_PAGE, Line, Pages, Rung, WORDS_PER_LINE};
pub use prefetch::prefetch;
