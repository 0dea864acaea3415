//! Linearizability of the operations on one object: the search of Wing and Gong with Lowe's memo.
//!
//! The history of an object is linearizable if its operations can be put in one order that respects
//! real time and that the object, executed in that order, answers as the clients were answered. The
//! search takes the earliest operations one after another; a memo of (set of operations taken,
//! state) prunes what was tried before. The set is named by a 128-bit Zobrist hash that changes by
//! one XOR a step, so that a step costs O(1) however long the history is.

use crate::types::Random;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A sequential object.
pub trait Model {
    /// What it remembers.
    type State: Clone + Eq + Hash + Debug;
    /// What is done to it, and what was answered, if anything was.
    type Action: Debug + PartialEq;

    /// The state after `action`; `None` if in `state` the answer would have been another.
    fn step(state: &Self::State, action: &Self::Action) -> Option<Self::State>;
}

/// One operation of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<A> {
    /// When it was issued.
    pub invoked: u64,
    /// When its answer was there. `None`: it may still take effect, at any later time or never.
    pub returned: Option<u64>,
    /// What was done and answered.
    pub action: A,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linearizability {
    /// There is such an order.
    Holds,
    /// There is none; the most operations that could be put in order were this many, and the
    /// operation of this index could not follow.
    Violated {
        /// How many.
        longest: usize,
        /// The index in the calls as given.
        stuck: usize,
    },
    /// The search was given up after its number of steps.
    Undecided,
}

/// Looks for an order of `calls` on an object that starts in `initial`, in at most `steps` steps.
pub fn check<M: Model>(
    initial: M::State,
    calls: &[Call<M::Action>],
    steps: u64,
) -> Linearizability {
    let mut list = List::new(calls);
    let mut random = Random::new(calls.len() as u64);
    let mut draw = || u128::from(random.next()) << 64 | u128::from(random.next());
    let names: Vec<u128> = calls.iter().map(|_| draw()).collect();
    let mut memo: Memo<M::State> = Memo::default();
    let mut taken: Vec<(usize, M::State)> = Vec::new();
    let (mut state, mut set) = (initial, 0_u128);
    let (mut longest, mut stuck) = (0, 0);
    let (twins, mut is_taken) = (twins(calls), vec![false; calls.len()]);
    let mut at = list.first();
    for _ in 0..steps {
        match at.map(|entry| list.event(entry)) {
            // Every operation that returned is in order; the rest never took effect.
            None => return Linearizability::Holds,
            Some(Event::Call(call)) => {
                let is_pending = calls[call].returned.is_none();
                // What never returned need not be in the order: not if it does nothing there, nor
                // before one that asked for the same earlier, which could stand in its place.
                let is_idle = |after: &M::State| is_pending && *after == state;
                let is_second = twins[call].is_some_and(|twin| !is_taken[twin]);
                let after = M::step(&state, &calls[call].action);
                let after = after.filter(|after| !is_second && !is_idle(after));
                let after = after.filter(|after| memo.insert((set ^ names[call], after.clone())));
                let Some(after) = after else {
                    at = at.and_then(|entry| list.next(entry));
                    continue;
                };
                set ^= names[call];
                is_taken[call] = true;
                taken.push((call, std::mem::replace(&mut state, after)));
                list.lift(call);
                at = list.first();
            }
            Some(Event::Return(call)) => {
                if taken.len() >= longest {
                    (longest, stuck) = (taken.len(), call);
                }
                let Some((call, before)) = taken.pop() else {
                    return Linearizability::Violated { longest, stuck };
                };
                (set, state) = (set ^ names[call], before);
                is_taken[call] = false;
                list.put_back(call);
                at = list.next(List::call(call));
            }
        }
    }
    Linearizability::Undecided
}

