//! A learner, one datagram at a time.

use super::*;
use crate::ring_paxos::Destination;
use crate::types::{Address, Incarnation};
use crate::wire::{
    Decision, Heartbeat, Layout, Range, Repair, Trimmed, Wanted, WantedRange, WantedRanges, Writer,
};

const RING: RingId = RingId(3);
const LIFE: Incarnation = Incarnation(77);
const US: Duration = Duration::from_micros(1);

#[derive(Debug, PartialEq)]
enum Sent {
    Asked { acceptor: u16, wanted: Vec<(u64, u32, u32)> },
    Reported { acceptor: u16, applied: u64 },
}

#[derive(Default)]
struct Out(Vec<Sent>);

impl Outbox for Out {
    fn send(&mut self, to: Destination, ring: RingId, message: &Message<'_>) {
        assert_eq!(ring, RING);
        let Destination::Node(NodeId(acceptor)) = to else { panic!("learners do not multicast") };
        self.0.push(match message {
            Message::RepairRequest(request) => Sent::Asked {
                acceptor,
                wanted: request.wanted.iter().map(|w| (w.first.0, w.count, w.wanted)).collect(),
            },
            Message::Position(position) => {
                assert_eq!(position.learner, 9);
                Sent::Reported { acceptor, applied: position.applied.0 }
            }
            other => panic!("a learner sent {other:?}"),
        });
    }
}

impl Out {
    fn asked(&mut self) -> Vec<Sent> {
        let sent = std::mem::take(&mut self.0);
        sent.into_iter().filter(|sent| matches!(sent, Sent::Asked { .. })).collect()
    }
}

/// Frames over a vector of datagrams; counts what is out.
#[derive(Default)]
struct Frames {
    datagrams: Vec<Vec<u8>>,
    out: usize,
    scarce: bool,
}

impl Pool for Frames {
    fn bytes(&self, frame: &Frame) -> &[u8] {
        &self.datagrams[frame.buffer as usize]
    }
    fn release(&mut self, frame: Frame) {
        self.datagrams[frame.buffer as usize] = vec![0xee; 16];
        self.out -= 1;
    }
    fn is_scarce(&self) -> bool {
        self.scarce
    }
}

struct Rig {
    learner: Learner,
    frames: Frames,
    out: Out,
    now: Time,
}

const fn ballot(round: u32) -> Ballot {
    Ballot::new(round, NodeId(1), LIFE)
}

fn id(counter: u64) -> ValueId {
    ValueId::new(NodeId(1), LIFE, counter)
}

fn range(first: u64, count: u64, first_id: u64) -> Range {
    Range { first: Instance(first), count, id: id(first_id) }
}

impl Rig {
    fn new(window: usize) -> Self {
        let acceptors = vec![NodeId(1), NodeId(2), NodeId(3)];
        let config = LearnerConfig { window, ..LearnerConfig::new(RING, acceptors, 9) };
        let learner = Learner::new(config, 1, Time::ZERO);
        Self { learner, frames: Frames::default(), out: Out::default(), now: Time::ZERO }
    }

    fn hear(&mut self, sender: u16, message: &Message<'_>) {
        let sender = NodeId(sender);
        let from = Address::NONE;
        let envelope = Envelope { ring: RING, sender, incarnation: LIFE, from };
        self.learner.on_message(&envelope, message, self.now, &mut self.out);
    }

    fn frame(&mut self, message: &Message<'_>) {
        let mut datagram = vec![0; message.encoded_length() + 40];
        message.encode(&mut Writer::new(&mut datagram[HEADER_LENGTH..]));
        let length = u32::try_from(message.encoded_length() - HEADER_LENGTH).unwrap();
        let (kind, sender) = (message.kind() as u8, NodeId(1));
        let header =
            Header { kind, ring: RING, sender, incarnation: LIFE, length, ..Header::default() };
        let buffer = u32::try_from(self.frames.datagrams.len()).unwrap();
        let frame = Frame {
            buffer,
            offset: 0,
            length: u32::try_from(datagram.len()).unwrap(),
            from: Address::NONE,
        };
        self.frames.datagrams.push(datagram);
        self.frames.out += 1;
        self.learner.on_frame(frame, &header, &mut self.frames);
    }

