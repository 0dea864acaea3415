//! Seeded runs of one ring under every fault at once, each switched on by its own coin.
#![allow(dead_code, reason = "each test program uses a part of it")]

use super::log::TestLog;
use super::net::{Faults, Net};
use psmr::ring_paxos::{FormerLives, Member, Memory, RingConfig};
use psmr::types::{NodeId, Random, RingId};
use std::time::Duration;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What contradicts agreement.
    pub(crate) violations: Vec<String>,
    /// Whether, with all faults gone, a last proposal was decided.
    pub(crate) is_alive: bool,
    /// Instances that somebody said are decided.
    pub(crate) decided: usize,
}

/// What there is beside the faults of every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// Nothing.
    Steady,
    /// Acceptors come and go.
    Members,
    /// What an acceptor has on disk is put back from a copy of earlier days.
    OldCopies,
    /// The same, of a ring that keeps lives from some epoch on.
    Upgrades,
}

/// One run: 3 or 5 acceptors, about a second of proposals and faults, then peace.
pub(crate) fn run(seed: u64, course: Course) -> Outcome {
    let changes = course == Course::Members;
    let mut random = Random::new(seed);
    let count = if random.chance(1, 2) { 3 } else { 5 };
    let mut config = RingConfig::new(RingId(0), (0..count).map(NodeId).collect());
    config.instances = 64;
    config.apply_bound = 48;
    config.batch_limit = if random.chance(1, 2) { 16 } else { 200 };
    config.learners = if random.chance(1, 2) { vec![1] } else { Vec::new() };
    config.decides_members = changes || course == Course::Upgrades;
    if course == Course::OldCopies {
        let is_old = random.chance(1, 2);
        config.former_lives = if is_old { FormerLives::Asked } else { FormerLives::Vouched };
    }
    let mut net = Net::with_spares(config, if changes { 4 } else { 0 }, random.next());
    net.faults = Faults {
        loss: if random.chance(2, 3) { random.below(200) } else { 0 },
        duplicates: if random.chance(1, 2) { random.below(200) } else { 0 },
        delay_us: if random.chance(1, 2) { 5_000 } else { 50 },
    };
    let has_copies = matches!(course, Course::OldCopies | Course::Upgrades);
    net.has_slow_disks = random.chance(1, 2) || has_copies;
    // With memory alone a life lost is a memory lost; with disks both kinds come back.
    let restores = net.has_slow_disks;
    if restores {
        // The acceptors of the first life shall have slow disks too.
        (0..usize::from(count)).for_each(|index| net.member(index).log_mut().is_slow = true);
    }
    let kinds = Kinds {
        crashes: random.chance(1, 2),
        pauses: random.chance(1, 2),
        partitions: random.chance(1, 2),
        power_cuts: restores && random.chance(1, 2),
        restores,
    };
    let mut number = 0;
    let mut copies = vec![None; usize::from(count)];
    for _ in 0..160 {
        for _ in 0..random.below(6) {
            number += 1;
            let target = net.coordinator().filter(|_| random.chance(9, 10));
            let target = target.unwrap_or_else(|| pick(&mut random, &net));
            if net.members[target].is_some() {
                net.propose(target, number, format!("<{number}>").as_bytes());
            }
        }
        if changes && random.chance(1, 8) {
            change(&mut net, &mut random);
        }
        if course == Course::Upgrades && random.chance(1, 30) {
            upgrade(&mut net);
        }
        if has_copies {
            copy(&mut net, &mut random, &mut copies);
        }
        disturb(&mut net, &mut random, kinds);
        report(&mut net, &mut random);
        let pause = if random.chance(1, 10) { 100_000 } else { 5_000 };
        net.run(Duration::from_micros(random.below(pause)));
    }
    let memory = if restores { Memory::Restored } else { Memory::Amnesiac };
    net.heal(memory);
    let is_alive = settles(&mut net);
    if !is_alive && std::env::var_os("RING_DUMP").is_some() {
        net.dump();
    }
    Outcome { violations: net.violations, is_alive, decided: net.decided.len() }
}

#[derive(Clone, Copy)]
struct Kinds {
    crashes: bool,
    pauses: bool,
    partitions: bool,
    /// All at once; what was persistent comes back.
    power_cuts: bool,
    restores: bool,
}

/// One of the acceptors of the latest epoch.
fn pick(random: &mut Random, net: &Net) -> usize {
    let (_, acceptors) = net.latest();
    let at = usize::try_from(random.below(acceptors.len() as u64)).expect("an index");
    usize::from(acceptors[at].0)
}

/// The acceptors of the latest epoch that have not begun, begin; or one more, one less, or another
/// one in the place of one is put forward, as an operator may: the epoch has begun, and a quorum of
/// the next one stays, lives and has a memory.
fn change(net: &mut Net, random: &mut Random) {
    let (epoch, acceptors) = net.latest();
    let index = |node: &NodeId| usize::from(node.0);
    for node in acceptors.iter().map(index) {
        if net.members[node].is_none() && net.epoch_of[node] < epoch && random.chance(1, 2) {
            let is_new = !net.epochs[&net.epoch_of[node]]
                .contains(&NodeId(u16::try_from(node).expect("few nodes")));
            if is_new {
                net.join(node, epoch);
            }
        }
    }
    let Some(coordinator) = net.coordinator() else { return };
    let leader = net.member(coordinator);
    if leader.config().epoch != epoch || !leader.is_established() {
        return;
    }
    let used: Vec<NodeId> = net.epochs.values().flatten().copied().collect();
    let mut all = (0..net.members.len()).map(|n| NodeId(u16::try_from(n).expect("few nodes")));
    // A node comes once: what it left behind is of another life.
    let new = all.find(|node| !used.contains(node));
    let mut next = acceptors.clone();
    let at = usize::try_from(random.below(next.len() as u64)).expect("an index");
    match (random.below(3), new) {
        (0, Some(new)) if next.len() < 7 => next.push(new),
        (1, Some(new)) => next[at] = new,
        _ if next.len() > 2 => {
            next.remove(at);
        }
        _ => return,
    }
    let votes = |node: &&NodeId| {
        let member = net.members[index(node)].as_ref();
        member.is_some_and(|member| !member.is_inert())
    };
    let staying = next.iter().filter(|node| acceptors.contains(node)).filter(votes).count();
    if staying > next.len() / 2 {
        net.reconfigure(coordinator, epoch + 1, &next);
        net.pending = epoch + 1;
    }
}

