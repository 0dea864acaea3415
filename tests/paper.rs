//! One test for each claim that the opt-PSMR paper (Marandi, Pedone: Optimistic Parallel
//! State-Machine Replication) and PROTOCOL 3 and 4 make of Algorithm 1 and of the safety check.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

#[path = "paper/parts.rs"]
mod parts;
mod replicas;
#[path = "paper/safety_check.rs"]
mod safety_check;
#[path = "paper/sessions.rs"]
mod sessions;

use psmr::replica::{Barrier, Executor, Progress, ReplyPolicy, Retry, Worker};
use psmr::service::{Access, Context, Lease, PartitionedService};
use psmr::types::{Address, GroupId, GroupSet, Sequence, SessionId};
use psmr::wire::{
    Chunk, Command, CommandHeader, Control, ControlKind, Mode, Reply, SessionReport, Status,
};
use replicas::cells::{ADD, CAPACITY, Cells, DUMP, GET, MOVE, PUSH, SUM, cell_command};
use replicas::{Answer, Cluster, LIMITS, Model, address, encode};
use std::time::Duration;

const CELLS: usize = 12;

/// Replicas of the cells, one open session, and time in the test's own hand.
struct Stage {
    cluster: Cluster<Cells>,
    session: SessionId,
    model: Model,
}

impl Stage {
    fn new(replicas: usize, k: usize, set: impl Fn(&mut psmr::replica::WorkerConfig)) -> Self {
        let mut cluster = Cluster::new(replicas, 1, || Cells::new(k, CELLS), set);
        cluster.batch = 1;
        let session = cluster.open(1);
        cluster.answers.clear();
        Self { cluster, session, model: Model::OptPsmr }
    }

    fn header(&self, sequence: u64, payload: &[u8]) -> CommandHeader {
        let header = CommandHeader {
            session: self.session,
            sequence: Sequence(sequence),
            designation: CommandHeader::designate(0, 0),
            ..CommandHeader::default()
        };
        address(self.cluster.service(0), self.model, header, payload)
    }

    /// Orders the commands as one batch, each ring's in its own slot.
    fn order(&mut self, commands: &[(CommandHeader, &[u8])]) {
        self.cluster.batch = 1000;
        self.cluster.random = replicas::Random(0);
        for (header, payload) in commands {
            self.cluster.propose(&Command { header: *header, payload });
        }
        while self.cluster.proposed.iter().any(|queue| !queue.is_empty()) {
            self.cluster.decide();
        }
    }

    fn send(&mut self, sequence: u64, payload: &[u8]) {
        let header = self.header(sequence, payload);
        self.order(&[(header, payload)]);
    }

    /// Polls worker `me` of replica 0 until it has nothing more to do.
    fn drain(&mut self, me: usize) -> Progress {
        loop {
            match self.cluster.poll(me, 16) {
                Progress::Worked(_) => {}
                rest => return rest,
            }
        }
    }

    fn answers(&mut self) -> Vec<Answer> {
        self.cluster.settle();
        std::mem::take(&mut self.cluster.answers)
    }

    fn value(&self, replica: usize, cell: u8) -> u64 {
        let mut reply = Vec::new();
        let mut lease = Lease::mint(Access::Whole);
        let command = cell_command(GET, cell, 0);
        self.cluster.service(replica).execute(
            &mut lease,
            &Context::default(),
            &command,
            &mut reply,
        );
        number(&reply)
    }

    /// A push that overflows its cell: sequence 1 fills it, sequence 2 fails its check.
    fn fail_one(&mut self) -> (CommandHeader, Vec<u8>) {
        self.send(1, &cell_command(PUSH, 0, CAPACITY as u8));
        let _ = self.answers();
        let payload = cell_command(PUSH, 0, 9);
        let header = self.header(2, &payload);
        self.order(&[(header, &payload)]);
        (header, payload)
    }
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload.try_into().unwrap())
}

// Algorithm 1, parallel mode (section III).

