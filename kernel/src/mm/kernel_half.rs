//! The root's entries for the kernel's half of addresses: the same in every tree, and from boot on permanently.
//!
//! A tree of a task's own begins with a copy of these entries. Were one of them to change later, every such tree would
//! have to be found and written, and a CPU that runs on one meanwhile would fault on memory of the kernel. So boot makes
//! the tables of all entries that the kernel map may need; the others are never needed, because all that they are for is
//! mapped by boot. No entry is ever emptied: code that unmaps in this half keeps the tables of the root
//! (`rhumb_pagetable::EmptyTables`). [`audit`] looks whether that is so.

use core::fmt;
use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

use rhumb_pagetable::{ENTRIES, Entry, TableMemory};

use super::tables;

/// The entries of the upper half of a root.
pub type KernelHalf = [Entry; ENTRIES / 2];

/// The flag of an entry that the CPU sets.
const ACCESSED: u64 = 1 << 5;

static KEPT: [AtomicU64; ENTRIES / 2] = [const { AtomicU64::new(0) }; ENTRIES / 2];

/// Keeps what boot has built. Once, by boot.
pub fn keep(built: &KernelHalf) {
    for (kept, entry) in KEPT.iter().zip(built) {
        kept.store(entry.bits() & !ACCESSED, Release);
    }
}

/// An entry that has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    index: usize,
    before: u64,
    now: u64,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, before, now } = self;
        write!(f, "entry {index} of the root is not what boot left there: {now:#x}, not {before:#x}")
    }
}

/// Compares the kernel's root with what boot has built, reports each entry that has changed, and returns how many have.
///
/// Cost: 256 reads.
pub fn audit(mut report: impl FnMut(Change)) -> u64 {
    let (root, mut changes) = (tables::root(), 0);
    for (kept, index) in KEPT.iter().zip(ENTRIES / 2..) {
        let now = tables::reader().read(root.table, index).bits() & !ACCESSED;
        let before = kept.load(Acquire);
        if now != before {
            changes += 1;
            report(Change { index, before, now });
        }
    }
    changes
}
