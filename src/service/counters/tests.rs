//! Attempts, their undo, and equality with execution in one thread.

use super::*;
use proptest::prelude::*;

const SETTINGS: Settings =
    Settings { groups: 4, counters: 64, bound: 100, initial: 50, reserve: 200 };

fn whole() -> Lease<'static> {
    Lease::mint(Access::Whole)
}

fn execute(bank: &Bank, command: &Command) -> Outcome {
    let mut reply = Vec::new();
    bank.execute(&mut whole(), &Context::default(), &command.to_bytes(), &mut reply);
    Outcome::decode(&reply).unwrap()
}

fn attempt(bank: &Bank, group: GroupId, command: &Command) -> Result<Outcome, Verdict> {
    let mut reply = Vec::new();
    let (mut lease, context) = (Lease::mint(Access::Keys(group)), Context::default());
    let before = bank.digest(&mut whole());
    let verdict = bank.try_execute(&mut lease, group, &context, &command.to_bytes(), &mut reply);
    if verdict == Verdict::Pass {
        return Ok(Outcome::decode(&reply).unwrap());
    }
    assert!(reply.is_empty(), "a failed attempt says nothing");
    assert_eq!(bank.digest(&mut whole()), before, "a failed attempt leaves every word as it was");
    Err(verdict)
}

fn any_command() -> impl Strategy<Value = Command> {
    let counter = || 0u32..66;
    prop_oneof![
        counter().prop_map(|counter| Command::Read { counter }),
        (counter(), -60i64..60).prop_map(|(counter, amount)| Command::Add { counter, amount }),
        (counter(), any::<i64>()).prop_map(|(counter, amount)| Command::Add { counter, amount }),
        (counter(), counter(), 0u64..80).prop_map(|(from, to, amount)| Command::Transfer {
            from,
            to,
            amount
        }),
        (counter(), prop::collection::vec(-40i32..40, 1..=8))
            .prop_map(|(start, steps)| Command::Program(Program::new(start, &steps).unwrap())),
    ]
}

proptest! {
    #[test]
    fn attempts_and_retries_end_as_execution_in_one_thread(
        groups in 1usize..=5, commands in prop::collection::vec(any_command(), 0..200),
    ) {
        let parallel = Bank::new(Settings { groups, ..SETTINGS }).unwrap();
        let sequential = Bank::new(SETTINGS).unwrap();
        for command in &commands {
            prop_assert_eq!(Command::decode(&command.to_bytes()), Some(*command));
            let optimistic = parallel.optimistic(&command.to_bytes()).single();
            let first = optimistic.map(|group| attempt(&parallel, group, command));
            let outcome = match first {
                Some(Ok(outcome)) => outcome,
                _ => execute(&parallel, command),
            };
            prop_assert_eq!(outcome, execute(&sequential, command), "{:?}", command);
        }
        prop_assert_eq!(parallel.digest(&mut whole()), sequential.digest(&mut whole()));
        let (mut snapshot, restored) = (Vec::new(), Bank::new(SETTINGS).unwrap());
        parallel.snapshot(&mut whole(), &mut snapshot);
        prop_assert_eq!(restored.restore(&mut whole(), &snapshot), Ok(()));
        prop_assert_eq!(parallel.digest(&mut whole()), restored.digest(&mut whole()));
    }

    #[test]
    fn a_cut_is_given_out_as_it_was_whatever_is_executed_between_the_sweeps(
        groups in 1usize..=5,
        before in prop::collection::vec(any_command(), 0..50),
        after in prop::collection::vec((any_command(), 0usize..5, 0usize..2), 0..100),
    ) {
        let bank = Bank::new(Settings { groups, ..SETTINGS }).unwrap();
        let run = |command: &Command| {
            let group = bank.optimistic(&command.to_bytes()).single();
            if group.is_none_or(|group| attempt(&bank, group, command).is_err()) {
                execute(&bank, command);
            }
        };
        before.iter().for_each(run);
        for _ in 0..2 {
            let digest = bank.digest(&mut whole());
            bank.cut(&mut whole());
            let mut snapshot = Vec::new();
            let mut sweep = |group: usize, budget| {
                let group = GroupId::new(group % groups);
                bank.sweep(&mut Lease::mint(Access::Keys(group)), group, budget, &mut snapshot)
            };
            for (command, group, budget) in &after {
                run(command);
                sweep(*group, *budget);
            }
            (0..groups).for_each(|group| while sweep(group, 1) == Swept::More {});
            let other = Bank::new(SETTINGS).unwrap();
            prop_assert_eq!(other.restore(&mut whole(), &snapshot), Ok(()));
            prop_assert_eq!(other.digest(&mut whole()), digest);
            prop_assert!(other.restore(&mut whole(), &snapshot[8..]).is_err());
        }
    }

    #[test]
    fn no_bytes_make_the_bank_panic(bytes in prop::collection::vec(any::<u8>(), 0..48)) {
        let bank = Bank::new(SETTINGS).unwrap();
        bank.execute(&mut whole(), &Context::default(), &bytes, &mut Vec::new());
        prop_assert!(bank.conservative(&bytes).includes(bank.optimistic(&bytes)));
    }
}

