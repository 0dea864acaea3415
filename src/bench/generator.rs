//! A closed loop of commands: as many outstanding as the settings say, another for every answer.

use super::{Contact, History, Kind, Settings, Tally, Window, Workload};
use crate::node::{Load, Submission};
use crate::proxy::{Completion, Outcome};
use crate::types::{Address, Sequence, SessionId, Time};
use crate::wire::DecodeError;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The load of one client thread. Allocates nothing after it was made.
///
/// It holds a token for each command that may be outstanding; the token goes with the command as
/// the low half of its tag and comes back with the completion. Token t belongs to session
/// t mod sessions, so every session has its share of the window.
#[derive(Debug)]
pub struct Generator {
    workload: Workload,
    window: Arc<Window>,
    sessions: usize,
    free: VecDeque<u32>,
    tokens: usize,
    phase: Phase,
    begin: Time,
    end: Time,
    grace: Duration,
    /// When something was last acknowledged, or measuring began.
    heard: Time,
    tally: Tally,
    history: Option<History>,
    contact: Arc<Contact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Idle,
    WarmingUp,
    Measuring,
    Draining,
}

impl Generator {
    /// The load of client thread `thread`, which has `sessions` clients and `outstanding` commands.
    ///
    /// # Panics
    /// If it has no session or fewer commands than sessions.
    #[must_use]
    pub fn new(
        settings: &Settings,
        thread: u64,
        (sessions, outstanding): (usize, usize),
        window: Arc<Window>,
        history: Option<History>,
    ) -> Self {
        assert!(sessions > 0 && outstanding >= sessions, "every session has a command");
        let count = u32::try_from(outstanding).expect("validated: below 2^20");
        Self {
            workload: Workload::new(settings, thread),
            window,
            sessions,
            free: (0..count).collect(),
            tokens: outstanding,
            phase: Phase::Idle,
            begin: Time::NEVER,
            end: Time::NEVER,
            grace: settings.deadline() + Duration::from_secs(1),
            heard: Time::NEVER,
            tally: Tally::default(),
            history,
            contact: Arc::default(),
        }
    }

    /// Tells, while it runs, whether the cluster answers it.
    #[must_use]
    pub fn contact(&self) -> Arc<Contact> {
        Arc::clone(&self.contact)
    }

    /// What became of its commands, and the history, which ends here.
    #[must_use]
    pub fn finish(mut self) -> Tally {
        if let Some(history) = &mut self.history {
            history.finish();
        }
        if self.phase == Phase::Measuring {
            self.hear(self.end);
        }
        self.tally
    }

    /// How many clients it plays.
    #[must_use]
    pub const fn sessions(&self) -> usize {
        self.sessions
    }

    /// Commands without an answer yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.tokens - self.free.len()
    }

    /// Moves on with the time; takes the samples at both ends of the window.
    #[inline]
    fn observe(&mut self, now: Time) {
        if self.phase == Phase::WarmingUp && now >= self.begin {
            self.phase = Phase::Measuring;
            self.heard = self.begin;
            self.window.on_begin(now);
        }
        if self.phase == Phase::Measuring && now >= self.end {
            self.hear(self.end);
            self.phase = Phase::Draining;
            self.window.on_end(now);
        }
    }

    /// Something was acknowledged, or measuring ends.
    #[inline]
    fn hear(&mut self, now: Time) {
        self.tally.silence_ns = self.tally.silence_ns.max(now.0.saturating_sub(self.heard.0));
        self.heard = now;
    }
}

impl Load for Generator {
    #[inline]
    fn next(&mut self, now: Time, command: &mut Vec<u8>) -> Option<Submission> {
        if self.phase == Phase::Idle {
            (self.begin, self.end) = self.window.start(now);
            self.contact.note_full(false);
            self.phase = Phase::WarmingUp;
        }
        self.observe(now);
        if self.phase == Phase::Draining {
            return None;
        }
        let token = self.free.pop_front()?;
        let kind = self.workload.next(command);
        if let Some(history) = &mut self.history {
            history.invoke(token, now, command);
        }
        let tag = u64::from(token) | (kind as u64) << 32;
        Some(Submission { session: token as usize % self.sessions, tag })
    }

    #[inline]
    fn on_submitted(&mut self, tag: u64, session: SessionId, sequence: Sequence) {
        if let Some(history) = &mut self.history {
            history.name(token(tag), session, sequence);
        }
    }