    fn decide(&mut self, ranges: &[Range]) {
        let ranges = DecidedRanges::new(ranges);
        let (decided, trim) = (Instance(0), Instance(0));
        self.hear(1, &Message::Decision(Decision { ballot: ballot(1), decided, trim, ranges }));
    }

    fn cycle(&mut self, after: Duration) {
        self.now = self.now + after;
        self.learner.settle(&mut self.frames);
        self.learner.on_cycle_end(self.now, &mut self.out);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let taken = self.learner.take()?;
        assert_eq!(taken, Taken::Value);
        let bytes = self.learner.bytes(&self.frames).to_vec();
        self.learner.release(&mut self.frames);
        Some(bytes)
    }
}

fn accept(instance: u64, round: u32, counter: u64, batch: &[u8]) -> Accept<'_> {
    Accept {
        instance: Instance(instance),
        ballot: ballot(round),
        id: id(counter),
        layout: Layout::new(&[NodeId(2), NodeId(1)]),
        decided: Instance(0),
        trim: Instance(0),
        decisions: DecidedRanges::new(&[]),
        value: Value::Batch(batch),
    }
}

fn heartbeat(round: u32, decided: u64, highest: u64) -> Message<'static> {
    Message::Heartbeat(Heartbeat {
        ballot: ballot(round),
        layout: Layout::new(&[NodeId(2), NodeId(1)]),
        decided: Instance(decided),
        highest: Instance(highest),
        trim: Instance(0),
        slot: crate::types::Slot(0),
    })
}

#[test]
fn a_value_counts_only_under_the_name_that_was_decided() {
    let mut rig = Rig::new(16);
    rig.hear(1, &Message::Accept(accept(1, 1, 10, b"lost")));
    rig.decide(&[range(1, 1, 20)]);
    assert_eq!(rig.next(), None);
    rig.hear(1, &Message::Accept(accept(1, 1, 11, b"lost too")));
    assert_eq!(rig.learner.counters().stale, 1);
    rig.hear(1, &Message::Accept(accept(1, 2, 20, b"won")));
    assert_eq!(rig.next().unwrap(), b"won");
    assert_eq!(rig.next(), None);
}

#[test]
fn value_and_decision_come_in_any_order() {
    let mut rig = Rig::new(16);
    rig.decide(&[range(1, 2, 10)]);
    rig.hear(1, &Message::Accept(accept(2, 1, 11, b"two")));
    assert_eq!(rig.next(), None);
    let riding = [range(3, 1, 12)];
    let first = Accept { decisions: DecidedRanges::new(&riding), ..accept(1, 1, 10, b"one") };
    rig.hear(1, &Message::Accept(first));
    assert_eq!(rig.next().unwrap(), b"one");
    assert_eq!(rig.next().unwrap(), b"two");
    rig.hear(1, &Message::Accept(accept(3, 1, 12, b"three")));
    assert_eq!(rig.next().unwrap(), b"three");
}

#[test]
fn a_mark_decides_what_its_own_coordinator_proposed_at_its_own_ballot() {
    let mut rig = Rig::new(16);
    rig.hear(1, &Message::Accept(accept(1, 1, 10, b"one")));
    rig.hear(1, &Message::Accept(accept(2, 1, 11, b"not chosen")));
    rig.hear(2, &heartbeat(1, 2, 2));
    assert_eq!(rig.next(), None, "somebody else's word for it");
    rig.hear(1, &heartbeat(1, 1, 1));
    assert_eq!(rig.next().unwrap(), b"one");
    rig.hear(1, &heartbeat(2, 3, 3));
    assert_eq!(rig.next(), None, "a later ballot may have chosen another value");
    rig.hear(1, &Message::Accept(accept(2, 2, 30, b"two")));
    assert_eq!(rig.next().unwrap(), b"two", "the mark came before the value");
}

#[test]
fn a_repairs_marks_decide_nothing() {
    let mut rig = Rig::new(16);
    let undecided = Accept { decided: Instance(5), ..accept(1, 1, 10, b"one") };
    rig.hear(1, &Message::Repair(Repair { is_decided: false, accept: undecided }));
    rig.hear(1, &heartbeat(1, 5, 5));
    assert_eq!(rig.next(), None);
    rig.hear(2, &Message::Repair(Repair { is_decided: true, accept: undecided }));
    assert_eq!(rig.next().unwrap(), b"one");
    assert_eq!(rig.learner.counters().repairs, 2);
}

