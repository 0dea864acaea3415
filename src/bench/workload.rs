//! Commands by their shares, seeded: the same seed gives the same commands.

use super::{KeyDraw, Kind, Mix, Service, Settings};
use crate::service::{btree, counters, null::Null};
use crate::types::Random;

/// Makes the commands of one generator.
#[derive(Clone, Debug)]
pub struct Workload {
    random: Random,
    keys: KeyDraw,
    /// A draw of 32 bits means the kind as many thresholds on as it reaches.
    thresholds: [u64; 4],
    what: What,
}

/// What a command is made of, besides its key.
#[derive(Clone, Copy, Debug)]
enum What {
    Tree { range_keys: u64 },
    Null { bytes: usize },
    Counters { counters: u64 },
}

impl Workload {
    /// The workload of these settings; generators with different `stream`s draw independently.
    #[must_use]
    pub fn new(settings: &Settings, stream: u64) -> Self {
        let mix = settings.mix.unwrap_or_else(|| {
            Mix::dependent(settings.dependent.expect("validated settings have a mix or a share"))
        });
        let what = match settings.service {
            Service::Btree => What::Tree { range_keys: settings.range_keys },
            Service::Null => What::Null { bytes: settings.command_bytes },
            Service::Counters => What::Counters { counters: settings.keys },
        };
        Self {
            random: Random::new(settings.seed).stream(stream),
            keys: KeyDraw::new(settings.distribution, settings.key_space),
            thresholds: thresholds(&mix),
            what,
        }
    }

    /// Appends the next command to `command` and says what it is. Some nanoseconds; allocates
    /// nothing where `command` has room.
    #[inline]
    pub fn next(&mut self, command: &mut Vec<u8>) -> Kind {
        let kind = self.draw_kind();
        let key = self.keys.draw(&mut self.random);
        match self.what {
            What::Tree { range_keys } => self.tree(kind, key, range_keys, command),
            What::Null { bytes } => {
                // A key's word is never ALL: the key space ends below it.
                let word = if kind == Kind::Read { key } else { Null::ALL };
                // The usual length without a call to fill the rest.
                command.extend_from_slice(&u128::from(word).to_le_bytes());
                if bytes != 16 {
                    command.resize(bytes.max(8), 0);
                }
                Kind::Null
            }
            What::Counters { counters } => self.counters(kind, key % counters, command),
        }
    }

    /// Without a branch: which kind comes next is what no predictor knows.
    #[inline]
    fn draw_kind(&mut self) -> Kind {
        let draw = self.random.next() >> 32;
        let above = |threshold: u64| u64::from(draw >= threshold);
        let [read, update, insert, delete] = self.thresholds;
        let index = above(read) + above(update) + above(insert) + above(delete);
        Kind::from_index(index).expect("0 to 4")
    }

    #[inline]
    fn tree(&mut self, kind: Kind, key: u64, range_keys: u64, command: &mut Vec<u8>) -> Kind {
        let made = match kind {
            Kind::Update => btree::Command::Update { key, value: self.random.next() },
            Kind::Insert => btree::Command::Insert { key, value: self.random.next() },
            Kind::Delete => btree::Command::Delete { key },
            Kind::Range => {
                let limit = u32::try_from(range_keys).unwrap_or(u32::MAX);
                btree::Command::Range { from: key, to: key.saturating_add(range_keys), limit }
            }
            _ => btree::Command::Read { key },
        };
        command.extend_from_slice(made.encode(&mut [0; btree::Command::MAX_LENGTH]));
        kind
    }

    fn counters(&mut self, kind: Kind, counter: u64, command: &mut Vec<u8>) -> Kind {
        let counter = u32::try_from(counter).expect("validated: fewer than 2^32 counters");
        if kind == Kind::Read {
            counters::Command::Read { counter }.append_to(command);
            return Kind::Read;
        }
        let mut amount = || i32::try_from(self.random.below(2_001)).expect("small") - 1_000;
        let amounts = [amount(), amount()];
        let program = counters::Program::new(counter, &amounts).expect("two steps");
        counters::Command::Program(program).append_to(command);
        Kind::Program
    }
}

