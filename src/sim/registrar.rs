//! How a simulated process learns of another epoch: by `ring_paxos::registrar`, as real ones do. Here
//! is what surrounds that: what the roles of a process never see of what has arrived.

use super::host::Received;
use super::members::{Epoch, HomeId};
use super::post::Post;
use crate::ring_paxos::registrar::{self, Leaving, Registrar};
use crate::types::{Address, Time};
use crate::wire::{self, DecodeError, Kind, Message};

/// Where the first thread of each home can be reached, by home.
pub(super) type Doors = [Address];

/// Where the first threads of `homes` can be reached.
pub(super) fn doors_of<'a>(
    homes: impl Iterator<Item = HomeId> + 'a,
    doors: &'a Doors,
) -> impl Iterator<Item = Address> + 'a {
    homes.map(|HomeId(home)| doors[home])
}

/// Takes out of `received` what roles never see: all of other epochs, and what is said of epochs. A
/// process that puts forward what may not follow is not heard. Returns the members that it was told
/// of, if they are of a later epoch than that of `post`. `known` is what is written down at home.
pub(super) fn screen(
    registrar: &mut Registrar,
    received: &mut Vec<Received>,
    (known, doors): (&Epoch, &Doors),
    (mut leaving, now): (Option<&mut Leaving>, Time),
    post: &mut Post<'_>,
) -> Option<Vec<u8>> {
    let mine = post.identity.epoch;
    let mut news = None;
    received.retain(|Received { bytes, from }| {
        let Some((header, kind)) = wire::claimed(bytes) else { return true };
        let is_aside = matches!(
            kind,
            Kind::Members | Kind::MembersRequest | Kind::Mismatch | Kind::Reconfigure
        );
        if header.epoch == mine && !is_aside {
            return true;
        }
        let opened = wire::open(post.identity, bytes)
            .and_then(|(header, body)| Message::decode(header.kind, body));
        match opened {
            Ok(Message::Reconfigure(next)) => return known.members.followed_by(&next).is_some(),
            Ok(Message::Members(told)) => {
                if let Some(leaving) = &mut leaving {
                    leaving.on_members(&told, *from);
                }
                if told.epoch > mine {
                    news = Some(told.members.to_vec());
                }
            }
            Ok(Message::MembersRequest(request)) => {
                registrar::answer(&known.told(), &request, *from, post);
            }
            Err(DecodeError::Epoch) => {
                let refused = (&header, kind, bytes.len());
                let doors = || doors_of(known.homes(), doors);
                registrar.on_refused(refused, (*from, mine), doors, now, post);
            }
            Ok(_) | Err(_) => {}
        }
        false
    });
    news
}
