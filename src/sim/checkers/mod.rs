//! What must hold in every run, one checker a file. A checker is told what happened and says what
//! was wrong; it never looks into the protocol's state.

mod history;
mod linearizability;

pub use history::{HistoryError, Operation, Outcome, Verb, check_history, read_history};
pub use linearizability::{Call, Linearizability, Model, check};

/// One thing that must not happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker that saw it.
    pub checker: &'static str,
    /// What, where and how it should have been.
    pub detail: String,
}