#[test]
fn a_command_of_one_group_runs_at_once_whatever_the_other_workers_do() {
    let mut stage = Stage::new(1, 3, |_| {});
    stage.send(1, &cell_command(ADD, 1, 5));
    stage.drain(1);
    assert_eq!(stage.cluster.answers.len(), 1);
    assert_eq!(stage.value(0, 1), 5);
    assert_eq!(stage.cluster.counters().meetings, 0);
}

#[test]
fn an_optimistic_command_whose_check_passes_runs_at_once_in_its_optimistic_group() {
    let mut stage = Stage::new(1, 3, |_| {});
    stage.send(1, &cell_command(PUSH, 2, 5));
    stage.drain(2);
    let answer = &stage.cluster.answers[0];
    assert_eq!((answer.status, answer.flags), (Status::Done, Reply::CHECKED));
}

// Algorithm 1, synchronous mode (section III).

#[test]
fn the_executor_waits_for_a_signal_from_every_other_worker_of_the_set() {
    let mut stage = Stage::new(1, 3, |config| config.executor = Executor::Lowest);
    stage.model = Model::Psmr;
    stage.send(1, &cell_command(PUSH, 0, 5));
    assert_eq!(stage.drain(0), Progress::Blocked(GroupSet::all(3)));
    assert_eq!(stage.drain(1), Progress::Blocked(GroupSet::all(3)));
    assert_eq!(stage.drain(0), Progress::Blocked(GroupSet::all(3)));
    assert_eq!(stage.cluster.workers[0].waiting().map(|(_, set)| set), Some(GroupSet::all(3)));
    assert_eq!(stage.value(0, 0), 0);
    assert_eq!(stage.drain(2), Progress::Blocked(GroupSet::all(3)));
    assert_eq!(stage.drain(0), Progress::Idle);
    assert_eq!((stage.value(0, 0), stage.cluster.answers.len()), (5, 1));
}

#[test]
fn no_worker_of_the_set_goes_on_before_the_executor_has_executed() {
    let mut stage = Stage::new(1, 2, |config| config.executor = Executor::Lowest);
    stage.model = Model::Psmr;
    stage.send(1, &cell_command(PUSH, 0, 5));
    stage.send(2, &cell_command(ADD, 1, 7));
    assert!(matches!(stage.drain(1), Progress::Blocked(_)));
    while stage.value(0, 0) == 0 {
        assert!(matches!(stage.drain(1), Progress::Blocked(_)), "the executor has not executed");
        assert_eq!(stage.value(0, 1), 0);
        stage.cluster.poll(0, 1);
    }
    stage.drain(0);
    assert_eq!(stage.drain(1), Progress::Idle);
    assert_eq!(stage.value(0, 1), 7);
}

#[test]
fn workers_outside_the_set_go_on() {
    let mut stage = Stage::new(1, 3, |_| {});
    let payload = cell_command(MOVE, 0, 1);
    stage.send(1, &payload);
    stage.send(2, &cell_command(ADD, 2, 4));
    assert_eq!(stage.drain(2), Progress::Idle);
    assert_eq!(stage.value(0, 2), 4);
    assert_eq!(stage.drain(0), Progress::Blocked(GroupSet::from_bits(0b011)));
}

#[test]
fn the_executor_is_the_member_that_the_count_of_synchronous_commands_names() {
    for (executor, expected) in [(Executor::Rotate, [1, 2, 0, 1]), (Executor::Lowest, [0; 4])] {
        let mut stage = Stage::new(1, 3, |config| config.executor = executor);
        stage.model = Model::Psmr;
        // The opening of the session was number 0.
        for (sequence, expected) in (1..).zip(expected) {
            assert_eq!(stage.cluster.workers[0].synchronous_epoch(), sequence);
            let before: Vec<_> =
                stage.cluster.workers.iter().map(|w| w.counters().barriers).collect();
            stage.send(sequence, &cell_command(PUSH, 0, 1));
            stage.cluster.settle();
            let executed =
                |worker: usize| stage.cluster.workers[worker].counters().barriers > before[worker];
            let executors: Vec<_> = (0..3).filter(|worker| executed(*worker)).collect();
            assert_eq!(executors, [expected], "{executor:?}, command {sequence}");
        }
    }
}

