//! Who may say what: secrets, the keys that are derived from them, and the gate of a thread.
//!
//! Every datagram of a cluster with a key file ends in a tag of AES-256-GCM over all its bytes
//! (nothing is encrypted). Nodes have one secret, each client one of its own that is derived from
//! the nodes' and its number: a client can forge neither what nodes tell each other nor what other
//! clients say, and is not forged by them. A sender derives its key from the secret, its life and a
//! salt that its thread draws, and never uses a counter twice; a receiver remembers of each sender
//! which counters it has seen. See docs/adr/0018-authenticated-datagrams.md.

mod gate;
mod keyring;
mod senders;
#[cfg(test)]
mod tests;
mod window;

pub use gate::Gate;
pub use keyring::{KeyError, Keyring, Secret};

/// Bytes of a tag behind the body of an authenticated datagram. Kept free in every [`super::Room`].
pub const TAG_LENGTH: usize = 16;
