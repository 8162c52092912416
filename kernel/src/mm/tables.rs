//! The kernel's page tables: one tree, one lock, one writer (invariant I8).
//!
//! The tables of the direct map are [`DirectMap`]'s once boot has handed them over ([`hand_over`]); it is behind
//! the same lock.
//!
//! Tables are read through the direct map, and written through it, too, unless they are protected ([`super::protect`]):
//! then through a window, or while a key is open. Every write is counted, so that "allocates without writing a page
//! table" (I2) can be shown and not only said.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_directmap::{BootMap, DirectMap};
use rhumb_machine::{Machine, Pfn, VirtAddr, impossible};
use rhumb_pagetable::{Entry, Levels, Root, TableEntry, TableMemory, Walk};
use rhumb_tableguard::{Key, KeyedTables, Protection, TableStore, WindowedTables};

use super::protection;
use super::rules::KernelRules;
use super::window_tables::{KernelTables, KernelWindows};
use crate::arch::features::features;
use crate::arch::pkrs::{self, Pkrs};
use crate::cpu::area::COUNT;
use crate::cpu::lock::{TablesMutex, TablesMutexGuard};
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{self, probe};

static TRAMPOLINE_ROOT: AtomicU64 = AtomicU64::new(0);
static LEVELS: AtomicU8 = AtomicU8::new(0);

/// Page tables at their places in the direct map. All of them: no table is taken out of it while it is one. Behind
/// [`WRITER`]'s lock, or with its holder writing entries that are its own ([`unlocked`]).
pub struct InPlace(());

impl InPlace {
    #[inline(always)]
    fn entry(table: Pfn, index: usize) -> &'static TableEntry {
        // SAFETY: behind the lock, or in its holder's own area, the frame is a table for as long as the caller uses the entry; a table stays in the
        // direct map (I1), and but for `Reader`'s probes it is reached by atomics alone. No reference to the entry
        // outlives the load or the store.
        unsafe { TableEntry::at(MACHINE.direct(table.addr()).plus(Entry::offset(index))) }
    }
}

impl TableMemory for InPlace {
    #[inline(always)]
    fn read(&self, table: Pfn, index: usize) -> Entry {
        Self::entry(table, index).load()
    }

    #[inline(always)]
    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        // The values of this type are behind `WRITER`'s lock, or write entries that are their holder's alone (I8).
        Self::entry(table, index).store(entry);
    }
}

/// Page tables as they are read without the lock, for reports, lists and tests.
///
/// An entry may be changing, and the frame that it was read from may be a table no longer: the direct map's reserve has
/// given it back to the allocator, and its new holder writes it, or has taken it out of the map. So each read is a
/// probe ([`probe::read_word`]), the value is a hint, and an entry that is not in the map any more is read as empty.
pub struct Reader(());

impl TableMemory for Reader {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        let at = MACHINE.direct(table.addr()).plus(Entry::offset(index));
        probe::read_word(at).map_or(Entry::EMPTY, Entry::from_bits)
    }

    fn write(&mut self, table: Pfn, _: usize, _: Entry) {
        impossible!("the one `Reader`, which was to write table {}, is shared", table);
    }
}

/// How tables are written.
enum TableWriter {
    /// At their places in the direct map.
    InPlace(InPlace),
    /// Through windows.
    Windows(WindowedTables<'static, InPlace, KernelMachine, KernelTables>),
    /// In place, while their key is open.
    Key(KeyedTables<InPlace, KernelMachine, Pkrs>),
}

impl TableWriter {
    /// As boot begins.
    const BOOT: Self = Self::InPlace(InPlace(()));
}

/// The kernel's page tables. A value that can be written is to be had from unsafe functions only.
pub struct DirectTables(TableWriter);

impl TableMemory for DirectTables {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        InPlace(()).read(table, index)
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        COUNT.page_table_writes.increment();
        match &mut self.0 {
            TableWriter::InPlace(tables) => tables.write(table, index, entry),
            TableWriter::Windows(tables) => tables.write(table, index, entry),
            TableWriter::Key(tables) => tables.write(table, index, entry),
        }
    }

