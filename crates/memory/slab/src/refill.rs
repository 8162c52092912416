//! Where an allocation goes when the CPU's magazine cannot serve it.
//!
//! | step | the CPU or its node has | it does | else |
//! |---|---|---|---|
//! | 1 | an operation of this CPU that was interrupted, or no memory for its lines | takes one object from the slabs, or else from the depot | a new slab |
//! | 2 | objects in the loaded magazine, after all | takes one | |
//! | 3 | a full magazine of its own | loads that one | |
//! | 4 | full magazines in the depot | takes two and loads one; leaves the empty ones that it need not keep | |
//! | 5 | an empty magazine of the present size | fills half of it from the slabs, fullest first | a new magazine |
//! | 6 | no memory for a magazine | takes one object from the slabs | a new slab |
//! | 7 | no memory for a slab | takes one object from the slabs or a depot of any node | an error |
//!
//! Locks are taken with interrupts off, one at a time, and nothing is allocated under a lock. Memory that a step lacks
//! (a slab, a magazine) is allocated in between and handed over through the node or the line, so that an interrupt
//! handler or a reclaimer that comes in the middle finds everything in order. Then the steps begin anew.

use core::ptr::NonNull;

use rhumb_frames::{AllocClass, Request};
use rhumb_machine::{Machine, MemoryUse, Pinned};

use crate::error::AllocError;
use crate::line::CpuLine;
use crate::lines::Lines;
use crate::magazine::{Magazine, Round, Stack};
use crate::memory::PageType;
use crate::record::Record;
use crate::slab::{Slab, header_bytes};
use crate::slabs::Slabs;
use rhumb_sync::atomic::Relaxed;

/// Rounds of steps before an allocation gives up: other CPUs may take the objects of each slab that it makes.
pub(crate) const ATTEMPTS: usize = 64;

/// The empty magazines that are put to use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// Those of the cache's present size: others are exchanged for one.
    Present,
    /// All: there is no memory for another.
    Any,
}

/// The thing that an allocation lacks.
enum Lack {
    Slab,
    /// A magazine; this one is of another size than the present one.
    Magazine(Option<Magazine>),
}

impl<M: Machine> Slabs<M> {
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_slow(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        if self.cpu(pinned).index() >= record.setup.cpus {
            return Err(AllocError::NoSuchCpu);
        }
        if self.registry.lines.is_traced() {
            return self.alloc_traced(record, pinned, class);
        }
        self.alloc_untraced(record, pinned, class)
    }

    #[inline]
    pub(crate) fn alloc_untraced(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        let class = if class == AllocClass::Ordinary { record.setup.class } else { class };
        if !record.setup.checks.is_off() {
            return self.alloc_checked(record, pinned, class);
        }
        let object = self.alloc_unchecked(record, pinned, class)?;
        self.set_memory_use(object, record.shape.object_bytes as usize, MemoryUse::Allowed);
        Ok(object)
    }

    fn alloc_unchecked(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        let line = self.own_line(record, pinned);
        let mut sizes = Sizes::Present;
        for _ in 0..ATTEMPTS {
            match self.refill(record, line, pinned, sizes) {
                Ok(object) => return Ok(object),
                // No reclaimer is called for a magazine, because the CPU can do without.
                Err(Lack::Magazine(old)) => sizes = self.add_magazine(record, pinned, old),
                Err(Lack::Slab) => {
                    if let Err(error) = self.grow(record, pinned, class) {
                        return self.take_anywhere(record, pinned).ok_or(error);
                    }
                }
            }
        }
        self.take_anywhere(record, pinned).ok_or(AllocError::Exhausted)
    }

    /// Takes one object from the slabs of any node, the CPU's own first, or else from any depot, because there is no
    /// memory for a slab. A reclaimer that was asked for the memory may have given objects back to slabs that have
    /// other objects out, so that the node has objects by now though no frame is free. Cost: a lock for each node,
    /// where none has an object.
    #[cold]
    pub(crate) fn take_anywhere(&self, record: &Record, pinned: Pinned<'_>) -> Option<Round> {
        let (own, nodes) = (self.node_of(pinned), record.node_count());
        let take_single =
            |node: usize| record.node(self.machine().irq_off(), node % nodes).take_single(&record.shape);
        let of_slabs = (own..own + nodes).find_map(take_single);
        let mut depots = record.depots().filter(|(_, depot)| depot.has_full());
        of_slabs.or_else(|| depots.find_map(|(_, depot)| depot.lock(self.machine().irq_off()).take_single()))
    }