#[test]
fn every_replica_chooses_the_same_executor() {
    let mut stage = Stage::new(3, 2, |_| {});
    stage.model = Model::Psmr;
    for sequence in 1..20 {
        stage.send(sequence, &cell_command(PUSH, 0, 1));
        let _ = stage.answers();
    }
    let barriers: Vec<_> = stage.cluster.workers.iter().map(|w| w.counters().barriers).collect();
    assert_eq!(barriers[0..2], barriers[2..4]);
    assert_eq!(barriers[0..2], barriers[4..6]);
    assert!(barriers[0].abs_diff(barriers[1]) <= 1, "the work goes round");
}

#[test]
fn a_barrier_an_instance_meets_once_for_a_whole_batch() {
    for (barrier, expected) in [(Barrier::Command, 5), (Barrier::Instance, 1)] {
        let mut stage = Stage::new(1, 2, |config| config.barrier = barrier);
        stage.model = Model::Psmr;
        let payload = cell_command(PUSH, 0, 1);
        let batch: Vec<_> =
            (1..=5).map(|sequence| (stage.header(sequence, &payload), &payload[..])).collect();
        for (header, payload) in &batch {
            stage.cluster.propose(&Command { header: *header, payload });
        }
        let all: Vec<_> = stage.cluster.proposed[2].drain(..).collect();
        stage.cluster.order.rings[2].push(Some(all.concat()));
        stage.cluster.order.rings[0].push(None);
        stage.cluster.order.rings[1].push(None);
        assert_eq!(stage.answers().len(), 5);
        assert_eq!((stage.cluster.counters().barriers, stage.value(0, 0)), (expected, 5));
        assert_eq!(stage.cluster.counters().barrier_commands, 5);
    }
}

// Failed checks (Algorithm 1, lines of the retry; PROTOCOL 4).

#[test]
fn a_command_whose_check_failed_is_not_executed() {
    let mut stage = Stage::new(1, 2, |config| config.retry = Retry::Client);
    stage.fail_one();
    let answers = stage.answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].status, Status::CheckFailed);
    assert_eq!(answers[0].flags, Reply::FAILED_STRUCTURE);
    assert!(answers[0].payload.is_empty());
    assert_eq!(stage.value(0, 0), CAPACITY, "as the first command left it");
}

#[test]
fn a_failed_command_is_multicast_again_to_its_conservative_groups_and_executes_once() {
    let mut stage = Stage::new(2, 2, |_| {});
    stage.fail_one();
    let answers = stage.answers();
    let done: Vec<_> = answers.iter().filter(|a| a.status == Status::Done).collect();
    assert_eq!(done.len(), 1, "{answers:?}");
    assert_eq!(done[0].flags, Reply::RETRIED | Reply::FAILED_STRUCTURE);
    assert_eq!(stage.value(0, 0), 0, "spilled");
    assert_eq!(stage.cluster.counters().executed, 2 * 2);
    assert_eq!(stage.cluster.digest(0), stage.cluster.digest(1));
}

#[test]
fn only_the_replica_that_the_sequence_names_multicasts_a_failed_command_at_once() {
    let mut stage = Stage::new(3, 2, |_| {});
    stage.fail_one();
    for replica in 0..3 {
        let before = stage.cluster.proposed[2].len();
        stage.drain(replica * 2);
        let sent = stage.cluster.proposed[2].len() - before;
        assert_eq!(sent, usize::from(replica == 2), "replica {replica}");
    }
    let copy = stage.cluster.proposed[2][0].clone();
    let header = replicas::decode(&copy).header;
    assert_eq!(header.groups, GroupSet::all(2));
    assert_eq!(header.mode, Mode::CONSERVATIVE_RETRY);
}