    #[inline]
    fn on_completion(&mut self, now: Time, completion: &Completion<'_>) {
        self.observe(now);
        if completion.outcome != Outcome::Unknown {
            self.contact.note_answer(now);
        }
        let kind = Kind::from_index(completion.tag >> 32).expect("a tag of ours");
        if self.phase == Phase::Measuring {
            if completion.outcome == Outcome::Done {
                self.hear(now);
            }
            let latency_ns = now.0.saturating_sub(completion.submitted.0);
            self.tally.record(kind, completion, latency_ns);
        } else {
            self.tally.record_outside(kind, completion);
        }
        let token = token(completion.tag);
        if let Some(history) = &mut self.history {
            history.complete(token, now, completion);
        }
        debug_assert!(self.free.len() < self.tokens, "a token comes back once");
        self.free.push_back(token);
    }

    fn on_mismatch(&mut self, reason: DecodeError, by: Address) {
        self.contact.note_mismatch(reason, by);
    }

    fn on_no_quorum(&mut self, now: Time) {
        self.contact.note_no_quorum(now);
    }

    fn on_refused(&mut self) {
        self.contact.note_full(true);
    }

    fn is_over(&self, now: Time) -> bool {
        if now < self.end {
            return false;
        }
        // Where no command and no answer has come since, nobody has taken the sample yet.
        self.window.on_end(now);
        self.free.len() == self.tokens || now >= self.end + self.grace
    }
}

#[inline]
fn token(tag: u64) -> u32 {
    u32::try_from(tag & 0xffff_ffff).expect("32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Outcome;

    const MS: u64 = 1_000_000;

    fn generator(sessions: usize, outstanding: usize) -> Generator {
        let settings = Settings { dependent: Some(0.0), ..Settings::default() };
        let window = Window::new(Duration::from_millis(10), Duration::from_millis(20));
        Generator::new(&settings, 0, (sessions, outstanding), Arc::new(window), None)
    }

    fn answer(generator: &mut Generator, tag: u64, submitted: Time, now: Time) {
        let (session, sequence, outcome) = (SessionId(1), Sequence(1), Outcome::Done);
        let done =
            Completion { tag, session, sequence, outcome, payload: &[2], submitted, flags: 0 };
        generator.on_completion(now, &done);
    }

    #[test]
    fn the_window_of_outstanding_commands_is_filled_and_shared_by_the_sessions() {
        let mut generator = generator(3, 7);
        let mut by_session = [0; 3];
        while let Some(submission) = generator.next(Time(MS), &mut Vec::new()) {
            by_session[submission.session] += 1;
        }
        assert_eq!(by_session, [3, 2, 2]);
        assert_eq!(generator.outstanding(), 7);
        answer(&mut generator, 4, Time(MS), Time(2 * MS));
        let next = generator.next(Time(2 * MS), &mut Vec::new()).unwrap();
        assert_eq!((next.session, next.tag & 0xffff_ffff), (1, 4));
    }

    #[test]
    fn an_answer_counts_when_it_comes_inside_the_window() {
        let mut generator = generator(1, 1);
        let mut times = Vec::new();
        for ms in 1.. {
            let now = Time(ms * MS);
            let Some(submission) = generator.next(now, &mut Vec::new()) else { break };
            answer(&mut generator, submission.tag, now, now + Duration::from_micros(500));
            assert!(!generator.is_over(now));
            times.push(ms);
        }
        assert_eq!(times, (1..=30).collect::<Vec<_>>());
        assert!(generator.is_over(Time(31 * MS)));
        let samples = generator.window.samples().unwrap();
        assert_eq!((samples.0.at, samples.1.at), (Time(11 * MS), Time(31 * MS)));
        let tally = generator.finish();
        assert_eq!((tally.commands(), tally.unchecked.max()), (20, MS / 2));
        assert_eq!(tally.silence_ns, MS);
    }

    #[test]
    fn a_run_whose_last_command_is_never_answered_ends_after_a_grace() {
        let mut generator = generator(1, 1);
        generator.next(Time(MS), &mut Vec::new()).unwrap();
        generator.next(Time(12 * MS), &mut Vec::new());
        assert!(generator.next(Time(40 * MS), &mut Vec::new()).is_none());
        assert!(!generator.is_over(Time(40 * MS)));
        assert!(generator.is_over(Time(40 * MS) + generator.grace));
        assert_eq!(generator.finish().silence_ns, 20 * MS);
    }
}
