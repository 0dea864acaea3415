//! Commands and outcomes as bytes: opcode or status first, integers little-endian.
//!
//! ```text
//! read      opcode, counter u32
//! add       opcode, counter u32, amount i64
//! transfer  opcode, from u32, to u32, amount u64
//! program   opcode, start u32, 1 to 8 amounts i32
//! ```

/// A little program: adds its first amount to the counter `start`, and each further one to a counter
/// that depends on the value just written: c + 1 + (value mod 8), modulo the number of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    start: u32,
    length: usize,
    amounts: [i32; Self::MAX_STEPS],
}

impl Program {
    /// The most steps.
    pub const MAX_STEPS: usize = 8;

    /// A program; `None` without steps or with more than [`Program::MAX_STEPS`].
    #[must_use]
    pub fn new(start: u32, steps: &[i32]) -> Option<Self> {
        let mut amounts = [0; Self::MAX_STEPS];
        amounts.get_mut(..steps.len())?.copy_from_slice(steps);
        (!steps.is_empty()).then_some(Self { start, length: steps.len(), amounts })
    }

    /// The first counter.
    #[must_use]
    pub const fn start(&self) -> u32 {
        self.start
    }

    /// What each step adds.
    #[must_use]
    pub fn amounts(&self) -> &[i32] {
        &self.amounts[..self.length]
    }
}

/// What a client asks of the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A counter's value.
    Read {
        /// The counter.
        counter: u32,
    },
    /// Adds to a counter, or takes from it.
    Add {
        /// The counter.
        counter: u32,
        /// What to add.
        amount: i64,
    },
    /// Takes from one counter and adds to another, or neither.
    Transfer {
        /// Where it is taken.
        from: u32,
        /// Where it is added.
        to: u32,
        /// How much.
        amount: u64,
    },
    /// Several adds, all or none, to counters that only execution can tell.
    Program(Program),
}

impl Command {
    const READ: u8 = 1;
    const ADD: u8 = 2;
    const TRANSFER: u8 = 3;
    const PROGRAM: u8 = 4;

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        self.append_to(&mut bytes);
        bytes
    }

    /// Appends its bytes.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        let mut open = |opcode: u8, counter: u32| {
            bytes.push(opcode);
            bytes.extend_from_slice(&counter.to_le_bytes());
        };
        match *self {
            Self::Read { counter } => open(Self::READ, counter),
            Self::Add { counter, amount } => {
                open(Self::ADD, counter);
                bytes.extend_from_slice(&amount.to_le_bytes());
            }
            Self::Transfer { from, to, amount } => {
                open(Self::TRANSFER, from);
                bytes.extend_from_slice(&to.to_le_bytes());
                bytes.extend_from_slice(&amount.to_le_bytes());
            }
            Self::Program(program) => {
                open(Self::PROGRAM, program.start);
                let amounts = program.amounts().iter();
                bytes.extend(amounts.flat_map(|amount| amount.to_le_bytes()));
            }
        }
    }

    /// The command that `bytes` are; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&opcode, rest) = bytes.split_first()?;
        let (counter, rest) = take_u32(rest)?;
        Some(match opcode {
            Self::READ if rest.is_empty() => Self::Read { counter },
            Self::ADD => Self::Add { counter, amount: i64::from_le_bytes(rest.try_into().ok()?) },
            Self::TRANSFER => {
                let (to, rest) = take_u32(rest)?;
                let amount = u64::from_le_bytes(rest.try_into().ok()?);
                Self::Transfer { from: counter, to, amount }
            }
            Self::PROGRAM => {
                let (steps, rest) = rest.as_chunks();
                let mut amounts = [0; Program::MAX_STEPS];
                let amounts = amounts.get_mut(..steps.len())?;
                for (amount, step) in amounts.iter_mut().zip(steps) {
                    *amount = i32::from_le_bytes(*step);
                }
                return Program::new(counter, amounts)
                    .filter(|_| rest.is_empty())
                    .map(Self::Program);
            }
            _ => return None,
        })
    }
}

/// What the bank answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; the value read, or that of the counter changed last.
    Value(u64),
    /// Nothing was changed: a bound was hit, and the reserve could not help.
    Refused,
    /// Not a command of this service, or a counter that is not there.
    Invalid,
}

impl Outcome {
    /// The longest encoding.
    pub const MAX_LENGTH: usize = 9;
    const VALUE: u8 = 0;
    const REFUSED: u8 = 1;
    const INVALID: u8 = 2;

    /// Appends its bytes.
    pub(super) fn encode(self, reply: &mut Vec<u8>) {
        match self {
            Self::Value(value) => {
                reply.push(Self::VALUE);
                reply.extend_from_slice(&value.to_le_bytes());
            }
            Self::Refused => reply.push(Self::REFUSED),
            Self::Invalid => reply.push(Self::INVALID),
        }
    }

    /// The outcome that a reply's bytes are; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&Self::VALUE, value) => Some(Self::Value(u64::from_le_bytes(value.try_into().ok()?))),
            (&Self::REFUSED, []) => Some(Self::Refused),
            (&Self::INVALID, []) => Some(Self::Invalid),
            _ => None,
        }
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*word), rest))
}
