//! The tables of windows: which one is each CPU's, and how an entry is written.
//!
//! Where page tables are protected, so are these. By a key: it is open while an entry is written. By read-only pages: a
//! window cannot be opened to open a window, so each CPU keeps its last slot for its own table, which it can write
//! there and nowhere else.
//!
//! **I8** Each table has one writer: its CPU, with interrupts off. So no lock is taken, and none may be: windows are
//! opened under locks. Nothing else in these tables changes after boot.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

use rhumb_machine::{CpuId, IrqOff, MAX_CPUS, Machine, Pfn, VirtAddr};
use rhumb_pagetable::{Entry, TableEntry};
use rhumb_tableguard::{Protection, keyed};
use rhumb_windows::{KEPT_SLOT, WindowTables, Windows, slot_address};

use crate::arch::pkrs::{self, Pkrs};
use crate::cpu::area::COUNT;
use crate::cpu::machine::{KernelMachine, MACHINE};

/// The windows of this kernel.
pub type KernelWindows = Windows<KernelMachine, KernelTables>;

/// The frame number of each CPU's table.
static TABLES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Names the table of a CPU's windows. Once for each CPU, before it opens a window.
pub(super) fn set(cpu: CpuId, table: Pfn) {
    TABLES[cpu.index()].store(table.get(), Relaxed);
}

/// Returns the entry of a slot in the table of a CPU's windows, which `table` shows.
fn entry_at(table: VirtAddr, slot: usize) -> &'static TableEntry {
    // SAFETY: `windows::start` has found the table of every CPU that has slots, the table stays where it is (I1), and
    // all accesses to it are atomic; its CPU alone writes it (I8).
    unsafe { TableEntry::at(table.plus(Entry::offset(slot))) }
}

/// The tables that boot has made for windows, and how they are written.
#[derive(Debug)]
pub struct KernelTables(Protection);

impl KernelTables {
    /// Returns the tables, and writes them as page tables are written where these have this protection. [`set`] has
    /// named the table of every CPU that will have windows.
    pub(super) const fn protected(protection: Protection) -> Self {
        Self(protection)
    }

    fn table(cpu: CpuId) -> Pfn {
        Pfn::new(TABLES[cpu.index()].load(Relaxed))
    }
}

// SAFETY: each of these tables is the one that the walk of its CPU's window addresses ends at, and `windows::start`
// makes the only value; the store is in program order between the accesses to the page of before and of after, for the
// compiler by its fences and for the CPU by its memory model.
unsafe impl WindowTables for KernelTables {
    fn write(&self, cpu: CpuId, slot: usize, entry: Entry) {
        COUNT.page_table_writes.increment();
        let write = |table: VirtAddr| entry_at(table, slot).store(entry);
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
        entry_at(MACHINE.direct(Self::table(cpu).addr()), slot).load()
    }
}