#[test]
fn counts_from_the_network_are_bounded_by_the_window() {
    let mut rig = Rig::new(16);
    rig.decide(&[range(0, u64::MAX, 5), range(u64::MAX, u64::MAX, 5)]);
    rig.hear(1, &heartbeat(1, u64::MAX - 1, u64::MAX - 1));
    rig.hear(1, &Message::Accept(accept(1, 1, 6, b"one")));
    assert_eq!(rig.next().unwrap(), b"one");
    rig.cycle(US);
    rig.cycle(300 * US);
    assert_eq!(rig.out.asked().len(), 1);
}

#[test]
fn a_gap_is_asked_for_after_the_time_for_reordering() {
    let mut rig = Rig::new(64);
    rig.hear(1, &Message::Accept(accept(1, 1, 10, b"one")));
    rig.hear(1, &Message::Accept(accept(4, 1, 13, b"four")));
    rig.cycle(US);
    assert_eq!(rig.learner.next_timeout(), Some(rig.now + 200 * US));
    rig.cycle(199 * US);
    assert_eq!(rig.out.asked(), []);
    rig.cycle(US);
    let both = Wanted::Both as u32;
    assert_eq!(rig.out.asked(), [Sent::Asked { acceptor: 1, wanted: vec![(2, 2, both)] }]);
    // A gap that closes by itself is not asked for.
    let mut rig = Rig::new(64);
    rig.hear(1, &Message::Accept(accept(2, 1, 11, b"two")));
    rig.cycle(US);
    rig.hear(1, &Message::Accept(accept(1, 1, 10, b"one")));
    rig.cycle(300 * US);
    assert_eq!(rig.out.asked(), []);
}

#[test]
fn value_without_decision_and_decision_without_value_are_asked_for_apart() {
    let mut rig = Rig::new(64);
    rig.decide(&[range(1, 1, 10), range(3, 1, 12)]);
    rig.hear(2, &Message::Accept(accept(2, 1, 11, b"two")));
    rig.hear(2, &Message::Accept(accept(3, 1, 99, b"not chosen")));
    rig.cycle(US);
    rig.cycle(200 * US);
    let wanted = vec![
        (1, 1, Wanted::Value as u32),
        (2, 1, Wanted::Decision as u32),
        (3, 1, Wanted::Value as u32),
    ];
    assert_eq!(rig.out.asked(), [Sent::Asked { acceptor: 1, wanted }]);
}

#[test]
fn an_acceptor_that_does_not_answer_is_replaced_after_three_tries() {
    let mut rig = Rig::new(64);
    rig.hear(1, &heartbeat(1, 1, 1));
    rig.cycle(US);
    let mut asked = Vec::new();
    let mut waits = Vec::new();
    let mut last = rig.now;
    while asked.len() < 7 {
        let due = rig.learner.next_timeout().unwrap();
        rig.cycle(due.since(rig.now));
        for sent in rig.out.asked() {
            let Sent::Asked { acceptor, .. } = sent else { unreachable!() };
            asked.push(acceptor);
            waits.push(rig.now.since(last).as_micros());
            last = rig.now;
        }
    }
    assert_eq!(asked, [1, 1, 1, 2, 2, 2, 3]);
    for (tries, wait) in waits[1..].iter().enumerate() {
        let first = 1000 << tries;
        assert!((first..=2 * first).contains(wait), "try {tries} after {wait} us");
    }
}

#[test]
fn a_lost_tail_heals_by_a_heartbeat() {
    let mut rig = Rig::new(64);
    rig.hear(1, &Message::Accept(accept(1, 1, 10, b"one")));
    rig.decide(&[range(1, 1, 10)]);
    rig.cycle(500 * US);
    rig.cycle(500 * US);
    assert_eq!(rig.out.asked(), []);
    rig.hear(1, &heartbeat(1, 1, 3));
    rig.cycle(US);
    rig.cycle(200 * US);
    let both = Wanted::Both as u32;
    assert_eq!(rig.out.asked(), [Sent::Asked { acceptor: 1, wanted: vec![(2, 2, both)] }]);
    for (instance, counter) in [(2, 11), (3, 12)] {
        let accept = accept(instance, 1, counter, b"repaired");
        rig.hear(1, &Message::Repair(Repair { is_decided: true, accept }));
    }
    rig.cycle(10_000 * US);
    assert_eq!(rig.out.asked(), []);
    assert_eq!(std::iter::from_fn(|| rig.next()).count(), 3);
}

