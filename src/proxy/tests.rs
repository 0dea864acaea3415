//! The proxy against a replica of a few lines.

use super::*;
use crate::ring_paxos::Destination;
use crate::service::null::Null;
use crate::types::{Address, GroupId, Incarnation, NodeId, ReplicaSet};
use crate::wire::{Chunk, Commands, MAX_BATCH, Message, Room, Writer, fingerprint};
use crate::wire::{Control, ControlKind, Refusal, Refused};

/// What was proposed: (ring, to whom, header, payload) a command.
#[derive(Default)]
struct Sent {
    commands: Vec<(RingId, NodeId, CommandHeader, Vec<u8>)>,
    proposals: usize,
    /// Of the proposals.
    numbers: Vec<u64>,
    /// Who was asked who coordinates which ring.
    questions: Vec<(RingId, NodeId)>,
}

impl Outbox for Sent {
    fn send(&mut self, to: Destination, ring: RingId, message: &Message<'_>) {
        let (Destination::Node(node), Message::Propose(propose)) = (to, message) else {
            panic!("a proxy only proposes to nodes: {message:?}");
        };
        assert!(propose.commands.len() <= MAX_BATCH);
        if propose.commands.is_empty() {
            return self.questions.push((ring, node));
        }
        self.proposals += 1;
        self.numbers.push(propose.number);
        for command in Commands::from_offset(propose.commands, 0) {
            self.commands.push((ring, node, command.header, command.payload.to_vec()));
        }
    }
}

const MS: Duration = Duration::from_millis(1);

fn config() -> ProxyConfig {
    ProxyConfig {
        reply_to: Address::memory(3),
        client: 77,
        groups: 2,
        acceptors: vec![NodeId(0), NodeId(1), NodeId(2)],
        replicas: ReplicaSet::first(2),
        sessions: 2,
        window: 4,
        grouping: Grouping::Conservative,
        map_epoch: 0,
        attempt_timeout: 20 * MS,
        deadline: 1000 * MS,
        session_timeout: Duration::ZERO,
        command_limit: 1 << 20,
        room: Room::MOST,
    }
}

fn reply(status: Status, session: SessionId, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let sequence = Sequence(sequence);
    let reply = Reply { session, sequence, status, replica: 0, flags: 0, payload };
    let mut bytes = vec![0; reply.encoded_length()];
    reply.encode(&mut Writer::new(&mut bytes));
    bytes
}

/// A proxy whose sessions 0 and 1 have the ids 16 and 32.
fn ready() -> Proxy<Null> {
    ready_with(config(), Null::new(2))
}

/// Two groups; every command may concern both, and seldom concerns more than the first.
struct Doubtful;

impl GroupMap for Doubtful {
    fn groups(&self) -> usize {
        2
    }

    fn conservative(&self, _: &[u8]) -> GroupSet {
        GroupSet::all(2)
    }

    fn optimistic(&self, command: &[u8]) -> GroupSet {
        if command == Null::ALL.to_le_bytes() {
            GroupSet::all(2)
        } else {
            GroupSet::one(GroupId::new(0))
        }
    }

    fn is_read(&self, command: &[u8]) -> bool {
        command == Self::READ.to_le_bytes()
    }
}

impl Doubtful {
    const READ: u64 = 77;
}

fn ready_with<M: GroupMap>(config: ProxyConfig, map: M) -> Proxy<M> {
    let mut proxy = Proxy::new(config, map, Time(0));
    let mut sent = Sent::default();
    proxy.on_timeout(Time(0), &mut sent, |_| unreachable!());
    proxy.flush(Time(0), &mut sent);
    let controls: Vec<_> = sent.commands.iter().map(|(_, _, header, _)| header.mode).collect();
    assert_eq!(controls, [Mode::SESSION, Mode::SESSION]);
    for (place, (_, _, number)) in (1..).zip(self::controls(&sent)) {
        let session = SessionId(16 * place);
        let report = SessionReport { session, window: 4, table: 0, highest: 0 };
        let bytes = reply(Status::SessionOpened, session, number, bytemuck::bytes_of(&report));
        assert!(!proxy.is_ready());
        proxy.on_replies(&bytes, Time(1), &mut sent, |_| unreachable!());
    }
    assert!(proxy.is_ready());
    proxy
}

