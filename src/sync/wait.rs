//! What a thread does when it finds nothing to do: spin, yield, or park.
//!
//! A round trip between two threads costs 0.4 us by spinning, 2.4 us by yielding on one core, and 4
//! (one core) to 13 us (two cores) by parking; but spinning on a core that the other thread needs
//! costs two time slices, 8 ms. So a waiter spins only on a core of its own, yields a while, and
//! parks after an idle limit that it learns: long where work tends to come soon after the last,
//! short where it does not. A waiter only decides; the agent loop acts.

use crate::types::Time;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// How far a thread goes to give its core away while it is idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitPolicy {
    /// Never: least latency, one core a thread. Refused where threads outnumber cores.
    Spin,
    /// To whoever is runnable, but it never sleeps.
    Yield,
    /// Sleeps after an idle limit.
    #[default]
    Park,
}

impl WaitPolicy {
    /// Its name as a setting.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Yield => "yield",
            Self::Park => "park",
        }
    }
}

impl fmt::Display for WaitPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no [`WaitPolicy`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no wait policy: spin, yield or park")]
pub struct UnknownWaitPolicy(String);

impl FromStr for WaitPolicy {
    type Err = UnknownWaitPolicy;
    fn from_str(name: &str) -> Result<Self, UnknownWaitPolicy> {
        [Self::Spin, Self::Yield, Self::Park]
            .into_iter()
            .find(|policy| policy.name() == name)
            .ok_or_else(|| UnknownWaitPolicy(name.to_owned()))
    }
}

/// Whether a thread has its core for itself, as the plan of the host says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreUse {
    /// No other busy thread of ours runs there.
    Own,
    /// Others need it to make progress: spinning would keep them from it.
    Shared,
}

/// What to do before the next poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A pause instruction.
    Spin,
    /// Let the scheduler run another thread.
    Yield,
    /// Announce, look again, and sleep for at most this long.
    Park(Duration),
}

/// Decides how one thread waits. One clock reading a duty cycle is enough for it.
#[derive(Clone, Debug)]
pub struct Waiter {
    policy: WaitPolicy,
    core: CoreUse,
    idle_since: Option<Time>,
    /// Yields since work last came: what counts on a shared core, where a yield may take long.
    yields: u32,
    /// How long the thread was idle before work came: mean with a weight of 1/8 for the newest.
    usual_gap_ns: u64,
    /// What it waits for comes from disks.
    has_disks: bool,
}

impl Waiter {
    /// What a sleep and the wake-up out of it cost in latency: waiting awake for about as long is at
    /// most twice as dear as the best choice (it cannot be known which one that is).
    pub const PARK_COST: Duration = Duration::from_micros(13);
    /// Work that comes so soon is worth staying awake for.
    const SOON: Duration = Self::PARK_COST.saturating_mul(4);
    /// No sleep is longer, whatever the timeouts: a lost wake-up of the kernel's is then a delay.
    pub const LONGEST_PARK: Duration = Duration::from_millis(100);
    /// Yields on a shared core before it parks: where work usually comes soon, and where not. Each
    /// costs the threads that have work a switch to this one and back.
    const YIELDS: (u32, u32) = (8, 3);
    /// The same where another thread of this core is about to hand over: the switch to it is what
    /// the yield is for, and a sleep of either would cost more than a hundred of them.
    const YIELDS_FOR_HANDOVER: u32 = 64;

    /// A waiter of a thread on such a core.
    ///
    /// # Panics
    /// If it should spin on a shared core: the host refuses that before it starts threads.
    #[must_use]
    pub fn new(policy: WaitPolicy, core: CoreUse) -> Self {
        assert!(
            policy != WaitPolicy::Spin || core == CoreUse::Own,
            "a thread that spins has its own core"
        );
        Self { policy, core, idle_since: None, yields: 0, usual_gap_ns: 0, has_disks: false }
    }

    /// What it waits for comes from disks that write: then a good disk takes longer than the yields on
    /// a shared core, all threads of a commit would sleep meanwhile, and the sleeps add up to half of
    /// what the disk takes (of 23 us, on two cores). So where work usually comes soon it stays awake for
    /// that long instead. Without disks this costs up to 7 % of the throughput, with them nothing.
    #[must_use]
    pub const fn behind_disks(self) -> Self {
        Self { has_disks: true, ..self }
    }

    /// This duty cycle had something to do.
    #[inline]
    pub fn on_work(&mut self, now: Time) {
        let Some(since) = self.idle_since.take() else { return };
        self.yields = 0;
        let gap_ns = now.0.saturating_sub(since.0);
        self.usual_gap_ns = self.usual_gap_ns - self.usual_gap_ns / 8 + gap_ns / 8;
    }

    /// This duty cycle, at `now`, had nothing to do, and nothing is due before `next_timeout`.
    #[inline]
    pub fn on_idle(&mut self, now: Time, next_timeout: Option<Time>) -> Wait {
        self.idle(now, next_timeout, false)
    }

    /// [`Waiter::on_idle`], where what the thread waits for is a hand-over by another thread that
    /// has nothing else to do first: a rendezvous.
    #[inline]
    pub fn on_handover(&mut self, now: Time, next_timeout: Option<Time>) -> Wait {
        self.idle(now, next_timeout, true)
    }

    #[inline]
    fn idle(&mut self, now: Time, next_timeout: Option<Time>, is_handover: bool) -> Wait {
        let since = *self.idle_since.get_or_insert(now);
        let spins = self.core == CoreUse::Own
            && (self.policy == WaitPolicy::Spin || now.since(since) < self.awake_limit());
        if spins {
            return Wait::Spin;
        }
        if self.policy == WaitPolicy::Yield || !self.has_yielded_enough(now, since, is_handover) {
            self.yields = self.yields.saturating_add(1);
            return Wait::Yield;
        }
        let due = next_timeout.map_or(Self::LONGEST_PARK, |at| at.since(now));
        if due.is_zero() {
            return Wait::Yield;
        }
        Wait::Park(due.min(Self::LONGEST_PARK))
    }

