//! Between the thread that reads lines and the one that speaks to the cluster.
//!
//! A command waits in a channel until a session is open. At its deadline the reader takes it back if
//! it is still there: then it certainly was not sent. Otherwise nobody knows what becomes of it.

use super::super::complain;
use super::FULL;
use crate::node::{Load, Submission};
use crate::proxy::{Completion, Outcome};
use crate::sync::Waker;
use crate::types::{Address, SessionId, Time};
use crate::wire::DecodeError;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

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
    /// The cluster has no room for a session; it is asked again.
    Full,
    /// A node refused to talk to us.
    Mismatch(DecodeError, Address),
    /// The client's thread has ended.
    Gone,
}

/// The reader's side.
#[derive(Debug)]
pub(super) struct Exchange {
    requests: Sender<Request>,
    answers: Receiver<Ended>,
    number: u64,
    /// Who refused to talk to us last, and why.
    pub(super) mismatch: Option<(DecodeError, Address)>,
    /// The cluster has had no room for a session.
    pub(super) is_full: bool,
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
    is_full: bool,
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
        is_full: false,
    };
    let (mismatch, is_full, lost) = (None, false, None);
    (
        lines,
        Exchange {
            requests,
            answers: answered,
            number: 0,
            mismatch,
            is_full,
            lost,
            _reader: reader,
        },
    )
}

impl Exchange {
    /// Has `command` executed, and waits for its end, at most `deadline`. `waker` is of the client's
    /// thread.
    pub(super) fn ask(&mut self, command: Vec<u8>, waker: &Waker, deadline: Duration) -> Told {
        if let Some(session) = self.lost {
            return Told::Lost(session);
        }
        self.number += 1;
        let state = Arc::new(AtomicU8::new(WAITING));
        let request = Request { number: self.number, command, state: Arc::clone(&state) };
        if self.requests.send(request).is_err() {
            return Told::Gone;
        }
        waker.wake();
        let until = crate::host::clock::now() + deadline;
        loop {
            let left = until.since(crate::host::clock::now());
            match self.answers.recv_timeout(left) {
                Ok(Ended { number, told }) if number == self.number => return told,
                Ok(Ended { told: Told::Mismatch(reason, by), .. }) => {
                    self.mismatch = Some((reason, by));
                }
                Ok(Ended { told: Told::Full, .. }) => {
                    self.is_full = true;
                    complain(&format!("{FULL}; trying again until the deadline"));
                }
                Ok(Ended { told: Told::Lost(session), .. }) => {
                    self.lost = Some(session);
                    return Told::Lost(session);
                }
                // Of a command that was given up before.
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Told::Gone,
                Err(RecvTimeoutError::Timeout) => {
                    // Relaxed: the word itself is all that passes between the threads.
                    let taken_back = state.compare_exchange(
                        WAITING,
                        WITHDRAWN,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                    return if taken_back.is_ok() { Told::Withdrawn } else { Told::Unknown };
                }
            }
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
        // The reader may have ended.
        let _ = self.answers.send(Ended { number: completion.tag, told });
    }

    fn on_session_lost(&mut self, session: SessionId) {
        if !std::mem::replace(&mut self.is_lost, true) {
            let _ = self.answers.send(Ended { number: 0, told: Told::Lost(session) });
        }
    }

    fn on_mismatch(&mut self, reason: DecodeError, by: Address) {
        let _ = self.answers.send(Ended { number: 0, told: Told::Mismatch(reason, by) });
    }

    fn on_refused(&mut self) {
        if !std::mem::replace(&mut self.is_full, true) {
            let _ = self.answers.send(Ended { number: 0, told: Told::Full });
        }
    }

    fn keeps_sessions(&self) -> bool {
        self.keeps_session
    }

    fn is_over(&self, _: Time) -> bool {
        self.reader.strong_count() == 0
    }
}
