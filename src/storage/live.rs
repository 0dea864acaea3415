//! Which segments hold something that is not forgotten.
//!
//! Per instance above the trim mark: the segment with its last accept. Per segment: how many such
//! instances it has. A segment with none, and all before it, can be used again.

use crate::types::Instance;

/// Segments ahead of the current one that are kept free: one that the next opening takes, one for
/// what a duty cycle appends before the log is cleaned, one that the opening before still named.
const AHEAD: u64 = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    instance: Instance,
    segment: u64,
}

/// Where the last accept of each instance is.
#[derive(Debug)]
pub(super) struct Live {
    last: Box<[Last]>,
    mask: u64,
    /// Instances whose last accept is in a segment, by the segment's number modulo their count.
    counts: Box<[u32]>,
    oldest: u64,
    trim: Instance,
}

impl Live {
    /// Of a log of `instances`, a power of two, in `segments`.
    pub(super) fn new(instances: usize, segments: usize) -> Self {
        assert!(instances.is_power_of_two(), "a log holds a power of two instances");
        Self {
            last: vec![Last::default(); instances].into(),
            mask: instances as u64 - 1,
            counts: vec![0; segments].into(),
            oldest: 1,
            trim: Instance(0),
        }
    }

    /// Segments before `segment` are not kept.
    pub(super) fn set_oldest(&mut self, segment: u64) {
        self.oldest = segment;
    }

    /// `instance` was accepted by a record in `segment`.
    pub(super) fn accept(&mut self, instance: Instance, segment: u64) {
        let place = self.place(instance);
        let before = std::mem::replace(&mut self.last[place], Last { instance, segment });
        self.forget(before);
        *self.count(segment) += 1;
    }

    /// Everything up to `trim` is forgotten.
    pub(super) fn trim(&mut self, trim: Instance) {
        if trim <= self.trim {
            return;
        }
        let first = self.trim.0.max(trim.0.saturating_sub(self.mask + 1));
        for instance in first + 1..=trim.0 {
            let place = self.place(Instance(instance));
            if self.last[place].instance <= trim {
                let before = std::mem::take(&mut self.last[place]);
                self.forget(before);
            }
        }
        self.trim = trim;
    }

    /// The oldest segment that is kept, while `current` is written.
    pub(super) fn oldest(&mut self, current: u64) -> u64 {
        while self.oldest < current && *self.count(self.oldest) == 0 {
            self.oldest += 1;
        }
        self.oldest
    }

    /// Whether what is kept leaves too little room ahead of `current`.
    pub(super) fn is_crowded(&mut self, current: u64) -> bool {
        let kept = current - self.oldest(current) + 1;
        kept + AHEAD > self.counts.len() as u64
    }

    /// Whether the last accept of `instance` is in `segment`.
    pub(super) fn is_in(&self, instance: Instance, segment: u64) -> bool {
        let last = self.last[self.place(instance)];
        (last.instance, last.segment) == (instance, segment)
    }

    fn forget(&mut self, last: Last) {
        if last.segment > 0 {
            let count = self.count(last.segment);
            *count = count.checked_sub(1).expect("an instance is counted once");
        }
    }

    fn count(&mut self, segment: u64) -> &mut u32 {
        let slot = usize::try_from(segment % self.counts.len() as u64).expect("below their count");
        &mut self.counts[slot]
    }

    fn place(&self, instance: Instance) -> usize {
        usize::try_from(instance.0 & self.mask).expect("below the capacity")
    }
}