/// Lives are kept from the next epoch on, if that is not so yet and the epoch of now has begun.
fn upgrade(net: &mut Net) {
    let Some(coordinator) = net.coordinator().filter(|_| net.latest().0 == 1) else { return };
    if net.member(coordinator).is_established() {
        net.upgrade(coordinator);
        net.pending = 2;
    }
}

/// Copies what an acceptor has on disk, or puts that back. The latter is a failure like any other
/// until the acceptor is admitted again: beside it so many have failed that f have in all, and what
/// it asks at its start reaches the others.
fn copy(net: &mut Net, random: &mut Random, copies: &mut [Option<(TestLog, u32)>]) {
    let index = pick(random, net);
    if random.chance(1, 10) {
        let epoch = net.epoch_of[index];
        let member = net.members[index].as_mut();
        copies[index] = member.map(|member| (member.log_mut().clone(), epoch));
        return;
    }
    let others = (0..net.members.len()).filter(|other| *other != index);
    let sound = others.filter(|other| {
        net.members[*other].as_ref().is_some_and(Member::has_vote) && !net.is_paused(*other)
    });
    let is_sound = sound.count() > net.members.len() / 2;
    if !is_sound || net.members[index].is_none() || random.chance(11, 12) {
        return;
    }
    // In an epoch without lives nobody finds out, nor from one that others are in still.
    let is_kept =
        net.members.iter().flatten().all(|member| member.config().former_lives.are_kept());
    let Some((copy, epoch)) = copies[index].take().filter(|_| is_kept) else { return };
    net.filter = Box::new(|_| true);
    if net.config.former_lives == FormerLives::Asked {
        // A copy is older than what the others have heard since.
        net.run(Duration::from_millis(20));
    }
    net.crash(index);
    net.put_back(index, copy);
    net.epoch_of[index] = epoch;
    net.start(index, Memory::Restored);
    net.run(Duration::from_millis(400));
}

fn disturb(net: &mut Net, random: &mut Random, kinds: Kinds) {
    let index = pick(random, net);
    let (epoch, acceptors) = net.latest();
    if kinds.pauses && random.chance(1, 15) {
        net.pause(index, Duration::from_millis(random.below(600)));
    }
    if kinds.partitions && random.chance(1, 15) {
        let side = random.next();
        let is_whole = random.chance(1, 2);
        net.filter = Box::new(move |packet| {
            is_whole || side >> packet.from.0 & 1 == side >> packet.to.0 & 1
        });
    }
    if kinds.power_cuts && random.chance(1, 15) {
        net.run(Duration::from_micros(random.below(400)));
        for index in 0..net.members.len() {
            if net.members[index].is_some() {
                net.crash(index);
                net.start(index, Memory::Restored);
            }
        }
        return;
    }
    if !kinds.crashes {
        return;
    }
    // The dead and those without memory are at most f, or the ring rightly serves nobody.
    let is_lame = |index: usize| net.members[index].as_ref().is_none_or(|member| member.is_inert());
    let lame = acceptors.iter().filter(|node| is_lame(usize::from(node.0))).count();
    // Also of the epoch that some may still be in.
    let is_settled = net.pending <= epoch
        && net.members.iter().flatten().all(|member| member.config().epoch == epoch);
    let is_lame = is_lame(index);
    let most = acceptors.len() - acceptors.len() / 2 - 1;
    if net.members[index].is_none() && net.lives(index) > 0 && random.chance(1, 8) {
        let memory = if kinds.restores { Memory::Restored } else { Memory::Amnesiac };
        net.start(index, memory);
    } else if random.chance(1, 12) && is_settled && (is_lame || lame < most) {
        net.crash(index);
    }
}

/// A learner that has applied most of what is decided says so, to any acceptor.
fn report(net: &mut Net, random: &mut Random) {
    if net.config.learners.is_empty() || random.chance(1, 2) {
        return;
    }
    let first = net.decided.keys().next().map_or(0, |instance| instance.0);
    if first != 1 {
        return;
    }
    let in_order = net.decided.keys().zip(1..).take_while(|(key, n)| key.0 == *n).count() as u64;
    let to = pick(random, net);
    if net.members[to].is_some() {
        net.report(to, 1, in_order.saturating_sub(random.below(8)));
    }
}

/// In peace a proposal that is repeated is decided within some seconds.
fn settles(net: &mut Net) -> bool {
    for attempt in 0..100 {
        net.run(Duration::from_millis(100));
        // What was put forward before may be decided now.
        net.heal_members();
        if !net.config.learners.is_empty() {
            let applied = net.decided.keys().zip(1..).take_while(|(key, n)| key.0 == *n).count();
            (0..net.members.len()).for_each(|to| net.report(to, 1, applied as u64));
        }
        if let Some(coordinator) = net.coordinator() {
            net.propose(coordinator, 1 << 40 | attempt, b"the last");
        }
        if net.has_decided(b"the last") {
            return true;
        }
    }
    false
}
