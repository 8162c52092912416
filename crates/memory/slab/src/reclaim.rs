//! Giving memory back: on demand, under pressure, and at a CPU's tick, where other CPUs have asked it.
//!
//! A CPU's magazines are its own: another CPU that wants them asks, and the answer comes with the next free that is
//! slow (the request makes it so) or with the next tick. No interrupt is sent (I2). Depots and wholly free slabs belong
//! to no CPU, so that any of them gives them back.

use core::task::Poll;

use rhumb_frames::{Reclaimer, Shortage};
use rhumb_machine::{CpuId, Machine, Pinned};

use crate::error::SpecError;
use crate::line::CpuLine;
use crate::magazine::{Magazine, Stack};
use crate::node::Node;
use crate::record::Record;
use crate::registry::Walked;
use crate::slab::SlabRef;
use crate::slabs::Slabs;
use rhumb_sync::atomic::{Acquire, Relaxed, Release};

/// Which full magazines of a depot go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Magazines {
    All,
    /// Those that were not needed since the depot was trimmed last.
    Unneeded,
}

/// A reclaim under way: the work of [`Slabs::reclaim`], in steps of one cache each, so that the caller need not stay on
/// its CPU for all of them. Caches that are made or given up meanwhile may be missed.
#[must_use = "it does nothing until its steps are done"]
#[derive(Clone, Copy, Debug, Default)]
pub struct Reclaiming {
    next: usize,
    frames: u64,
}

impl Reclaiming {
    /// Returns a reclaim that has not begun.
    pub const fn new() -> Self {
        Self { next: 0, frames: 0 }
    }

    /// Reclaims from the next cache, and says at the end how many frames went back in all.
    pub fn step<M: Machine>(&mut self, slabs: &Slabs<M>, pinned: Pinned<'_>) -> Poll<u64> {
        let next = slabs.cache_from(self.next);
        let frames = match &next {
            Some((id, walked)) => {
                self.next = id + 1;
                slabs.reclaim_cache(walked.record(), pinned)
            }
            None => slabs.cells.trim(&slabs.memory, pinned),
        };
        self.frames += frames;
        slabs.reclaimed_frames.fetch_add(frames, Relaxed);
        if next.is_some() { Poll::Pending } else { Poll::Ready(self.frames) }
    }
}

