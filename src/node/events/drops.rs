//! Datagrams that were dropped: the first of each reason, and now and then how many more.

use super::{Told, Weight};
use crate::node::observer::Dropped;
use crate::types::Time;
use crate::wire::DecodeError;
use std::time::Duration;

/// So long after a reason was told it is not told again.
const PAUSE: Duration = Duration::from_secs(60);

/// What was told of one reason.
#[derive(Clone, Copy, Debug)]
struct Known {
    count: u64,
    at: Time,
    /// There were more in the time before.
    goes_on: bool,
}

/// What was told of each reason.
#[derive(Debug, Default)]
pub(super) struct Drops([Option<Known>; DecodeError::ALL.len()]);

impl Drops {
    pub(super) fn look(&mut self, drops: &[Dropped], now: Time, told: &mut Told) {
        for dropped in drops {
            if let Some(text) = self.tell(dropped, now) {
                told.push((Weight::Warning, text));
            }
        }
    }

    fn tell(&mut self, dropped: &Dropped, now: Time) -> Option<String> {
        let Dropped { reason, count, from } = *dropped;
        // While an epoch begins others are in another one: told only if that goes on.
        let is_usual = reason == DecodeError::Epoch;
        let known = &mut self.0[reason.index()];
        let Some(last) = known else {
            *known = Some(Known { count, at: now, goes_on: false });
            let text =
                || format!("drops a datagram of {from:?}: {reason}; more of them are counted");
            return (!is_usual).then(text);
        };
        let (more, time) = (count - last.count, now.since(last.at));
        if time < PAUSE || (more == 0 && !is_usual) {
            return None;
        }
        let is_news = more > 0 && (!is_usual || last.goes_on);
        *last = Known { count, at: now, goes_on: more > 0 };
        let seconds = time.as_secs();
        is_news
            .then(|| format!("dropped {more} more in {seconds} s, the last of {from:?}: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Address;
    use std::net::SocketAddrV4;

    /// What is told of so many at each second.
    fn lines(reason: DecodeError, counts: impl IntoIterator<Item = u64>) -> Vec<(u64, String)> {
        let from = Address::udp(SocketAddrV4::new([10, 0, 0, 7].into(), 9000));
        let (mut drops, mut lines) = (Drops::default(), Vec::new());
        for (second, count) in (1..).zip(counts) {
            let mut told = Told::new();
            let dropped = [Dropped { reason, count, from }];
            let dropped = if count > 0 { &dropped[..] } else { &[] };
            drops.look(dropped, Time(second * 1_000_000_000), &mut told);
            lines.extend(told.into_iter().map(|(_, line)| (second, line)));
        }
        lines
    }

    #[test]
    fn the_first_of_a_reason_is_told_and_the_others_once_a_minute() {
        let told = lines(DecodeError::Forged, (0..150).map(|n| n * 10));
        let seconds: Vec<u64> = told.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [2, 62, 122]);
        assert!(told[0].1.starts_with("drops a datagram of 10.0.0.7:9000: tag does"), "{told:?}");
        assert!(told[1].1.starts_with("dropped 600 more in 60 s, the last of 10.0.0.7:9000: tag"));
    }

    #[test]
    fn one_after_a_long_time_is_told_at_once() {
        let told = lines(DecodeError::Cluster, (1..500).map(|n| if n < 300 { 1 } else { 2 }));
        let seconds: Vec<u64> = told.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [1, 300]);
    }

    #[test]
    fn another_epoch_is_no_wonder_unless_it_goes_on() {
        let told = lines(DecodeError::Epoch, (1..1000).map(|n| if n < 500 { 1 } else { 2 }));
        assert_eq!(told, []);
        let told = lines(DecodeError::Epoch, 1..200);
        assert_eq!(told.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [121, 181]);
    }
}
