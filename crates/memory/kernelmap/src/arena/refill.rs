//! Where a request goes when the CPU's cache cannot serve it, and the ways back.
//!
//! | an allocation finds | it does |
//! |---|---|
//! | an operation of this CPU that was interrupted, or a size that is not kept | takes one range under the lock |
//! | a request of another CPU | gives back all that the CPU keeps, then takes one range |
//! | an empty class | takes half of the class's room of ranges under one hold of the lock |
//! | too few spare tags | allocates some with no lock held, and begins anew |
//! | no range | gives back all that the CPU keeps, asks the other CPUs, and tries once more |
//!
//! | a free finds | it does |
//! |---|---|
//! | an operation of this CPU that was interrupted, or a size that is not kept | gives the range back under the lock |
//! | a request of another CPU | gives back all that the CPU keeps, and this range |
//! | a full class | gives back half of the class under one hold of the lock, and keeps this range |
//! | as many units as the CPU may keep | does the same with the size that has the most units |
//!
//! A stretch with interrupts off moves [`BATCH`] ranges at most.
#![expect(unsafe_code, reason = "gives tags back to the slab allocator")]

use rhumb_machine::{CpuId, Machine, Pinned};

use super::Arena;
use super::cpu::{BATCH, CpuCache};
use super::error::ArenaError;
use super::held::HeldRange;
use super::ranges::{Lack, Ranges};
use super::stock::Chain;
use super::tag::{State, Tag, TagRef};
use super::units::Fit;
use rhumb_sync::atomic::Relaxed;

/// How many ranges a refill brings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refill {
    /// A whole batch: where spare tags lack for it, these are allocated first.
    Whole,
    /// As many as there are spare tags for, one at least.
    Any,
}

impl<M: Machine> Arena<M> {
    /// Returns the handle of a range that was given up ([`HeldRange::into_address`]).
    ///
    /// # Safety
    /// The address is that of a range of this arena whose handle was given up, and no other handle was made of it since.
    pub(crate) unsafe fn held_at(&self, address: u64) -> Option<HeldRange> {
        // SAFETY: the tag of a range that is out is in use, by the caller's promise.
        let tag = unsafe { TagRef::at(address) }?;
        Some(self.held(tag, tag.units()))
    }

    #[inline(never)]
    pub(super) fn alloc_slow(&self, pinned: Pinned<'_>, fit: Fit) -> Result<TagRef, ArenaError> {
        match self.take_with_tags(pinned, fit) {
            Err(ArenaError::Exhausted) => {
                self.reclaim(pinned);
                self.take_with_tags(pinned, fit)
            }
            other => other,
        }
    }

    /// Takes a range, and allocates the tags that this needs.
    fn take_with_tags(&self, pinned: Pinned<'_>, fit: Fit) -> Result<TagRef, ArenaError> {
        let (mut tags, mut refill) = (Chain::EMPTY, Refill::Whole);
        loop {
            let taken = self.take(pinned, fit, refill, &mut tags);
            if tags.count() > 0 {
                self.end_tags(pinned, core::mem::take(&mut tags));
            }
            match taken {
                Ok(tag) => return Ok(tag),
                Err(Lack::Range) => return Err(ArenaError::Exhausted),
                // They go to the stock in the hold of the lock in which they are used, so that this comes three times at
                // most: for a whole refill, for the range itself, and for a second tag, where another CPU has taken the
                // range that needed one.
                Err(Lack::Tags(needed)) => tags = self.new_tags(pinned, needed, 2 * BATCH)?,
            }
            refill = Refill::Any;
        }
    }

    /// Takes a range, and where ranges of its size are kept, more of them for the CPU's cache. `tags` go to the stock
    /// first, where the lock is taken.
    #[inline]
    fn take(&self, pinned: Pinned<'_>, fit: Fit, refill: Refill, tags: &mut Chain) -> Result<TagRef, Lack> {
        let cap = self.cap.load(Relaxed);
        let is_kept = fit.is_anywhere() && CpuCache::keeps(fit.units()) && fit.units() <= u64::from(cap);
        if is_kept && let Some(cache) = self.cache(self.cpu(pinned)) {
            return self.take_for_cache(pinned, cache, fit, refill, tags);
        }
        let mut ranges = self.lock();
        ranges.stock.add(tags);
        ranges.take(fit, State::Held)
    }

