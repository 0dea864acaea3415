//! Which key comes next: some nanoseconds a draw, whatever the distribution.

use super::Distribution;
use crate::types::Random;
use std::sync::Arc;

/// Draws keys from `0..space`. Clones share the table.
#[derive(Clone, Debug)]
pub enum KeyDraw {
    /// Each key as often as any other.
    Uniform {
        /// The end of the key space.
        space: u64,
    },
    /// Few keys often.
    Zipf(Arc<Zipf>),
}

impl KeyDraw {
    /// Keys of `0..space` by this distribution.
    ///
    /// # Panics
    /// If the space is empty.
    #[must_use]
    pub fn new(distribution: Distribution, space: u64) -> Self {
        assert!(space > 0, "there is a key to draw");
        match distribution {
            Distribution::Uniform => Self::Uniform { space },
            Distribution::Zipf { theta } => Self::Zipf(Arc::new(Zipf::new(space, theta))),
        }
    }

    /// The next key.
    #[inline]
    pub fn draw(&self, random: &mut Random) -> u64 {
        match self {
            Self::Uniform { space } => random.below(*space),
            Self::Zipf(zipf) => zipf.key_of_rank(zipf.draw_rank(random)),
        }
    }
}

/// Zipf's law over any number of keys, by Walker's alias method over bins of ranks.
///
/// The first `SINGLE` ranks have a bin each; from there on a bin is 1/256 of its first rank
/// wide, so that within it frequencies differ by 0.4 % at most and one uniform draw is enough. The
/// table of some 6,000 bins stays in the second-level cache at any key space, where a table of ranks
/// would be a cache miss a draw, and a closed form two logarithms.
#[derive(Debug)]
pub struct Zipf {
    bins: Box<[Bin]>,
    space: u64,
    /// Coprime with `space`: rank times this, modulo the space, scatters the frequent keys.
    stride: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    /// Its first rank, 0-based, and how many there are.
    first: u64,
    width: u64,
    /// Draws whose low 32 bits are below this stay here, the others go to `alias`.
    stay: u64,
    alias: usize,
}

impl Zipf {
    /// Ranks with a bin of their own.
    const SINGLE: u64 = 2048;

    /// The r-th of `space` keys with weight 1 / r^`theta`.
    ///
    /// # Panics
    /// If there is no key.
    #[must_use]
    pub fn new(space: u64, theta: f64) -> Self {
        assert!(space > 0, "there is a key to draw");
        let mut bins = Vec::new();
        let mut weights = Vec::new();
        let mut first = 0;
        while first < space {
            let width = if first < Self::SINGLE { 1 } else { first / 256 };
            let width = width.min(space - first);
            bins.push(Bin { first, width, ..Bin::default() });
            weights.push(weight(first, width, theta));
            first += width;
        }
        alias(&mut bins, &weights);
        Self { bins: bins.into(), space, stride: stride(space) }
    }

    /// A rank from 0.
    #[inline]
    pub fn draw_rank(&self, random: &mut Random) -> u64 {
        let bits = random.next();
        let count = self.bins.len() as u64;
        let index = usize::try_from(((bits >> 32) * count) >> 32).expect("a bin's index");
        let mut bin = &self.bins[index];
        if bits & 0xffff_ffff >= bin.stay {
            bin = &self.bins[bin.alias];
        }
        if bin.width == 1 { bin.first } else { bin.first + random.below(bin.width) }
    }

    /// The key of a rank: another one for every rank.
    #[inline]
    #[must_use]
    pub fn key_of_rank(&self, rank: u64) -> u64 {
        match rank.checked_mul(self.stride) {
            Some(product) => product % self.space,
            None => {
                let product = u128::from(rank) * u128::from(self.stride);
                u64::try_from(product % u128::from(self.space)).expect("below the space")
            }
        }
    }
}

