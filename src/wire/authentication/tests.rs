//! Who is heard, and who is not.

use super::*;
use crate::types::{Address, KeyNumber, NodeId, RingId};
use crate::wire::tests::IDENTITY;
use crate::wire::{DecodeError, HEADER_LENGTH, Header, Identity, Kind};
use std::sync::Arc;

fn keyring(byte: u8) -> Keyring {
    Keyring::of_nodes(Secret::new([byte; 32]))
}

fn gate(keyring: &Keyring, salt: u64) -> Gate {
    Gate::with_keys(IDENTITY, Arc::new(keyring.clone()), salt)
}

fn client(number: u16) -> Keyring {
    keyring(1).client(KeyNumber(number)).expect("nodes derive the keys of clients")
}

/// A datagram of `kind` with a body of three bytes.
fn sealed(gate: &mut Gate, kind: Kind, to: KeyNumber) -> Vec<u8> {
    let mut datagram = vec![5; HEADER_LENGTH + 3 + gate.tag_length()];
    let header =
        Header { kind: kind as u8, ring: RingId(2), target: NodeId(4), ..Header::default() };
    gate.seal(header, to, &mut datagram);
    datagram
}

fn of_node(gate: &mut Gate) -> Vec<u8> {
    sealed(gate, Kind::Accept, KeyNumber::NODES)
}

fn refused(gate: &mut Gate, datagram: &[u8]) -> DecodeError {
    gate.open(datagram).expect_err("to be dropped")
}

#[test]
fn what_one_node_seals_another_opens_once() {
    let (mut a, mut b) = (gate(&keyring(1), 1), gate(&keyring(1), 2));
    for _ in 0..3 {
        let mut datagram = of_node(&mut a);
        datagram.extend([0; 7]); // padding of a train
        let (header, body) = b.open(&datagram).expect("sealed");
        assert_eq!((header.ring, header.target, body), (RingId(2), NodeId(4), &[5; 3][..]));
        assert_eq!(header.key(), Some(KeyNumber::NODES));
        assert_eq!(refused(&mut b, &datagram), DecodeError::Replayed);
    }
}

