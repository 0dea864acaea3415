//! What a single thread that executes the merged order would have replied.
//!
//! The merged order over all rings is a legal sequential order of P-SMR: commands of different
//! groups touch different state, and a command of several groups stands at one place for all.

use super::Order;
use psmr::service::{Access, Context, Lease, Optimistic, Verdict};
use psmr::types::{Digest, GroupId, Sequence, SessionId};
use psmr::wire::{Commands, Mode};
use std::collections::{BTreeMap, BTreeSet};

/// A sequential execution of an order.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The reply of each command that changes state.
    pub writes: BTreeMap<(SessionId, Sequence), Vec<u8>>,
    /// Every reply that a read could have had: one for each copy of it in the order.
    pub reads: BTreeMap<(SessionId, Sequence), Vec<Vec<u8>>>,
    /// Commands whose check failed: no later optimistic copy may execute (PROTOCOL 4).
    failed: BTreeSet<(SessionId, Sequence)>,
}

impl Oracle {
    /// Executes `order` on `service`; returns the digest at its end.
    pub fn run<S: Optimistic>(&mut self, order: &Order, service: &S) -> Digest {
        let mut lease = Lease::mint(Access::Whole);
        for (ring, _, batch) in order.merged() {
            for command in Commands::from_offset(batch, 0) {
                let header = command.header;
                if header.mode.has(Mode::SESSION) || header.mode.has(Mode::MESSAGE) {
                    continue;
                }
                let context = Context { session: header.session, sequence: header.sequence };
                let name = (header.session, header.sequence);
                let mut reply = Vec::new();
                if header.mode.has(Mode::READ) {
                    service.execute(&mut lease, &context, command.payload, &mut reply);
                    self.reads.entry(name).or_default().push(reply);
                    continue;
                }
                if self.writes.contains_key(&name) {
                    continue;
                }
                let is_optimistic = header.mode.has(Mode::OPTIMISTIC);
                if is_optimistic && self.failed.contains(&name) {
                    continue;
                }
                let verdict = if is_optimistic {
                    let group = GroupId::new(usize::from(ring.0));
                    let payload = command.payload;
                    service.try_execute(&mut lease, group, &context, payload, &mut reply)
                } else {
                    service.execute(&mut lease, &context, command.payload, &mut reply);
                    Verdict::Pass
                };
                if verdict == Verdict::Pass {
                    self.writes.insert(name, reply);
                } else {
                    self.failed.insert(name);
                }
            }
        }
        service.digest(&mut lease)
    }
}
