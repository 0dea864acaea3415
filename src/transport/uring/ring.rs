//! One io_uring of one thread: the requests that this transport makes, and nothing else.
//!
//! The ring is set up so that nothing happens behind the thread's back: completions are computed
//! only when it enters the kernel (DEFER_TASKRUN), a flag tells when that is worth it, and an idle
//! look costs two loads and no system call.

use crate::transport::udp::{CONTROL_BYTES, Config, Effective, LaunchError, NAME_BYTES};
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, Fixed, Napi, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// The one group of provided buffers.
const BUFFER_GROUP: u16 = 0;
/// How many completions a gathering wait asks for.
const GATHER: u32 = 32;

const ENTRIES: u32 = 256;
const COMPLETIONS: u32 = 2048;

/// What a completion belongs to, as the user data carries it: kind in the high half.
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const WAKE: u64 = 3 << 32;
const WRITE: u64 = 4 << 32;

/// A completed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// A datagram or train of socket `socket` is in `buffer`; or the request is over.
    Receive { socket: u16, result: i32, buffer: Option<u16>, is_last: bool },
    /// The send of slot `slot`. Only after the last completion is its memory ours again.
    Send { slot: u16, result: i32, is_last: bool },
    /// The write of flight `slot` to a file.
    Write { slot: u16, result: i32 },
    /// Another thread woke us through waker `waker`.
    Wake { waker: u16, is_last: bool },
}

/// A write to a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteRequest {
    pub(super) file: RawFd,
    pub(super) start: *const u8,
    pub(super) length: u32,
    pub(super) offset: u64,
    /// Its memory's place among what [`Ring::register_memory`] registered.
    pub(super) registered: Option<u16>,
}

pub(super) struct Ring {
    uring: IoUring,
    /// The index of the registered descriptor.
    registered: Option<u32>,
    /// Requests submitted whose last completion has not come.
    pending: u32,
    is_polled_by_kernel: bool,
    /// What [`Ring::close`] returned.
    closed: Option<bool>,
    can_gather: bool,
    /// Read by the kernel when a receive is armed: how much room is left for name and control.
    receive_header: Box<libc::msghdr>,
}

/// The kernel's io_uring_getevents_arg.
#[repr(C)]
struct Argument {
    signal_mask: u64,
    signal_mask_bytes: u32,
    min_wait_us: u32,
    timespec: u64,
}

/// The kernel's io_uring_rsrc_update.
#[repr(C)]
struct Update {
    offset: u32,
    reserved: u32,
    data: u64,
}

const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 1 << 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

impl Ring {
    /// A ring with `files` registered, as this kernel allows it.
    pub(super) fn open(
        config: &Config,
        files: &[RawFd],
        effective: &mut Effective,
    ) -> Result<Self, LaunchError> {
        let uring = Self::set_up(config, effective)?;
        let mut probe = Probe::new();
        let probed = uring.submitter().register_probe(&mut probe);
        probed.map_err(LaunchError::of_uring("io_uring_register probe", config.wording))?;
        // Came with the same release as multishot receives of messages.
        if !probe.is_supported(opcode::SendZc::CODE) {
            return Err(LaunchError::KernelTooOld {
                missing: "multishot receive of io_uring",
                wording: config.wording,
            });
        }
        let register = uring.submitter().register_files(files);
        register.map_err(LaunchError::of_uring("io_uring_register files", config.wording))?;
        effective.send_zc = config.send_zc && probe.is_supported(opcode::SendMsgZc::CODE);
        effective.min_wait = !config.min_wait.is_zero() && uring.params().is_feature_min_timeout();
        if effective.busy_poll {
            let micros = u32::try_from(config.busy_poll.as_micros()).unwrap_or(u32::MAX);
            let mut napi = Napi::new().set_busy_poll_timeout(micros);
            effective.busy_poll = uring.submitter().register_napi(&mut napi).is_ok();
        }
        // SAFETY: all zeros is a valid msghdr: null pointers and lengths of zero.
        let mut receive_header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        receive_header.msg_namelen = libc::socklen_t::try_from(NAME_BYTES).expect("16");
        receive_header.msg_controllen = CONTROL_BYTES;
        let mut ring = Self {
            is_polled_by_kernel: effective.sqpoll,
            closed: None,
            can_gather: effective.min_wait,
            uring,
            registered: None,
            pending: 0,
            receive_header,
        };
        ring.register_descriptor();
        effective.registered_ring = ring.registered.is_some();
        Ok(ring)
    }

