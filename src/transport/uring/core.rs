//! What both halves share: the ring, and the completions that one half took and the other needs.

use super::file::Flights;
use super::ring::{Completion, Ring};
use crate::sync::Waker;
use crate::transport::udp::LaunchError;
use memmap2::{Advice, MmapMut};
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::time::Duration;

/// A filled buffer that waits to be unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    pub(super) socket: u16,
    pub(super) buffer: u16,
    pub(super) length: u32,
}

/// A completion of a send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) slot: u16,
    pub(super) result: i32,
    pub(super) is_last: bool,
}

pub(super) struct Core {
    pub(super) ring: Ring,
    /// All that the kernel reads and writes for the ring. Unmapped after it is known to be done.
    memory: ManuallyDrop<Vec<MmapMut>>,
    /// Writes to files. As `memory`: the kernel reads their buffers.
    pub(super) flights: ManuallyDrop<Flights>,
    /// In order of arrival; never more than there are buffers.
    pub(super) filled: VecDeque<Filled>,
    /// Never more than two a send slot.
    pub(super) sent: Vec<Sent>,
    /// Sockets whose receive has ended and must be armed again.
    unarmed: Vec<u16>,
    /// Our own, and that of the link.
    pub(super) wakers: Vec<Waker>,
    /// A wake-up was taken that no park has answered yet. It may have come before the park, between
    /// its announcement and its sleep: then the sleep must not begin.
    pub(super) is_woken: bool,
    pub(super) no_buffers: u64,
    /// What ended the endpoint; the next flush or park returns it.
    failure: Option<io::Error>,
    min_wait: Duration,
}

impl Core {
    pub(super) fn new(ring: Ring, wakers: Vec<Waker>, sizes: Sizes, min_wait: Duration) -> Self {
        let mut core = Self {
            ring,
            memory: ManuallyDrop::new(Vec::new()),
            flights: ManuallyDrop::new(Flights::new()),
            filled: VecDeque::with_capacity(sizes.buffers),
            sent: Vec::with_capacity(sizes.slots * 2),
            unarmed: Vec::with_capacity(sizes.sockets),
            wakers,
            is_woken: false,
            no_buffers: 0,
            failure: None,
            min_wait,
        };
        core.unarmed.extend((0..sizes.sockets).filter_map(|socket| u16::try_from(socket).ok()));
        (0..core.wakers.len()).for_each(|waker| core.watch(waker));
        core
    }

    /// Maps `bytes` zeroed bytes, page-aligned, that live as long as the core.
    pub(super) fn map(&mut self, bytes: usize) -> Result<NonNull<u8>, LaunchError> {
        let mapping = MmapMut::map_anon(bytes).map_err(LaunchError::of_call("mmap of buffers"));
        let mut mapping = mapping?;
        // Only an advice: small pages serve as well, slower.
        let _ = mapping.advise(Advice::HugePage);
        let base = NonNull::new(mapping.as_mut_ptr()).expect("a mapping is not at zero");
        self.memory.push(mapping);
        Ok(base)
    }

    /// Submits what is queued and takes what has completed; enters the kernel only if that would
    /// bring something, so an idle look is three loads.
    #[inline]
    pub(super) fn collect(&mut self) {
        if self.ring.has_queued() || self.ring.wants_entry() {
            let result = self.ring.submit();
            self.note(result);
        }
        self.drain();
    }

    /// Arms the receives that have ended. Call only while the kernel has a buffer, or they end again
    /// at once.
    #[inline]
    pub(super) fn arm(&mut self) {
        while let Some(socket) = self.unarmed.pop() {
            self.ring.receive(socket);
        }
    }

    /// Whether a receive has ended.
    #[inline]
    pub(super) fn is_unarmed(&self) -> bool {
        !self.unarmed.is_empty()
    }

    /// Submits, and sleeps until a completion comes or `timeout` is over.
    pub(super) fn wait(&mut self, timeout: Duration) {
        let result = self.ring.wait(timeout, self.min_wait);
        self.note(result);
        self.drain();
    }

    /// What has ended the endpoint, once.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failure.get_or_insert(error);
        }
    }

    fn drain(&mut self) {
        while let Some(completion) = self.ring.complete() {
            match completion {
                Completion::Receive { socket, result, buffer, is_last } => {
                    self.on_receive(socket, result, buffer);
                    if is_last {
                        self.unarmed.push(socket);
                    }
                }
                Completion::Send { slot, result, is_last } => {
                    self.sent.push(Sent { slot, result, is_last });
                }
                Completion::Write { slot, result } => self.flights.complete(slot, result),
                Completion::Wake { waker, is_last } => {
                    self.wakers[usize::from(waker)].drain();
                    self.is_woken = true;
                    if is_last {
                        self.watch(usize::from(waker));
                    }
                }
            }
        }
    }

    fn on_receive(&mut self, socket: u16, result: i32, buffer: Option<u16>) {
        match (u32::try_from(result), buffer) {
            (Ok(length), Some(buffer)) => self.filled.push_back(Filled { socket, buffer, length }),
            _ if result == -libc::ENOBUFS => self.no_buffers += 1,
            // A kernel that cannot do this at all would refuse for ever.
            _ if result == -libc::EINVAL || result == -libc::EOPNOTSUPP => {
                self.note(Err(io::Error::from_raw_os_error(-result)));
            }
            // An error of the socket (an interface that went down): arm it again and go on.
            _ => {}
        }
    }

    fn watch(&mut self, waker: usize) {
        let event = self.wakers[waker].event_fd().expect("an endpoint's waker has a descriptor");
        self.ring.watch(u16::try_from(waker).expect("two at most"), event);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // If the kernel is not done, it may still write: then the memory stays mapped for ever.
        if self.ring.close() {
            // SAFETY: dropped once, here; both halves, which point into it, hold the core, so they
            // are gone.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.flights) };
        }
    }
}

/// How much [`Core`] must hold without allocating.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) buffers: usize,
    pub(super) slots: usize,
    pub(super) sockets: usize,
}
