//! A memory-management unit in software: a TLB per CPU that forgets nothing by itself, and a detector of stale
//! translations.
//!
//! Page tables stand in the hosted machine's RAM ([`HostedTables`]). [`SoftMmu::access`] translates as a CPU does: by
//! what it has cached, else by a walk, which may begin at a cached table entry. What it caches comes by accesses and by
//! speculation (random fills from a seed), as the manual allows:
//!
//! ```text
//!   access ──> translations: page or a 4-KiB fragment of a large page ──miss──> table entries (levels 2..5) ──miss──> root
//!                 │ differs from the tables, although promised gone                │
//!                 └──────────────> StaleUse: CPU, address, old entry, new entry <──┘
//! ```
//!
//! Entries go only by flushes ([`Machine::flush_local`], [`Machine::flush_remote`] of the machine that the unit is
//! attached to), by faults, and, where the configuration says so, by chance. So a flush that is missing or too small is
//! found the first time, not once in a year.
//!
//! **Promise.** Between a change and its flush a stale translation is right. [`SoftMmu::promised`] says that the flush
//! has happened: no CPU may hold anything of the range that differs from the tables. [`SoftMmu::reused`] says the same
//! of frames that are about to get another owner (invariant I6). A lazy CPU that has been left a mark may hold leaves
//! still, but a use of one is reported.
//!
//! **What `invlpg` drops**: the translations of the page at its address, all fragments of it included, by the size it
//! was cached with, and all cached table entries. Source: Intel SDM volume 3, 5.10.2.3 and 5.10.4.1. One address space:
//! no PCID.

mod report;
mod tables;
mod tlb;

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(doc)]
use rhumb_machine::Machine;
use rhumb_machine::{CpuId, CpuMask, FlushScope, PageSize, PfnRange, PhysAddr, VirtAddr, VirtRange};
use rhumb_pagetable::flush::{MarkLeft, Woken};
use rhumb_pagetable::{LazyCpu, Root};

pub use report::{Fault, FoundAt, StaleUse, Use, What};
pub use tables::{HostedTables, TableFrames};
use tlb::{Part, Tlb};

/// How much the CPUs do on their own. Rates are in 1/1024 per access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmuConfig {
    /// Where randomness starts: the same seed and accesses give the same TLBs.
    pub seed: u64,
    /// Speculative walks of other addresses.
    pub speculation: u16,
    /// A large page is cached as one 4-KiB fragment.
    pub fragments: u16,
    /// An entry is dropped by itself. Zero finds most: a stale entry stays until it is found.
    pub evictions: u16,
}

impl MmuConfig {
    /// Much speculation, many fragments, no eviction.
    pub const fn new(seed: u64) -> Self {
        Self { seed, speculation: 512, fragments: 512, evictions: 0 }
    }
}

/// The unit: see the module.
#[derive(Debug)]
pub struct SoftMmu {
    tables: HostedTables,
    root: Root,
    cpus: Box<[Unit]>,
    reports: Mutex<Vec<StaleUse>>,
}