    /// Tries what is best first; an older kernel answers EINVAL to a flag it does not know.
    fn set_up(config: &Config, effective: &mut Effective) -> Result<IoUring, LaunchError> {
        let builder = || {
            let mut builder = IoUring::builder();
            builder.dontfork().setup_cqsize(COMPLETIONS).setup_clamp().setup_submit_all();
            builder
        };
        if config.sqpoll {
            let built = builder().setup_sqpoll(100).setup_single_issuer().build(ENTRIES);
            if let Ok(uring) = built {
                effective.sqpoll = true;
                return Ok(uring);
            }
        }
        let mut deferred = builder();
        deferred.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        let built = deferred.clone().setup_no_sqarray().build(ENTRIES);
        if let Ok(uring) = built.or_else(|_| deferred.build(ENTRIES)) {
            effective.defer_taskrun = true;
            return Ok(uring);
        }
        let built = builder().setup_coop_taskrun().setup_taskrun_flag().build(ENTRIES);
        built.map_err(|source| LaunchError::of_setup(source, LaunchError::switch(), config.wording))
    }

    /// Saves the kernel a look-up at each entry; it works without.
    fn register_descriptor(&mut self) {
        let descriptor = self.uring.as_raw_fd();
        let data = u64::try_from(descriptor).expect("an open descriptor");
        let mut update = Update { offset: u32::MAX, reserved: 0, data };
        if register(descriptor, REGISTER_RING_FDS, &mut update).is_ok() {
            self.registered = Some(update.offset);
        }
    }

    /// Registers `entries` buffers that will be provided through the ring at `base`.
    ///
    /// # Safety
    /// `base` must stay valid until [`Ring::close`] has returned true.
    pub(super) unsafe fn register_buffers(
        &self,
        base: *mut BufRingEntry,
        entries: u16,
    ) -> Result<(), LaunchError> {
        let submitter = self.uring.submitter();
        // SAFETY: the caller keeps the ring of buffers alive until it is unregistered in `close`.
        let result = unsafe {
            submitter.register_buf_ring_with_flags(base as u64, entries, BUFFER_GROUP, 0)
        };
        result.map_err(LaunchError::of_call("io_uring_register buffer ring"))
    }