    fn take_for_cache(
        &self,
        pinned: Pinned<'_>,
        cache: &CpuCache,
        fit: Fit,
        refill: Refill,
        tags: &mut Chain,
    ) -> Result<TagRef, Lack> {
        if cache.gate.is_wanted() && !cache.gate.is_busy() {
            self.drain(pinned);
        }
        let guard = self.machine().irq_off();
        let is_busy = cache.gate.is_busy();
        if let Some(tag) = cache.pop(fit.units()) {
            return Ok(tag);
        }
        let mut ranges = self.lock_off(guard.irq_off());
        ranges.stock.add(tags);
        if is_busy {
            return ranges.take(fit, State::Held);
        }
        let batch = cache.batch(fit.units(), self.cap.load(Relaxed));
        if refill == Refill::Whole && batch > 1 && ranges.stock.count() < batch {
            return Err(Lack::Tags(0));
        }
        let taken = ranges.take(fit, State::Held)?;
        self.let_keep(self.cpu(pinned), cache);
        cache.count_visit(fit.units());
        fill(&mut ranges, cache, fit, batch - 1);
        Ok(taken)
    }

    /// Lets this CPU keep its share from here on. With interrupts off.
    ///
    /// The CPU joins those that keep something before it reads its share: a call that takes the share away writes the new
    /// one first, and asks the CPUs that have joined. So the CPU is asked, or reads the new share.
    #[inline]
    fn let_keep(&self, cpu: CpuId, cache: &CpuCache) {
        self.keepers.join(cpu);
        cache.gate.bound(self.cap.load(Relaxed));
    }

    #[inline(never)]
    pub(super) fn free_slow(&self, pinned: Pinned<'_>, tag: TagRef) {
        let is_kept = CpuCache::keeps(tag.units()) && tag.units() <= u64::from(self.cap.load(Relaxed));
        let excess = match self.cache(self.cpu(pinned)).filter(|_| is_kept) {
            Some(cache) => self.give_to_cache(pinned, cache, tag),
            None => self.give_one(tag),
        };
        if excess.count() > 0 {
            self.end_tags(pinned, excess);
        }
    }

    /// Keeps a range, and gives others back where the CPU keeps enough of them. Returns the spare tags that are too many.
    fn give_to_cache(&self, pinned: Pinned<'_>, cache: &CpuCache, tag: TagRef) -> Chain {
        if cache.gate.is_wanted() && !cache.gate.is_busy() {
            self.drain(pinned);
            return self.give_one(tag);
        }
        let guard = self.machine().irq_off();
        if cache.gate.is_busy() {
            return self.give_one(tag);
        }
        self.let_keep(self.cpu(pinned), cache);
        if cache.push(tag, tag.units()) {
            return Chain::EMPTY;
        }
        cache.count_visit(tag.units());
        if cache.push(tag, tag.units()) {
            return Chain::EMPTY;
        }
        let mut ranges = self.lock_off(guard.irq_off());
        let size = if cache.is_full_of(tag.units()) { tag.units() } else { cache.fullest() };
        cache.take_half(size, |old| ranges.give(old));
        if !cache.push(tag, tag.units()) {
            ranges.give(tag);
        }
        ranges.excess_tags()
    }

    #[inline]
    fn give_one(&self, tag: TagRef) -> Chain {
        let mut ranges = self.lock();
        ranges.give(tag);
        ranges.excess_tags()
    }