    fn write_run(&mut self, table: Pfn, index: usize, first: Entry, step_bytes: u64, count: usize) {
        COUNT.page_table_writes.add(count as u64);
        match &mut self.0 {
            TableWriter::InPlace(tables) => tables.write_run(table, index, first, step_bytes, count),
            TableWriter::Windows(tables) => tables.write_run(table, index, first, step_bytes, count),
            TableWriter::Key(tables) => tables.write_run(table, index, first, step_bytes, count),
        }
    }
}

/// The direct map as this kernel has it.
pub type KernelDirectMap = DirectMap<DirectTables, KernelRules>;

/// The writer of tables. There is one, so its size does not matter.
#[expect(clippy::large_enum_variant)]
enum Writer {
    /// The direct map is not changed yet.
    Tables(DirectTables),
    /// The direct map owns the way to the tables, and lends it to writers of others.
    Map(KernelDirectMap),
}

impl Writer {
    const fn memory(&self) -> &DirectTables {
        match self {
            Self::Tables(tables) => tables,
            Self::Map(map) => map.memory(),
        }
    }

    const fn memory_mut(&mut self) -> &mut DirectTables {
        match self {
            Self::Tables(tables) => tables,
            // SAFETY: it is lent to callers of unsafe functions alone, which promise the same.
            Self::Map(map) => unsafe { map.memory_mut() },
        }
    }
}

/// All that the lock is for.
struct Tables {
    writer: Writer,
    /// Tables to be taken, where they are to be protected: none otherwise.
    store: TableStore,
}

static WRITER: TablesMutex<Tables> = TablesMutex::new(Tables {
    writer: Writer::Tables(DirectTables(TableWriter::BOOT)),
    store: TableStore::new(),
});
static READER: Reader = Reader(());

/// Tells which trees boot has built, and from what blocks it took their tables where these are to be protected.
///
/// # Safety
/// Called once. The trees are as this kernel relies on them, and nothing but this module writes their tables from now
/// on. The store has blocks of frames for tables alone.
pub unsafe fn adopt(root: Root, trampoline: Option<Root>, store: TableStore) {
    WRITER.lock().store = store;
    LEVELS.store(root.levels.top(), Relaxed);
    TRAMPOLINE_ROOT.store(trampoline.map_or(0, |root| root.table.get()), Relaxed);
    // SAFETY: the tree maps all that the kernel relies on, by the caller's promise.
    unsafe { cpu::root::set(root.table) };
}

/// Returns the kernel's tree.
pub fn root() -> Root {
    tree(cpu::root::table().get())
}

/// Returns the tree that other CPUs start on; `None` once it is retired.
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

/// Returns the tables for reading without the lock, for reports, lists and tests: see [`Reader`].
pub fn reader() -> &'static Reader {
    &READER
}

