//! Commands and outcomes as bytes: opcode or status first, integers little-endian.
//!
//! ```text
//! read, delete    opcode, key                    9 bytes
//! update, insert  opcode, key, value            17 bytes
//! range           opcode, from, to, limit       21 bytes
//! ```

/// A key and its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The key; every number is one.
    pub key: u64,
    /// The value; every number is one.
    pub value: u64,
}

/// What a client asks of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The value of a key: [`Outcome::Value`] or [`Outcome::Missing`].
    Read {
        /// The key.
        key: u64,
    },
    /// Replaces the value of a present key: [`Outcome::Ok`] or [`Outcome::Missing`].
    Update {
        /// The key.
        key: u64,
        /// Its new value.
        value: u64,
    },
    /// Adds a key: [`Outcome::Ok`] or [`Outcome::Exists`].
    Insert {
        /// The key.
        key: u64,
        /// Its value.
        value: u64,
    },
    /// Removes a key: [`Outcome::Ok`] or [`Outcome::Missing`].
    Delete {
        /// The key.
        key: u64,
    },
    /// The first `limit` pairs with `from <= key < to`: [`Outcome::Range`].
    Range {
        /// The least key.
        from: u64,
        /// The key after the greatest.
        to: u64,
        /// The most pairs to return; the tree's own limit holds as well.
        limit: u32,
    },
}

impl Command {
    /// The longest encoding.
    pub const MAX_LENGTH: usize = 21;
    const READ: u8 = 1;
    const UPDATE: u8 = 2;
    const INSERT: u8 = 3;
    const DELETE: u8 = 4;
    const RANGE: u8 = 5;

    /// Whether a command that opens with `opcode` is dependent.
    #[inline]
    pub(super) const fn is_opcode_dependent(opcode: u8) -> bool {
        opcode == Self::INSERT || opcode == Self::DELETE
    }

    /// Writes it into `buffer` and returns the bytes.
    #[inline]
    pub fn encode<'a>(&self, buffer: &'a mut [u8; Self::MAX_LENGTH]) -> &'a [u8] {
        let mut put = |opcode: u8, first: u64| {
            buffer[0] = opcode;
            buffer[1..9].copy_from_slice(&first.to_le_bytes());
        };
        let length = match *self {
            Self::Read { key } => {
                put(Self::READ, key);
                9
            }
            Self::Delete { key } => {
                put(Self::DELETE, key);
                9
            }
            Self::Update { key, value } => {
                put(Self::UPDATE, key);
                buffer[9..17].copy_from_slice(&value.to_le_bytes());
                17
            }
            Self::Insert { key, value } => {
                put(Self::INSERT, key);
                buffer[9..17].copy_from_slice(&value.to_le_bytes());
                17
            }
            Self::Range { from, to, limit } => {
                put(Self::RANGE, from);
                buffer[9..17].copy_from_slice(&to.to_le_bytes());
                buffer[17..21].copy_from_slice(&limit.to_le_bytes());
                21
            }
        };
        &buffer[..length]
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode(&mut [0; Self::MAX_LENGTH]).to_vec()
    }

    /// The command that `bytes` are; `None` for anything else.
    #[inline]
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&opcode, rest) = bytes.split_first()?;
        let (key, rest) = take_u64(rest)?;
        Some(match opcode {
            Self::READ if rest.is_empty() => Self::Read { key },
            Self::DELETE if rest.is_empty() => Self::Delete { key },
            Self::UPDATE | Self::INSERT => {
                let (value, rest) = take_u64(rest)?;
                match (opcode, rest.is_empty()) {
                    (Self::UPDATE, true) => Self::Update { key, value },
                    (Self::INSERT, true) => Self::Insert { key, value },
                    _ => return None,
                }
            }
            Self::RANGE => {
                let (to, rest) = take_u64(rest)?;
                let limit = u32::from_le_bytes(rest.try_into().ok()?);
                Self::Range { from: key, to, limit }
            }
            _ => return None,
        })
    }

    /// The key that a batch will look for first: its own, or the first of its range.
    #[inline]
    #[must_use]
    pub const fn key(&self) -> u64 {
        match *self {
            Self::Read { key }
            | Self::Update { key, .. }
            | Self::Insert { key, .. }
            | Self::Delete { key } => key,
            Self::Range { from, .. } => from,
        }
    }

    /// Whether it changes nothing.
    #[inline]
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Range { .. })
    }

    /// Whether it can change the structure: the dependent commands of the papers.
    #[inline]
    #[must_use]
    pub const fn is_dependent(&self) -> bool {
        matches!(self, Self::Insert { .. } | Self::Delete { .. })
    }
}

/// What the tree answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok,
    /// Not inserted: the key is there.
    Exists,
    /// The key is not there.
    Missing,
    /// The key's value.
    Value(u64),
    /// The pairs of a range, in key order.
    Range(Vec<Pair>),
    /// Not a command of this service, or a key above the partitioned range where those are refused.
    Refused,
}

impl Outcome {
    pub(super) const OK: u8 = 0;
    pub(super) const EXISTS: u8 = 1;
    pub(super) const MISSING: u8 = 2;
    pub(super) const VALUE: u8 = 3;
    pub(super) const RANGE: u8 = 4;
    pub(super) const REFUSED: u8 = 5;

    /// Its name in results: `ok`, `exists`, `missing`, `value`, `range`, `refused`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Exists => "exists",
            Self::Missing => "missing",
            Self::Value(_) => "value",
            Self::Range(_) => "range",
            Self::Refused => "refused",
        }
    }

    /// The outcome that a reply's bytes are; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&status, rest) = bytes.split_first()?;
        let plain = match status {
            Self::OK => Self::Ok,
            Self::EXISTS => Self::Exists,
            Self::MISSING => Self::Missing,
            Self::REFUSED => Self::Refused,
            Self::VALUE => return Some(Self::Value(u64::from_le_bytes(rest.try_into().ok()?))),
            Self::RANGE => return decode_range(rest),
            _ => return None,
        };
        rest.is_empty().then_some(plain)
    }
}

fn decode_range(bytes: &[u8]) -> Option<Outcome> {
    let (count, mut rest) = bytes.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    if rest.len() != count.checked_mul(16)? {
        return None;
    }
    let mut pairs = Vec::with_capacity(count);
    while !rest.is_empty() {
        let (key, after) = take_u64(rest)?;
        let (value, after) = take_u64(after)?;
        pairs.push(Pair { key, value });
        rest = after;
    }
    Some(Outcome::Range(pairs))
}

#[inline]
pub(super) fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_command_survives_its_bytes_and_point_commands_fit_24() {
        let (key, value) = (u64::MAX, 1 << 63);
        for command in [
            Command::Read { key },
            Command::Update { key, value },
            Command::Insert { key, value },
            Command::Delete { key },
            Command::Range { from: 0, to: key, limit: 7 },
        ] {
            let bytes = command.to_bytes();
            assert!(bytes.len() <= 24);
            assert_eq!(Command::decode(&bytes), Some(command));
            assert_eq!(Command::decode(&bytes[..bytes.len() - 1]), None);
            assert_eq!(Command::decode(&[&bytes[..], &[0]].concat()), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Command::decode(&bytes);
            let _ = Outcome::decode(&bytes);
        }
    }
}
