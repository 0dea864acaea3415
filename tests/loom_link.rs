//! Every interleaving (within loom's bounds) of a link's sender and receiver.
//!
//! `cargo test --features loom --test loom_link`
//!
//! Loom sees the fills, seals and returns of chunks, and is told who touches which bytes: a wrong
//! order shows as an access that nothing orders with another one, or as a datagram with another's
//! bytes, lost, or twice, since a chunk is overwritten once it is back.

use psmr::sync::{ByteReceiver, link};

/// Takes what is there; every byte must be the datagram's number.
fn take(receiver: &mut ByteReceiver, numbers: &mut Vec<u8>) {
    while let Some(place) = receiver.receive() {
        let bytes = receiver.bytes(place);
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "one datagram's bytes");
        numbers.push(bytes[0]);
        receiver.release(place.chunk);
    }
}

#[test]
fn what_found_room_arrives_once_and_in_order_while_chunks_go_round() {
    loom::model(|| {
        // Two chunks of two datagrams each: the third seals a chunk, the fifth needs it back.
        let (mut sender, mut receiver) = link(2, 64).expect("memory");
        let thread = loom::thread::spawn(move || {
            let mut sent = Vec::new();
            for number in 0..5 {
                if let Some(room) = sender.reserve(24) {
                    room.fill(number);
                    sent.push(number);
                }
                sender.publish();
            }
            sent
        });
        let mut received = Vec::new();
        take(&mut receiver, &mut received);
        loom::thread::yield_now();
        take(&mut receiver, &mut received);
        let sent = thread.join().expect("the sender does not panic");
        take(&mut receiver, &mut received);
        assert_eq!(received, sent);
    });
}

#[test]
fn a_chunk_with_a_datagram_out_is_not_overwritten() {
    loom::model(|| {
        let (mut sender, mut receiver) = link(2, 64).expect("memory");
        sender.reserve(24).expect("an empty link").fill(1);
        sender.publish();
        let held = receiver.receive().expect("published");
        let thread = loom::thread::spawn(move || {
            for number in 2..7 {
                if let Some(room) = sender.reserve(24) {
                    room.fill(number);
                }
                sender.publish();
            }
        });
        let mut received = Vec::new();
        take(&mut receiver, &mut received);
        assert!(receiver.bytes(held).iter().all(|byte| *byte == 1));
        thread.join().expect("the sender does not panic");
        take(&mut receiver, &mut received);
        assert!(receiver.bytes(held).iter().all(|byte| *byte == 1));
        receiver.release(held.chunk);
    });
}
