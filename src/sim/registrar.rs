//! How a simulated process learns of another epoch, as real ones do (docs/adr/0029): what is of
//! another epoch stays at the door; who hears of a later one asks, who hears of an earlier one says
//! so. And how one whose node is no member any more ends.

use super::host::Received;
use super::members::{Epoch, HomeId};
use super::post::Post;
use crate::ring_paxos::{Destination, Outbox};
use crate::types::{Address, RingId, Time};
use crate::wire::{self, DecodeError, Header, Kind, MembersRequest, Message, TAG_LENGTH};
use std::rc::Rc;
use std::time::Duration;

/// Between two questions of a thread, or two hints to those who are behind.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a member that leaves waits for those who do not answer, once a quorum knows.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where the first thread of each home can be reached, by home.
pub(super) type Doors = [Address];

/// The part of one thread in it.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    ask_at: Time,
    hint_at: Time,
}

impl Registrar {
    /// Takes out of `received` what roles never see. Returns the members that it was told of, if
    /// they are of a later epoch than that of `post`. `known` is what is written down at home.
    pub(super) fn screen(
        &mut self,
        received: &mut Vec<Received>,
        (known, doors): (&Epoch, &Doors),
        mut leaving: Option<&mut Leaving>,
        now: Time,
        post: &mut Post<'_>,
    ) -> Option<Vec<u8>> {
        let mine = post.identity.epoch;
        let mut news = None;
        received.retain(|Received { bytes, from }| {
            let Some((header, kind)) = wire::claimed(bytes) else { return true };
            let is_aside = matches!(kind, Kind::Members | Kind::MembersRequest | Kind::Mismatch);
            if header.epoch == mine && !is_aside {
                return true;
            }
            let opened = wire::open(post.identity, bytes)
                .and_then(|(header, body)| Message::decode(header.kind, body));
            match opened {
                Ok(Message::Members(told)) => {
                    if let Some(leaving) = &mut leaving {
                        leaving.on_members(&told, *from);
                    }
                    if told.epoch > mine {
                        news = Some(told.members.to_vec());
                    }
                }
                Ok(Message::MembersRequest(request)) => answer(known, &request, *from, post),
                Err(DecodeError::Epoch) => {
                    let refused = (&header, kind, bytes.len());
                    self.on_refused(refused, *from, (known, doors), now, post);
                }
                Ok(_) | Err(_) => {}
            }
            false
        });
        news
    }

    fn on_refused(
        &mut self,
        (header, kind, length): (&Header, Kind, usize),
        from: Address,
        (known, doors): (&Epoch, &Doors),
        now: Time,
        post: &mut Post<'_>,
    ) {
        let mine = post.identity.epoch;
        if header.epoch > mine && now >= self.ask_at {
            self.ask_at = now + PAUSE;
            ask(known.homes(), doors, post);
        }
        let is_long = length >= Message::Mismatch.encoded_length() + TAG_LENGTH;
        if header.epoch < mine && now >= self.hint_at && is_long && kind != Kind::Mismatch {
            self.hint_at = now + PAUSE;
            post.send(Destination::Address(from), RingId(0), &Message::Mismatch);
        }
    }
}

/// Asks who the members are at every one of `homes`.
pub(super) fn ask(homes: impl Iterator<Item = HomeId>, doors: &Doors, post: &mut Post<'_>) {
    for HomeId(home) in homes {
        let message = Message::MembersRequest(MembersRequest::WHOLE);
        post.send(Destination::Address(doors[home]), RingId(0), &message);
    }
}

/// Tells the members of `epoch` at every one of `homes`.
pub(super) fn tell(
    epoch: &Epoch,
    homes: impl Iterator<Item = HomeId>,
    doors: &Doors,
    post: &mut Post<'_>,
) {
    let told = wire::Epoch { epoch: epoch.number(), members: &epoch.record };
    for HomeId(home) in homes {
        post.send(Destination::Address(doors[home]), RingId(0), &Message::Members(told));
    }
}

fn answer(known: &Epoch, request: &MembersRequest<'_>, from: Address, post: &mut Post<'_>) {
    let told = wire::Epoch { epoch: known.number(), members: &known.record };
    let message = Message::Members(told);
    let asked = Message::MembersRequest(*request).encoded_length();
    if message.encoded_length() <= asked {
        post.send(Destination::Address(from), RingId(0), &message);
    }
}

/// What a thread of acceptors does whose node is no member any more: it tells the acceptors of the
/// epoch that began without it.
#[derive(Debug)]
pub(super) struct Leaving {
    epoch: Rc<Epoch>,
    /// Where the acceptors listen that stay, and whether they know.
    acceptors: Vec<(Address, bool)>,
    since: Time,
    tell_at: Time,
}

impl Leaving {
    pub(super) fn new(epoch: &Rc<Epoch>, doors: &Doors, now: Time) -> Self {
        let homes = epoch.acceptor_homes();
        let acceptors = homes.map(|home| (doors[home.0], false)).collect();
        Self { epoch: Rc::clone(epoch), acceptors, since: now, tell_at: now }
    }

    fn on_members(&mut self, told: &wire::Epoch<'_>, from: Address) {
        for (address, knows) in &mut self.acceptors {
            *knows |= told.epoch >= self.epoch.number() && *address == from;
        }
    }

    /// Whether everybody knows; or a quorum, and the others had their time.
    pub(super) fn is_over(&self, now: Time) -> bool {
        let knowing = self.acceptors.iter().filter(|(_, knows)| *knows).count();
        let is_quorum = knowing > self.acceptors.len() / 2;
        knowing == self.acceptors.len() || (is_quorum && now.since(self.since) >= FAREWELL)
    }

    /// Tells who does not know, and asks.
    pub(super) fn tell(&mut self, now: Time, post: &mut Post<'_>) {
        if now < self.tell_at {
            return;
        }
        self.tell_at = now + PAUSE;
        let told = wire::Epoch { epoch: self.epoch.number(), members: &self.epoch.record };
        for (door, _) in self.acceptors.iter().filter(|(_, knows)| !knows) {
            let request = Message::MembersRequest(MembersRequest::WHOLE);
            post.send(Destination::Address(*door), RingId(0), &Message::Members(told));
            post.send(Destination::Address(*door), RingId(0), &request);
        }
    }

    pub(super) const fn next_timeout(&self) -> Time {
        self.tell_at
    }
}
