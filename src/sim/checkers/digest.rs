//! Digests: replicas at an equal position show an equal digest.

use super::Violations;
use crate::types::Digest;
use std::collections::BTreeMap;

const NAME: &str = "digest";

/// The checker.
#[derive(Debug, Default)]
pub(in crate::sim) struct Digests {
    seen: BTreeMap<Vec<u64>, (usize, Digest)>,
}

impl Digests {
    /// `replica` shows `digest` at `position`, which holds one number a worker and counter.
    pub(in crate::sim) fn on_digest(
        &mut self,
        replica: usize,
        position: Vec<u64>,
        digest: Digest,
        violations: &mut Violations,
    ) {
        if let Some((other, expected)) = self.seen.get(&position) {
            if *expected != digest {
                violations.report(NAME, || {
                    format!(
                        "at position {position:?} replica {replica} shows {:016x}, replica \
                         {other} {:016x}",
                        digest.0, expected.0
                    )
                });
            }
            return;
        }
        self.seen.insert(position, (replica, digest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_positions_must_show_equal_digests() {
        let (mut digests, mut violations) = (Digests::default(), Violations::default());
        digests.on_digest(0, vec![1, 2], Digest(7), &mut violations);
        digests.on_digest(1, vec![1, 3], Digest(8), &mut violations);
        digests.on_digest(1, vec![1, 2], Digest(7), &mut violations);
        assert!(violations.is_empty());
        digests.on_digest(2, vec![1, 3], Digest(9), &mut violations);
        assert!(!violations.is_empty());
    }
}
