//! The network between the simulated hosts: loss, bursts of loss, duplication, reordering, delay,
//! damage, and links that are cut in one direction or both.
//!
//! It decides when, how often and how damaged a datagram arrives; it never reads one.

use crate::types::{Random, Time};
use std::time::Duration;

/// What a network does to datagrams, each in parts of a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NetworkFaults {
    /// Lost alone.
    pub(super) loss: u32,
    /// Begins a burst of loss on its link.
    pub(super) burst: u32,
    /// Arrives twice.
    pub(super) duplicate: u32,
    /// Arrives late, overtaken by others.
    pub(super) reorder: u32,
    /// Has one bit flipped.
    pub(super) flip: u32,
    /// Loses its tail.
    pub(super) truncate: u32,
    /// The usual time on the way, in nanoseconds; a datagram takes half to one and a half of it.
    pub(super) delay_ns: u64,
    /// The most that a late datagram takes, in nanoseconds.
    pub(super) late_ns: u64,
}

/// How a datagram is damaged on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// Not at all.
    None,
    /// One bit is flipped: this one, modulo the bits of the datagram.
    Flip(u64),
    /// Only a part arrives: this many bytes, modulo the length.
    Truncate(u64),
}

impl Damage {
    /// The datagram as it arrives.
    pub(super) fn apply(self, datagram: &mut Vec<u8>) {
        if datagram.is_empty() {
            return;
        }
        let within = |n: u64, length: usize| {
            usize::try_from(n % length as u64).expect("below a datagram's length")
        };
        match self {
            Self::None => {}
            Self::Flip(bit) => {
                let bit = within(bit, datagram.len() * 8);
                datagram[bit / 8] ^= 1 << (bit % 8);
            }
            Self::Truncate(length) => datagram.truncate(within(length, datagram.len())),
        }
    }
}

/// What the network did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NetworkCounters {
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) late: u64,
    pub(super) damaged: u64,
    pub(super) cut: u64,
}

impl NetworkCounters {
    /// Datagrams that a fault touched.
    pub(super) const fn faults(&self) -> u64 {
        self.lost + self.duplicated + self.late + self.damaged + self.cut
    }
}

/// The links between `hosts` hosts.
#[derive(Debug)]
pub(super) struct Network {
    hosts: usize,
    faults: NetworkFaults,
    /// How many cuts lie on the link from a to b, at a * hosts + b.
    cuts: Vec<u8>,
    /// How many more datagrams of a burst the link loses.
    bursts: Vec<u8>,
    random: Random,
    counters: NetworkCounters,
}

impl Network {
    /// A network without cuts.
    pub(super) fn new(hosts: usize, faults: NetworkFaults, random: Random) -> Self {
        let links = hosts * hosts;
        let counters = NetworkCounters::default();
        Self { hosts, faults, cuts: vec![0; links], bursts: vec![0; links], random, counters }
    }

    /// Sends one datagram from host to host; calls `arrive` for each copy that gets there.
    #[inline]
    pub(super) fn transmit(
        &mut self,
        (source, target): (usize, usize),
        now: Time,
        mut arrive: impl FnMut(Time, Damage),
    ) {
        let link = source * self.hosts + target;
        self.counters.sent += 1;
        if source == target {
            // The host's own multicast, looped back by its kernel, touches no wire.
            return arrive(now + Duration::from_nanos(1_000), Damage::None);
        }
        if self.cuts[link] > 0 {
            self.counters.cut += 1;
            return;
        }
        if self.is_lost(link) {
            self.counters.lost += 1;
            return;
        }
        let copies = 1 + u64::from(self.hits(self.faults.duplicate));
        self.counters.duplicated += copies - 1;
        for _ in 0..copies {
            let delay = self.delay();
            let damage = self.damage();
            arrive(now + delay, damage);
        }
    }

    /// Cuts the link from `source` to `target`, in this direction alone. Cuts add up.
    pub(super) fn cut(&mut self, source: usize, target: usize) {
        self.cuts[source * self.hosts + target] += 1;
    }

    /// Whether nothing gets from `source` to `target`.
    pub(super) fn is_cut(&self, source: usize, target: usize) -> bool {
        self.cuts[source * self.hosts + target] > 0
    }

    /// Takes one cut off the link.
    pub(super) fn mend(&mut self, source: usize, target: usize) {
        let cuts = &mut self.cuts[source * self.hosts + target];
        *cuts = cuts.checked_sub(1).expect("only what was cut is mended");
    }

