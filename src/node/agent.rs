//! The duty cycle that every thread runs: work, then wait by policy.

use super::pulse::Pulse;
use crate::host::clock;
use crate::sync::{Wait, Waiter, Waker};
use crate::types::Time;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long an agent that was told to stop goes on with what has come before.
const LONGEST_DRAIN: Duration = Duration::from_millis(50);

/// One duty cycle at a time: drain completions, step the roles, flush.
pub(super) trait Agent {
    /// Does what there is to do at `now`. Returns how much that was: 0 means idle.
    fn do_work(&mut self, now: Time) -> io::Result<u32>;

    /// When a role of this agent next wants to be woken, work or not.
    fn next_timeout(&self) -> Option<Time>;

    /// Sleeps at this agent's one wait point.
    fn park(&mut self, timeout: Duration) -> io::Result<()>;

    /// The handle by which other threads wake this one.
    fn waker(&self) -> Waker;

    /// Whether it waits for another thread that has nothing else to do before it hands over.
    fn awaits_handover(&self) -> bool {
        false
    }

    /// Whether it must not sleep though nothing is to be done at once: it goes on with something long
    /// whenever no other thread wants its core.
    fn goes_on(&self) -> bool {
        false
    }

    /// Whether the agent has ended by itself.
    fn is_over(&self) -> bool {
        false
    }
}

/// Runs `agent` until it is over or `stop` is set. Who sets it wakes the agent afterwards. Each
/// cycle is a beat of `pulse`.
pub(super) fn run(
    agent: &mut impl Agent,
    mut waiter: Waiter,
    stop: &AtomicBool,
    pulse: &Pulse,
) -> io::Result<()> {
    let waker = agent.waker();
    while !stop.load(Ordering::Acquire) && !agent.is_over() {
        let now = clock::now();
        pulse.beat(now);
        if agent.do_work(now)? > 0 {
            waiter.on_work(now);
            continue;
        }
        if agent.goes_on() {
            std::thread::yield_now();
            continue;
        }
        let timeout = agent.next_timeout();
        let wait = if agent.awaits_handover() {
            waiter.on_handover(now, timeout)
        } else {
            waiter.on_idle(now, timeout)
        };
        match wait {
            Wait::Spin => std::hint::spin_loop(),
            Wait::Yield => std::thread::yield_now(),
            Wait::Park(timeout) => {
                // Look again after the announcement: what came in between wakes nobody.
                waker.announce();
                if agent.do_work(now)? == 0 && !stop.load(Ordering::Acquire) {
                    agent.park(timeout)?;
                }
                waker.retract();
            }
        }
    }
    drain(agent)
}

/// What has come before the end is done and answered.
fn drain(agent: &mut impl Agent) -> io::Result<()> {
    let limit = clock::now() + LONGEST_DRAIN;
    loop {
        let now = clock::now();
        if now >= limit || agent.do_work(now)? == 0 {
            return Ok(());
        }
    }
}
