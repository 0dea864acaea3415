//! Round trips and hostile bytes.

use super::*;
use crate::types::{
    Ballot, Digest, Incarnation, Instance, KeyNumber, Life, NodeId, ReplicaId, ReplicaSet, RingId,
    Sequence, SessionId, Slot, ValueId,
};
use proptest::prelude::*;

/// Somebody in some cluster.
pub(super) const IDENTITY: Identity = Identity {
    cluster: 7,
    configuration: 11,
    epoch: 1,
    version: NEWEST,
    incarnation: Incarnation(13),
};

fn datagram(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.encoded_length()];
    let mut writer = Writer::new(&mut bytes[HEADER_LENGTH..]);
    message.encode(&mut writer);
    assert_eq!(writer.written() + HEADER_LENGTH, message.encoded_length(), "{message:?}");
    let header =
        Header { kind: message.kind() as u8, ring: RingId(2), counter: 1, ..Header::default() };
    seal(&IDENTITY, header, &mut bytes);
    bytes
}

fn assert_round_trip(message: &Message<'_>) {
    let mut bytes = datagram(message);
    bytes.extend([0; 9]); // padding of a train
    let (header, body) = open(&IDENTITY, &bytes).expect("sealed");
    assert_eq!(Message::decode(header.kind, body).as_ref(), Ok(message));
    for length in 0..body.len() {
        let shorter = Message::decode(header.kind, &body[..length]);
        let may_be_shorter = matches!(message, Message::Propose(_) | Message::Replies(_));
        // A Promise cut between two records is a shorter, well-formed page.
        assert!(may_be_shorter || shorter != Ok(*message), "cut at {length}: {message:?}");
    }
}

/// A record of each kind of value, as a promise carries them.
fn write_records(page: &mut [u8], ballot: Ballot, id: ValueId) -> PromiseRecords<'_> {
    let mut writer = Writer::new(page);
    for (instance, value) in [(3, Value::Batch(b"abc")), (4, Value::Noop), (9, Value::Skip(1000))] {
        PromiseRecord { instance: Instance(instance), ballot, id, value }.encode(&mut writer);
    }
    let written = writer.written();
    PromiseRecords::new(&page[..written])
}

const REQUEST: CheckpointRequest =
    CheckpointRequest { slot: Slot(4), offset: 9, size: 100, count: 3 };
const PIECE: CheckpointPiece<'_> =
    CheckpointPiece { slot: Slot(4), length: 12, offset: 9, bytes: b"abc" };

fn position() -> Position {
    let [applied, needed, checkpointed] = [6, 5, 2].map(Instance);
    Position { applied, needed, checkpointed, learner: 1 }
}

const fn propose(is_confirmed: bool, is_vital: bool) -> Message<'static> {
    Message::Propose(Propose { number: 1, is_confirmed, is_vital, commands: b"some commands" })
}

#[test]
fn every_message_survives_the_wire() {
    let node = NodeId(3);
    let ballot = Ballot::new(5, node, Incarnation(99));
    let id = ValueId::new(node, Incarnation(99), 44);
    let ranges = [Range { first: Instance(8), count: 3, id }, Range::one(Instance(20), id)];
    let wanted = [WantedRange { first: Instance(4), count: 2, wanted: Wanted::Value as u32 }];
    let layout = Layout::new(&[NodeId(1), node]);
    let accept = |value| Accept {
        instance: Instance(9),
        ballot,
        id,
        layout,
        decided: Instance(7),
        trim: Instance(2),
        decisions: DecidedRanges::new(&ranges),
        value,
    };
    let mut page = vec![0; 4096];
    let records = write_records(&mut page, ballot, id);
    assert_eq!(records.iter().count(), 3);
    let messages = [
        propose(true, false),
        Message::Prepare(Prepare { ballot, first: Instance(1) }),
        Message::Promise(Promise {
            ballot,
            first: Instance(3),
            last: Promise::INFINITY,
            trim: Instance(2),
            known: Instance(2),
            slot: Slot(7),
            page: 0,
            pages: 2,
            records,
        }),
        Message::Accept(accept(Value::Batch(b"batch"))),
        Message::Accept(accept(Value::Skip(u64::MAX))),
        Message::Accept(accept(Value::Members(u32::MAX, b"members"))),
        Message::Accept(accept(Value::Noop)),
        Message::Accepted(Accepted {
            ballot,
            mask: 3,
            slowest: Instance(1),
            ranges: DecidedRanges::new(&ranges),
        }),
        Message::Decision(Decision {
            ballot,
            decided: Instance(10),
            trim: Instance(4),
            ranges: DecidedRanges::new(&ranges[..1]),
        }),
        Message::Heartbeat(Heartbeat {
            ballot,
            layout,
            decided: Instance(1),
            highest: Instance(2),
            trim: Instance(0),
            slot: Slot(12),
        }),
        Message::RepairRequest(RepairRequest { wanted: WantedRanges::new(&wanted) }),
        Message::Repair(Repair { is_decided: true, accept: accept(Value::Batch(b"")) }),
        Message::Trimmed(Trimmed { trim: Instance(6) }),
        Message::Position(position()),
        Message::CheckpointRequest(REQUEST),
        Message::CheckpointPiece(PIECE),
        Message::Redirect(Redirect { ballot }),
        Message::Refused(Refused { number: 3, refusal: Refusal::Full }),
        Message::Taken(Taken { number: 4 }),
        Message::Replies(b""),
        Message::Admission(Admission { ballot, life: Incarnation(9), last: Instance(4) }),
    ];
    messages.iter().for_each(assert_round_trip);
}

