//! A process that orders: acceptors of one or several rings, as on one thread of a real host.

use super::disk::{Disk, Image};
use super::host::{Cycle, Received};
use super::post::Post;
use crate::multi_ring::SkipPolicy;
use crate::ring_paxos::registrar::Leaving;
use crate::ring_paxos::{Destination, Envelope, Member, Outbox, Role};
use crate::types::{Instance, NodeId, RingId, Slot, Time};
use crate::wire::{self, Beacon, Message};

/// One acceptor of one ring, with what it needs to send.
#[derive(Debug)]
pub(super) struct Hosted {
    pub(super) ring: RingId,
    pub(super) node: NodeId,
    pub(super) member: Member<Disk>,
    pub(super) skips: SkipPolicy,
    pub(super) counter: u64,
    /// What was decided at the end of the last duty cycle, as far as it knew.
    pub(super) decided: Instance,
    /// It coordinates, and has seen something decided in the last duty cycle.
    pub(super) has_decided: bool,
}

impl Hosted {
    pub(super) fn with_post<'a>(
        &'a mut self,
        cycle: &'a mut Cycle<'_>,
    ) -> (&'a mut Member<Disk>, Post<'a>) {
        let Self { node, member, counter, .. } = self;
        let identity = cycle.identity;
        (member, Post { me: *node, identity, counter, office: cycle.office })
    }

    fn note_decided(&mut self) {
        let before = std::mem::replace(&mut self.decided, self.member.decided());
        self.has_decided = self.member.is_coordinator() && self.decided > before;
    }
}

/// Acceptors of one or several rings.
#[derive(Debug)]
pub(super) struct Ordering {
    pub(super) hosted: Vec<Hosted>,
    /// How many rings there are: the groups that a coordinator tells its position.
    pub(super) rings: u16,
    pub(super) news: News,
    /// Members of the next epoch that one of its acceptors has seen decided.
    pub(super) decided: Option<Box<[u8]>>,
    /// Its node is no member any more.
    pub(super) leaving: Option<Leaving>,
    /// Its disks were put back from a copy once.
    pub(super) was_put_back: bool,
    /// One of its acceptors has had a vote, in this life or an earlier one.
    pub(super) has_begun: bool,
}

/// How a coordinator learns how far the other rings are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Coordinators tell each other by datagrams.
    Beacons,
    /// All coordinators share a process.
    Shared,
    /// The process has an acceptor of every ring, and each hears its own: by ring, the highest slot
    /// that one has heard of.
    Heard(Vec<Slot>),
}

impl Ordering {
    /// One duty cycle.
    pub(super) fn run(&mut self, received: &mut Vec<Received>, cycle: &mut Cycle<'_>) {
        let now = cycle.now;
        if self.leaving.is_some() {
            return self.leave(received, cycle);
        }
        for hosted in &mut self.hosted {
            if hosted.member.log_mut().advance(now) {
                let (member, mut out) = hosted.with_post(cycle);
                member.on_persisted(now, &mut out);
            }
        }
        for datagram in received.drain(..) {
            self.receive(&datagram, cycle);
        }
        for hosted in &mut self.hosted {
            let (member, mut out) = hosted.with_post(cycle);
            if member.next_timeout().is_some_and(|due| due <= now) {
                member.on_timeout(now, &mut out);
            }
        }
        self.begin(now);
        self.distrust(cycle);
        if let News::Heard(slots) = &mut self.news {
            for hosted in &self.hosted {
                let slot = &mut slots[usize::from(hosted.ring.0)];
                *slot = hosted.member.heard_slot().max(*slot);
            }
        }
        for index in 0..self.hosted.len() {
            self.skip(index, cycle);
            let (member, mut out) = self.hosted[index].with_post(cycle);
            member.on_cycle_end(now, &mut out);
            self.decided = member.take_members().or(self.decided.take());
            self.hosted[index].note_decided();
        }
    }

    /// Rings of which all acceptors know of no former life begin. That there was a life is written
    /// down before the first vote, also of one that is admitted.
    fn begin(&mut self, now: Time) {
        for hosted in &mut self.hosted {
            let is_due = hosted.member.may_begin(now);
            self.has_begun |= is_due || !hosted.member.is_inert();
            if is_due {
                hosted.member.begin(now);
            }
        }
    }

    /// What one log was found to be holds for all in one directory.
    fn distrust(&mut self, cycle: &mut Cycle<'_>) {
        if !self.hosted.iter().any(|hosted| hosted.member.has_old_copy()) {
            return;
        }
        self.hosted.iter_mut().for_each(|hosted| hosted.member.distrust());
        if !self.was_put_back {
            let node = self.hosted[0].node;
            let detail = || format!("node {node} takes its log for an old copy, which it is not");
            cycle.office.violations.report("lives", detail);
        }
    }