    /// Gives back all that this CPU keeps. Where this interrupts an operation on the CPU's cache, the cache is left
    /// alone, and the CPU is asked for it: its next [`Arena::tick`] gives it back.
    ///
    /// Cost: a hold of the lock for each 32 ranges.
    pub fn drain(&self, pinned: Pinned<'_>) {
        let cpu = self.cpu(pinned);
        let Some(cache) = self.cache(cpu) else { return };
        loop {
            let (taken, excess) = {
                let guard = self.machine().irq_off();
                if cache.gate.is_busy() {
                    cache.gate.ask();
                    return;
                }
                if cache.units() == 0 {
                    cache.take_any(|_| {});
                    // The next free is slow, and lists the CPU again before it keeps anything.
                    cache.gate.bound(0);
                    cache.gate.answer();
                    self.keepers.leave(cpu);
                    return;
                }
                let mut ranges = self.lock_off(guard.irq_off());
                (cache.take_any(|tag| ranges.give(tag)), ranges.excess_tags())
            };
            self.end_tags(pinned, excess);
            if taken == 0 {
                return;
            }
        }
    }

    /// Gives back the ranges that other CPUs asked this one for; one load where they did not. For the idle loop and the
    /// timer.
    pub fn tick(&self, pinned: Pinned<'_>) {
        if self.cache(self.cpu(pinned)).is_some_and(|cache| cache.gate.is_wanted()) {
            self.drain(pinned);
        }
    }

    /// Gives back the ranges that this CPU keeps, and asks the other CPUs for theirs, so that neighbours merge; and gives
    /// the spare tags back to the slab allocator.
    pub fn reclaim(&self, pinned: Pinned<'_>) {
        self.keepers.ask_others(self.cpu(pinned), |cpu| {
            if let Some(cache) = self.cache(cpu) {
                cache.gate.ask();
            }
        });
        self.drain(pinned);
        // As many as there are now: those that other CPUs add meanwhile may stay.
        let spare = self.lock().stock.count();
        for _ in 0..spare.div_ceil(BATCH) {
            let tags = self.lock().stock.take(BATCH);
            self.end_tags(pinned, tags);
        }
    }

    /// Has the CPUs that have not visited the lock since the last trim give back what they keep. For a thread that runs
    /// every few seconds.
    pub fn trim(&self, pinned: Pinned<'_>) {
        for cpu in self.keepers.iter() {
            let Some(cache) = self.cache(cpu) else { continue };
            if cache.take_visits() > 0 {
                continue;
            }
            if cpu == self.cpu(pinned) {
                self.drain(pinned);
            } else {
                cache.gate.ask();
            }
        }
    }

    /// Allocates up to `wanted` tags, with no lock held.
    ///
    /// # Errors
    /// [`ArenaError::NoTag`] where there are not even `needed` of them: those that there are go back.
    pub(super) fn new_tags(
        &self,
        pinned: Pinned<'_>,
        needed: usize,
        wanted: usize,
    ) -> Result<Chain, ArenaError> {
        let mut tags = Chain::EMPTY;
        while tags.count() < wanted {
            match self.new_tag(pinned) {
                Ok(tag) => tags.push(tag),
                Err(_) if tags.count() >= needed => break,
                Err(error) => {
                    self.end_tags(pinned, tags);
                    return Err(error);
                }
            }
        }
        Ok(tags)
    }

    fn new_tag(&self, pinned: Pinned<'_>) -> Result<TagRef, ArenaError> {
        #[cfg(all(test, not(any(loom, shuttle))))]
        super::failing::next()?;
        let object = self.tags.alloc(pinned, Tag::new());
        object.map(TagRef::of).map_err(|refused| ArenaError::NoTag(refused.error))
    }

    /// Gives spare tags back to the slab allocator, with no lock held.
    pub(super) fn end_tags(&self, pinned: Pinned<'_>, mut tags: Chain) {
        while let Some(tag) = tags.pop() {
            // SAFETY: the tag came from this cache, by `new_tag`, and out of the stock or straight from there: the list
            // by address, the bins and the cursors have dropped it, and its range had neither a handle nor a place in a
            // CPU's cache when it was merged.
            unsafe { tag.release(self.tags, pinned) };
        }
    }
}

/// Fills a CPU's cache with `more` ranges, as far as there are ranges, tags and room.
fn fill(ranges: &mut Ranges, cache: &CpuCache, fit: Fit, more: usize) {
    for _ in 0..more {
        let Ok(tag) = ranges.take(fit, State::Kept) else { return };
        if !cache.push(tag, tag.units()) {
            ranges.give(tag);
            return;
        }
    }
}
