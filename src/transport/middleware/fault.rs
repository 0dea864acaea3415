//! Loss, duplication, reordering, delay, flipped bits and cuts at one receiver, by a seed.
//!
//! Every datagram is judged alone, each segment of a train too, after the network has delivered it:
//! the same seed and the same arrivals give the same faults. What is delayed or changed is copied
//! into memory of its own, so that a fault never starves the endpoint of receive buffers.

use super::cuts::{Cuts, Cutter, mix};
use crate::mem::{Frame, Pool};
use crate::sync::Waker;
use crate::transport::{Endpoint, IntoParts, Receive, ReceiveCounters, WaitPoint};
use crate::types::{Address, Time};
use std::io;
use std::time::Duration;

/// Marks the frames that are copies of this layer.
const OWN: u32 = 1 << 30;
/// The most copies at once; what would be more is lost instead.
const MAX_COPIES: usize = 4096;
/// A reordered datagram waits for at most so many later ones,
const MAX_OVERTAKEN: u64 = 8;
/// and for at most this long.
const REORDERED_FOR: Duration = Duration::from_millis(1);

/// How often each fault happens, in percent of the datagrams received.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Makes the faults repeatable.
    pub seed: u64,
    /// Never delivered.
    pub loss: f64,
    /// Delivered again, after up to [`Faults::delay_by`].
    pub duplication: f64,
    /// Overtaken by up to 8 later datagrams, or for 1 ms.
    pub reordering: f64,
    /// Delivered after up to [`Faults::delay_by`].
    pub delay: f64,
    /// The longest delay.
    pub delay_by: Duration,
    /// Delivered with one bit changed.
    pub flip: f64,
    /// Never delivered, whatever the shares are.
    pub cuts: Cuts,
}

/// An endpoint whose receiving half does what bad networks do.
#[derive(Debug)]
pub struct Fault<E: IntoParts> {
    receive: FaultReceive<E::Receive>,
    transmit: E::Transmit,
    wait: E::WaitPoint,
}

impl<E: IntoParts> Fault<E> {
    /// Puts `faults` in front of `endpoint`.
    ///
    /// # Panics
    /// If a share is not from 0 to 100 percent, or cuts last longer than what is between them.
    #[must_use]
    pub fn new(endpoint: E, faults: &Faults) -> Self {
        let (receive, transmit, wait) = endpoint.into_parts();
        let receive = FaultReceive::new(receive, faults, wait.address());
        Self { receive, transmit, wait }
    }
}

impl<E: IntoParts> Endpoint for Fault<E> {
    type Receive = FaultReceive<E::Receive>;
    type Transmit = E::Transmit;

    fn split(&mut self) -> (&mut Self::Receive, &mut Self::Transmit) {
        (&mut self.receive, &mut self.transmit)
    }

    fn address(&self) -> Address {
        self.wait.address()
    }

    fn waker(&self) -> Waker {
        self.wait.waker()
    }

    fn files(&self) -> Option<crate::transport::Files> {
        self.wait.files()
    }

    fn park(&mut self, timeout: Duration) -> io::Result<()> {
        // No clock here: the last poll's time is late by one duty cycle at most.
        let due = self.receive.next_due().map_or(timeout, |due| due.since(self.receive.polled));
        self.wait.park(&mut self.receive.inner, &mut self.transmit, timeout.min(due))
    }
}

/// The receiving half of a [`Fault`].
#[derive(Debug)]
pub struct FaultReceive<R> {
    inner: R,
    shares: Shares,
    random: u64,
    cutter: Cutter,
    /// Copies, by the low bits of their frame's buffer; an empty place is in `free`.
    copies: Vec<Vec<u8>>,
    free: Vec<u32>,
    /// What is not delivered yet, in the order of its arrival.
    held: Vec<Held>,
    /// What has just come.
    arrived: Vec<Frame>,
    /// How many datagrams were delivered.
    delivered: u64,
    /// The time of the last poll.
    polled: Time,
    dropped: u64,
}

#[derive(Debug)]
struct Held {
    frame: Frame,
    /// Delivered from then on,
    due: Time,
    /// or from this count of delivered datagrams on.
    overtaken: u64,
}

/// Shares of 2^32.
#[derive(Clone, Copy, Debug)]
struct Shares {
    loss: u64,
    duplication: u64,
    reordering: u64,
    delay: u64,
    delay_ns: u64,
    flip: u64,
}

impl Shares {
    fn new(faults: &Faults) -> Self {
        let share = |percent: f64| {
            assert!((0.0..=100.0).contains(&percent), "a share is 0 to 100 percent");
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 2^32"
            )]
            let share = (percent / 100.0 * (1_u64 << 32) as f64) as u64;
            share
        };
        Self {
            loss: share(faults.loss),
            duplication: share(faults.duplication),
            reordering: share(faults.reordering),
            delay: share(faults.delay),
            delay_ns: u64::try_from(faults.delay_by.as_nanos()).unwrap_or(u64::MAX),
            flip: share(faults.flip),
        }
    }
}