    /// Tells those who stay, whatever else there is to do.
    fn leave(&mut self, received: &mut Vec<Received>, cycle: &mut Cycle<'_>) {
        received.clear();
        let (Self { hosted, leaving, .. }, now) = (self, cycle.now);
        let (_, mut post) = hosted[0].with_post(cycle);
        leaving.iter_mut().for_each(|leaving| leaving.tell(now, &mut post));
    }

    /// When it wants to run again although nothing arrives.
    pub(super) fn next_timeout(&mut self) -> Option<Time> {
        if let Some(leaving) = &self.leaving {
            return Some(leaving.next_timeout());
        }
        let due = |hosted: &mut Hosted| {
            let disk = hosted.member.log_mut().next_completion();
            let is_coordinator = hosted.member.is_coordinator();
            let skips = hosted.skips.next_timeout().filter(|_| is_coordinator);
            [hosted.member.next_timeout(), disk, skips].into_iter().flatten().min()
        };
        self.hosted.iter_mut().filter_map(due).min()
    }

    /// Whether one of its acceptors coordinates.
    pub(super) fn leads(&self) -> bool {
        self.leaving.is_none() && self.hosted.iter().any(|hosted| hosted.member.is_coordinator())
    }

    /// Where its acceptors stand, for the reader of a violation.
    pub(super) fn describe(&self) -> String {
        let member = |hosted: &Hosted| {
            let Hosted { ring, node, member, .. } = hosted;
            let (leads, slot) = (member.is_coordinator(), member.slot());
            format!(
                "ring {ring} node {node}: leads {leads}, inert {}, votes {}, leaves {}, slot {slot}",
                member.is_inert(),
                member.has_vote(),
                self.leaving.is_some()
            )
        };
        let members: Vec<_> = self.hosted.iter().map(member).collect();
        format!("{members:?}")
    }

    /// Its process ends. Returns what each acceptor's disk still holds.
    pub(super) fn crash(&mut self) -> Vec<Image> {
        self.hosted.iter_mut().map(|hosted| hosted.member.log_mut().crash()).collect()
    }

    fn receive(&mut self, datagram: &Received, cycle: &mut Cycle<'_>) {
        let opened = wire::open(cycle.identity, &datagram.bytes)
            .and_then(|(header, body)| Ok((header, Message::decode(header.kind, body)?)));
        let Ok((header, message)) = opened else {
            return *cycle.dropped += 1;
        };
        if let Message::Beacon(beacon) = message {
            for hosted in self.hosted.iter_mut().filter(|hosted| hosted.ring != header.ring) {
                hosted.skips.on_position(beacon.slot, cycle.now);
            }
            return;
        }
        let envelope = Envelope {
            ring: header.ring,
            sender: header.sender,
            incarnation: header.incarnation,
            from: datagram.from,
        };
        let is_meant = |hosted: &&mut Hosted| {
            let is_target = header.target == NodeId::ALL || header.target == hosted.node;
            hosted.ring == header.ring && is_target
        };
        let now = cycle.now;
        for hosted in self.hosted.iter_mut().filter(is_meant) {
            let (member, mut out) = hosted.with_post(cycle);
            member.on_message(&envelope, &message, now, &mut out);
        }
    }

    /// Lets an idle ring follow the furthest one, and tells the others how far this one is.
    fn skip(&mut self, index: usize, cycle: &mut Cycle<'_>) {
        let (now, rings) = (cycle.now, self.rings);
        let hosted = &mut self.hosted[index];
        if rings == 1 || !hosted.member.is_coordinator() {
            return;
        }
        let own = hosted.member.slot();
        let known = match &self.news {
            News::Beacons => &[],
            News::Shared => &cycle.office.positions[..],
            News::Heard(slots) => &slots[..],
        };
        let own_index = usize::from(hosted.ring.0);
        for (_, slot) in known.iter().enumerate().filter(|(ring, _)| *ring != own_index) {
            hosted.skips.on_position(*slot, now);
        }
        if let Some(slots) = hosted.skips.due(own, now) {
            let (member, mut out) = hosted.with_post(cycle);
            member.skip(slots, now, &mut out);
        }
        let (own, ring) = (hosted.member.slot(), hosted.ring);
        match &self.news {
            News::Shared => {
                let position = &mut cycle.office.positions[usize::from(ring.0)];
                cycle.office.has_moved |= own > *position;
                *position = own.max(*position);
                return;
            }
            News::Heard(_) => return,
            News::Beacons => {}
        }
        let Some(slot) = hosted.skips.announcement(own, now) else { return };
        for other in (0..rings).map(RingId).filter(|other| *other != ring) {
            let (_, mut out) = hosted.with_post(cycle);
            out.send(Destination::Ring(other), ring, &Message::Beacon(Beacon { slot }));
        }
        // Rings whose coordinators share a process hear each other without a datagram.
        for other in self.hosted.iter_mut().filter(|other| other.ring != ring) {
            other.skips.on_position(slot, now);
        }
    }
}