fn submit(proxy: &mut Proxy<impl GroupMap>, session: usize, word: u64, now: Time) -> Sent {
    let mut sent = Sent::default();
    proxy.submit(session, &word.to_le_bytes(), word, now, &mut sent).unwrap();
    proxy.flush(now, &mut sent);
    sent
}

fn ends(proxy: &mut Proxy<impl GroupMap>, bytes: &[u8], now: Time) -> Vec<(u64, Outcome)> {
    let mut ended = Vec::new();
    proxy.on_replies(bytes, now, &mut Sent::default(), |done| ended.push((done.tag, done.outcome)));
    ended
}

#[test]
fn a_command_goes_to_the_ring_of_its_groups_and_ends_with_the_first_reply() {
    let mut proxy = ready();
    let sent = submit(&mut proxy, 0, Null::ALL, Time(2));
    assert_eq!(sent.commands[0].0, RingId(2));
    let bytes = reply(Status::Done, SessionId(16), 1, b"12345678");
    assert_eq!(ends(&mut proxy, &bytes, Time(3)), [(Null::ALL, Outcome::Done)]);
    assert_eq!(ends(&mut proxy, &bytes, Time(3)), []);
    assert_eq!(proxy.counters().duplicates, 1);
    assert_eq!(proxy.open_commands(), 0);
}

#[test]
fn commands_of_a_duty_cycle_share_a_proposal() {
    let mut proxy = ready();
    let mut sent = Sent::default();
    for session in [0, 1, 0, 1] {
        proxy.submit(session, &Null::ALL.to_le_bytes(), 0, Time(2), &mut sent).unwrap();
    }
    proxy.flush(Time(2), &mut sent);
    assert_eq!((sent.proposals, sent.commands.len()), (1, 4));
}

#[test]
fn a_full_window_refuses_until_its_oldest_command_ends() {
    let mut proxy = ready();
    (1..=4).for_each(|word| drop(submit(&mut proxy, 0, word, Time(2))));
    let refuse = |proxy: &mut Proxy<Null>| {
        proxy.submit(0, &[0; 8], 0, Time(2), &mut Sent::default()).map(|_| ())
    };
    ends(&mut proxy, &reply(Status::Done, SessionId(16), 3, b""), Time(3));
    assert_eq!(refuse(&mut proxy), Err(SubmitError::WindowFull));
    ends(&mut proxy, &reply(Status::Done, SessionId(16), 1, b""), Time(3));
    let sent = submit(&mut proxy, 0, 9, Time(4));
    let header = sent.commands[0].2;
    assert_eq!((header.sequence, header.lowest_unanswered()), (Sequence(5), Sequence(2)));
}

#[test]
fn a_command_without_answer_is_sent_again_with_a_higher_attempt_and_others_are_asked() {
    let mut proxy = ready();
    let first = submit(&mut proxy, 0, 1, Time(2)).commands.remove(0);
    let mut sent = Sent::default();
    let later = Time(2) + 30 * MS;
    proxy.on_timeout(later, &mut sent, |_| unreachable!());
    proxy.flush(later, &mut sent);
    let again = sent.commands.remove(0);
    assert_eq!((again.0, &again.3), (first.0, &first.3));
    assert_eq!((first.2.attempt(), again.2.attempt()), (0, 1));
    assert_eq!(sent.questions.len(), 1);
    assert!(sent.questions[0].0 == first.0 && sent.questions[0].1 != first.1);
    let mut asked = vec![sent.questions[0].1];
    for look in 1..=8 {
        let mut sent = Sent::default();
        proxy.on_timeout(later + look * MS, &mut sent, |_| unreachable!());
        asked.extend(sent.questions.iter().map(|(_, node)| *node));
        assert!(sent.commands.is_empty(), "a question is cheaper than every command again");
    }
    assert!(asked.len() >= 2 && asked[0] != asked[1], "{asked:?}: in turn");
    assert!(!asked.contains(&first.1), "the silent one gets what is sent again");
    let Sent { commands, .. } = submit(&mut proxy, 0, 1, later);
    assert_eq!(commands[0].1, first.1, "who does not coordinate would turn it away");
    let answer = reply(Status::Done, SessionId(16), first.2.sequence.0, &[]);
    assert_eq!(ends(&mut proxy, &answer, later + 9 * MS).len(), 1);
    let mut sent = Sent::default();
    proxy.on_timeout(later + 15 * MS, &mut sent, |_| unreachable!());
    assert!(sent.questions.is_empty(), "what the ring orders is heard");
}

