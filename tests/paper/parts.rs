//! Commands and replies above a datagram (PROTOCOL 1).

use super::*;

impl Stage {
    /// Orders a command in parts.
    fn send_parts(&mut self, header: CommandHeader, whole: &[u8]) {
        let header = CommandHeader { mode: header.mode.with(Mode::CHUNK), ..header };
        let parts = whole.len().div_ceil(7000) as u32;
        for (part, bytes) in (0..).zip(whole.chunks(7000)) {
            let chunk =
                Chunk { part, parts, total: whole.len() as u32, offset: part * 7000, whole: 0 };
            let payload = [bytemuck::bytes_of(&chunk), bytes].concat();
            self.cluster.propose(&Command { header, payload: &payload });
        }
    }
}

#[test]
fn a_command_of_a_mebibyte_travels_in_parts_and_executes_once_in_either_mode() {
    for (operation, k) in [(ADD, 1), (ADD, 3), (PUSH, 3), (MOVE, 3), (SUM, 3)] {
        let mut stage = Stage::new(2, k, |_| {});
        let mut whole = cell_command(operation, 0, 1);
        whole.resize(1 << 20, 7);
        stage.cluster.duplicates = 10;
        let header = stage.header(1, &whole);
        stage.send_parts(header, &whole);
        let answers = stage.answers();
        assert!(!answers.is_empty(), "operation {operation}, {k} groups");
        assert!(answers.iter().all(|answer| answer.status == Status::Done), "{answers:?}");
        let counters = stage.cluster.counters();
        if operation == SUM {
            assert!(counters.joined >= 1 && counters.reads >= 1, "by the named replica");
        } else {
            assert!(counters.joined >= 2 && counters.executed == 2, "{counters:?}");
        }
        assert_eq!(stage.cluster.digest(0), stage.cluster.digest(1));
    }
}

#[test]
fn a_failed_command_that_came_in_parts_is_its_clients_to_send_again_and_executes_once() {
    let mut stage = Stage::new(2, 2, |_| {});
    stage.send(1, &cell_command(ADD, 0, CAPACITY as u8));
    let _ = stage.answers();
    let mut whole = cell_command(PUSH, 0, 9);
    whole.resize(1 << 20, 7);
    let header = stage.header(2, &whole);
    stage.send_parts(header, &whole);
    let answers = stage.answers();
    assert_eq!(answers.len(), 1, "the named replica says so: {answers:?}");
    assert_eq!(
        (answers[0].status, answers[0].flags),
        (Status::CheckFailed, Reply::FAILED_STRUCTURE)
    );
    assert_eq!(stage.cluster.counters().retries, 0);
    let mode = header.mode.without(Mode::OPTIMISTIC).with(Mode::CONSERVATIVE_RETRY);
    for attempt in 0..2 {
        let designation = CommandHeader::designate(0, attempt);
        let header = CommandHeader { mode, groups: GroupSet::all(2), designation, ..header };
        stage.send_parts(header, &whole);
        let answers = stage.answers();
        assert_eq!(
            (answers[0].status, answers[0].flags & Reply::RETRIED),
            (Status::Done, Reply::RETRIED)
        );
        assert_eq!((stage.value(0, 0), stage.value(1, 0)), (0, 0));
    }
    assert_eq!(stage.cluster.digest(0), stage.cluster.digest(1));
}

#[test]
fn a_reply_above_a_datagram_travels_in_parts() {
    let mut stage = Stage::new(1, 2, |_| {});
    stage.send(1, &cell_command(ADD, 3, 30));
    stage.send(2, &cell_command(DUMP, 0, 0));
    let mut whole = vec![0; CELLS * 600 * 8];
    for answer in stage.answers().iter().filter(|answer| answer.status == Status::Part) {
        let (head, bytes) = answer.payload.split_at(size_of::<Chunk>());
        let chunk: Chunk = bytemuck::pod_read_unaligned(head);
        assert_eq!(chunk.total as usize, whole.len());
        whole[chunk.offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    let expected = |cell| if cell == 3 { 30 } else { 0 };
    let words = whole.chunks_exact(8).map(number).enumerate();
    assert!(words.into_iter().all(|(index, word)| word == expected(index / 600)));
}

#[test]
fn parts_of_long_reads_take_the_same_places_at_every_replica() {
    let mut stage = Stage::new(2, 3, |_| {});
    stage.send(1, &cell_command(ADD, 0, 30));
    let _ = stage.answers();
    let count = stage.cluster.workers[0].config().assemblies as u64;
    let mut read = cell_command(SUM, 0, 0);
    read.resize(14_000, 7);
    for sequence in 2..2 + count {
        let header = stage.header(sequence, &read);
        let header = CommandHeader { mode: header.mode.with(Mode::CHUNK), ..header };
        // The first of two parts: the other one is late.
        let chunk = Chunk { part: 0, parts: 2, total: 14_000, offset: 0, whole: 0 };
        let payload = [bytemuck::bytes_of(&chunk), &read[..7000]].concat();
        stage.cluster.propose(&Command { header, payload: &payload });
    }
    let mut write = cell_command(MOVE, 0, 1);
    write.resize(14_000, 7);
    let header = stage.header(2 + count, &write);
    stage.send_parts(header, &write);
    assert!(stage.answers().is_empty(), "no place for it, at no replica");
    assert_eq!(stage.cluster.digest(0), stage.cluster.digest(1));
}
