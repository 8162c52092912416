//! Where a free goes when the CPU's magazine cannot take the object.
//!
//! | step | the CPU or its node has | it does |
//! |---|---|---|
//! | 1 | an operation of this CPU that was interrupted, or no memory for its lines | gives the object to its slab |
//! | 2 | been asked for its magazines by another CPU | gives all of them up, their objects to their slabs |
//! | 3 | room in the loaded magazine, after all | keeps the object |
//! | 4 | as many full magazines as a CPU keeps, and several nodes | leaves two in the depot, but for objects of other nodes |
//! | 5 | as many, and a depot that holds as much as it may | gives the objects of two to their slabs, one lock for 32 of them |
//! | 6 | as many | leaves two in the depot, and takes empty ones |
//! | 7 | an empty magazine of the present size | loads it; the loaded one joins the full ones |
//! | 8 | memory for such a magazine | makes one |
//! | 9 | none of these | gives the object to its slab |
//!
//! An empty magazine that is not of the cache's present size (see `record.rs`) is exchanged for one that is. After each
//! step that makes room elsewhere, the steps begin anew. Locks are taken as in `refill.rs`.

use core::ptr::NonNull;

use arrayvec::ArrayVec;
use rhumb_machine::{Machine, MemoryUse, Pinned};

use crate::fault::{Fault, Report};
use crate::line::CpuLine;
use crate::magazine::{Magazine, Round, Stack};
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
    /// Another CPU wants these magazines.
    GiveUp(Stack),
    /// These magazines are to be emptied first.
    Flush(Stack),
    /// These magazines are for the depot, but for their objects of other nodes.
    Deposit(Stack),
    /// Nothing: the object goes to its slab.
    Direct,
}

impl<M: Machine> Slabs<M> {
    #[cold]
    #[inline(never)]
    pub(crate) fn free_slow(&self, record: &'static Record, pinned: Pinned<'_>, object: NonNull<u8>) {
        if self.registry.lines.is_traced() && self.free_traced(record, pinned, object) {
            return;
        }
        if !record.setup.checks.is_off() {
            return self.free_checked(record, pinned, object);
        }
        let Some(line) = self.own_line(record, pinned) else {
            self.give_back_batch(record, pinned, &[object]);
            return;
        };
        let mut sizes = Sizes::Present;
        loop {
            match self.make_room(record, line, pinned, object, sizes) {
                Ok(()) => return,
                Err(Step::Direct) => break,
                Err(Step::Magazine(None)) if sizes == Sizes::Any => break,
                Err(Step::Magazine(old)) => sizes = self.add_magazine(record, pinned, old),
                Err(Step::GiveUp(mut magazines)) => {
                    self.give_up(record, pinned, &mut magazines);
                }
                Err(Step::Flush(mut full)) => {
                    let mut empty = Stack::default();
                    for mut magazine in full.drain() {
                        self.flush(record, pinned, &mut magazine, 0);
                        empty.push(magazine);
                    }
                    self.add_empty(record, pinned, empty);
                }
                Err(Step::Deposit(magazines)) => self.deposit(record, pinned, magazines),
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
            record.keepers.leave(self.cpu(pinned));
            let held = line.take_all();
            return Err(if held.count == 0 { Step::Direct } else { Step::GiveUp(held) });
        }
        record.keepers.join(self.cpu(pinned));
        if line.is_loaded() {
            line.bound();
            if line.push(object) {
                return Ok(());
            }
        }
        let depot = record.depot_of(self.node_of(pinned), self.cpu(pinned));
        let mut visits = false;
        if let Some(full) = line.excess_full(record.shape.most_full, record.shape.kept_full) {
            visits = true;
            record.count_visit(line);
            if record.node_count() > 1 {
                return Err(Step::Deposit(full));
            }
            let mut depot = depot.lock(guard.irq_off());
            if depot.full.objects >= record.most_in_depot() {
                return Err(Step::Flush(full));
            }
            depot.full.append(full);
            line.take_empty_from(&mut depot.spare);
        }
        let empty = line.take_empty().or_else(|| {
            visits = true;
            if depot.has_spare() {
                line.take_empty_from(&mut depot.lock(guard.irq_off()).spare);
            }
            line.take_empty()
        });
        // A CPU that makes no visit gets along with the magazines that it has, so it needs no larger ones.
        let is_fit = |empty: &Magazine| !visits || sizes == Sizes::Any || empty.room() == record.rounds();
        let empty = match empty {
            Some(empty) if is_fit(&empty) => empty,
            other => return Err(Step::Magazine(other)),
        };
        line.count_swap();
        line.exchange(empty);
        line.push(object).then_some(()).ok_or(Step::Direct)
    }

    /// Leaves magazines that no CPU keeps in the CPU's depot, up to the depot's limit. Objects of other nodes go to
    /// their slabs, and where less than half of a magazine would be left, all of its objects do: a depot has only
    /// objects of its own node, and no nearly empty magazines.
    pub(crate) fn deposit(&self, record: &'static Record, pinned: Pinned<'_>, mut magazines: Stack) {
        let here = self.node_of(pinned).min(record.node_count() - 1);
        let depot = record.depot_of(here, self.cpu(pinned));
        let room = {
            let depot = depot.lock(self.machine().irq_off());
            record.most_in_depot().saturating_sub(depot.full.objects)
        };
        let (mut full, mut empty) = (Stack::default(), Stack::default());
        for mut magazine in magazines.drain() {
            let own = if full.objects < room { self.sort_out(record, here, &mut magazine) } else { 0 };
            self.flush(record, pinned, &mut magazine, own);
            if magazine.count() > 0 { full.push(magazine) } else { empty.push(magazine) }
        }
        // Other CPUs may have filled the depot since.
        let mut rest = if full.count > 0 {
            depot.lock(self.machine().irq_off()).add_full(full, record.most_in_depot())
        } else {
            full
        };
        for mut magazine in rest.drain() {
            self.flush(record, pinned, &mut magazine, 0);
            empty.push(magazine);
        }
        self.add_empty(record, pinned, empty);
    }

    /// Moves the objects of a magazine that are of slabs of the node `here` to its beginning, and says how many of them
    /// are to stay in it.
    fn sort_out(&self, record: &Record, here: usize, magazine: &mut Magazine) -> u32 {
        if record.node_count() == 1 {
            return magazine.count();
        }
        let mut own = 0;
        for index in 0..magazine.count() {
            let object = magazine.round(index);
            if self.find(record, object).is_ok_and(|(slab, _)| slab.node() == here) {
                magazine.set_round(index, magazine.round(own));
                magazine.set_round(own, object);
                own += 1;
            }
        }
        if own * 2 < magazine.room() { 0 } else { own }
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
            // No more than this visit can have emptied, so that its length is bounded; slabs that became free otherwise
            // go with the next visits.
            empty.extend(core::iter::from_fn(|| node.remove_excess(&record.shape)).take(here));
            rest = &rest[here..];
        }
        again.iter().for_each(|&object| self.refuse(record, object, Fault::DoubleFree));
        empty.into_iter().map(|slab| self.release(record, pinned, slab)).sum()
    }

    /// Returns the slab and the slot of an object of this cache.
    pub(crate) fn find(&self, record: &Record, object: Round) -> Result<(SlabRef, u32), Fault> {
        let address = object.addr().get();
        let word = self.memory.private(address, PageType::SLAB).ok_or(Fault::Foreign)?;
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

    /// Gives the memory of a slab back, and returns how many frames it had.
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