#[test]
fn a_failed_command_is_repeated_until_its_copy_is_delivered_and_taken_over_after_a_delay() {
    let mut stage = Stage::new(2, 2, |_| {});
    stage.fail_one();
    for worker in [0, 2] {
        stage.drain(worker);
    }
    // Every copy is lost for a while.
    for lost in 0..4 {
        stage.cluster.proposed[2].clear();
        stage.cluster.now = stage.cluster.now + Duration::from_millis(20 << lost);
        stage.cluster.poll(0, 1);
        assert_eq!(stage.cluster.proposed[2].len(), 1, "repeated after loss {lost}");
    }
    stage.cluster.poll(2, 1);
    assert_eq!(stage.cluster.proposed[2].len(), 2, "the other replica does not wait for ever");
    stage.cluster.settle();
    assert_eq!(stage.cluster.counters().executed, 2 * 2, "and still it executes once");
    assert!(stage.cluster.workers.iter().all(|worker| worker.next_timeout().is_none()));
}

#[test]
fn a_second_optimistic_copy_is_multicast_again_after_a_failure() {
    let mut stage = Stage::new(1, 2, |_| {});
    let (header, payload) = stage.fail_one();
    stage.drain(0);
    stage.cluster.proposed[2].clear();
    stage.order(&[(header, &payload)]);
    stage.drain(0);
    assert_eq!(stage.cluster.proposed[2].len(), 1);
    assert_eq!(stage.cluster.counters().executed, 1);
}

#[test]
fn a_second_copy_after_the_execution_is_answered_with_the_reply_that_was_kept() {
    let mut stage = Stage::new(1, 2, |_| {});
    let (header, payload) = stage.fail_one();
    let first = stage.answers();
    for mode in [Mode::OPTIMISTIC, Mode::CONSERVATIVE_RETRY] {
        let groups = if mode == Mode::OPTIMISTIC { header.groups } else { GroupSet::all(2) };
        let copy = CommandHeader { mode, groups, ..header };
        stage.order(&[(copy, &payload)]);
        assert_eq!(stage.answers(), first, "{mode:?}");
    }
    assert_eq!(stage.cluster.counters().executed, 2);
}

#[test]
fn a_client_that_retries_conservatively_gets_its_command_executed_once() {
    let mut stage = Stage::new(1, 2, |config| config.retry = Retry::Client);
    let (header, payload) = stage.fail_one();
    assert_eq!(stage.answers()[0].status, Status::CheckFailed);
    let mode = Mode::CONSERVATIVE_RETRY;
    let copy = CommandHeader { mode, groups: GroupSet::all(2), ..header };
    stage.order(&[(copy, &payload), (copy, &payload)]);
    let answers = stage.answers();
    assert!(answers.iter().all(|answer| answer.status == Status::Done));
    assert_eq!(stage.cluster.counters().executed, 2);
}

// Reads and replies (PROTOCOL 3).

#[test]
fn a_read_is_executed_by_the_replica_that_the_client_names_and_by_all_at_the_next_attempt() {
    let mut stage = Stage::new(3, 2, |_| {});
    for (cell, operation) in [(1, GET), (0, SUM)] {
        for (attempt, expected) in [(0, vec![2]), (1, vec![0, 1, 2])] {
            let payload = cell_command(operation, cell, 0);
            let designation = CommandHeader::designate(2, attempt);
            let header = CommandHeader { designation, ..stage.header(1, &payload) };
            stage.order(&[(header, &payload)]);
            let mut replicas: Vec<_> = stage.answers().iter().map(|a| a.replica).collect();
            replicas.sort_unstable();
            assert_eq!(replicas, expected);
        }
    }
}

#[test]
fn reads_enter_no_session_table() {
    let mut stage = Stage::new(1, 2, |_| {});
    for _ in 0..3 {
        stage.send(1, &cell_command(GET, 0, 0));
    }
    assert_eq!(stage.answers().len(), 3);
    assert_eq!(stage.cluster.counters().reads, 3);
    stage.send(1, &cell_command(ADD, 0, 1));
    assert_eq!(number(&stage.answers()[0].payload), 1, "the sequence is still new");
}

