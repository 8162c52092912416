//! A memory-management unit in software: a TLB per CPU that forgets nothing by itself, and a detector of stale
//! translations.
//!
//! Page tables are in the hosted machine's RAM ([`HostedTables`]). [`SoftMmu::access`] translates as a CPU does: by a
//! cached translation, else by a walk, which may begin at a cached table entry. Accesses fill the caches, and so does
//! speculation (random walks from a seed), as the manual allows:
//!
//! ```text
//!   access ──> translations: page or a 4-KiB fragment of a large page ──miss──> table entries (levels 2..5) ──miss──> root
//!                 │ differs from the tables, although promised gone                │
//!                 └──────────────> StaleUse: CPU, address, old entry, new entry <──┘
//! ```
//!
//! Entries go only by flushes ([`flush_local`](rhumb_machine::Tlb::flush_local),
//! [`flush_remote`](rhumb_machine::Tlb::flush_remote) of the machine that the unit is attached to), by faults, and,
//! where the configuration says so, by chance. So a flush that is missing or too small is found the first time, not
//! once in a year.
//!
//! **Promise.** Between a change and its flush a stale translation is allowed. [`SoftMmu::promised`] says that the
//! flush has happened: no CPU may hold anything of the range that differs from the tables. [`SoftMmu::reused`] says the
//! same of frames that are about to get another owner (invariant I6). A table entry that the tables have no more is judged
//! by where it leads, until its table is reused: that of a page that was merged leads to the same translations. A lazy
//! CPU that was left a mark may still hold anything, except entries of a table that is reused; each use is reported.
//!
//! **`invlpg`** drops the translations of the page at its address, all fragments of it included, by the size it was
//! cached with, and all cached table entries, or only those that serve the address ([`TableEntries`]). A fault drops
//! the entries that serve its address and no others: it hides no table that was freed too early elsewhere. Source:
//! Intel SDM volume 3, 5.10.2.3 and 5.10.4.1; AMD APM volume 2, 5.5.2. One address space: no PCID.
//!
//! **Lazy CPUs** use nothing, but they may walk: while other CPUs access, a lazy one speculates near their addresses.
//!
//! **Storms.** The unit keeps interrupts off while it holds one of its locks, so that a [storm](crate::storm)'s handler
//! may call it, too.

mod report;
mod tables;
mod tlb;

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use rhumb_machine::{CpuId, CpuMask, CpuSet, FlushScope, PageSize, PfnRange, PhysAddr, VirtAddr, VirtRange};
#[cfg(doc)]
use rhumb_pagetable::Key;
use rhumb_pagetable::flush::{MarkLeft, Woken};
use rhumb_pagetable::{CacheMode, LazyCpu, Root};

pub use report::{Fault, FoundAt, StaleUse, Use, What};
pub use tables::HostedTables;
use tlb::{Part, Tlb};

use crate::thread::THIS;

/// Which cached table entries an `invlpg` drops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableEntries {
    /// All of them, as the manuals promise.
    All,
    /// Those that serve its address, as AMD's CPUs do with EFER.TCE. Finds flushes that rest on `All`.
    OfAddress,
}

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
    /// Which table entries an `invlpg` drops.
    pub invlpg: TableEntries,
}

impl MmuConfig {
    /// Returns a unit with much speculation, many fragments and no eviction, whose `invlpg` drops all table entries.
    pub const fn new(seed: u64) -> Self {
        Self { seed, speculation: 512, fragments: 512, evictions: 0, invlpg: TableEntries::All }
    }

    /// Returns a unit without speculation, fragments or eviction: each entry is there because of an access.
    pub const fn plain(seed: u64) -> Self {
        Self { speculation: 0, fragments: 0, ..Self::new(seed) }
    }
}

/// The unit: see the module.
#[derive(Debug)]
pub struct SoftMmu {
    tables: HostedTables,
    root: Root,
    cpus: Box<[Unit]>,
    reports: Mutex<Vec<StaleUse>>,
    unused: OnceLock<VirtRange>,
}

/// One CPU's part.
#[derive(Debug)]
struct Unit {
    tlb: Mutex<Tlb>,
    lazy: LazyCpu,
    /// The register of rights of protection keys. 0 allows all.
    keys: AtomicU32,
}

/// Runs `work` on the value that the lock guards, with interrupts off: a storm's handler may want the same lock.
fn with<T, R>(mutex: &Mutex<T>, work: impl FnOnce(&mut T) -> R) -> R {
    THIS.with(|this| {
        let _held = this.held();
        // A test that panicked elsewhere has left the list whole: each change of it is one call.
        work(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner))
    })
}

impl SoftMmu {
    pub(crate) fn new(tables: HostedTables, root: Root, cpus: usize, config: MmuConfig) -> Self {
        let unit = |cpu| Unit {
            tlb: Mutex::new(Tlb::new(config, cpu)),
            lazy: LazyCpu::new(),
            keys: AtomicU32::new(0),
        };
        Self {
            tables,
            root,
            cpus: (0..cpus as u64).map(unit).collect(),
            reports: Mutex::default(),
            unused: OnceLock::new(),
        }
    }

