//! The changes in the tables that have not been flushed yet.

use core::array;

use arrayvec::ArrayVec;
use rhumb_machine::mask::{WORD_CPUS, WORDS, words_for};
use rhumb_machine::{
    CpuSet, CpuWords, FirstCpus, FlushScope, PageRun, PageSize, Pinned, Tlb, VirtAddr, VirtRange,
};

use crate::flush::stats::FlushStats;
use crate::planted::{self, Fault};
use rhumb_sync::atomic::{Ordering::SeqCst, fence};

/// The most pages that are flushed one by one; beyond, everything is. A page takes an `invlpg` on each CPU; a full
/// flush costs the misses that follow it.
///
/// Why 32: neither choice can know what the TLB holds and what of it will be used again, so the number is where neither
/// can be very wrong. Measured around the host's own threshold of 33, in a virtual machine on a 2.5-GHz Xeon
/// (`cargo xtask bench directmap --only flush`): an `invlpg` takes 160 to 200 ns, a translation that comes back 11 to
/// 18 ns.
///
/// | flushed for nothing | costs at most | |
/// |---|---|---|
/// | 32 pages, one by one, where nothing in the TLB was worth keeping | 32 x 200 ns | 6.4 us |
/// | everything, where all of a TLB of 1,536 entries is used again | 1,536 x 15 ns | 23 us |
///
/// They are even where some 430 translations are used again, over a quarter of such a TLB: 32 x 200 ns = 430 x 15 ns. A
/// full TLB would bear 115 pages, one with a tenth in use 12. On bare metal, where 140 ns have been assumed for an
/// `invlpg` (A. Shi, patches to Linux of May 2012), 32 pages are even with 300 translations.
///
/// That holds where an `invlpg` spares the rest. Here it does not: a walk through 256 pages took 6 ns a page after a
/// call that flushed nothing, 23 ns after a single `invlpg`, 22 ns after a full flush. On such a machine each page past
/// the first is a loss, of 6.4 us at most for each flush and CPU: little beside the 1 to 20 us of the interrupt that
/// carries it. Others: Asterinas, Zircon and Maestro 32, Linux 33, NRK 20.
pub const FLUSH_PAGES_MAX: u32 = 32;

/// As many runs as pages: a batch that would need more runs is past the threshold anyway.
const RUNS: usize = FLUSH_PAGES_MAX as usize;

/// How much is to be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extent {
    /// The runs.
    Runs,
    /// Everything: too many pages to name.
    Everything,
}

/// Whether CPUs that idle may flush later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Laziness {
    /// They may.
    Allowed,
    /// They are interrupted like the others.
    Refused,
}

/// The set of changed pages that one round of flushes covers. Allocates nothing; half a KiB.
///
/// Runs of pages of one size are merged where they touch or overlap. A batch of more than [`FLUSH_PAGES_MAX`] pages, a
/// large one counting as one, becomes a full flush.
#[must_use = "what has changed is cached by CPUs until the batch is flushed"]
#[derive(Clone, Debug)]
pub struct FlushBatch {
    runs: ArrayVec<PageRun, RUNS>,
    pages: u32,
    extent: Extent,
    laziness: Laziness,
}

impl FlushBatch {
    /// Makes an empty batch.
    pub const fn new() -> Self {
        Self { runs: ArrayVec::new_const(), pages: 0, extent: Extent::Runs, laziness: Laziness::Allowed }
    }

    /// Adds leaves of `range` that changed or went; each had `size` when a CPU may have cached it.
    ///
    /// `size` is what *was* mapped, the smallest where there were several: a 2-MiB page that becomes small pages takes
    /// one `Size2M`; 512 small pages that become one take `Size4K`, since one `invlpg` drops only one of them.
    pub fn add_leaf(&mut self, range: VirtRange, size: PageSize) {
        if range.is_empty() || self.extent == Extent::Everything {
            return;
        }
        match PageRun::covering(range, size) {
            Some(run) if run.pages() <= FLUSH_PAGES_MAX => self.insert(run),
            _ => self.add_everything(),
        }
    }

    /// Adds a table that maps `at`: the entry that referred to it has changed, or is gone. CPUs may have cached that
    /// entry, and may walk the table until the flush. Lazy CPUs are interrupted for it. The leaves below are added
    /// apart.
    pub fn add_table(&mut self, at: VirtAddr) {
        // One `invlpg` anywhere below the entry drops it.
        if let Some(page) = VirtRange::of_length(at.align_down(PageSize::Size4K), 1) {
            self.add_leaf(page, PageSize::Size4K);
        }
        if !planted::is(Fault::LazyTables) {
            self.refuse_laziness();
        }
    }

    /// Adds everything.
    pub fn add_everything(&mut self) {
        self.extent = Extent::Everything;
        self.runs.clear();
        self.pages = 0;
    }

    /// Has CPUs that idle flush at once, too: for a change of cache mode, under which not even a speculative read may
    /// happen with the old one.
    pub fn refuse_laziness(&mut self) {
        self.laziness = Laziness::Refused;
    }

