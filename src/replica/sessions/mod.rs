//! Client sessions: each command executes at most once (PROTOCOL 4).
//!
//! A replica has one [`SessionTable`] a worker, and a command has one home among them: the lowest
//! group of its optimistic set. A table is written by its own worker, or by a synchronous executor
//! while that worker is parked at a rendezvous, whose Release and Acquire hand it over. So its
//! words are relaxed atomics, plain moves, and no `unsafe` is needed.

mod directory;
mod image;
mod table;
#[cfg(test)]
mod tests;

pub(super) use directory::{Directory, Opened};
pub(super) use table::{Admission, Entry, SessionTable};