    /// Returns the tree that every CPU walks.
    pub const fn root(&self) -> Root {
        self.root
    }

    /// Translates as `cpu` does for a supervisor's access. Where the translation is cached, that is what counts, stale
    /// or not.
    ///
    /// # Errors
    /// The fault that the CPU would raise; it drops the entries that were cached for the address, so that a spurious
    /// one comes once.
    ///
    /// # Panics
    /// If the machine has no such CPU.
    pub fn access(&self, cpu: CpuId, virt: VirtAddr, access: Use) -> Result<PhysAddr, Fault> {
        let unit = &self.cpus[cpu.index()];
        let keys = unit.keys.load(Relaxed);
        let (result, condemned) = with(&unit.tlb, |tlb| {
            (tlb.translate(&self.tables, self.root, virt, access, keys), tlb.take_condemned())
        });
        self.accuse(cpu, condemned);
        for (index, idle) in self.cpus.iter().enumerate().filter(|(_, unit)| unit.lazy.is_lazy()) {
            let Some(cpu) = CpuId::new(index) else { continue };
            self.on_speculation(cpu, idle, |tlb| tlb.speculate_around(&self.tables, self.root, virt));
        }
        result
    }

    /// Makes `cpu` walk `virt` on speculation, as it may at any time, also while it is lazy: it caches the entries that
    /// it reads, and raises no fault.
    ///
    /// # Panics
    /// If the machine has no such CPU.
    pub fn speculate(&self, cpu: CpuId, virt: VirtAddr) {
        let unit = &self.cpus[cpu.index()];
        self.on_speculation(cpu, unit, |tlb| tlb.speculate(&self.tables, self.root, virt));
    }

    /// Has a CPU speculate, and accuses it of walks from stale entries; not where it was left a mark, because it drops
    /// these entries as it wakes, and may walk from them before. [`SoftMmu::reused`] accuses it of reused tables.
    fn on_speculation(&self, cpu: CpuId, unit: &Unit, speculate: impl FnOnce(&mut Tlb)) {
        let (condemned, is_spared) = with(&unit.tlb, |tlb| {
            speculate(tlb);
            (tlb.take_condemned(), unit.lazy.has_missed())
        });
        if !is_spared {
            self.accuse(cpu, condemned);
        }
    }

    /// Gives `cpu` the rights that its register of protection keys says: see [`Key::with_rights`]. At first all is
    /// allowed.
    ///
    /// # Panics
    /// If the machine has no such CPU.
    pub fn set_keys(&self, cpu: CpuId, register: u32) {
        self.cpus[cpu.index()].keys.store(register, Relaxed);
    }

    fn accuse(&self, cpu: CpuId, condemned: Vec<(What, VirtAddr)>) {
        for (what, virt) in condemned {
            self.report(self.stale(cpu, virt, what, FoundAt::Access));
        }
    }

    /// Checks `cpus` after the flush of `range`, which is said to have happened: each of their entries for the range
    /// that differs from the tables is stale, table entries on the way included, unless these lead to the very
    /// translations of the tables, as that of a page that was merged does. Keeps all stale entries for
    /// [`SoftMmu::take_reports`]. The tables do not change meanwhile.
    ///
    /// # Errors
    /// The first stale entry. A lazy CPU that was left a mark is not accused, because it drops everything before it
    /// uses anything. Until then it may walk stale tables on speculation, so it is accused of these when they are
    /// reused.
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

    /// Checks all CPUs before `frames` are reused, as pages or as tables: no CPU may hold a translation to them, or a
    /// table entry that refers to them, that the tables do not have. A table entry is stale here wherever it leads.
    /// Keeps all stale entries for [`SoftMmu::take_reports`].
    ///
    /// # Errors
    /// The first stale entry. A lazy CPU that was left a mark is accused of table entries alone, and of translations
    /// when it uses one.
    pub fn reused(&self, frames: PfnRange) -> Result<(), StaleUse> {
        let all = CpuMask::first(self.cpus.len());
        self.inspect(&all, FoundAt::Reuse, |what, virt, bytes| {
            let reached = match what {
                What::Translation { .. } => bytes / PageSize::Size4K.bytes(),
                What::Table { .. } => 1,
            };
            let shared = PfnRange::of_length(what.target(), reached)?.intersection(frames);
            // Near the top of addresses only what they share can be added without overflow.
            let last_of_part = shared.addrs().bytes().checked_sub(1)?;
            let start = virt.plus(shared.start().since(what.target()) * PageSize::Size4K.bytes());
            Some(Part { start, last: start.plus(last_of_part) })
        })
    }