    /// Returns this CPU's line of a cache, and makes the CPU's lines if it has none yet; `None` where there is no memory
    /// for them, or no such CPU.
    #[inline]
    pub(crate) fn own_line(&self, record: &Record, pinned: Pinned<'_>) -> Option<&CpuLine> {
        let cpu = self.cpu(pinned);
        self.line(record, cpu).or_else(|| {
            self.set_up_cpu(pinned);
            self.line(record, cpu)
        })
    }

    /// Makes this CPU's lines of all caches now, 16 KiB near the CPU, if it has none yet. Else the CPU makes them when it
    /// first needs one; where there is no memory for them, it goes on without and tries again.
    #[cold]
    pub fn set_up_cpu(&self, pinned: Pinned<'_>) {
        let (lines, cpu, bytes) = (&self.registry.lines, self.cpu(pinned), Lines::BYTES_OF_CPU);
        if lines.has_lines(cpu) || cpu.index() >= self.config.cpus {
            return;
        }
        // The CPU can do without its lines for a while: no reclaimer is called for them.
        let Some(memory) = self.cells.alloc(&self.memory, pinned, bytes, AllocClass::Atomic) else { return };
        // SAFETY: the memory was taken just now, with this size, and is aligned to its size.
        if let Some(memory) = unsafe { lines.open(cpu, memory) } {
            // SAFETY: the memory was taken above with this size. A handler on this CPU has made the lines meanwhile, so
            // that the memory is in no use.
            unsafe { self.cells.free(&self.memory, pinned, memory, bytes) };
        }
    }

    /// Returns one object, and fills the magazines on the way.
    fn refill(
        &self,
        record: &'static Record,
        line: Option<&CpuLine>,
        pinned: Pinned<'_>,
        sizes: Sizes,
    ) -> Result<Round, Lack> {
        let guard = self.machine().irq_off();
        let (shape, cpu, node) = (&record.shape, self.cpu(pinned), self.node_of(pinned));
        let Some(line) = line.filter(|line| !line.gate.is_busy()) else {
            let single = record.node(guard.irq_off(), node).take_single(shape);
            let of_depot = || record.depot_with_full(node, cpu)?.lock(guard.irq_off()).take_single();
            return single.or_else(of_depot).ok_or(Lack::Slab);
        };
        record.keepers.join(cpu);
        if let Some(object) = line.pop() {
            return Ok(object);
        }
        if line.load_full() {
            return line.pop().ok_or(Lack::Slab);
        }
        if let Some(depot) = record.depot_with_full(node, cpu) {
            let mut depot = depot.lock(guard.irq_off());
            let full = depot.take_full(shape.kept_full.max(1));
            if full.count > 0 {
                record.count_visit(line);
                line.add_full(full);
                line.load_full();
                depot.spare.append(line.excess_empty());
                return line.pop().ok_or(Lack::Slab);
            }
        }
        let empty = line.unload().or_else(|| line.take_empty()).or_else(|| {
            let depot = record.depot_of(node, cpu);
            depot.has_spare().then(|| depot.lock(guard.irq_off()).spare.pop())?
        });
        if sizes == Sizes::Present && empty.as_ref().is_none_or(|empty| empty.room() != record.rounds()) {
            return Err(Lack::Magazine(empty));
        }
        let mut node = record.node(guard.irq_off(), node);
        let Some(mut magazine) = empty else {
            return node.take_single(shape).ok_or(Lack::Slab);
        };
        if node.take(shape, magazine.room().div_ceil(2), |object| magazine.push(object)) > 0 {
            record.count_visit(line);
        }
        line.load(magazine);
        line.pop().ok_or(Lack::Slab)
    }

