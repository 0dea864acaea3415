//! What both halves and the wait point share: what is ready to be read, and who has woken us.

use super::calls;
use crate::sync::Waker;
use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

pub(super) struct Core {
    /// The sockets, then the wakers. What the last look found is in `revents`; a socket's is cleared
    /// when nothing is left to be read.
    polls: Vec<libc::pollfd>,
    sockets: usize,
    /// Our own, and that of the link.
    pub(super) wakers: Vec<Waker>,
    /// A wake-up was taken that no park has answered yet. It may have come before the park, between
    /// its announcement and its sleep: then the sleep must not begin.
    pub(super) is_woken: bool,
    /// Nobody has used what the last look found.
    pub(super) is_fresh: bool,
    /// What ended the endpoint; the next flush or park returns it.
    failure: Option<io::Error>,
}

impl Core {
    pub(super) fn new(sockets: &[Socket], wakers: Vec<Waker>) -> Self {
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let event = |waker: &Waker| {
            let event = waker.event_fd().expect("an endpoint's waker has a descriptor");
            poll(event.as_raw_fd())
        };
        let of_sockets = sockets.iter().map(|socket| poll(socket.as_raw_fd()));
        Self {
            polls: of_sockets.chain(wakers.iter().map(event)).collect(),
            sockets: sockets.len(),
            wakers,
            is_woken: false,
            is_fresh: false,
            failure: None,
        }
    }

    /// Looks at everything, and waits up to `timeout` for news: to read, if there is room for it;
    /// that sends can go on, if they cannot now; a wake-up.
    pub(super) fn look(&mut self, has_room: bool, is_blocked: bool, timeout: Duration) {
        let sockets = &mut self.polls[..self.sockets];
        for socket in &mut *sockets {
            socket.events = if has_room { libc::POLLIN } else { 0 };
            socket.revents = 0;
        }
        if is_blocked {
            // All sends leave by the first.
            sockets[0].events |= libc::POLLOUT;
        }
        self.is_fresh = true;
        match calls::poll(&mut self.polls, timeout) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                // What is not ready was not looked at.
                self.polls.iter_mut().for_each(|poll| poll.revents = 0);
                return self.note(error);
            }
        }
        let (sockets, wakers) = self.polls.split_at_mut(self.sockets);
        for socket in sockets {
            // An error is read like a datagram, and is gone then. Without room it waits.
            socket.revents &= if has_room { !libc::POLLOUT } else { 0 };
        }
        for (poll, waker) in wakers.iter_mut().zip(&self.wakers) {
            if std::mem::take(&mut poll.revents) != 0 {
                waker.drain();
                self.is_woken = true;
            }
        }
    }

    /// Whether the last look found a socket with something to read.
    pub(super) fn is_ready(&self) -> bool {
        self.polls[..self.sockets].iter().any(|poll| poll.revents != 0)
    }

    /// Whether it found `socket` so.
    #[inline]
    pub(super) fn is_ready_at(&self, socket: usize) -> bool {
        self.polls[socket].revents != 0
    }

    /// Nothing is left to be read at `socket`.
    #[inline]
    pub(super) fn retire(&mut self, socket: usize) {
        self.polls[socket].revents = 0;
    }

    /// Keeps what ends the endpoint: a call that this process may not make, or a socket that is
    /// none. Others (an interface that went down) are gone once they were read.
    pub(super) fn note(&mut self, error: io::Error) {
        let of_sockets = [libc::EBADF, libc::ENOTSOCK, libc::EINVAL, libc::EOPNOTSUPP];
        let of_filters = [libc::ENOSYS, libc::EPERM, libc::EACCES];
        let ends = |code: i32| of_sockets.contains(&code) || of_filters.contains(&code);
        if error.raw_os_error().is_some_and(ends) {
            self.failure.get_or_insert(error);
        }
    }

    /// The same of a datagram that did not leave: a packet filter may refuse one, and a network card
    /// a train.
    pub(super) fn note_unsent(&mut self, error: io::Error) {
        let ends = [libc::EBADF, libc::ENOTSOCK, libc::ENOSYS];
        if error.raw_os_error().is_some_and(|code| ends.contains(&code)) {
            self.failure.get_or_insert(error);
        }
    }

    /// What has ended the endpoint, once.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}
