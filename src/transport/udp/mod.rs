//! Sockets, and what every transport over them has in common: settings, refusals, where a ring's
//! datagrams go, how a train is laid out, what the kernel tells of a received payload.
//!
//! No bytes pass here, and no thread waits here: that is the part of [`super::uring`] and
//! [`super::socket`], which differ in the system calls and in who has the memory meanwhile.

mod arrival;
mod book;
mod config;
mod control;
mod error;
mod message;
mod option;
mod sockets;
mod train;
mod trains;

pub use config::{Config, Effective, Io, Members};
pub use error::{Interface, LaunchError, Wording};
pub use sockets::{Sockets, segment_limit};

pub(super) use arrival::Arrival;
pub(super) use book::Book;
pub(super) use control::{CONTROL_BYTES, NAME_BYTES, Payload, payload, word};
pub(super) use message::{Segments, name};
pub(super) use sockets::MAX_SEND;
pub(super) use train::Train;
pub(super) use trains::{Placed, SLOT_BYTES, SLOTS, Trains};
