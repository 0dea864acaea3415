//! How the threads of a process learn of another epoch (PROTOCOL, flow 9; docs/adr/0029): what is of
//! another epoch stays at the door; who hears of a later one asks those that he knows, who hears of
//! an earlier one says so; whoever sees members decided tells all. And how one whose node is no member
//! any more ends: not before enough of those that stay know that it may.
//!
//! Members are opaque bytes here. What is done with those that are told is the host's part: it writes
//! them down, and has each thread take them up.

use super::{Destination, Outbox};
use crate::types::{Address, KeyNumber, RingId, Time};
use crate::wire::{self, Header, Kind, MembersRequest, Message, TAG_LENGTH};
use std::time::Duration;

/// Between two questions of a thread.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two hints to those who are behind: many clients may be, and each sends seldom.
const HINT_PAUSE: Duration = Duration::from_millis(2);
/// How long a member that leaves waits for those who do not answer, once a quorum knows.
const FAREWELL: Duration = Duration::from_secs(2);

/// The part of one thread in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registrar {
    ask_at: Time,
    hint_at: Time,
}

impl Registrar {
    /// A datagram was refused that claims this header, kind and length; `mine` is the epoch of
    /// the thread, and members can be asked at `doors`. `true`: its sender is of another epoch.
    pub fn on_refused<D: IntoIterator<Item = Address>>(
        &mut self,
        (header, kind, length): (&Header, Kind, usize),
        (from, mine): (Address, u32),
        doors: impl FnOnce() -> D,
        now: Time,
        out: &mut impl Outbox,
    ) -> bool {
        if header.epoch > mine && now >= self.ask_at {
            self.ask_at = now + PAUSE;
            ask(doors(), out);
        }
        let is_long = length >= Message::Mismatch.encoded_length() + TAG_LENGTH;
        if header.epoch < mine && now >= self.hint_at && is_long && kind != Kind::Mismatch {
            self.hint_at = now + HINT_PAUSE;
            let to = Destination::Address(header.reply_to(from));
            out.send(to, RingId(0), &Message::Mismatch);
        }
        header.epoch != mine
    }
}

/// Asks at each of `doors` who the members are: some of those behind them are members still.
pub fn ask(doors: impl IntoIterator<Item = Address>, out: &mut impl Outbox) {
    for door in doors {
        let message = Message::MembersRequest(MembersRequest::WHOLE);
        out.send(Destination::Address(door), RingId(0), &message);
    }
}

/// Tells at each of `doors` who the members are.
pub fn tell(
    known: &wire::Epoch<'_>,
    doors: impl IntoIterator<Item = Address>,
    out: &mut impl Outbox,
) {
    for door in doors {
        out.send(Destination::Address(door), RingId(0), &Message::Members(*known));
    }
}

/// Somebody at `from` asks who the members are: is told so, in no more bytes than that took.
pub fn answer(
    known: &wire::Epoch<'_>,
    request: &MembersRequest<'_>,
    from: Address,
    out: &mut impl Outbox,
) {
    let asked = Message::MembersRequest(*request).encoded_length();
    if Message::Members(*known).encoded_length() <= asked {
        tell(known, [from], out);
    }
}

/// What a thread of acceptors does whose node is no member any more: it tells the acceptors of the
/// epoch that began without it. They could be too few, without it, to find out by themselves.
#[derive(Clone, Debug)]
pub struct Leaving {
    epoch: u32,
    members: Box<[u8]>,
    /// Where the acceptors listen that stay, and whether they know.
    acceptors: Vec<(Address, bool)>,
    since: Time,
    tell_at: Time,
}

impl Leaving {
    /// From the epoch before `known`, whose acceptors listen at `doors`.
    #[must_use]
    pub fn new(
        known: &wire::Epoch<'_>,
        doors: impl IntoIterator<Item = Address>,
        now: Time,
    ) -> Self {
        let wire::Epoch { epoch, members } = *known;
        let acceptors = doors.into_iter().map(|door| (door, false)).collect();
        Self { epoch, members: members.into(), acceptors, since: now, tell_at: now }
    }

    /// The epoch that began without it.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Somebody at `from` knows of an epoch.
    pub fn on_members(&mut self, told: &wire::Epoch<'_>, from: Address) {
        // A place is the same whatever key is used there.
        let place = |address: Address| address.with_key(KeyNumber::NODES);
        for (door, knows) in &mut self.acceptors {
            *knows |= told.epoch >= self.epoch && place(*door) == place(from);
        }
    }

    /// Whether everybody knows; or a quorum, and the others had their time.
    #[must_use]
    pub fn is_over(&self, now: Time) -> bool {
        let knowing = self.acceptors.iter().filter(|(_, knows)| *knows).count();
        let is_quorum = knowing > self.acceptors.len() / 2;
        knowing == self.acceptors.len() || (is_quorum && now.since(self.since) >= FAREWELL)
    }