    /// Returns an empty magazine. It calls no reclaimer, which may be the caller, and without which the caller goes on
    /// by itself.
    pub(crate) fn new_magazine(&self, pinned: Pinned<'_>, room: u32) -> Option<Magazine> {
        let bytes = Magazine::bytes_for(room);
        let cell = self.cells.alloc(&self.memory, pinned, bytes, AllocClass::Atomic)?;
        // SAFETY: the cell was taken just now with the bytes for as many rounds, and cells are aligned to their size.
        Some(unsafe { Magazine::place(cell, room) })
    }

    /// Gives back the memory of an empty magazine.
    pub(crate) fn end_magazine(&self, pinned: Pinned<'_>, magazine: Magazine) {
        // SAFETY: `new_magazine` took the cell with this size; the magazine's one holder, the caller, gave it up.
        unsafe { self.cells.free(&self.memory, pinned, magazine.cell(), magazine.bytes()) };
    }

    /// Gives the CPU an empty magazine of the present size in exchange for `old`, or `old` itself where there is no
    /// memory for a new one; and says which magazines are put to use from here on.
    pub(crate) fn add_magazine(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        old: Option<Magazine>,
    ) -> Sizes {
        let new = self.new_magazine(pinned, record.rounds());
        let sizes = if new.is_some() { Sizes::Present } else { Sizes::Any };
        let (kept, ended) = if new.is_some() { (new, old) } else { (old, None) };
        ended.into_iter().for_each(|magazine| self.end_magazine(pinned, magazine));
        if let Some(magazine) = kept {
            let guard = self.machine().irq_off();
            let magazine = match self.line_that_keeps(record, pinned) {
                Some(line) => line.keep_empty(magazine),
                None => Some(magazine),
            };
            if let Some(magazine) = magazine {
                let depot = record.depot_of(self.node_of(pinned), self.cpu(pinned));
                depot.lock(guard.irq_off()).spare.push(magazine);
            }
        }
        sizes
    }

    /// Returns this CPU's line, which may have magazines from here on; `None` where it is busy, or there is none. With
    /// interrupts off.
    fn line_that_keeps(&self, record: &Record, pinned: Pinned<'_>) -> Option<&CpuLine> {
        let line = self.line(record, self.cpu(pinned)).filter(|line| !line.gate.is_busy())?;
        record.keepers.join(self.cpu(pinned));
        Some(line)
    }

    /// Gives the CPU empty magazines, and its depot those that the CPU need not keep.
    pub(crate) fn add_empty(&self, record: &'static Record, pinned: Pinned<'_>, mut empty: Stack) {
        let guard = self.machine().irq_off();
        if let Some(line) = self.line_that_keeps(record, pinned) {
            line.take_empty_from(&mut empty);
        }
        if empty.count > 0 {
            let depot = record.depot_of(self.node_of(pinned), self.cpu(pinned));
            depot.lock(guard.irq_off()).spare.append(empty);
        }
    }

    /// Gives the node a new slab.
    pub(crate) fn grow(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        class: AllocClass,
    ) -> Result<(), AllocError> {
        let shape = &record.shape;
        let header = header_bytes(shape.words());
        let cell = self.cells.alloc(&self.memory, pinned, header, class).ok_or(AllocError::Exhausted)?;
        let request = Request::new(shape.order).class(class).ceiling(record.setup.ceiling);
        let Some(start) = self.memory.take_for_objects(pinned, request, shape.align as usize) else {
            // SAFETY: the cell was taken just now with this size, and nothing was placed in it.
            unsafe { self.cells.free(&self.memory, pinned, cell, header) };
            return Err(AllocError::Exhausted);
        };
        let node = self.node_of(pinned).min(record.node_count() - 1);
        let first = start.addr().get() + shape.colour(record.turn.fetch_add(1, Relaxed));
        // SAFETY: the cell was taken just now with the bytes of this shape's header, and cells are aligned to their
        // size; the slots begin at the block's start, moved by the colour.
        let slab = unsafe { Slab::place(cell, first, record.setup.id, node as u8, shape) };
        self.prepare(record, &slab);
        // SAFETY: the block was taken just now with as many frames, and the node learns of it afterwards.
        unsafe { self.memory.stamp(start, shape.order.frames(), PageType::SLAB, slab.name().to_private()) };
        record.node(self.machine().irq_off(), node).add(shape, slab);
        Ok(())
    }
}