#[test]
fn no_bit_of_a_datagram_can_be_changed() {
    let datagram = of_node(&mut gate(&keyring(1), 1));
    let mut heard = gate(&keyring(1), 2);
    heard.open(&datagram).expect("sealed");
    let mut sender = gate(&keyring(1), 1);
    let _ = of_node(&mut sender);
    let second = of_node(&mut sender);
    for bit in 0..8 * second.len() {
        let mut changed = second.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // Of a sender that is known, and of one that is not.
        assert!(heard.open(&changed).is_err(), "bit {bit}");
        assert!(gate(&keyring(1), 3).open(&changed).is_err(), "bit {bit}");
    }
    heard.open(&second).expect("what was forged has marked nothing");
    for length in 0..second.len() {
        assert!(gate(&keyring(1), 3).open(&second[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn other_secrets_are_refused_and_of_two_either_is_accepted() {
    let datagram = of_node(&mut gate(&keyring(1), 1));
    assert_eq!(refused(&mut gate(&keyring(2), 2), &datagram), DecodeError::Forged);
    let both = |first: u8, second: u8| {
        let (first, second) = (keyring(first).text(), keyring(second).text());
        let second = second.lines().nth(1).expect("a secret");
        Keyring::parse(&format!("{first}# the old one\n{second}\n")).expect("two secrets")
    };
    for (sender, receiver) in [
        (keyring(1), both(1, 2)),
        (both(1, 2), both(2, 1)),
        (both(2, 1), both(2, 1)),
        (both(2, 1), keyring(2)),
    ] {
        gate(&receiver, 2).open(&of_node(&mut gate(&sender, 1))).expect("a rotation");
        let client = sender.client(KeyNumber(3)).expect("derived");
        let asked = sealed(&mut gate(&client, 1), Kind::Propose, KeyNumber::NODES);
        gate(&receiver, 2).open(&asked).expect("clients rotate as nodes do");
    }
    assert_eq!(both(1, 2).text().lines().count(), 3);
}

#[test]
fn clients_ask_and_are_answered_by_their_own_key() {
    let (mut node, mut three) = (gate(&keyring(1), 1), gate(&client(3), 2));
    let question = sealed(&mut three, Kind::Propose, KeyNumber::NODES);
    let (header, _) = node.open(&question).expect("a client may propose");
    let to = header.reply_to(Address::memory(9));
    assert_eq!((to.key(), to.as_memory()), (KeyNumber(3), Some(9)));
    let answer = sealed(&mut node, Kind::Replies, to.key());
    three.open(&answer).expect("sealed by the client's key");
    assert_eq!(refused(&mut gate(&client(4), 3), &answer), DecodeError::Unentitled);
    let other = sealed(&mut node, Kind::Replies, KeyNumber(4));
    assert_eq!(refused(&mut three, &other), DecodeError::Unentitled);
    let of_nodes = of_node(&mut node);
    assert_eq!(refused(&mut three, &of_nodes), DecodeError::Unentitled);
}

#[test]
fn a_client_can_forge_neither_nodes_nor_other_clients() {
    let mut node = gate(&keyring(1), 1);
    let accept = sealed(&mut gate(&client(3), 2), Kind::Accept, KeyNumber::NODES);
    assert_eq!(refused(&mut node, &accept), DecodeError::Unentitled);
    // It writes another number into what its own key has sealed.
    for number in [0_u32, 4] {
        let mut claimed = sealed(&mut gate(&client(3), 2), Kind::Propose, KeyNumber::NODES);
        let at = std::mem::offset_of!(Header, check);
        claimed[at..at + 4].copy_from_slice(&number.to_le_bytes());
        assert_eq!(refused(&mut node, &claimed), DecodeError::Forged);
    }
    assert_eq!(client(3).client(KeyNumber(4)), None);
    assert_eq!(client(3).client(KeyNumber::NODES), None);
}

#[test]
fn with_and_without_keys_do_not_mix() {
    let (mut bare, mut keyed) = (Gate::new(IDENTITY), gate(&keyring(1), 1));
    let plain = of_node(&mut bare);
    assert_eq!(refused(&mut keyed, &plain), DecodeError::Unsigned);
    assert_eq!(refused(&mut bare, &of_node(&mut keyed)), DecodeError::Signed);
    Gate::new(IDENTITY).open(&plain).expect("a checksum");
}

#[test]
fn other_clusters_and_configurations_are_told_apart() {
    let datagram = of_node(&mut gate(&keyring(1), 1));
    let with = |identity| Gate::with_keys(identity, Arc::new(keyring(1)), 2);
    let cluster = Identity { cluster: 8, ..IDENTITY };
    assert_eq!(refused(&mut with(cluster), &datagram), DecodeError::Cluster);
    let configuration = Identity { configuration: 1, ..IDENTITY };
    assert_eq!(refused(&mut with(configuration), &datagram), DecodeError::Configuration);
    let epoch = Identity { epoch: 2, ..IDENTITY };
    assert_eq!(refused(&mut with(epoch), &datagram), DecodeError::Epoch);
}

#[test]
fn more_senders_than_are_remembered_are_heard() {
    let mut node = gate(&keyring(1), 1);
    let mut first = gate(&client(1), 1);
    node.open(&sealed(&mut first, Kind::Propose, KeyNumber::NODES)).expect("the first");
    for salt in 2..600 {
        let question = sealed(&mut gate(&client(1), salt), Kind::Propose, KeyNumber::NODES);
        node.open(&question).expect("another life");
        let again = sealed(&mut first, Kind::Propose, KeyNumber::NODES);
        node.open(&again).expect("the first, which is never silent");
    }
    // Replies to more clients than keys are at hand.
    for number in (1..200).chain(1..200) {
        let answer = sealed(&mut node, Kind::Replies, KeyNumber(number));
        gate(&client(number), 7).open(&answer).expect("sealed for this client");
    }
}

#[test]
fn a_key_file_is_read_as_it_was_written_and_no_other_way() {
    for keyring in [keyring(1), client(77)] {
        assert_eq!(Keyring::parse(&keyring.text()), Ok(keyring));
    }
    let secret = "ab".repeat(32);
    let refused = |text: String| Keyring::parse(&text).expect_err("no key file");
    assert_eq!(refused(String::new()), KeyError::Foreign);
    assert_eq!(refused(format!("psmr.key/2\nnodes = {secret}")), KeyError::Foreign);
    assert_eq!(refused("psmr.key/1\n# none\n".into()), KeyError::Empty);
    for line in ["nodes", "nodes = ab", "client 0 = ", "client 4096 = ", "node = ", "nodes = 0"] {
        let line = if line.ends_with("= ") { format!("{line}{secret}") } else { line.to_owned() };
        assert_eq!(refused(format!("psmr.key/1\n\n{line}\n")), KeyError::Line(3), "{line}");
    }
    let mixed = format!("psmr.key/1\nnodes = {secret}\nclient 1 = {secret}");
    assert_eq!(refused(mixed), KeyError::Mixed(3));
    let many = format!("psmr.key/1\n{}", format!("nodes = {secret}\n").repeat(3));
    assert_eq!(refused(many), KeyError::Many(4));
    assert!(!format!("{:?}", keyring(0xab)).contains("ab"), "secrets are not printed");
}
