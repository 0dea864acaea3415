//! The deterministic simulator and the checkers of what must hold in every run. Layer 4.

mod checkers;

pub use checkers::{
    Call, HistoryError, Linearizability, Model as SequentialModel, Operation, Outcome, Verb,
    Violation, check, check_history, read_history,
};
