//! The sending half: datagrams are written into the receiver's link, in place.

use crate::sync::atomic::{Ordering, fence};
use crate::sync::{ByteSender, Waker};
use crate::transport::{Target, TransmitCounters};
use crate::types::RingId;
use std::io;

/// All links that lead away from one endpoint, that of the endpoint to itself included.
#[derive(Debug)]
pub struct Transmit {
    /// By the receiver's number.
    links: Vec<Outgoing>,
    /// For each ring the receivers that subscribed it.
    groups: Vec<Vec<u32>>,
    /// A datagram to a group that stands in one link so far.
    pending: Option<Pending>,
    /// Links with something to publish.
    dirty: Vec<u32>,
    /// Takes what is sent to a group that nobody hears.
    nowhere: Box<[u8]>,
    counters: TransmitCounters,
}

#[derive(Debug)]
struct Outgoing {
    sender: ByteSender,
    waker: Waker,
    /// Whether it stands in [`Transmit::dirty`].
    is_dirty: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    ring: RingId,
    /// The place in the group of the receiver whose link holds the datagram.
    holder: usize,
    length: usize,
}

impl Transmit {
    pub(super) fn new(
        links: Vec<(ByteSender, Waker)>,
        groups: Vec<Vec<u32>>,
        chunk_bytes: usize,
    ) -> Self {
        let dirty = Vec::with_capacity(links.len());
        let outgoing = |(sender, waker)| Outgoing { sender, waker, is_dirty: false };
        Self {
            links: links.into_iter().map(outgoing).collect(),
            groups,
            pending: None,
            dirty,
            nowhere: vec![0; chunk_bytes].into(),
            counters: TransmitCounters::default(),
        }
    }

    fn reserve_group(&mut self, ring: RingId, length: usize) -> Option<&mut [u8]> {
        let Some(group) = self.groups.get(usize::from(ring.0)).filter(|group| !group.is_empty())
        else {
            return self.nowhere.get_mut(..length);
        };
        // The first link that has room takes the datagram; the others get a copy when it is
        // complete, which it is at the next call.
        for (holder, number) in group.iter().enumerate() {
            let link = &mut self.links[*number as usize];
            if link.sender.reserve(length).is_some() {
                self.pending = Some(Pending { ring, holder, length });
                self.counters.datagrams += 1;
                let link = Self::mark(&mut self.links, &mut self.dirty, *number);
                return Some(link.sender.last_mut());
            }
            self.counters.lost += 1;
        }
        None
    }

    fn reserve_one(&mut self, number: u32, length: usize) -> Option<&mut [u8]> {
        if (number as usize) < self.links.len() {
            let link = Self::mark(&mut self.links, &mut self.dirty, number);
            if let Some(room) = link.sender.reserve(length) {
                self.counters.datagrams += 1;
                return Some(room);
            }
        }
        self.counters.lost += 1;
        None
    }

    /// Copies the pending datagram to the rest of its group.
    fn complete(&mut self) {
        let Some(Pending { ring, holder, length }) = self.pending.take() else { return };
        let group = &self.groups[usize::from(ring.0)];
        let source = group[holder] as usize;
        for number in &group[holder + 1..] {
            let target = *number as usize;
            let Ok([from, to]) = self.links.get_disjoint_mut([source, target]) else {
                unreachable!("a group names each of its members once");
            };
            let Some(room) = to.sender.reserve(length) else {
                self.counters.lost += 1;
                continue;
            };
            room.copy_from_slice(from.sender.last());
            Self::mark(&mut self.links, &mut self.dirty, *number);
        }
    }

    fn mark<'a>(links: &'a mut [Outgoing], dirty: &mut Vec<u32>, number: u32) -> &'a mut Outgoing {
        let link = &mut links[number as usize];
        if !link.is_dirty {
            link.is_dirty = true;
            dirty.push(number);
        }
        link
    }
}

impl crate::transport::Transmit for Transmit {
    fn regroup(&mut self, _members: &crate::transport::udp::Members) -> io::Result<()> {
        Ok(()) // The links of a process stay as they are.
    }

    #[inline]
    fn reserve(&mut self, target: Target, length: usize) -> Option<&mut [u8]> {
        self.complete();
        let number = match target {
            Target::Group(ring) => return self.reserve_group(ring, length),
            Target::Address(address) => address.as_memory(),
        };
        self.reserve_one(number.unwrap_or(u32::MAX), length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.complete();
        if self.dirty.is_empty() {
            return Ok(());
        }
        for number in &self.dirty {
            let link = &mut self.links[*number as usize];
            link.sender.publish();
        }
        // One fence for all: pairs with that of `Waker::announce`.
        fence(Ordering::SeqCst);
        for number in self.dirty.drain(..) {
            let link = &mut self.links[number as usize];
            link.is_dirty = false;
            link.waker.wake_after_fence();
        }
        Ok(())
    }

    fn counters(&self) -> TransmitCounters {
        self.counters
    }
}

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;
    use crate::sync::link;
    use crate::sync::model::explore;
    use crate::transport::Transmit as _;
    use crate::types::Address;
    use std::time::Duration;

    #[test]
    fn one_fence_wakes_every_receiver_of_a_flush() {
        explore(|| {
            let waker = Waker::of_current_thread();
            let (sender, mut receiver) = link(2, 64).expect("memory");
            let (to_nobody, _idle) = link(2, 64).expect("memory");
            let links = vec![(to_nobody, waker.clone()), (sender, waker.clone())];
            let mut transmit = Transmit::new(links, vec![vec![0, 1]], 64);
            let sends = loom::thread::spawn(move || {
                for target in [Target::Group(RingId(0)), Target::Address(Address::memory(1))] {
                    transmit.reserve(target, 8).expect("an empty link").fill(7);
                    transmit.flush().expect("nothing to fail");
                }
            });
            let mut received = 0;
            while received < 2 {
                waker.announce();
                if !receiver.has_more() {
                    waker.park(Duration::MAX);
                }
                waker.retract();
                while let Some(place) = receiver.receive() {
                    assert_eq!(receiver.bytes(place), [7; 8]);
                    receiver.release(place.chunk);
                    received += 1;
                }
            }
            sends.join().expect("it does not panic");
        });
    }
}
