//! What a run came to, as `psmr.bench/1`: every key is always present.

use super::{Histogram, Kind, Sample, Settings, Tally};
use crate::host::describe::Description;
use crate::host::program::{COMMIT, VERSION};
use serde::Serialize;

/// The schema of [`Report`] as JSON.
pub const SCHEMA: &str = "psmr.bench/1";

/// The whole report. `ok` is false if the run failed; what was not measured is 0.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// The commit that it was built from.
    pub commit: &'static str,
    /// Whether the run went as it should.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// The machine.
    pub host: Description,
    /// The effective settings.
    pub config: Settings,
    /// Commands answered in the window.
    pub commands: u64,
    /// Length of the window.
    pub seconds: f64,
    /// Commands a second.
    pub commands_per_s: f64,
    /// User and system time of the whole process, clients included, over the commands.
    pub cpu_ns_per_command: f64,
    /// Results by operation.
    pub results: Results,
    /// Commands given up without an answer, in the window or not.
    pub unknown: u64,
    /// Commands that were certainly not applied, in the window or not.
    pub not_applied: u64,
    /// From submission to reply.
    pub latency_us: Latency,
    /// The longest time in the window in which nothing was acknowledged to a client thread: of the
    /// one that waited longest.
    pub silence_us: f64,
    /// The safety checks of opt-PSMR.
    pub checks: Checks,
    /// Synchronous mode, from launch to end.
    pub synchronous: Synchronous,
    /// The network, from launch to end.
    pub network: Network,
    /// The acceptors' logs on disk, from launch to end; 0 with durability `memory`.
    pub logs: Logs,
    /// The rings, from launch to end.
    pub rings: Vec<Ring>,
    /// The replicas at the end.
    pub replicas: Vec<Replica>,
    /// Allocations of the whole process in the window.
    pub allocations_after_warmup: u64,
    /// Memory of the whole process.
    pub memory: Memory,
}

/// Results by operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Results {
    /// Reads.
    pub read: ReadResults,
    /// Updates in place.
    pub update: FoundResults,
    /// Inserts.
    pub insert: InsertResults,
    /// Deletes.
    pub delete: FoundResults,
    /// Ranges.
    pub range: RangeResults,
    /// Commands of the null service.
    pub null: DoneResults,
    /// Programs of the bank of counters.
    pub program: ProgramResults,
}

/// Of reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReadResults {
    /// The key was there.
    pub value: u64,
    /// It was not.
    pub missing: u64,
}

/// Of commands that need the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FoundResults {
    /// Took effect.
    pub ok: u64,
    /// The key was not there.
    pub missing: u64,
}

/// Of inserts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InsertResults {
    /// Took effect.
    pub ok: u64,
    /// The key was there.
    pub exists: u64,
}

/// Of ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RangeResults {
    /// Answered.
    pub range: u64,
}

/// Of commands that always succeed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DoneResults {
    /// Executed.
    pub ok: u64,
}

/// Of programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProgramResults {
    /// Took effect.
    pub ok: u64,
    /// Hit a bound.
    pub refused: u64,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// The safety checks, as the replies tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Checks {
    /// Commands whose check passed.
    pub passed: u64,
    /// Commands whose check failed.
    pub failed: u64,
    /// For structure: a leaf would split or underflow.
    pub failed_structure: u64,
    /// For bounds: a leaf straddles partitions.
    pub failed_bounds: u64,
    /// Latency of those that passed.
    pub latency_us_passed: Latency,
    /// Latency of those that failed, both attempts together.
    pub latency_us_failed: Latency,
}

/// Synchronous mode at one replica: all execute the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Synchronous {
    /// Rendezvous.
    pub barriers: u64,
    /// Commands executed at them.
    pub commands: u64,
    /// A worker's wait at a rendezvous.
    pub wait_ns_mean: f64,
}