#[test]
fn messages_between_rings_and_on_members_survive_the_wire() {
    let messages = [
        Message::Beacon(Beacon { slot: Slot(12) }),
        Message::Reconfigure(Epoch { epoch: 7, members: b"members" }),
        Message::Members(Epoch { epoch: u32::MAX, members: &[9; Epoch::MOST] }),
        Message::MembersRequest(MembersRequest::WHOLE),
        Message::MembersRequest(MembersRequest { room: &[] }),
        Message::Newborn(Newborn { life: Incarnation(3), yours: Incarnation(4), is_ready: 1 }),
    ];
    messages.iter().for_each(assert_round_trip);
}

#[test]
fn what_acceptors_ask_at_their_start_survives_the_wire() {
    let life = |number| Life { number, incarnation: Incarnation(number + 70) };
    let ballot = |round| Ballot::new(round, NodeId(2), Incarnation(5));
    let recollection = Recollection {
        to: Incarnation(73),
        lives: std::array::from_fn(|index| life(index as u64)),
        promised: ballot(8),
        voted: ballot(7),
        trim: Instance(100),
        decided: Instance(140),
        memory: Recollection::SOUND,
    };
    assert_round_trip(&Message::Recall(Recall { life: life(3) }));
    assert_round_trip(&Message::Recollection(recollection));
    let numbers = std::array::from_fn(|index| 7 * index as u64);
    assert_round_trip(&Message::KnownLives(KnownLives { ballot: ballot(6), numbers }));
    assert_round_trip(&Message::Vouch(Vouch { ballot: ballot(6), life: Incarnation(3) }));
}

#[test]
fn a_vote_on_a_digest_is_told_from_control_commands() {
    let point = DigestPoint { slot: Slot(5), digest: Digest(70) };
    let vote = DigestVote::new(ReplicaId(3), 11, ReplicaSet::first(4), point);
    let command = vote.command(2);
    assert_eq!(DigestVote::decode(command.payload), Some(vote));
    assert_eq!((vote.replica(), vote.members()), (Some(ReplicaId(3)), Some(ReplicaSet::first(4))));
    assert_eq!(Control::decode(command.payload), None);
    let control = Control::new(ControlKind::Digest);
    assert_eq!(DigestVote::decode(control.command(2).payload), None);
    assert_eq!(DigestVote::decode(&[0; size_of::<DigestVote>()]), None);
    let keyring = |secret| Keyring::of_nodes(Secret::new([secret; 32]));
    let signed = vote.signed(7, &keyring(1));
    assert!(signed.is_signed(7, &keyring(1)) && !vote.is_signed(7, &keyring(1)));
    assert!(!signed.is_signed(8, &keyring(1)) && !signed.is_signed(7, &keyring(2)));
    let client = keyring(1).client(KeyNumber(3)).expect("nodes know it");
    assert!(!vote.signed(7, &client).is_signed(7, &keyring(1)), "a client may not");
    let mut other = signed;
    other.life += 1;
    assert!(!other.is_signed(7, &keyring(1)));
}

#[test]
fn the_flags_of_a_proposal_are_kept_apart() {
    for flags in [(false, false), (false, true), (true, true)] {
        assert_round_trip(&propose(flags.0, flags.1));
    }
}

