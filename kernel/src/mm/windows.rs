//! Windows: how each CPU sees, for a short while, frames that the direct map does not show.
//!
//! Boot has made a table for each CPU's windows; here is where it is found and how an entry is written. All else is
//! [`rhumb_windows`].
//!
//! Where page tables are protected, so are these. By a key: it is open while an entry is written. By read-only pages: a
//! window cannot be opened to open a window, so each CPU keeps its last slot for its own table, which it can write
//! there and nowhere else.
//!
//! **I8** Each table has one writer: its CPU, with interrupts off. So no lock is taken, and none may be: windows are
//! opened under locks. Nothing else in these tables changes after boot.

use crate::arch::pkrs;
use core::fmt;
use core::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

use rhumb_frames::Frames;
use rhumb_machine::{CpuId, IrqOff, MAX_CPUS, Machine, PageSize, Pfn, VirtAddr};
use rhumb_pagetable::{Access, Attributes, Entry, Scope, TableEntry, TableMemory};
use rhumb_tableguard::{Protection, keyed};
use rhumb_windows::{CpuSlots, KEPT_SLOT, WindowTables, Windows, slot_address};
use spin::Once;
use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::{protect, tables};
use crate::arch::pkrs::Pkrs;
use crate::cpu::area;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::facts::Boot;
use crate::layout;

/// The windows of this kernel.
pub type KernelWindows = Windows<KernelMachine, KernelTables>;

static WINDOWS: Once<KernelWindows> = Once::new();
/// The windows have them for good.
static CPU_SLOTS: SpinMutex<[CpuSlots; MAX_CPUS]> = SpinMutex::new([const { CpuSlots::new() }; MAX_CPUS]);
/// The frame number of each CPU's table.
static TABLES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Returns the windows; `None` before [`start`].
pub fn windows() -> Option<&'static KernelWindows> {
    WINDOWS.get()
}

/// Boot has left no table for a CPU's windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoTable(pub CpuId);

impl fmt::Display for NoTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no table for the windows of CPU {}", self.0)
    }
}

/// Finds the tables. The windows show frames of `frames`. Once, at boot.
///
/// # Errors
/// [`NoTable`]: there are no windows at all then.
pub fn start(boot: &Boot, frames: &Frames<KernelMachine>) -> Result<&'static KernelWindows, NoTable> {
    let way = protect::wanted();
    for cpu in (0..boot.cpus).filter_map(CpuId::new) {
        let walk = tables::walk(layout::windows(cpu).start());
        let last = walk.steps().last().filter(|step| step.level == 1).ok_or(NoTable(cpu))?;
        if let Some(place) = TABLES.get(cpu.index()) {
            place.store(last.table.get(), Relaxed);
        }
        if way == Protection::Windows {
            show_own(last.table);
        }
    }
    Ok(WINDOWS.call_once(|| {
        let (slots, _) = SpinMutexGuard::leak(CPU_SLOTS.lock()).split_at_mut(boot.cpus.min(MAX_CPUS));
        Windows::new(frames, KernelTables(way), slots)
    }))
}

/// Shows a CPU its table in the slot that no window uses. Before that CPU opens a window.
fn show_own(table: Pfn) {
    let attributes = Attributes { scope: Scope::AddressSpace, ..Attributes::kernel(Access::ReadWrite) };
    let entry = Entry::leaf(table.addr(), PageSize::Size4K, attributes);
    // SAFETY: the table of a CPU's windows, in which this slot is for the table itself and shows it to that CPU alone.
    unsafe { tables::writer() }.write(table, KEPT_SLOT, entry);
}

/// The tables that boot has made for windows, and how they are written.
#[derive(Debug)]
pub struct KernelTables(Protection);

impl KernelTables {
    fn table(cpu: CpuId) -> Pfn {
        Pfn::new(TABLES.get(cpu.index()).map_or(0, |table| table.load(Relaxed)))
    }
}

// SAFETY: each of these tables is the one that the walk of its CPU's window addresses ends at, and `start` makes the
// only value; the store is in program order between the accesses to the page of before and of after, for the compiler
// by its fences and for the CPU by its memory model.
unsafe impl WindowTables for KernelTables {
    fn write(&self, cpu: CpuId, slot: usize, entry: Entry) {
        area::here().counters.page_table_writes.increment();
        let write = |table: VirtAddr| {
            // SAFETY: `start` has found the table of every CPU that has slots, it stays where it is (I1), and only
            // `cpu` writes it (I8).
            unsafe { TableEntry::at(table.plus(Entry::offset(slot))) }.store(entry)
        };
        compiler_fence(SeqCst);
        match self.0 {
            Protection::Off => write(MACHINE.direct(Self::table(cpu).addr())),
            Protection::Windows => write(slot_address(cpu, KEPT_SLOT)),
            Protection::Keys => {
                // SAFETY: windows write their entries on their CPU, with interrupts off.
                let irq_off = unsafe { IrqOff::assume(cpu) };
                keyed::while_open(&Pkrs, pkrs::KEY, irq_off, || {
                    write(MACHINE.direct(Self::table(cpu).addr()))
                });
            }
        }
        compiler_fence(SeqCst);
    }

    fn read(&self, cpu: CpuId, slot: usize) -> Entry {
        tables::reader().read(Self::table(cpu), slot)
    }
}
