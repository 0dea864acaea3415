//! At most once: what a session table answers, entry by entry.

use super::directory::Opened;
use super::*;
use crate::replica::SessionLimits;
use crate::types::{Address, Sequence, SessionId, Slot};

const LIMITS: SessionLimits = SessionLimits { sessions: 2, window: 4 };

fn open_table() -> (SessionTable, SessionId) {
    let table = SessionTable::new(LIMITS, 11);
    let Opened::New(id) = Directory::new(LIMITS).open((1, 1), Slot(9)) else { panic!("room") };
    table.open(id, Address::memory(7));
    (table, id)
}

#[test]
fn a_command_is_new_then_failed_then_done_with_its_reply() {
    let (table, id) = open_table();
    let session = table.find(id).unwrap();
    let admit = || session.admit(Sequence(1), Sequence(1));
    let Admission::New(entry) = admit() else { panic!("new") };
    assert!(table.is_settled(id, Sequence(1)));
    entry.fail(8);
    assert!(!table.is_settled(id, Sequence(1)));
    let Admission::Failed(entry, 8) = admit() else { panic!("failed") };
    entry.complete(10, b"hello world");
    let Admission::Done(entry) = admit() else { panic!("done") };
    let mut reply = b"-".to_vec();
    assert_eq!((entry.recall(&mut reply), reply.as_slice()), (10, b"-hello world".as_slice()));
    assert!(table.is_settled(id, Sequence(1)));
}

#[test]
fn a_sequence_below_the_lowest_unanswered_is_forgotten_and_one_beyond_the_window_refused() {
    let (table, id) = open_table();
    let session = table.find(id).unwrap();
    assert!(matches!(session.admit(Sequence(4), Sequence(1)), Admission::New(_)));
    assert!(matches!(session.admit(Sequence(5), Sequence(1)), Admission::Beyond));
    assert!(matches!(session.admit(Sequence(5), Sequence(3)), Admission::New(_)));
    assert!(matches!(session.admit(Sequence(2), Sequence(1)), Admission::Forgotten));
    assert!(matches!(session.admit(Sequence(u64::MAX), Sequence(u64::MAX)), Admission::Beyond));
    assert_eq!(session.highest(), 5);
}

#[test]
fn an_entry_is_used_again_a_window_later() {
    let (table, id) = open_table();
    let session = table.find(id).unwrap();
    for sequence in 1..20 {
        let Admission::New(entry) = session.admit(Sequence(sequence), Sequence(sequence)) else {
            panic!("sequence {sequence} is new");
        };
        entry.complete(0, &sequence.to_le_bytes());
    }
}

#[test]
fn a_closed_session_keeps_its_address_until_its_place_is_taken() {
    let mut directory = Directory::new(LIMITS);
    let table = SessionTable::new(LIMITS, 8);
    let Opened::New(first) = directory.open((1, 1), Slot(3)) else { panic!("room") };
    assert_eq!(directory.open((1, 1), Slot(4)), Opened::Again(first));
    table.open(first, Address::memory(1));
    assert!(matches!(directory.open((2, 1), Slot(5)), Opened::New(_)));
    assert_eq!(directory.open((3, 1), Slot(6)), Opened::Full);
    assert!(directory.close(first) && !directory.close(first));
    table.close(first);
    assert!(table.find(first).is_none());
    assert_eq!(table.address(first), Some(Address::memory(1)));
    let Opened::New(second) = directory.open((3, 1), Slot(7)) else { panic!("room") };
    table.open(second, Address::memory(2));
    assert_ne!(first, second);
    assert_eq!(table.find(first).map(|_| ()), None);
    assert!(matches!(
        table.find(second).unwrap().admit(Sequence(1), Sequence(1)),
        Admission::New(_)
    ));
    assert_eq!(table.find(SessionId(0)).map(|_| ()), None);
}