#[test]
fn a_long_gap_is_asked_for_in_bounded_pieces() {
    let mut rig = Rig::new(128);
    rig.hear(1, &heartbeat(1, 50, 50));
    rig.cycle(US);
    let mut asked = 0;
    let mut requests = 0;
    for _ in 0..100 {
        rig.cycle(200 * US);
        for sent in rig.out.asked() {
            let Sent::Asked { wanted, .. } = sent else { unreachable!() };
            requests += 1;
            let pieces = WantedRanges::new(&[]).len() + wanted.len();
            assert_eq!(pieces, 1);
            let (first, count, _) = wanted[0];
            assert!(count <= 16);
            for instance in first..first + u64::from(count) {
                asked += 1;
                let accept = accept(instance, 1, instance, b"x");
                rig.hear(1, &Message::Repair(Repair { is_decided: true, accept }));
            }
        }
    }
    assert_eq!((asked, requests), (50, 4), "each once, the next piece as soon as one has come");
}

#[test]
fn what_becomes_missing_behind_an_answered_request_is_asked_for_too() {
    let mut rig = Rig::new(64);
    rig.hear(2, &Message::Accept(accept(1, 1, 10, b"one")));
    rig.hear(2, &Message::Accept(accept(3, 1, 12, b"three")));
    rig.cycle(US);
    rig.cycle(200 * US);
    assert_eq!(rig.out.asked().len(), 1);
    rig.hear(2, &Message::Accept(accept(2, 1, 11, b"two")));
    rig.cycle(5000 * US);
    rig.hear(2, &heartbeat(1, 3, 3));
    rig.cycle(US);
    rig.cycle(200 * US);
    let decision = Wanted::Decision as u32;
    assert_eq!(rig.out.asked(), [Sent::Asked { acceptor: 1, wanted: vec![(1, 3, decision)] }]);
}

#[test]
fn a_forgotten_instance_calls_for_a_state_transfer() {
    let mut rig = Rig::new(64);
    rig.hear(1, &heartbeat(1, 9, 9));
    rig.hear(1, &Message::Trimmed(Trimmed { trim: Instance(7) }));
    assert_eq!(rig.learner.needs_state_transfer(), Some(Instance(7)));
    rig.cycle(US);
    rig.cycle(10_000 * US);
    assert_eq!(rig.out.asked(), [], "asking does not help");
    rig.learner.restart(Instance(8), &mut rig.frames);
    assert_eq!(rig.learner.needs_state_transfer(), None);
    rig.cycle(US);
    rig.cycle(200 * US);
    let both = Wanted::Both as u32;
    assert_eq!(rig.out.asked(), [Sent::Asked { acceptor: 1, wanted: vec![(8, 2, both)] }]);
}

#[test]
fn what_is_ordered_while_a_checkpoint_comes_is_kept_and_handed_over_from_there_on() {
    let mut rig = Rig::new(8);
    rig.learner.config.has_checkpoints = true;
    rig.hear(1, &heartbeat(1, 9, 9));
    rig.hear(1, &Message::Trimmed(Trimmed { trim: Instance(7) }));
    rig.cycle(US);
    for instance in 8..=60 {
        rig.hear(1, &Message::Accept(accept(instance, 1, instance, b"x")));
    }
    rig.decide(&[range(8, 53, 8)]);
    rig.cycle(US);
    assert_eq!((rig.next(), rig.learner.counters().beyond_window), (None, 0));
    assert!(!rig.learner.has_caught_up());
    // A checkpoint from before what was kept is of no use.
    rig.learner.restart(Instance(6), &mut rig.frames);
    assert_eq!((rig.learner.needs_state_transfer(), rig.next()), (Some(Instance(7)), None));
    rig.learner.restart(Instance(20), &mut rig.frames);
    assert_eq!(rig.learner.needs_state_transfer(), None);
    assert_eq!(rig.learner.position(), Instance(20));
    assert_eq!(std::iter::from_fn(|| rig.next()).count(), 41);
    // The ring goes on, and the window is as small as it was.
    rig.hear(1, &Message::Accept(accept(61, 1, 61, b"y")));
    rig.decide(&[range(61, 1, 61)]);
    rig.cycle(US);
    for instance in 62..=80 {
        rig.hear(1, &Message::Accept(accept(instance, 1, instance, b"z")));
    }
    assert!(rig.learner.counters().beyond_window > 0);
    assert_eq!(rig.next().unwrap(), b"y");
}