/// The tables for changing; the lock is held.
pub struct TablesGuard(TablesMutexGuard<'static, Tables>);

#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "the kernel maps nothing after boot"))]
impl TablesGuard {
    /// Returns the walk that a CPU makes for `address` while the lock is held.
    pub fn walk(&self, address: VirtAddr) -> Walk {
        rhumb_pagetable::walk(&**self, root(), address)
    }
}

impl Deref for TablesGuard {
    type Target = DirectTables;

    fn deref(&self) -> &DirectTables {
        self.0.writer.memory()
    }
}

impl DerefMut for TablesGuard {
    fn deref_mut(&mut self) -> &mut DirectTables {
        self.0.writer.memory_mut()
    }
}

/// Returns the tables for changing: those that are not the direct map's.
///
/// # Safety
/// The caller writes into tables alone, not into the direct map's, and maps no memory in a way that its holder does not
/// expect: no frame that safe code has a reference to, no code that can be written (I4). It flushes a removed
/// translation before the address or the frame is used again (I6).
pub unsafe fn writer() -> TablesGuard {
    TablesGuard(WRITER.lock())
}

/// Returns a way to write tables without the lock, in which they are written now: to entries that are the caller's
/// alone.
///
/// # Safety
/// The caller writes no other entries, and keeps the promises of [`writer`] for those. No CPU turns to another way of
/// writing while the value lives. `windows` are those of all CPUs that run.
pub unsafe fn unlocked(windows: Option<&'static KernelWindows>) -> DirectTables {
    DirectTables(match (protection::in_force(), windows) {
        (Protection::Off, _) => TableWriter::BOOT,
        (Protection::Windows, Some(windows)) => {
            // SAFETY: the caller writes entries of tables alone, and windows are there for each CPU that runs.
            TableWriter::Windows(unsafe { WindowedTables::new(InPlace(()), windows) })
        }
        (Protection::Windows, None) => {
            impossible!("tables are written through windows: there are windows" => TableWriter::BOOT)
        }
        (Protection::Keys, _) => TableWriter::Key(KeyedTables::new(InPlace(()), MACHINE, Pkrs, pkrs::KEY)),
    })
}

/// Runs `act` on the store of tables, with the lock held and interrupts off.
pub fn look_at_store<A>(act: impl FnOnce(&TableStore, &DirectTables) -> A) -> A {
    let Tables { writer, store } = &*WRITER.lock();
    act(store, writer.memory())
}

/// Runs `act` on the store of tables and the way to write them, with the lock held and interrupts off.
///
/// # Safety
/// The caller writes no table but by the store's methods. A block that it adds to the store has zeroed frames that
/// no other code uses, and a table that it gives back is zero and can be reached by no CPU.
pub unsafe fn with_store<A>(act: impl FnOnce(&mut TableStore, &mut DirectTables) -> A) -> A {
    let Tables { writer, store } = &mut *WRITER.lock();
    act(store, writer.memory_mut())
}

/// Turns to writing tables through `windows`, which are there for every CPU that may run.
pub fn write_by_windows(windows: &'static KernelWindows) {
    // SAFETY: all that is given to the writer of tables is a table (or a header of their store), reached by aligned
    // 64-bit accesses only; what is mapped in them is decided by the map and its rules. `start` made windows for each
    // CPU that may run.
    write_by(TableWriter::Windows(unsafe { WindowedTables::new(InPlace(()), windows) }));
}

/// Turns to writing tables while `key` is open.
pub fn write_by_key(key: Key) {
    write_by(TableWriter::Key(KeyedTables::new(InPlace(()), MACHINE, Pkrs, key)));
}

fn write_by(way: TableWriter) {
    *WRITER.lock().writer.memory_mut() = DirectTables(way);
}

/// Runs `act` on the direct map, with the lock held and interrupts off; `None` before [`hand_over`].
pub fn with_direct_map<A>(act: impl FnOnce(&mut KernelDirectMap) -> A) -> Option<A> {
    match &mut WRITER.lock().writer {
        Writer::Tables(_) => None,
        Writer::Map(map) => Some(act(map)),
    }
}

/// Runs `act` as [`with_direct_map`] does, for a caller that knows that there is a map: waits until there is one.
pub fn with_handed_over<A>(act: impl FnOnce(&mut KernelDirectMap) -> A) -> A {
    loop {
        if let Writer::Map(map) = &mut WRITER.lock().writer {
            return act(map);
        }
    }
}

/// Runs `act` as [`with_direct_map`] does, if the lock is free now.
pub fn try_with_direct_map<A>(act: impl FnOnce(&mut KernelDirectMap) -> A) -> Option<A> {
    match &mut WRITER.try_lock()?.writer {
        Writer::Tables(_) => None,
        Writer::Map(map) => Some(act(map)),
    }
}

/// Returns how often the lock was taken.
#[cfg(feature = "lab")]
pub fn times_locked() -> u64 {
    WRITER.times_taken()
}

/// Gives the direct map's tables to a [`DirectMap`]. Once, at boot.
///
/// # Safety
/// `boot_map` says how boot has built the map, in the kernel's tree.
pub unsafe fn hand_over(boot_map: BootMap, rules: KernelRules) {
    WRITER.lock().writer = Writer::Map(DirectMap::new(boot_map, DirectTables(TableWriter::BOOT), rules));
}

/// Returns the walk that a CPU makes for `address`, read without the lock: see [`Reader`].
pub fn walk(address: VirtAddr) -> Walk {
    rhumb_pagetable::walk(reader(), root(), address)
}

/// Empties the lower half of the trampoline's tree.
///
/// # Safety
/// No CPU needs the identity mapping any more.
pub unsafe fn retire_trampoline() {
    if let Some(root) = trampoline_root() {
        // SAFETY: the root of a tree that no CPU uses; an entry is cleared.
        unsafe { writer() }.write(root.table, 0, Entry::EMPTY);
        TRAMPOLINE_ROOT.store(0, Release);
    }
}
