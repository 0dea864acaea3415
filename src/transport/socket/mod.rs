//! IP multicast and UDP over plain sockets, for machines that forbid io_uring.
//!
//! The same sockets, trains and buffers as [`super::uring`]; what differs is who moves the bytes:
//! here the thread itself, by recvmmsg and sendmmsg, sixteen buffers or trains a call. It sleeps in
//! ppoll over its sockets and the eventfds of other threads, which is its only wait point as well.
//! A look at an idle network is one system call where io_uring needs none, and each socket with
//! news is one more: that is the price, and trains keep it small. Files are written by threads that
//! do nothing else (`writer.rs`), since a plain write waits for the disk.
//!
//! An endpoint belongs to the thread that made it.

mod calls;
mod core;
mod pool;
mod receive;
#[cfg(test)]
mod tests;
mod transmit;
mod writer;

pub use receive::Receive;
pub use transmit::Transmit;
pub use writer::Files;

use self::core::Core;
use super::udp::{Config, Effective, LaunchError, Sockets};
use super::{IntoParts, Transmit as _, WaitPoint as _, memory};
use crate::sync::Waker;
use crate::transport;
use crate::types::Address;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// A thread's network over plain sockets, with its link to other threads of the process if it has
/// one.
#[derive(Debug)]
pub struct Endpoint {
    receive: Receive,
    transmit: Transmit,
    wait: WaitPoint,
}

/// Where an endpoint's thread sleeps: in ppoll.
pub struct WaitPoint {
    core: Rc<RefCell<Core>>,
    sockets: Rc<Sockets>,
    files: Files,
    link_address: Option<Address>,
}

impl Endpoint {
    /// Binds the sockets, on the thread that will use them.
    ///
    /// # Errors
    /// If a setting cannot work here.
    pub fn new(config: &Config, link: Option<memory::Endpoint>) -> Result<Self, LaunchError> {
        Self::over(Sockets::bind(config)?, link)
    }

    /// The endpoint of `sockets`, on the thread that will use it. `link` becomes a part of it: frames
    /// of both are polled together, and [`Address::memory`] targets go to the link.
    ///
    /// # Errors
    /// If the sockets cannot be read here.
    pub fn over(sockets: Sockets, link: Option<memory::Endpoint>) -> Result<Self, LaunchError> {
        let sockets = Rc::new(sockets);
        let link_address = link.as_ref().map(transport::Endpoint::address);
        let mut wakers = vec![sockets.waker()];
        let (mut link_receive, mut link_transmit) = (None, None);
        if let Some(link) = link {
            wakers.push(transport::Endpoint::waker(&link));
            let (receive, transmit, _) = link.into_parts();
            (link_receive, link_transmit) = (Some(receive), Some(transmit));
        }
        let core = Rc::new(RefCell::new(Core::new(&sockets.sockets, wakers)));
        let mut receive = Receive::new(Rc::clone(&core), Rc::clone(&sockets), link_receive);
        let transmit = Transmit::new(Rc::clone(&core), Rc::clone(&sockets), link_transmit);
        // A filter that forbids one of these calls is found out here, by its name.
        receive.probe().map_err(LaunchError::of_call("recvmmsg"))?;
        transmit.probe().map_err(LaunchError::of_call("sendmmsg"))?;
        core.borrow_mut().look(false, false, Duration::ZERO);
        core.borrow_mut().check().map_err(LaunchError::of_call("ppoll"))?;
        let files = Files::new(sockets.waker());
        let wait = WaitPoint { core, sockets, files, link_address };
        Ok(Self { receive, transmit, wait })
    }

    /// What the machine granted.
    #[must_use]
    pub fn effective(&self) -> &Effective {
        self.wait.sockets.effective()
    }

    /// Where threads of this process reach the endpoint without the network.
    #[must_use]
    pub const fn link_address(&self) -> Option<Address> {
        self.wait.link_address
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
        Some(transport::Files::Writer(self.files.clone()))
    }

    fn park(
        &mut self,
        receive: &mut Receive,
        transmit: &mut Transmit,
        timeout: Duration,
    ) -> io::Result<()> {
        transmit.flush()?;
        let has_waiting = receive.has_waiting() || self.files.has_waiting();
        let mut core = self.core.borrow_mut();
        if !core.is_woken && !has_waiting {
            core.wakers.iter().for_each(Waker::announce);
            // Once more, as the wakers' protocol demands: what came before it did not signal.
            if !receive.link_has_waiting() && !self.files.has_waiting() {
                core.look(receive.has_room(), transmit.is_blocked(), timeout);
            }
        }
        core.wakers.iter().for_each(Waker::retract);
        core.is_woken = false;
        core.check()
    }
}

impl Drop for WaitPoint {
    fn drop(&mut self) {
        // At once, whatever still holds the sockets.
        self.sockets.leave();
    }
}

impl fmt::Debug for WaitPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("socket::WaitPoint");
        debug.field("address", &self.sockets.address());
        debug.field("effective", self.sockets.effective()).finish_non_exhaustive()
    }
}
