//! When a learner asks for what it lacks, and whom (PROTOCOL 1, liveness).
//!
//! A gap is first given time for reordering, then asked for. What was asked for and did not come is
//! asked for again after a random back-off that doubles while nothing moves, from the third try on
//! at another acceptor. What is asked for at once is bounded: repairs are as large as the values.

use super::LearnerConfig;
use super::window::Window;
use crate::ring_paxos::{Destination, Outbox};
use crate::types::{Instance, NodeId, Random, RingId, Time};
use crate::wire::{Message, RepairRequest, WantedRange, WantedRanges};
use std::time::Duration;

const MAX_RANGES: usize = 16;
const TRIES_AN_ACCEPTOR: u32 = 3;
/// The back-off doubles up to 64 times its first length.
const MAX_DOUBLINGS: u32 = 6;

/// How far the ring is known to be.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Horizon {
    /// The highest instance that some message called decided.
    pub(super) decided: Instance,
    /// The highest instance that a value was seen of.
    pub(super) value: Instance,
}

/// A gap that may still close by itself.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    /// When to ask.
    at: Time,
    /// The last instance that was known to be missing when the suspicion arose.
    last: Instance,
    /// Old enough, but too much was asked for already: ask as soon as that has come.
    is_ripe: bool,
}

/// The repair state of one learner.
#[derive(Debug)]
pub(super) struct Repairs {
    ring: RingId,
    acceptors: Vec<NodeId>,
    reordering: Duration,
    first_backoff: Duration,
    budget: u32,
    suspicion: Option<Suspicion>,
    retry: Option<Time>,
    /// Everything missing up to here has been asked for.
    asked: Instance,
    /// The frontier when it was asked for last: whether anything has moved since.
    frontier: Instance,
    tries: u32,
    acceptor: usize,
    requests: u64,
    random: Random,
}

/// The missing instances of one request, run by run.
struct Request {
    ranges: [WantedRange; MAX_RANGES],
    length: usize,
    instances: u32,
    /// Everything up to here is in the request or not missing.
    last: Instance,
}

impl Repairs {
    /// There are other acceptors to ask.
    pub(super) fn take_up(&mut self, acceptors: &[NodeId]) {
        assert!(!acceptors.is_empty(), "a learner has an acceptor to ask");
        self.acceptor = 0;
        self.acceptors = acceptors.to_vec();
    }

    pub(super) fn new(config: &LearnerConfig, seed: u64) -> Self {
        assert!(!config.acceptors.is_empty(), "a learner has an acceptor to ask");
        Self {
            ring: config.ring,
            acceptors: config.acceptors.clone(),
            reordering: config.reordering,
            first_backoff: config.backoff,
            budget: config.repair_budget,
            suspicion: None,
            retry: None,
            asked: Instance::default(),
            frontier: Instance::default(),
            tries: 0,
            acceptor: 0,
            requests: 0,
            random: Random::new(seed),
        }
    }

    /// Looks at the window and asks for what is due.
    pub(super) fn step(
        &mut self,
        window: &Window,
        horizon: &Horizon,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let Some(last) = gap(window, horizon) else {
            self.rest();
            return;
        };
        if self.retry.is_none() && self.suspicion.is_none() {
            // Nothing is asked for; what was not missing then may be known to be missing now.
            self.asked = window.frontier().previous();
        }
        if last > self.asked && self.suspicion.is_none() {
            let at = now + self.reordering;
            self.suspicion = Some(Suspicion { at, last, is_ripe: false });
        }
        if let Some(suspicion) = self.suspicion
            && (now >= suspicion.at || (suspicion.is_ripe && window.frontier() > self.asked))
        {
            self.ask_suspected(suspicion, window, horizon, now, out);
        }
        if self.retry.is_some_and(|at| now >= at) {
            self.ask_again(window, horizon, now, out);
        }
    }

    /// Nothing is missing, or nothing can be had: no time-out.
    pub(super) fn rest(&mut self) {
        (self.suspicion, self.retry, self.tries) = (None, None, 0);
    }

    /// The window starts again: what was asked for means nothing any more.
    pub(super) fn restart(&mut self) {
        self.rest();
        self.asked = Instance::default();
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        let suspicion = self.suspicion.map(|suspicion| suspicion.at);
        [suspicion, self.retry].into_iter().flatten().min()
    }