#[test]
fn one_replica_answers_or_all_do() {
    for (reply, expected) in [(ReplyPolicy::One, 1), (ReplyPolicy::All, 3)] {
        let mut stage = Stage::new(3, 2, |config| config.reply = reply);
        stage.send(1, &cell_command(ADD, 0, 1));
        assert_eq!(stage.answers().len(), expected);
    }
}

#[test]
fn at_a_later_attempt_every_replica_answers_with_what_it_kept() {
    let mut stage = Stage::new(3, 2, |_| {});
    let payload = cell_command(ADD, 0, 1);
    stage.send(1, &payload);
    assert_eq!(stage.answers().len(), 1);
    let header = stage.header(1, &payload);
    let designation = CommandHeader::designate(0, 1);
    stage.order(&[(CommandHeader { designation, ..header }, &payload)]);
    let answers = stage.answers();
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|answer| number(&answer.payload) == 1));
}

// Sessions, map epochs and limits (PROTOCOL 3 and 4).

#[test]
fn a_command_of_another_map_epoch_is_not_executed() {
    let mut stage = Stage::new(1, 2, |_| {});
    for payload in [cell_command(ADD, 0, 1), cell_command(MOVE, 0, 1)] {
        let header = CommandHeader { map_epoch: 1, ..stage.header(1, &payload) };
        stage.order(&[(header, &payload)]);
        let answers = stage.answers();
        assert_eq!((answers.len(), answers[0].status), (1, Status::WrongEpoch));
    }
    assert_eq!(stage.cluster.counters().executed, 0);
}

#[test]
fn what_is_beyond_the_window_misrouted_or_no_read_is_rejected_and_answered() {
    let mut stage = Stage::new(2, 3, |_| {});
    let add = cell_command(ADD, 0, 1);
    let beyond = stage.header(1 + LIMITS.window as u64, &add);
    let unanswered = LIMITS.window as u16;
    let other = GroupSet::one(GroupId::new(1));
    let two = GroupSet::from_bits(0b110);
    let header = stage.header(1, &add);
    for wrong in [
        CommandHeader { unanswered, ..beyond },
        CommandHeader { groups: other, ..header },
        CommandHeader { groups: two, ..header },
        CommandHeader { groups: GroupSet::from_bits(0b1111), ..header },
        CommandHeader { mode: Mode::READ, ..header },
        CommandHeader { mode: Mode::CHUNK, ..header },
        CommandHeader { mode: Mode::OPTIMISTIC, groups: GroupSet::all(3), ..header },
    ] {
        stage.order(&[(wrong, &add)]);
        let answers = stage.answers();
        assert_eq!((answers.len(), answers[0].status), (1, Status::Rejected), "{wrong:?}");
    }
    assert_eq!(stage.cluster.counters().executed, 0);
}

#[test]
fn a_closed_session_executes_nothing_and_says_so() {
    let mut stage = Stage::new(1, 2, |_| {});
    let session = stage.session;
    stage.cluster.control(ControlKind::Expire, |control| control.session = session);
    let _ = stage.answers();
    for payload in [cell_command(ADD, 0, 1), cell_command(MOVE, 0, 1), cell_command(GET, 0, 0)] {
        stage.send(1, &payload);
        let answers = stage.answers();
        assert_eq!((answers.len(), answers[0].status), (1, Status::NoSession));
        assert_eq!(answers[0].to, Address::memory(1));
    }
}