/// By call: if it never returned, the last one before it that asked for the same and never returned.
fn twins<A: PartialEq>(calls: &[Call<A>]) -> Vec<Option<usize>> {
    let mut pending: Vec<_> = (0..calls.len()).filter(|at| calls[*at].returned.is_none()).collect();
    pending.sort_by_key(|at| calls[*at].invoked);
    let mut twins = vec![None; calls.len()];
    for (place, at) in pending.iter().enumerate() {
        let before = pending[..place].iter().rev();
        let is_same = |other: &&usize| calls[**other].action == calls[*at].action;
        twins[*at] = before.copied().find(|other| is_same(&other));
    }
    twins
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Call(usize),
    Return(usize),
}

/// Calls and returns in order of time as a doubly linked list over fixed cells, from which an
/// operation is lifted and put back in O(1). The call of operation i is cell 2i, its return 2i + 1.
#[derive(Debug)]
struct List {
    next: Vec<u32>,
    previous: Vec<u32>,
    has_return: Vec<bool>,
}

impl List {
    const END: u32 = u32::MAX;

    fn new<A>(calls: &[Call<A>]) -> Self {
        assert!(calls.len() < 1 << 30, "cells are numbered with 32 bits");
        let head = calls.len() * 2;
        // At an equal time a call comes before a return: the two operations count as concurrent.
        let mut order: Vec<(u64, bool, usize)> = Vec::with_capacity(head);
        for (index, call) in calls.iter().enumerate() {
            order.push((call.invoked, false, index * 2));
            let returned = call.returned.map(|at| (at.max(call.invoked), true, index * 2 + 1));
            order.extend(returned);
        }
        order.sort_unstable();
        let has_return = calls.iter().map(|call| call.returned.is_some()).collect();
        let (next, previous) = (vec![Self::END; head + 1], vec![Self::END; head + 1]);
        let mut list = Self { next, previous, has_return };
        let mut last = head;
        for (_, _, cell) in order {
            list.link(last, cell);
            last = cell;
        }
        list
    }

    const fn call(call: usize) -> usize {
        call * 2
    }

    fn first(&self) -> Option<usize> {
        self.next(self.next.len() - 1)
    }

    fn next(&self, cell: usize) -> Option<usize> {
        let next = self.next[cell];
        (next != Self::END).then_some(next as usize)
    }

    const fn event(&self, cell: usize) -> Event {
        if cell.is_multiple_of(2) { Event::Call(cell / 2) } else { Event::Return(cell / 2) }
    }

    fn lift(&mut self, call: usize) {
        self.unlink(call * 2);
        if self.has_return[call] {
            self.unlink(call * 2 + 1);
        }
    }

    /// Undoes [`List::lift`]; operations must be put back in the reverse order.
    fn put_back(&mut self, call: usize) {
        if self.has_return[call] {
            self.relink(call * 2 + 1);
        }
        self.relink(call * 2);
    }

    fn link(&mut self, cell: usize, next: usize) {
        self.next[cell] = u32::try_from(next).expect("a cell's number");
        self.previous[next] = u32::try_from(cell).expect("a cell's number");
    }

    fn unlink(&mut self, cell: usize) {
        let (previous, next) = (self.previous[cell], self.next[cell]);
        self.next[previous as usize] = next;
        if next != Self::END {
            self.previous[next as usize] = previous;
        }
    }

    fn relink(&mut self, cell: usize) {
        let (previous, next) = (self.previous[cell], self.next[cell]);
        let number = u32::try_from(cell).expect("a cell's number");
        self.next[previous as usize] = number;
        if next != Self::END {
            self.previous[next as usize] = number;
        }
    }
}

#[expect(clippy::disallowed_types, reason = "only asked for members, never iterated")]
type Memo<S> = std::collections::HashSet<(u128, S), BuildHasherDefault<Fold>>;

