//! Writes to files by threads that do nothing else, so that a disk does not stop a ring.
//!
//! A log's writes all go to one of a few threads and so are over in their order; logs that share an
//! endpoint have different threads as far as there are enough. What is over comes back by a bounded
//! queue and wakes the endpoint's thread, as an arriving datagram does. The threads end with the
//! endpoint, each after the write that it is at.

use crate::mem::DirectBuffer;
use crate::sync::{Consumer, Producer, Waker, queue};
use crate::transport::{Place, Written};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Threads of one endpoint. Each sleeps in its write, so they cost no core; a disk is faster with
/// several writes on their way, and one log may not wait for all the others.
const WRITERS: usize = 4;
/// Writes of one endpoint on their way, or over and not taken yet.
const WRITES: usize = 512;
/// A writer without work looks for it that often; it is woken when there is some.
const NAP: Duration = Duration::from_secs(3600);

/// The files of a thread: a handle to those that write for it.
#[derive(Clone)]
pub struct Files {
    desk: Rc<RefCell<Desk>>,
}

struct Desk {
    /// Whom a write that is over wakes.
    waker: Waker,
    writers: Vec<Writer>,
    /// Writes that are over, as far as was looked.
    over: VecDeque<Written>,
    /// Writes that were asked for and not taken yet.
    pending: usize,
}

/// A thread that writes, as the endpoint's thread sees it.
struct Writer {
    /// Before the thread: its end is what ends the thread.
    requests: Option<Producer<Request>>,
    /// What was asked for and not begun is dropped.
    is_over: Arc<AtomicBool>,
    results: Consumer<Written>,
    /// What was asked for and is not over.
    pending: usize,
    thread: Option<JoinHandle<()>>,
}

struct Request {
    caller: (u16, u64),
    buffer: DirectBuffer,
    file: Arc<File>,
    offset: u64,
    length: usize,
}

impl Files {
    pub(super) fn new(waker: Waker) -> Self {
        let over = VecDeque::with_capacity(WRITES);
        let desk = Desk { waker, writers: Vec::new(), over, pending: 0 };
        Self { desk: Rc::new(RefCell::new(desk)) }
    }

    /// Starts the threads for `logs` logs; see [`crate::transport::Files`].
    ///
    /// # Errors
    /// If there is no room for another thread.
    pub fn start(&self, logs: usize, on_start: fn()) -> io::Result<()> {
        let mut desk = self.desk.borrow_mut();
        for index in desk.writers.len()..logs.min(WRITERS) {
            let writer = Writer::start(index, desk.waker.clone(), on_start)?;
            desk.writers.push(writer);
        }
        Ok(())
    }

    /// Whether another write can be taken on.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.desk.borrow().pending < WRITES
    }

    /// Queues a write of `buffer`, called `token` by `owner`; see [`crate::transport::Files`].
    ///
    /// # Panics
    /// If [`Files::has_room`] said no, or no thread was started.
    pub fn write(&self, place: Place<'_>, buffer: DirectBuffer, caller: (u16, u64)) {
        let Place { file, offset, length } = place;
        let file = Arc::clone(file);
        let request = Request { caller, buffer, file, offset, length: length as usize };
        self.desk.borrow_mut().write(request);
    }

    /// A write that is over, if one is known to be.
    ///
    /// # Panics
    /// If a thread that writes has ended although it was not told to: its writes would never be over.
    #[must_use]
    pub fn take(&self) -> Option<Written> {
        let mut desk = self.desk.borrow_mut();
        desk.look();
        let written = desk.over.pop_front()?;
        desk.pending -= 1;
        Some(written)
    }

    /// Whether a completed write waits to be taken.
    pub(super) fn has_waiting(&self) -> bool {
        let mut desk = self.desk.borrow_mut();
        desk.look();
        !desk.over.is_empty()
    }
}

impl Desk {
    fn write(&mut self, request: Request) {
        assert!(self.pending < WRITES, "has_room was asked");
        self.pending += 1;
        assert!(!self.writers.is_empty(), "threads are started before the first write");
        let index = usize::from(request.caller.0) % self.writers.len();
        self.writers[index].ask(request);
    }

    /// Takes what is over from all threads.
    fn look(&mut self) {
        for writer in &mut self.writers {
            let over = &mut self.over;
            writer.pending -= writer.results.drain(WRITES, |written| over.push_back(written));
            let has_ended = || writer.thread.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(
                writer.pending == 0 || !has_ended() || !writer.results.is_empty(),
                "a thread that writes a log has ended with {} writes undone",
                writer.pending
            );
        }
    }
}

impl Writer {
    fn start(index: usize, waker: Waker, on_start: fn()) -> io::Result<Self> {
        let (mut requests, wanted) = queue(WRITES);
        let (mut done, results) = queue(WRITES);
        let own = Waker::of_event()?;
        requests.attach(own.clone());
        done.attach(waker);
        let name = format!("log-writer-{index}");
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let body = move || {
            on_start();
            serve(wanted, &mut done, (&own, &stop));
        };
        let thread = Some(std::thread::Builder::new().name(name).spawn(body)?);
        Ok(Self { requests: Some(requests), is_over, results, pending: 0, thread })
    }

    fn ask(&mut self, request: Request) {
        self.pending += 1;
        let requests = self.requests.as_mut().expect("it lives as long as the writer");
        if requests.push(request).is_err() {
            unreachable!("there is room for all writes of an endpoint, and the thread takes them");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed); // The end of the queue comes after it.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it was reported where it was noticed.
            let _ = thread.join();
        }
    }
}

/// What a thread does: writes, until nobody can ask it any more.
fn serve(
    mut wanted: Consumer<Request>,
    done: &mut Producer<Written>,
    (waker, is_over): (&Waker, &AtomicBool),
) {
    loop {
        if let Some(request) = wanted.pop() {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            if done.push(request.carry_out()).is_err() {
                // Nobody will hear of it.
                return;
            }
        } else if wanted.is_finished() {
            return;
        } else {
            waker.announce();
            if wanted.is_empty() && !wanted.is_finished() {
                waker.park(NAP);
            }
            waker.retract();
        }
    }
}

impl Request {
    /// Writes once: what a failed write has left on the disk is not known, so none is tried again.
    fn carry_out(self) -> Written {
        let Self { caller: (owner, token), buffer, file, offset, length } = self;
        let result = loop {
            match file.write_at(&buffer[..length], offset) {
                // A signal came before anything was written.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        Written { owner, token, buffer, result }
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("socket::Files").finish_non_exhaustive()
    }
}
