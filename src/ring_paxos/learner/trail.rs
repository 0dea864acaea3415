//! Hash chains of what a learner has handed over, by which others can see that it was the same.
//!
//! A link is a stretch of instances: it begins anew at each, so that a learner that was restored in
//! the middle of one agrees with others from the next on, and nothing of it is in a checkpoint.

use crate::types::{Instance, ValueId};

/// Instances of a stretch.
const STRETCH: u64 = 64;
/// Links that a learner keeps.
pub const LINKS: usize = 4;

/// What was handed over in one stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The last instance of the stretch; zero: there is none.
    pub last: Instance,
    /// The hash of the ids and sizes of its values, in their order.
    pub hash: u64,
}

/// The last links of one learner.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    hash: u64,
    /// It has handed over the present stretch from its beginning.
    is_whole: bool,
    links: [Link; LINKS],
    oldest: usize,
}

impl Trail {
    /// `instance` was handed over: the value named `id`, so long or of so many slots.
    #[inline]
    pub(super) fn note(&mut self, instance: Instance, id: ValueId, size: u64) {
        if instance.0 % STRETCH == 1 {
            (self.hash, self.is_whole) = (0, true);
        }
        for word in [id.incarnation.0, id.counter, size] {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        if instance.0.is_multiple_of(STRETCH) && self.is_whole {
            self.links[self.oldest] = Link { last: instance, hash: self.hash };
            self.oldest = (self.oldest + 1) % LINKS;
        }
    }

    /// The next instance is not the one behind the last.
    pub(super) const fn jump(&mut self) {
        self.is_whole = false;
    }

    pub(super) const fn links(&self) -> [Link; LINKS] {
        self.links
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};

    fn walk(trail: &mut Trail, instances: std::ops::RangeInclusive<u64>, odd: u64) {
        for instance in instances {
            let counter = instance + u64::from(instance == odd);
            let id = ValueId::new(NodeId(1), Incarnation(9), counter);
            trail.note(Instance(instance), id, 10);
        }
    }

    /// The links of a learner that hands these over, by their last instance.
    fn links(instances: std::ops::RangeInclusive<u64>, odd: u64) -> Vec<Link> {
        let mut trail = Trail::default();
        walk(&mut trail, instances, odd);
        let mut links = trail.links().to_vec();
        links.retain(|link| link.last > Instance(0));
        links.sort_by_key(|link| link.last);
        links
    }

    #[test]
    fn learners_agree_on_each_stretch_that_both_have_handed_over_whole() {
        let whole = links(1..=300, 0);
        assert_eq!(whole.iter().map(|link| link.last.0).collect::<Vec<_>>(), [64, 128, 192, 256]);
        assert_eq!(links(100..=300, 0), whole[2..]);
        let other = links(1..=300, 130);
        assert_eq!(
            whole.iter().zip(&other).map(|(a, b)| a == b).collect::<Vec<_>>(),
            [true, true, false, true]
        );
        let mut jumped = Trail::default();
        walk(&mut jumped, 1..=70, 0);
        jumped.jump();
        walk(&mut jumped, 100..=200, 0);
        let last: Vec<_> = jumped.links().iter().map(|link| link.last.0).collect();
        assert_eq!(last, [64, 192, 0, 0], "the second was not whole");
    }
}