    /// Tells who does not know, and asks.
    pub fn tell(&mut self, now: Time, out: &mut impl Outbox) {
        if now < self.tell_at {
            return;
        }
        self.tell_at = now + PAUSE;
        let known = wire::Epoch { epoch: self.epoch, members: &self.members };
        for (door, _) in self.acceptors.iter().filter(|(_, knows)| !knows) {
            tell(&known, [*door], out);
            ask([*door], out);
        }
    }

    /// When it wants to tell again.
    #[must_use]
    pub const fn next_timeout(&self) -> Time {
        self.tell_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// What was sent, and where to.
    #[derive(Default)]
    struct Sent(Vec<(Destination, Kind)>);

    impl Outbox for Sent {
        fn send(&mut self, to: Destination, _: RingId, message: &Message<'_>) {
            self.0.push((to, message.kind()));
        }
    }

    fn door(n: u32) -> Address {
        Address::memory(n)
    }

    fn to(n: u32) -> Destination {
        Destination::Address(door(n))
    }

    #[test]
    fn who_hears_of_a_later_epoch_asks_and_who_hears_of_an_earlier_one_says_so_seldom() {
        let (mut registrar, mut sent) = (Registrar::default(), Sent::default());
        let mut refuse = |epoch, kind, length, now| {
            let header = Header { epoch, ..Header::default() };
            let from = (door(9), 5);
            let doors = || [door(1), door(2)];
            let what = (&header, kind, length);
            let is_foreign = registrar.on_refused(what, from, doors, now, &mut sent);
            (is_foreign, std::mem::take(&mut sent.0))
        };
        let asked = vec![(to(1), Kind::MembersRequest), (to(2), Kind::MembersRequest)];
        assert_eq!(refuse(6, Kind::Accept, 999, Time(1)), (true, asked.clone()));
        assert_eq!(refuse(6, Kind::Accept, 999, Time(1) + 19 * MILLI), (true, vec![]));
        assert_eq!(refuse(7, Kind::Accept, 999, Time(1) + 20 * MILLI), (true, asked));
        assert_eq!(refuse(5, Kind::Accept, 999, Time(1)), (false, vec![]));
        let told = vec![(to(9), Kind::Mismatch)];
        assert_eq!(refuse(4, Kind::Mismatch, 999, Time(1)), (true, vec![]), "no echoes");
        assert_eq!(refuse(4, Kind::Propose, 64, Time(1)), (true, vec![]), "not more than it sent");
        assert_eq!(refuse(4, Kind::Propose, 999, Time(1)), (true, told.clone()));
        assert_eq!(refuse(4, Kind::Propose, 999, Time(1) + MILLI), (true, vec![]));
        assert_eq!(refuse(4, Kind::Propose, 999, Time(1) + 2 * MILLI), (true, told));
    }

    #[test]
    fn who_leaves_stays_until_all_know_or_a_quorum_and_the_others_had_their_time() {
        let known = wire::Epoch { epoch: 6, members: b"members" };
        let mut leaving = Leaving::new(&known, [door(1), door(2), door(3)], Time(0));
        let mut sent = Sent::default();
        leaving.tell(Time(0), &mut sent);
        assert_eq!(sent.0.len(), 6);
        leaving.on_members(&wire::Epoch { epoch: 5, ..known }, door(1));
        assert!(!leaving.is_over(Time(0) + FAREWELL), "of the epoch before");
        let key = KeyNumber(3);
        leaving.on_members(&known, door(1).with_key(key));
        leaving.on_members(&known, door(4));
        assert!(!leaving.is_over(Time(0) + FAREWELL), "one of three knows");
        leaving.on_members(&known, door(3));
        assert!(!leaving.is_over(Time(0)) && leaving.is_over(Time(0) + FAREWELL));
        sent.0.clear();
        leaving.tell(Time(0) + PAUSE, &mut sent);
        assert_eq!(sent.0, [(to(2), Kind::Members), (to(2), Kind::MembersRequest)]);
        leaving.on_members(&known, door(2));
        assert!(leaving.is_over(Time(0)));
    }

    #[test]
    fn an_answer_is_no_longer_than_its_question() {
        let known = wire::Epoch { epoch: 6, members: &[7; 200] };
        let mut sent = Sent::default();
        answer(&known, &MembersRequest { room: &[] }, door(1), &mut sent);
        assert_eq!(sent.0, []);
        answer(&known, &MembersRequest::WHOLE, door(1), &mut sent);
        assert_eq!(sent.0, [(to(1), Kind::Members)]);
    }
}
