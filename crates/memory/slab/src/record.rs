//! A cache's record: its shape and settings, a depot for each neighbourhood of CPUs, a locked part for each node. Its
//! lines are in `lines.rs`. A leaf where `unsafe` lives.
//!
//! ```text
//!   cell or block:  | Record | node 0 | node 1 | ... | depot 0 | depot 1 | ... | keepers |
//! ```

use core::ptr::NonNull;

use rhumb_frames::{AllocClass, Zone};
use rhumb_machine::CpuId;

use crate::check::{Checks, Quarantine};
use crate::depot::{LOOKS, NEIGHBOURS, SharedDepot};
use crate::line::CpuLine;
use crate::lines::{Lines, Place};
use crate::node::Node;
use crate::shape::Shape;
use crate::spec::Name;
use rhumb_sync::atomic::{AtomicU32, AtomicU64, Relaxed};
use rhumb_sync::{Guard, InterruptsOff, Keepers, Lock};

/// Bytes of objects that a depot may hold for each of its CPUs.
const DEPOT_BYTES: u32 = 32 << 10;
/// Once one CPU has visited its node this many times, the cache's magazines grow by one size. Measured: with 32, a run
/// of 600,000 operations shows the time that growing takes; with 8 it does not.
const GROW_VISITS: u32 = 8;
/// If all CPUs together exchange fewer magazines from one [`Slabs::trim`](crate::Slabs::trim) to the next, magazines
/// shrink by one size.
const KEEP_USES: u32 = GROW_VISITS / 4;

/// Constants of a cache, fixed when it is made.
pub(crate) struct Setup {
    pub(crate) name: Name,
    pub(crate) id: u16,
    pub(crate) class: AllocClass,
    pub(crate) ceiling: Zone,
    pub(crate) checks: Checks,
    pub(crate) cpus: usize,
    pub(crate) nodes: usize,
}

/// A cache.
#[repr(align(64))]
pub(crate) struct Record {
    /// The place of its lines.
    pub(crate) place: Place,
    pub(crate) shape: Shape,
    nodes: NonNull<Lock<Node>>,
    depots: NonNull<SharedDepot>,
    /// How many of them each node has.
    depots_of_node: usize,
    /// The CPUs whose lines may have magazines.
    pub(crate) keepers: Keepers,
    pub(crate) setup: Setup,
    /// The size of new magazines: see [`Shape::rounds`].
    magazine_size: AtomicU32,
    /// Slabs made so far: the colour of the next.
    pub(crate) turn: AtomicU32,
    /// The number of walks through the registry that work on this cache now; it is not given up meanwhile.
    pub(crate) walkers: AtomicU32,
    pub(crate) quarantine: Lock<Quarantine>,
    /// Objects and frees that were refused.
    pub(crate) faults: AtomicU64,
    /// Slabs given back on request.
    pub(crate) reclaimed: AtomicU64,
}

// SAFETY: a record points to its own lines, nodes and depots alone; lines are atomics, and each node and each depot is
// in a lock.
unsafe impl Sync for Record {}
// SAFETY: the memory of a record's lines, nodes and depots belongs to no CPU, and is used as their own types allow.
unsafe impl Send for Record {}

impl Record {
    /// Returns how many bytes the record of a cache takes on a machine with so many nodes and CPUs.
    pub(crate) const fn bytes(nodes: usize, cpus: usize) -> usize {
        Self::keepers_at(nodes, cpus) + 2 * Keepers::words(cpus) * size_of::<AtomicU64>()
    }

    const fn keepers_at(nodes: usize, cpus: usize) -> usize {
        Self::depots_at(nodes) + nodes * depots_per_node(nodes, cpus) * size_of::<SharedDepot>()
    }

