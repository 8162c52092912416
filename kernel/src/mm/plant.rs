//! Faults in the page tables, made on purpose: a check that cannot fail checks nothing.
//!
//! One page is used, the guard below the boot CPU's machine-check stack: its table exists, and it is never mapped otherwise.

use core::fmt;

use rhumb_machine::{CpuId, PageSize, PhysAddr, VirtAddr};
use rhumb_pagetable::{Access, Attributes, Entry};

use super::layout::{Stack, image};
use super::tables;
use crate::arch::gdt::InterruptStack;

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
    /// Nothing: the guard is a guard again.
    Nothing,
}

/// The guard page has no level-1 entry, or the stack no frame: the tables are not what boot built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoPlace;

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guard page for it is not where boot left it")
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
            writable(tables::walk(stack).phys().ok_or(NoPlace)?)
        }
        Plant::WritableAlias(phys) | Plant::CachedDevice(phys) => writable(phys),
        Plant::Nothing => Entry::EMPTY,
    };
    tables::replace_entry(place(), entry).map(|_| ()).ok_or(NoPlace)
}