    /// Tells whether there is nothing to flush.
    pub const fn is_empty(&self) -> bool {
        self.runs.is_empty() && matches!(self.extent, Extent::Runs)
    }

    /// Tells whether it drops every translation.
    pub const fn is_full_flush(&self) -> bool {
        matches!(self.extent, Extent::Everything)
    }

    /// Tells whether CPUs that idle may flush later.
    pub const fn may_be_lazy(&self) -> bool {
        matches!(self.laziness, Laziness::Allowed)
    }

    /// Returns how many pages it drops one by one: 0 for a full flush.
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// Returns the scope that a machine is asked to drop.
    pub fn scope(&self) -> FlushScope<'_> {
        match self.extent {
            Extent::Runs => FlushScope::Pages { runs: &self.runs },
            Extent::Everything => FlushScope::All,
        }
    }

    /// Drops it all on every CPU that may hold a translation, and empties the batch. Returns when each of them has, but
    /// for lazy ones, which do before they use any mapping.
    ///
    /// # Panics
    /// If the token is another machine's, as for [`FlushBatch::flush_on`].
    ///
    /// Cost: one local flush and one round of interrupts, to those that are not lazy; nothing for an empty batch.
    pub fn flush<M>(&mut self, machine: &M, pinned: Pinned<'_>) -> FlushStats
    where
        M: Tlb + ?Sized,
    {
        if self.is_empty() {
            return FlushStats::NOTHING;
        }
        // Between the last write of an entry and the look at who runs: see `Tlb::flush_targets`.
        fence(SeqCst);
        self.flush_on(machine, pinned, &machine.flush_targets())
    }

    /// Drops it all as [`FlushBatch::flush`] does, on the CPUs of `targets` only.
    ///
    /// # Panics
    /// If the token is another machine's: its CPU of the same number is none of this machine, which would be left out.
    pub fn flush_on<M>(
        &mut self,
        machine: &M,
        pinned: Pinned<'_>,
        targets: &(impl CpuWords + ?Sized),
    ) -> FlushStats
    where
        M: Tlb + ?Sized,
    {
        machine.cpu_of(pinned);
        if self.is_empty() {
            return FlushStats::NOTHING;
        }
        // The sets of a machine of up to 64 CPUs are numbers.
        match machine.cpu_count() {
            cpus @ 0..=WORD_CPUS => self.flush_words::<M, 1>(machine, pinned, targets, cpus),
            cpus => self.flush_words::<M, WORDS>(machine, pinned, targets, cpus),
        }
    }

    /// Drops it all on those of `targets` that are among the machine's `cpus` CPUs, whose sets fit into `N` words.
    fn flush_words<M, const N: usize>(
        &mut self,
        machine: &M,
        pinned: Pinned<'_>,
        targets: &(impl CpuWords + ?Sized),
        cpus: usize,
    ) -> FlushStats
    where
        M: Tlb + ?Sized,
    {
        let here = pinned.cpu();
        let mut others: [u64; N] = array::from_fn(|word| targets.word(word) & FirstCpus(cpus).word(word));
        let others = CpuSet::of_mut(&mut others[..words_for(cpus).min(N)]);
        others.remove(here);
        let left_to_lazy = match self.laziness {
            Laziness::Allowed => machine.leave_to_lazy(others),
            Laziness::Refused => 0,
        };
        let awake = &*others;
        if targets.word(here.word()) & here.bit() != 0 {
            machine.flush_local(pinned, self.scope());
        }
        if !awake.is_empty() {
            machine.flush_remote(pinned, awake, self.scope());
        }
        let stats = FlushStats {
            pages: self.pages,
            full: self.is_full_flush(),
            interrupts: awake.len() as u32,
            left_to_lazy,
            shared: false,
        };
        self.clear();
        stats
    }

    /// Adds all that `other` drops.
    pub(super) fn add_all(&mut self, other: &Self) {
        if other.laziness == Laziness::Refused {
            self.refuse_laziness();
        }
        if other.extent == Extent::Everything {
            self.add_everything();
        }
        for &run in &other.runs {
            if self.extent == Extent::Everything {
                return;
            }
            self.insert(run);
        }
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
        (self.pages, self.extent, self.laziness) = (0, Extent::Runs, Laziness::Allowed);
    }

    /// Adds a run, joined with all that it touches. A joined run is longer and may touch another, so the search begins
    /// anew.
    fn insert(&mut self, mut run: PageRun) {
        let mut index = 0;
        while let Some(old) = self.runs.get(index) {
            if let Some(joined) = old.join(run) {
                run = joined;
                self.pages -= old.pages();
                self.runs.swap_remove(index);
                index = 0;
            } else {
                index += 1;
            }
        }
        self.pages += run.pages();
        // Each run has a page at least, so there is room for as many runs as pages.
        if self.pages > FLUSH_PAGES_MAX || self.runs.try_push(run).is_err() {
            self.add_everything();
        }
    }
}

impl Default for FlushBatch {
    fn default() -> Self {
        Self::new()
    }
}