    /// How many requests were sent.
    pub(super) const fn requests(&self) -> u64 {
        self.requests
    }

    fn ask_suspected(
        &mut self,
        suspicion: Suspicion,
        window: &Window,
        horizon: &Horizon,
        now: Time,
        out: &mut impl Outbox,
    ) {
        let first = window.frontier();
        let open = Request::collect(window, horizon, first..=self.asked, self.budget).instances;
        let first = first.max(self.asked.next());
        let request = Request::collect(window, horizon, first..=suspicion.last, self.budget - open);
        self.asked = self.asked.max(request.last);
        let moved = self.send(&request, now, window, out);
        self.suspicion = if request.last >= suspicion.last {
            None
        } else {
            // The rest when this has come, or with the next try.
            let at = self.retry.unwrap_or(moved);
            Some(Suspicion { at, is_ripe: true, ..suspicion })
        };
    }

    fn ask_again(&mut self, window: &Window, horizon: &Horizon, now: Time, out: &mut impl Outbox) {
        self.retry = None;
        if window.frontier() > self.frontier {
            self.tries = 0;
        } else {
            self.tries += 1;
            if self.tries.is_multiple_of(TRIES_AN_ACCEPTOR) {
                self.acceptor = (self.acceptor + 1) % self.acceptors.len();
            }
        }
        let open = window.frontier()..=self.asked;
        let request = Request::collect(window, horizon, open, self.budget);
        self.send(&request, now, window, out);
    }

    /// Sends `request` unless it is empty, and sets the time of the next try, which it returns.
    fn send(
        &mut self,
        request: &Request,
        now: Time,
        window: &Window,
        out: &mut impl Outbox,
    ) -> Time {
        let backoff = self.first_backoff * (1 << self.tries.min(MAX_DOUBLINGS));
        // Up to as much again, to keep learners out of step.
        let backoff_ns = u64::try_from(backoff.as_nanos()).unwrap_or(u64::MAX);
        let at = now + backoff + Duration::from_nanos(self.random.below(backoff_ns));
        if request.instances == 0 {
            return at;
        }
        let wanted = WantedRanges::new(&request.ranges[..request.length]);
        let to = Destination::Node(self.acceptors[self.acceptor]);
        out.send(to, self.ring, &Message::RepairRequest(RepairRequest { wanted }));
        self.requests += 1;
        self.frontier = window.frontier();
        let retry = self.retry.map_or(at, |retry| retry.min(at));
        self.retry = Some(retry);
        retry
    }
}

/// The last instance of the window up to which something is known to be missing.
fn gap(window: &Window, horizon: &Horizon) -> Option<Instance> {
    let is_undecided_gap = window.frontier() <= horizon.decided;
    let is_value_gap = window.value_frontier() < horizon.value;
    let last = horizon.decided.max(horizon.value.previous()).min(window.end().previous());
    let is_inside = window.frontier() <= last;
    (is_inside && (is_undecided_gap || is_value_gap)).then_some(last)
}

impl Request {
    /// What is missing of `span`, up to `budget` instances.
    fn collect(
        window: &Window,
        horizon: &Horizon,
        span: std::ops::RangeInclusive<Instance>,
        budget: u32,
    ) -> Self {
        let mut request = Self {
            ranges: [WantedRange::default(); MAX_RANGES],
            length: 0,
            instances: 0,
            last: span.start().previous(),
        };
        for instance in span.start().0..=span.end().0 {
            let instance = Instance(instance);
            if let Some(wanted) = window.wanted(instance, horizon.decided)
                && (request.instances == budget || !request.add(instance, wanted as u32))
            {
                break;
            }
            request.last = instance;
        }
        request
    }

    fn add(&mut self, first: Instance, wanted: u32) -> bool {
        let open = self.length.checked_sub(1).map(|last| &mut self.ranges[last]);
        match open {
            Some(range)
                if range.wanted == wanted && range.first.plus(range.count.into()) == first =>
            {
                range.count += 1;
            }
            _ if self.length == MAX_RANGES => return false,
            _ => {
                self.ranges[self.length] = WantedRange { first, count: 1, wanted };
                self.length += 1;
            }
        }
        self.instances += 1;
        true
    }
}
