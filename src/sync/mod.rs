//! What crosses threads: the rendezvous of synchronous mode, wake-ups, SPSC queues, waiting.
//!
//! Layer 0. Nothing here blocks but [`Waker::park`]: a worker that waits is a state that is polled,
//! and the agent loop decides with a [`Waiter`] how to spend the time. Every word that two threads
//! touch names its one writer and the line that it lives in; every Acquire names its Release. The
//! whole module runs under loom (the feature `loom`), which is why only `atomic` names atomics; other
//! modules take theirs from there where they hand data over.
//!
//! Costs (two cores of a 2.5 GHz Xeon): a rendezvous of two workers is two cache-line transfers
//! each way, 0.4-0.7 us while both poll; a wake-up of a thread that is not parked one fence and one
//! load, about 10 ns; of one that is parked a system call, 3-13 us until it runs.

pub mod atomic;
mod bytes;
#[cfg(all(test, feature = "loom"))]
pub(crate) mod model;
mod rendezvous;
mod spsc;
mod wait;
mod waker;

pub use bytes::{ByteReceiver, ByteSender, Place, link};
pub use rendezvous::{Rendezvous, RendezvousState, WorkerState};
pub use spsc::{Consumer, Producer, SubmitError, queue};
pub use wait::{CoreUse, UnknownWaitPolicy, Wait, WaitPolicy, Waiter};
pub use waker::Waker;