impl<R: Receive> FaultReceive<R> {
    fn new(inner: R, faults: &Faults, me: Address) -> Self {
        Self {
            inner,
            shares: Shares::new(faults),
            random: faults.seed,
            cutter: Cutter::new(&faults.cuts, faults.seed, me),
            copies: Vec::new(),
            free: Vec::new(),
            held: Vec::new(),
            arrived: Vec::new(),
            delivered: 0,
            polled: Time::ZERO,
            dropped: 0,
        }
    }

    fn next_due(&self) -> Option<Time> {
        self.held.iter().map(|held| held.due).min()
    }

    /// What becomes of one datagram: delivered now, or not.
    fn judge(&mut self, mut frame: Frame, now: Time) -> Option<Frame> {
        if self.cutter.has(frame.from) || self.happens(self.shares.loss) {
            self.dropped += 1;
            self.release(frame);
            return None;
        }
        if self.happens(self.shares.duplication)
            && let Some(copy) = self.copy(&frame)
        {
            let due = now + self.draw_delay();
            self.held.push(Held { frame: copy, due, overtaken: u64::MAX });
        }
        if self.happens(self.shares.flip) {
            frame = self.copy_instead(frame)?;
            let bit = usize::try_from(self.next_random() >> 16).unwrap_or(0);
            let bytes = &mut self.copies[(frame.buffer & !OWN) as usize];
            if !bytes.is_empty() {
                let index = (bit / 8) % bytes.len();
                bytes[index] ^= 1 << (bit % 8);
            }
        }
        if self.happens(self.shares.delay) {
            let (due, frame) = (now + self.draw_delay(), self.copy_instead(frame)?);
            self.held.push(Held { frame, due, overtaken: u64::MAX });
            return None;
        }
        if self.happens(self.shares.reordering) {
            let overtaken = self.delivered + 1 + self.next_random() % MAX_OVERTAKEN;
            let frame = self.copy_instead(frame)?;
            self.held.push(Held { frame, due: now + REORDERED_FOR, overtaken });
            return None;
        }
        Some(frame)
    }

    fn happens(&mut self, share: u64) -> bool {
        share > 0 && (self.next_random() >> 32) < share
    }

    fn draw_delay(&mut self) -> Duration {
        let random = u128::from(self.next_random());
        let ns = (random * u128::from(self.shares.delay_ns)) >> 64;
        Duration::from_nanos(u64::try_from(ns).expect("below delay_ns"))
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// A frame of our own with the same bytes; `None`: there are too many copies.
    fn copy(&mut self, frame: &Frame) -> Option<Frame> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.copies.len() < MAX_COPIES => {
                self.copies.push(Vec::new());
                u32::try_from(self.copies.len() - 1).expect("at most MAX_COPIES")
            }
            None => return None,
        };
        let mut copy = std::mem::take(&mut self.copies[index as usize]);
        copy.clear();
        copy.extend_from_slice(self.bytes(frame));
        self.copies[index as usize] = copy;
        Some(Frame { buffer: index | OWN, offset: 0, length: frame.length, from: frame.from })
    }

    /// The frame as one of our own; `None`: there are too many copies, and it is lost.
    fn copy_instead(&mut self, frame: Frame) -> Option<Frame> {
        if is_own(&frame) {
            return Some(frame);
        }
        let copy = self.copy(&frame);
        self.dropped += u64::from(copy.is_none());
        self.release(frame);
        copy
    }

    /// Delivers what is due, as far as there is room.
    fn deliver_held(&mut self, now: Time, frames: &mut Vec<Frame>) {
        let mut index = 0;
        while index < self.held.len() && frames.len() < frames.capacity() {
            let held = &self.held[index];
            if held.due <= now || held.overtaken <= self.delivered {
                frames.push(self.held.remove(index).frame);
                self.delivered += 1;
            } else {
                index += 1;
            }
        }
    }
}

fn is_own(frame: &Frame) -> bool {
    // Bit 31 is the hybrid endpoint's; with it, bit 30 is still ours alone.
    frame.buffer & OWN != 0
}

impl<R: Receive> Receive for FaultReceive<R> {
    fn poll(&mut self, now: Time, frames: &mut Vec<Frame>) -> usize {
        let before = frames.len();
        self.polled = now;
        self.cutter.look(now);
        self.deliver_held(now, frames);
        let fresh = frames.len();
        self.inner.poll(now, frames);
        let mut arrived = std::mem::take(&mut self.arrived);
        arrived.extend(frames.drain(fresh..));
        for frame in arrived.drain(..) {
            if let Some(frame) = self.judge(frame, now) {
                frames.push(frame);
                self.delivered += 1;
            }
        }
        self.arrived = arrived;
        self.deliver_held(now, frames);
        frames.len() - before
    }

    fn counters(&self) -> ReceiveCounters {
        let counters = self.inner.counters();
        ReceiveCounters { dropped: counters.dropped + self.dropped, ..counters }
    }
}

