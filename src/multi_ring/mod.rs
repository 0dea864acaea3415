//! Multi-Ring Paxos: slots, deterministic merge, skips (PROTOCOL 2).
//!
//! A subscriber of several rings delivers their values in one order that depends on nothing but
//! the rings' own sequences. [`Merge`] and [`SkipPolicy`] know no messages; [`Subscription`] joins
//! the merge to the learners of one worker and is what a host drives; [`Proposals`] is the way back,
//! from a worker to the rings.

mod merge;
mod proposals;
mod skip;
mod subscription;
#[cfg(test)]
mod tests;

pub use merge::{Merge, Turn};
pub use proposals::Proposals;
pub use skip::SkipPolicy;
pub use subscription::{
    Delivered, Feed, NoFrames, RingPosition, Subscription, SubscriptionConfig, SubscriptionCounters,
};
