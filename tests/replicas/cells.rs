//! A small service with every kind of command: cells of numbers, dealt out to the groups.
//!
//! A push that overflows its cell spills into the next one, which belongs to another group: that
//! is what a split is to a tree. Its check looks whether it overflows.

use psmr::service::{
    Context, Cuts, GroupMap, Lease, Optimistic, PartitionedService, RestoreError, Swept, Verdict,
};
use psmr::types::{Digest, GroupId, GroupSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub const CAPACITY: u64 = 40;

/// Reads a cell.
pub const GET: u8 = 0;
/// Adds to a cell: always safe in the cell's group.
pub const ADD: u8 = 1;
/// Adds to a cell that may overflow: optimistic in the cell's group, conservative in all.
pub const PUSH: u8 = 2;
/// Moves what is in one cell to another: both groups.
pub const MOVE: u8 = 3;
/// Reads every cell.
pub const SUM: u8 = 4;
/// Reads every cell, one by one, into a long reply.
pub const DUMP: u8 = 5;

/// A command: operation, cell, amount or other cell; anything behind it is padding.
pub fn cell_command(operation: u8, cell: u8, amount: u8) -> Vec<u8> {
    vec![operation, cell, amount]
}

#[derive(Debug)]
pub struct Cells {
    k: usize,
    cells: Vec<AtomicU64>,
    cuts: Cuts<()>,
    /// How often a check was made.
    pub checks: AtomicU64,
}

impl Cells {
    pub fn new(k: usize, cells: usize) -> Self {
        let cells = (0..cells).map(|_| AtomicU64::new(0)).collect();
        Self { k, cells, checks: AtomicU64::new(0), cuts: Cuts::new(k) }
    }

    pub fn group(&self, cell: usize) -> GroupId {
        GroupId::new(cell % self.k)
    }

    fn cell(&self, command: &[u8]) -> usize {
        usize::from(command[1]) % self.cells.len()
    }

    fn other(&self, command: &[u8]) -> usize {
        usize::from(command[2]) % self.cells.len()
    }

    fn set(&self, lease: &Lease<'_>, cell: usize, value: u64) -> u64 {
        assert!(lease.covers(self.group(cell)), "cell {cell} is not covered by {lease:?}");
        self.cells[cell].store(value, Relaxed);
        value
    }

    fn value(&self, lease: &Lease<'_>, cell: usize) -> u64 {
        assert!(lease.covers(self.group(cell)), "cell {cell} is not covered by {lease:?}");
        self.cells[cell].load(Relaxed)
    }

    fn overflows(&self, lease: &Lease<'_>, command: &[u8]) -> bool {
        self.value(lease, self.cell(command)) + u64::from(command[2]) > CAPACITY
    }
}

impl GroupMap for Cells {
    fn groups(&self) -> usize {
        self.k
    }

    fn conservative(&self, command: &[u8]) -> GroupSet {
        match command[0] {
            GET | ADD => GroupSet::one(self.group(self.cell(command))),
            MOVE => {
                GroupSet::one(self.group(self.cell(command))).with(self.group(self.other(command)))
            }
            _ => GroupSet::all(self.k),
        }
    }

    fn optimistic(&self, command: &[u8]) -> GroupSet {
        match command[0] {
            PUSH => GroupSet::one(self.group(self.cell(command))),
            _ => self.conservative(command),
        }
    }

    fn is_read(&self, command: &[u8]) -> bool {
        matches!(command[0], GET | SUM | DUMP)
    }
}

impl PartitionedService for Cells {
    const MAX_WRITE_REPLY: usize = 8;

    fn execute(&self, lease: &mut Lease<'_>, _: &Context, command: &[u8], reply: &mut Vec<u8>) {
        let cell = self.cell(command);
        let amount = u64::from(command[2]);
        let value = match command[0] {
            GET => self.value(lease, cell),
            ADD => self.set(lease, cell, self.value(lease, cell) + amount),
            PUSH if self.overflows(lease, command) => {
                let next = (cell + 1) % self.cells.len();
                let spilled = self.value(lease, cell) + amount;
                self.set(lease, cell, 0);
                self.set(lease, next, self.value(lease, next) * 3 % CAPACITY + spilled % 7)
            }
            PUSH => self.set(lease, cell, self.value(lease, cell) + amount),
            MOVE => {
                let moved = self.value(lease, cell);
                self.set(lease, cell, 0);
                let other = self.other(command);
                self.set(lease, other, self.value(lease, other).wrapping_mul(5) + moved)
            }
            SUM => (0..self.cells.len()).map(|cell| self.value(lease, cell)).sum(),
            _ => {
                for cell in 0..self.cells.len() {
                    let value = self.value(lease, cell);
                    reply.extend(std::iter::repeat_n(value.to_le_bytes(), 600).flatten());
                }
                return;
            }
        };
        reply.extend_from_slice(&value.to_le_bytes());
    }

    fn digest(&self, lease: &mut Lease<'_>) -> Digest {
        assert!(lease.is_whole());
        let fold = |hash: u64, cell| (hash ^ self.value(lease, cell)).wrapping_mul(0x100_0000_01b3);
        Digest((0..self.cells.len()).fold(0xcbf2_9ce4_8422_2325, fold))
    }

    fn cut(&self, lease: &mut Lease<'_>) {
        assert!(lease.is_whole());
        self.cuts.begin(|_| ());
        self.cuts.save(lease.access(), |saved| {
            for cell in 0..self.cells.len() {
                saved.extend_from_slice(&self.value(lease, cell).to_le_bytes());
            }
        });
    }

    fn sweep(
        &self,
        _lease: &mut Lease<'_>,
        group: GroupId,
        _budget: usize,
        sink: &mut Vec<u8>,
    ) -> Swept {
        self.cuts.sweep(group, sink, |(), _| Swept::Done)
    }

    fn restore(&self, lease: &mut Lease<'_>, snapshot: &[u8]) -> Result<(), RestoreError> {
        for (cell, bytes) in snapshot.chunks_exact(8).enumerate() {
            let value = u64::from_le_bytes(bytes.try_into().map_err(|_| RestoreError::Malformed)?);
            self.set(lease, cell, value);
        }
        Ok(())
    }
}

impl Optimistic for Cells {
    fn try_execute(
        &self,
        lease: &mut Lease<'_>,
        group: GroupId,
        context: &Context,
        command: &[u8],
        reply: &mut Vec<u8>,
    ) -> Verdict {
        self.checks.fetch_add(1, Relaxed);
        if self.group(self.cell(command)) != group {
            return Verdict::FailBounds;
        }
        if self.overflows(lease, command) {
            return Verdict::FailStructure;
        }
        self.execute(lease, context, command, reply);
        Verdict::Pass
    }
}