    /// Registers memory that writes to files may name by its place.
    ///
    /// # Safety
    /// Each vector must name memory of this process.
    pub(super) unsafe fn register_memory(&self, vectors: &[libc::iovec]) -> io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.uring.submitter().register_buffers(vectors) }
    }

    /// Asks for everything that registered file `socket` receives.
    pub(super) fn receive(&mut self, socket: u16) {
        let header: *const libc::msghdr = &raw const *self.receive_header;
        let entry = opcode::RecvMsgMulti::new(Fixed(socket.into()), header, BUFFER_GROUP).build();
        // SAFETY: the header lives in a box as long as the ring; buffers come from the registered
        // group.
        unsafe { self.push(&entry.user_data(RECEIVE | u64::from(socket))) };
    }

    /// Asks to hear when waker `waker`, whose descriptor is `event`, is raised.
    pub(super) fn watch(&mut self, waker: u16, event: BorrowedFd<'_>) {
        let (event, readable) = (Fd(event.as_raw_fd()), u32::from(libc::POLLIN.cast_unsigned()));
        let entry = opcode::PollAdd::new(event, readable).multi(true);
        // SAFETY: a poll names no memory.
        unsafe { self.push(&entry.build().user_data(WAKE | u64::from(waker))) };
    }

    /// Sends a message by registered file 0.
    ///
    /// # Safety
    /// `message` and all that it points to must stay valid and unchanged until the last completion
    /// of `slot`.
    pub(super) unsafe fn send(&mut self, message: *const libc::msghdr, slot: u16, copies: Copies) {
        let entry = match copies {
            Copies::Yes => opcode::SendMsg::new(Fixed(0), message).build(),
            Copies::No => opcode::SendMsgZc::new(Fixed(0), message).build(),
        };
        // SAFETY: the caller's promise.
        unsafe { self.push(&entry.user_data(SEND | u64::from(slot))) };
    }

    /// Writes to a file.
    ///
    /// # Safety
    /// Until the completion of `slot`, the request's file must stay open and its memory valid and
    /// unchanged.
    pub(super) unsafe fn write(&mut self, request: &WriteRequest, slot: u16) {
        let WriteRequest { file, start, length, offset, registered } = *request;
        let entry = match registered {
            Some(place) => {
                opcode::WriteFixed::new(Fd(file), start, length, place).offset(offset).build()
            }
            None => opcode::Write::new(Fd(file), start, length).offset(offset).build(),
        };
        // SAFETY: the caller's promise.
        unsafe { self.push(&entry.user_data(WRITE | u64::from(slot))) };
    }

    /// # Safety
    /// What the entry names must be valid for the whole request.
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: the caller's promise.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                break;
            }
            // The queue is full: this can only help, whatever it returns.
            let _ = self.enter(0, None);
        }
        self.pending += 1;
    }

    /// Whether requests wait to be submitted.
    pub(super) fn has_queued(&mut self) -> bool {
        !self.uring.submission().is_empty()
    }

    /// Whether entering the kernel would bring completions.
    #[inline]
    pub(super) fn wants_entry(&mut self) -> bool {
        let queue = self.uring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Submits what is queued and runs what is due, without waiting.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.enter(0, None)
    }

    /// Submits what is queued and sleeps until a completion comes or `timeout` is over.
    pub(super) fn wait(&mut self, timeout: Duration, gather: Duration) -> io::Result<()> {
        let timespec = Timespec::from(timeout.min(Duration::from_secs(1 << 30)));
        let min_wait_us = if self.can_gather {
            u32::try_from(gather.min(timeout).as_micros()).unwrap_or(u32::MAX)
        } else {
            0
        };
        let argument = Argument {
            signal_mask: 0,
            signal_mask_bytes: 0,
            min_wait_us,
            timespec: (&raw const timespec) as u64,
        };
        self.enter(if min_wait_us > 0 { GATHER } else { 1 }, Some(&argument))
    }

    /// The next completion.
    #[inline]
    pub(super) fn complete(&mut self) -> Option<Completion> {
        let entry = self.uring.completion().next()?;
        let (result, flags) = (entry.result(), entry.flags());
        let is_last = !cqueue::more(flags);
        self.pending -= u32::from(is_last);
        #[expect(clippy::cast_possible_truncation, reason = "indices are below 2^16")]
        let index = entry.user_data() as u16;
        Some(match entry.user_data() & !0xffff_ffff {
            RECEIVE => {
                let buffer = cqueue::buffer_select(flags);
                Completion::Receive { socket: index, result, buffer, is_last }
            }
            SEND => Completion::Send { slot: index, result, is_last },
            WRITE => Completion::Write { slot: index, result },
            _ => Completion::Wake { waker: index, is_last },
        })
    }

    /// Cancels every request and gives everything back, so that the sockets are free at once.
    /// Returns whether the kernel is done with all memory that requests named.
    pub(super) fn close(&mut self) -> bool {
        if let Some(is_quiet) = self.closed {
            return is_quiet;
        }
        let second = Timespec::new().sec(1);
        let _ = self.submit();
        let _ = self.uring.submitter().register_sync_cancel(Some(second), CancelBuilder::any());
        for _ in 0..100 {
            while self.complete().is_some() {}
            if self.pending == 0 {
                break;
            }
            let _ = self.wait(Duration::from_millis(10), Duration::ZERO);
        }
        let is_quiet = self.pending == 0;
        let _ = self.uring.submitter().unregister_files();
        // There may be none.
        let _ = self.uring.submitter().unregister_buffers();
        let unregistered = self.uring.submitter().unregister_buf_ring(BUFFER_GROUP);
        // ENOENT: there were none.
        let is_gone = |error: io::Error| error.raw_os_error() == Some(libc::ENOENT);
        let is_quiet = unregistered.map_or_else(is_gone, |()| true) && is_quiet;
        if let Some(offset) = self.registered.take() {
            let mut update = Update { offset, reserved: 0, data: 0 };
            let _ = register(self.uring.as_raw_fd(), UNREGISTER_RING_FDS, &mut update);
        }
        self.closed = Some(is_quiet);
        is_quiet
    }

    fn enter(&mut self, want: u32, argument: Option<&Argument>) -> io::Result<()> {
        let queue = self.uring.submission();
        let queued = u32::try_from(queue.len()).expect("at most ENTRIES");
        let mut flags = ENTER_GETEVENTS;
        if self.is_polled_by_kernel {
            if queue.need_wakeup() {
                flags |= ENTER_SQ_WAKEUP;
            } else if want == 0 && !queue.taskrun() && !queue.cq_overflow() {
                return Ok(());
            }
        }
        drop(queue);
        let mut descriptor = i64::from(self.uring.as_raw_fd());
        if let Some(index) = self.registered {
            descriptor = index.into();
            flags |= ENTER_REGISTERED_RING;
        }
        let mut bytes = 0;
        if argument.is_some() {
            flags |= ENTER_EXT_ARG;
            bytes = size_of::<Argument>();
        }
        let argument = argument.map_or(std::ptr::null(), std::ptr::from_ref);
        let call = libc::SYS_io_uring_enter;
        // SAFETY: the argument, if any, and the time that it points to outlive the call; queued
        // entries were promised valid when they were pushed.
        let result =
            unsafe { libc::syscall(call, descriptor, queued, want, flags, argument, bytes) };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // Time is over, a signal came, or completions must be taken first: the caller goes on
            // and looks at what there is.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A registered descriptor would keep the ring, and so its sockets, as long as the thread.
        self.close();
    }
}

/// Whether the kernel copies a send before it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    Yes,
    No,
}

fn register(descriptor: RawFd, code: u32, update: &mut Update) -> io::Result<()> {
    let call = libc::SYS_io_uring_register;
    // SAFETY: both codes take an array of updates, here of length 1, which outlives the call.
    let result = unsafe { libc::syscall(call, descriptor, code, std::ptr::from_mut(update), 1) };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