#[test]
fn what_went_to_the_wrong_acceptor_is_sent_again_at_once_and_only_that() {
    let mut proxy = ready();
    proxy.on_heartbeat(RingId(0), Ballot::new(2, NodeId(1), Incarnation(1)));
    proxy.on_timeout(Time(1) + 5 * MS, &mut Sent::default(), |_| unreachable!());
    submit(&mut proxy, 0, 0, Time(2) + 5 * MS);
    let mut sent = Sent::default();
    let later = Time(2) + 30 * MS;
    proxy.on_timeout(later, &mut sent, |_| unreachable!());
    proxy.flush(later, &mut sent);
    assert_eq!(sent.commands[0].1, NodeId(1));
    let ballot = Ballot::new(3, NodeId(0), Incarnation(1));
    proxy.on_redirect(RingId(0), ballot);
    let mut sent = Sent::default();
    assert!(proxy.next_timeout().is_some_and(|due| due <= later));
    proxy.on_timeout(later + MS, &mut sent, |_| unreachable!());
    proxy.flush(later + MS, &mut sent);
    let (ring, node, header, _) = &sent.commands[0];
    assert_eq!((*ring, *node, header.attempt()), (RingId(0), NodeId(0), 1));
    proxy.on_redirect(RingId(0), ballot);
    proxy.on_timeout(later + 2 * MS, &mut Sent::default(), |_| unreachable!());
    assert_eq!(proxy.counters().retries, 2, "to be told again who coordinates changes nothing");
}

#[test]
fn at_its_deadline_a_command_is_unknown_and_frees_its_place() {
    let mut proxy = ready();
    submit(&mut proxy, 1, 5, Time(2));
    let mut ended = Vec::new();
    proxy.on_timeout(Time(2) + 1000 * MS, &mut Sent::default(), |done| {
        ended.push((done.tag, done.outcome));
    });
    assert_eq!(ended, [(5, Outcome::Unknown)]);
    assert_eq!((proxy.open_commands(), proxy.next_timeout()), (0, None));
}

#[test]
fn what_was_rejected_was_certainly_not_applied() {
    let mut proxy = ready();
    submit(&mut proxy, 0, 5, Time(2));
    let ended = ends(&mut proxy, &reply(Status::Rejected, SessionId(16), 1, b""), Time(3));
    assert_eq!(ended, [(5, Outcome::NotApplied(NotApplied::Rejected))]);
}

/// Plays a coordinator that takes what `takes` says, until nothing is sent any more; in the order
/// in which the parts were taken.
fn take_parts(
    proxy: &mut Proxy<Null>,
    start: Time,
    mut takes: impl FnMut(&mut Proxy<Null>, u64, Time) -> bool,
) -> Vec<(Chunk, Vec<u8>)> {
    let (mut taken, mut now) = (Vec::new(), start);
    loop {
        let mut sent = Sent::default();
        proxy.flush(now, &mut sent);
        if sent.commands.is_empty() && proxy.rings.parts(RingId(2)).next_timeout().is_none() {
            return taken;
        }
        assert!(sent.commands.len() <= 6, "no more than a socket buffer holds");
        for (number, (ring, _, header, payload)) in sent.numbers.iter().zip(&sent.commands) {
            assert!(header.mode.has(Mode::CHUNK));
            if takes(proxy, *number, now) {
                let (head, bytes) = payload.split_at(size_of::<Chunk>());
                taken.push((bytemuck::pod_read_unaligned(head), bytes.to_vec()));
                proxy.on_taken(*ring, *number, now);
            }
        }
        now = now + MS / 4;
    }
}

