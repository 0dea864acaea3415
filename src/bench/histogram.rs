//! Latencies in logarithmic classes of linear parts: two shifts and an increment a value.
//!
//! The classes are those of HdrHistogram with 128 classes a power of two (0.8 % at most between a
//! value and the top of its part), but flat and without its checks: a record is about a nanosecond.

/// Bits of a value that are kept.
const BITS: u32 = 8;
/// Values that have a class of their own; half as many classes a power of two from there on.
const PARTS: usize = 1 << BITS;
/// Values from 2^40 ns on, eighteen minutes, count as the greatest below.
const LIMIT_BITS: u32 = 40;
const CLASSES: usize = PARTS / 2 * (LIMIT_BITS - BITS) as usize + PARTS;

/// How often each value was seen, values being nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
    count: u64,
    sum: u128,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; CLASSES].into(), count: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a value. Allocates nothing.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.counts[class(value)] += 1;
        self.count += 1;
        self.sum += u128::from(value);
        self.max = self.max.max(value);
    }

    /// Adds what `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// How many values were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The greatest value, exactly.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The mean, exactly; 0 if there is none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The least value that `percent` of the values do not exceed, at most 0.8 % too high; 0 if
    /// there is none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a percentage of a count")]
    #[expect(clippy::cast_possible_truncation, reason = "at most the count")]
    #[expect(clippy::cast_sign_loss, reason = "a count")]
    pub fn percentile(&self, percent: f64) -> u64 {
        assert!((0.0..=100.0).contains(&percent), "{percent} is no percentage");
        let rank =
            ((self.count as f64 * percent / 100.0).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return top(class).min(self.max);
            }
        }
        self.max
    }
}

#[inline]
fn class(value: u64) -> usize {
    let value = value.min((1 << LIMIT_BITS) - 1);
    // Below PARTS a class holds one value; from there on `shift` grows with each power of two.
    let shift = (64 - (value | (PARTS as u64 - 1)).leading_zeros()) - BITS;
    let part = usize::try_from(value >> shift).expect("at most BITS bits");
    // From the first doubling on, the upper half of the parts alone occurs.
    (shift as usize) * (PARTS / 2) + part
}

/// The greatest value of a class.
const fn top(class: usize) -> u64 {
    if class < PARTS {
        return class as u64;
    }
    let shift = class / (PARTS / 2) - 1;
    let part = class - shift * (PARTS / 2);
    ((part as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Random;

    #[test]
    fn every_value_lies_in_its_class_and_within_a_percent_of_its_top() {
        let mut random = Random::new(1);
        for bits in 1..=LIMIT_BITS {
            for _ in 0..1000 {
                let value = random.below(1 << bits);
                let top = top(class(value));
                assert!(top >= value, "{value} above {top}");
                assert!(top - value <= value / 128, "{value} far from {top}");
            }
        }
        assert_eq!(class(u64::MAX), class((1 << LIMIT_BITS) - 1));
        assert!(class(u64::MAX) < CLASSES);
    }

    #[test]
    fn classes_follow_each_other_without_a_gap() {
        for class_of in 1..class(u64::MAX) {
            assert_eq!(class(top(class_of - 1) + 1), class_of);
        }
    }

    #[test]
    fn percentiles_mean_and_maximum_agree_with_sorted_values() {
        let mut random = Random::new(2);
        let mut histogram = [Histogram::default(), Histogram::default()];
        let mut values: Vec<u64> = (0..20_000).map(|_| random.next() >> random.below(60)).collect();
        for value in &mut values {
            *value %= 1 << 39;
            histogram[usize::from(*value % 3 == 0)].record(*value);
        }
        let [mut all, other] = histogram;
        all.merge(&other);
        values.sort_unstable();
        for (percent, index) in [(50.0, 9_999), (90.0, 17_999), (99.0, 19_799), (99.9, 19_979)] {
            let (found, exact) = (all.percentile(percent), values[index]);
            assert!(found >= exact && found - exact <= exact / 128, "{percent}: {found} {exact}");
        }
        assert_eq!(all.max(), values[19_999]);
        assert_eq!(all.percentile(100.0), all.max());
        assert_eq!(all.count(), 20_000);
    }

    #[test]
    fn an_empty_histogram_is_zero() {
        let empty = Histogram::default();
        assert_eq!((empty.count(), empty.max(), empty.percentile(50.0)), (0, 0, 0));
        assert!(empty.mean() == 0.0);
    }
}