/// The sum of 1 / r^theta over the bin's ranks, 1-based: by the midpoint rule where it is wide.
#[expect(clippy::cast_precision_loss, reason = "a weight needs no more than 53 bits")]
fn weight(first: u64, width: u64, theta: f64) -> f64 {
    if width == 1 {
        return ((first + 1) as f64).powf(-theta);
    }
    let (from, to) = (first as f64 + 0.5, (first + width) as f64 + 0.5);
    if (theta - 1.0).abs() < 1e-9 {
        return (to / from).ln();
    }
    (to.powf(1.0 - theta) - from.powf(1.0 - theta)) / (1.0 - theta)
}

/// Vose's construction: every bin keeps a part of its column and gives the rest to one other.
#[expect(clippy::cast_precision_loss, reason = "some thousand bins")]
#[expect(clippy::cast_possible_truncation, reason = "a probability of 32 bits")]
#[expect(clippy::cast_sign_loss, reason = "a probability")]
fn alias(bins: &mut [Bin], weights: &[f64]) {
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    let mut columns: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
    let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
        (0..bins.len()).partition(|&index| columns[index] < 1.0);
    for (index, bin) in bins.iter_mut().enumerate() {
        (bin.stay, bin.alias) = (1 << 32, index);
    }
    while let (Some(taker), Some(&giver)) = (poor.pop(), rich.last()) {
        bins[taker].stay = (columns[taker] * (1_u64 << 32) as f64) as u64;
        bins[taker].alias = giver;
        columns[giver] -= 1.0 - columns[taker];
        if columns[giver] < 1.0 {
            rich.pop();
            poor.push(giver);
        }
    }
}

/// Near the golden section of the space, and coprime with it.
fn stride(space: u64) -> u64 {
    let golden = u128::from(space) * 0x9e37_79b9_7f4a_7c15;
    let mut stride = u64::try_from(golden >> 64).expect("below the space").max(1);
    while greatest_common_divisor(stride, space) != 1 {
        stride += 1;
    }
    stride
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_as_often_as_zipfs_law_says() {
        let (space, theta, draws) = (100_000_u64, 0.99, 400_000);
        let zipf = Zipf::new(space, theta);
        let mut random = Random::new(5);
        let mut counts = vec![0_u32; usize::try_from(space).unwrap()];
        for _ in 0..draws {
            counts[usize::try_from(zipf.draw_rank(&mut random)).unwrap()] += 1;
        }
        let total: f64 = (1..=space).map(|rank| (rank as f64).powf(-theta)).sum();
        for (from, to) in [(0, 1), (1, 2), (9, 10), (10, 100), (2_048, 2_100), (50_000, 100_000)] {
            let seen: u32 = counts[from..to].iter().sum();
            let law: f64 = (from + 1..=to).map(|rank| (rank as f64).powf(-theta)).sum();
            let expected = law / total * f64::from(draws);
            let deviation = (f64::from(seen) - expected).abs();
            assert!(deviation < 5.0 * expected.sqrt(), "{from}..{to}: {seen} for {expected}");
        }
    }

    #[test]
    fn every_rank_has_a_key_of_its_own() {
        for space in [1, 2, 3, 10, 1_000, 65_536, 99_991] {
            let zipf = Zipf::new(space, 0.99);
            let mut keys: Vec<u64> = (0..space).map(|rank| zipf.key_of_rank(rank)).collect();
            keys.sort_unstable();
            assert!(keys.into_iter().eq(0..space), "{space}");
        }
    }

    #[test]
    fn the_table_is_small_at_any_key_space_and_theta() {
        for (space, theta) in [(1, 0.5), (20_000_000, 0.99), (u64::MAX, 1.0), (u64::MAX, 2.0)] {
            let zipf = Zipf::new(space, theta);
            assert!(zipf.bins.len() < 16_000, "{}", zipf.bins.len());
            let mut random = Random::new(1);
            for _ in 0..1_000 {
                assert!(zipf.key_of_rank(zipf.draw_rank(&mut random)) < space);
            }
        }
    }

    #[test]
    fn uniform_draws_fill_the_key_space() {
        let keys = KeyDraw::new(Distribution::Uniform, 4);
        let mut random = Random::new(1);
        let mut counts = [0; 4];
        for _ in 0..4_000 {
            counts[usize::try_from(keys.draw(&mut random)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|&count| count > 900), "{counts:?}");
    }
}
