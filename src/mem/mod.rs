//! Memory of the data path: frames as tokens, pools of buffers, huge pages, prefetch.
//!
//! Layer 0. A received datagram stays in the buffer that the kernel filled; what travels between
//! learner, merge and worker is a [`Frame`], a token that its [`Pool`] turns into bytes.

mod frame;

pub use frame::{Frame, Pool};
