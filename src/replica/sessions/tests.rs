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
fn each_life_of_a_client_has_numbers_above_all_of_those_before() {
    let (table, id) = open_table();
    let session = table.find(id).unwrap();
    assert!(matches!(session.admit(Sequence(3), Sequence(1)), Admission::New(_)));
    session.begin_life();
    let second = session.highest();
    assert!(second >= 1 << 20, "what the first life gave up may have any number up to there");
    // Nothing of the second life comes before the third begins.
    session.begin_life();
    let third = session.highest();
    assert!(third >= second + (1 << 20));
    let next = Sequence(third + 5);
    assert!(matches!(session.admit(next, next), Admission::New(_)));
    assert!(matches!(session.admit(Sequence(second + 5), Sequence(1)), Admission::Forgotten));
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
    assert!(table.closed_before(first, Sequence(1)), "nothing came");
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

#[test]
fn what_a_client_does_shows_and_what_came_before_the_closing_may_have_been_executed() {
    let (table, id) = open_table();
    let place = usize::try_from((id.0 & 0xffff) - 1).unwrap();
    let mut last = table.activity(place);
    assert!(last.is_some_and(|(session, _)| session == id));
    let mut has_changed = || {
        let now = table.activity(place);
        std::mem::replace(&mut last, now) != now
    };
    table.refresh(id);
    assert!(has_changed());
    assert!(matches!(table.find(id).unwrap().admit(Sequence(3), Sequence(2)), Admission::New(_)));
    assert!(has_changed() && !has_changed());
    assert!(!table.closed_before(id, Sequence(4)), "it is open");
    table.close(id);
    assert_eq!(table.activity(place), None);
    assert!(table.closed_before(id, Sequence(4)) && !table.closed_before(id, Sequence(3)));
}

#[test]
fn a_place_that_was_given_back_is_taken_again_after_the_others() {
    let limits = SessionLimits { sessions: 3, window: 4 };
    let mut directory = Directory::new(limits);
    let place = |directory: &mut Directory, slot| match directory.open((slot, 1), Slot(slot)) {
        Opened::New(id) => (id, id.0 & 0xffff),
        other => panic!("there is room: {other:?}"),
    };
    let (first, _) = place(&mut directory, 1);
    assert!(directory.close(first));
    assert_eq!([2, 3, 4].map(|slot| place(&mut directory, slot).1), [2, 3, 1]);
}
