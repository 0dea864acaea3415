//! Epochs: each has one set of members for ever, and they follow each other.

use super::Violations;

const NAME: &str = "epochs";

/// The checker.
#[derive(Debug)]
pub(in crate::sim) struct Epochs {
    /// The members of epoch i + 1.
    records: Vec<Box<[u8]>>,
}

impl Epochs {
    /// The first epoch has the members that `record` names.
    pub(in crate::sim) fn new(record: &[u8]) -> Self {
        Self { records: vec![record.into()] }
    }

    /// Somebody lives by `record` in `epoch`.
    pub(in crate::sim) fn on_members(
        &mut self,
        epoch: u32,
        record: &[u8],
        violations: &mut Violations,
    ) {
        let index = usize::try_from(epoch).expect("few epochs").wrapping_sub(1);
        match self.records.get(index) {
            Some(known) if **known == *record => {}
            Some(_) => violations.report(NAME, || format!("epoch {epoch} has two sets of members")),
            None if index == self.records.len() => self.records.push(record.into()),
            None => violations.report(NAME, || {
                format!("epoch {epoch} begins after epoch {}", self.records.len())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live_by(epochs: &[(u32, &[u8])]) -> bool {
        let (mut checker, mut violations) = (Epochs::new(b"abc"), Violations::default());
        epochs
            .iter()
            .for_each(|(epoch, record)| checker.on_members(*epoch, record, &mut violations));
        violations.is_empty()
    }

    #[test]
    fn an_epoch_has_one_set_of_members_and_none_is_passed_over() {
        assert!(live_by(&[(1, b"abc"), (2, b"ab"), (1, b"abc"), (3, b"abd"), (2, b"ab")]));
        assert!(!live_by(&[(2, b"ab"), (2, b"bc")]));
        assert!(!live_by(&[(1, b"ab")]));
        assert!(!live_by(&[(3, b"ab")]));
    }
}