#[test]
fn only_an_acceptor_says_that_something_is_forgotten_and_only_of_what_was_decided() {
    let mut rig = Rig::new(8);
    rig.learner.config.has_checkpoints = true;
    rig.hear(1, &heartbeat(1, 9, 9));
    for (sender, trim) in [(8, 7), (1, 10), (1, u64::MAX)] {
        rig.hear(sender, &Message::Trimmed(Trimmed { trim: Instance(trim) }));
    }
    assert_eq!(rig.learner.needs_state_transfer(), None);
    assert_eq!((rig.learner.counters().malformed, rig.learner.position()), (3, Instance(1)));
}

#[test]
fn a_value_behind_the_window_of_a_restored_place_is_never_taken_for_a_later_one() {
    let mut rig = Rig::new(8);
    rig.learner.config.has_checkpoints = true;
    for instance in 1..=8 {
        rig.hear(1, &Message::Accept(accept(instance, 1, instance, b"old")));
    }
    rig.decide(&[range(1, 8, 1)]);
    assert_eq!(rig.learner.take(), Some(Taken::Value));
    rig.hear(1, &Message::Accept(accept(8, 1, 8, b"old")));
    rig.decide(&[range(8, 1, 8)]);
    // It goes on at the value in use, and from there far beyond the window.
    rig.learner.await_checkpoint();
    rig.learner.restart(Instance(1), &mut rig.frames);
    rig.hear(1, &heartbeat(1, 40, 40));
    rig.hear(1, &Message::Trimmed(Trimmed { trim: Instance(15) }));
    rig.learner.restart(Instance(16), &mut rig.frames);
    assert_eq!(rig.next(), None, "16 would stand where 8 stood");
}

#[test]
fn values_above_the_window_are_dropped_and_asked_for_when_there_is_room() {
    let mut rig = Rig::new(8);
    for instance in 1..=12 {
        rig.hear(1, &Message::Accept(accept(instance, 1, instance, b"x")));
    }
    rig.decide(&[range(1, 12, 1)]);
    assert_eq!(rig.learner.counters().beyond_window, 5);
    rig.cycle(US);
    rig.cycle(1000 * US);
    assert_eq!(rig.out.asked(), [], "no room");
    assert_eq!(std::iter::from_fn(|| rig.next()).count(), 7);
    rig.cycle(US);
    rig.cycle(200 * US);
    let both = Wanted::Both as u32;
    assert_eq!(rig.out.asked(), [Sent::Asked { acceptor: 1, wanted: vec![(8, 5, both)] }]);
}

#[test]
fn progress_is_reported_by_quarters_of_the_window_and_by_time() {
    let mut rig = Rig::new(16);
    for instance in 1..=5 {
        rig.hear(1, &Message::Accept(accept(instance, 1, instance, b"x")));
    }
    rig.decide(&[range(1, 5, 1)]);
    let reported = |applied| vec![Sent::Reported { acceptor: 1, applied }];
    assert_eq!(std::iter::from_fn(|| rig.next()).take(4).count(), 4);
    rig.cycle(US);
    assert_eq!(std::mem::take(&mut rig.out.0), reported(4));
    rig.next().unwrap();
    rig.cycle(4000 * US);
    assert_eq!(rig.out.0, []);
    rig.cycle(1000 * US);
    assert_eq!(std::mem::take(&mut rig.out.0), reported(5));
    rig.cycle(99_000 * US);
    assert_eq!(rig.out.0, []);
    rig.cycle(1000 * US);
    assert_eq!(std::mem::take(&mut rig.out.0), reported(5), "the last may have been lost");
    // The preferential acceptor has left the ring.
    let layout = Layout::new(&[NodeId(2), NodeId(3)]);
    rig.hear(1, &Message::Accept(Accept { layout, ..accept(6, 2, 6, b"x") }));
    rig.cycle(100_000 * US);
    assert_eq!(rig.out.0.last(), Some(&Sent::Reported { acceptor: 3, applied: 5 }));
}

