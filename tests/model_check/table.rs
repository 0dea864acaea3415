//! What the models have found out so far: every state of a component under its digest, and every
//! step of it under the digests of state and event. So a component of real types takes each step
//! once, however many states of the whole model contain it, and those are a few words each.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, RwLock};

/// Names a state, an event or a message by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(pub(crate) u64);

impl Digest {
    pub(crate) fn of(content: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// Of two things in this order.
    pub(crate) const fn then(self, next: Self) -> Self {
        Self(self.0.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ next.0)
    }
}

/// Locks, so that the checker's threads seldom meet.
const SHARDS: usize = 256;

/// A map from digests, filled by several threads. What stands in it never changes.
pub(crate) struct Table<T>(Vec<RwLock<BTreeMap<Digest, Arc<T>>>>);

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| RwLock::default()).collect())
    }

    pub(crate) fn find(&self, digest: Digest) -> Option<Arc<T>> {
        let shard = self.shard(digest).read().expect("no thread ends inside");
        shard.get(&digest).cloned()
    }

    /// What stands under `digest`.
    ///
    /// # Panics
    /// If nothing does.
    pub(crate) fn get(&self, digest: Digest) -> Arc<T> {
        self.find(digest).expect("digests come from what was put here")
    }

    /// Puts `content` under `digest`, unless something stands there: equal digests, equal content.
    pub(crate) fn put(&self, digest: Digest, content: T) -> Arc<T> {
        let mut shard = self.shard(digest).write().expect("no thread ends inside");
        Arc::clone(shard.entry(digest).or_insert_with(|| Arc::new(content)))
    }

    fn shard(&self, digest: Digest) -> &RwLock<BTreeMap<Digest, Arc<T>>> {
        let shards = SHARDS as u64;
        &self.0[usize::try_from(digest.0 % shards).expect("a small number")]
    }
}