    const fn depots_at(nodes: usize) -> usize {
        (Self::nodes_at() + nodes * Self::node_stride()).next_multiple_of(align_of::<SharedDepot>())
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
    /// The cell is the caller's alone until the record is given up, aligned to 64, and has [`Record::bytes`] of it. No
    /// other cache has the number.
    pub(crate) unsafe fn place(
        cell: NonNull<u8>,
        lines: &Lines,
        shape: Shape,
        setup: Setup,
    ) -> &'static Self {
        const { assert!(align_of::<Lock<Node>>() <= 64 && align_of::<SharedDepot>() <= 64) };
        // SAFETY: the cell is the caller's alone, and has room for the record, for each node at its multiple of 64, for
        // the depots, and for the words of the keepers, which are used no longer than the record that has them.
        // No other cache has the number, as the caller promises, so its lines are free to be cleared, and those of a
        // cache that lives from here on.
        unsafe {
            let nodes = cell.add(Self::nodes_at());
            for node in 0..setup.nodes {
                nodes.add(node * Self::node_stride()).cast::<Lock<Node>>().write(Lock::new(Node::default()));
            }
            let depots = cell.add(Self::depots_at(setup.nodes)).cast::<SharedDepot>();
            let depots_of_node = depots_per_node(setup.nodes, setup.cpus);
            for depot in 0..setup.nodes * depots_of_node {
                depots.add(depot).write(SharedDepot::default());
            }
            let words = Keepers::words(setup.cpus);
            let keepers = cell.add(Self::keepers_at(setup.nodes, setup.cpus)).cast::<AtomicU64>();
            for word in 0..2 * words {
                keepers.add(word).write(AtomicU64::new(0));
            }
            let set = |at: usize| core::slice::from_raw_parts(keepers.add(at * words).as_ptr(), words);
            let place = Place::of(usize::from(setup.id));
            lines.clear(place);
            let record = Self {
                place,
                shape,
                nodes: nodes.cast(),
                depots,
                depots_of_node,
                keepers: Keepers::new(set(0), set(1)),
                setup,
                magazine_size: AtomicU32::new(0),
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

    pub(crate) const fn node_count(&self) -> usize {
        self.setup.nodes
    }

    /// Locks a node's part; nodes past the last count as the last.
    #[inline]
    pub(crate) fn node<P: InterruptsOff>(&self, irq_off: P, node: usize) -> Guard<'_, Node, P> {
        let node = node.min(self.setup.nodes - 1);
        // SAFETY: `place` wrote a lock for each of `setup.nodes` nodes, one at least, and they live as long as the
        // record.
        let lock: &Lock<Node> = unsafe { self.nodes.byte_add(node * Self::node_stride()).as_ref() };
        lock.lock(irq_off)
    }

    /// Returns all depots, each with the node whose objects it has.
    pub(crate) fn depots(&self) -> impl Iterator<Item = (usize, &SharedDepot)> {
        let each = self.depots_of_node;
        (0..self.setup.nodes * each).map(move |depot| (depot / each, self.depot(depot)))
    }

    /// Returns the depot of a CPU of `node`.
    #[inline]
    pub(crate) fn depot_of(&self, node: usize, cpu: CpuId) -> &SharedDepot {
        self.depot(self.first_depot(node) + cpu.index() / NEIGHBOURS % self.depots_of_node)
    }

    /// Returns a depot in which there were objects a moment ago: that of a CPU of `node`, or else one of the next
    /// neighbourhoods there.
    pub(crate) fn depot_with_full(&self, node: usize, cpu: CpuId) -> Option<&SharedDepot> {
        let (first, all) = (self.first_depot(node), self.depots_of_node);
        let own = cpu.index() / NEIGHBOURS;
        let mut near = (0..all.min(1 + LOOKS)).map(|step| self.depot(first + (own + step) % all));
        near.find(|depot| depot.has_full())
    }

    /// Returns the first depot of a node; nodes past the last count as the last.
    fn first_depot(&self, node: usize) -> usize {
        node.min(self.setup.nodes - 1) * self.depots_of_node
    }

    fn depot(&self, depot: usize) -> &SharedDepot {
        debug_assert!(depot < self.setup.nodes * self.depots_of_node, "there is no depot {depot}");
        // SAFETY: `place` wrote this many depots for each of `setup.nodes` nodes, and they live as long as the record;
        // the callers name a node below that count, and a neighbourhood modulo the depots of a node.
        unsafe { self.depots.add(depot).as_ref() }
    }

    /// Returns the record's own memory.
    pub(crate) fn cell(&self) -> NonNull<u8> {
        NonNull::from(self).cast()
    }

    /// Returns how many rounds new magazines have.
    pub(crate) fn rounds(&self) -> u32 {
        self.shape.rounds(self.magazine_size.load(Relaxed))
    }

    /// Counts a visit of a CPU to its node: many of them make magazines grow.
    pub(crate) fn count_visit(&self, line: &CpuLine) {
        if line.count_visit().is_multiple_of(GROW_VISITS) {
            // Many CPUs may count at once, so the size is read anew: no CPU grows it past the largest.
            let grown = |size| (self.shape.rounds(size) < self.shape.most_rounds).then_some(size + 1);
            let _ = self.magazine_size.fetch_update(Relaxed, Relaxed, grown);
        }
    }

    /// Makes magazines one size smaller if CPUs exchanged hardly any since the last trim, and tells whether it did.
    pub(crate) fn shrink_if_idle(&self, uses: u32) -> bool {
        let size = self.magazine_size.load(Relaxed);
        let shrinks = size > 0 && uses < KEEP_USES;
        if shrinks {
            self.magazine_size.store(size - 1, Relaxed);
        }
        shrinks
    }

    /// Makes magazines as small as they can be, because memory is short.
    pub(crate) fn shrink(&self) {
        self.magazine_size.store(0, Relaxed);
    }

    /// Returns at how many objects a depot takes no more magazines: 32 KiB for each of its CPUs, two magazines at
    /// least.
    pub(crate) fn most_in_depot(&self) -> u32 {
        let objects = self.setup.cpus.min(NEIGHBOURS) as u32 * DEPOT_BYTES / self.shape.slot_bytes;
        objects.max(2 * self.shape.most_rounds)
    }
}

/// Returns how many depots each node has: one at least.
const fn depots_per_node(nodes: usize, cpus: usize) -> usize {
    let depots = cpus.div_ceil(NEIGHBOURS * nodes);
    if depots == 0 { 1 } else { depots }
}