    /// Whether work usually comes so soon that a sleep would not pay.
    fn is_busy(&self) -> bool {
        u128::from(self.usual_gap_ns) < Self::SOON.as_nanos()
    }

    /// How long it spins on its own core, and yields after that.
    fn awake_limit(&self) -> Duration {
        if self.is_busy() { 2 * Self::PARK_COST } else { Self::PARK_COST / 4 }
    }

    fn has_yielded_enough(&self, now: Time, since: Time, is_handover: bool) -> bool {
        match self.core {
            CoreUse::Own => now.since(since) >= 2 * self.awake_limit(),
            CoreUse::Shared if is_handover => self.yields >= Self::YIELDS_FOR_HANDOVER,
            CoreUse::Shared => {
                let (busy, quiet) = Self::YIELDS;
                let is_soon = self.has_disks && now.since(since) < Self::SOON;
                if self.is_busy() { self.yields >= busy && !is_soon } else { self.yields >= quiet }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(1);

    /// What a waiter says in an idle stretch of `polls` polls, one a microsecond.
    fn idle(waiter: &mut Waiter, start: Time, polls: u32) -> Vec<Wait> {
        (0..polls).map(|i| waiter.on_idle(start + STEP * i, None)).collect()
    }

    #[test]
    fn on_its_own_core_it_spins_then_yields_then_parks() {
        let said = idle(&mut Waiter::new(WaitPolicy::Park, CoreUse::Own), Time(5), 100);
        let phases: Vec<_> = said.chunk_by(|a, b| a == b).map(|run| run[0]).collect();
        assert_eq!(phases, [Wait::Spin, Wait::Yield, Wait::Park(Waiter::LONGEST_PARK)]);
    }

    #[test]
    fn on_a_shared_core_it_never_spins_and_parks_after_a_few_yields() {
        let said = idle(&mut Waiter::new(WaitPolicy::Park, CoreUse::Shared), Time(5), 100);
        assert!(!said.contains(&Wait::Spin));
        assert!(said.iter().filter(|&&wait| wait == Wait::Yield).count() <= 16);
        assert_eq!(said[99], Wait::Park(Waiter::LONGEST_PARK));
    }

    #[test]
    fn it_parks_sooner_where_work_comes_seldom_and_later_again_where_it_comes_often() {
        let mut waiter = Waiter::new(WaitPolicy::Park, CoreUse::Own);
        let mut now = Time(5);
        let mut awake = |gap: Duration| {
            let mut polls = 0;
            for _ in 0..50 {
                let said = idle(&mut waiter, now, 100);
                polls = said.iter().filter(|&&wait| !matches!(wait, Wait::Park(_))).count();
                now = now + gap;
                waiter.on_work(now);
            }
            polls
        };
        let seldom = awake(Duration::from_millis(5));
        let often = awake(Duration::from_micros(5));
        assert!(seldom < often / 2, "{seldom} polls awake against {often}");
    }

    #[test]
    fn it_never_sleeps_past_a_timeout_or_longer_than_the_limit() {
        let mut waiter = Waiter::new(WaitPolicy::Park, CoreUse::Shared);
        idle(&mut waiter, Time(5), 50);
        let now = Time(1_000_000);
        let due = |after| Some(now + after);
        assert_eq!(waiter.on_idle(now, due(STEP)), Wait::Park(STEP));
        assert_eq!(waiter.on_idle(now, due(Duration::ZERO)), Wait::Yield);
        assert_eq!(waiter.on_idle(now, Some(Time(0))), Wait::Yield);
        assert_eq!(waiter.on_idle(now, Some(Time::NEVER)), Wait::Park(Waiter::LONGEST_PARK));
    }

    #[test]
    fn spin_only_spins_and_yield_never_sleeps() {
        let mut spin = Waiter::new(WaitPolicy::Spin, CoreUse::Own);
        assert!(idle(&mut spin, Time(5), 200).iter().all(|&wait| wait == Wait::Spin));
        let mut shared = Waiter::new(WaitPolicy::Yield, CoreUse::Shared);
        assert!(idle(&mut shared, Time(5), 200).iter().all(|&wait| wait == Wait::Yield));
    }

    #[test]
    fn a_policy_has_a_name_and_an_unknown_name_is_told_the_others() {
        assert_eq!("yield".parse(), Ok(WaitPolicy::Yield));
        let error = "sleep".parse::<WaitPolicy>().unwrap_err();
        assert_eq!(error.to_string(), "`sleep` is no wait policy: spin, yield or park");
    }

    #[test]
    fn behind_disks_a_busy_one_stays_awake_as_long_as_a_good_one_writes() {
        let parks = |waiter: Waiter| {
            let mut waiter = waiter;
            let mut at = |us: u32| waiter.on_idle(Time(5) + STEP * us, None);
            (0..200).find(|us| matches!(at(*us), Wait::Park(_))).expect("it parks")
        };
        let waiter = Waiter::new(WaitPolicy::Park, CoreUse::Shared);
        assert!((5..15).contains(&parks(waiter.clone())));
        assert!((45..60).contains(&parks(waiter.clone().behind_disks())));
        // Others have the core meanwhile: it gives it away as often as without disks.
        let mut shared = waiter.behind_disks();
        let turns = (0..20).map(|turn| shared.on_idle(Time(5) + STEP * 3_000 * turn, None));
        assert_eq!(turns.filter(|wait| *wait == Wait::Yield).count(), 8);
    }
}