impl<R: Receive> Pool for FaultReceive<R> {
    fn bytes(&self, frame: &Frame) -> &[u8] {
        if is_own(frame) {
            &self.copies[(frame.buffer & !OWN) as usize]
        } else {
            self.inner.bytes(frame)
        }
    }

    fn release(&mut self, frame: Frame) {
        if is_own(&frame) {
            self.free.push(frame.buffer & !OWN);
        } else {
            self.inner.release(frame);
        }
    }

    fn is_scarce(&self) -> bool {
        self.inner.is_scarce()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Target, Transmit, memory};

    /// Numbers received of `count` sent, under `faults`.
    fn run(faults: &Faults, count: u32) -> Vec<u32> {
        let mut hub = memory::Hub::default();
        let address = hub.declare(&[]);
        let endpoint = hub.build().unwrap().remove(0);
        let mut endpoint = Fault::new(endpoint, faults);
        let mut received = Vec::new();
        let mut frames = Vec::with_capacity(16);
        for number in 0..count + 200 {
            let (receive, transmit) = endpoint.split();
            if number < count {
                let room = transmit.reserve(Target::Address(address), 4).unwrap();
                room.copy_from_slice(&number.to_le_bytes());
                transmit.flush().unwrap();
            }
            receive.poll(Time(u64::from(number) * 100_000), &mut frames);
            for frame in frames.drain(..) {
                received.push(u32::from_le_bytes(receive.bytes(&frame).try_into().unwrap()));
                receive.release(frame);
            }
        }
        received
    }

    #[test]
    fn without_faults_everything_arrives_in_order() {
        assert_eq!(run(&Faults::default(), 500), (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn a_tenth_lost_is_about_a_tenth_and_the_same_for_the_same_seed() {
        let faults = Faults { seed: 7, loss: 10.0, ..Faults::default() };
        let received = run(&faults, 2_000);
        assert!((1_720..=1_880).contains(&received.len()), "{}", received.len());
        assert!(received.is_sorted());
        assert_eq!(received, run(&faults, 2_000));
        assert_ne!(received, run(&Faults { seed: 8, ..faults }, 2_000));
    }

    #[test]
    fn duplicates_and_latecomers_arrive_once_more_and_later() {
        let delay_by = Duration::from_millis(1);
        let faults = Faults { duplication: 20.0, delay: 20.0, delay_by, ..Faults::default() };
        let mut received = run(&faults, 1_000);
        assert!(!received.is_sorted());
        assert!(received.len() > 1_100);
        received.sort_unstable();
        received.dedup();
        assert_eq!(received, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_reordered_datagram_is_overtaken_by_eight_at_most() {
        let received = run(&Faults { reordering: 10.0, ..Faults::default() }, 1_000);
        assert!(!received.is_sorted());
        assert_eq!(received.len(), 1_000);
        for (place, number) in received.iter().enumerate() {
            assert!(place.abs_diff(*number as usize) <= 16, "{number} at {place}");
        }
    }

    #[test]
    fn a_flip_changes_one_bit() {
        let received = run(&Faults { flip: 100.0, ..Faults::default() }, 100);
        let flipped = received.iter().zip(0_u32..).map(|(read, sent)| (read ^ sent).count_ones());
        assert!(flipped.eq([1; 100]));
    }

    #[test]
    fn who_is_cut_is_not_heard_while_the_cut_lasts_and_the_others_are() {
        let mut hub = memory::Hub::default();
        let [me, near, far] = [(); 3].map(|()| hub.declare(&[]));
        let mut endpoints = hub.build().unwrap().into_iter();
        let (receiver, mut senders) = (endpoints.next().unwrap(), endpoints.collect::<Vec<_>>());
        let ms = Duration::from_millis;
        let cuts = Cuts { senders: vec![far], lasting: ms(20), every: ms(100) };
        let mut endpoint = Fault::new(receiver, &Faults { seed: 3, cuts, ..Faults::default() });
        let (mut frames, mut heard) = (Vec::with_capacity(4), Vec::new());
        for at in 0..200 {
            for sender in &mut senders {
                let (_, transmit) = sender.split();
                transmit.reserve(Target::Address(me), 1).unwrap();
                transmit.flush().unwrap();
            }
            let (receive, _) = endpoint.split();
            receive.poll(Time(at * 1_000_000), &mut frames);
            heard.push(frames.iter().map(|frame| frame.from).collect::<Vec<_>>());
            frames.drain(..).for_each(|frame| receive.release(frame));
        }
        let deaf = heard.iter().filter(|heard| **heard == [near]).count();
        let is_whole = |heard: &&Vec<Address>| heard.contains(&near) && heard.contains(&far);
        let whole = heard.iter().filter(is_whole).count();
        assert!((38..=42).contains(&deaf) && deaf + whole == 200, "{deaf} and {whole}");
        assert_eq!(endpoint.split().0.counters().dropped, deaf as u64);
    }
}
