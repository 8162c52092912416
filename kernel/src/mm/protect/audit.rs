//! Whether tables are protected: asked of the tables themselves, and of each CPU.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rhumb_machine::{CpuId, Machine, PageSize, Pfn, VirtAddr};
use rhumb_pagetable::{ENTRIES, Leaf, TableMemory};
use rhumb_tableguard::{Protection, Rights};

use crate::arch::pkrs::{KEY, Pkrs};
use crate::cpu::machine::MACHINE;
use crate::cpu::work;
use crate::mm::direct_map::table_supply::store;
use crate::mm::protection::in_force;
use crate::mm::tables;

/// The fault in the protection of tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// A table, or a frame to become one, can be written in the direct map.
    Writable { table: Pfn, at: VirtAddr },
    /// A CPU does not look at protection keys.
    KeysOff { cpu: CpuId },
    /// A CPU that writes no table has the key open.
    KeyOpen { cpu: CpuId },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writable { table, at } => {
                write!(f, "the page table in frame {table} can be written at {at}")
            }
            Self::KeysOff { cpu } => write!(f, "CPU {cpu} does not look at protection keys"),
            Self::KeyOpen { cpu } => write!(f, "the key of page tables is open on CPU {cpu}"),
        }
    }
}

/// Looks at every table of every tree, every spare one, and every CPU; returns how many flaws it has reported, none
/// where tables are not protected. Not from within a job or an interrupt.
///
/// Cost: a read of each entry of each table above level 1, a walk for each table, a call of each CPU.
pub fn run(mut report: impl FnMut(Flaw)) -> u64 {
    if in_force() == Protection::Off {
        return 0;
    }
    let mut flaws = 0;
    let mut note = |flaw| {
        flaws += 1;
        report(flaw);
    };
    for root in [Some(tables::root()), tables::trampoline_root()].into_iter().flatten() {
        visit(root.table, root.levels.top(), &mut |table| check(table, &mut note));
    }
    store::for_each(|block| match leaf_of(block.start()) {
        Some(leaf) if leaf.size >= PageSize::Size2M => check(block.start(), &mut note),
        _ => block.frames().iter().for_each(|frame| check(frame, &mut note)),
    });
    check_cpus(&mut note);
    flaws
}

/// Visits each table from `table` down. Pages have none below.
fn visit(table: Pfn, level: u8, act: &mut impl FnMut(Pfn)) {
    act(table);
    if level == 1 {
        return;
    }
    for index in 0..ENTRIES {
        if let Some(child) = tables::reader().read(table, index).child(level) {
            visit(child, level - 1, act);
        }
    }
}

fn leaf_of(frame: Pfn) -> Option<Leaf> {
    tables::walk(MACHINE.direct(frame.addr())).leaf()
}

fn check(table: Pfn, note: &mut impl FnMut(Flaw)) {
    let is_protected = leaf_of(table).is_some_and(|leaf| match in_force() {
        Protection::Keys => leaf.entry.key() == Some(KEY),
        _ => !leaf.permissions.writable,
    });
    if !is_protected {
        note(Flaw::Writable { table, at: MACHINE.direct(table.addr()) });
    }
}

/// Asks each CPU, and reports the highest of each kind: that takes one number for all CPUs.
fn check_cpus(note: &mut impl FnMut(Flaw)) {
    if in_force() != Protection::Keys {
        return;
    }
    let (off, open) = (AtomicUsize::new(0), AtomicUsize::new(0));
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
        let me = guard.pinned().cpu().index() + 1;
        if !Pkrs.is_on() {
            off.fetch_max(me, Relaxed);
        }
        if KEY.rights(Pkrs.value()) == Rights::ReadWrite {
            open.fetch_max(me, Relaxed);
        }
    });
    let named = |of: AtomicUsize| of.into_inner().checked_sub(1).and_then(CpuId::new);
    if let Some(cpu) = named(off) {
        note(Flaw::KeysOff { cpu });
    }
    if let Some(cpu) = named(open) {
        note(Flaw::KeyOpen { cpu });
    }
}
