//! What the wire format costs: command, batch, Accept and checksum, without any I/O.
//!
//! `cargo bench --bench wire`. The per-command figures are the ones that count: 5 M commands/s
//! leave 200 ns of one core for everything.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use psmr::types::Sequence;
use psmr::types::{Ballot, GroupSet, Incarnation, Instance, NodeId, RingId, SessionId, ValueId};
use psmr::wire::{
    Accept, Command, CommandHeader, Commands, DecidedRanges, HEADER_LENGTH, Header, Identity,
    Layout, MAX_BATCH, Message, NEWEST, Range, Value, Writer, open, seal,
};

fn main() {
    divan::main();
}

const IDENTITY: Identity = Identity {
    cluster: 1,
    configuration: 2,
    epoch: 0,
    version: NEWEST,
    incarnation: Incarnation(3),
};

fn command(sequence: u64, payload: &[u8]) -> Command<'_> {
    let header = CommandHeader {
        session: SessionId(7),
        sequence: Sequence(sequence),
        groups: GroupSet::all(2),
        ..CommandHeader::default()
    };
    Command { header, payload }
}

/// A full batch of commands with 16-byte payloads, and how many they are.
fn batch() -> (Vec<u8>, usize) {
    let length = command(1, &[0; 16]).encoded_length();
    let count = MAX_BATCH / length;
    let mut bytes = vec![0; count * length];
    let mut writer = Writer::new(&mut bytes);
    for sequence in 1..=count as u64 {
        command(sequence, &[5; 16]).encode(&mut writer);
    }
    (bytes, count)
}

fn accept<'a>(batch: &'a [u8], decisions: &'a [Range]) -> Message<'a> {
    let members = [NodeId(0), NodeId(1)];
    Message::Accept(Accept {
        instance: Instance(1000),
        ballot: Ballot::new(1, NodeId(1), Incarnation(3)),
        id: ValueId::new(NodeId(1), Incarnation(3), 1000),
        layout: Layout::new(&members),
        decided: Instance(990),
        trim: Instance(10),
        decisions: DecidedRanges::new(decisions),
        value: Value::Batch(batch),
    })
}

#[divan::bench]
fn encode_a_batch(bencher: Bencher<'_, '_>) {
    let (mut bytes, count) = batch();
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let mut writer = Writer::new(&mut bytes);
        for sequence in 1..=count as u64 {
            command(sequence, black_box(&[5; 16])).encode(&mut writer);
        }
        writer.written()
    });
}

#[divan::bench]
fn decode_a_batch(bencher: Bencher<'_, '_>) {
    let (bytes, count) = batch();
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let commands = Commands::from_offset(black_box(&bytes), 0);
        commands
            .map(|command| command.header.sequence.0 + command.payload.len() as u64)
            .sum::<u64>()
    });
}

#[divan::bench(args = [64, 1024, 7680])]
fn encode_and_seal_an_accept(bencher: Bencher<'_, '_>, length: usize) {
    let value = vec![9; length];
    let id = ValueId::new(NodeId(1), Incarnation(3), 1);
    let ranges = [Range::one(Instance(991), id)];
    let message = accept(&value, &ranges);
    let mut datagram = vec![0; HEADER_LENGTH + message.encoded_length()];
    let header =
        Header { kind: message.kind() as u8, ring: RingId(1), counter: 1, ..Header::default() };
    bencher.counter(BytesCount::new(datagram.len())).bench_local(|| {
        let mut writer = Writer::new(&mut datagram[HEADER_LENGTH..]);
        black_box(&message).encode(&mut writer);
        seal(&IDENTITY, header, &mut datagram);
        datagram[HEADER_LENGTH]
    });
}

#[divan::bench(args = [64, 1024, 7680])]
fn open_and_decode_an_accept(bencher: Bencher<'_, '_>, length: usize) {
    let value = vec![9; length];
    let message = accept(&value, &[]);
    let mut datagram = vec![0; HEADER_LENGTH + message.encoded_length()];
    message.encode(&mut Writer::new(&mut datagram[HEADER_LENGTH..]));
    let header =
        Header { kind: message.kind() as u8, ring: RingId(1), counter: 1, ..Header::default() };
    seal(&IDENTITY, header, &mut datagram);
    bencher.counter(BytesCount::new(datagram.len())).bench_local(|| {
        let (header, body) = open(&IDENTITY, black_box(&datagram)).expect("it was sealed");
        Message::decode(header.kind, body).expect("it was encoded").encoded_length()
    });
}
