//! The words of the settings: what each may be, and how it is written.

use crate::host::affinity::CpuId;
use crate::host::topology::cpu_list;
use clap::ValueEnum;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[value(name = $text)] #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// As it is written on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

choice! {
    /// The execution model of the replicas.
    Model {
        /// Sequential: one group, one worker
        Smr = "smr",
        /// One worker a group; whatever may be dependent is executed in synchronous mode
        Psmr = "psmr",
        /// P-SMR that executes dependent commands in parallel where a check allows it
        OptPsmr = "opt-psmr",
    }
}

choice! {
    /// What is replicated.
    Service {
        /// A B+-tree of 8-byte keys and values
        Btree = "btree",
        /// A running hash of who issued what: the ordering path alone
        Null = "null",
        /// A bank of bounded counters, whose check must execute
        Counters = "counters",
    }
}

impl Service {
    /// The end of the key space if `keys` are loaded: half of the draws then find a loaded key of a
    /// tree, and every draw finds a counter.
    #[must_use]
    pub const fn key_space(self, keys: u64) -> u64 {
        match self {
            Self::Btree | Self::Null => keys.saturating_mul(2),
            Self::Counters => keys,
        }
    }
}

choice! {
    /// What carries the datagrams of the cluster.
    Transport {
        /// IP multicast, by what --io says
        Uring = "uring",
        /// Bounded byte rings between the threads
        Memory = "memory",
    }
}

choice! {
    /// What the sockets are read and written by.
    Io {
        /// An io_uring; where the machine forbids it plain sockets, with a warning
        Auto = "auto",
        /// An io_uring, or the run is refused
        Uring = "uring",
        /// Plain sockets
        Socket = "socket",
    }
}

choice! {
    /// What the acceptors survive.
    Durability {
        /// The crash of a minority of them
        Memory = "memory",
        /// The loss of power at all of them: every vote waits for the disk
        Sync = "sync",
    }
}

choice! {
    /// How clients reach the cluster.
    ClientPath {
        /// Through bounded byte rings in memory
        InProcess = "in-process",
        /// By UDP datagrams
        Datagram = "datagram",
    }
}

choice! {
    /// How often the workers of a set meet in synchronous mode.
    Barrier {
        /// At every command
        Command = "command",
        /// Once an instance, on the union of its commands' sets
        Instance = "instance",
    }
}

choice! {
    /// Which worker of the set executes in synchronous mode.
    Executor {
        /// The work goes round
        Rotate = "rotate",
        /// The lowest, as in the paper
        Lowest = "lowest",
    }
}

choice! {
    /// Who multicasts a command again whose check failed.
    Retry {
        /// The replicas
        Replica = "replica",
        /// The client
        Client = "client",
    }
}

choice! {
    /// Who answers a command that changes state.
    Reply {
        /// The replica that the client names
        One = "one",
        /// Every replica
        All = "all",
    }
}

choice! {
    /// Where the tree cuts its leaves.
    Separators {
        /// At the first key of the right leaf
        Natural = "natural",
        /// At partition bounds where possible
        Aligned = "aligned",
    }
}

choice! {
    /// How an idle thread waits.
    Wait {
        /// Never gives its core away; needs a core a thread
        Spin = "spin",
        /// Gives its core to whoever is runnable
        Yield = "yield",
        /// Sleeps after a while
        Park = "park",
    }
}

/// Why a setting of several parts could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ParseError(String);

/// How keys are drawn from the key space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// The r-th most frequent key with weight 1 / r^theta.
    Zipf {
        /// Above 0; 0.99 is usual.
        theta: f64,
    },
}

impl FromStr for Distribution {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        let theta = text.strip_prefix("zipf:").and_then(|theta| theta.parse().ok());
        match theta {
            Some(theta) if theta > 0.0 && theta <= 5.0 => Ok(Self::Zipf { theta }),
            Some(_) => Err(ParseError("theta must be above 0 and at most 5".to_owned())),
            None => Err(ParseError("write `uniform` or `zipf:THETA`, as in zipf:0.99".to_owned())),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf { theta } => write!(f, "zipf:{theta}"),
        }
    }
}

/// Which CPUs the threads are tied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Those of the plan that `psmr topo` prints.
    Plan,
    /// None: the kernel moves threads as it likes.
    None,
    /// These, in turn: ordering threads, workers replica by replica, clients.
    List(Vec<CpuId>),
}