#[test]
fn a_flipped_bit_anywhere_is_dropped() {
    let bytes = datagram(&propose(true, false));
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&IDENTITY, &bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn another_cluster_configuration_or_epoch_is_inert() {
    let bytes = datagram(&propose(true, false));
    let refused = |identity: Identity| open(&identity, &bytes).map(|_| ());
    assert_eq!(refused(Identity { cluster: 8, ..IDENTITY }), Err(DecodeError::Cluster));
    assert_eq!(refused(Identity { configuration: 8, ..IDENTITY }), Err(DecodeError::Configuration));
    assert_eq!(refused(Identity { epoch: 8, ..IDENTITY }), Err(DecodeError::Epoch));
    assert_eq!(refused(IDENTITY), Ok(()));
}

#[test]
fn a_wire_version_belongs_to_its_epoch_and_members_are_asked_for_across_all() {
    let sealed = |version, message: &Message<'_>| {
        let mut bytes = vec![0; message.encoded_length()];
        message.encode(&mut Writer::new(&mut bytes[HEADER_LENGTH..]));
        let header = Header { kind: message.kind() as u8, ..Header::default() };
        seal(&Identity { version, ..IDENTITY }, header, &mut bytes);
        bytes
    };
    let opened = |version, epoch, bytes: &[u8]| {
        open(&Identity { version, epoch, ..IDENTITY }, bytes).map(|(header, _)| header.version)
    };
    let beacon = Message::Beacon(Beacon { slot: Slot(12) });
    let told = Message::Members(Epoch { epoch: 7, members: b"members" });
    for version in [OLDEST, NEWEST, NEWEST + 1] {
        let bytes = sealed(version, &beacon);
        for own in [OLDEST, NEWEST] {
            let expected = if own == version { Ok(own) } else { Err(DecodeError::Version) };
            assert_eq!(opened(own, IDENTITY.epoch, &bytes), expected);
            assert_eq!(opened(own, IDENTITY.epoch + 1, &bytes), Err(DecodeError::Epoch));
            let members = opened(own, IDENTITY.epoch + 1, &sealed(version, &told));
            assert_eq!(members, Ok(version));
        }
    }
    // A kind that came with a later version is none in an older one.
    let life = Life { number: 3, incarnation: Incarnation(4) };
    let recall = Message::Recall(Recall { life });
    let refused = opened(1, IDENTITY.epoch, &sealed(1, &recall));
    assert_eq!(refused, Err(DecodeError::Version));
    assert_eq!(opened(2, IDENTITY.epoch, &sealed(2, &recall)), Ok(2));
}

#[test]
fn every_kind_has_the_version_that_it_came_with() {
    let since = |byte| Kind::from_wire(byte).map(Kind::since);
    assert!((1..=26).all(|byte| since(byte) == Some(1)));
    assert_eq!([27, 28, 29].map(since), [Some(2); 3]);
    assert_eq!(since(30), Some(3));
    assert_eq!(since(31), None, "a kind more is of a later version than the last that is out");
    assert_eq!((OLDEST, NEWEST), (1, 3));
}

#[test]
fn a_batch_is_read_command_by_command_and_from_any_boundary() {
    let header = CommandHeader {
        session: SessionId(1),
        groups: crate::types::GroupSet::all(2),
        sequence: Sequence(10),
        unanswered: 3,
        designation: CommandHeader::designate(4, 9),
        ..CommandHeader::default()
    };
    assert_eq!((header.replica(), header.attempt()), (4, 7));
    assert_eq!(header.lowest_unanswered(), Sequence(7));
    let payloads: [&[u8]; 3] = [b"", b"one", b"a longer payload"];
    let mut batch = vec![0; 1024];
    let mut writer = Writer::new(&mut batch);
    for payload in payloads {
        Command { header, payload }.encode(&mut writer);
    }
    let length = writer.written();
    batch.truncate(length);
    assert_eq!(Commands::check(&batch), Ok(3));
    assert_eq!(Commands::check(&batch[..length - 1]), Err(DecodeError::Truncated));
    let mut commands = Commands::from_offset(&batch, 0);
    commands.next();
    let rest = Commands::from_offset(&batch, commands.offset());
    assert_eq!(rest.map(|command| command.payload).collect::<Vec<_>>(), payloads[1..]);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 0u8..20, body in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(Message::Promise(promise)) = Message::decode(kind, &body) {
            prop_assert!(promise.records.iter().count() <= body.len());
        }
        let _ = open(&IDENTITY, &body);
        let _ = Commands::check(&body);
        prop_assert!(Replies::new(&body).count() <= body.len());
    }
}