/// All endpoints of the process together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Datagrams sent, each segment of a train counted.
    pub datagrams_sent: u64,
    /// Datagrams received, likewise.
    pub datagrams_received: u64,
    /// Sends of more than one datagram.
    pub trains: u64,
    /// Instances that a learner or an acceptor had to ask for.
    pub repairs: u64,
    /// Commands that came to a worker more than once.
    pub duplicates: u64,
    /// Datagrams that the kernel dropped for want of socket buffer.
    pub buffer_drops: u64,
    /// Commands that clients sent, each as often as it was sent.
    pub attempts: u64,
    /// Those of them that were sent again for want of an answer.
    pub retries: u64,
    /// Proposals of clients that a coordinator refused, to be sent again.
    pub refused: u64,
}

/// Logs on disk, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Logs {
    /// Promises, accepts and trim marks.
    pub records: u64,
    /// Writes.
    pub blocks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Writes for which a thread had to wait, because too many were on their way.
    pub waited: u64,
    /// Logs whose file system has no direct writes: theirs go through the page cache, with a flush
    /// each.
    pub indirect: u64,
}

/// Memory of the whole process, from the end of the warm-up to the end of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Bytes that were resident when the window began.
    pub rss_after_warmup_bytes: u64,
    /// Bytes that were when it ended.
    pub rss_at_end_bytes: u64,
    /// By how much the heap grew between them; below 0 if it shrank.
    pub heap_growth_bytes: i64,
}

/// One ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Ring {
    /// Its number; the last of several is g_all's.
    pub ring: u16,
    /// Instances decided.
    pub instances: u64,
    /// Of these, skips.
    pub skips: u64,
    /// Commands over instances that carry any.
    pub commands_per_instance: f64,
}

/// One replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// Its number.
    pub id: u8,
    /// Values delivered by its workers.
    pub position: u64,
    /// Digest of its state there, 16 hexadecimal digits.
    pub digest: String,
}

impl Report {
    /// A report of these settings on this machine, of nothing yet.
    #[must_use]
    pub fn new(config: Settings) -> Self {
        Self {
            schema: SCHEMA,
            version: VERSION,
            commit: COMMIT,
            ok: false,
            error: None,
            host: Description::read(),
            config,
            commands: 0,
            seconds: 0.0,
            commands_per_s: 0.0,
            cpu_ns_per_command: 0.0,
            results: Results::default(),
            unknown: 0,
            not_applied: 0,
            latency_us: Latency::default(),
            silence_us: 0.0,
            checks: Checks::default(),
            synchronous: Synchronous::default(),
            network: Network::default(),
            logs: Logs::default(),
            rings: Vec::new(),
            replicas: Vec::new(),
            allocations_after_warmup: 0,
            memory: Memory::default(),
        }
    }

    /// A run that did not take place or came to no result.
    #[must_use]
    pub fn failed(config: Settings, error: impl ToString) -> Self {
        Self { error: Some(error.to_string()), ..Self::new(config) }
    }

    /// Fills in what the clients measured.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn measure(&mut self, tally: &Tally, (begin, end): (Sample, Sample)) {
        self.commands = tally.commands();
        self.seconds = self.config.seconds;
        self.commands_per_s = self.commands as f64 / self.seconds;
        // The samples are taken a little late where threads share a core: CPU time is a rate.
        let cpu_share =
            (end.cpu_ns - begin.cpu_ns) as f64 / end.at.since(begin.at).as_nanos() as f64;
        if self.commands > 0 {
            self.cpu_ns_per_command = cpu_share * self.seconds * 1e9 / self.commands as f64;
        }
        self.allocations_after_warmup = end.allocations - begin.allocations;
        self.memory = Memory {
            rss_after_warmup_bytes: begin.resident_bytes,
            rss_at_end_bytes: end.resident_bytes,
            heap_growth_bytes: end.heap_bytes.wrapping_sub(begin.heap_bytes).cast_signed(),
        };
        self.results = Results::of(tally);
        let mut all = tally.unchecked.clone();
        all.merge(&tally.passed);
        all.merge(&tally.failed);
        self.latency_us = Latency::of(&all);
        self.silence_us = tally.silence_ns as f64 / 1e3;
        self.checks = Checks {
            passed: tally.passed.count(),
            failed: tally.failed.count(),
            failed_structure: tally.failed_structure,
            failed_bounds: tally.failed_bounds,
            latency_us_passed: Latency::of(&tally.passed),
            latency_us_failed: Latency::of(&tally.failed),
        };
    }

    /// Share of the checks that failed, percent; 0 without checks.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn failed_checks_percent(&self) -> f64 {
        let Checks { passed, failed, .. } = self.checks;
        if failed == 0 { 0.0 } else { failed as f64 * 100.0 / (passed + failed) as f64 }
    }

    /// Whether all replicas came to the same digest at the same position.
    #[must_use]
    pub fn replicas_agree(&self) -> bool {
        let same = |pair: &[Replica]| {
            (pair[0].position, &pair[0].digest) == (pair[1].position, &pair[1].digest)
        };
        self.replicas.windows(2).all(same)
    }
}