impl FromStr for Pin {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "plan" => Ok(Self::Plan),
            "none" => Ok(Self::None),
            _ => cpu_list(text).map(Self::List).ok_or_else(|| {
                ParseError("write `plan`, `none` or a list of CPUs, as in 0,2-3".to_owned())
            }),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan => f.write_str("plan"),
            Self::None => f.write_str("none"),
            Self::List(cpus) => {
                let cpus: Vec<_> = cpus.iter().map(CpuId::to_string).collect();
                f.write_str(&cpus.join(","))
            }
        }
    }
}

impl Serialize for Pin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The shares of the operations, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    /// Reads of one key.
    pub read: f64,
    /// Updates in place.
    pub update: f64,
    /// Inserts.
    pub insert: f64,
    /// Deletes.
    pub delete: f64,
    /// Ranges.
    pub range: f64,
}

impl Mix {
    /// Inserts and deletes in equal parts, `percent` of all together; the rest reads.
    #[must_use]
    pub const fn dependent(percent: f64) -> Self {
        let half = percent / 2.0;
        Self { read: 100.0 - percent, update: 0.0, insert: half, delete: half, range: 0.0 }
    }

    /// The shares in the order of the fields.
    #[must_use]
    pub const fn shares(&self) -> [f64; 5] {
        [self.read, self.update, self.insert, self.delete, self.range]
    }
}

impl FromStr for Mix {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut mix = Self::default();
        let mut seen = Vec::new();
        for part in text.split(',') {
            let (name, share) = part.split_once('=').ok_or_else(|| malformed(part))?;
            let share: f64 = share.parse().map_err(|_| malformed(part))?;
            if !(0.0..=100.0).contains(&share) {
                return Err(ParseError(format!("{part}: a share is 0 to 100 percent")));
            }
            if seen.contains(&name) {
                return Err(ParseError(format!("{name} is given twice: give each share once")));
            }
            seen.push(name);
            let field = match name {
                "read" => &mut mix.read,
                "update" => &mut mix.update,
                "insert" => &mut mix.insert,
                "delete" => &mut mix.delete,
                "range" => &mut mix.range,
                _ => return Err(malformed(part)),
            };
            *field = share;
        }
        let sum: f64 = mix.shares().iter().sum();
        if (sum - 100.0).abs() > 1e-6 {
            return Err(ParseError(format!("the shares sum to {sum}, but must sum to 100")));
        }
        Ok(mix)
    }
}

fn malformed(part: &str) -> ParseError {
    let words = "read, update, insert, delete and range";
    ParseError(format!("{part:?} is no share: write NAME=PERCENT with names out of {words}"))
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [read, update, insert, delete, range] = self.shares();
        write!(f, "read={read},update={update},insert={insert},delete={delete},range={range}")
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Mix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_and_written_and_must_sum_to_100() {
        let mix: Mix = "update=20,read=50.5,insert=29.5".parse().unwrap();
        assert_eq!(mix.shares(), [50.5, 20.0, 29.5, 0.0, 0.0]);
        assert_eq!(mix.to_string().parse(), Ok(mix));
        for wrong in ["read=50", "read=50,read=50", "red=100", "read", "read=101", "read=-1", ""] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
        assert_eq!(Mix::dependent(10.0).to_string().parse(), Ok(Mix::dependent(10.0)));
    }

    #[test]
    fn threads_are_tied_by_the_plan_by_a_list_or_not_at_all() {
        assert_eq!(("plan".parse(), "none".parse()), (Ok(Pin::Plan), Ok(Pin::None)));
        let list = Pin::List(vec![CpuId(0), CpuId(2), CpuId(3)]);
        assert_eq!("0,2-3".parse(), Ok(list.clone()));
        assert_eq!(list.to_string().parse(), Ok(list));
        for wrong in ["", "true", "1-", "3-1", "0,,1", "0-9999999"] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_distribution_is_uniform_or_zipf_with_its_theta() {
        assert_eq!("uniform".parse(), Ok(Distribution::Uniform));
        assert_eq!("zipf:0.99".parse(), Ok(Distribution::Zipf { theta: 0.99 }));
        for wrong in ["zipf", "zipf:", "zipf:0", "zipf:-1", "zipf:nan", "normal"] {
            assert!(wrong.parse::<Distribution>().is_err(), "{wrong}");
        }
    }
}
