//! Faults in the page tables, made on purpose: a check that cannot fail checks nothing.
//!
//! One page is used, the guard below the boot CPU's machine-check stack: its table exists, and it is never mapped
//! otherwise.

use core::fmt;

use rhumb_directmap::State;
use rhumb_machine::{CpuId, Machine, PageSize, PhysAddr, VirtAddr};
use rhumb_pagetable::{Access, Attributes, Entry};
use rhumb_tableguard::{Protection, Rights};

use super::layout::{Stack, image};
use super::{protect, tables};
use crate::arch::gdt::InterruptStack;
use crate::arch::pkrs::Pkrs;
use crate::machine::MACHINE;

/// What to map at the guard page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
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

/// Where it is planted.
pub fn place() -> VirtAddr {
    let stack = Stack::Interrupt(InterruptStack::MachineCheck).range(CpuId::BOOT).start();
    VirtAddr::new(stack.get() - PageSize::Size4K.bytes())
}

/// Plants it, in place of what was planted before.
pub fn plant(what: Plant) -> Result<(), NoPlace> {
    let writable = |phys| Entry::leaf(phys, PageSize::Size4K, Attributes::kernel(Access::ReadWrite));
    let entry = match what {
        Plant::WritableText => writable(image::physical(image::text()).start()),
        Plant::SecondMapping => {
            let stack = Stack::Main.range(CpuId::BOOT).start();
            writable(tables::walk(stack).phys().ok_or(NoPlace::Guard)?)
        }
        Plant::WritableAlias(phys) | Plant::CachedDevice(phys) => writable(phys),
        Plant::WritableTable => return unprotect(State::ORDINARY),
        Plant::OpenKey if protect::in_force() == Protection::Keys => {
            Pkrs.set(protect::KEY.with_rights(protect::CLOSED, Rights::ReadWrite));
            return Ok(());
        }
        Plant::OpenKey => return Err(NoPlace::Protection),
        Plant::Nothing => {
            if protect::in_force() == Protection::Keys {
                Pkrs.set(protect::CLOSED);
            }
            if protect::in_force() != Protection::Off {
                unprotect(protect::state().unwrap_or(State::ORDINARY))?;
            }
            Entry::EMPTY
        }
    };
    // SAFETY: the page is for planted faults alone. Probes read it, and none writes through it.
    unsafe { tables::replace_entry(place(), entry) }.map(|_| ()).ok_or(NoPlace::Guard)
}

/// Gives the page of the root's frame the entry of another state, behind the map's back.
fn unprotect(state: State) -> Result<(), NoPlace> {
    if protect::in_force() == Protection::Off {
        return Err(NoPlace::Protection);
    }
    let page = MACHINE.direct(tables::root().table.addr());
    // SAFETY: the same frame, readable in each of the states that tables have; what writes tables can write it in each.
    unsafe { tables::replace_leaf(page, |leaf| state.entry(leaf.phys, leaf.size)) }.ok_or(NoPlace::Guard)
}
