//! What drives a client agent: a source of commands that also hears what became of them.

use crate::proxy::Completion;
use crate::types::{Address, Sequence, SessionId, Time};
use crate::wire::DecodeError;

/// A command that a load wants to issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Which of the agent's sessions issues it, from 0: one logical client each.
    pub session: usize,
    /// The load's own name for the command; comes back with the completion.
    pub tag: u64,
}

/// A source of commands. Called on the client agent's thread, once or more a duty cycle; `now` is
/// the cycle's one clock reading.
pub trait Load: Send {
    /// Writes the next command into `command` (which is empty) and says who issues it. `None`:
    /// nothing to issue for now. A command that was returned is issued: the load keeps the number
    /// outstanding a session within the session's window.
    fn next(&mut self, now: Time, command: &mut Vec<u8>) -> Option<Submission>;

    /// The command `tag` has been given its name.
    fn on_submitted(&mut self, tag: u64, session: SessionId, sequence: Sequence) {
        let _ = (tag, session, sequence);
    }

    /// What became of a command. Each submission completes exactly once, unless the run ends first.
    fn on_completion(&mut self, now: Time, completion: &Completion<'_>);

    /// A node at `by` does not talk to this client.
    fn on_mismatch(&mut self, reason: DecodeError, by: Address) {
        let _ = (reason, by);
    }

    /// An acceptor answers, but fewer than a quorum of them have a memory and hear each other. Called
    /// for each proposal that is turned away for it.
    fn on_no_quorum(&mut self, now: Time) {
        let _ = now;
    }

    /// The session that was to be resumed does not exist any more: nothing will be issued.
    fn on_session_lost(&mut self, session: SessionId) {
        let _ = session;
    }

    /// The cluster has no room for a session of this client: it is asked again and again, and nothing
    /// is issued before. Called in every cycle until there is.
    fn on_refused(&mut self) {}

    /// Whether the sessions stay open at the end, for somebody who goes on with them.
    fn keeps_sessions(&self) -> bool {
        false
    }

    /// Whether the load has ended: the agent stops.
    fn is_over(&self, now: Time) -> bool;
}