/// What the parts make, if each was taken once.
fn whole(parts: &[(Chunk, Vec<u8>)]) -> Vec<u8> {
    let mut whole = vec![0; parts[0].0.total as usize];
    assert_eq!(parts.len(), parts[0].0.parts as usize);
    for (chunk, bytes) in parts {
        whole[chunk.offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    whole
}

fn long_command() -> Vec<u8> {
    let head = Null::ALL.to_le_bytes();
    head.into_iter().chain((0..500_000u32).map(|n| n.wrapping_mul(n).to_le_bytes()[1])).collect()
}

#[test]
fn a_command_above_a_batch_travels_in_parts_and_one_above_the_limit_not_at_all() {
    let mut proxy = ready();
    let mut sent = Sent::default();
    let long = long_command();
    for tag in 1..=2 {
        proxy.submit(0, &long, tag, Time(2), &mut sent).unwrap();
    }
    let mut parts = take_parts(&mut proxy, Time(2), |_, _, _| true);
    let second = parts.split_off(parts.len() / 2);
    assert_eq!((whole(&parts) == long, whole(&second) == long), (true, true));
    let ended = ends(&mut proxy, &reply(Status::Done, SessionId(16), 1, b""), Time(3));
    assert_eq!(ended, [(1, Outcome::Done)]);
    let above = proxy.submit(0, &vec![0; (1 << 20) + 1], 1, Time(2), &mut sent).unwrap_err();
    assert_eq!(above, SubmitError::TooLarge { length: (1 << 20) + 1, limit: 1 << 20 });
}

#[test]
fn a_reply_in_parts_is_joined_in_any_order_and_hostile_parts_are_ignored() {
    let mut proxy = ready();
    submit(&mut proxy, 0, 5, Time(2));
    let part = |chunk: Chunk, bytes: &[u8]| {
        let payload = [bytemuck::bytes_of(&chunk), bytes].concat();
        reply(Status::Part, SessionId(16), 1, &payload)
    };
    for hostile in [
        Chunk { part: 3, parts: 2, total: 6, offset: 0, whole: 0 },
        Chunk { part: 0, parts: 2, total: u32::MAX, offset: 0, whole: 0 },
        Chunk { part: 0, parts: 2, total: 6, offset: u32::MAX, whole: 0 },
    ] {
        assert_eq!(ends(&mut proxy, &part(hostile, b"abc"), Time(3)), []);
    }
    let whole = fingerprint(b"abcdef");
    let second = part(Chunk { part: 1, parts: 2, total: 6, offset: 3, whole }, b"def");
    assert_eq!(ends(&mut proxy, &second, Time(3)), []);
    assert_eq!(ends(&mut proxy, &second, Time(3)), []);
    let mut payload = Vec::new();
    let first = part(Chunk { part: 0, parts: 2, total: 6, offset: 0, whole }, b"abc");
    proxy.on_replies(&first, Time(3), &mut Sent::default(), |done| {
        payload.extend_from_slice(done.payload);
    });
    assert_eq!(payload, b"abcdef");
}

#[test]
fn parts_of_two_executions_of_one_read_are_not_joined() {
    let mut proxy = ready();
    submit(&mut proxy, 0, 5, Time(2));
    let part = |whole: &[u8], number| {
        let (chunk, bytes) = Chunk::cut(whole, fingerprint(whole), 124, number);
        let payload = [bytemuck::bytes_of(&chunk), bytes].concat();
        reply(Status::Part, SessionId(16), 1, &payload)
    };
    // Executed when all bytes were 1, and again, for a later attempt, when all were 2.
    let (first, second) = ([1; 200], [2; 200]);
    let mut replies = Vec::new();
    for datagram in [part(&first, 0), part(&second, 0), part(&second, 1)] {
        proxy.on_replies(&datagram, Time(4), &mut Sent::default(), |done| {
            replies.push(done.payload.to_vec());
        });
    }
    assert_eq!(replies, [second.to_vec()]);
}

#[test]
fn a_read_goes_to_every_group_that_it_could_concern() {
    let config = ProxyConfig { grouping: Grouping::Optimistic, ..config() };
    let mut proxy = ready_with(config, Doubtful);
    let (_, _, header, _) = submit(&mut proxy, 0, Doubtful::READ, Time(2)).commands.remove(0);
    assert_eq!((header.mode, header.groups), (Mode::READ, GroupSet::all(2)));
}

#[test]
fn what_a_full_ring_refused_leaves_again_as_soon_as_answers_make_room_and_once() {
    let mut proxy = ready();
    submit(&mut proxy, 0, 1, Time(2));
    let ring = submit(&mut proxy, 1, 2, Time(2)).commands[0].0;
    let refused = Refused { number: 1, refusal: Refusal::Full };
    proxy.on_refused(ring, &refused, Time(3));
    let mut sent = Sent::default();
    proxy.flush(Time(3), &mut sent);
    assert!(sent.commands.is_empty(), "a full ring is given a moment");
    assert!(proxy.next_timeout().is_some_and(|due| due <= Time(3) + MS));
    proxy.flush(Time(3) + MS, &mut sent);
    let (_, _, header, payload) = &sent.commands[0];
    assert_eq!((sent.commands.len(), &payload[..]), (1, &2u64.to_le_bytes()[..]));
    assert_eq!(header.attempt(), 0, "it was certainly not ordered before");
    proxy.on_refused(ring, &refused, Time(3));
    proxy.flush(Time(4) + 5 * MS, &mut sent);
    assert_eq!(sent.commands.len(), 1, "the word about an older proposal says nothing of this one");
    let ended = ends(&mut proxy, &reply(Status::Done, SessionId(32), 1, b""), Time(5) + MS);
    assert_eq!(ended, [(2, Outcome::Done)]);
}

#[test]
fn held_commands_end_at_their_deadline_and_are_then_not_sent() {
    let mut proxy = ready();
    let ring = submit(&mut proxy, 0, 1, Time(2)).commands[0].0;
    proxy.on_refused(ring, &Refused { number: 1, refusal: Refusal::Full }, Time(3));
    let mut sent = Sent::default();
    proxy.flush(Time(3), &mut sent);
    // Behind it, one that never leaves.
    assert!(submit(&mut proxy, 0, 1, Time(3)).commands.is_empty());
    let mut ended = Vec::new();
    let late = Time(3) + 2000 * MS;
    proxy.on_timeout(late, &mut sent, |done| ended.push((done.tag, done.outcome)));
    proxy.flush(late, &mut sent);
    let ends = vec![(1, Outcome::Unknown), (1, Outcome::NotApplied(NotApplied::Overload))];
    assert_eq!((ended, sent.commands.len()), (ends, 0));
    let counters = proxy.counters();
    assert_eq!((counters.unknown, counters.overloaded), (1, 1));
}

#[test]
fn a_refused_part_and_a_lost_one_leave_again_and_only_they() {
    let mut proxy = ready();
    let long = long_command();
    proxy.submit(0, &long, 1, Time(2), &mut Sent::default()).unwrap();
    let mut count = 0;
    let parts = take_parts(&mut proxy, Time(2), |proxy, number, now| {
        count += 1;
        match count % 7 {
            3 => false,
            5 => {
                let refused = Refused { number, refusal: Refusal::Full };
                proxy.on_refused(RingId(2), &refused, now);
                false
            }
            _ => true,
        }
    });
    assert_eq!(whole(&parts), long, "each part was taken once");
    assert!(count < parts.len() * 3 / 2, "{count} were sent for {}", parts.len());
}

#[test]
fn a_long_command_without_an_answer_is_sent_whole_again() {
    let mut proxy = ready();
    let long = long_command();
    proxy.submit(0, &long, 1, Time(2), &mut Sent::default()).unwrap();
    take_parts(&mut proxy, Time(2), |_, _, _| true);
    let later = Time(2) + 200 * MS;
    proxy.on_timeout(later, &mut Sent::default(), |_| unreachable!());
    let again = take_parts(&mut proxy, later, |_, _, _| true);
    assert_eq!(whole(&again), long);
    let ended = ends(&mut proxy, &reply(Status::Done, SessionId(16), 1, b""), later + MS);
    assert_eq!(ended, [(1, Outcome::Done)]);
    submit(&mut proxy, 0, 5, later + MS);
    assert_eq!(proxy.open_commands(), 1);
}

#[test]
fn a_command_that_waits_for_one_ring_does_not_leave_for_another() {
    let config = ProxyConfig { grouping: Grouping::Optimistic, ..config() };
    let mut proxy = ready_with(config, Doubtful);
    // Command 1 is refused by its ring, where it is held, and command 1 of the other session by
    // the ring of all groups.
    let first = submit(&mut proxy, 0, 0, Time(2)).commands.remove(0);
    let other = submit(&mut proxy, 1, Null::ALL, Time(2)).commands.remove(0);
    assert_ne!(first.0, other.0, "one ring each");
    let mut sent = Sent::default();
    for (ring, number) in [(first.0, 1), (other.0, 2)] {
        proxy.on_refused(ring, &Refused { number, refusal: Refusal::Full }, Time(2));
    }
    proxy.flush(Time(3), &mut sent);
    // It was ordered all the same, by an earlier proposal, and its check failed: now it waits for
    // the ring of all groups, which goes on refusing.
    let failed = reply(Status::CheckFailed, SessionId(16), 1, b"");
    proxy.on_replies(&failed, Time(4), &mut sent, |_| unreachable!());
    for _ in 0..4 {
        proxy.rings.flow(other.0).on_refused(Time(4));
    }
    assert!(sent.commands.is_empty());
    proxy.flush(Time(4) + MS / 2, &mut sent);
    assert!(sent.commands.is_empty(), "its old ring has room, the one it waits for has none");
    proxy.flush(Time(4) + 20 * MS, &mut sent);
    let rings: Vec<RingId> = sent.commands.iter().map(|(ring, ..)| *ring).collect();
    assert_eq!(rings, [other.0, other.0]);
    for (session, tag) in [(16, 0), (32, Null::ALL)] {
        let bytes = reply(Status::Done, SessionId(session), 1, b"");
        assert_eq!(ends(&mut proxy, &bytes, Time(5) + 20 * MS), [(tag, Outcome::Done)]);
    }
    assert_eq!(submit(&mut proxy, 0, 0, Time(6) + 20 * MS).commands.len(), 1);
}

/// The control commands that were sent, with the sessions that they are about.
fn controls(sent: &Sent) -> Vec<(ControlKind, u64, u64)> {
    let commands = sent.commands.iter().filter(|(_, _, header, _)| header.mode == Mode::SESSION);
    let control = commands.map(|(_, _, _, payload)| Control::decode(payload).expect("a control"));
    control.map(|(kind, control)| (kind, control.session.0, control.number)).collect()
}

/// What leaves when time has come.
fn cycle(proxy: &mut Proxy<impl GroupMap>, now: Time) -> Sent {
    let mut sent = Sent::default();
    assert!(proxy.next_timeout().is_none_or(|due| due <= now), "it asks to be called");
    proxy.on_timeout(now, &mut sent, |_| {});
    proxy.flush(now, &mut sent);
    sent
}

#[test]
fn a_report_to_an_earlier_life_does_not_open_a_session() {
    let mut proxy = Proxy::new(config(), Null::new(2), Time(0));
    proxy.resume(0, SessionId(16));
    let sent = controls(&cycle(&mut proxy, Time(0)));
    let mut earlier = Proxy::new(ProxyConfig { client: 78, ..config() }, Null::new(2), Time(0));
    earlier.resume(0, SessionId(16));
    let before = controls(&cycle(&mut earlier, Time(0)));
    for (answered, is_open) in [(before[0], false), (sent[0], true)] {
        assert_eq!((answered.0, answered.1), (ControlKind::Resume, 16));
        for table in 0..2 {
            let report = SessionReport { session: SessionId(16), window: 4, table, highest: 9 };
            let report = bytemuck::bytes_of(&report);
            let bytes = reply(Status::SessionOpened, SessionId(16), answered.2, report);
            assert_eq!(ends(&mut proxy, &bytes, Time(1)), []);
        }
        assert_eq!(proxy.session(0).is_some(), is_open, "{answered:?}");
    }
}

#[test]
fn a_session_that_is_idle_for_a_third_of_its_time_is_refreshed_until_that_is_confirmed() {
    let mut proxy =
        ready_with(ProxyConfig { session_timeout: 1200 * MS, ..config() }, Null::new(2));
    let at = |looks: u32| Time(1) + 100 * MS * looks;
    for look in 1..=3 {
        submit(&mut proxy, 1, 5, at(look));
        let bytes = reply(Status::Done, SessionId(32), u64::from(look), b"12345678");
        assert_eq!(ends(&mut proxy, &bytes, at(look)).len(), 1);
        assert_eq!(controls(&cycle(&mut proxy, at(look))), []);
    }
    let sent = controls(&cycle(&mut proxy, at(4)));
    let [(ControlKind::Resume, 16, number)] = sent[..] else { panic!("{sent:?}") };
    assert_eq!(controls(&cycle(&mut proxy, at(5))), sent, "not confirmed");
    let report = SessionReport { session: SessionId(16), window: 4, table: 1, highest: 0 };
    let report = bytemuck::bytes_of(&report);
    let bytes = reply(Status::SessionOpened, SessionId(16), number, report);
    assert_eq!(ends(&mut proxy, &bytes, at(5)), []);
    assert_eq!(controls(&cycle(&mut proxy, at(6))), []);
    let sent = controls(&cycle(&mut proxy, at(7)));
    assert!(matches!(sent[..], [(ControlKind::Resume, 32, _)]), "{sent:?}");
}

#[test]
fn sessions_are_closed_once_and_asked_for_until_the_replicas_say_so() {
    let mut proxy = ready();
    proxy.close(Time(10));
    assert!(proxy.is_closing() && !proxy.is_closed());
    let sent = controls(&cycle(&mut proxy, Time(10)));
    let [(ControlKind::Close, 16, first), (ControlKind::Close, 32, second)] = sent[..] else {
        panic!("{sent:?}")
    };
    let bytes = reply(Status::Done, SessionId(16), first, &[]);
    assert_eq!(ends(&mut proxy, &bytes, Time(11)), []);
    let sent = controls(&cycle(&mut proxy, Time(10) + 5 * MS));
    assert_eq!(sent, [(ControlKind::Close, 32, second)]);
    // A copy was there before.
    let bytes = reply(Status::NoSession, SessionId(32), second, &[]);
    assert_eq!(ends(&mut proxy, &bytes, Time(12)), []);
    assert!(proxy.is_closed());
}

#[test]
fn an_opening_without_room_is_told_and_asked_for_again() {
    let mut proxy = Proxy::new(config(), Null::new(2), Time(0));
    assert_eq!(controls(&cycle(&mut proxy, Time(0))).len(), 2);
    assert!(!proxy.is_refused());
    let bytes = reply(Status::Rejected, SessionId(0), 1, &[]);
    assert_eq!(ends(&mut proxy, &bytes, Time(1)), []);
    assert!(proxy.is_refused() && !proxy.is_ready());
    assert_eq!(controls(&cycle(&mut proxy, Time(0) + 5 * MS)).len(), 2);
}

#[test]
fn a_command_of_a_closed_session_was_certainly_not_applied() {
    let mut proxy = ready();
    submit(&mut proxy, 0, 5, Time(2));
    submit(&mut proxy, 1, 6, Time(2));
    let not_applied = Outcome::NotApplied(NotApplied::NoSession);
    let bytes = reply(Status::NoSession, SessionId(16), 1, &[]);
    assert_eq!(ends(&mut proxy, &bytes, Time(3)), [(5, not_applied)]);
    let bytes = reply(Status::Forgotten, SessionId(32), 1, &[]);
    assert_eq!(ends(&mut proxy, &bytes, Time(3)), [], "it may have been executed");
}
