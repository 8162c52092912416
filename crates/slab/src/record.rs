//! A cache's records: its measures, a line for each CPU, a locked part for each node. A leaf where `unsafe` lives.
//!
//! ```text
//!   cell or block:  | Record | node 0 | node 1 | ... | line of CPU 0 | line of CPU 1 | ... |
//! ```

use core::fmt;
use core::ptr::NonNull;

use arrayvec::ArrayString;
use rhumb_frames::{AllocClass, Zone};
use rhumb_machine::{CpuId, IrqOff};

use crate::check::{Checks, Quarantine};
use crate::magazine::CpuLine;
use crate::node::Node;
use crate::shape::Shape;
use crate::sync::{AtomicU32, AtomicU64, Guard, Lock, Relaxed};

/// The most bytes of a cache's name.
pub const NAME_BYTES: usize = 24;

/// A cache's name; what is too long is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name(ArrayString<NAME_BYTES>);

impl Name {
    /// `name`, or its beginning.
    pub fn new(name: &str) -> Self {
        let mut short = ArrayString::new();
        for letter in name.chars() {
            if short.try_push(letter).is_err() {
                break;
            }
        }
        Self(short)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What is done to an object when its slab is made, and before its slab is given back.
#[derive(Clone, Copy)]
pub(crate) struct Lifecycle {
    /// A function pointer that the two others know how to use.
    pub(crate) context: *const (),
    pub(crate) construct: unsafe fn(*const (), NonNull<u8>),
    pub(crate) destruct: unsafe fn(NonNull<u8>),
}

/// Constants of a cache, fixed when it is made.
pub(crate) struct Setup {
    pub(crate) name: Name,
    pub(crate) id: u16,
    pub(crate) shape: Shape,
    pub(crate) class: AllocClass,
    pub(crate) ceiling: Zone,
    pub(crate) lifecycle: Option<Lifecycle>,
    pub(crate) checks: Checks,
    pub(crate) cpus: usize,
    pub(crate) nodes: usize,
}

/// Rounds of a new cache's magazines: an eighth of what they may grow to.
const START_PART: u32 = 8;

/// A cache.
#[repr(align(64))]
pub(crate) struct Record {
    lines: NonNull<CpuLine>,
    cpus: usize,
    pub(crate) shape: Shape,
    nodes: NonNull<Lock<Node>>,
    node_count: usize,
    pub(crate) setup: Setup,
    /// Rounds that magazines hold now.
    rounds: AtomicU32,
    /// Slabs made so far: the colour of the next.
    pub(crate) turn: AtomicU32,
    /// Who walks through the registry and works on this cache now; it is not given up meanwhile.
    pub(crate) walkers: AtomicU32,
    pub(crate) quarantine: Lock<Quarantine>,
    /// Objects and frees that were refused.
    pub(crate) faults: AtomicU64,
    /// Slabs given back because somebody asked.
    pub(crate) reclaimed: AtomicU64,
}

// SAFETY: what it points to are its own lines and nodes, which are shared as their own types allow; the lifecycle's
// context is a function.
unsafe impl Sync for Record {}
// SAFETY: as above.
unsafe impl Send for Record {}

impl Record {
    /// Bytes for a cache on a machine with so many CPUs and nodes.
    pub(crate) const fn bytes(cpus: usize, nodes: usize) -> usize {
        Self::nodes_at() + nodes * size_of::<Lock<Node>>().next_multiple_of(64) + cpus * size_of::<CpuLine>()
    }

    const fn nodes_at() -> usize {
        size_of::<Self>().next_multiple_of(64)
    }

    const fn node_stride() -> usize {
        size_of::<Lock<Node>>().next_multiple_of(64)
    }

    /// Makes a cache in `cell`.
    ///
    /// # Safety
    /// The cell is the caller's alone until the record is given up, aligned to 64, and has [`Record::bytes`] of it.
    pub(crate) unsafe fn place(cell: NonNull<u8>, setup: Setup) -> &'static Self {
        const { assert!(align_of::<Lock<Node>>() <= 64 && size_of::<CpuLine>().is_multiple_of(64)) };
        let (cpus, node_count) = (setup.cpus, setup.nodes);
        // SAFETY: all of it lies within the cell, each part at a multiple of 64.
        unsafe {
            let nodes = cell.add(Self::nodes_at());
            for node in 0..node_count {
                nodes.add(node * Self::node_stride()).cast::<Lock<Node>>().write(Lock::new(Node::default()));
            }
            let lines = nodes.add(node_count * Self::node_stride()).cast::<CpuLine>();
            for cpu in 0..cpus {
                lines.add(cpu).write(CpuLine::new());
            }
            let rounds = setup.shape.most_rounds.div_ceil(START_PART).max(2).min(setup.shape.most_rounds);
            let rounds = if setup.checks.is_off() { rounds } else { 0 };
            let record = Self {
                lines,
                cpus,
                shape: setup.shape,
                nodes: nodes.cast(),
                node_count,
                setup,
                rounds: AtomicU32::new(rounds),
                turn: AtomicU32::new(0),
                walkers: AtomicU32::new(0),
                quarantine: Lock::new(Quarantine::default()),
                faults: AtomicU64::new(0),
                reclaimed: AtomicU64::new(0),
            };
            cell.cast::<Self>().write(record);
            cell.cast::<Self>().as_ref()
        }
    }

    /// The line of `cpu`.
    #[inline(always)]
    pub(crate) fn line(&self, cpu: CpuId) -> Option<&CpuLine> {
        // SAFETY: there is a line for each CPU, and it lives as long as the record.
        (cpu.index() < self.cpus).then(|| unsafe { self.lines.add(cpu.index()).as_ref() })
    }

    /// All lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &CpuLine> {
        (0..self.cpus).filter_map(|cpu| self.line(CpuId::new(cpu)?))
    }

    pub(crate) const fn node_count(&self) -> usize {
        self.node_count
    }

    /// Locks a node's part; nodes past the last count as the last.
    #[inline]
    pub(crate) fn node<'a>(&'a self, irq_off: IrqOff<'a>, node: usize) -> Guard<'a, Node> {
        let node = node.min(self.node_count - 1);
        // SAFETY: there is at least one node, and the parts live as long as the record.
        let lock: &Lock<Node> = unsafe { self.nodes.byte_add(node * Self::node_stride()).as_ref() };
        lock.lock(irq_off)
    }

    /// The record's own memory.
    pub(crate) fn cell(&self) -> NonNull<u8> {
        NonNull::from(self).cast()
    }

    /// Rounds that magazines hold now.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.load(Relaxed)
    }

    /// Counts a visit to the depot: quick ones make the magazines grow.
    pub(crate) fn count_visit(&self, node: &mut Node, now_ns: impl FnOnce() -> u64) {
        if node.count_visit(now_ns) {
            self.rounds.store((self.rounds() * 2).min(self.shape.most_rounds), Relaxed);
        }
    }

    /// Makes magazines small again: memory is short.
    pub(crate) fn shrink_rounds(&self) {
        let rounds = self.rounds();
        self.rounds.store(rounds.min(self.shape.most_rounds.div_ceil(START_PART).max(2)), Relaxed);
    }

    /// Full magazines that a node's depot keeps at most: 128 KiB of objects for each CPU, two at least.
    pub(crate) fn most_full(&self) -> u32 {
        let bytes = (self.rounds() * self.shape.slot_bytes).max(1);
        (self.cpus as u32 * (128 << 10) / bytes).clamp(2, 64)
    }
}
