//! What messages are made of: ring layouts, values, ranges of instances, lists of them.

use super::{DecodeError, Reader, Room, TAG_LENGTH};
use crate::types::{Instance, NodeId, ValueId};
use bytemuck::{Pod, Zeroable};

/// The most acceptors of one ring.
pub const MAX_ACCEPTORS: usize = 15;
/// The most acceptors of one ring layout: f + 1.
pub const MAX_RING: usize = MAX_ACCEPTORS / 2 + 1;

/// The ring as the coordinator laid it: position 0 starts the 2B, the coordinator is last.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Layout {
    members: [NodeId; MAX_RING],
    length: u16,
    reserved: [u16; 3],
}

const _: () = assert!(size_of::<Layout>() == 24);

impl Layout {
    /// A layout of `members`, the coordinator last.
    ///
    /// # Panics
    /// If there are none or more than [`MAX_RING`].
    #[must_use]
    pub fn new(members: &[NodeId]) -> Self {
        assert!(!members.is_empty() && members.len() <= MAX_RING);
        let mut layout = Self::default();
        layout.members[..members.len()].copy_from_slice(members);
        layout.length = u16::try_from(members.len()).expect("at most eight");
        layout
    }

    /// The members in ring order.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members[..usize::from(self.length).min(MAX_RING)]
    }

    /// Where `node` stands.
    #[must_use]
    pub fn position(&self, node: NodeId) -> Option<usize> {
        self.members().iter().position(|member| *member == node)
    }

    /// The member after position `position`; none after the coordinator.
    #[must_use]
    pub fn successor(&self, position: usize) -> Option<NodeId> {
        self.members().get(position + 1).copied()
    }

    /// The last member.
    #[must_use]
    pub fn coordinator(&self) -> Option<NodeId> {
        self.members().last().copied()
    }

    pub(super) fn check(&self) -> Result<(), DecodeError> {
        let length = usize::from(self.length);
        if length == 0 || length > MAX_RING { Err(DecodeError::Malformed) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.members().iter().map(|member| member.0)).finish()
    }
}

/// What one instance decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing: fills an instance that nobody had a value for. One slot.
    Noop,
    /// SKIP(n): n slots that an idle ring passes over. n >= 1.
    Skip(u64),
    /// Commands end to end. One slot.
    Batch(&'a [u8]),
    /// The epoch that begins and its members, as `config` writes them. One slot.
    Members(u32, &'a [u8]),
}

impl Value<'_> {
    /// How many slots of the merge it takes.
    #[must_use]
    pub const fn slots(&self) -> u64 {
        match self {
            Self::Skip(n) => *n,
            Self::Noop | Self::Batch(_) | Self::Members(..) => 1,
        }
    }

    /// The bytes that follow its fixed part.
    #[must_use]
    #[inline]
    pub const fn bytes(&self) -> &[u8] {
        match self {
            Self::Batch(bytes) | Self::Members(_, bytes) => bytes,
            Self::Noop | Self::Skip(_) => &[],
        }
    }

    pub(super) const fn length(&self) -> usize {
        self.bytes().len()
    }
}

/// Consecutive instances whose value ids are consecutive too: instance `first + i` has the id
/// whose counter is `id.counter + i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Range {
    /// The first instance.
    pub first: Instance,
    /// How many instances; at least 1.
    pub count: u64,
    /// The value id of the first.
    pub id: ValueId,
}

const _: () = assert!(size_of::<Range>() == 32);

impl Range {
    /// The range of one instance.
    #[must_use]
    pub const fn one(instance: Instance, id: ValueId) -> Self {
        Self { first: instance, count: 1, id }
    }

    /// Takes in `instance` if it follows on, id included; says whether it did.
    pub fn extend(&mut self, instance: Instance, id: ValueId) -> bool {
        let follows = instance.0 == self.first.0 + self.count
            && id == ValueId { counter: self.id.counter + self.count, ..self.id };
        self.count += u64::from(follows);
        follows
    }