    /// Ends every fault: from now on each datagram arrives once, whole and in time.
    pub(super) fn heal(&mut self) {
        self.cuts.fill(0);
        self.bursts.fill(0);
        let NetworkFaults { delay_ns, .. } = self.faults;
        self.faults = NetworkFaults { delay_ns, ..NetworkFaults::default() };
    }

    /// What happened so far.
    pub(super) const fn counters(&self) -> NetworkCounters {
        self.counters
    }

    fn is_lost(&mut self, link: usize) -> bool {
        if self.bursts[link] > 0 {
            self.bursts[link] -= 1;
            return true;
        }
        if self.hits(self.faults.burst) {
            self.bursts[link] = u8::try_from(self.random.below(40)).expect("below 40");
            return true;
        }
        self.hits(self.faults.loss)
    }

    fn delay(&mut self) -> Duration {
        let delay = self.faults.delay_ns;
        let usual = delay / 2 + self.random.below(delay + 1);
        let late = self.hits(self.faults.reorder);
        self.counters.late += u64::from(late);
        let extra = if late { self.random.below(self.faults.late_ns) } else { 0 };
        Duration::from_nanos(usual + extra)
    }

    fn damage(&mut self) -> Damage {
        let damage = if self.hits(self.faults.flip) {
            Damage::Flip(self.random.next())
        } else if self.hits(self.faults.truncate) {
            Damage::Truncate(self.random.next())
        } else {
            return Damage::None;
        };
        self.counters.damaged += 1;
        damage
    }

    #[inline]
    fn hits(&mut self, parts_of_a_million: u32) -> bool {
        parts_of_a_million > 0 && self.random.chance(u64::from(parts_of_a_million), 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(network: &mut Network, link: (usize, usize), sent: usize) -> Vec<(Time, Damage)> {
        let mut arrivals = Vec::new();
        for _ in 0..sent {
            network.transmit(link, Time(1_000), |at, damage| arrivals.push((at, damage)));
        }
        arrivals
    }

    #[test]
    fn a_faultless_network_delivers_each_datagram_once_and_whole() {
        let faults = NetworkFaults { delay_ns: 100, ..NetworkFaults::default() };
        let mut network = Network::new(3, faults, Random::new(1));
        let arrived = arrivals(&mut network, (0, 1), 1_000);
        assert_eq!(arrived.len(), 1_000);
        for (at, damage) in arrived {
            assert!((1_050..=1_150).contains(&at.0));
            assert_eq!(damage, Damage::None);
        }
    }

    #[test]
    fn each_fault_hits_at_its_rate() {
        let faults = NetworkFaults {
            loss: 100_000,
            duplicate: 200_000,
            flip: 10_000,
            delay_ns: 100,
            ..NetworkFaults::default()
        };
        let mut network = Network::new(2, faults, Random::new(2));
        let arrived = arrivals(&mut network, (0, 1), 100_000);
        let counters = network.counters();
        assert!((9_000..11_000).contains(&counters.lost), "{counters:?}");
        assert!((17_000..19_000).contains(&counters.duplicated), "{counters:?}");
        assert!((900..1_300).contains(&counters.damaged), "{counters:?}");
        assert_eq!(arrived.len() as u64, 100_000 - counters.lost + counters.duplicated);
    }

    #[test]
    fn a_cut_is_of_one_direction_and_heals() {
        let mut network = Network::new(2, NetworkFaults::default(), Random::new(3));
        network.cut(0, 1);
        network.cut(0, 1);
        assert_eq!(arrivals(&mut network, (0, 1), 5).len(), 0);
        assert_eq!(arrivals(&mut network, (1, 0), 5).len(), 5);
        network.mend(0, 1);
        assert_eq!(arrivals(&mut network, (0, 1), 5).len(), 0);
        network.mend(0, 1);
        assert_eq!(arrivals(&mut network, (0, 1), 5).len(), 5);
        network.cut(1, 0);
        network.heal();
        assert_eq!(arrivals(&mut network, (1, 0), 5).len(), 5);
    }

    #[test]
    fn damage_changes_a_datagram_within_its_bounds() {
        let mut datagram = vec![0; 4];
        Damage::Flip(32 + 9).apply(&mut datagram);
        assert_eq!(datagram, [0, 2, 0, 0]);
        Damage::Truncate(7).apply(&mut datagram);
        assert_eq!(datagram, [0, 2, 0]);
        Damage::Truncate(6).apply(&mut datagram);
        assert!(datagram.is_empty());
        Damage::Flip(1).apply(&mut datagram);
        assert!(datagram.is_empty());
    }
}