/// One CPU's part.
#[derive(Debug)]
struct Unit {
    tlb: Mutex<Tlb>,
    lazy: LazyCpu,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked elsewhere has left the list whole: each change of it is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SoftMmu {
    pub(crate) fn new(tables: HostedTables, root: Root, cpus: usize, config: MmuConfig) -> Self {
        let unit = |cpu| Unit { tlb: Mutex::new(Tlb::new(config, cpu)), lazy: LazyCpu::new() };
        Self { tables, root, cpus: (0..cpus as u64).map(unit).collect(), reports: Mutex::default() }
    }

    /// The tree that every CPU walks.
    pub const fn root(&self) -> Root {
        self.root
    }

    /// Translates as `cpu` does for a supervisor's access. Where the translation is cached, that is what counts, stale
    /// or not.
    ///
    /// # Errors
    /// The fault that the CPU would raise; it drops what was cached for the address, so that a spurious one comes once.
    ///
    /// # Panics
    /// If the machine has no such CPU.
    pub fn access(&self, cpu: CpuId, virt: VirtAddr, access: Use) -> Result<PhysAddr, Fault> {
        let mut tlb = lock(&self.cpus[cpu.index()].tlb);
        let result = tlb.translate(&self.tables, self.root, virt, access);
        let condemned = tlb.take_condemned();
        drop(tlb);
        for (what, virt) in condemned {
            self.report(self.stale(cpu, virt, what, FoundAt::Access));
        }
        result
    }

    /// The flush of `range` is said to have happened on `cpus`: whatever they still hold of it that differs from the
    /// tables is stale, table entries on the way included. Returns the first such entry, and keeps all for
    /// [`SoftMmu::take_reports`]. The tables do not change meanwhile.
    ///
    /// # Errors
    /// What is stale. A lazy CPU that was left a mark is accused only of table entries, and of leaves when it uses one.
    pub fn promised(&self, range: VirtRange, cpus: &CpuMask) -> Result<(), StaleUse> {
        let Some(range_last) = range.end().get().checked_sub(1).filter(|_| !range.is_empty()) else {
            return Ok(());
        };
        self.inspect(cpus, FoundAt::Promise, |_, virt, bytes| {
            let start = virt.max(range.start());
            let last = VirtAddr::new((virt.get() + (bytes - 1)).min(range_last));
            (start <= last).then_some(Part { start, last })
        })
    }

    /// `frames` are about to be reused, as pages or as tables: no CPU may hold a translation to them, or a table entry
    /// that refers to them, that the tables do not have.
    ///
    /// # Errors
    /// What is stale; as with [`SoftMmu::promised`].
    pub fn reused(&self, frames: PfnRange) -> Result<(), StaleUse> {
        let all = CpuMask::first(self.cpus.len());
        self.inspect(&all, FoundAt::Reuse, |what, virt, bytes| {
            let reached = match what {
                What::Translation { .. } => bytes / PageSize::Size4K.bytes(),
                What::Table { .. } => 1,
            };
            let shared = PfnRange::of_length(what.target(), reached)?.intersection(frames);
            let start = virt.plus(shared.start().since(what.target()) * PageSize::Size4K.bytes());
            let last = VirtAddr::new(start.get() + (shared.addrs().bytes().checked_sub(1)?));
            Some(Part { start, last })
        })
    }

    /// As [`SoftMmu::reused`], for tests.
    ///
    /// # Panics
    /// If something is stale: says what.
    pub fn assert_no_stale(&self, frames: PfnRange) {
        if let Err(stale) = self.reused(frames) {
            panic!("{stale}");
        }
    }

    /// All that was found stale since the last call.
    pub fn take_reports(&self) -> Vec<StaleUse> {
        std::mem::take(&mut lock(&self.reports))
    }

    /// From now on `cpu` uses nothing: flushes of leaves are left to it.
    ///
    /// # Panics
    /// If the machine has no such CPU.
    pub fn enter_lazy(&self, cpu: CpuId) {
        self.cpus[cpu.index()].lazy.enter();
    }

    /// `cpu` goes on, after a full flush where it has missed one.
    ///
    /// # Panics
    /// If the machine has no such CPU.
    pub fn leave_lazy(&self, cpu: CpuId) {
        let unit = &self.cpus[cpu.index()];
        if unit.lazy.leave() == Woken::FlushAll {
            lock(&unit.tlb).flush(FlushScope::All);
        }
    }

    /// How many translations and table entries `cpu` has cached; `None` where it does not exist.
    pub fn cached(&self, cpu: CpuId) -> Option<(usize, usize)> {
        Some(lock(&self.cpus.get(cpu.index())?.tlb).len())
    }

    /// What a flush does to `cpu`.
    pub(crate) fn flush(&self, cpu: CpuId, scope: FlushScope<'_>) {
        if let Some(unit) = self.cpus.get(cpu.index()) {
            lock(&unit.tlb).flush(scope);
        }
    }

    pub(crate) fn leave_to_lazy(&self, targets: &CpuMask) -> CpuMask {
        let is_left = |cpu: &CpuId| {
            self.cpus.get(cpu.index()).is_some_and(|unit| unit.lazy.leave_mark() == MarkLeft::Left)
        };
        targets.iter().filter(is_left).collect()
    }

    /// Looks through the TLBs of `cpus` for what `concerns` picks and the tables do not have.
    fn inspect(
        &self,
        cpus: &CpuMask,
        found: FoundAt,
        concerns: impl Fn(What, VirtAddr, u64) -> Option<Part>,
    ) -> Result<(), StaleUse> {
        let mut first = Ok(());
        for (index, unit) in self.cpus.iter().enumerate() {
            let Some(cpu) = CpuId::new(index).filter(|&cpu| cpus.contains(cpu)) else { continue };
            let condemned = lock(&unit.tlb).condemn(&self.tables, self.root, &concerns);
            for (what, virt) in condemned {
                // What it may hold until it wakes is found when it uses it.
                if unit.lazy.is_lazy() && matches!(what, What::Translation { .. }) {
                    continue;
                }
                let stale = self.stale(cpu, virt, what, found);
                self.report(stale);
                first = first.and(Err(stale));
            }
        }
        first
    }

    fn stale(&self, cpu: CpuId, virt: VirtAddr, what: What, found: FoundAt) -> StaleUse {
        let walk = rhumb_pagetable::walk(&self.tables, self.root, virt);
        StaleUse { cpu, virt, what, current: walk.steps().last().map(|step| step.entry), found }
    }

    fn report(&self, stale: StaleUse) {
        lock(&self.reports).push(stale);
    }
}

#[cfg(test)]
mod tests;
