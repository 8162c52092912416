//! Where an allocation or a free goes when the CPU's magazine cannot serve it.
//!
//! An allocation tries, in this order: the magazine before the loaded one; a full magazine of the node's depot; half a
//! magazine of objects from the node's slabs, fullest first; a new slab. A free: the magazine before the loaded one, if
//! that is empty; an empty magazine of the depot, the full one going there; beyond the depot's bound, a magazine of
//! objects goes back to its slabs, one lock for 32 of them. Of a magazine that goes to the depot, objects of other
//! nodes go to their slabs.
//!
//! An empty magazine that is not of the cache's present size (see `record.rs`) is exchanged for one that is.
//!
//! Locks are taken with interrupts off, one at a time, and nothing is allocated under a lock. What needs memory (a
//! slab, a magazine) is got in between and handed over through the node, so that an interrupt handler or a reclaimer
//! that comes in the middle finds everything in order.

use core::ptr::NonNull;

use arrayvec::ArrayVec;
use rhumb_frames::{AllocClass, Request};
use rhumb_machine::{Machine, MemoryUse, Pinned};

use crate::error::{AllocError, Fault, Report};
use crate::magazine::{CpuLine, Magazine, Round};
use crate::memory::PageType;
use crate::record::{Name, Record};
use crate::slab::{Slab, header_bytes};
use crate::slabs::Slabs;
use rhumb_sync::atomic::Relaxed;

/// Objects that one lock visit gives back.
const BATCH: usize = 32;
/// New slabs that others may take the objects of before an allocation gives up.
const ATTEMPTS: usize = 64;

/// Which empty magazines are put to use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sizes {
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