impl<M: Machine> Slabs<M> {
    /// Looks at each cache. The cache is walked while `look` looks at it, and no longer when the iterator yields the
    /// result of `look`, so that the iterator's user may do with the cache as it likes.
    pub(crate) fn caches<T>(&self, mut look: impl FnMut(&'static Record) -> T) -> impl Iterator<Item = T> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let (id, walked) = self.cache_from(from)?;
            from = id + 1;
            Some(look(walked.record()))
        })
    }

    /// Calls `look` with each slab that a node has now, `steps` times, with the node locked anew for each step: no
    /// stretch with interrupts off is longer than a step. Slabs that become free meanwhile stay in the node until the
    /// end.
    ///
    /// # Errors
    /// The first of `look`, which ends the walk.
    pub(crate) fn walk_slabs<E>(
        &self,
        record: &Record,
        index: usize,
        steps: usize,
        mut look: impl FnMut(&Node, SlabRef, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let begin = |node: &mut Node| {
            node.walkers += 1;
            node.newest()
        };
        let mut at = begin(&mut record.node(self.machine().irq_off(), index));
        let mut result = Ok(());
        while let Some(slab) = at.filter(|_| result.is_ok()) {
            for step in 0..steps {
                let node = record.node(self.machine().irq_off(), index);
                at = slab.older();
                result = look(&node, slab, step);
                if result.is_err() {
                    break;
                }
            }
        }
        record.node(self.machine().irq_off(), index).walkers -= 1;
        result
    }

    /// Returns the first cache at or after the number `from`.
    fn cache_from(&self, from: usize) -> Option<(usize, Walked)> {
        self.registry.walk(self.machine().irq_off(), from)
    }

    /// Calls `work`, which is this crate's own, with each cache.
    fn for_each_cache(&self, work: impl FnMut(&'static Record)) {
        self.caches(work).for_each(drop);
    }

    /// Gives back all that is free: this CPU's magazines, all depots, all wholly free slabs; and asks the other CPUs
    /// for their magazines. Returns how many frames went back now. Cost: a lock for 32 objects. In steps:
    /// [`Reclaiming`].
    pub fn reclaim(&self, pinned: Pinned<'_>) -> u64 {
        let mut work = Reclaiming::new();
        loop {
            if let Poll::Ready(frames) = work.step(self, pinned) {
                return frames;
            }
        }
    }

    /// Gives back all that one cache has free.
    fn reclaim_cache(&self, record: &'static Record, pinned: Pinned<'_>) -> u64 {
        record.shrink();
        self.ask_others(record, pinned);
        let given = self.drain_line(record, pinned)
            + self.drain_depots(record, pinned, Magazines::All)
            + self.drain_slabs(record, pinned);
        record.reclaimed.fetch_add(given, Relaxed);
        given
    }

    /// Asks the other CPUs for their magazines of a cache: those that may have some and were not asked yet.
    fn ask_others(&self, record: &Record, pinned: Pinned<'_>) {
        record.keepers.ask_others(self.cpu(pinned), |cpu| {
            if let Some(line) = self.line(record, cpu) {
                self.ask(cpu, line);
            }
        });
    }

    /// Asks a CPU, which may be this one, for the magazines of a line of its own.
    fn ask(&self, cpu: CpuId, line: &CpuLine) {
        line.gate.ask();
        if let Some(asked) = self.asked.get(cpu.index()) {
            asked.store(true, Release);
        }
    }

    /// Gives back the magazines that other CPUs asked this one for; one load where they did not. For the idle loop and
    /// the timer.
    pub fn tick(&self, pinned: Pinned<'_>) {
        let Some(asked) = self.asked.get(self.cpu(pinned).index()) else { return };
        if asked.load(Relaxed) {
            self.drain_lines(pinned, |line| line.gate.is_wanted());
        }
    }

    /// Gives back all that this CPU's magazines hold, to slabs; wholly free ones go back to the frames.
    pub fn drain(&self, pinned: Pinned<'_>) {
        self.drain_lines(pinned, |_| true);
    }

    /// Gives back the objects that this CPU's magazines hold of the caches whose lines are `due`.
    fn drain_lines(&self, pinned: Pinned<'_>, due: impl Fn(&CpuLine) -> bool) {
        let Some(asked) = self.asked.get(self.cpu(pinned).index()) else { return };
        // First, so that a request that comes meanwhile is kept.
        asked.swap(false, Acquire);
        self.for_each_cache(|record| {
            if self.line(record, self.cpu(pinned)).is_some_and(&due) {
                self.drain_line(record, pinned);
            }
        });
    }

    /// Lets go of the magazines that no depot needed since the last trim, and of those of CPUs that exchanged none
    /// since then; and makes the magazines of a cache smaller that hardly exchanged any. So memory returns after a peak
    /// although it is not short. For a thread that runs every few seconds.
    pub fn trim(&self, pinned: Pinned<'_>) {
        self.for_each_cache(|record| {
            let mut uses = 0u32;
            for (cpu, line) in self.lines_kept(record) {
                let of_cpu = line.take_uses();
                uses = uses.saturating_add(of_cpu);
                if of_cpu > 0 || !line.has_magazines() {
                    continue;
                }
                if cpu == self.cpu(pinned) {
                    self.drain_line(record, pinned);
                } else {
                    self.ask(cpu, line);
                }
            }
            record.shrink_if_idle(uses);
            self.drain_depots(record, pinned, Magazines::Unneeded);
        });
    }

    /// Gives back the objects that this CPU keeps of a cache, and says how many frames went back. Where this interrupts
    /// an operation on the CPU's line, the line is left alone, and the CPU is asked for it: its next tick gives it
    /// back.
    fn drain_line(&self, record: &'static Record, pinned: Pinned<'_>) -> u64 {
        let Some(line) = self.line(record, self.cpu(pinned)) else { return 0 };
        if !record.keepers.contains(self.cpu(pinned)) && !line.gate.is_wanted() {
            return 0;
        }
        let mut held = {
            let _guard = self.machine().irq_off();
            if line.gate.is_busy() {
                self.ask(self.cpu(pinned), line);
                return 0;
            }
            line.gate.answer();
            record.keepers.leave(self.cpu(pinned));
            line.take_all()
        };
        self.give_up(record, pinned, &mut held)
    }

    /// Gives magazines that have no holder up, their objects to their slabs; and says how many frames went back.
    pub(crate) fn give_up(&self, record: &'static Record, pinned: Pinned<'_>, held: &mut Stack) -> u64 {
        held.drain().map(|magazine| self.give_up_magazine(record, pinned, magazine)).sum()
    }

    fn give_up_magazine(&self, record: &'static Record, pinned: Pinned<'_>, mut magazine: Magazine) -> u64 {
        let frames = self.flush(record, pinned, &mut magazine, 0);
        self.end_magazine(pinned, magazine);
        frames
    }

    /// Gives back full magazines of a cache's depots, and all empty ones.
    fn drain_depots(&self, record: &'static Record, pinned: Pinned<'_>, which: Magazines) -> u64 {
        let mut frames = 0;
        let depots = record.depots().map(|(_, depot)| depot);
        for depot in depots.filter(|depot| depot.has_full() || depot.has_spare()) {
            // Magazines that other CPUs leave meanwhile stay.
            let (full, spare) = {
                let mut depot = depot.lock(self.machine().irq_off());
                let count = depot.full.count;
                let unneeded = core::mem::replace(&mut depot.unused, count).min(count);
                (if which == Magazines::All { count } else { unneeded }, depot.spare.count)
            };
            for _ in 0..full {
                let full = depot.lock(self.machine().irq_off()).remove_full();
                let Some(magazine) = full else { break };
                frames += self.give_up_magazine(record, pinned, magazine);
            }
            for _ in 0..spare {
                let spare = depot.lock(self.machine().irq_off()).spare.pop();
                let Some(magazine) = spare else { break };
                self.give_up_magazine(record, pinned, magazine);
            }
        }
        frames
    }

    /// Gives back the wholly free slabs of a cache.
    fn drain_slabs(&self, record: &'static Record, pinned: Pinned<'_>) -> u64 {
        let mut frames = 0;
        for index in 0..record.node_count() {
            loop {
                let slab = record.node(self.machine().irq_off(), index).remove_empty(&record.shape);
                let Some(slab) = slab else { break };
                frames += self.release(record, pinned, slab);
            }
        }
        frames
    }

    /// Gives back all unused memory of a cache, other CPUs' magazines among it.
    ///
    /// # Safety
    /// No CPU allocates from the cache, frees to it or walks it, now or later, unless the caller lets it.
    pub(crate) unsafe fn drain_whole(&self, record: &'static Record, pinned: Pinned<'_>) {
        for cpu in (0..record.setup.cpus).filter_map(CpuId::new) {
            if let Some(line) = self.line(record, cpu) {
                self.give_up(record, pinned, &mut line.take_all());
            }
        }
        self.end_quarantine(record, pinned);
        self.drain_depots(record, pinned, Magazines::All);
        self.drain_slabs(record, pinned);
    }

    /// Registers the allocator as a reclaimer of its frames.
    ///
    /// # Errors
    /// [`SpecError::TooManyReclaimers`]: the frame allocator has no room for another reclaimer.
    pub fn register(&'static self) -> Result<(), SpecError> {
        self.memory.frames().register_reclaimer(self).map_err(|_| SpecError::TooManyReclaimers)
    }
}

impl<M: Machine> Reclaimer for Slabs<M> {
    fn name(&self) -> &str {
        "slab"
    }

    fn reclaim(&self, pinned: Pinned<'_>, _shortage: &Shortage) -> u64 {
        Self::reclaim(self, pinned)
    }
}