    /// Checks as [`SoftMmu::reused`] does, for tests.
    ///
    /// # Panics
    /// If an entry is stale; the message names it.
    pub fn assert_no_stale(&self, frames: PfnRange) {
        if let Err(stale) = self.reused(frames) {
            panic!("{stale}");
        }
    }

    /// Checks that all CPUs, lazy ones too, show each of `frames` with one memory type: a frame that is cacheable
    /// through one cached translation and uncached through another has no defined content (Intel SDM volume 3, 12.12.4). For after
    /// the flush of a change of cache modes, when every mapping of the frames should have the new one.
    ///
    /// # Errors
    /// The first translation whose frame a translation before it shows with another type. Kept for
    /// [`SoftMmu::take_reports`], too.
    pub fn one_memory_type(&self, frames: PfnRange) -> Result<(), StaleUse> {
        let mut seen: Vec<(PfnRange, CacheMode)> = Vec::new();
        for (index, unit) in self.cpus.iter().enumerate() {
            let Some(cpu) = CpuId::new(index) else { continue };
            let cached: Vec<_> = with(&unit.tlb, |tlb| tlb.memory_types().collect());
            for (reached, cache, what, virt) in cached {
                let shared = reached.intersection(frames);
                if shared.is_empty() {
                    continue;
                }
                if seen.iter().any(|&(other, mode)| mode != cache && other.overlaps(shared)) {
                    let stale = self.stale(cpu, virt, what, FoundAt::MemoryType);
                    self.report(stale);
                    return Err(stale);
                }
                seen.push((shared, cache));
            }
        }
        Ok(())
    }

    /// Returns all that was found stale since the last call.
    pub fn take_reports(&self) -> Vec<StaleUse> {
        with(&self.reports, std::mem::take)
    }

    /// Declares that no CPU uses an address of `range` after a change and before the flush, as with windows whose slots
    /// go round. A stale translation of it may then stay when its frame is reused, and is found where a CPU uses
    /// it. Counts once: later calls change nothing.
    pub fn unused_until_flushed(&self, range: VirtRange) {
        let _ = self.unused.set(range);
    }

    /// Makes `cpu` lazy: from now on it uses no address, and flushes of leaves are left to it.
    ///
    /// # Panics
    /// If the machine has no such CPU.
    pub fn enter_lazy(&self, cpu: CpuId) {
        self.cpus[cpu.index()].lazy.enter();
    }

    /// Ends the lazy time of `cpu`, with a full flush where it has missed one.
    ///
    /// # Panics
    /// If the machine has no such CPU.
    pub fn leave_lazy(&self, cpu: CpuId) {
        let unit = &self.cpus[cpu.index()];
        // Under the lock: no look at the TLB finds a CPU that is awake and has not caught up on its flush.
        with(&unit.tlb, |tlb| {
            if unit.lazy.leave() == Woken::FlushAll {
                tlb.flush(FlushScope::All);
            }
        });
    }

    /// Returns how many translations and table entries `cpu` has cached; `None` where it does not exist.
    pub fn cached(&self, cpu: CpuId) -> Option<(usize, usize)> {
        Some(with(&self.cpus.get(cpu.index())?.tlb, |tlb| tlb.len()))
    }

    /// Applies a flush to `cpu`.
    pub(crate) fn flush(&self, cpu: CpuId, scope: FlushScope<'_>) {
        if let Some(unit) = self.cpus.get(cpu.index()) {
            with(&unit.tlb, |tlb| tlb.flush(scope));
        }
    }

    pub(crate) fn leave_to_lazy(&self, targets: &mut CpuSet) -> u32 {
        let is_left = |cpu: CpuId| {
            self.cpus.get(cpu.index()).is_some_and(|unit| unit.lazy.leave_mark() == MarkLeft::Left)
        };
        targets.take_out(is_left)
    }

    /// Looks through the TLBs of `cpus` for entries that `concerns` picks and that the tables do not have.
    fn inspect(
        &self,
        cpus: &CpuMask,
        found: FoundAt,
        concerns: impl Fn(What, VirtAddr, u64) -> Option<Part>,
    ) -> Result<(), StaleUse> {
        let mut first = Ok(());
        for (index, unit) in self.cpus.iter().enumerate() {
            let Some(cpu) = CpuId::new(index).filter(|&cpu| cpus.contains(cpu)) else { continue };
            let (condemned, drops_all) = with(&unit.tlb, |tlb| {
                (tlb.condemn(&self.tables, self.root, found, &concerns), unit.lazy.has_missed())
            });
            for (what, virt) in condemned {
                // A translation that may stay until the CPU wakes, or until its address is used again, is found then.
                let is_unused =
                    found == FoundAt::Reuse && self.unused.get().is_some_and(|all| all.contains(virt));
                let is_translation = matches!(what, What::Translation { .. });
                if is_unused && is_translation || drops_all && (is_translation || found == FoundAt::Promise) {
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
        with(&self.reports, |reports| reports.push(stale));
    }
}

#[cfg(test)]
mod tests;