/// The thing that a free lacks.
enum Step {
    /// A magazine; this one is of another size than the present one.
    Magazine(Option<Magazine>),
    /// These magazines are to be emptied first.
    Flush(ArrayVec<Magazine, 2>),
    /// This magazine is for the depot, but for its objects of other nodes.
    Deposit(Magazine),
    /// Nothing: the object goes to its slab.
    Direct,
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
        let line = record.line(self.cpu(pinned)).ok_or(AllocError::NoSuchCpu)?;
        let mut sizes = Sizes::Present;
        for _ in 0..ATTEMPTS {
            match self.refill(record, line, pinned, sizes) {
                Ok(object) => return Ok(object),
                Err(Lack::Magazine(old)) => sizes = self.add_magazine(record, pinned, class, old),
                Err(Lack::Slab) => self.grow(record, pinned, class)?,
            }
        }
        Err(AllocError::Exhausted)
    }

    /// Returns one object, the magazines being filled on the way.
    fn refill(
        &self,
        record: &'static Record,
        line: &CpuLine,
        pinned: Pinned<'_>,
        sizes: Sizes,
    ) -> Result<Round, Lack> {
        let guard = self.machine().irq_off();
        let shape = &record.shape;
        let mut single = None;
        if line.gate.is_busy() {
            record.node(guard.irq_off(), self.node_of(pinned)).take(shape, 1, |object| single = Some(object));
            return single.ok_or(Lack::Slab);
        }
        if let Some(object) = line.pop() {
            return Ok(object);
        }
        if line.behind() > 0 {
            line.swap();
            return line.pop().ok_or(Lack::Slab);
        }
        let mut node = record.node(guard.irq_off(), self.node_of(pinned));
        if let Some(full) = node.take_full() {
            record.count_exchange(line);
            if let Some(empty) = line.set_previous(line.unload()) {
                node.spare.push(empty);
            }
            line.load(full);
            return line.pop().ok_or(Lack::Slab);
        }
        let empty = line.unload().or_else(|| node.spare.pop());
        if sizes == Sizes::Present && empty.as_ref().is_none_or(|empty| empty.room() != record.rounds()) {
            return Err(Lack::Magazine(empty));
        }
        let Some(mut magazine) = empty else {
            node.take(shape, 1, |object| single = Some(object));
            return single.ok_or(Lack::Slab);
        };
        if node.take(shape, magazine.room().div_ceil(2), |object| magazine.push(object)) > 0 {
            record.count_exchange(line);
        }
        line.load(magazine);
        line.pop().ok_or(Lack::Slab)
    }

    /// Returns an empty magazine.
    pub(crate) fn new_magazine(&self, pinned: Pinned<'_>, room: u32, class: AllocClass) -> Option<Magazine> {
        let cell = self.cells.alloc(&self.memory, pinned, Magazine::bytes_for(room), class)?;
        // SAFETY: the cell was taken just now, for as many rounds.
        Some(unsafe { Magazine::place(cell, room) })
    }

    /// Gives back the memory of an empty magazine that has no holder.
    pub(crate) fn end_magazine(&self, pinned: Pinned<'_>, magazine: Magazine) {
        // SAFETY: `new_magazine` took it with this size; the caller has the only name of it.
        unsafe { self.cells.free(&self.memory, pinned, magazine.cell(), magazine.bytes()) };
    }

    /// Gives the node an empty magazine of the present size, for `old` where there is one, or `old` itself where there
    /// is no memory; and says what is put to use from here on.
    fn add_magazine(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        class: AllocClass,
        old: Option<Magazine>,
    ) -> Sizes {
        let new = self.new_magazine(pinned, record.rounds(), class);
        let sizes = if new.is_some() { Sizes::Present } else { Sizes::Any };
        let (kept, ended) = if new.is_some() { (new, old) } else { (old, None) };
        ended.into_iter().for_each(|magazine| self.end_magazine(pinned, magazine));
        if let Some(magazine) = kept {
            self.add_spare(record, pinned, magazine);
        }
        sizes
    }

    /// Gives the node an empty magazine.
    fn add_spare(&self, record: &'static Record, pinned: Pinned<'_>, magazine: Magazine) {
        let guard = self.machine().irq_off();
        record.node(guard.irq_off(), self.node_of(pinned)).spare.push(magazine);
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
        let Some(start) = self.memory.take(pinned, request) else {
            // SAFETY: the cell was taken just now.
            unsafe { self.cells.free(&self.memory, pinned, cell, header) };
            return Err(AllocError::Exhausted);
        };
        let node = self.node_of(pinned).min(record.node_count() - 1);
        let first = start.addr().get() + shape.colour(record.turn.fetch_add(1, Relaxed));
        // SAFETY: the cell was taken just now, for as many words as the shape says.
        let slab = unsafe { Slab::place(cell, first, record.setup.id, node as u8, shape) };
        self.prepare(record, slab);
        // SAFETY: the block was taken just now.
        unsafe { self.memory.stamp(start, shape.order.frames(), PageType::Slab, slab.to_private()) };
        let guard = self.machine().irq_off();
        record.node(guard.irq_off(), node).add(shape, slab);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn free_slow(&self, record: &'static Record, pinned: Pinned<'_>, object: NonNull<u8>) {
        if !record.setup.checks.is_off() {
            return self.free_checked(record, pinned, object);
        }
        self.set_memory_use(object, record.shape.object_bytes as usize, MemoryUse::FreeObject);
        let Some(line) = record.line(self.cpu(pinned)) else {
            self.give_back_batch(record, pinned, &[object]);
            return;
        };
        let mut sizes = Sizes::Present;
        loop {
            match self.make_room(record, line, pinned, object, sizes) {
                Ok(()) => return,
                Err(Step::Direct) => break,
                Err(Step::Magazine(None)) if sizes == Sizes::Any => break,
                // A free calls no reclaimer: it may be one that frees.
                Err(Step::Magazine(old)) => {
                    sizes = self.add_magazine(record, pinned, AllocClass::Atomic, old);
                }
                Err(Step::Flush(magazines)) => {
                    for mut magazine in magazines {
                        self.flush(record, pinned, &mut magazine, 0);
                        self.add_spare(record, pinned, magazine);
                    }
                }
                Err(Step::Deposit(magazine)) => self.deposit(record, pinned, magazine),
            }
        }
        self.give_back_batch(record, pinned, &[object]);
    }

    /// Keeps `object` in a magazine with room, or says what it takes to have one.
    fn make_room(
        &self,
        record: &'static Record,
        line: &CpuLine,
        pinned: Pinned<'_>,
        object: Round,
        sizes: Sizes,
    ) -> Result<(), Step> {
        let guard = self.machine().irq_off();
        if line.gate.is_busy() {
            return Err(Step::Direct);
        }
        if line.gate.is_wanted() {
            line.gate.answer();
            let held = line.take_all();
            return Err(if held.is_empty() { Step::Direct } else { Step::Flush(held) });
        }
        if line.is_loaded() {
            line.bound();
            if line.push(object) {
                return Ok(());
            }
        }
        if line.has_previous() && line.behind() == 0 {
            line.swap();
            return line.push(object).then_some(()).ok_or(Step::Direct);
        }
        let mut node = record.node(guard.irq_off(), self.node_of(pinned));
        if node.full.objects >= record.most_in_depot()
            && let Some(full) = line.set_previous(None)
        {
            return Err(Step::Flush([full].into_iter().collect()));
        }
        if record.node_count() > 1
            && let Some(full) = line.set_previous(None)
        {
            return Err(Step::Deposit(full));
        }
        let empty = match node.spare.pop() {
            Some(empty) if sizes == Sizes::Any || empty.room() == record.rounds() => empty,
            other => return Err(Step::Magazine(other)),
        };
        if let Some(full) = line.set_previous(line.unload()) {
            node.full.push(full);
        }
        record.count_exchange(line);
        line.load(empty);
        line.push(object).then_some(()).ok_or(Step::Direct)
    }

    /// Leaves a magazine that has no holder in the node's depot. Objects of other nodes go to their slabs, and
    /// all of them where less than half is left: a depot has only objects of its own node, and no nearly empty
    /// magazines.
    pub(crate) fn deposit(&self, record: &'static Record, pinned: Pinned<'_>, mut magazine: Magazine) {
        let here = self.node_of(pinned).min(record.node_count() - 1);
        let mut own = 0;
        for index in 0..magazine.count() {
            let object = magazine.round(index);
            if self.find(record, object).is_ok_and(|(slab, _)| slab.node() == here) {
                magazine.set_round(index, magazine.round(own));
                magazine.set_round(own, object);
                own += 1;
            }
        }
        let kept = if own * 2 < magazine.room() { 0 } else { own };
        self.flush(record, pinned, &mut magazine, kept);
        let guard = self.machine().irq_off();
        let mut node = record.node(guard.irq_off(), here);
        if magazine.count() > 0 { node.full.push(magazine) } else { node.spare.push(magazine) }
    }

    /// Gives the objects of a magazine that has no holder back to their slabs, all but the first `kept`.
    pub(crate) fn flush(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        magazine: &mut Magazine,
        kept: u32,
    ) -> u64 {
        let mut batch = ArrayVec::<Round, BATCH>::new();
        let mut frames = 0;
        for index in kept..magazine.count() {
            batch.push(magazine.round(index));
            if batch.is_full() {
                frames += self.give_back_batch(record, pinned, &batch);
                batch.clear();
            }
        }
        magazine.set_count(kept);
        frames + self.give_back_batch(record, pinned, &batch)
    }

    /// Gives at most [`BATCH`] objects back to their slabs, and says how many frames went back for it.
    pub(crate) fn give_back_batch(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        objects: &[Round],
    ) -> u64 {
        let mut found = ArrayVec::<(Slab, u32, Round), BATCH>::new();
        for &object in objects.iter().take(BATCH) {
            match self.find(record, object) {
                Ok((slab, index)) => found.push((slab, index, object)),
                Err(fault) => self.refuse(record, object, fault),
            }
        }
        let mut again = ArrayVec::<Round, BATCH>::new();
        let mut empty: Option<Slab> = None;
        let mut rest = &found[..];
        while let Some(&(first, ..)) = rest.first() {
            let guard = self.machine().irq_off();
            let mut node = record.node(guard.irq_off(), first.node());
            let here = rest.iter().take_while(|(slab, ..)| slab.node() == first.node()).count();
            for &(slab, index, object) in &rest[..here] {
                if node.put(&record.shape, slab, index).is_err() {
                    again.push(object);
                }
            }
            // No more than this visit can have emptied: what has gathered otherwise goes with the next ones.
            for slab in core::iter::from_fn(|| node.remove_excess(&record.shape)).take(here) {
                slab.set_next(empty);
                empty = Some(slab);
            }
            rest = &rest[here..];
        }
        again.iter().for_each(|&object| self.refuse(record, object, Fault::DoubleFree));
        let mut frames = 0;
        while let Some(slab) = empty {
            empty = slab.next();
            frames += self.release(record, pinned, slab);
        }
        frames
    }

    /// Returns the slab and the slot of an object of this cache.
    pub(crate) fn find(&self, record: &Record, object: Round) -> Result<(Slab, u32), Fault> {
        let address = object.addr().get();
        let word = self.memory.private(address, PageType::Slab).ok_or(Fault::Foreign)?;
        // SAFETY: `grow` wrote it; it is wiped before the slab goes, and an object that is out keeps its slab.
        let slab = unsafe { Slab::from_private(word) }.ok_or(Fault::Foreign)?;
        if slab.cache() != record.setup.id {
            return Err(Fault::WrongCache(self.name_of(slab.cache())));
        }
        let slot = address.wrapping_sub(record.shape.lead as usize);
        let index = slab.index(&record.shape, slot).ok_or(Fault::NoObject)?;
        Ok((slab, index))
    }

    /// Gives the memory of a slab back that is in no list any more, and says how many frames that was.
    pub(crate) fn release(&self, record: &'static Record, pinned: Pinned<'_>, slab: Slab) -> u64 {
        if let Some(start) = slab.start() {
            self.set_memory_use(start, record.shape.slab_bytes(), MemoryUse::Allowed);
            // SAFETY: `grow` took it with this order; no object of it is out.
            unsafe { self.memory.give(pinned, start, record.shape.order, record.shape.order.frames()) };
        }
        // SAFETY: `grow` took it for as many words; the slab is gone.
        unsafe { self.cells.free(&self.memory, pinned, slab.cell(), header_bytes(record.shape.words())) };
        record.shape.order.frames()
    }

    /// Returns the name of the cache with this number.
    fn name_of(&self, id: u16) -> Name {
        self.registry.name(self.machine().irq_off().irq_off(), id).unwrap_or_else(Self::nobody)
    }

    /// Tells of a free that is not done.
    #[cold]
    pub(crate) fn refuse(&self, record: &Record, object: Round, fault: Fault) {
        self.report(Some(record), &Report::of(record.setup.name, object, fault));
    }
}
