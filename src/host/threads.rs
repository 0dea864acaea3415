//! Threads that have a name and a CPU, that end by being joined, and whose panics stay inside.
//!
//! A panic on one of these threads stops at its first frame and becomes its result: the other ids
//! of a process go on. Whoever joins must look at every result.

use super::affinity::{CpuId, PinError, pin};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};
use thiserror::Error;

/// Threads that were started together. Dropping it leaves them running; [`Team::join`] ends it.
#[derive(Debug)]
pub struct Team<T> {
    allowed: Vec<CpuId>,
    members: Vec<Member<T>>,
}

#[derive(Debug)]
struct Member<T> {
    name: String,
    handle: JoinHandle<Result<T, ThreadError>>,
}

/// How a thread came to an end without a result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ThreadError {
    /// Its body panicked, with this message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It could not be tied to its CPU, and its body did not run.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// A thread that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended<T> {
    /// Its name.
    pub name: String,
    /// What its body returned.
    pub result: Result<T, ThreadError>,
}

/// Why a thread could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The CPU is not one that this process may use.
    #[error("thread {name}: {source}")]
    Pin {
        /// The thread.
        name: String,
        /// The reason.
        source: PinError,
    },
    /// The kernel has no room for another thread.
    #[error("thread {name} cannot be started: raise `ulimit -u` or the container's pids limit")]
    Spawn {
        /// The thread.
        name: String,
        /// The reason.
        source: io::Error,
    },
}

impl<T: Send + 'static> Team<T> {
    /// A team on these CPUs ([`super::affinity::allowed_cpus`], asked before any pinning).
    #[must_use]
    pub const fn new(allowed: Vec<CpuId>) -> Self {
        Self { allowed, members: Vec::new() }
    }

    /// Starts a thread; on `cpu` alone if there is one. The kernel shows the first 15 bytes of its
    /// name.
    ///
    /// # Errors
    /// If the CPU is not allowed or no thread can be made. Those started before run on.
    pub fn spawn(
        &mut self,
        name: &str,
        cpu: Option<CpuId>,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(), StartError> {
        let name = name.to_owned();
        if let Some(cpu) = cpu
            && !self.allowed.contains(&cpu)
        {
            return Err(StartError::Pin { name, source: PinError::NotAllowed(cpu) });
        }
        let allowed = self.allowed.clone();
        let run = move || {
            if let Some(cpu) = cpu {
                pin(cpu, &allowed)?;
            }
            // What the body captured is gone with it: nobody sees it half changed.
            catch_unwind(AssertUnwindSafe(body)).map_err(|panic| ThreadError::of(&*panic))
        };
        match Builder::new().name(name.clone()).spawn(run) {
            Ok(handle) => self.members.push(Member { name, handle }),
            Err(source) => return Err(StartError::Spawn { name, source }),
        }
        Ok(())
    }

    /// How many threads were started.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The names of those that have ended already: while the team should run, a reason to stop it.
    #[must_use]
    pub fn ended(&self) -> Vec<&str> {
        let ended = self.members.iter().filter(|member| member.handle.is_finished());
        ended.map(|member| member.name.as_str()).collect()
    }

    /// Waits for all and returns their results in the order in which they were started. They must
    /// have been told to stop.
    #[must_use]
    pub fn join(self) -> Vec<Ended<T>> {
        let join = |Member { name, handle }: Member<T>| {
            let result = handle.join().unwrap_or_else(|panic| Err(ThreadError::of(&*panic)));
            Ended { name, result }
        };
        self.members.into_iter().map(join).collect()
    }
}

impl ThreadError {
    /// What a panic said.
    #[must_use]
    pub fn of(panic: &(dyn Any + Send)) -> Self {
        let message = panic
            .downcast_ref::<&str>()
            .map(|message| (*message).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panicked(message.unwrap_or_else(|| "with no message".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::affinity::allowed_cpus;

    #[test]
    fn a_panic_ends_its_own_thread_and_is_its_result() {
        let mut team = Team::new(allowed_cpus());
        let cpu = allowed_cpus()[0];
        team.spawn("fine", Some(cpu), move || allowed_cpus() == [cpu]).unwrap();
        team.spawn("fails", None, || panic!("at command {}", 7)).unwrap();
        let ended = team.join();
        assert_eq!(ended[0], Ended { name: "fine".into(), result: Ok(true) });
        let message = ended[1].result.as_ref().unwrap_err().to_string();
        assert_eq!((ended[1].name.as_str(), message.as_str()), ("fails", "panicked: at command 7"));
    }

    #[test]
    fn a_thread_on_a_cpu_that_is_not_allowed_is_not_started() {
        let mut team = Team::<()>::new(allowed_cpus());
        let refused = team.spawn("far", Some(CpuId(4000)), || unreachable!("never runs"));
        assert!(matches!(&refused, Err(StartError::Pin { name, .. }) if name == "far"));
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("thread far: CPU 4000") && told.contains("psmr topo"), "{told}");
        assert!(team.is_empty());
    }

    #[test]
    fn a_team_knows_who_has_ended_while_it_should_run() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let mut team = Team::new(allowed_cpus());
        team.spawn("short", None, || ()).unwrap();
        team.spawn("long", None, move || assert!(stopped.recv().is_err())).unwrap();
        while team.ended().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(team.ended(), ["short"]);
        drop(stop);
        assert_eq!(team.join().len(), 2);
    }
}
