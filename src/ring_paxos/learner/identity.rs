//! When two states of a learner are the same: for whoever walks through them.

use super::Learner;
use std::hash::{Hash, Hasher};

/// All that decides what it hands over next; not when it asks for what it lacks, nor whom, nor what
/// it reports.
impl Hash for Learner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Named one by one: a new field has to say whether it counts.
        let Self {
            config: _,
            window,
            repairs: _,
            horizon,
            mark,
            layout_ballot: _,
            report_to: _,
            reported: _,
            report_at: _,
            repeat_at: _,
            trimmed,
            lacks_state,
            conflict,
            joined,
            checkpointed: _,
            is_hushed: _,
            counters: _,
        } = self;
        (window, horizon, mark, trimmed, lacks_state, conflict, joined).hash(state);
    }
}
