//! Cuts: senders that are not heard, for good or from time to time, by a seed.

use crate::types::{Address, Time};
use std::time::Duration;

/// Who is not heard, and when. The default is nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// These; if empty, whom the seed draws.
    pub senders: Vec<Address>,
    /// How long a cut lasts; zero: for ever.
    pub lasting: Duration,
    /// Each stretch of this length has one cut, somewhere in it; zero if a cut lasts for ever.
    pub every: Duration,
}

/// Cuts as they come and go at one receiver, since its first look. It always hears itself.
#[derive(Debug)]
pub(super) struct Cutter {
    cuts: Cuts,
    seed: u64,
    me: Address,
    begin: Option<Time>,
    /// Of the cut that lies on the receiver now: what decides whom it hits.
    draw: Option<u64>,
}

impl Cutter {
    /// # Panics
    /// If cuts last longer than the stretches that they are in.
    pub(super) fn new(cuts: &Cuts, seed: u64, me: Address) -> Self {
        assert!(cuts.lasting <= cuts.every, "a cut ends before the next one");
        Self { cuts: cuts.clone(), seed, me, begin: None, draw: None }
    }

    /// It is `now`.
    pub(super) fn look(&mut self, now: Time) {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (lasting, every) = (ns(self.cuts.lasting), ns(self.cuts.every));
        if every == 0 {
            self.draw = Some(self.seed);
            return;
        }
        let passed = ns(now.since(*self.begin.get_or_insert(now)));
        let draw = mix(self.seed ^ mix(passed / every));
        let start = (u128::from(draw) * (u128::from(every - lasting) + 1)) >> 64;
        let at = u128::from(passed % every);
        let is_cut = (start..start + u128::from(lasting)).contains(&at);
        self.draw = is_cut.then(|| mix(draw));
    }

    /// Whether nothing from this sender arrives now.
    pub(super) fn has(&self, from: Address) -> bool {
        let Some(draw) = self.draw.filter(|_| from != self.me) else { return false };
        if !self.cuts.senders.is_empty() || self.cuts.every.is_zero() {
            return self.cuts.senders.contains(&from);
        }
        // One cut in four is from all others, the others from about half of them.
        draw.is_multiple_of(4) || mix(draw ^ from.to_bits()) & 1 == 1
    }
}

/// The output function of SplitMix64.
pub(super) const fn mix(state: u64) -> u64 {
    let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Address = Address::memory(0);
    const MS: u64 = 1_000_000;

    /// Who of senders 0 to 8 is cut, in each ms of `length`; 0 is the receiver itself.
    fn cut(cuts: &Cuts, seed: u64, length: u64) -> Vec<Vec<u32>> {
        let mut cutter = Cutter::new(cuts, seed, ME);
        let of = |ms| {
            cutter.look(Time(77 * MS + ms * MS));
            (0..=8).filter(|n| cutter.has(Address::memory(*n))).collect()
        };
        (0..length).map(of).collect()
    }

    fn passing(lasting: u64, every: u64, senders: &[u32]) -> Cuts {
        let senders = senders.iter().map(|n| Address::memory(*n)).collect();
        let [lasting, every] = [lasting, every].map(Duration::from_millis);
        Cuts { senders, lasting, every }
    }

    #[test]
    fn nobody_is_cut_unless_told_and_who_is_named_always_is() {
        assert!(cut(&Cuts::default(), 3, 50).iter().all(Vec::is_empty));
        let named = Cuts { senders: [0, 2, 5].map(Address::memory).into(), ..Cuts::default() };
        assert!(
            cut(&named, 3, 50).iter().all(|cut| *cut == [2, 5]),
            "and the receiver hears itself"
        );
    }

    #[test]
    fn named_senders_are_cut_once_a_stretch_for_as_long_as_was_said() {
        let at = cut(&passing(30, 200, &[1, 4]), 9, 20 * 200);
        let mut starts = Vec::new();
        for stretch in at.chunks(200) {
            let is_cut = |cut: &Vec<u32>| !cut.is_empty();
            let start = stretch.iter().position(is_cut).expect("a cut a stretch");
            let length = stretch.iter().filter(|cut| is_cut(cut)).count();
            assert!((29..=31).contains(&length), "{length} ms");
            assert!(stretch[start..start + length].iter().all(|cut| *cut == [1, 4]));
            starts.push(start);
        }
        starts.sort_unstable();
        assert!(starts[0] < 60 && starts[19] > 110, "they come at any time: {starts:?}");
    }

    #[test]
    fn the_seed_draws_whom_a_cut_hits_and_sometimes_it_is_everybody() {
        let cuts = passing(50, 100, &[]);
        let at = cut(&cuts, 5, 400 * 100);
        assert_eq!(at, cut(&cuts, 5, 400 * 100));
        assert_ne!(at, cut(&cuts, 6, 400 * 100));
        let hit: Vec<&Vec<u32>> = at.iter().filter(|cut| !cut.is_empty()).collect();
        let all = hit.iter().filter(|cut| cut.len() == 8).count();
        assert!((hit.len() / 6..hit.len() / 3).contains(&all), "{all} of {}", hit.len());
        for sender in 1..=8 {
            let times = hit.iter().filter(|cut| cut.contains(&sender)).count();
            assert!((hit.len() / 2..hit.len() * 3 / 4).contains(&times), "{sender}: {times}");
        }
        assert!(hit.iter().all(|cut| !cut.contains(&0)), "the receiver hears itself");
    }
}
