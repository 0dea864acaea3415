//! Which counters of a sender were seen already.

/// Words of the bitmap. A thread reads its sockets one after the other, and each may hold some
/// thousand datagrams: what is younger than these is no replay for being late.
const WORDS: u64 = 128;
const LENGTH: usize = 128;
const _: () = assert!(LENGTH as u64 == WORDS);

/// A sliding bitmap of counters. A counter is fresh until it is marked; what lies more than the
/// window behind the highest is stale, which is not told from seen.
#[derive(Clone, Debug)]
pub(super) struct Window {
    highest: u64,
    words: [u64; LENGTH],
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { highest: 0, words: [0; LENGTH] }
    }

    /// Nothing was seen, as for a sender that is new.
    pub(super) const fn clear(&mut self) {
        *self = Self::new();
    }

    /// Whether `counter` was not seen yet. Counters start at 1.
    #[inline]
    pub(super) fn is_fresh(&self, counter: u64) -> bool {
        let (word, bit) = place(counter);
        if counter > self.highest {
            return true;
        }
        counter > 0 && counter / 64 + WORDS > self.highest / 64 && self.words[word] & bit == 0
    }

    /// Marks `counter`, which was fresh, as seen.
    #[inline]
    pub(super) fn mark(&mut self, counter: u64) {
        let (last, next) = (self.highest / 64, counter / 64);
        if next > last {
            // The words between are of counters so old that they are stale now.
            let first = if next - last >= WORDS { next + 1 - WORDS } else { last + 1 };
            for word in first..=next {
                self.words[place(word * 64).0] = 0;
            }
        }
        self.highest = self.highest.max(counter);
        let (word, bit) = place(counter);
        self.words[word] |= bit;
    }
}

fn place(counter: u64) -> (usize, u64) {
    let word = usize::try_from(counter / 64 % WORDS).expect("below WORDS");
    (word, 1 << (counter % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_counter_is_fresh_once_and_a_stale_one_never() {
        let mut window = Window::new();
        assert!(!window.is_fresh(0));
        for counter in [1, 5, 3, 8_000, 4, 100_000, u64::MAX] {
            assert!(window.is_fresh(counter), "{counter}");
            window.mark(counter);
            assert!(!window.is_fresh(counter), "{counter}");
            if counter == 100_000 {
                assert!(!window.is_fresh(9_000) && window.is_fresh(99_000));
            }
        }
        window.clear();
        assert!(window.is_fresh(1));
    }

    proptest! {
        #[test]
        fn it_says_what_a_set_says_for_all_that_is_not_stale(
            steps in proptest::collection::vec((0_u64..3, 0_u64..20_000), 1..300),
        ) {
            let (mut window, mut seen) = (Window::new(), BTreeSet::new());
            let mut highest = 0_u64;
            for (kind, distance) in steps {
                let counter = match kind {
                    0 => highest + 1 + distance,
                    1 => highest + 1,
                    _ => highest.saturating_sub(distance).max(1),
                };
                let is_recent = highest.saturating_sub(counter) < (WORDS - 1) * 64;
                if is_recent {
                    prop_assert_eq!(window.is_fresh(counter), !seen.contains(&counter));
                } else if seen.contains(&counter) {
                    prop_assert!(!window.is_fresh(counter));
                }
                if window.is_fresh(counter) {
                    window.mark(counter);
                    seen.insert(counter);
                    highest = highest.max(counter);
                }
            }
        }
    }
}
