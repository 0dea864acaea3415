//! A replicated bank inside one's own program: a cluster with two replicas, and a client that moves
//! money about and counts it afterwards.
//!
//! `cargo run --release --example embedded_bank`           over IP multicast on loopback
//! `cargo run --release --example embedded_bank memory`    where io_uring is not allowed
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use anyhow::{Context, bail, ensure};
use psmr::node::{self, ClientPath, ClusterConfig, Durability, Load, Model, Submission, Transport};
use psmr::proxy::{Completion, Outcome};
use psmr::replica::{Barrier, Executor, ReplyPolicy, Retry};
use psmr::service::counters::{self, Bank, Command, Settings};
use psmr::sync::WaitPolicy;
use psmr::transport::udp;
use psmr::types::{Digest, Random, Time};
use psmr::wire::Room;
use std::sync::Arc;
use std::time::Duration;

/// Accounts; account c belongs to group floor(c * K / ACCOUNTS).
const ACCOUNTS: u32 = 1000;
/// K: groups, and workers of each replica.
const GROUPS: usize = 2;
/// What every account has at first.
const BALANCE: u64 = 1_000;
/// Transfers between accounts drawn at random: half of them stay in one group and run in parallel
/// with those of the other; for the rest the workers of a replica meet.
const TRANSFERS: u64 = 20_000;
/// Commands that the client has under way at once.
const WINDOW: usize = 64;

/// What the program does with the bank. It runs on the client's thread, is asked for commands and is
/// told how they ended; it never waits.
struct Teller {
    random: Random,
    transfers_left: u64,
    /// The next account to count, once every transfer is answered.
    to_count: u32,
    open: usize,
    moved: u64,
    refused: u64,
    total: u64,
    lost: u64,
}

impl Teller {
    fn draw(&mut self) -> Command {
        let mut account = || u32::try_from(self.random.below(ACCOUNTS.into())).expect("an account");
        let (from, step) = (account(), account());
        let to = (from + 1 + step % (ACCOUNTS - 1)) % ACCOUNTS;
        Command::Transfer { from, to, amount: 1 + self.random.below(100) }
    }
}

impl Load for Teller {
    fn next(&mut self, _now: Time, command: &mut Vec<u8>) -> Option<Submission> {
        if self.open == WINDOW {
            return None;
        }
        let next = if self.transfers_left > 0 {
            self.transfers_left -= 1;
            self.draw()
        } else if self.to_count < ACCOUNTS && (self.to_count > 0 || self.open == 0) {
            self.to_count += 1;
            Command::Read { counter: self.to_count - 1 }
        } else {
            return None;
        };
        self.open += 1;
        next.append_to(command);
        let is_read = matches!(next, Command::Read { .. });
        Some(Submission { session: 0, tag: u64::from(is_read) })
    }

    fn on_completion(&mut self, _now: Time, completion: &Completion<'_>) {
        self.open -= 1;
        if completion.outcome != Outcome::Done {
            self.lost += 1;
            return;
        }
        match (completion.tag, counters::Outcome::decode(completion.payload)) {
            (1, Some(counters::Outcome::Value(value))) => self.total += value,
            (0, Some(counters::Outcome::Value(_))) => self.moved += 1,
            (0, Some(counters::Outcome::Refused)) => self.refused += 1,
            _ => self.lost += 1,
        }
    }

    fn is_over(&self, _now: Time) -> bool {
        self.to_count == ACCOUNTS && self.open == 0
    }
}

fn config(transport: Transport, client_path: ClientPath) -> ClusterConfig {
    ClusterConfig {
        model: Model::OptPsmr,
        groups: GROUPS,
        replicas: 2,
        acceptors: 3,
        orderers: 1,
        worker_threads: GROUPS,
        transport,
        checkpoint_interval: Duration::ZERO,
        durability: Durability::Memory,
        client_path,
        barrier: Barrier::Command,
        executor: Executor::Rotate,
        retry: Retry::Replica,
        reply: ReplyPolicy::One,
        window: WINDOW,
        sessions: vec![1],
        wait: WaitPolicy::Park,
        cpus: Vec::new(),
        m: 1,
        lambda_per_s: 0,
        room: Room::MOST,
        command_limit: 1 << 10,
        keyring: None,
        service_digest: Digest(u64::from(ACCOUNTS)),
        loss_percent: 0.0,
        seed: 1,
        attempt_timeout: Duration::from_millis(300),
        deadline: Duration::from_secs(10),
        rendezvous_timeout: Duration::from_secs(10),
        session_timeout: Duration::from_secs(600),
    }
}

fn main() -> anyhow::Result<()> {
    let config = match std::env::args().nth(1).as_deref() {
        None => config(Transport::Udp(udp::Config::default()), ClientPath::Datagram),
        Some("memory") => config(Transport::Memory, ClientPath::InProcess),
        Some(other) => bail!("{other}: the one argument that there may be is `memory`"),
    };
    // A reserve of nothing: an account that has too little is not helped out, the transfer refused.
    let bank = Settings {
        groups: GROUPS,
        counters: ACCOUNTS,
        bound: 1 << 20,
        initial: BALANCE,
        reserve: 0,
    };
    let replicas = [Arc::new(Bank::new(bank)?), Arc::new(Bank::new(bank)?)];
    let map = Arc::clone(&replicas[0]);
    let teller = Teller {
        random: Random::new(7),
        transfers_left: TRANSFERS,
        to_count: 0,
        open: 0,
        moved: 0,
        refused: 0,
        total: 0,
        lost: 0,
    };
    let finished =
        node::run(&config, replicas.to_vec(), &map, vec![teller]).context("the cluster")?;
    let teller = finished.loads.first().context("the client's thread ended")?;
    println!("{} transfers, {} refused, {} in all", teller.moved, teller.refused, teller.total);
    ensure!(teller.lost == 0, "{} commands have no answer", teller.lost);
    ensure!(teller.total == u64::from(ACCOUNTS) * BALANCE, "money came or went");
    let states = &finished.figures.replicas;
    ensure!(states[0] == states[1], "the replicas differ: {states:?}");
    println!("both replicas end with digest {:016x}", states[0].digest.0);
    Ok(())
}
