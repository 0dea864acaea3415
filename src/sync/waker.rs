//! Waking a thread that may be asleep, at the price of a load when it is not.
//!
//! The protocol, which loses no wake-up whatever the interleaving:
//!
//! | sleeper | waker |
//! |---|---|
//! | 1. [`Waker::announce`]: `parked` = true, SeqCst fence | 1. publishes its news (Release) |
//! | 2. looks again at everything that could wake it | 2. [`Waker::wake`]: SeqCst fence, loads `parked` |
//! | 3. nothing: sleeps ([`Waker::park`], or in its io_uring on [`Waker::event_fd`]) | 3. true: makes it false and signals |
//! | 4. [`Waker::retract`]: `parked` = false | |
//!
//! The two fences are totally ordered. If the sleeper's comes first, the waker's load sees the
//! announcement and signals; if the waker's comes first, the sleeper's second look sees the news. A
//! signal that comes before the sleep is kept (an eventfd counts, a thread has its token), so the
//! sleep ends at once; one that comes late makes one later sleep short. Neither is an error.

use super::atomic::{Arc, AtomicBool, Ordering, Thread, current, fence};
use crossbeam_utils::CachePadded;
use std::fmt;
use std::time::Duration;

use event::Event;

/// A handle to a thread that may be asleep. Clones wake the same thread.
#[derive(Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

struct Shared {
    /// Written by the sleeper, and by the one waker that clears it; read by every waker. Changes
    /// only around sleeps, so the line is shared and hot in every waker's cache while nobody sleeps.
    parked: CachePadded<AtomicBool>,
    signal: Signal,
}

enum Signal {
    /// The token of `std::thread::park`: a futex.
    Thread(Thread),
    /// An eventfd, for threads whose one wait point is an io_uring or a poll.
    Event(Event),
}

impl Waker {
    /// Wakes the calling thread, which sleeps by [`Waker::park`].
    #[must_use]
    pub fn of_current_thread() -> Self {
        Self::new(Signal::Thread(current()))
    }

    /// Wakes whichever thread waits for [`Waker::event_fd`] to become readable.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn of_event() -> std::io::Result<Self> {
        Ok(Self::new(Signal::Event(Event::open()?)))
    }

    fn new(signal: Signal) -> Self {
        let parked = CachePadded::new(AtomicBool::new(false));
        Self { shared: Arc::new(Shared { parked, signal }) }
    }

    /// Ends the thread's sleep, if it is asleep or about to be. Call after the news are published.
    #[inline]
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        self.wake_after_fence();
    }

    /// [`Waker::wake`] for a caller that has executed a SeqCst fence since it published: one fence
    /// then serves many wakers.
    #[inline]
    pub fn wake_after_fence(&self) {
        if self.shared.parked.load(Ordering::Relaxed) {
            self.signal();
        }
    }

    /// Says that the thread is about to sleep. It must look once more at all that could wake it
    /// before it does.
    #[inline]
    pub fn announce(&self) {
        self.shared.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that the thread is awake again (or did not go to sleep after all).
    #[inline]
    pub fn retract(&self) {
        self.shared.parked.store(false, Ordering::Relaxed);
    }

    /// Whether the thread has announced a sleep that nobody has ended yet.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.shared.parked.load(Ordering::Relaxed)
    }

    /// Sleeps until somebody wakes the thread or `timeout` is over; may return early. For threads
    /// without an endpoint; one with an endpoint sleeps there. Call between [`Waker::announce`] and
    /// [`Waker::retract`], on the thread that the waker is for.
    pub fn park(&self, timeout: Duration) {
        match &self.shared.signal {
            Signal::Thread(_) => park_thread(timeout),
            Signal::Event(event) => event.wait(timeout),
        }
    }

    /// What becomes readable when the thread is woken; `None` for a waker of a thread's token.
    #[must_use]
    pub fn event_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        match &self.shared.signal {
            Signal::Thread(_) => None,
            Signal::Event(event) => Some(event.as_fd()),
        }
    }

    /// Takes back the signals of [`Waker::event_fd`], after which it is no longer readable.
    pub fn drain(&self) {
        if let Signal::Event(event) = &self.shared.signal {
            event.drain();
        }
    }

    #[cold]
    fn signal(&self) {
        // Of several wakers one signals; the others' news are published before their fences, which
        // the sleeper's next announcement comes after. Relaxed: the fences carry the order.
        let parked = &self.shared.parked;
        if parked.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        match &self.shared.signal {
            Signal::Thread(thread) => thread.unpark(),
            Signal::Event(event) => event.raise(),
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").field("parked", &self.is_parked()).finish_non_exhaustive()
    }
}

