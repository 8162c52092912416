//! Faults in the page tables, made on purpose: a check that cannot fail checks nothing.
//!
//! One page is used, the guard below the boot CPU's machine-check stack: its table exists, and it is never mapped
//! otherwise.

use core::fmt;

use rhumb_directmap::State;
use rhumb_machine::{CpuId, Machine, PageSize, PhysAddr, VirtAddr, VirtRange};
use rhumb_pagetable::{Access, Attributes, ENTRIES, Entry, FlushBatch, FlushCause, Leaf, TableMemory};
use rhumb_tableguard::{Protection, Rights};
use x86_64::registers::control::{Cr0, Cr0Flags};

use crate::arch::gdt::InterruptStack;
use crate::arch::pkrs::{self, Pkrs};
use crate::cpu::machine::MACHINE;
use crate::cpu::{area, tlb};
use crate::layout::{Stack, image};
use crate::mm::{protection, tables};

/// The frame to map at the guard page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableFault {
    /// The first frame of the kernel's text, writable.
    WritableText,
    /// The frame of a stack's lowest page, which is mapped there already.
    SecondMapping,
    /// A frame, writable.
    WritableAlias(PhysAddr),
    /// A device's page, write-back.
    CachedDevice(PhysAddr),
    /// Where tables are protected: the one at the top of the kernel's tree, writable in the direct map.
    WritableTable,
    /// Where tables have a key: it is open on this CPU.
    OpenKey,
    /// The kernel's half of the root has an entry that boot did not leave there.
    ChangedRoot,
    /// This CPU may write what is read-only.
    NoWriteProtection,
    /// Nothing: the guard is a guard again, and tables are protected.
    Nothing,
}

/// The guard page has no level-1 entry, or the stack no frame: the tables are not what boot built. Or there is nothing
/// to leave unprotected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPlace {
    Guard,
    Protection,
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guard => "the guard page for it is not where boot left it",
            Self::Protection => "page tables are not protected in this way",
        })
    }
}

/// Returns where it is mapped.
pub fn place() -> VirtAddr {
    let stack = boots(Stack::Interrupt(InterruptStack::MachineCheck));
    VirtAddr::new(stack.get() - PageSize::Size4K.bytes())
}

/// Returns where a stack of the boot CPU begins.
fn boots(stack: Stack) -> VirtAddr {
    area::of(CpuId::BOOT).and_then(|boot| boot.stacks.range(stack)).unwrap_or_default().start()
}

/// Makes the fault, in place of the one before.
pub fn inject(what: TableFault) -> Result<(), NoPlace> {
    let writable = |phys| Entry::leaf(phys, PageSize::Size4K, Attributes::kernel(Access::ReadWrite));
    let entry = match what {
        TableFault::WritableText => writable(image::physical(image::text()).start()),
        TableFault::SecondMapping => writable(tables::walk(boots(Stack::Main)).phys().ok_or(NoPlace::Guard)?),
        TableFault::WritableAlias(phys) | TableFault::CachedDevice(phys) => writable(phys),
        TableFault::WritableTable => return unprotect(State::ORDINARY),
        TableFault::OpenKey if protection::in_force() == Protection::Keys => {
            Pkrs.set(pkrs::KEY.with_rights(pkrs::CLOSED, Rights::ReadWrite));
            return Ok(());
        }
        TableFault::OpenKey => return Err(NoPlace::Protection),
        TableFault::ChangedRoot => return write_root(STRAY),
        TableFault::NoWriteProtection => {
            // SAFETY: no code of the kernel relies on a fault of its own writes but tests, which run later.
            unsafe { Cr0::update(|flags| flags.remove(Cr0Flags::WRITE_PROTECT)) };
            return Ok(());
        }
        TableFault::Nothing => {
            write_root(Entry::EMPTY)?;
            // SAFETY: the flag that every CPU has.
            unsafe { Cr0::update(|flags| flags.insert(Cr0Flags::WRITE_PROTECT)) };
            if protection::in_force() == Protection::Keys {
                Pkrs.set(pkrs::CLOSED);
            }
            if protection::in_force() != Protection::Off {
                unprotect(protection::state().unwrap_or(State::ORDINARY))?;
            }
            Entry::EMPTY
        }
    };
    // SAFETY: the page is for injected faults alone. Probes read it, and none writes through it.
    unsafe { replace_entry(place(), entry) }.map(|_| ()).ok_or(NoPlace::Guard)
}

/// An entry that maps nothing.
const STRAY: Entry = Entry::from_bits(1 << 9);

/// Writes an entry of the root for addresses of the kernel's half at which nothing is ever mapped.
fn write_root(entry: Entry) -> Result<(), NoPlace> {
    let root = tables::root();
    // SAFETY: an entry that is absent becomes one that is absent, too.
    let mut writer = unsafe { tables::writer() };
    let is_ours = |index: &usize| matches!(writer.read(root.table, *index), Entry::EMPTY | STRAY);
    let index = (ENTRIES / 2..ENTRIES).rev().find(is_ours).ok_or(NoPlace::Guard)?;
    writer.write(root.table, index, entry);
    Ok(())
}

/// Gives the page of the root's frame the entry of another state, behind the map's back.
fn unprotect(state: State) -> Result<(), NoPlace> {
    if protection::in_force() == Protection::Off {
        return Err(NoPlace::Protection);
    }
    let page = MACHINE.direct(tables::root().table.addr());
    // SAFETY: the same frame, readable in each of the states that tables have; what writes tables can write it in each.
    unsafe { replace_leaf(page, |leaf| state.entry(leaf.phys, leaf.size)) }.ok_or(NoPlace::Guard)
}

/// Replaces the entry that the walk of `page` ends at, drops the old translation everywhere, and returns the old entry;
/// `None` where the walk does not end at level 1.
///
/// # Safety
/// Nothing but the caller's own probes uses the page, before and after; and what a frame that it shows is used for
/// bears that it can be reached there, too.
unsafe fn replace_entry(page: VirtAddr, entry: Entry) -> Option<Entry> {
    // SAFETY: one entry of a table is written, for a page that the caller alone uses, by its promise; the old
    // translation is dropped before this returns.
    let mut writer = unsafe { tables::writer() };
    let walk = writer.walk(page);
    let last = walk.steps().last().filter(|step| step.level == 1)?;
    let mut batch = FlushBatch::new();
    batch.add_leaf(VirtRange::of_length(page, 1)?, PageSize::Size4K);
    let old = writer.read(last.table, last.index);
    writer.write(last.table, last.index, entry);
    let _ticket = tlb::flush_everywhere(&mut batch, FlushCause::Other);
    Some(old)
}

/// Replaces the page's entry that the walk of `page` ends at, whatever its size, and drops the old translation
/// everywhere; `None` where nothing is mapped there.
///
/// # Safety
/// The new entry maps the same frames, and every use of the page that the old one allowed and that goes on.
unsafe fn replace_leaf(page: VirtAddr, entry: impl FnOnce(Leaf) -> Entry) -> Option<()> {
    // SAFETY: one entry of a table is written, to one that bears every use of the page that goes on, by the caller's
    // promise; the old translation is dropped before this returns.
    let mut writer = unsafe { tables::writer() };
    let walk = writer.walk(page);
    let (last, leaf) = (*walk.steps().last()?, walk.leaf()?);
    let mut batch = FlushBatch::new();
    batch.add_leaf(VirtRange::of_length(leaf.virt, leaf.size.bytes())?, leaf.size);
    writer.write(last.table, last.index, entry(leaf));
    let _ticket = tlb::flush_everywhere(&mut batch, FlushCause::Other);
    Some(())
}