/// Sums of the shares, of 2^32. The last kind with a share gets the rounding's rest.
#[expect(clippy::cast_possible_truncation, reason = "at most 2^32")]
#[expect(clippy::cast_sign_loss, reason = "a share is not negative")]
fn thresholds(mix: &Mix) -> [u64; 4] {
    const ALL: u64 = 1 << 32;
    let shares = mix.shares();
    let last = shares.iter().rposition(|&share| share > 0.0).unwrap_or(0);
    let mut sum = 0.0;
    let mut thresholds = [ALL; 4];
    for (threshold, share) in thresholds[..last].iter_mut().zip(shares) {
        sum += share;
        *threshold = (sum / 100.0 * ALL as f64).round() as u64;
    }
    thresholds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Distribution;
    use crate::service::GroupMap;

    fn counts(settings: &Settings, draws: u32) -> [u32; Kind::COUNT] {
        let mut workload = Workload::new(settings, 0);
        let mut counts = [0; Kind::COUNT];
        for _ in 0..draws {
            counts[workload.next(&mut Vec::with_capacity(64)) as usize] += 1;
        }
        counts
    }

    #[test]
    fn dependent_commands_are_inserts_and_deletes_in_equal_parts() {
        let settings = Settings { dependent: Some(10.0), ..Settings::default() };
        let [read, update, insert, delete, range, ..] = counts(&settings, 100_000);
        assert_eq!((update, range), (0, 0));
        assert!((89_000..91_000).contains(&read), "{read}");
        assert!((4_700..5_300).contains(&insert) && (4_700..5_300).contains(&delete));
    }

    #[test]
    fn a_share_of_zero_never_comes_and_one_of_100_always() {
        let settings = |percent| Settings { dependent: Some(percent), ..Settings::default() };
        assert_eq!(counts(&settings(0.0), 10_000)[0], 10_000);
        assert_eq!(counts(&settings(100.0), 10_000)[0], 0);
        let mix = Some("update=50,range=50".parse().unwrap());
        let mixed = Settings { mix, dependent: None, ..Settings::default() };
        let [read, update, insert, delete, range, ..] = counts(&mixed, 10_000);
        assert_eq!((read, insert, delete, update + range), (0, 0, 0, 10_000));
    }

    #[test]
    fn the_same_seed_gives_the_same_commands_and_another_stream_others() {
        let distribution = Distribution::Zipf { theta: 0.99 };
        let settings = Settings { dependent: Some(50.0), distribution, ..Settings::default() };
        let bytes = |stream| {
            let mut workload = Workload::new(&settings, stream);
            let mut bytes = Vec::new();
            for _ in 0..1_000 {
                workload.next(&mut bytes);
            }
            bytes
        };
        assert_eq!(bytes(0), bytes(0));
        assert_ne!(bytes(0), bytes(1));
    }

    #[test]
    fn null_commands_have_their_length_and_dependent_ones_concern_all_groups() {
        let service = Service::Null;
        let map = Null::new(4);
        for (dependent, groups) in [(0.0, 1), (100.0, 4)] {
            let dependent = Some(dependent);
            let settings =
                Settings { service, dependent, command_bytes: 16, ..Settings::default() };
            let mut command = Vec::new();
            assert_eq!(Workload::new(&settings, 0).next(&mut command), Kind::Null);
            assert_eq!((command.len(), map.conservative(&command).len()), (16, groups));
        }
    }

    #[test]
    fn programs_of_counters_are_commands_of_the_bank() {
        let (service, dependent) = (Service::Counters, Some(50.0));
        let settings =
            Settings { service, dependent, keys: 100, key_space: 100, ..Settings::default() };
        let mut workload = Workload::new(&settings, 0);
        let mut command = Vec::new();
        for _ in 0..1_000 {
            command.clear();
            workload.next(&mut command);
            assert!(counters::Command::decode(&command).is_some());
        }
    }
}