/// Folds words: the set's name is random already.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: write, or read what is there.
    #[derive(Debug)]
    struct Register;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Action {
        Write(u64),
        Read(u64),
    }
    use Action::{Read, Write};

    impl Model for Register {
        type State = u64;
        type Action = Action;

        fn step(state: &u64, action: &Action) -> Option<u64> {
            match *action {
                Write(value) => Some(value),
                Read(value) => (value == *state).then_some(value),
            }
        }
    }

    fn call(invoked: u64, returned: u64, action: Action) -> Call<Action> {
        Call { invoked, returned: (returned > 0).then_some(returned), action }
    }

    fn holds(calls: &[Call<Action>]) -> bool {
        check::<Register>(0, calls, 1_000_000) == Linearizability::Holds
    }

    #[test]
    fn concurrent_reads_may_see_old_or_new_but_not_back_and_forth() {
        let write = call(1, 10, Write(1));
        assert!(holds(&[write, call(2, 3, Read(0)), call(4, 5, Read(1)), call(6, 7, Read(1))]));
        assert!(!holds(&[write, call(2, 3, Read(1)), call(4, 5, Read(0))]));
        assert!(!holds(&[write, call(11, 12, Read(0))]), "a stale read after the write returned");
    }

    #[test]
    fn an_operation_without_answer_may_take_effect_late_or_never() {
        let pending = call(1, 0, Write(1));
        assert!(holds(&[pending, call(2, 3, Read(0))]));
        assert!(holds(&[pending, call(2, 3, Read(0)), call(4, 5, Read(1))]));
        assert!(!holds(&[pending, call(2, 3, Read(1)), call(4, 5, Read(0))]));
        assert!(!holds(&[call(2, 0, Write(1)), call(0, 1, Read(1))]), "not before it was issued");
    }

    #[test]
    fn a_violation_names_the_operation_that_fits_nowhere() {
        let calls = [call(1, 2, Write(1)), call(3, 4, Read(1)), call(5, 6, Read(7))];
        let found = check::<Register>(0, &calls, 1_000);
        assert_eq!(found, Linearizability::Violated { longest: 2, stuck: 2 });
    }

    #[test]
    fn a_search_that_takes_too_long_is_given_up() {
        let calls = [call(1, 2, Write(1)), call(3, 4, Read(1))];
        assert_eq!(check::<Register>(0, &calls, 2), Linearizability::Undecided);
    }

    /// What clients would see of a register that takes each write and read at a random moment
    /// between its call and its return.
    fn history(clients: u64, operations: usize, seed: u64) -> Vec<Call<Action>> {
        let mut random = Random::new(seed);
        let mut pending: Vec<(u64, u64, Action)> = Vec::new();
        let (mut calls, mut register, mut now) = (Vec::new(), 0, 0);
        while calls.len() < operations {
            now += 1;
            let at = usize::try_from(random.below(clients)).unwrap();
            if at >= pending.len() {
                let write = random.chance(1, 2).then(|| Write(random.below(1 << 40)));
                pending.push((now, now, write.unwrap_or(Read(0))));
            } else if let Read(_) = pending[at].2
                && pending[at].1 == pending[at].0
            {
                pending[at].2 = Read(register);
                pending[at].1 = now;
            } else if let Write(value) = pending[at].2
                && pending[at].1 == pending[at].0
            {
                register = value;
                pending[at].1 = now;
            } else {
                let (invoked, _, action) = pending.swap_remove(at);
                calls.push(call(invoked, now, action));
            }
        }
        calls.extend(pending.into_iter().map(|(at, _, action)| call(at, 0, action)));
        calls.retain(|call| call.returned.is_some() || matches!(call.action, Write(_)));
        calls
    }

    #[test]
    fn long_histories_of_a_real_register_hold_and_one_wrong_read_breaks_them() {
        for seed in 0..40 {
            let mut calls = history(8, 2_000, seed);
            assert!(holds(&calls), "seed {seed}");
            let read = calls.iter().position(|call| matches!(call.action, Read(_))).unwrap();
            calls[read + 7].action = Read(u64::MAX);
            assert!(!holds(&calls), "seed {seed}");
        }
    }

    #[test]
    fn a_hundred_thousand_operations_of_eight_clients_are_one_search() {
        let calls = history(8, 100_000, 9);
        assert_eq!(check::<Register>(0, &calls, 10_000_000), Linearizability::Holds);
    }
}
