//! What must hold in every run, one checker a file. A checker is told what happened and says what
//! was wrong; it never looks into the protocol's state.

mod agreement;
mod at_most_once;
mod digest;
mod epochs;
mod execution;
mod history;
mod linearizability;
mod order;

pub(super) use agreement::{Agreement, ValueSeen};
pub(super) use at_most_once::AtMostOnce;
pub(super) use digest::Digests;
pub(super) use epochs::Epochs;
pub(super) use execution::Executions;
pub use history::{HistoryError, Operation, Outcome, Verb, check_history, read_history};
pub use linearizability::{Call, Linearizability, Model, check};
pub(super) use order::Order;

/// One thing that must not happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker that saw it.
    pub checker: &'static str,
    /// What, where and how it should have been.
    pub detail: String,
}

/// Gathers violations, the first few of them: one broken invariant breaks many.
#[derive(Debug, Default)]
pub(super) struct Violations {
    first: Vec<Violation>,
}

impl Violations {
    const KEPT: usize = 8;

    /// Adds one; its text is only made while there is room.
    pub(super) fn report(&mut self, checker: &'static str, detail: impl FnOnce() -> String) {
        if self.first.len() < Self::KEPT {
            self.first.push(Violation { checker, detail: detail() });
        }
    }

    /// Whether there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// What was gathered.
    pub(super) fn into_vec(self) -> Vec<Violation> {
        self.first
    }
}
