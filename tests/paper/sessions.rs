//! Sessions that another client goes on with, and reads that nobody checks (PROTOCOL 4).

use super::*;

#[test]
fn a_resumed_session_begins_beyond_reads_and_writes_in_flight() {
    let mut stage = Stage::new(1, 2, |_| {});
    for sequence in 1..=8 {
        stage.send(sequence, &cell_command(GET, 0, 0));
    }
    assert_eq!(stage.answers().len(), 8);
    let session = stage.session;
    stage.cluster.control(ControlKind::Resume, |control| {
        control.session = session;
        control.reply_to = Address::memory(9);
    });
    let reports: Vec<SessionReport> =
        stage.answers().iter().map(|a| bytemuck::pod_read_unaligned(&a.payload)).collect();
    let highest = reports.iter().map(|report| report.highest).max().unwrap();
    let next = highest + LIMITS.window as u64 + 1; // as the proxy begins
    // The earlier client's ninth command was on its way.
    stage.send(9, &cell_command(ADD, 0, 1));
    stage.send(next, &cell_command(ADD, 0, 5));
    let answers = stage.answers();
    assert_eq!(answers[0].status, Status::Done);
    assert_eq!(stage.value(0, 0), 6, "acknowledged, so applied");
}

#[test]
fn a_read_that_asks_for_a_check_is_rejected_and_not_executed_without_one() {
    let mut stage = Stage::new(1, 2, |_| {});
    let read = cell_command(GET, 0, 0);
    let header = stage.header(1, &read);
    let header = CommandHeader { mode: Mode::READ.with(Mode::OPTIMISTIC), ..header };
    stage.cluster.propose(&Command { header, payload: &read });
    let answers = stage.answers();
    assert_eq!(answers.iter().map(|a| a.status).collect::<Vec<_>>(), [Status::Rejected]);
    assert_eq!(stage.cluster.counters().reads, 0);
}