#[test]
fn a_resumed_session_is_answered_at_its_new_address_and_learns_its_highest_sequence() {
    let mut stage = Stage::new(1, 3, |_| {});
    stage.send(1, &cell_command(ADD, 0, 1));
    stage.send(2, &cell_command(ADD, 2, 1));
    let _ = stage.answers();
    let session = stage.session;
    let mut resume = |number| {
        stage.cluster.control(ControlKind::Resume, |control| {
            (control.session, control.number) = (session, number);
            control.reply_to = Address::memory(9);
        });
        let answers = stage.answers();
        let reports = answers.iter().map(|a| bytemuck::pod_read_unaligned(&a.payload));
        let highest: Vec<_> = reports.map(|report: SessionReport| report.highest).collect();
        assert_eq!(highest.len(), 3, "one a table");
        highest.into_iter().max().expect("three")
    };
    // A client that lives goes on with the numbers that it has; another life has others.
    assert_eq!(resume(Control::REFRESH), 2);
    let (second, third) = (resume(1), resume(2));
    assert!(second >= 1 << 20 && third >= second + (1 << 20));
    stage.send(3, &cell_command(ADD, 1, 1));
    assert_eq!(stage.answers()[0].to, Address::memory(9));
}

#[test]
fn more_sessions_than_the_tables_hold_are_rejected() {
    let mut stage = Stage::new(1, 2, |_| {});
    for client in 2..=LIMITS.sessions as u32 {
        stage.cluster.open(client);
    }
    stage.cluster.control(ControlKind::Open, |control| {
        control.client = 99;
        control.reply_to = Address::memory(99);
    });
    let answers = stage.answers();
    assert_eq!(answers.len(), 2, "one a table");
    assert!(answers.iter().all(|answer| answer.status == Status::Rejected));
    assert!(answers.iter().all(|answer| answer.to == Address::memory(99)));
}

// What is not executed.

#[test]
fn application_messages_reach_the_workers_of_their_set_in_order_and_execute_nothing() {
    let mut stage = Stage::new(1, 3, |_| {});
    let to = |bits| CommandHeader {
        groups: GroupSet::from_bits(bits),
        mode: Mode::MESSAGE,
        ..CommandHeader::default()
    };
    stage.order(&[(to(0b101), b"first"), (to(0b100), b"own"), (to(0b111), b"second")]);
    stage.cluster.settle();
    let heard = |worker| {
        let of = stage.cluster.messages.iter().filter(move |(index, _)| *index == worker);
        of.map(|(_, bytes)| bytes.as_slice()).collect::<Vec<_>>()
    };
    let to_all: Vec<_> = heard(2).into_iter().filter(|m| *m != b"own").collect();
    assert_eq!(heard(0), [b"first".as_slice(), b"second"]);
    assert_eq!(heard(1), [b"second"]);
    assert_eq!(to_all, [b"first".as_slice(), b"second"]);
    assert_eq!(heard(2).len(), 3);
}

#[test]
fn replicas_report_equal_digests_at_one_place_of_the_order() {
    for k in [1, 3] {
        let mut stage = Stage::new(3, k, |_| {});
        for sequence in 1..=6 {
            stage.send(sequence, &cell_command(PUSH, sequence as u8, 30));
        }
        let digests = stage.cluster.digests();
        assert_eq!(digests.len(), 3);
        assert!(digests.iter().all(|digest| *digest == stage.cluster.digest(0)));
    }
}

#[test]
fn a_digest_that_names_one_group_in_g_all_is_refused_and_the_next_commands_meet() {
    let mut stage = Stage::new(2, 2, |_| ());
    stage.model = Model::Psmr;
    let control = Control::new(ControlKind::Digest);
    let header = CommandHeader {
        groups: GroupSet::one(GroupId::new(0)),
        mode: Mode::SESSION,
        ..CommandHeader::default()
    };
    let digest = encode(&Command { header, payload: bytemuck::bytes_of(&control) });
    for sequence in 1..=2 {
        stage.cluster.proposed[2].push_back(digest.clone());
        stage.send(sequence, &cell_command(PUSH, 0, 1));
        let answers = stage.answers();
        assert!(answers.iter().any(|answer| answer.status == Status::Done), "{answers:?}");
    }
    assert_eq!(stage.cluster.digest(0), stage.cluster.digest(1));
}
