//! Where a free goes when the CPU's magazine cannot take the object.
//!
//! | step | the CPU or its node has | it does |
//! |---|---|---|
//! | 1 | an operation of this CPU that was interrupted | gives the object to its slab |
//! | 2 | been asked for its magazines by another CPU | gives both magazines' objects to their slabs |
//! | 3 | room in the loaded magazine, after all | keeps the object |
//! | 4 | an empty magazine behind the loaded one | loads that one |
//! | 5 | a depot that holds as much as it may | gives the full magazine's objects to their slabs, one lock for 32 of them |
//! | 6 | several nodes | leaves the full magazine in the depot, but for its objects of other nodes |
//! | 7 | an empty magazine of the present size | loads it; the full ones move up, and one goes to the depot |
//! | 8 | memory for such a magazine | makes one |
//! | 9 | none of these | gives the object to its slab |
//!
//! An empty magazine that is not of the cache's present size (see `record.rs`) is exchanged for one that is. After each
//! step that makes room elsewhere, the steps begin anew. Locks are taken as in `refill.rs`.

use core::ptr::NonNull;

use arrayvec::ArrayVec;
use rhumb_frames::AllocClass;
use rhumb_machine::{Machine, MemoryUse, Pinned};

use crate::fault::{Fault, Report};
use crate::magazine::{CpuLine, Magazine, Round};
use crate::memory::PageType;
use crate::record::Record;
use crate::refill::Sizes;
use crate::slab::{Slab, SlabRef, header_bytes};
use crate::slabs::Slabs;
use crate::spec::Name;

/// Objects that one lock visit gives back.
const BATCH: usize = 32;

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

    /// Keeps `object` in a magazine with room, or says which step makes room.
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
        if let Some(full) = line.exchange(empty) {
            node.full.push(full);
        }
        record.count_exchange(line);
        line.push(object).then_some(()).ok_or(Step::Direct)
    }

    /// Leaves a magazine in the node's depot. Objects of other nodes go to their slabs, and all objects do where less
    /// than half would be left, so that a depot has only objects of its own node and no nearly empty magazines.
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
        let mut node = record.node(self.machine().irq_off(), here);
        if magazine.count() > 0 { node.full.push(magazine) } else { node.spare.push(magazine) }
    }

    /// Gives the objects of a magazine back to their slabs, all but the first `kept`, and says how many frames went
    /// back for it.
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
        let mut found = ArrayVec::<(SlabRef, u32, Round), BATCH>::new();
        for &object in objects.iter().take(BATCH) {
            match self.find(record, object) {
                Ok((slab, index)) => found.push((slab, index, object)),
                Err(fault) => self.refuse(record, object, fault),
            }
        }
        let mut again = ArrayVec::<Round, BATCH>::new();
        let mut empty = ArrayVec::<Slab, BATCH>::new();
        let mut rest = &found[..];
        while let Some(&(first, ..)) = rest.first() {
            let mut node = record.node(self.machine().irq_off(), first.node());
            let here = rest.iter().take_while(|(slab, ..)| slab.node() == first.node()).count();
            for &(slab, index, object) in &rest[..here] {
                if node.put(&record.shape, slab, index).is_err() {
                    again.push(object);
                }
            }
            // As many as this visit can have emptied; slabs that became free otherwise go with the next visits.
            empty.extend(core::iter::from_fn(|| node.remove_excess(&record.shape)).take(here));
            rest = &rest[here..];
        }
        again.iter().for_each(|&object| self.refuse(record, object, Fault::DoubleFree));
        empty.into_iter().map(|slab| self.release(record, pinned, slab)).sum()
    }

    /// Returns the slab and the slot of an object of this cache.
    pub(crate) fn find(&self, record: &Record, object: Round) -> Result<(SlabRef, u32), Fault> {
        let address = object.addr().get();
        let word = self.memory.private(address, PageType::Slab).ok_or(Fault::Foreign)?;
        // SAFETY: `grow` wrote the word, and `release` clears it before the header's memory goes back; a slab is not
        // released while an object of it is out, as the caller's is.
        let slab = unsafe { SlabRef::from_private(word) }.ok_or(Fault::Foreign)?;
        if slab.cache() != record.setup.id {
            return Err(Fault::WrongCache(self.name_of(slab.cache())));
        }
        let slot = address.wrapping_sub(record.shape.lead as usize);
        let index = slab.index(&record.shape, slot).ok_or(Fault::NoObject)?;
        Ok((slab, index))
    }

    /// Gives the memory of a slab back, and returns how many frames that was.
    pub(crate) fn release(&self, record: &'static Record, pinned: Pinned<'_>, slab: Slab) -> u64 {
        let slab = slab.name();
        self.set_memory_use(slab.start(), record.shape.slab_bytes(), MemoryUse::Allowed);
        let (order, header) = (record.shape.order, header_bytes(record.shape.words()));
        // SAFETY: `grow` took the block and the header's cell with these sizes; the slab was moved in, so it is in no
        // list, and no object of it is out. Once the block's stamp is gone, no descriptor leads to the header any more.
        unsafe {
            self.memory.give(pinned, slab.start(), order, order.frames());
            self.cells.free(&self.memory, pinned, slab.cell(), header);
        }
        order.frames()
    }

    /// Returns the name of the cache with this number.
    fn name_of(&self, id: u16) -> Name {
        self.registry.name(self.machine().irq_off(), id).unwrap_or_else(Self::no_cache)
    }

    /// Reports a free that is refused.
    #[cold]
    pub(crate) fn refuse(&self, record: &Record, object: Round, fault: Fault) {
        self.report(Some(record), &Report::of(record.setup.name, object, fault));
    }
}
