//! The kernel's page tables: one tree, one lock, one writer (invariant I8).
//!
//! The tables of the direct map are [`DirectMap`]'s once boot has handed them over ([`hand_over`]); it stands behind the same lock.
//!
//! Tables are touched through the direct map. Every write is counted, so that "allocates without writing a page table" (I2) can be
//! shown and not only said.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_directmap::{DirectMap, Standing};
use rhumb_machine::{Machine, PageSize, Pfn, VirtAddr, VirtRange};
use rhumb_pagetable::{Entry, FlushBatch, FlushCause, Levels, Root, TableMemory, Walk};
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::PhysFrame;

use crate::arch::cpu::features;
use crate::arch::percpu;
use crate::machine::MACHINE;
use crate::mm::direct_map::KernelRules;
use crate::smp::flush;
use crate::sync::{IrqMutex, IrqMutexGuard};

static ROOT: AtomicU64 = AtomicU64::new(0);
static TRAMPOLINE_ROOT: AtomicU64 = AtomicU64::new(0);
static LEVELS: AtomicU8 = AtomicU8::new(0);

/// Page tables in the direct map. All of them: kernel tables are never taken out of it.
pub struct DirectTables(());

impl TableMemory for DirectTables {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        let entry = MACHINE.direct(table.addr()).plus(index as u64 * 8).as_ptr::<u64>();
        // SAFETY: table frames stay in the direct map (I1), and an entry is read with one aligned access.
        Entry::from_bits(unsafe { entry.read_volatile() })
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        percpu::here().counters.page_table_writes.count();
        let place = MACHINE.direct(table.addr()).plus(index as u64 * 8).as_mut_ptr::<u64>();
        // SAFETY: as in `read`; the values of this type that can write are behind `WRITER`'s lock (I8).
        unsafe { place.write_volatile(entry.bits()) };
    }
}

/// The direct map as this kernel has it.
pub type KernelDirectMap = DirectMap<DirectTables, KernelRules>;

/// Who writes tables. There is one, so its size does not matter.
#[expect(clippy::large_enum_variant)]
enum Writer {
    /// Nobody changes the direct map yet.
    Tables(DirectTables),
    /// The direct map owns the way to the tables, and lends it to whoever writes others.
    Map(KernelDirectMap),
}

static WRITER: IrqMutex<Writer> = IrqMutex::new(Writer::Tables(DirectTables(())));
static READER: DirectTables = DirectTables(());

/// Tells which trees boot has built.
pub fn adopt(root: Root, trampoline: Option<Root>) {
    LEVELS.store(root.levels.top(), Relaxed);
    TRAMPOLINE_ROOT.store(trampoline.map_or(0, |root| root.table.get()), Relaxed);
    ROOT.store(root.table.get(), Release);
}

/// The kernel's tree.
pub fn root() -> Root {
    tree(ROOT.load(Acquire))
}

/// The tree that other CPUs start on; `None` once it is retired.
pub fn trampoline_root() -> Option<Root> {
    match TRAMPOLINE_ROOT.load(Acquire) {
        0 => None,
        table => Some(tree(table)),
    }
}

fn tree(table: u64) -> Root {
    let levels = if LEVELS.load(Relaxed) == Levels::Five.top() { Levels::Five } else { Levels::Four };
    Root::new(Pfn::new(table), levels).with_phys_bits(u32::from(features().physical_bits))
}

/// Makes the kernel's tree this CPU's.
pub fn load_root() {
    let frame = PhysFrame::containing_address(x86_64::PhysAddr::new(root().table.addr().get()));
    // SAFETY: the tree maps the kernel image, the stacks and the direct map where this code relies on them.
    unsafe { Cr3::write(frame, Cr3Flags::empty()) };
}

/// The tables for reading. What is read may be changing: for reports and lists.
pub fn reader() -> &'static DirectTables {
    &READER
}

/// The tables for changing; the lock is held.
pub struct TablesGuard(IrqMutexGuard<'static, Writer>);

impl Deref for TablesGuard {
    type Target = DirectTables;

    fn deref(&self) -> &DirectTables {
        match &*self.0 {
            Writer::Tables(tables) => tables,
            Writer::Map(map) => map.memory(),
        }
    }
}

impl DerefMut for TablesGuard {
    fn deref_mut(&mut self) -> &mut DirectTables {
        match &mut *self.0 {
            Writer::Tables(tables) => tables,
            Writer::Map(map) => map.memory_mut(),
        }
    }
}

/// The tables for changing: those that are not the direct map's.
pub fn writer() -> TablesGuard {
    TablesGuard(WRITER.lock())
}

/// Runs `act` on the direct map, with the lock held and interrupts off; `None` before [`hand_over`].
pub fn with_direct_map<A>(act: impl FnOnce(&mut KernelDirectMap) -> A) -> Option<A> {
    match &mut *WRITER.lock() {
        Writer::Tables(_) => None,
        Writer::Map(map) => Some(act(map)),
    }
}

/// As [`with_direct_map`], for those who know that there is a map: waits for it, where there is none.
pub fn with_handed_over<A>(act: impl FnOnce(&mut KernelDirectMap) -> A) -> A {
    loop {
        if let Writer::Map(map) = &mut *WRITER.lock() {
            return act(map);
        }
    }
}

/// As [`with_direct_map`], where the lock is free now.
pub fn try_with_direct_map<A>(act: impl FnOnce(&mut KernelDirectMap) -> A) -> Option<A> {
    match &mut *WRITER.try_lock()? {
        Writer::Tables(_) => None,
        Writer::Map(map) => Some(act(map)),
    }
}

/// Gives the direct map's tables to a [`DirectMap`]. Once, at boot.
pub fn hand_over(standing: Standing, rules: KernelRules) {
    *WRITER.lock() = Writer::Map(DirectMap::new(standing, DirectTables(()), rules));
}

/// The walk that a CPU makes for `address`.
pub fn walk(address: VirtAddr) -> Walk {
    rhumb_pagetable::walk(reader(), root(), address)
}

/// Replaces the entry that the walk of `page` ends at, drops the old translation everywhere, and returns the old entry; `None`
/// where the walk does not end at level 1. For faults planted on purpose.
pub fn replace_entry(page: VirtAddr, entry: Entry) -> Option<Entry> {
    let mut tables = writer();
    let walk = rhumb_pagetable::walk(&*tables, root(), page);
    let last = walk.steps().last().filter(|step| step.level == 1)?;
    let mut batch = FlushBatch::new();
    batch.add_leaf(VirtRange::of_length(page, 1)?, PageSize::Size4K);
    let old = tables.read(last.table, last.index);
    tables.write(last.table, last.index, entry);
    let _ticket = flush::everywhere(batch, FlushCause::Other);
    Some(old)
}

/// Empties the lower half of the trampoline's tree: no CPU needs the identity mapping any more.
pub fn retire_trampoline() {
    if let Some(root) = trampoline_root() {
        writer().write(root.table, 0, Entry::EMPTY);
        TRAMPOLINE_ROOT.store(0, Release);
    }
}
