//! IP multicast and UDP over one io_uring a thread.
//!
//! The ring holds all that the thread waits for: its unicast socket, a socket for each group, and
//! the wake-ups of other threads. Receives are multishot into one ring of provided buffers; a
//! buffer holds a whole train (UDP_GRO), which is dealt out as frames and goes back to the kernel
//! with the last of them. Datagrams to one target leave as a train (UDP_SEGMENT), all trains of a
//! duty cycle in one system call. That is what makes a datagram cost tens of nanoseconds and not
//! thousands; the system calls themselves are the smaller part.
//!
//! An endpoint belongs to the thread that made it. [`Sockets`] can be bound elsewhere before, so
//! that all addresses are known when the threads start. What forbids io_uring is met by
//! [`super::socket`].
#![expect(unsafe_code, reason = "io_uring reads and writes memory behind the compiler's back")]

mod buffers;
mod control;
mod core;
mod file;
mod receive;
mod ring;
#[cfg(test)]
mod tests;
mod transmit;

pub use file::Files;
pub use receive::Receive;
pub use transmit::Transmit;

use self::buffers::Buffers;
use self::control::PAYLOAD_OFFSET;
use self::core::{Core, Sizes};
use self::ring::Ring;
use crate::sync::Waker;
use crate::transport;
use crate::transport::udp::{Config, Effective, LaunchError, SLOTS, Sockets};
use crate::transport::{IntoParts, Transmit as _, WaitPoint as _, memory};
use crate::types::Address;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

/// A thread's network over io_uring, with its link to other threads of the process if it has one.
#[derive(Debug)]
pub struct Endpoint {
    receive: Receive,
    transmit: Transmit,
    wait: WaitPoint,
}

/// Why this machine does not let this process use an io_uring, if it does not: so that plain sockets
/// must do. Opens one with the settings of `config` on a port that is free, and closes it. What else
/// is wrong with the settings is not told here.
#[must_use]
pub fn refusal(config: &Config) -> Option<LaunchError> {
    Endpoint::new(&config.of_trial(), None).err().filter(LaunchError::is_io_uring)
}

/// Where an endpoint's thread sleeps: in its io_uring.
pub struct WaitPoint {
    core: Rc<RefCell<Core>>,
    sockets: Sockets,
    effective: Effective,
    link_address: Option<Address>,
}

impl Endpoint {
    /// Binds the sockets and opens the ring, on the thread that will use it.
    ///
    /// # Errors
    /// If a setting cannot work here, or io_uring is not usable.
    pub fn new(config: &Config, link: Option<memory::Endpoint>) -> Result<Self, LaunchError> {
        Self::over(Sockets::bind(config)?, link)
    }

    /// What the machine granted.
    #[must_use]
    pub const fn effective(&self) -> &Effective {
        &self.wait.effective
    }

    /// Where threads of this process reach the endpoint without the network.
    #[must_use]
    pub const fn link_address(&self) -> Option<Address> {
        self.wait.link_address
    }

    /// The endpoint of `sockets`, on the thread that will use it. `link` becomes a part of it: frames
    /// of both are polled together, and [`Address::memory`] targets go to the link.
    ///
    /// # Errors
    /// If io_uring is not usable here.
    pub fn over(sockets: Sockets, link: Option<memory::Endpoint>) -> Result<Self, LaunchError> {
        let mut effective = sockets.effective;
        let config = &sockets.config;
        let wording = config.wording;
        let files: Vec<_> = sockets.sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let ring = Ring::open(config, &files, &mut effective)?;
        let link_address = link.as_ref().map(transport::Endpoint::address);
        let mut wakers = vec![sockets.waker.clone()];
        let (mut link_receive, mut link_transmit) = (None, None);
        if let Some(link) = link {
            wakers.push(transport::Endpoint::waker(&link));
            let (receive, transmit, _) = link.into_parts();
            (link_receive, link_transmit) = (Some(receive), Some(transmit));
        }
        let book = sockets.book();
        let sizes = Sizes {
            buffers: config.buffers.into(),
            slots: usize::from(SLOTS) * book.most_copies(),
            sockets: files.len(),
        };
        let mut core = Core::new(ring, wakers, sizes, config.min_wait);
        let usable = PAYLOAD_OFFSET + config.buffer_bytes;
        // SAFETY: the buffers live in the receiving half, which holds the core.
        let buffers = unsafe { Buffers::new(config.buffers, usable, &mut core)? };
        let core = Rc::new(RefCell::new(core));
        let transmit = Transmit::new(core.clone(), link_transmit, book, &effective)?;
        let receive = Receive::new(core.clone(), buffers, link_receive, files.len());
        receive.arm();
        core.borrow_mut().collect();
        core.borrow_mut().check().map_err(LaunchError::of_uring("io_uring_enter", wording))?;
        let wait = WaitPoint { core, sockets, effective, link_address };
        Ok(Self { receive, transmit, wait })
    }
}

impl transport::Endpoint for Endpoint {
    type Receive = Receive;
    type Transmit = Transmit;

    fn split(&mut self) -> (&mut Receive, &mut Transmit) {
        (&mut self.receive, &mut self.transmit)
    }

    fn address(&self) -> Address {
        self.wait.address()
    }

    fn waker(&self) -> Waker {
        self.wait.waker()
    }

    fn files(&self) -> Option<transport::Files> {
        self.wait.files()
    }

    fn park(&mut self, timeout: Duration) -> io::Result<()> {
        self.wait.park(&mut self.receive, &mut self.transmit, timeout)
    }
}

impl IntoParts for Endpoint {
    type WaitPoint = WaitPoint;

    fn into_parts(self) -> (Receive, Transmit, WaitPoint) {
        (self.receive, self.transmit, self.wait)
    }
}

impl transport::WaitPoint<Receive, Transmit> for WaitPoint {
    fn address(&self) -> Address {
        self.sockets.address()
    }

    fn waker(&self) -> Waker {
        self.sockets.waker()
    }

    fn files(&self) -> Option<transport::Files> {
        Some(transport::Files::Uring(Files::new(Rc::clone(&self.core))))
    }

    fn park(
        &mut self,
        receive: &mut Receive,
        transmit: &mut Transmit,
        timeout: Duration,
    ) -> io::Result<()> {
        transmit.flush()?;
        receive.arm();
        self.core.borrow_mut().collect();
        let has_written = self.core.borrow().flights.has_waiting();
        if !self.core.borrow().is_woken && !has_written && !receive.has_waiting() {
            self.core.borrow().wakers.iter().for_each(Waker::announce);
            if !receive.link_has_waiting() {
                self.core.borrow_mut().wait(timeout);
            }
        }
        let mut core = self.core.borrow_mut();
        core.wakers.iter().for_each(Waker::retract);
        core.is_woken = false;
        core.check()
    }
}

impl Drop for WaitPoint {
    fn drop(&mut self) {
        // At once, whatever still holds the sockets; the ring closes with the last of the parts.
        self.sockets.leave();
    }
}

impl fmt::Debug for WaitPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("uring::WaitPoint");
        debug.field("address", &self.sockets.address()).field("effective", &self.effective);
        debug.finish_non_exhaustive()
    }
}