#[test]
fn a_program_that_leaves_its_partition_is_undone() {
    let bank = Bank::new(SETTINGS).unwrap();
    // 15 is the last counter of group 0; its 50 leads to 15 + 1 + 50 mod 8.
    let program = Command::Program(Program::new(15, &[0, 1]).unwrap());
    assert_eq!(attempt(&bank, GroupId::new(0), &program), Err(Verdict::FailBounds));
    assert_eq!(execute(&bank, &program), Outcome::Value(51));
    assert_eq!(execute(&bank, &Command::Read { counter: 18 }), Outcome::Value(51));
}

#[test]
fn a_bound_is_undone_in_one_group_and_goes_to_the_reserve_with_the_whole() {
    let bank = Bank::new(SETTINGS).unwrap();
    let program = Command::Program(Program::new(0, &[20, -30, 90]).unwrap());
    assert_eq!(attempt(&bank, GroupId::new(0), &program), Err(Verdict::FailStructure));
    assert_eq!(execute(&bank, &program), Outcome::Value(100));
    assert_eq!(bank.reserve.load(Relaxed), 240);
    let too_much = Command::Add { counter: 0, amount: 200 };
    assert_eq!(attempt(&bank, GroupId::new(0), &too_much), Err(Verdict::FailStructure));
    let before = bank.digest(&mut whole());
    assert_eq!(execute(&bank, &too_much), Outcome::Refused);
    assert_eq!(bank.digest(&mut whole()), before, "a refusal changes nothing");
}

#[test]
fn a_transfer_between_partitions_is_never_optimistic() {
    let bank = Bank::new(SETTINGS).unwrap();
    let near = Command::Transfer { from: 1, to: 2, amount: 5 }.to_bytes();
    let far = Command::Transfer { from: 1, to: 60, amount: 5 }.to_bytes();
    assert_eq!(bank.optimistic(&near).to_bits(), 1);
    assert_eq!(bank.optimistic(&far), GroupSet::all(4));
    assert_eq!(bank.conservative(&near), GroupSet::all(4));
}

#[test]
fn settings_that_make_no_bank_are_named() {
    let refused = |settings| Bank::new(settings).map(|_| ()).unwrap_err();
    assert_eq!(refused(Settings { groups: 0, ..SETTINGS }), SettingsError::Groups(0));
    assert_eq!(refused(Settings { groups: 65, ..SETTINGS }), SettingsError::Groups(65));
    assert_eq!(refused(Settings { counters: 0, ..SETTINGS }), SettingsError::Counters);
    assert_eq!(refused(Settings { initial: 101, ..SETTINGS }), SettingsError::Initial);
    assert_eq!(refused(Settings { bound: u64::MAX, ..SETTINGS }), SettingsError::TooLarge);
}
