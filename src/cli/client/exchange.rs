//! Between the thread that reads lines and the one that speaks to the cluster.
//!
//! A command waits in a channel until a session is open. At its deadline the reader takes it back if
//! it is still there: then it certainly was not sent. Otherwise nobody knows what becomes of it.

use super::Obstacle;
use crate::host::clock;
use crate::node::{Load, Submission};
use crate::proxy::{Completion, Outcome};
use crate::sync::Waker;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::types::{Address, SessionId, Time};
use crate::wire::DecodeError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Weak};

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// A command on its way to the client's thread.
#[derive(Debug)]
struct Request {
    number: u64,
    command: Vec<u8>,
    state: Arc<AtomicU8>,
}

/// What the client's thread says of it.
#[derive(Debug)]
struct Ended {
    number: u64,
    told: Told,
}

/// What a reader is told of a command.
#[derive(Debug)]
pub(super) enum Told {
    /// It came to its end.
    Ended {
        /// Which.
        outcome: Outcome,
        /// The service's reply.
        payload: Vec<u8>,
        /// The session that asked.
        session: SessionId,
    },
    /// It was sent, and nothing was heard until the deadline.
    Unknown,
    /// It was taken back before it was sent.
    Withdrawn,
    /// The session that should have been resumed is gone.
    Lost(SessionId),
    /// Why nothing is served; it is asked again.
    Obstacle(Obstacle),
    /// The client's thread has ended.
    Gone,
}

/// The reader's side.
#[derive(Debug)]
pub(super) struct Exchange {
    requests: Sender<Request>,
    answers: Receiver<Ended>,
    number: u64,
    /// What was asked last.
    state: Arc<AtomicU8>,
    /// Why nothing was served when something was heard last.
    pub(super) obstacle: Option<Obstacle>,
    /// The session that was to be resumed, if it is gone.
    lost: Option<SessionId>,
    /// Ends with the reader.
    _reader: Arc<()>,
}

/// The client's side.
#[derive(Debug)]
pub(super) struct Lines {
    requests: Receiver<Request>,
    answers: Sender<Ended>,
    reader: Weak<()>,
    keeps_session: bool,
    is_lost: bool,
    /// What the reader knows.
    obstacle: Option<Obstacle>,
}

/// Both sides. The session stays open at the end if the client is to keep it.
pub(super) fn pair(keeps_session: bool) -> (Lines, Exchange) {
    let (requests, received) = channel();
    let (answers, answered) = channel();
    let reader = Arc::new(());
    let lines = Lines {
        requests: received,
        answers,
        reader: Arc::downgrade(&reader),
        keeps_session,
        is_lost: false,
        obstacle: None,
    };
    let exchange = Exchange {
        requests,
        answers: answered,
        number: 0,
        state: Arc::default(),
        obstacle: None,
        lost: None,
        _reader: reader,
    };
    (lines, exchange)
}

impl Exchange {
    /// Has `command` executed. `waker` is of the client's thread.
    pub(super) fn ask(&mut self, command: Vec<u8>, waker: &Waker) {
        if self.lost.is_some() {
            return; // Nothing is executed any more.
        }
        self.number += 1;
        self.state = Arc::default();
        let request = Request { number: self.number, command, state: Arc::clone(&self.state) };
        // Whether the client's thread has ended is seen by who waits.
        let _ = self.requests.send(request);
        waker.wake();
    }

    /// Waits for the end of what was asked, or for what is in its way, at most `until`.
    pub(super) fn wait(&mut self, until: Time) -> Option<Told> {
        if let Some(session) = self.lost {
            return Some(Told::Lost(session));
        }
        loop {
            let left = until.since(clock::now());
            match self.answers.recv_timeout(left) {
                Ok(Ended { number, told }) if number == self.number => {
                    self.obstacle = None;
                    return Some(told);
                }
                Ok(Ended { told: Told::Obstacle(obstacle), .. }) => {
                    self.obstacle = Some(obstacle);
                    return Some(Told::Obstacle(obstacle));
                }
                Ok(Ended { told: Told::Lost(session), .. }) => {
                    self.lost = Some(session);
                    return Some(Told::Lost(session));
                }
                // Of a command that was given up before.
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Some(Told::Gone),
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
    }

    /// Takes back what was asked, if it is still here.
    pub(super) fn give_up(&self) -> Told {
        // Relaxed: the word itself is all that passes between the threads.
        let taken_back =
            self.state.compare_exchange(WAITING, WITHDRAWN, Ordering::Relaxed, Ordering::Relaxed);
        if taken_back.is_ok() { Told::Withdrawn } else { Told::Unknown }
    }
}

impl Lines {
    /// The reader is told once of each.
    fn tell(&mut self, obstacle: Obstacle) {
        // Of nodes that all differ the first will do.
        let is_known = match (self.obstacle, obstacle) {
            (Some(Obstacle::Mismatch(..)), Obstacle::Mismatch(..)) => true,
            (known, _) => known == Some(obstacle),
        };
        if !is_known {
            self.obstacle = Some(obstacle);
            let _ = self.answers.send(Ended { number: 0, told: Told::Obstacle(obstacle) });
        }
    }
}

impl Load for Lines {
    fn next(&mut self, _: Time, command: &mut Vec<u8>) -> Option<Submission> {
        loop {
            let request = match self.requests.try_recv() {
                Ok(request) => request,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
            };
            let taken = request.state.compare_exchange(
                WAITING,
                TAKEN,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                command.extend_from_slice(&request.command);
                return Some(Submission { session: 0, tag: request.number });
            }
        }
    }

    fn on_completion(&mut self, _: Time, completion: &Completion<'_>) {
        let told = Told::Ended {
            outcome: completion.outcome,
            payload: completion.payload.to_vec(),
            session: completion.session,
        };
        self.obstacle = None;
        // The reader may have ended.
        let _ = self.answers.send(Ended { number: completion.tag, told });
    }

    fn on_session_lost(&mut self, session: SessionId) {
        if !std::mem::replace(&mut self.is_lost, true) {
            let _ = self.answers.send(Ended { number: 0, told: Told::Lost(session) });
        }
    }

    fn on_mismatch(&mut self, reason: DecodeError, by: Address) {
        self.tell(Obstacle::Mismatch(reason, by));
    }

    fn on_no_quorum(&mut self, _: Time) {
        self.tell(Obstacle::NoQuorum);
    }

    fn on_refused(&mut self) {
        self.tell(Obstacle::Full);
    }

    fn keeps_sessions(&self) -> bool {
        self.keeps_session
    }

    fn is_over(&self, _: Time) -> bool {
        self.reader.strong_count() == 0
    }
}

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;
    use crate::sync::model::explore;

    #[test]
    fn a_command_is_either_taken_or_taken_back() {
        explore(|| {
            let (mut lines, mut exchange) = pair(false);
            exchange.ask(vec![1], &Waker::of_current_thread());
            let client = loom::thread::spawn(move || {
                let mut command = Vec::new();
                lines.next(Time::ZERO, &mut command).is_some()
            });
            let is_withdrawn = matches!(exchange.give_up(), Told::Withdrawn);
            assert_ne!(client.join().expect("it does not panic"), is_withdrawn);
        });
    }
}