#[cfg(not(feature = "loom"))]
use std::thread::park_timeout as park_thread;

/// Loom knows no time: it sleeps until woken, so that a lost wake-up is a deadlock that it reports.
#[cfg(feature = "loom")]
fn park_thread(_timeout: Duration) {
    loom::thread::park();
}

mod event {
    //! An eventfd: non-blocking, so that neither side can ever wait inside it.
    #![expect(unsafe_code, reason = "eventfd and poll have no safe form in the standard library")]

    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::time::Duration;

    pub(super) struct Event(File);

    impl Event {
        pub(super) fn open() -> io::Result<Self> {
            // SAFETY: eventfd reads nothing but its two integer arguments.
            let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the call has just opened `fd`, and nobody else knows of it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            Ok(Self(File::from(fd)))
        }

        pub(super) fn raise(&self) {
            // WouldBlock: the counter is at its maximum, so it is readable, which is all we want.
            let result = (&self.0).write(&1_u64.to_ne_bytes());
            debug_assert!(!matches!(&result, Err(e) if e.kind() != io::ErrorKind::WouldBlock));
        }

        pub(super) fn drain(&self) {
            // WouldBlock: nothing was raised.
            let result = (&self.0).read(&mut [0; 8]);
            debug_assert!(!matches!(&result, Err(e) if e.kind() != io::ErrorKind::WouldBlock));
        }

        pub(super) fn wait(&self, timeout: Duration) {
            let mut poll =
                libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let timeout = libc::timespec {
                tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            };
            // SAFETY: `poll` is one pollfd and outlives the call; the signal mask may be null.
            let ready =
                unsafe { libc::ppoll(&raw mut poll, 1, &raw const timeout, std::ptr::null()) };
            if ready > 0 {
                self.drain();
            }
        }

        pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_did_not_announce_is_not_signalled() {
        let waker = Waker::of_event().unwrap();
        waker.wake();
        waker.announce();
        waker.retract();
        waker.wake();
        assert_eq!(readable(&waker), 0);
    }

    #[test]
    fn a_wake_between_announcement_and_sleep_ends_the_sleep() {
        for waker in [Waker::of_current_thread(), Waker::of_event().unwrap()] {
            waker.announce();
            assert!(waker.is_parked());
            waker.clone().wake();
            assert!(!waker.is_parked(), "the waker takes the announcement");
            waker.park(Duration::from_secs(600));
            waker.retract();
        }
    }

    #[test]
    fn many_wakes_are_one_signal_and_draining_takes_it() {
        let waker = Waker::of_event().unwrap();
        waker.announce();
        (0..5).for_each(|_| waker.wake());
        assert_eq!(readable(&waker), 1);
        waker.announce();
        waker.wake();
        waker.drain();
        assert_eq!(readable(&waker), 0);
    }

    fn readable(waker: &Waker) -> u64 {
        use std::io::Read;
        let fd = waker.event_fd().unwrap().try_clone_to_owned().unwrap();
        let mut count = [0; 8];
        let read = std::fs::File::from(fd).read(&mut count);
        if read.is_ok() { u64::from_ne_bytes(count) } else { 0 }
    }
}