#[test]
fn a_batch_stays_in_its_frame_for_one_duty_cycle_at_most() {
    let mut rig = Rig::new(16);
    let batch = vec![7; 5000];
    for instance in 1..=3 {
        let message = Message::Accept(accept(instance, 1, instance, &batch));
        rig.frame(&message);
        rig.frame(&message);
    }
    assert_eq!((rig.frames.out, rig.learner.counters().duplicates), (3, 3));
    rig.decide(&[range(1, 3, 1)]);
    assert_eq!(rig.next().unwrap(), batch, "executed out of the frame");
    assert_eq!(rig.frames.out, 2);
    assert_eq!(rig.learner.take(), Some(Taken::Value));
    rig.cycle(US);
    assert_eq!((rig.frames.out, rig.learner.frames()), (0, 0));
    assert_eq!(rig.learner.bytes(&rig.frames), batch, "what is in use has moved with the rest");
    rig.learner.release(&mut rig.frames);
    assert_eq!(rig.next().unwrap(), batch);
    assert_eq!(rig.learner.counters().copies, 2);
}

#[test]
fn small_batches_are_copied_at_once_and_so_is_everything_when_buffers_are_scarce() {
    let mut rig = Rig::new(16);
    rig.frame(&Message::Accept(accept(1, 1, 1, &[1; 2047])));
    assert_eq!(rig.frames.out, 0);
    rig.frame(&Message::Accept(accept(2, 1, 2, &[2; 2048])));
    assert_eq!(rig.frames.out, 1);
    rig.frames.scarce = true;
    rig.frame(&Message::Accept(accept(3, 1, 3, &[3; 7000])));
    assert_eq!(rig.frames.out, 1);
    rig.decide(&[range(1, 3, 1)]);
    let lengths: Vec<_> = std::iter::from_fn(|| rig.next()).map(|bytes| bytes.len()).collect();
    assert_eq!(lengths, [2047, 2048, 7000]);
    assert_eq!(rig.frames.out, 0);
}

#[test]
fn no_frame_leaks_when_values_are_replaced_garbled_or_forgotten() {
    let mut rig = Rig::new(16);
    let batch = vec![7; 4000];
    rig.frame(&Message::Accept(accept(1, 1, 1, &batch)));
    rig.frame(&Message::Accept(accept(1, 2, 2, &batch)));
    rig.frame(&Message::Accept(accept(1, 1, 1, &batch)));
    assert_eq!(rig.learner.counters().stale, 1);
    rig.frame(&Message::Accept(accept(100, 1, 1, &batch)));
    rig.frame(&Message::Accept(accept(2, 1, 1, &vec![1; 9000])));
    let wanted = [WantedRange { first: Instance(1), count: 1, wanted: 0 }];
    let wanted = WantedRanges::new(&wanted);
    rig.frame(&Message::RepairRequest(crate::wire::RepairRequest { wanted }));
    rig.cycle(US);
    assert_eq!(rig.frames.out, 0);
    rig.frame(&Message::Accept(accept(2, 1, 3, &batch)));
    rig.frame(&Message::Accept(accept(3, 1, 4, &batch)));
    assert_eq!(rig.frames.out, 2);
    rig.learner.restart(Instance(9), &mut rig.frames);
    assert_eq!((rig.frames.out, rig.learner.frames()), (0, 0));
}

#[test]
fn a_decision_that_contradicts_an_earlier_one_is_named_by_its_instance() {
    let mut rig = Rig::new(16);
    rig.decide(&[range(1, 4, 1)]);
    assert_eq!(rig.learner.conflict(), None);
    rig.decide(&[range(2, 1, 2)]);
    assert_eq!(rig.learner.conflict(), None, "the same again");
    rig.decide(&[range(3, 2, 7)]);
    assert_eq!(rig.learner.conflict(), Some(Instance(3)));
    assert_eq!(rig.learner.counters().conflicts, 2);
}