    /// Each (instance, value id).
    pub fn iter(self) -> impl Iterator<Item = (Instance, ValueId)> {
        (0..self.count).map(move |i| {
            let counter = self.id.counter.wrapping_add(i);
            (Instance(self.first.0.wrapping_add(i)), ValueId { counter, ..self.id })
        })
    }
}

/// What a repair asks for (rule 7: two states, each with its own request).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Value and decision.
    Both = 0,
    /// The value of a decided instance.
    Value = 1,
    /// The decision of an instance whose value is here.
    Decision = 2,
}

/// A run of missing instances in a repair request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct WantedRange {
    /// The first.
    pub first: Instance,
    /// How many.
    pub count: u32,
    /// A [`Wanted`] as a number.
    pub wanted: u32,
}

impl DecidedRanges<'_> {
    /// The most ranges of one message: with the fixed part of any they fit the least datagram.
    pub const MOST: usize = 32;
}

const _: () =
    assert!(DecidedRanges::MOST * size_of::<Range>() + 128 <= Room::LEAST.datagram() - TAG_LENGTH);

macro_rules! pod_list {
    ($(#[$doc:meta])* $name:ident of $item:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name<'a>(pub(super) &'a [u8]);

        impl<'a> $name<'a> {
            /// A list over items in memory.
            #[must_use]
            pub fn new(items: &'a [$item]) -> Self {
                Self(bytemuck::cast_slice(items))
            }

            /// How many items.
            #[must_use]
            pub const fn len(&self) -> usize {
                self.0.len() / size_of::<$item>()
            }

            /// Whether it is empty.
            #[must_use]
            pub const fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// The items.
            pub fn iter(&self) -> impl Iterator<Item = $item> + use<'a> {
                self.0.chunks_exact(size_of::<$item>()).map(bytemuck::pod_read_unaligned)
            }

            pub(super) fn read(reader: &mut Reader<'a>, count: u32) -> Result<Self, DecodeError> {
                let count = usize::try_from(count).map_err(|_| DecodeError::Malformed)?;
                let length = count.checked_mul(size_of::<$item>()).ok_or(DecodeError::Malformed)?;
                Ok(Self(reader.take(length)?))
            }

            pub(super) fn count(&self) -> u32 {
                u32::try_from(self.len()).expect("a list fits a datagram")
            }
        }

        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }

        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_list().entries(self.iter()).finish()
            }
        }
    };
}

pod_list! {
    /// Decided (or accepted) ranges. A receiver bounds each count by its own window before looping.
    DecidedRanges of Range
}
pod_list! {
    /// What a learner lacks.
    WantedRanges of WantedRange
}

/// A value's fixed part; its bytes follow where the message says.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct ValueFixed {
    /// How many slots are skipped, or which epoch begins.
    skip: u64,
    length: u32,
    kind: u32,
}

impl ValueFixed {
    pub(super) fn of(value: &Value<'_>) -> Self {
        let length = u32::try_from(value.length()).expect("a batch fits a datagram");
        match value {
            Value::Noop => Self { skip: 0, length, kind: 0 },
            Value::Skip(n) => Self { skip: *n, length, kind: 1 },
            Value::Batch(_) => Self { skip: 0, length, kind: 2 },
            Value::Members(epoch, _) => Self { skip: u64::from(*epoch), length, kind: 3 },
        }
    }

    pub(super) fn read<'a>(&self, reader: &mut Reader<'a>) -> Result<Value<'a>, DecodeError> {
        let length = usize::try_from(self.length).map_err(|_| DecodeError::Malformed)?;
        match self.kind {
            0 if length == 0 => Ok(Value::Noop),
            1 if length == 0 && self.skip > 0 => Ok(Value::Skip(self.skip)),
            2 => Ok(Value::Batch(reader.take(length)?)),
            3 if length > 0 => {
                let epoch = u32::try_from(self.skip).map_err(|_| DecodeError::Malformed)?;
                Ok(Value::Members(epoch, reader.take(length)?))
            }
            _ => Err(DecodeError::Malformed),
        }
    }
}