impl Results {
    fn of(tally: &Tally) -> Self {
        let of = |kind: Kind| (tally.results[kind as usize][0], tally.results[kind as usize][1]);
        let (value, read_missing) = of(Kind::Read);
        let (updated, update_missing) = of(Kind::Update);
        let (inserted, exists) = of(Kind::Insert);
        let (deleted, delete_missing) = of(Kind::Delete);
        let (ran, refused) = of(Kind::Program);
        Self {
            read: ReadResults { value, missing: read_missing },
            update: FoundResults { ok: updated, missing: update_missing },
            insert: InsertResults { ok: inserted, exists },
            delete: FoundResults { ok: deleted, missing: delete_missing },
            range: RangeResults { range: of(Kind::Range).0 },
            null: DoneResults { ok: of(Kind::Null).0 },
            program: ProgramResults { ok: ran, refused },
        }
    }
}

impl Latency {
    /// The figures of a histogram of nanoseconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "microseconds for people")]
    pub fn of(histogram: &Histogram) -> Self {
        let us = |ns: u64| (ns as f64 / 100.0).round() / 10.0;
        let at = |percent| us(histogram.percentile(percent));
        Self {
            mean: (histogram.mean() / 100.0).round() / 10.0,
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: us(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Time;

    #[test]
    fn a_report_divides_what_was_measured_by_the_commands() {
        let mut report = Report::new(Settings { seconds: 2.0, ..Settings::default() });
        let mut tally = Tally::default();
        tally.results[Kind::Insert as usize] = [600, 400];
        for _ in 0..990 {
            tally.passed.record(50_000);
        }
        for _ in 0..10 {
            tally.failed.record(100_000);
        }
        let sample = |at, cpu_ns, n| Sample {
            at: Time(at),
            cpu_ns,
            allocations: n,
            heap_bytes: 90 - n,
            resident_bytes: 100 * n,
        };
        // Sampled over 4 s, so half of the CPU time belongs to the window.
        report.measure(&tally, (sample(1, 5_000, 7), sample(4_000_000_001, 4_005_000, 9)));
        assert_eq!((report.commands, report.allocations_after_warmup), (1_000, 2));
        let memory =
            Memory { rss_after_warmup_bytes: 700, rss_at_end_bytes: 900, heap_growth_bytes: -2 };
        assert_eq!(report.memory, memory);
        assert!((report.commands_per_s - 500.0).abs() < 1e-9);
        assert!((report.cpu_ns_per_command - 2_000.0).abs() < 1e-6);
        assert!((report.failed_checks_percent() - 1.0).abs() < 1e-9);
        assert!((report.latency_us.p50 - 50.0).abs() < 0.5 && report.latency_us.max > 99.0);
        assert_eq!(report.results.insert, InsertResults { ok: 600, exists: 400 });
    }

    #[test]
    fn replicas_agree_on_digests_at_equal_positions() {
        let replica = |digest: &str| Replica { id: 0, position: 1, digest: digest.to_owned() };
        let mut report = Report::new(Settings::default());
        report.replicas = vec![replica("a"), replica("a")];
        assert!(report.replicas_agree());
        report.replicas.push(replica("b"));
        assert!(!report.replicas_agree());
    }
}
